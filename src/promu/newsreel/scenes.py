"""What is in an image: scenes are chosen here, and nothing about pixels is decided yet."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from promu.newsreel.lexicon import World, pick
from promu.schema import NO_RELATION

SOLO, RELATED = 0.25, 0.50
"""Shares of the images of caption pairs: one main thing, a relation; the rest are two unrelated things."""

TYPICAL = 0.2  # share of heads, and of tails, that are drawn from the kinds that are typical of the relation

CLUTTERED = 0.25  # share of solo scenes with a small second thing


@dataclass(frozen=True)
class Scene:
    """The things of an image and their setting.

    Attributes:
        setting: Name of the background.
        main: Names of the main kinds: one thing, or head and tail.
        clutter: Kind of a small thing beside a single main thing, if any.
        relation: The label of the relation between head and tail, or `None`.
        arrangement: How head and tail stand; None of a single thing.
    """

    setting: str
    main: tuple[str, ...]
    clutter: str | None
    relation: str
    arrangement: str | None = None

    @property
    def kinds(self) -> tuple[str, ...]:
        """Kinds of everything in the image."""
        return self.main if self.clutter is None else (*self.main, self.clutter)


class SceneMaker:
    """Chooses scenes of one world.

    Args:
        world: What there is.
        rng: Random numbers.
    """

    def __init__(self, world: World, rng: np.random.Generator) -> None:
        self._world = world
        self._rng = rng
        self._of_types = _scenes_by_types(world)

    def any(self) -> Scene:
        """A scene as the caption pairs have them: solo, related or unrelated."""
        draw = self._rng.random()
        if draw < SOLO:
            return self.solo(pick(self._rng, self._world.kinds).name)
        if draw < SOLO + RELATED:
            return self.pair(pick(self._rng, self._world.relations).label)
        return self.pair(NO_RELATION)

    def solo(self, kind: str) -> Scene:
        """A scene of one main thing, sometimes with clutter of another kind."""
        clutter = None
        if self._rng.random() < CLUTTERED:
            clutter = pick(self._rng, [other.name for other in self._world.kinds if other.name != kind])
        return Scene(self._setting(), (kind,), clutter, NO_RELATION)

    def solo_of_type(self, entity_type: str) -> Scene:
        """A solo scene whose main thing has this entity type."""
        return self.solo(pick(self._rng, [kind.name for kind in self._world.kinds if kind.type == entity_type]))

    def pair(self, relation: str) -> Scene:
        """A scene of two main things with this relation, which may be `None`."""
        if relation == NO_RELATION:
            heads, tails, arrangements = pick(self._rng, self._world.unrelated)
            main = pick(self._rng, heads), pick(self._rng, tails)
        else:
            rule = self._world.relation[relation]
            arrangements = rule.arrangements
            main = self._member(rule.heads, rule.typical[0]), self._member(rule.tails, rule.typical[1])
        return Scene(self._setting(), main, None, relation, pick(self._rng, arrangements))

    def _member(self, kinds: tuple[str, ...], typical: int) -> str:
        return pick(self._rng, kinds[:typical] if self._rng.random() < TYPICAL else kinds)

    def pair_of_types(self, head: str, tail: str) -> Scene:
        """A scene of two main things with these entity types, related or not.

        Raises:
            ValueError: No scene of the world has these types in this order.
        """
        choices = self._of_types.get((head, tail))
        if not choices:
            raise ValueError(f"no scene of this world has a head of type {head} and a tail of type {tail}")
        while True:
            scene = self.pair(pick(self._rng, choices))
            if (self._world.kind[scene.main[0]].type, self._world.kind[scene.main[1]].type) == (head, tail):
                return scene

    def _setting(self) -> str:
        return pick(self._rng, self._world.settings).name


def _scenes_by_types(world: World) -> dict[tuple[str, str], list[str]]:
    """(head type, tail type) to the labels whose scenes can have them."""
    found: dict[tuple[str, str], list[str]] = {}
    rules = [(rule.heads, rule.tails, rule.label) for rule in world.relations]
    rules += [(heads, tails, NO_RELATION) for heads, tails, _ in world.unrelated]
    for heads, tails, label in rules:
        for head in heads:
            for tail in tails:
                labels = found.setdefault((world.kind[head].type, world.kind[tail].type), [])
                if label not in labels:
                    labels.append(label)
    return found
