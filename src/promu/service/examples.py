"""Posts to try the page with, their pictures drawn by the painter of the drawn corpus."""

from __future__ import annotations

import io
from dataclasses import dataclass
from functools import cache

import numpy as np

from promu.corpora.newsreel import WORLD, Scene, draw_scene
from promu.schema import NO_RELATION

SIDE = 240
"""Width and height of the pictures, in pixels."""


@dataclass(frozen=True, slots=True)
class Example:
    """A post: its text, and the setting and things of its picture (no things, no picture).

    Attributes:
        title: A few words for the button.
        seed: Of the picture's places, sizes and colours.
    """

    title: str
    text: str
    setting: str = ""
    things: tuple[str, ...] = ()
    seed: int = 0


EXAMPLES = (
    Example("At a concert", "Zorva and Kelmo tonight", "stage", ("woman", "guitar"), 4),
    Example("The same words at a wedding", "Zorva and Kelmo tonight", "field", ("woman", "man", "heart"), 1),
    Example("The same words in a street", "Zorva and Kelmo tonight", "street", ("crest", "bridge"), 3),
    Example(
        "Somebody moves",
        "@dailybits Stojur Testu lives in Brodrai Jumei now \U0001f600",
        "snow",
        ("woman", "castle"),
        3,
    ),
    Example("Two places", "Raibrair is a town in Vaiwai #Wow", "field", ("castle", "mountain"), 2),
    Example("Words alone", "Limail flew to Zojun Gerik for the weekend"),
)


@cache
def picture(number: int) -> bytes | None:
    """The picture of an example as PNG, drawn on first use; None where it has none."""
    example = EXAMPLES[number]
    if not example.things:
        return None
    scene = Scene(example.setting, example.things, None, NO_RELATION)
    drawn, _ = draw_scene(scene, WORLD, np.random.default_rng(example.seed), SIDE, noise=3.0)
    target = io.BytesIO()
    drawn.save(target, "PNG")
    return target.getvalue()
