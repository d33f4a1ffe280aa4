"""Posts by the million, one after the other, out of JSON lines, CSV or Parquet, and what cannot be read among them."""

from __future__ import annotations

import csv
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from promu.errors import InputError, first_line
from promu.files import is_blank, parse_json_object, read_bytes, read_lines, shorten

Numbered = Iterator[tuple[int, dict[str, Any] | InputError]]
"""Line or row number, and what stands there or why it cannot be read."""

COLUMNS = ("id", "text", "tokens", "image")
"""What is read of a table; a table may have other columns, which are left alone."""


def read_source(path: Path) -> Numbered:
    """The records of a file by its suffix, lazily.

    A record is what a line of posts holds (`promu.corpora.posts`); whether it is a legal post is not looked at. JSON
    lines are numbered as lines of the file, the rows of a table from 1.

    Raises:
        InputError: A suffix that is not known; a file that is missing, empty, or none of its kind.
    """
    kind = path.suffix.lower()
    if kind not in SOURCES:
        raise InputError(f"posts are read from {', '.join(SOURCES)} files, not {kind or 'one without suffix'!r}", path)
    return SOURCES[kind](path)


def _json_lines(path: Path) -> Numbered:
    problems: list[InputError] = []
    for number, line in read_lines(path, problems):
        if line is None:
            yield number, problems.pop()
        elif not is_blank(line):
            try:
                yield number, parse_json_object(line)
            except InputError as error:
                yield number, error


def _csv(path: Path) -> Numbered:
    if read_bytes_start(path)[:2] in (b"\xff\xfe", b"\xfe\xff"):
        raise InputError("the file is UTF-16; save it as UTF-8", path)
    # bytes that are not UTF-8 survive as half surrogate pairs, for which the post alone is refused
    with path.open(encoding="utf-8-sig", errors="surrogateescape", newline="") as file:
        rows = csv.reader(file)
        header = _header(next(rows), path)
        number = 0
        while True:
            number += 1
            try:
                row = next(rows)
            except StopIteration:
                return
            except csv.Error as error:
                yield number, InputError(f"not CSV ({error})", path, number)
                continue
            if not row:
                number -= 1  # a blank line is no row
                continue
            yield number, _csv_record(row, header, path, number)


def _header(names: list[str], path: Path) -> list[str]:
    if "text" not in names:
        raise InputError(
            f"the first line names the columns, and text must be among them; found {shorten(names, 200)}", path, 1
        )
    double = next((name for name in COLUMNS if names.count(name) > 1), None)
    if double is not None:
        raise InputError(f"the column {double!r} is there twice; name each once", path, 1)
    return names


def _csv_record(row: list[str], header: list[str], path: Path, number: int) -> dict[str, Any] | InputError:
    if len(row) != len(header):
        return InputError(f"the row has {len(row)} fields, the header {len(header)}", path, number)
    if any("\udc80" <= character <= "\udcff" for value in row for character in value):
        return InputError("the row is not UTF-8; save the file as UTF-8", path, number)
    # an empty field is how CSV says that there is none
    return {name: value for name, value in zip(header, row, strict=True) if name in COLUMNS[:2] + COLUMNS[3:] and value}


def _parquet(path: Path) -> Numbered:
    import pyarrow
    from pyarrow import parquet

    read_bytes_start(path)
    try:
        file = parquet.ParquetFile(path)
    except (pyarrow.ArrowException, OSError) as error:
        raise InputError(f"not a Parquet file ({first_line(error)})", path) from None
    with file:
        names = [name for name in COLUMNS if name in file.schema_arrow.names]
        if "text" not in names and "tokens" not in names:
            raise InputError(
                f"a column text or tokens is needed; found {', '.join(file.schema_arrow.names) or 'none'}", path
            )
        number = 0
        try:
            for batch in file.iter_batches(1000, columns=names):
                for row in batch.to_pylist():
                    number += 1
                    yield number, {name: value for name, value in row.items() if value is not None}
        except (pyarrow.ArrowException, OSError) as error:
            raise InputError(f"the file breaks off after row {number} ({first_line(error)})", path) from None


def read_bytes_start(path: Path) -> bytes:
    """The first bytes of a file.

    Raises:
        InputError: The file is missing, a folder, unreadable or empty.
    """
    try:
        with path.open("rb") as file:
            start = file.read(16)
    except OSError:
        return read_bytes(path)  # which says what is wrong
    if not start.strip():
        raise InputError("the file is empty; fetch or write it again", path)
    return start


SOURCES: dict[str, Callable[[Path], Numbered]] = {".jsonl": _json_lines, ".csv": _csv, ".parquet": _parquet}
