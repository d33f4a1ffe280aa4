"""NewsCLIPpings annotations with their VisualNews base.

An annotation file is `{"annotations": [{"id", "image_id", "falsified", …}]}`: the caption of base entry `id` beside the
picture of base entry `image_id`. The base, VisualNews' `data.json`, is a list of `{"id", "caption", "image_path", …}`.
Both releases carry further keys, which are left alone.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

from promu.corpora._fields import require_text
from promu.corpora.captions import require_image_path
from promu.errors import InputError
from promu.files import fault, iterate_json_list, locate_records, read_json_document, read_text, shorten
from promu.schema import CaptionPair

BASE_NAME = "data.json"


def read_newsclippings(
    path: str | Path, problems: list[InputError] | None = None, *, base: str | Path | None = None
) -> list[CaptionPair]:
    """Read an annotation file as caption pairs; `matched` is the opposite of `falsified`.

    Args:
        path: The annotation file.
        problems: Where malformed annotations and base entries go; None raises the first.
        base: The VisualNews base; by default `data.json` beside the annotation file.

    Raises:
        InputError: either file is missing, empty or not such JSON; without `problems` also any malformed entry, or an
            annotation whose ids the base does not have.
    """
    path = Path(path)
    base = path.parent / BASE_NAME if base is None else Path(base)
    annotations = read_json_document(path)
    listed = annotations.get("annotations") if isinstance(annotations, dict) else None
    if not isinstance(listed, list):
        raise InputError(f'{{"annotations": [...]}} is expected, found {shorten(annotations)}', path)
    if not base.exists():
        raise InputError("the VisualNews base is missing; put it beside the annotations or name it", base)
    entries = _read_base(base, problems)

    def pair(numbered: tuple[int, object]) -> CaptionPair:
        index, record = numbered
        return _pair(record, f"annotation {index}", entries)

    # The position in the list names the record: these files are a single line.
    return locate_records(path, problems, ((1, item) for item in enumerate(listed)), pair, "annotations")


def _read_base(path: Path, problems: list[InputError] | None) -> dict[str, tuple[str, str]]:
    text = read_text(path)
    if not text.lstrip().startswith("["):
        raise InputError("the VisualNews base must be a JSON list", path)
    pairs = locate_records(path, problems, _elements(text, path, problems), _entry, "entries")
    return {key: (caption, image) for key, caption, image in pairs}


def _elements(
    text: str, path: Path, problems: list[InputError] | None
) -> Iterator[tuple[int, tuple[int, object] | None]]:
    count = 0
    try:
        for line, value in iterate_json_list(text):
            yield line, (count, value)
            count += 1
    except InputError as error:
        fault(problems, InputError(error.reason, path, error.line))
        yield error.line or 1, None


def _entry(numbered: tuple[int, object]) -> tuple[str, str, str]:
    index, value = numbered
    what = f"base entry {index}"
    record = _with_keys(value, ("id", "caption", "image_path"), what)
    return (
        _key(record["id"], f"id of {what}"),
        require_text(record["caption"], f"caption of {what}").strip(),
        require_image_path(record["image_path"], f"image_path of {what}"),
    )


def _pair(value: object, what: str, entries: dict[str, tuple[str, str]]) -> CaptionPair:
    record = _with_keys(value, ("id", "image_id", "falsified"), what)
    keys = [_key(record[name], f"{name} of {what}") for name in ("id", "image_id")]
    for key in keys:
        if key not in entries:
            raise InputError(f"{what} names {shorten(key)}, which the VisualNews base does not have")
    if not isinstance(record["falsified"], bool):
        raise InputError(f"falsified of {what} must be true or false, found {shorten(record['falsified'])}")
    return CaptionPair(entries[keys[1]][1], entries[keys[0]][0], not record["falsified"])


def _with_keys(value: object, keys: tuple[str, ...], what: str) -> dict[str, Any]:
    if not isinstance(value, dict):
        raise InputError(f"{what} must be an object, found {shorten(value)}")
    missing = [key for key in keys if key not in value]
    if missing:
        raise InputError(f"{what} lacks {', '.join(missing)}")
    return value


def _key(value: object, what: str) -> str:
    """Ids are numbers in one release and strings in another."""
    if type(value) is int:
        return str(value)
    return require_text(value, what)
