"""Files of posts of any size, one record after the other: JSON lines, CSV or Parquet, and what cannot be read in them.

A record is what a line of posts in JSON holds (`promu.corpora.posts`). The columns of a table are its keys; in CSV a
list, such as `tokens` or `entities`, is written as JSON, and so are `contexts`.
"""

from __future__ import annotations

import logging
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import suppress
from dataclasses import replace
from difflib import get_close_matches
from pathlib import Path
from typing import Any

from promu.corpora.fields import csv_rows
from promu.corpora.posts import from_record, plain, read_posts_jsonl
from promu.corpora.tokenize import languages_without_blanks, tokenize
from promu.errors import InputError, Problems, counted, first_line
from promu.files import is_blank, parse_json, parse_json_object, read_lines, read_records, shorten
from promu.schema import Post

logger = logging.getLogger(__name__)

Numbered = Iterator[tuple[int, dict[str, Any] | InputError]]
"""Line or row number, and what stands there or why it cannot be read."""

MOST = 20
"""Further keys that a note names one by one."""

STRINGS, LISTS = ("id", "text", "image"), ("tokens", "image_size", "entities", "relations")
MAPPINGS = ("contexts",)
"""What is read of a record; everything else is carried through."""


def read_source(path: Path) -> Numbered:
    """The records of a file by its suffix, lazily.

    A record is what a line of posts holds (`promu.corpora.posts`); whether it is a legal post is not looked at. Its
    number is the line of the file that it begins at, or for Parquet the row, from 1.

    Raises:
        InputError: A suffix that is not known; a file that is missing, empty, or none of its kind.
    """
    kind = path.suffix.lower()
    if kind not in SOURCES:
        found = repr(kind) if kind else "one without suffix"
        raise InputError(f"posts are read from {', '.join(SOURCES)} files, not {found}", path)
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
            try:
                yield start, _csv_record(row)
            except InputError as error:
                yield start, error.at(path, start)
    yield from ((problem.line or start, problem) for problem in problems)


def _csv_record(row: dict[str, str]) -> dict[str, Any]:
    """A row as a record; an empty field of ours is how CSV says that there is none."""
    record: dict[str, Any] = {
        key: value for key, value in row.items() if value or key not in (*STRINGS, *LISTS, *MAPPINGS)
    }
    for name in (*LISTS, *MAPPINGS):
        if name in record:
            kind, sample = ("a list", "[...]") if name in LISTS else ("a mapping", "{...}")
            value = parse_json(record[name]) if record[name].lstrip().startswith(sample[0]) else None
            if value is None:
                raise InputError(f"the column {name} must hold {kind} in JSON, {sample}, found {shorten(record[name])}")
            record[name] = value
    return record


def _check_header(names: list[str], problems: list[InputError]) -> None:
    if problems:
        raise InputError(problems[0].reason)
    if "text" not in names and "tokens" not in names:
        other = next((mark for mark in ";\t|" if "text" in names[0].split(mark)), None)
        remedy = f"; columns are separated by commas, not by {other!r}" if other and len(names) == 1 else ""
        reason = "the first line names the columns, and text must be among them"
        raise InputError(f"{reason}; found {shorten(names, 200)}{remedy}")


def _parquet(path: Path) -> Numbered:
    import pyarrow
    from pyarrow import parquet

    try:
        file = parquet.ParquetFile(path)
    except (pyarrow.ArrowException, OSError) as error:
        raise InputError(f"not a Parquet file ({first_line(error)})", path) from None
    with file:
        columns = file.schema_arrow
        if "text" not in columns.names and "tokens" not in columns.names:
            raise InputError(f"a column text or tokens is needed; found {', '.join(columns.names) or 'none'}", path)
        twice = next((name for name in columns.names if columns.names.count(name) > 1), None)
        if twice is not None:
            raise InputError(f"the column {shorten(twice)} is there twice; keep one of them", path)
        names = [field.name for field in columns if not _has_bytes(field.type)]
        if len(names) < len(columns):
            left = ", ".join(sorted(set(columns.names) - set(names)))
            logger.warning("%s: columns of bytes are not carried through: %s", path, left)
        number = 0
        try:
            for batch in file.iter_batches(1000, columns=names):
                for row in batch.to_pylist():
                    number += 1
                    yield number, _parquet_record({name: plain(value, name) for name, value in row.items()})
        except (pyarrow.ArrowException, OSError) as error:
            raise InputError(f"the file breaks off after row {number} ({first_line(error)})", path) from None


def _parquet_record(row: dict[str, Any]) -> dict[str, Any]:
    """A row as a record: mappings are columns of JSON, as we write them, or of structs, whose keys all rows have."""
    for name in MAPPINGS:
        if isinstance(row.get(name), str):
            with suppress(InputError):  # what reads posts says that it is none
                row[name] = parse_json(row[name])
        if isinstance(row.get(name), dict):
            row[name] = {key: value for key, value in row[name].items() if value is not None}
    return row


def _has_bytes(kind: Any) -> bool:
    """Whether an Arrow type is of bytes, or has some inside: JSON has no form for them."""
    from pyarrow import types

    if types.is_binary(kind) or types.is_large_binary(kind) or types.is_fixed_size_binary(kind):
        return True
    return any(_has_bytes(kind.field(number).type) for number in range(kind.num_fields))


def read_post_file(path: str | Path, problems: list[InputError] | None = None) -> list[Post]:
    """Read the posts of a .csv or .parquet file, or of JSON lines under any other name, labelled or not.

    A post without id gets the number of its line or row. Problems and errors as of every reader (`promu.corpora`).
    """
    path = Path(path)
    if path.suffix.lower() not in (".csv", ".parquet"):
        return read_posts_jsonl(path, problems)

    def parse(item: tuple[int, dict[str, Any] | InputError]) -> Post:
        if isinstance(item[1], InputError):
            raise InputError(item[1].reason, kind=item[1].kind)
        return replace(from_record(item[1], str(item[0])), line=item[0])

    return read_records(path, problems, parse, "posts", ((number, (number, raw)) for number, raw in read_source(path)))


def post_notes(path: Path) -> list[str]:
    """What is unusual about a file: further keys, one of which may be misspelt, and scripts without blanks."""
    posts = read_post_file(path, Problems())
    keys = Counter(key for post in posts for key in post.extra)
    languages: Counter[str] = Counter()
    for post in posts:
        found = languages_without_blanks(str(post.text))
        given = found and tuple(token for token, _, _ in tokenize(str(post.text))) != post.tokens
        languages.update([] if given else found)
    notes = []
    for key, count in sorted(keys.items()):
        near = get_close_matches(key, (*STRINGS, *LISTS, *MAPPINGS), 1, 0.75)
        meant = f"; was {near[0]} meant?" if near else ""
        notes.append(f"{shorten(key)} is not read but carried through, in {counted(count, 'post')}{meant}")
    notes = notes[:MOST] + [f"{counted(len(notes) - MOST, 'further key is', 'further keys are')} carried through"] * (
        len(notes) > MOST
    )
    if languages:
        counts = ", ".join(f"{language} in {counted(count, 'post')}" for language, count in sorted(languages.items()))
        notes.append(f"scripts without blanks ({counts}) are split into characters; give tokens for whole words")
    return notes


SOURCES: dict[str, Callable[[Path], Numbered]] = {".jsonl": _json_lines, ".csv": _csv, ".parquet": _parquet}
