"""Posts to try a model on: those in its own folder, else a few that belong to no data set.

A model's folder may have `examples/` with `examples.json`, a list of `{"title", "text", "image"}`, and the images that
it names. `promu demo` puts posts of its drawn corpus there; whoever trains a model can put their own there.
"""

from __future__ import annotations

import shutil
from collections.abc import Sequence
from pathlib import Path

from pydantic import BaseModel, ConfigDict, Field, TypeAdapter, ValidationError

from promu.config import first_problem
from promu.corpora.images import probe_image
from promu.errors import InputError
from promu.files import make_folder, read_json_document, write_json
from promu.tasks.model_folder import EXAMPLES

LIST = "examples.json"
MOST = 24
"""Examples of one model."""


class Example(BaseModel):
    """A post to try: its button's title, its text, and its image: a file of `examples/`, or None."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    title: str = Field(min_length=1, max_length=80)
    text: str = Field(min_length=1, max_length=2000)
    image: str | None = Field(default=None, pattern=r"^[^/\\]+$")


NEUTRAL = (
    Example(title="Two people", text="Marie Curie and Pierre Curie shared the prize in 1903"),
    Example(title="A person and a place", text="Ada Lovelace was born in London"),
    Example(title="A person and an organisation", text="Grace Hopper joined the US Navy #history"),
)
"""For a model that brings no examples."""

_SCHEMA = TypeAdapter(list[Example])


def read_examples(model: Path) -> tuple[Example, ...]:
    """The examples of a model's folder; `NEUTRAL` where it has none.

    Raises:
        InputError: The list is damaged or too long, or an image is missing or no image.
    """
    path = model / EXAMPLES / LIST
    if not path.is_file():
        return NEUTRAL
    try:
        examples = tuple(_SCHEMA.validate_python(read_json_document(path)))
    except ValidationError as error:
        reason = f"not a list of examples ({first_problem(error)}); mend it, or delete the folder"
        raise InputError(reason, path) from None
    if len(examples) > MOST:
        raise InputError(f"{len(examples)} examples; at most {MOST} are shown, delete some", path)
    for example in examples:
        if example.image is not None:
            probe_image(path.parent / example.image)
    return examples


def write_examples(model: Path, posts: Sequence[tuple[str, str, Path | None]]) -> None:
    """Put examples, (title, text, image) each, into a model's folder, in place of those that are there.

    Raises:
        InputError: An image cannot be read, or a title or text is empty or too long.
    """
    folder = model / EXAMPLES
    examples = []
    for number, (title, text, image) in enumerate(posts):
        name = None if image is None else f"{number}{image.suffix.lower()}"
        try:
            examples.append(Example(title=title, text=text, image=name))
        except ValidationError as error:
            raise InputError(f"example {title!r} cannot be one ({first_problem(error)})") from None
        if image is not None:
            probe_image(image)
    shutil.rmtree(folder, ignore_errors=True)
    make_folder(folder)
    for example, (_, _, image) in zip(examples, posts, strict=True):
        if image is not None:
            shutil.copy(image, folder / str(example.image))
    write_json(folder / LIST, [example.model_dump() for example in examples])
