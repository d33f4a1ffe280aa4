"""Posts by the million, one after the other, out of JSON lines, CSV or Parquet, and what cannot be read among them."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Iterator
from itertools import chain
from pathlib import Path
from typing import Any

from promu.corpora.fields import csv_rows
from promu.errors import InputError, first_line
from promu.files import atomic, is_blank, parse_json_object, read_lines, shorten, write_text

Numbered = Iterator[tuple[int, dict[str, Any] | InputError]]
"""Line or row number, and what stands there or why it cannot be read."""

COLUMNS = ("id", "text", "tokens", "image")
"""What is read of a table; a table may have other columns, which are left alone."""


def read_source(path: Path) -> Numbered:
    """The records of a file by its suffix, lazily.

    A record is what a line of posts holds (`promu.corpora.posts`); whether it is a legal post is not looked at. Its
    number is the line of the file that it begins at, or for Parquet the row, from 1.

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
    problems: list[InputError] = []
    remedy = "put texts with commas, quotation marks or line ends in quotes, quotes doubled"
    start = 1
    for start, row in csv_rows(path, lambda names: _check_header(names, problems), remedy, problems):
        # a line that is no UTF-8 is gone: before a row it was one of its own, within it the row is not what it was
        yield from ((problem.line or start, problem) for problem in problems if (problem.line or start) < start)
        broken = next((problem for problem in problems if (problem.line or start) >= start), None)
        problems.clear()
        if broken is not None:
            yield start, broken.at(path, start)
        elif row is not None:
            # an empty field is how CSV says that there is none
            yield start, {name: row[name] for name in ("id", "text", "image") if row.get(name)}
    yield from ((problem.line or start, problem) for problem in problems)


def _check_header(names: list[str], problems: list[InputError]) -> None:
    if problems:
        raise InputError(problems[0].reason)
    if "text" not in names:
        raise InputError(f"the first line names the columns, and text must be among them; found {shorten(names, 200)}")
    double = next((name for name in COLUMNS if names.count(name) > 1), None)
    if double is not None:
        raise InputError(f"the column {double!r} is there twice; name each once")


def _parquet(path: Path) -> Numbered:
    import pyarrow
    from pyarrow import parquet

    try:
        file = parquet.ParquetFile(path)
    except (pyarrow.ArrowException, OSError) as error:
        raise InputError(f"not a Parquet file ({first_line(error)})", path) from None
    with file:
        names = [name for name in COLUMNS if name in file.schema_arrow.names]
        if "text" not in names and "tokens" not in names:
            there = ", ".join(file.schema_arrow.names) or "none"
            raise InputError(f"a column text or tokens is needed; found {there}", path)
        number = 0
        try:
            for batch in file.iter_batches(1000, columns=names):
                for row in batch.to_pylist():
                    number += 1
                    yield number, {name: value for name, value in row.items() if value is not None}
        except (pyarrow.ArrowException, OSError) as error:
            raise InputError(f"the file breaks off after row {number} ({first_line(error)})", path) from None


SOURCES: dict[str, Callable[[Path], Numbered]] = {".jsonl": _json_lines, ".csv": _csv, ".parquet": _parquet}

Parts = Iterable[Iterable[str]]
"""Lines of JSON, as `Extraction.to_dict` has them, part by part."""


def _write_json_lines(path: Path, parts: Parts) -> int:
    count = 0

    def lines() -> Iterator[str]:
        nonlocal count
        for line in chain.from_iterable(parts):
            count += 1
            yield line

    write_text(path, lines())
    return count


def _write_parquet(path: Path, parts: Parts) -> int:
    """A row a line, a row group a part. Columns are the keys of the lines; `explanation` holds JSON."""
    import pyarrow as pa
    from pyarrow import parquet

    whole, text, number = pa.int32(), pa.string(), pa.float64()
    span = [("start", whole), ("end", whole), ("text", text), ("type", text), ("score", number)]
    entity = pa.struct([*span, ("char_start", whole), ("char_end", whole)])
    relation = pa.struct([("head", whole), ("tail", whole), ("type", text), ("score", number)])
    lists = [("tokens", pa.list_(text)), ("entities", pa.list_(entity)), ("relations", pa.list_(relation))]
    schema = pa.schema([("id", text), *lists, ("explanation", text)])
    count = 0
    with atomic(path) as temporary, parquet.ParquetWriter(temporary, schema) as writer:
        for part in parts:
            rows = [json.loads(line) for line in part]
            for row in rows:
                if "explanation" in row:
                    row["explanation"] = json.dumps(row["explanation"])
            count += len(rows)
            if rows:
                writer.write_table(pa.Table.from_pylist(rows, schema))
    return count


SINKS: dict[str, Callable[[Path, Parts], int]] = {".jsonl": _write_json_lines, ".parquet": _write_parquet}
"""By suffix: writes a file whole or not at all, and returns how many lines or rows it has."""
