"""The settings of the country world: flat, patterned grounds in other colours than those of the news."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from PIL import ImageDraw

from promu.corpora.newsreel.kinds import jittered

Background = Callable[[ImageDraw.ImageDraw, int, np.random.Generator], None]


def _desert(draw: ImageDraw.ImageDraw, side: int, rng: np.random.Generator) -> None:
    draw.rectangle((0, 0, side, side), fill=jittered((250, 190, 120), 14, rng))
    dune = jittered((225, 160, 85), 14, rng)
    for left in (-0.3, 0.3):
        x = side * (left + rng.uniform(-0.1, 0.1))
        draw.ellipse((x, side * 0.62, x + side * 1.1, side * 1.5), fill=dune)


def _forest(draw: ImageDraw.ImageDraw, side: int, rng: np.random.Generator) -> None:
    draw.rectangle((0, 0, side, side), fill=jittered((60, 95, 65), 14, rng))
    for trunk in range(6):
        x = side * (trunk + rng.uniform(0.1, 0.6)) / 6
        draw.rectangle((x, 0, x + side * 0.05, side), fill=jittered((80, 60, 45), 10, rng))
    draw.rectangle((0, side * 0.86, side, side), fill=jittered((105, 85, 55), 10, rng))


def _kitchen(draw: ImageDraw.ImageDraw, side: int, rng: np.random.Generator) -> None:
    draw.rectangle((0, 0, side, side), fill=jittered((225, 235, 225), 10, rng))
    tile = jittered((195, 215, 205), 10, rng)
    for row in range(0, 8):
        for column in range(row % 2, 8, 2):
            x, y = side * column / 8, side * row / 8
            draw.rectangle((x, y, x + side / 8, y + side / 8), fill=tile)
    draw.rectangle((0, side * 0.8, side, side), fill=jittered((170, 120, 90), 12, rng))


def _dusk(draw: ImageDraw.ImageDraw, side: int, rng: np.random.Generator) -> None:
    for band, colour in enumerate(((95, 60, 120), (160, 80, 120), (215, 110, 100), (240, 155, 90))):
        draw.rectangle((0, side * band / 4, side, side * (band + 1) / 4), fill=jittered(colour, 12, rng))
    x = rng.uniform(0.1, 0.7) * side
    draw.ellipse((x, side * 0.6, x + side * 0.2, side * 0.8), fill=(255, 225, 130))


def _orchard(draw: ImageDraw.ImageDraw, side: int, rng: np.random.Generator) -> None:
    draw.rectangle((0, 0, side, side), fill=jittered((215, 225, 160), 12, rng))
    crown = jittered((150, 180, 95), 14, rng)
    for tree in range(4):
        x, y = side * (tree + rng.uniform(0.0, 0.5)) / 4, side * rng.uniform(0.05, 0.25)
        draw.ellipse((x, y, x + side * 0.2, y + side * 0.25), fill=crown)


COUNTRY_BACKGROUNDS: dict[str, Background] = {
    "desert": _desert, "forest": _forest, "kitchen": _kitchen, "dusk": _dusk, "orchard": _orchard,
}  # fmt: skip
"""Setting name to background."""
