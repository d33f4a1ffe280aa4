"""CSV as rows by the names in its first line, each with the line it begins at."""

from __future__ import annotations

import csv
from collections.abc import Callable, Iterator
from pathlib import Path

from promu.errors import InputError
from promu.files import fault, read_lines


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
                raise InputError(error.reason, path, number) from None
        elif len(row) != len(header):
            fault(
                problems,
                InputError(f"{len(row)} columns where the first line names {len(header)}; {remedy}", path, number),
            )
            yield number, None
        else:
            yield number, dict(zip(header, row, strict=True))
