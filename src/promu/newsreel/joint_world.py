"""Joint posts of the drawn world, in the form of the published few-shot files: quintuples, captions, knowledge.

A post has one quintuple or, where a second sentence follows, two. Its caption says what the image shows without
naming anyone. Its knowledge is sentences of fact, as a language model would give them: what the named ones are,
sometimes how they are related, and facts about others, which do not help.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from functools import cache
from pathlib import Path

import numpy as np

from promu.corpora.jmere import Background, write_jmere
from promu.files import atomic, write_json
from promu.newsreel.country import WORLDS
from promu.newsreel.lexicon import World, generator, pick, shuffled
from promu.newsreel.news import WORLD
from promu.newsreel.noisy_detector import detect, gold
from promu.newsreel.scenes import Scene
from promu.newsreel.settings import JointSettings
from promu.newsreel.texts import PostWriter, WrittenPost, draw_names, name_pools, with_article
from promu.newsreel.upper_bounds import IMAGE, KNOWLEDGE, NOTHING, TEXT, Question, Reader, upper_bounds
from promu.newsreel.write import coco, save_scene
from promu.progress import track
from promu.schema import NO_RELATION, Post, Quintuple, with_quintuples

SPLITS = ("train", "val", "test")
SECOND = 0.2  # share of posts with a second sentence, whose relation its words decide

KIND_FACT = 0.6  # share of names of which a sentence says what they are

ARRANGED = 0.5  # share of the captions that state no relation which say how the two things stand

OTHERS = 3  # facts about others that a post's knowledge holds at most


SHOWN = 0.25  # share of the posts whose knowledge states the relation that show it in their image too

POSTS_READ, SCENES_READ = 2000, 40_000  # what the readers have read and seen before they say what decides


@dataclass(frozen=True)
class JointPost:
    """A labelled post with its background, the scene of its image, and what is asked about its first relation."""

    post: Post
    background: Background
    scene: Scene
    question: Question


@dataclass(frozen=True)
class JointReport:
    """What was written.

    Attributes:
        counts: Number of posts of each split, and of those that each of `DECIDERS` decides.
        upper_bounds: By what a reader sees ("text", "text + image", "text + knowledge", "text + image + knowledge"),
            its best F1 (0-100) for the first relation of the test posts, from lookup tables.
    """

    counts: dict[str, int]
    upper_bounds: dict[str, float]


def write_joint(out: Path, settings: JointSettings | None = None, world: World = WORLD) -> JointReport:
    """Draw a joint set into the folder `out`, which is there whole or not at all.

    It holds `train.json`, `val.json` and `test.json` (JMERE, with captions and knowledge), `images/`, `regions.json`,
    `groups.json`: which sources decide each post's first relation, one of `DECIDERS` (see `deciders`), and the card
    `newsreel.json`: settings and the report.

    Args:
        out: The folder to make.
        settings: What to draw; the defaults if None.
        world: The things and words to draw from.

    Raises:
        InputError: `out` is there already and not empty, or cannot be made.
    """
    settings = settings or JointSettings()
    counts: dict[str, int] = {}
    every: list[JointPost] = []
    groups: dict[str, str] = {}
    with atomic(out, folder=True) as building:
        for split, count in zip(SPLITS, settings.posts, strict=True):
            posts = joint_posts(split, count, settings, world)
            write_jmere(building / f"{split}.json", [one.post for one in posts], [one.background for one in posts])
            counts[split] = count
            decided = deciders(posts, settings, world)
            counts |= {f"{split}, {name}": decided.count(name) for name in DECIDERS if name in decided}
            every += posts
            groups |= zip((one.post.id for one in posts), decided, strict=True)
        write_json(building / "groups.json", groups)
        (building / "images").mkdir()
        rng = generator(settings.seed, "joint", "pictures")
        noise = generator(settings.seed, "joint", "detector")
        found = []
        for one in track(every, "drawing"):
            path = building / "images" / str(one.post.image)
            things = save_scene(path, one.scene, world, rng, settings.size, settings.noise)
            found.append(gold(things) if settings.boxes == "gold" else detect(things, world, noise, settings.size))
        regions = coco([str(one.post.image) for one in every], found, settings.size, world)
        write_json(building / "regions.json", regions)
        tested = [one.question for one in every[-settings.posts[-1] :]]
        report = JointReport(counts, upper_bounds(_readers(settings, world), tested))
        card = {"settings": settings.model_dump(mode="json"), "world": world.name, **asdict(report)}
        write_json(building / "newsreel.json", card)
    return report


def joint_posts(split: str, count: int, settings: JointSettings, world: World = WORLD) -> list[JointPost]:
    """The posts of one split, determined by the settings."""
    rng = generator(settings.seed, "joint", split)
    pools = name_pools(settings.seed, frozenset(world.words()))
    pool = pools["dev" if split == "val" else split]
    writer = PostWriter(world, rng, pool, unrelated=0.0)  # every image shows the scene of its text
    decided = rng.permutation(count) >= round(settings.ambiguous * count)
    return [
        _joint_post(f"joint_{split}_{number:05d}", bool(flag), writer, pool, rng, settings, world)
        for number, flag in enumerate(decided)
    ]


def _joint_post(
    id: str,
    decided: bool,
    writer: PostWriter,
    pool: tuple[str, ...],
    rng: np.random.Generator,
    settings: JointSettings,
    world: World,
) -> JointPost:
    first = _related(writer, decided)
    sources = _sources(first.image, decided, rng, settings, world)
    parts = [replace(first, image=sources.image)]
    if rng.random() < SECOND:
        second = _related(writer, True)
        while set(_names(first)) & set(_names(second)):
            second = _related(writer, True)
        parts.append(second)
    tokens: tuple[str, ...] = ()
    labels = []
    for part in parts:
        (head, tail), shift = part.entities, len(tokens)
        labels.append(
            Quintuple(
                (head.start + shift, head.end + shift),
                str(head.type).lower(),
                (tail.start + shift, tail.end + shift),
                str(tail.type).lower(),
                part.relation.rpartition("/")[2],
            )
        )
        tokens += part.tokens
    caption = _caption(sources.image, world, rng, settings.relation_phrase)
    background = Background((caption,), tuple(_knowledge(parts, sources, pool, rng, world)))
    post = with_quintuples(Post(id, tokens, f"{id}.jpg"), labels)
    return JointPost(post, background, sources.image, sources.question(first.template))


@dataclass(frozen=True)
class _Sources:
    """What image and knowledge say of a post's first relation.

    Attributes:
        relation: The right answer.
        image: The scene that is drawn.
        fact: Whether the knowledge states the relation.
        told: Whether it says what head and tail are.
    """

    relation: str
    image: Scene
    fact: bool
    told: tuple[bool, bool]

    def question(self, text: str) -> Question:
        """What the sources show, beside the text."""
        kinds = tuple(kind if told else None for kind, told in zip(self.image.main, self.told, strict=True))
        image = tuple(sorted(self.image.main)), self.image.arrangement
        seen = {TEXT: text, IMAGE: image, KNOWLEDGE: self.relation if self.fact else kinds}
        return Question("relation", self.relation, seen)


def _sources(scene: Scene, decided: bool, rng: np.random.Generator, settings: JointSettings, world: World) -> _Sources:
    """Choose what says what: where the knowledge states an ambiguous relation, the image need not show it."""
    fact = bool(rng.random() < settings.relation_fact)
    image = scene
    if fact and not decided and rng.random() >= SHOWN:
        image = replace(scene, relation=NO_RELATION, arrangement=world.arrangements[0].name)
    first, second = (rng.random(2) < KIND_FACT).tolist()
    return _Sources(scene.relation, image, fact, (first, second))


def _related(writer: PostWriter, decided: bool) -> WrittenPost:
    while (post := writer.re_post(decided)).relation == NO_RELATION:
        pass
    return post


def _names(post: WrittenPost) -> list[str]:
    return [" ".join(post.tokens[entity.start : entity.end]) for entity in post.entities]


def _caption(scene: Scene, world: World, rng: np.random.Generator, relation_phrase: float) -> str:
    """What a captioning model would say: kinds of things, no names."""
    first, second = (with_article(pick(rng, world.kind[kind].nouns)) for kind in scene.main)
    between = "and"
    if scene.relation != NO_RELATION and rng.random() < relation_phrase:
        between = pick(rng, world.relation[scene.relation].phrases)
    elif scene.arrangement is not None and rng.random() < ARRANGED:
        between = pick(rng, world.arrangement[scene.arrangement].phrases)
    return f"{first} {between} {second} {pick(rng, world.setting[scene.setting].phrases)}"


def _knowledge(
    parts: list[WrittenPost], sources: _Sources, pool: tuple[str, ...], rng: np.random.Generator, world: World
) -> list[str]:
    sentences = []
    for part in parts:
        names = _names(part)
        told = sources.told if part is parts[0] else (rng.random(2) < KIND_FACT).tolist()
        for name, kind, tell in zip(names, part.image.main, told, strict=True):
            if tell:
                sentences.append(f"{name} is {with_article(pick(rng, world.kind[kind].nouns))}.")
        if sources.fact:
            sentences.append(f"{names[0]} {pick(rng, world.relation[part.relation].phrases)} {names[1]}.")
    for name in draw_names(rng, pool, int(rng.integers(0, OTHERS + 1))):
        sentences.append(f"{name} is {with_article(pick(rng, pick(rng, world.kinds).nouns))}.")
    return shuffled(rng, sentences)


DECIDERS = (TEXT, KNOWLEDGE, IMAGE, "image or knowledge", "image and knowledge", NOTHING)
"""What can decide the first relation of a post."""


def deciders(posts: Sequence[JointPost], settings: JointSettings, world: World = WORLD) -> list[str]:
    """Which sources decide each post's first relation, one of `DECIDERS`.

    They are found by lookup tables (`promu.newsreel.upper_bounds`) over the text, the image (kinds and arrangement) and
    the knowledge (kinds of the names, relation) of many other posts.
    """
    text, image, knowledge, both = _readers(settings, world)
    found = []
    for one in posts:
        sure = image.is_sure(one.question), knowledge.is_sure(one.question)
        if text.is_sure(one.question):
            found.append(TEXT)
        elif any(sure):
            found.append({(True, True): "image or knowledge", (True, False): IMAGE, (False, True): KNOWLEDGE}[sure])
        else:
            found.append("image and knowledge" if both.is_sure(one.question) else NOTHING)
    return found


def _readers(settings: JointSettings, world: World) -> tuple[Reader, ...]:
    return joint_readers(world.name, settings.ambiguous, settings.relation_fact)


@cache
def joint_readers(world: str, ambiguous: float, relation_fact: float) -> tuple[Reader, ...]:
    """The readers of text, text and image, text and knowledge, all three, after many posts of these settings."""
    settings = JointSettings(ambiguous=ambiguous, relation_fact=relation_fact)
    posts = [one.question for one in joint_posts("train", POSTS_READ, settings, WORLDS[world])]
    rng = generator(0, "joint", "readers")
    writer = PostWriter(WORLDS[world], rng, (), unrelated=0.0)
    scenes = (scene for _ in range(SCENES_READ) if (scene := writer.re_scene()).relation != NO_RELATION)
    seen = [_sources(scene, False, rng, settings, WORLDS[world]).question("") for scene in scenes]
    return tuple(Reader(sources, posts, seen) for sources in ((), (IMAGE,), (KNOWLEDGE,), (IMAGE, KNOWLEDGE)))
