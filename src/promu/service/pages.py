"""The page on which a person can try the model, and the page that documents the API: files of the package."""

from __future__ import annotations

from importlib.resources import files

from fastapi import APIRouter
from fastapi.responses import JSONResponse, Response
from starlette.exceptions import HTTPException

from promu.service.examples import EXAMPLES, picture

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
    """What the OpenAPI document says, for people."""
    return _file("docs.html")


@router.get("/page/{name}")
async def part(name: str) -> Response:
    """A style sheet, a script, a drawing."""
    return _file(name)


@router.get("/examples")
async def examples() -> Response:
    """Posts to try: title, text, and where the picture is."""
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
def example_picture(number: int) -> Response:
    """A picture of theirs."""
    drawn = picture(number) if 0 <= number < len(EXAMPLES) else None
    if drawn is None:
        raise HTTPException(404)
    return Response(drawn, media_type="image/png", headers={"Cache-Control": "max-age=3600"})
