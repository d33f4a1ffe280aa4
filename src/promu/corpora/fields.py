"""Checks of single fields, each raising one InputError that says what was found and what is allowed."""

from __future__ import annotations

import csv
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

from promu.errors import InputError
from promu.files import fault, is_blank, read_lines, shorten


def require_keys(record: object, required: tuple[str, ...], optional: tuple[str, ...], what: str) -> Mapping[str, Any]:
    """A mapping with all of `required` and nothing beyond `optional`.

    Unknown keys are refused: a misspelt optional key would otherwise be dropped without a word.

    Raises:
        InputError: not a mapping, or a key missing or unknown.
    """
    if not isinstance(record, dict):
        raise InputError(f"{what} must be a mapping with the keys {', '.join(required)}, found {shorten(record)}")
    missing = [key for key in required if key not in record]
    if missing:
        there = ", ".join(_key(key) for key in list(record)[:12]) or "none"
        raise InputError(f"{what} lacks {', '.join(missing)}; its keys are: {there}")
    unknown = [key for key in record if key not in required and key not in optional]
    if unknown:
        raise InputError(
            f"{what} has the unknown key {shorten(unknown[0])}; allowed are {', '.join(required + optional)}"
        )
    return record


def _key(key: object) -> str:
    """A key as an error sentence shows it: bare where it is a plain word, else escaped."""
    return key if isinstance(key, str) and key.isidentifier() and len(key) <= 40 else shorten(key, 40)


def require_text(value: object, what: str) -> str:
    """A string with something in it that can be written as UTF-8.

    Raises:
        InputError: another type, only blanks, a NUL, or half of a surrogate pair.
    """
    if not isinstance(value, str):
        raise InputError(f"{what} must be a string, found {shorten(value)}")
    if is_blank(value):
        raise InputError(f"{what} is empty", kind=f"empty {what}")
    if "\0" in value:
        raise InputError(f"{what} holds a NUL character: {shorten(value)}")
    try:
        value.encode("utf-8")
    except UnicodeEncodeError:
        raise InputError(f"{what} holds half of a surrogate pair: {shorten(value)}") from None
    return value


def require_tokens(value: object, what: str = "token") -> tuple[str, ...]:
    """A non-empty list of tokens, none of them empty, none with a tab or a line break in it.

    Raises:
        InputError: anything else.
    """
    if not isinstance(value, (list, tuple)):
        raise InputError(f"{what} must be a list of words, found {shorten(value)}")
    if not value:
        raise InputError(f"{what} is an empty list; a post has at least one word")
    return tuple(require_token(token, f"word {index} of {what}") for index, token in enumerate(value))


def require_token(value: object, what: str) -> str:
    """One token: text without tab or line break."""
    token = require_text(value, what)
    if any(mark in token for mark in "\t\n\r"):
        raise InputError(f"{what} holds a tab or a line break: {shorten(token)}")
    return token


def require_span(value: object, tokens: tuple[str, ...], what: str) -> tuple[int, int]:
    """A pair of integers (start, end), end exclusive, inside `tokens`.

    Raises:
        InputError: not two integers, empty or negative, or past the last token.
    """
    # bool is an int to Python, but True is no word index.
    if not isinstance(value, (list, tuple)) or len(value) != 2 or any(type(index) is not int for index in value):
        raise InputError(f"{what} must be two integers [start, end], found {shorten(value)}")
    start, end = value
    if not 0 <= start < end <= len(tokens):
        raise InputError(
            f"{what} [{shorten(start)}, {shorten(end)}] is no span of the {len(tokens)} words; "
            "spans count words from 0, end exclusive"
        )
    return start, end


def require_name(value: object, tokens: tuple[str, ...], span: tuple[int, int], what: str) -> None:
    """Check that an entity's written name is the words of its span, which catches spans that are off by one.

    Raises:
        InputError: another type, or other words.
    """
    name = require_text(value, what)
    words = " ".join(tokens[span[0] : span[1]])
    if name != words:
        raise InputError(f"{what} is {shorten(name)}, but the words at [{span[0]}, {span[1]}] are {shorten(words)}")


def require_file_name(value: object, what: str) -> str:
    """A plain file name: no folder, since images lie directly in their folder.

    Raises:
        InputError: another type, empty, or with a slash, a tab or a line break.
    """
    name = require_token(value, what)
    if "/" in name or "\\" in name or name in (".", ".."):
        raise InputError(f"{what} must be a plain file name without folders, found {shorten(name)}")
    return name


def require_score(value: object, what: str) -> float:
    """A number from 0 to 1.

    Raises:
        InputError: anything else.
    """
    if type(value) not in (int, float) or not 0 <= value <= 1:  # type: ignore[operator]
        raise InputError(f"{what} must be a number from 0 to 1, found {shorten(value)}")
    return float(value)  # type: ignore[arg-type]


def stem(file_name: str) -> str:
    """An image's file name without its last suffix; a leading dot starts no suffix."""
    head, dot, _ = file_name.rpartition(".")
    return head if dot and head else file_name


def csv_rows(
    path: Path,
    check_header: Callable[[list[str]], None],
    remedy: str,
    problems: list[InputError] | None = None,
) -> Iterator[tuple[int, dict[str, str] | None]]:
    """Yield (first line of the row, row by column), None for a row that has been reported.

    Args:
        path: A file in UTF-8.
        check_header: Raises `InputError` where the names of the columns will not do; path and line are added.
        remedy: What to do about a row that is no CSV or has too few or too many columns, after a semicolon.
        problems: Where broken rows go; None stops at the first.

    Raises:
        InputError: The header will not do, or a row is broken and `problems` is None.
    """
    # csv wants whole lines; one that is not UTF-8 has been reported, and an empty line is skipped by csv
    lines = (f"{line}\n" if line is not None else "\n" for _, line in read_lines(path, problems))
    # strict: without it one stray quotation mark silently swallows every row up to the next
    rows = csv.reader(lines, strict=True)
    header: list[str] | None = None
    start = 1
    while True:
        try:
            row = next(rows)
        except StopIteration:
            return
        except csv.Error as error:
            fault(problems, InputError(f"not CSV ({error}); {remedy}", path, start))
            yield start, None
            start = rows.line_num + 1
            continue
        number, start = start, rows.line_num + 1
        if not row:
            continue
        if header is None:
            header = [name.strip() for name in row]
            try:
                check_header(header)
            except InputError as error:
                raise error.at(path, number) from None
        elif len(row) != len(header):
            fault(
                problems,
                InputError(f"{len(row)} columns where the first line names {len(header)}; {remedy}", path, number),
            )
            yield number, None
        else:
            yield number, dict(zip(header, row, strict=True))
