"""Joint posts of the drawn world, in the form of the published few-shot files: quintuples, captions, knowledge.

A post has one quintuple or, where a second sentence follows, two. Its caption tells what the image shows without
naming anyone; its knowledge is sentences of fact, as a language model would give them: what the named ones are, now
and then how they are related, and facts about others that are of no use.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np

from promu.corpora.jmere import Background, write_jmere
from promu.errors import InputError
from promu.files import new_folder, write_json
from promu.newsreel.drawing import draw_scene
from promu.newsreel.lexicon import World, generator, pick, shuffled
from promu.newsreel.news import WORLD
from promu.newsreel.scenes import Scene
from promu.newsreel.texts import PostWriter, WrittenPost, draw_names, name_pools, with_article
from promu.newsreel.write import coco
from promu.progress import track
from promu.schema import NO_RELATION, Post, Quintuple, with_quintuples

SPLITS = ("train", "val", "test")
SECOND = 0.2
"""Share of posts with a second sentence, whose relation its words decide."""

KIND_KNOWN = 0.8
"""Share of names of which a sentence says what they are."""

OTHERS = 3
"""Facts about others that a post's knowledge holds at most."""


@dataclass(frozen=True)
class JointSettings:
    """What to draw.

    Attributes:
        seed: Of names, scenes, texts, images.
        size: Width and height of an image in pixels.
        posts: Posts of train, dev and test.
        undecided: Share of posts whose text decides neither types nor relation.
        known: Share of posts whose knowledge tells the relation.
        relation_phrase: Share of captions that tell the relation.
        noise: Standard deviation of the pixel noise, of 255.

    Raises:
        InputError: A value is out of range.
    """

    seed: int = 0
    size: int = 48
    posts: tuple[int, int, int] = (500, 250, 500)
    undecided: float = 0.6
    known: float = 0.6
    relation_phrase: float = 0.3
    noise: float = 8.0

    def __post_init__(self) -> None:
        for name in ("undecided", "known", "relation_phrase"):
            if not 0 <= getattr(self, name) <= 1:
                raise InputError(f"newsreel: {name} is {getattr(self, name)!r}; allowed is a number from 0 to 1")
        if not 32 <= self.size <= 512 or not 0 <= self.noise <= 64 or self.seed < 0:
            raise InputError(
                f"newsreel: size is {self.size}, noise {self.noise:g}, seed {self.seed}; allowed are a size from 32 to "
                "512, noise from 0 to 64 and a seed that is not negative"
            )
        if len(self.posts) != 3 or any(not 1 <= count <= 1_000_000 for count in self.posts):
            raise InputError(f"newsreel: posts is {self.posts!r}; give three numbers of posts, each at least 1")


@dataclass(frozen=True)
class JointPost:
    """A labelled post with what is known about it, the scene of its image, and what decides its first relation."""

    post: Post
    background: Background
    scene: Scene
    decided_by: str


def write_joint(
    out: Path,
    settings: JointSettings | None = None,
    world: World = WORLD,
) -> dict[str, int]:
    """Draw a joint set into the folder `out`, which is there whole or not at all.

    It holds `train.json`, `val.json` and `test.json` (JMERE, with captions and knowledge), `images/`, `regions.json`,
    and `groups.json`: what decides each post's first relation, text, knowledge, or the image alone.

    Args:
        out: The folder to make.
        settings: What to draw; the defaults if None.
        world: The things and words to draw from.

    Returns:
        The number of posts by split and of those that each group has.

    Raises:
        InputError: `out` is there already and not empty, or cannot be made.
    """
    with new_folder(out) as building:
        return _write(building, settings or JointSettings(), world)


def _write(folder: Path, settings: JointSettings, world: World) -> dict[str, int]:
    counts: dict[str, int] = {}
    drawn: list[JointPost] = []
    for split, count in zip(SPLITS, settings.posts, strict=True):
        posts = joint_posts(split, count, settings, world)
        write_jmere(folder / f"{split}.json", [one.post for one in posts], [one.background for one in posts])
        counts[split] = count
        for name in ("text", "knowledge", "image"):
            counts[f"{split}, {name} decides"] = sum(one.decided_by == name for one in posts)
        drawn += posts
    write_json(folder / "groups.json", {one.post.id: one.decided_by for one in drawn})
    (folder / "images").mkdir()
    rng = generator(settings.seed, "joint", "pictures")
    things = []
    for one in track(drawn, "drawing"):
        image, found = draw_scene(one.scene, world, rng, settings.size, settings.noise)
        image.save(folder / "images" / str(one.post.image), quality=95, subsampling=0)
        things.append(found)
    write_json(folder / "regions.json", coco([str(one.post.image) for one in drawn], things, settings.size, world))
    return counts


def joint_posts(split: str, count: int, settings: JointSettings, world: World = WORLD) -> list[JointPost]:
    """The posts of one split, determined by the settings."""
    rng = generator(settings.seed, "joint", split)
    pools = name_pools(settings.seed, frozenset(world.words()))
    pool = pools["dev" if split == "val" else split]
    writer = PostWriter(world, rng, pool, unrelated=0.0)  # the image is then of the scene that is told
    decided = rng.permutation(count) >= round(settings.undecided * count)
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
    parts = [_related(writer, decided)]
    if rng.random() < SECOND:
        second = _related(writer, True)
        while set(_names(parts[0])) & set(_names(second)):
            second = _related(writer, True)
        parts.append(second)
    tokens: tuple[str, ...] = ()
    found = []
    for part in parts:
        (head, tail), shift = part.mentions, len(tokens)
        found.append(
            Quintuple(
                (head.start + shift, head.end + shift),
                head.type.lower(),
                (tail.start + shift, tail.end + shift),
                tail.type.lower(),
                part.relation.rpartition("/")[2],
            )
        )
        tokens += part.tokens
    known = rng.random() < settings.known
    background = Background(
        (_caption(parts[0].image, world, rng, settings.relation_phrase),),
        tuple(_knowledge(parts, known, pool, rng, world)),
    )
    post = with_quintuples(Post(id, tokens, f"{id}.jpg"), found)
    decided_by = "text" if decided else "knowledge" if known else "image"
    return JointPost(post, background, parts[0].image, decided_by)


def _related(writer: PostWriter, decided: bool) -> WrittenPost:
    while (post := writer.re_post(decided)).relation == NO_RELATION:
        pass
    return post


def _names(post: WrittenPost) -> list[str]:
    return [" ".join(post.tokens[mention.start : mention.end]) for mention in post.mentions]


def _caption(scene: Scene, world: World, rng: np.random.Generator, relation_phrase: float) -> str:
    """What a captioning model would say: kinds of things, no names."""
    things = [with_article(pick(rng, world.kind[kind].nouns)) for kind in scene.main]
    between = _phrase(scene.relation, world, rng) if rng.random() < relation_phrase else "and"
    setting = next(setting for setting in world.settings if setting.name == scene.setting)
    rest = "".join(f" and {thing}" for thing in things[2:])
    return f"{things[0]} {between} {things[1]}{rest} {pick(rng, setting.phrases)}"


def _knowledge(
    parts: list[WrittenPost], known: bool, pool: tuple[str, ...], rng: np.random.Generator, world: World
) -> list[str]:
    sentences = []
    for part in parts:
        names = _names(part)
        for name, kind in zip(names, part.image.main, strict=False):
            if rng.random() < KIND_KNOWN:
                sentences.append(f"{name} is {with_article(pick(rng, world.kind[kind].nouns))}.")
        if known:
            sentences.append(f"{names[0]} {_phrase(part.relation, world, rng)} {names[1]}.")
    for name in draw_names(rng, pool, int(rng.integers(0, OTHERS + 1))):
        sentences.append(f"{name} is {with_article(pick(rng, pick(rng, world.kinds).nouns))}.")
    return shuffled(rng, sentences)


def _phrase(relation: str, world: World, rng: np.random.Generator) -> str:
    return pick(rng, next(rule.phrases for rule in world.relations if rule.label == relation))
