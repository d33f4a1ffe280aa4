"""The drawn worlds by name."""

from __future__ import annotations

from promu.corpora.newsreel.lexicon import World
from promu.corpora.newsreel.world import WORLD

WORLDS: dict[str, World] = {"news": WORLD}
