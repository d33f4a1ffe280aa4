"""Prompt templates: text files with $names, those of the package or a user's own."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from importlib.resources import files
from pathlib import Path
from string import Template
from typing import Any

from promu.errors import InputError
from promu.files import read_text


def packaged(name: str) -> str:
    """The text of a file that comes with the package."""
    return (files("promu.knowledge") / "templates" / name).read_text(encoding="utf-8")


def load_template(name: str, fields: tuple[str, ...], folder: Path | None = None) -> Template:
    """A template, checked to hold each of `fields` and nothing else; a $ of its own is written $$.

    Args:
        name: File name.
        fields: What will be filled in.
        folder: A user's templates, looked into first; those that it lacks are the package's.

    Raises:
        InputError: The file cannot be read, or its $names are not those of `fields`.
    """
    if folder is not None and not folder.is_dir():
        raise InputError("no such folder of templates; check the path", folder)
    path = None if folder is None else folder / name
    own = path is not None and path.is_file()
    template = Template(read_text(path) if own and path is not None else packaged(name))
    wanted = ", ".join(f"${field}" for field in fields)
    if not template.is_valid():
        raise InputError(f"the template has a $ that begins no name; write $$ for it; its names are {wanted}", path)
    found = set(template.get_identifiers())
    if found != set(fields):
        wrong = ", ".join(f"${name}" for name in sorted(found.symmetric_difference(fields)))
        raise InputError(f"the template must hold {wanted} and no other name; missing or unknown: {wrong}", path)
    return template


def label_lines(labels: Sequence[str], own: Mapping[str, str] | None = None) -> str:
    """Labels, one a line, with what they mean where that is known; letter case does not matter.

    Args:
        labels: As the data writes them.
        own: Descriptions that win over those of the package.
    """
    known: dict[str, Any] = {**json.loads(packaged("labels.json")), **(own or {})}
    meanings = {name.casefold(): meaning for name, meaning in known.items()}
    return "\n".join(
        f"- {label}: {meanings[label.casefold()]}" if label.casefold() in meanings else f"- {label}" for label in labels
    )
