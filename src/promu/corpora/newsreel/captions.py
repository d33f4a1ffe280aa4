"""Captions: what a newsroom writes under a picture, and captions taken from another, similar picture."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from promu.corpora.newsreel.chance import pick, shuffled
from promu.corpora.newsreel.lexicon import World
from promu.corpora.newsreel.names import draw_names
from promu.corpora.newsreel.scenes import Scene
from promu.schema import NO_RELATION

NAMED = 0.5
"""Share of mentions that carry a proper name."""

CLUTTER_TOLD = 0.4
"""Share of captions that mention the small thing in the corner."""

SETTING_TOLD = 0.85
"""Share of captions that tell the setting."""

JOINTS = (" and ", " with ", " next to ", " beside ", " , ")
SEARCHES = 60


@dataclass(frozen=True)
class Caption:
    """A caption and the kinds of things it tells (a name alone tells no kind)."""

    text: str
    told: tuple[str, ...]


def write_caption(
    scene: Scene, world: World, rng: np.random.Generator, pool: tuple[str, ...], dropped: float, relation_phrase: float
) -> Caption:
    """Writes a caption of a scene.

    Args:
        scene: What the picture shows.
        world: The words.
        rng: The source of chance.
        pool: Name words.
        dropped: Probability that a thing's kind is not told.
        relation_phrase: Probability that a relation the picture shows is told.
    """
    told = [kind for kind in scene.main if rng.random() >= dropped]
    missing = Counter(scene.main) - Counter(told)
    names = draw_names(rng, pool, len(scene.main))
    mentions = []
    for kind, name in zip(scene.main, names, strict=True):
        if missing[kind]:
            missing[kind] -= 1
            mentions.append(name)
        else:
            mentions.append(_mention(kind, name, world, rng))
    if scene.relation != NO_RELATION and rng.random() < relation_phrase:
        rule = next(rule for rule in world.relations if rule.label == scene.relation)
        happening = f"{mentions[0]} {pick(rng, rule.phrases)} {mentions[1]}"
        if len(mentions) > 2:
            happening += pick(rng, JOINTS) + mentions[2]
    else:
        happening = pick(rng, JOINTS).join(shuffled(rng, mentions))
    if scene.clutter is not None and rng.random() < CLUTTER_TOLD:
        noun = pick(rng, world.kind[scene.clutter].nouns)
        happening += f" and {with_article(noun)}"
        told.append(scene.clutter)
    setting = next(setting for setting in world.settings if setting.name == scene.setting)
    place = pick(rng, setting.phrases) if rng.random() < SETTING_TOLD else ""
    text = pick(rng, world.caption_frames).format(S=happening, P=place, X=pick(rng, world.extras))
    return Caption(tidy(text), tuple(told))


def with_article(noun: str) -> str:
    """The noun after "a" or "an"."""
    return f"{'an' if noun[0] in 'aeiou' else 'a'} {noun}"


def tidy(text: str) -> str:
    """`text` without doubled blanks, doubled commas and commas at its ends."""
    words: list[str] = []
    for word in text.split():
        if word in {",", ":", "."} and (not words or words[-1] in {",", ":"}):
            if word == "." and words:
                words[-1] = "."
            continue
        words.append(word)
    while words and words[-1] in {",", ":"}:
        words.pop()
    return " ".join(words)


def _mention(kind: str, name: str, world: World, rng: np.random.Generator) -> str:
    noun = pick(rng, world.kind[kind].nouns)
    if rng.random() >= NAMED:
        return pick(rng, (with_article(noun), with_article(noun), f"the {noun}", f"this {noun}"))
    return pick(
        rng, (f"{name} , {with_article(noun)} ,", f"the {noun} {name}", f"{noun} {name}", f"{name} , the {noun} ,")
    )


def is_false_of(caption: Caption, scene: Scene) -> bool:
    """Whether the caption tells a thing that the scene does not hold, so that it cannot be a true caption of it."""
    return bool(Counter(caption.told) - Counter(scene.kinds))


def falsify(
    scenes: Sequence[Scene], captions: Sequence[Caption], rng: np.random.Generator, share: float
) -> tuple[list[int], list[bool]]:
    """Gives a share of the pictures the caption of another picture that shares a kind, the setting or the relation.

    A picture for which no caption of the whole corpus is false keeps its own (only in corpora of a few pairs).

    Returns:
        For each picture the index of its caption, and whether picture and caption match.
    """
    count = len(scenes)
    groups: dict[str, list[int]] = {}
    for index, scene in enumerate(scenes):
        for key in _likenesses(scene):
            groups.setdefault(key, []).append(index)
    source, matched = list(range(count)), [True] * count
    for index in sorted(rng.permutation(count)[: round(share * count)].tolist()):
        found = _similar_false(index, scenes, captions, groups, rng)
        if found is not None:
            source[index], matched[index] = found, False
    return source, matched


def _likenesses(scene: Scene) -> list[str]:
    keys = [f"setting {scene.setting}", *(f"kind {kind}" for kind in dict.fromkeys(scene.main))]
    if scene.relation != NO_RELATION:
        keys.append(f"relation {scene.relation}")
    return keys


def _similar_false(
    index: int,
    scenes: Sequence[Scene],
    captions: Sequence[Caption],
    groups: dict[str, list[int]],
    rng: np.random.Generator,
) -> int | None:
    keys = _likenesses(scenes[index])
    for _ in range(SEARCHES):
        other = pick(rng, groups[pick(rng, keys)])
        if is_false_of(captions[other], scenes[index]):
            return other
    similar = [other for key in keys for other in groups[key]]
    return next(
        (other for other in [*similar, *range(len(scenes))] if is_false_of(captions[other], scenes[index])), None
    )
