"""The page on which to try the model, the page that documents the API, and the examples: files and drawings."""

from __future__ import annotations

import io
from functools import cache
from importlib.resources import files
from typing import NamedTuple

import numpy as np
from fastapi import APIRouter
from fastapi.responses import JSONResponse, Response
from starlette.exceptions import HTTPException

from promu.newsreel import WORLD, Scene, draw_scene
from promu.schema import NO_RELATION


class Example(NamedTuple):
    """A post to try: its button's title, its text, and the setting, things and seed of its drawn image, if any."""

    title: str
    text: str
    setting: str = ""
    things: tuple[str, ...] = ()
    seed: int = 0


MOVING = "@dailybits Stojur Testu lives in Brodrai Jumei now \U0001f600"
EXAMPLES = (
    Example("At a concert", "Zorva and Kelmo tonight", "stage", ("woman", "guitar"), 4),
    Example("The same words at a wedding", "Zorva and Kelmo tonight", "field", ("woman", "man", "heart"), 1),
    Example("The same words in a street", "Zorva and Kelmo tonight", "street", ("crest", "bridge"), 3),
    Example("Somebody moves", MOVING, "snow", ("woman", "castle"), 3),
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
    drawn, _ = draw_scene(scene, WORLD, np.random.default_rng(example.seed), 240, noise=3.0)
    target = io.BytesIO()
    drawn.save(target, "PNG")
    return target.getvalue()


router = APIRouter(include_in_schema=False)

_TYPES = {"html": "text/html", "css": "text/css", "js": "text/javascript", "svg": "image/svg+xml"}
_FILES = {
    item.name: (item.read_bytes(), kind)
    for item in (files("promu.service") / "page").iterdir()
    if (kind := _TYPES.get(item.name.rpartition(".")[2]))
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
    images = [f"/examples/{number}.png" if example.things else None for number, example in enumerate(EXAMPLES)]
    return JSONResponse(
        [{"title": one.title, "text": one.text, "image": image} for one, image in zip(EXAMPLES, images, strict=True)]
    )


@router.get("/examples/{number}.png")
def example_image(number: int) -> Response:
    """The image of an example."""
    drawn = image(number) if 0 <= number < len(EXAMPLES) else None
    if drawn is None:
        raise HTTPException(404)
    return Response(drawn, media_type="image/png", headers={"Cache-Control": "max-age=3600"})
