"""What an image shows, by the rules of its world."""

from __future__ import annotations

from collections.abc import Sequence

from promu.newsreel.lexicon import World
from promu.schema import NO_RELATION


def relation_of(world: World, kinds: Sequence[str]) -> str:
    """The label of the relation that an image with exactly these main things shows, or `None`."""
    return next((relation.label for relation in world.relations if relation.shown_by(kinds)), NO_RELATION)
