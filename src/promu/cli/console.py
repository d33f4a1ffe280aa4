"""How the command line prints: results to standard output, all else to standard error."""

from __future__ import annotations

import json
import logging
import re
import sys
import time
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

from promu.errors import InputError
from promu.progress import figures, rate_of, shown

if TYPE_CHECKING:
    from rich.progress import TaskID

LINE_EVERY = 30.0
"""Seconds between two lines of progress where standard error is no terminal."""


class StderrHandler(logging.Handler):
    """Log records to standard error as it is at that moment, so that they appear above a progress bar, not in it."""

    def emit(self, record: logging.LogRecord) -> None:
        """Print the record."""
        print(as_options(self.format(record)), file=sys.stderr)


_ARGUMENT = re.compile(
    r"""(?<![\w./-])([a-z][a-z_]*)=(?:'([\w-]+)'|(?=[\s,;:.)]|$))|(?<!\w)'(?:[^'\\]|\\.)*'|(?<!\w)"(?:[^"\\]|\\.)*\""""
)
"""An argument as messages of the library name it, `images=` or `missing_images='skip'`; or a quotation, which stays."""


def as_options(sentence: str) -> str:
    """A message of the library with the options of the command line in place of Python's arguments.

    >>> as_options("no such folder of images; correct images=, or give missing_images='skip'")
    'no such folder of images; correct --images, or give --missing-images skip'
    """

    def option(found: re.Match[str]) -> str:
        name, value = found.groups()
        if name is None:
            return found[0]
        return f"--{name.replace('_', '-')}" + (f" {value}" if value else "")

    return _ARGUMENT.sub(option, sentence)


def complain(sentence: str) -> None:
    """Say what went wrong, on standard error, in one line."""
    print(f"error: {as_options(' '.join(sentence.split()))}", file=sys.stderr)


def note(sentence: str) -> None:
    """Say what should not be missed, on standard error."""
    print(f"note: {as_options(sentence)}", file=sys.stderr)


def print_json(value: Any) -> None:
    """Print one JSON document, and nothing else, to standard output."""
    print(json.dumps(value, ensure_ascii=False, indent=2, allow_nan=False))


def print_table(title: str, header: Sequence[str], rows: Iterable[Sequence[str]]) -> None:
    """Print a table, first column to the left, figures to the right."""
    from rich import box
    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

    table = Table(title=Text(title), title_justify="left", box=box.SIMPLE_HEAD)
    for column, name in enumerate(header):
        table.add_column(Text(name), justify="left" if column == 0 else "right", overflow="fold")
    for row in rows:
        table.add_row(*(Text(cell) for cell in row))
    console = Console(highlight=False)
    if not console.is_terminal:
        console = Console(highlight=False, width=1000)  # a file or a pipe has no edge to fold names at
    console.print(table)


def named_files(words: Sequence[str], option: str = "--context") -> dict[str, str]:
    """What options of the form NAME=FILE say, by name.

    Raises:
        InputError: One has another form, or a name comes twice.
    """
    files: dict[str, str] = {}
    for word in words:
        name, sign, file = word.partition("=")
        if not (name and sign and file):
            raise InputError(f"{option} {word!r} is not of the form NAME=FILE")
        if name in files:
            raise InputError(f"{option} {name} is given twice; join the files, or give them two names")
        files[name] = file
    return files


@contextmanager
def progress_bars() -> Iterator[None]:
    """Show what is reported in here on standard error: a bar for each stage with rate and time left.

    Where standard error is no terminal, lines take the place of bars.
    """
    from rich import progress
    from rich.console import Console

    console = Console(stderr=True)
    if not console.is_terminal:
        with shown(_Lines()):
            yield
        return
    columns = (
        progress.TextColumn("{task.description}"),
        progress.BarColumn(),
        progress.MofNCompleteColumn(),
        progress.TextColumn("{task.fields[rate]}"),
        progress.TextColumn("{task.fields[figures]}"),
        progress.TimeElapsedColumn(),
        progress.TextColumn("left"),
        progress.TimeRemainingColumn(),
    )
    with progress.Progress(*columns, console=console, transient=True) as bars:
        numbers: dict[str, TaskID] = {}

        def advance(name: str, done: int, total: int) -> None:
            if name not in numbers:
                # A resumed run starts in the middle: the rate is of what this process does.
                numbers[name] = bars.add_task(name, total=total, completed=done, rate="", figures="")
            number = numbers[name]
            bars.update(number, completed=done, total=total, figures=figures())
            speed = next(task.speed for task in bars.tasks if task.id == number)
            if speed:
                bars.update(number, rate=rate_of(speed))

        with shown(advance):
            yield


class _Lines:
    """Progress for a file or a pipe: a line every `LINE_EVERY` seconds; quick work says nothing."""

    def __init__(self) -> None:
        self.name = ""
        self.began = self.printed = 0.0
        self.first = 0

    def __call__(self, name: str, done: int, total: int) -> None:
        now = time.monotonic()
        if name != self.name:
            self.name, self.began, self.printed, self.first = name, now, now, done
        if now - self.printed < LINE_EVERY:
            return
        self.printed = now
        rate = (done - self.first) / (now - self.began)
        left = f", {rate_of(rate)}, {(total - done) / rate / 60:.1f} min left" if rate else ""
        said = f", {figures()}" if figures() else ""
        print(f"{name}: {done}/{total}{left}{said}", file=sys.stderr)
