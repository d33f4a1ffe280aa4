"""Joint posts of the drawn world, in the form of the published few-shot files: quintuples, captions, knowledge.

A post has one quintuple or, where a second sentence follows, two. Its caption says what the image shows without
naming anyone. Its knowledge is sentences of fact, as a language model would give them: what the named ones are,
sometimes how they are related, and and facts about others, which do not help.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np

from promu.corpora.jmere import Background, write_jmere
from promu.files import atomic, write_json
from promu.newsreel.lexicon import World, generator, pick, shuffled
from promu.newsreel.news import WORLD
from promu.newsreel.scenes import Scene
from promu.newsreel.settings import JointSettings
from promu.newsreel.texts import PostWriter, WrittenPost, draw_names, name_pools, with_article
from promu.newsreel.write import coco, save_scene
from promu.progress import track
from promu.schema import NO_RELATION, Post, Quintuple, with_quintuples

SPLITS = ("train", "val", "test")
SECOND = 0.2  # share of posts with a second sentence, whose relation its words decide

KIND_FACT = 0.8  # share of names of which a sentence says what they are

OTHERS = 3  # facts about others that a post's knowledge holds at most


@dataclass(frozen=True)
class JointPost:
    """A labelled post with its background, the scene of its image, and what decides its first relation."""

    post: Post
    background: Background
    scene: Scene
    decided_by: str


def write_joint(out: Path, settings: JointSettings | None = None, world: World = WORLD) -> dict[str, int]:
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
    settings = settings or JointSettings()
    counts: dict[str, int] = {}
    every: list[JointPost] = []
    with atomic(out, folder=True) as building:
        for split, count in zip(SPLITS, settings.posts, strict=True):
            posts = joint_posts(split, count, settings, world)
            write_jmere(building / f"{split}.json", [one.post for one in posts], [one.background for one in posts])
            counts[split] = count
            for name in ("text", "knowledge", "image"):
                counts[f"{split}, {name} decides"] = sum(one.decided_by == name for one in posts)
            every += posts
        write_json(building / "groups.json", {one.post.id: one.decided_by for one in every})
        (building / "images").mkdir()
        rng = generator(settings.seed, "joint", "pictures")
        things = []
        for one in track(every, "drawing"):
            path = building / "images" / str(one.post.image)
            things.append(save_scene(path, one.scene, world, rng, settings.size, settings.noise))
        regions = coco([str(one.post.image) for one in every], things, settings.size, world)
        write_json(building / "regions.json", regions)
    return counts


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
    parts = [_related(writer, decided)]
    if rng.random() < SECOND:
        second = _related(writer, True)
        while set(_names(parts[0])) & set(_names(second)):
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
    fact = rng.random() < settings.relation_fact  # whether the knowledge states the relations
    background = Background(
        (_caption(parts[0].image, world, rng, settings.relation_phrase),),
        tuple(_knowledge(parts, fact, pool, rng, world)),
    )
    post = with_quintuples(Post(id, tokens, f"{id}.jpg"), labels)
    decided_by = "text" if decided else "knowledge" if fact else "image"
    return JointPost(post, background, parts[0].image, decided_by)


def _related(writer: PostWriter, decided: bool) -> WrittenPost:
    while (post := writer.re_post(decided)).relation == NO_RELATION:
        pass
    return post


def _names(post: WrittenPost) -> list[str]:
    return [" ".join(post.tokens[entity.start : entity.end]) for entity in post.entities]


def _caption(scene: Scene, world: World, rng: np.random.Generator, relation_phrase: float) -> str:
    """What a captioning model would say: kinds of things, no names."""
    things = [with_article(pick(rng, world.kind[kind].nouns)) for kind in scene.main]
    between = pick(rng, world.relation[scene.relation].phrases) if rng.random() < relation_phrase else "and"
    rest = "".join(f" and {thing}" for thing in things[2:])
    return f"{things[0]} {between} {things[1]}{rest} {pick(rng, world.setting[scene.setting].phrases)}"


def _knowledge(
    parts: list[WrittenPost], fact: bool, pool: tuple[str, ...], rng: np.random.Generator, world: World
) -> list[str]:
    sentences = []
    for part in parts:
        names = _names(part)
        for name, kind in zip(names, part.image.main, strict=False):
            if rng.random() < KIND_FACT:
                sentences.append(f"{name} is {with_article(pick(rng, world.kind[kind].nouns))}.")
        if fact:
            sentences.append(f"{names[0]} {pick(rng, world.relation[part.relation].phrases)} {names[1]}.")
    for name in draw_names(rng, pool, int(rng.integers(0, OTHERS + 1))):
        sentences.append(f"{name} is {with_article(pick(rng, pick(rng, world.kinds).nouns))}.")
    return shuffled(rng, sentences)
