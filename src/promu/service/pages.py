"""The page on which to try the model, the page that documents the API, and the model's examples."""

from __future__ import annotations

from importlib.resources import files
from pathlib import Path
from typing import NamedTuple

from fastapi import APIRouter, Request
from fastapi.responses import FileResponse, JSONResponse, Response
from starlette.exceptions import HTTPException

from promu.report.html import page_templates
from promu.service.examples import Example


class Examples(NamedTuple):
    """The examples of a service, and the folder of their images."""

    folder: Path
    posts: tuple[Example, ...]


router = APIRouter(include_in_schema=False)

_TYPES = {"html": "text/html", "css": "text/css", "js": "text/javascript", "svg": "image/svg+xml"}
_FILES = {
    item.name: (item.read_bytes(), kind)
    for item in (files("promu.service") / "page").iterdir()
    if (kind := _TYPES.get(item.name.rpartition(".")[2]))
}
# the style sheet of every page of promu
_FILES["style.css"] = (page_templates().get_template("style.css").render().encode(), "text/css")


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


def _examples(request: Request) -> Examples:
    found: Examples = request.app.state.examples
    return found


@router.get("/examples")
async def examples(request: Request) -> Response:
    """Posts to try: title, text, and the address of the image."""
    return JSONResponse(
        [{**one.model_dump(), "image": one.image and f"/examples/{one.image}"} for one in _examples(request).posts]
    )


@router.get("/examples/{name}")
async def example_image(request: Request, name: str) -> Response:
    """The image of an example."""
    found = _examples(request)
    if name not in {one.image for one in found.posts}:
        raise HTTPException(404)
    return FileResponse(found.folder / name, headers={"Cache-Control": "no-cache"})
