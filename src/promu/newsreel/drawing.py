"""Draws scenes: a background, silhouettes of the things on it, their boxes, and noise over all.

Silhouettes are data (`World.silhouettes`); backgrounds, which place their parts at random, are functions here.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
from PIL import Image, ImageDraw

from promu.newsreel.lexicon import Colour, Shape, World, pick
from promu.newsreel.placing import Box, lay_out
from promu.newsreel.scenes import Scene

SKINS: tuple[Colour, ...] = ((245, 205, 170), (225, 175, 135), (175, 120, 80), (120, 80, 55))
HAIRS: tuple[Colour, ...] = ((60, 40, 30), (25, 20, 25), (190, 145, 70), (130, 65, 35))
WHITE: Colour = (245, 245, 245)
DARK: Colour = (35, 30, 35)

COLOUR_JITTER = 35  # how far each channel of a kind's typical colour may move, of 255

ARM, CORD = 0.045, 0.03  # widths of arms and cords, as shares of the image's side


@dataclass(frozen=True)
class DrawnThing:
    """One thing in an image: its kind and its gold box (x, y, width, height) in whole pixels, inside the image."""

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
        The RGB image and its things, in the order of `scene.kinds`.
    """
    layout = lay_out(scene, world, rng)
    side = 2 * size  # drawn twice as large, then averaged down
    canvas = Image.new("RGB", (side, side))
    draw = ImageDraw.Draw(canvas)
    BACKGROUNDS[scene.setting](draw, side, rng)
    for stroke in layout.cords:
        _draw_line(draw, side, stroke, WHITE, CORD)
    mains = [jittered(world.kind[kind].colour, COLOUR_JITTER, rng) for kind in scene.kinds]
    if layout.matching:
        mains[0] = jittered(mains[1], COLOUR_JITTER // 3, rng)
    elif len(scene.main) == 2 and len(set(scene.main)) == 1:
        mains[1] = (mains[1][1], mains[1][2], mains[1][0])
    order = [1, 0] if layout.tail_first else range(len(mains))
    for number in order:
        kind, (x0, y0, x1, y1) = scene.kinds[number], (value * side for value in layout.boxes[number])
        skin = pick(rng, SKINS)
        colours = {"main": mains[number], "skin": skin, "hair": pick(rng, HAIRS), "white": WHITE, "dark": DARK}
        for whose, stroke in layout.arms:
            if whose == number:
                _draw_line(draw, side, stroke, skin, ARM)
        _draw_shapes(draw, world.silhouettes[kind], (x0, y0, x1, y1), bool(rng.random() < 0.5), colours)
    pixels = np.asarray(canvas.reduce(2), dtype=np.float32) * np.float32(rng.uniform(0.85, 1.12))
    if noise:
        pixels = pixels + rng.standard_normal(pixels.shape, dtype=np.float32) * np.float32(noise)
    things = [DrawnThing(kind, _whole(box, size)) for kind, box in zip(scene.kinds, layout.boxes, strict=True)]
    return Image.fromarray(np.clip(pixels, 0, 255).astype(np.uint8)), things


def _draw_line(
    draw: ImageDraw.ImageDraw, side: int, stroke: Sequence[tuple[float, float]], colour: Colour, width: float
) -> None:
    draw.line([(x * side, y * side) for x, y in stroke], fill=colour, width=max(2, round(width * side)))


def _draw_shapes(
    draw: ImageDraw.ImageDraw, shapes: Sequence[Shape], box: Box, mirrored: bool, colours: dict[str, Colour]
) -> None:
    """Draws a silhouette into a box of pixels, mirrored left to right or not."""
    x0, y0, x1, y1 = box
    left, width = (x1, x0 - x1) if mirrored else (x0, x1 - x0)
    height, unit = y1 - y0, min(x1 - x0, y1 - y0)
    for shape in shapes:
        points = [(left + width * x, y0 + height * y) for x, y in shape.points]
        colour = shade(colours[shape.colour], shape.shade) if isinstance(shape.colour, str) else shape.colour
        thick = max(1, round(shape.width * unit))
        if shape.form == "poly":
            draw.polygon(points, fill=colour)
        elif shape.form == "line":
            draw.line(points, fill=colour, width=thick)
        else:
            (ax, ay), (bx, by) = points
            corners = (min(ax, bx), ay, max(ax, bx), by)
            if shape.form == "rect":
                draw.rectangle(corners, fill=colour)
            elif shape.form == "oval":
                draw.ellipse(corners, fill=colour)
            else:
                draw.ellipse(corners, outline=colour, width=thick)


def shade(colour: Colour, factor: float) -> Colour:
    """`colour` darkened (factor below 1) or lightened (above 1)."""
    red, green, blue = (min(255, int(channel * factor)) for channel in colour)
    return red, green, blue


def jittered(colour: Colour, by: int, rng: np.random.Generator) -> Colour:
    """`colour` with each channel moved by at most `by`."""
    shift = rng.random(3) * (2 * by) - by
    red, green, blue = (int(min(255, max(0, channel + move))) for channel, move in zip(colour, shift, strict=True))
    return red, green, blue


def _whole(box: Box, size: int) -> tuple[int, int, int, int]:
    """The box in whole pixels (x, y, width, height), inside the image."""
    x0, y0, x1, y1 = (min(size, max(0, round(value * size))) for value in box)
    x0, y0 = min(x0, size - 2), min(y0, size - 2)
    return x0, y0, max(2, x1 - x0), max(2, y1 - y0)


Background = Callable[[ImageDraw.ImageDraw, int, np.random.Generator], None]


def _band(
    draw: ImageDraw.ImageDraw,
    side: int,
    rng: np.random.Generator,
    colour: Colour,
    jitter: int,
    top: float = 0.0,
    bottom: float = 1.0,
) -> None:
    """A band across the whole image from `top` to `bottom`, shares of its height."""
    draw.rectangle((0, side * top, side, side * bottom), fill=jittered(colour, jitter, rng))


def _field(draw: ImageDraw.ImageDraw, side: int, rng: np.random.Generator) -> None:
    horizon = rng.uniform(0.3, 0.5)
    _band(draw, side, rng, (165, 215, 245), 20, bottom=horizon)
    _band(draw, side, rng, (115, 185, 85), 22, top=horizon)


def _sea(draw: ImageDraw.ImageDraw, side: int, rng: np.random.Generator) -> None:
    horizon = rng.uniform(0.35, 0.55)
    _band(draw, side, rng, (250, 225, 190), 15, bottom=horizon)
    _band(draw, side, rng, (60, 130, 175), 22, top=horizon)
    wave = jittered((130, 190, 220), 15, rng)
    for row in range(3):
        y = side * horizon + (side - side * horizon) * (row + 0.6) / 3
        x = rng.random() * side * 0.6
        draw.line((x, y, x + side * 0.35, y), fill=wave, width=max(1, side // 48))


def _night(draw: ImageDraw.ImageDraw, side: int, rng: np.random.Generator) -> None:
    _band(draw, side, rng, (22, 24, 62), 14)
    _band(draw, side, rng, (45, 45, 60), 10, top=0.82)
    dot = max(1, side // 60)
    for x, y in rng.random((7, 2)) * (side, side * 0.7):
        draw.rectangle((x, y, x + dot, y + dot), fill=(235, 235, 200))
    x, moon = rng.uniform(0.05, 0.8) * side, side * 0.14
    draw.ellipse((x, side * 0.05, x + moon, side * 0.05 + moon), fill=(240, 235, 190))


def _street(draw: ImageDraw.ImageDraw, side: int, rng: np.random.Generator) -> None:
    _band(draw, side, rng, (185, 180, 175), 16)
    x = -rng.random() * side * 0.2
    while x < side:
        width = side * rng.uniform(0.16, 0.3)
        draw.rectangle((x, side * rng.uniform(0.05, 0.35), x + width, side), fill=jittered((160, 148, 140), 20, rng))
        x += width
    _band(draw, side, rng, (88, 88, 92), 12, top=0.74)
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
    near, far = side * 0.12, side * 0.3
    draw.polygon([(centre - near, 0), (centre + near, 0), (centre + far, side), (centre - far, side)], fill=beam)
    _band(draw, side, rng, (140, 95, 60), 15, top=0.77)
    draw.ellipse((centre - side * 0.28, side * 0.8, centre + side * 0.28, side * 0.98), fill=(200, 160, 110))


def _snow(draw: ImageDraw.ImageDraw, side: int, rng: np.random.Generator) -> None:
    horizon = rng.uniform(0.4, 0.6)
    _band(draw, side, rng, (185, 198, 215), 15, bottom=horizon)
    _band(draw, side, rng, (232, 236, 240), 10, top=horizon)
    dot = max(1, side // 40)
    for x, y in rng.random((12, 2)) * side:
        draw.ellipse((x, y, x + dot, y + dot), fill=(255, 255, 255))


def _desert(draw: ImageDraw.ImageDraw, side: int, rng: np.random.Generator) -> None:
    _band(draw, side, rng, (250, 190, 120), 14)
    dune = jittered((225, 160, 85), 14, rng)
    for left in (-0.3, 0.3):
        x = side * (left + rng.uniform(-0.1, 0.1))
        draw.ellipse((x, side * 0.62, x + side * 1.1, side * 1.5), fill=dune)


def _forest(draw: ImageDraw.ImageDraw, side: int, rng: np.random.Generator) -> None:
    _band(draw, side, rng, (60, 95, 65), 14)
    for trunk in range(6):
        x = side * (trunk + rng.uniform(0.1, 0.6)) / 6
        draw.rectangle((x, 0, x + side * 0.05, side), fill=jittered((80, 60, 45), 10, rng))
    _band(draw, side, rng, (105, 85, 55), 10, top=0.86)


def _kitchen(draw: ImageDraw.ImageDraw, side: int, rng: np.random.Generator) -> None:
    _band(draw, side, rng, (225, 235, 225), 10)
    tile = jittered((195, 215, 205), 10, rng)
    for row in range(0, 8):
        for column in range(row % 2, 8, 2):
            x, y = side * column / 8, side * row / 8
            draw.rectangle((x, y, x + side / 8, y + side / 8), fill=tile)
    _band(draw, side, rng, (170, 120, 90), 12, top=0.8)


def _dusk(draw: ImageDraw.ImageDraw, side: int, rng: np.random.Generator) -> None:
    for band, colour in enumerate(((95, 60, 120), (160, 80, 120), (215, 110, 100), (240, 155, 90))):
        _band(draw, side, rng, colour, 12, band / 4, (band + 1) / 4)
    x = rng.uniform(0.1, 0.7) * side
    draw.ellipse((x, side * 0.6, x + side * 0.2, side * 0.8), fill=(255, 225, 130))


def _orchard(draw: ImageDraw.ImageDraw, side: int, rng: np.random.Generator) -> None:
    _band(draw, side, rng, (215, 225, 160), 12)
    crown = jittered((150, 180, 95), 14, rng)
    for tree in range(4):
        x, y = side * (tree + rng.uniform(0.0, 0.5)) / 4, side * rng.uniform(0.05, 0.25)
        draw.ellipse((x, y, x + side * 0.2, y + side * 0.25), fill=crown)


BACKGROUNDS: dict[str, Background] = {
    "field": _field, "sea": _sea, "night": _night, "street": _street, "stage": _stage, "snow": _snow,
    "desert": _desert, "forest": _forest, "kitchen": _kitchen, "dusk": _dusk, "orchard": _orchard,
}  # fmt: skip
"""Setting name to background, of all worlds."""
