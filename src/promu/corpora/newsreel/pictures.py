"""From a scene to a picture: where each thing goes, in what colours, on what background, and its gold box.

Pictures are drawn at twice their size and shrunk, which smooths edges at little cost.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from PIL import Image, ImageDraw

from promu.corpora.newsreel.chance import pick
from promu.corpora.newsreel.country_backgrounds import COUNTRY_BACKGROUNDS, Background
from promu.corpora.newsreel.country_kinds import COUNTRY_SILHOUETTES
from promu.corpora.newsreel.kinds import SILHOUETTES, Paint, Pen, jittered
from promu.corpora.newsreel.lexicon import Colour, World
from promu.corpora.newsreel.scenes import Scene

Box = tuple[float, float, float, float]
"""(x0, y0, x1, y1) as shares of the picture's side."""

SKINS: tuple[Colour, ...] = ((245, 205, 170), (225, 175, 135), (175, 120, 80), (120, 80, 55))
HAIRS: tuple[Colour, ...] = ((60, 40, 30), (25, 20, 25), (190, 145, 70), (130, 65, 35))

COLOUR_JITTER = 35
"""How far each channel of a kind's typical colour may move, of 255."""

BOX_JITTER = 2
"""How far each edge of a written box may be off, in pixels."""

MOST_OVERLAP = 0.3
"""How much of the smaller of two things may lie under or over the other."""

SOLO_SIDE, PAIR_SIDE, EVIDENCE_SIDE, CLUTTER_SIDE = (0.48, 0.75), (0.42, 0.66), (0.32, 0.44), (0.15, 0.22)
"""Ranges of a thing's longer side, as a share of the picture's side, by its role."""


@dataclass(frozen=True)
class DrawnThing:
    """One thing in a picture: its kind and its gold box (x, y, width, height) in whole pixels, inside the picture."""

    kind: str
    box: tuple[int, int, int, int]


def draw_scene(
    scene: Scene, world: World, rng: np.random.Generator, size: int = 48, noise: float = 8.0
) -> tuple[Image.Image, list[DrawnThing]]:
    """Draws a scene.

    Args:
        scene: What to draw.
        world: Where its kinds are described.
        rng: Places, sizes, colours and noise come from here.
        size: Width and height in pixels.
        noise: Standard deviation of the pixel noise, of 255.

    Returns:
        The RGB picture and its things, in drawing order, with jittered boxes.
    """
    boxes = _place(scene, world, rng)
    side = 2 * size
    canvas = Image.new("RGB", (side, side))
    draw = ImageDraw.Draw(canvas)
    _ALL_BACKGROUNDS[scene.setting](draw, side, rng)
    skins = [pick(rng, SKINS) for _ in boxes]
    things = []
    for (kind, box), skin in zip(boxes, skins, strict=True):
        paint = Paint(jittered(world.kind[kind].colour, COLOUR_JITTER, rng), skin, pick(rng, HAIRS))
        x0, y0, x1, y1 = (value * side for value in box)
        _ALL_SILHOUETTES[kind](Pen(draw, (x0, y0, x1, y1), bool(rng.random() < 0.5)), paint)
        things.append(DrawnThing(kind, _written_box(box, size, rng)))
    return _developed(canvas.reduce(2), rng, noise), things


def _developed(picture: Image.Image, rng: np.random.Generator, noise: float) -> Image.Image:
    """`picture` with a random brightness and pixel noise."""
    pixels = np.asarray(picture, dtype=np.float32) * np.float32(rng.uniform(0.85, 1.12))
    if noise:
        pixels = pixels + rng.standard_normal(pixels.shape, dtype=np.float32) * np.float32(noise)
    return Image.fromarray(np.clip(pixels, 0, 255).astype(np.uint8))


def _place(scene: Scene, world: World, rng: np.random.Generator) -> list[tuple[str, Box]]:
    """A box for every thing of the scene: two main things side by side, the others where there is room."""
    placed: list[tuple[str, Box]] = []
    if len(scene.main) == 1:
        placed.append((scene.main[0], _free_box(scene.main[0], SOLO_SIDE, (0.0, 1.0), world, rng, placed)))
    else:
        first_left = rng.random() < 0.5
        for index, kind in enumerate(scene.main[:2]):
            half = (0.0, 0.56) if (index == 0) == first_left else (0.44, 1.0)
            placed.append((kind, _free_box(kind, PAIR_SIDE, half, world, rng, placed)))
    for kind in scene.main[2:]:
        placed.append((kind, _free_box(kind, EVIDENCE_SIDE, (0.0, 1.0), world, rng, placed)))
    if scene.clutter is not None:
        placed.append((scene.clutter, _free_box(scene.clutter, CLUTTER_SIDE, (0.0, 1.0), world, rng, placed)))
    return placed


def _free_box(
    kind: str,
    sides: tuple[float, float],
    span: tuple[float, float],
    world: World,
    rng: np.random.Generator,
    placed: list[tuple[str, Box]],
) -> Box:
    """A box of the kind's shape within `span` (left and right), the first of a few tries that overlaps little."""
    best: Box = (0.0, 0.0, 1.0, 1.0)
    least = float("inf")
    for _ in range(12):
        box = _random_box(world.kind[kind].aspect, sides, span, rng)
        overlap = max((_overlap(box, other) for _, other in placed), default=0.0)
        if overlap < least:
            best, least = box, overlap
        if least <= MOST_OVERLAP:
            break
    return best


def _random_box(aspect: float, sides: tuple[float, float], span: tuple[float, float], rng: np.random.Generator) -> Box:
    size, stretch, across, down = rng.random(4)
    longer = sides[0] + (sides[1] - sides[0]) * size
    aspect *= 0.88 + 0.24 * stretch
    width, height = (longer, longer / aspect) if aspect > 1 else (longer * aspect, longer)
    room = span[1] - span[0] - width
    x0 = span[0] + room * across if room > 0 else min(max(0.0, span[0] + room / 2), 1.0 - width)
    # Things rather stand on the ground than float: heights lean towards the bottom.
    y0 = (0.98 - height) * float(down**0.6)
    return float(x0), y0, float(x0 + width), y0 + float(height)


def _overlap(first: Box, second: Box) -> float:
    """Intersection over the smaller of two areas."""
    width = min(first[2], second[2]) - max(first[0], second[0])
    height = min(first[3], second[3]) - max(first[1], second[1])
    if width <= 0 or height <= 0:
        return 0.0
    areas = ((box[2] - box[0]) * (box[3] - box[1]) for box in (first, second))
    return width * height / min(areas)


def _written_box(box: Box, size: int, rng: np.random.Generator) -> tuple[int, int, int, int]:
    """The box in whole pixels (x, y, width, height), jittered and clipped to the picture."""
    shifts = (rng.random(4) * (2 * BOX_JITTER + 1)).astype(int) - BOX_JITTER
    x0, y0, x1, y1 = (
        int(min(size, max(0, round(value * size) + shift))) for value, shift in zip(box, shifts, strict=True)
    )
    x0, y0 = min(x0, size - 2), min(y0, size - 2)
    return x0, y0, max(2, x1 - x0), max(2, y1 - y0)


def _field(draw: ImageDraw.ImageDraw, side: int, rng: np.random.Generator) -> None:
    horizon = side * rng.uniform(0.3, 0.5)
    draw.rectangle((0, 0, side, horizon), fill=jittered((165, 215, 245), 20, rng))
    draw.rectangle((0, horizon, side, side), fill=jittered((115, 185, 85), 22, rng))


def _sea(draw: ImageDraw.ImageDraw, side: int, rng: np.random.Generator) -> None:
    horizon = side * rng.uniform(0.35, 0.55)
    draw.rectangle((0, 0, side, horizon), fill=jittered((250, 225, 190), 15, rng))
    draw.rectangle((0, horizon, side, side), fill=jittered((60, 130, 175), 22, rng))
    wave = jittered((130, 190, 220), 15, rng)
    for row in range(3):
        y = horizon + (side - horizon) * (row + 0.6) / 3
        x = rng.random() * side * 0.6
        draw.line((x, y, x + side * 0.35, y), fill=wave, width=max(1, side // 48))


def _night(draw: ImageDraw.ImageDraw, side: int, rng: np.random.Generator) -> None:
    draw.rectangle((0, 0, side, side), fill=jittered((22, 24, 62), 14, rng))
    draw.rectangle((0, side * 0.82, side, side), fill=jittered((45, 45, 60), 10, rng))
    dot = max(1, side // 60)
    for x, y in rng.random((7, 2)) * (side, side * 0.7):
        draw.rectangle((x, y, x + dot, y + dot), fill=(235, 235, 200))
    x, moon = rng.uniform(0.05, 0.8) * side, side * 0.14
    draw.ellipse((x, side * 0.05, x + moon, side * 0.05 + moon), fill=(240, 235, 190))


def _street(draw: ImageDraw.ImageDraw, side: int, rng: np.random.Generator) -> None:
    draw.rectangle((0, 0, side, side), fill=jittered((185, 180, 175), 16, rng))
    x = -rng.random() * side * 0.2
    while x < side:
        width = side * rng.uniform(0.16, 0.3)
        draw.rectangle((x, side * rng.uniform(0.05, 0.35), x + width, side), fill=jittered((160, 148, 140), 20, rng))
        x += width
    draw.rectangle((0, side * 0.74, side, side), fill=jittered((88, 88, 92), 12, rng))
    start = rng.random() * side * 0.15
    for dash in range(4):
        left = start + dash * side * 0.28
        draw.rectangle((left, side * 0.86, left + side * 0.14, side * 0.88), fill=(235, 225, 160))


def _stage(draw: ImageDraw.ImageDraw, side: int, rng: np.random.Generator) -> None:
    curtain = jittered((120, 25, 40), 16, rng)
    draw.rectangle((0, 0, side, side), fill=curtain)
    for fold in range(6):
        x = side * (fold + 0.5) / 6
        draw.rectangle((x, 0, x + side * 0.06, side * 0.75), fill=(curtain[0] - 28, curtain[1] // 2, curtain[2] // 2))
    centre = side * rng.uniform(0.3, 0.7)
    beam = jittered((175, 80, 75), 15, rng)
    draw.polygon(
        [
            (centre - side * 0.12, 0),
            (centre + side * 0.12, 0),
            (centre + side * 0.3, side),
            (centre - side * 0.3, side),
        ],
        fill=beam,
    )
    draw.rectangle((0, side * 0.77, side, side), fill=jittered((140, 95, 60), 15, rng))
    draw.ellipse((centre - side * 0.28, side * 0.8, centre + side * 0.28, side * 0.98), fill=(200, 160, 110))


def _snow(draw: ImageDraw.ImageDraw, side: int, rng: np.random.Generator) -> None:
    horizon = side * rng.uniform(0.4, 0.6)
    draw.rectangle((0, 0, side, horizon), fill=jittered((185, 198, 215), 15, rng))
    draw.rectangle((0, horizon, side, side), fill=jittered((232, 236, 240), 10, rng))
    dot = max(1, side // 40)
    for x, y in rng.random((12, 2)) * side:
        draw.ellipse((x, y, x + dot, y + dot), fill=(255, 255, 255))


BACKGROUNDS: dict[str, Background] = {
    "field": _field, "sea": _sea, "night": _night, "street": _street, "stage": _stage, "snow": _snow,
}  # fmt: skip
"""Setting name to background."""

_ALL_BACKGROUNDS = BACKGROUNDS | COUNTRY_BACKGROUNDS
_ALL_SILHOUETTES = SILHOUETTES | COUNTRY_SILHOUETTES
