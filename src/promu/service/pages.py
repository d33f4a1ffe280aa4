"""The page on which to try the model, the page that documents the API, and the examples: files and drawings."""

from __future__ import annotations

import io
from dataclasses import dataclass
from functools import cache
from importlib.resources import files

import numpy as np
from fastapi import APIRouter
from fastapi.responses import JSONResponse, Response
from starlette.exceptions import HTTPException

from promu.newsreel import WORLD, Scene, draw_scene
from promu.schema import NO_RELATION

SIDE = 240
"""Width and height of the images, in pixels."""


@dataclass(frozen=True, slots=True)
class Example:
    """A post to try, with a drawn image.

    Attributes:
        title: Of the button.
        text: Of the post.
        setting: Of the image.
        things: In the image; none: the post has no image.
        seed: Of the image's places, sizes and colours.
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
    Example("Text alone", "Limail flew to Zojun Gerik for the weekend"),
)


@cache
def image(number: int) -> bytes | None:
    """The image of an example as PNG, drawn on first use; None where it has none."""
    example = EXAMPLES[number]
    if not example.things:
        return None
    scene = Scene(example.setting, example.things, None, NO_RELATION)
    drawn, _ = draw_scene(scene, WORLD, np.random.default_rng(example.seed), SIDE, noise=3.0)
    target = io.BytesIO()
    drawn.save(target, "PNG")
    return target.getvalue()


router = APIRouter(include_in_schema=False)

_TYPES = {".html": "text/html", ".css": "text/css", ".js": "text/javascript", ".svg": "image/svg+xml"}

_FILES = {
    item.name: (item.read_bytes(), _TYPES["." + item.name.rpartition(".")[2]])
    for item in (files("promu.service") / "page").iterdir()
    if "." + item.name.rpartition(".")[2] in _TYPES
}


def _file(name: str) -> Response:
    if name not in _FILES:
        raise HTTPException(404)
    content, kind = _FILES[name]
    return Response(content, media_type=kind, headers={"Cache-Control": "no-cache"})


@router.get("/")
async def page() -> Response:
    """The page."""
    return _file("index.html")


@router.get("/docs")
async def docs() -> Response:
    """The OpenAPI document, for people."""
    return _file("docs.html")


@router.get("/page/{name}")
async def part(name: str) -> Response:
    """A style sheet, a script, the icon."""
    return _file(name)


@router.get("/examples")
async def examples() -> Response:
    """Posts to try: title, text, and the address of the image."""
    return JSONResponse(
        [
            {
                "title": example.title,
                "text": example.text,
                "image": f"/examples/{number}.png" if example.things else None,
            }
            for number, example in enumerate(EXAMPLES)
        ]
    )


@router.get("/examples/{number}.png")
def example_image(number: int) -> Response:
    """The image of an example."""
    drawn = image(number) if 0 <= number < len(EXAMPLES) else None
    if drawn is None:
        raise HTTPException(404)
    return Response(drawn, media_type="image/png", headers={"Cache-Control": "max-age=3600"})
