"""Caption pairs as `image,caption[,matched]` CSV with a header, or as JSON lines with the same keys."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from promu.corpora._fields import require_keys, require_text
from promu.corpora.csv_rows import csv_rows
from promu.errors import InputError
from promu.files import filled_lines, iterate_records, parse_json_object, shorten
from promu.schema import CaptionPair

_REQUIRED = ("image", "caption")
_OPTIONAL = ("matched",)
_TRUTH = {"1": True, "true": True, "0": False, "false": False}


def read_captions(path: str | Path, problems: list[InputError] | None = None) -> list[CaptionPair]:
    """Read caption pairs; the first character tells JSON lines from CSV.

    Args:
        path: The file. `image` is a path relative to the folder of pictures; `matched` is 1/0 or true/false and
            true where there is no such column.
        problems: Where malformed rows go; None raises the first.

    Raises:
        InputError: the file is missing or empty, holds no pair, or its header is wrong; without `problems` also any
            malformed row.
    """
    return [pair for _, pair in iterate_captions(path, problems)]


def iterate_captions(path: str | Path, problems: list[InputError] | None = None) -> Iterator[tuple[int, CaptionPair]]:
    """Yield (first line of the row, pair) as `read_captions` reads them, in the memory of a row.

    Raises:
        InputError: as `read_captions`, when the reading gets there.
    """
    path = Path(path)
    if is_json_lines(path):
        lines = filled_lines(path, problems)
        return iterate_records(path, problems, lines, lambda line: _pair(parse_json_object(line)), "caption pairs")
    rows = csv_rows(
        path, _check_header, "put captions with commas or quotation marks in quotes, quotes doubled", problems
    )
    return iterate_records(path, problems, rows, _pair, "caption pairs")


def is_json_lines(path: Path) -> bool:
    """Whether the first character of a file of captions is that of a JSON object, or a JSON list's."""
    # A line that is not UTF-8 cannot tell; the pass that reads the records reports it.
    head = next((line for _, line in filled_lines(path, []) if line is not None), "")
    return head.lstrip().startswith(("{", "["))


def require_image_path(value: object, what: str) -> str:
    """A picture's path below the folder of pictures; a leading ./ is dropped.

    Raises:
        InputError: not a path, absolute, or climbing out of the folder.
    """
    image = require_text(value, what)
    while image.startswith("./"):
        image = image[2:]
    if not image or image.startswith("/") or ".." in image.replace("\\", "/").split("/") or "\n" in image:
        raise InputError(f"{what} must be a path inside the folder of pictures, found {shorten(value)}")
    return image


def _check_header(names: list[str]) -> None:
    wrong = [name for name in names if name not in _REQUIRED + _OPTIONAL]
    if wrong or len(set(names)) < len(names) or not set(_REQUIRED) <= set(names):
        raise InputError(f"the first line must be image,caption or image,caption,matched, found {shorten(names)}")


def _pair(raw: object) -> CaptionPair:
    record = require_keys(raw, _REQUIRED, _OPTIONAL, "the pair")
    return CaptionPair(
        require_image_path(record["image"], "image"),
        require_text(record["caption"], "caption").strip(),
        _truth(record.get("matched", True)),
    )


def _truth(value: object) -> bool:
    if isinstance(value, bool):
        return value
    found = _TRUTH.get(str(value).strip().lower()) if type(value) in (str, int) else None
    if found is None:
        raise InputError(f"matched must be 1, 0, true or false, found {shorten(value)}")
    return found
