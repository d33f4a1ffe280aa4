"""The drawn worlds by name."""

from __future__ import annotations

from promu.corpora.newsreel.country import COUNTRY
from promu.corpora.newsreel.lexicon import World
from promu.corpora.newsreel.world import WORLD

WORLDS: dict[str, World] = {world.name: world for world in (WORLD, COUNTRY)}
