"""The beginning of a bulk run: its input split into parts, and a plan by which the run is known again."""

from __future__ import annotations

import json
import re
import shutil
from collections.abc import Iterable, Iterator
from dataclasses import asdict
from itertools import chain, islice
from pathlib import Path
from typing import Any

from promu.errors import InputError
from promu.extraction.bulk_part import BulkSettings, letter
from promu.extraction.sources import read_source
from promu.files import write_json, write_text

_OURS = re.compile(r"\d{6,}\.(in|out|dead)\.jsonl|\..+\.part")
"""Names of what a run that was stopped leaves behind, before a part is done."""


def split_into_parts(source: Path, settings: BulkSettings, parts: Path, part: int) -> int:
    """Split the input into parts, unless that was done before.

    Args:
        source: Posts, see `promu.extraction.sources`.
        settings: What is done with each.
        parts: The folder of the parts, which is made.
        part: Posts a part.

    Returns:
        The number of posts.

    Raises:
        InputError: The input cannot be used; a run with something else has done parts here; something else is in the
            folder; or it cannot be made.
    """
    plan = {"input": _identity(source), "settings": asdict(settings), "model": _model(settings), "part": part}
    file = parts / "plan.json"
    if file.is_file():
        found = json.loads(file.read_text(encoding="utf-8"))
        posts = int(found.pop("posts"))
        differing = sorted(key for key in plan if found.get(key) != plan[key])
        if not differing:
            return posts
        if next(parts.glob("*.done.json"), None) is not None:
            raise InputError(
                f"a run with another {' and '.join(differing)} was stopped here; run it to its end with what it had, "
                "delete this folder, or choose another output",
                parts,
            )
        file.unlink()  # its model could not be opened, for instance: nothing is lost
    _clear(parts)
    records = read_source(source)
    first = next(records, None)  # a file that is none of its kind is found before anything is written
    if first is None:
        raise InputError("the file holds no posts; is this the right file?", source)
    try:
        parts.mkdir()
    except OSError as error:
        raise InputError(f"cannot make this folder ({error.strerror}); write where you may", parts) from None
    posts = 0
    try:
        for number, chunk in enumerate(_chunks(chain([first], records), part)):
            posts += len(chunk)
            write_text(parts / f"{number:06d}.in.jsonl", map(_split_line, chunk))
    except InputError:
        shutil.rmtree(parts)
        raise
    write_json(file, {**plan, "posts": posts})
    return posts


def _clear(parts: Path) -> None:
    """Remove what a run left that was stopped before it had a plan."""
    if not parts.exists():
        return
    files = parts.iterdir() if parts.is_dir() else [parts]
    other = next((file for file in files if not _OURS.fullmatch(file.name)), None)
    if other is not None:
        raise InputError("this is in the way, and no run has left it; move it, or choose another output", other)
    shutil.rmtree(parts)


def _split_line(item: tuple[int, dict[str, Any] | InputError]) -> str:
    number, record = item
    if isinstance(record, InputError):
        line = letter(number, None, InputError(record.reason))  # the number says where
    else:
        line = {"number": number, "record": record}
    return json.dumps(line) + "\n"  # in ASCII, so that half surrogate pairs get as far as the check of the post


def _identity(path: Path) -> dict[str, Any]:
    """By which a file is known again, without reading it."""
    if not path.is_file():
        raise InputError("no such file; check the path", path)
    facts = path.stat()
    return {"path": str(path.resolve()), "bytes": facts.st_size, "modified": facts.st_mtime_ns}


def _model(settings: BulkSettings) -> list[dict[str, Any]]:
    folder = Path(settings.model)
    return [_identity(file) for pattern in ("*.safetensors", "*.onnx") for file in sorted(folder.rglob(pattern))]


def _chunks(items: Iterable[Any], size: int) -> Iterator[list[Any]]:
    items = iter(items)
    while chunk := list(islice(items, size)):
        yield chunk
