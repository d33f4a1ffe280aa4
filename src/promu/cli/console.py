"""How the command line prints: results to standard output, all else to standard error."""

from __future__ import annotations

import json
import logging
import sys
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

from promu.progress import shown

if TYPE_CHECKING:
    from rich.progress import TaskID

LINE_EVERY = 30.0
"""Seconds between two lines of progress where standard error is no terminal."""


class StderrHandler(logging.Handler):
    """Log records to standard error as it is at that moment, so that they appear above a progress bar, not in it."""

    def emit(self, record: logging.LogRecord) -> None:
        """Print the record."""
        print(self.format(record), file=sys.stderr)


def complain(sentence: str) -> None:
    """Say what went wrong, on standard error, in one line."""
    print(f"error: {' '.join(sentence.split())}", file=sys.stderr)


def note(sentence: str) -> None:
    """Say what should not be missed, on standard error."""
    print(f"note: {sentence}", file=sys.stderr)


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


@contextmanager
def progress_bars() -> Iterator[None]:
    """Show what is reported in here on standard error: a bar for each stage with rate and time left.

    Where standard error is no terminal, lines take the place of bars.
    """
    from rich.console import Console
    from rich.progress import (
        BarColumn,
        MofNCompleteColumn,
        Progress,
        TextColumn,
        TimeElapsedColumn,
        TimeRemainingColumn,
    )

    console = Console(stderr=True)
    if not console.is_terminal:
        with shown(_Lines()):
            yield
        return
    columns = (
        TextColumn("{task.description}"),
        BarColumn(),
        MofNCompleteColumn(),
        TextColumn("{task.fields[rate]}"),
        TimeElapsedColumn(),
        TextColumn("left"),
        TimeRemainingColumn(),
    )
    with Progress(*columns, console=console, transient=True) as bars:
        numbers: dict[str, TaskID] = {}

        def advance(name: str, done: int, total: int) -> None:
            if name not in numbers:
                # A resumed run starts in the middle: the rate is of what this process does.
                numbers[name] = bars.add_task(name, total=total, completed=done, rate="")
            number = numbers[name]
            bars.update(number, completed=done, total=total)
            speed = next(task.speed for task in bars.tasks if task.id == number)
            if speed:
                bars.update(number, rate=f"{speed:.1f}/s" if speed >= 1 else f"{1 / speed:.1f} s each")

        with shown(advance):
            yield


class _Lines:
    """Progress for a file or a pipe: a line every `LINE_EVERY` seconds; quick work says nothing."""

    def __init__(self) -> None:
        self.name = ""
        self.began = self.said = 0.0
        self.first = 0

    def __call__(self, name: str, done: int, total: int) -> None:
        now = time.monotonic()
        if name != self.name:
            self.name, self.began, self.said, self.first = name, now, now, done
        if now - self.said < LINE_EVERY:
            return
        self.said = now
        rate = (done - self.first) / (now - self.began)
        left = f", {rate:.1f}/s, {(total - done) / rate / 60:.1f} min left" if rate else ""
        print(f"{name}: {done}/{total}{left}", file=sys.stderr)


CHAIN = {"drawing": 20.0, "pre-training": 280.0, "promu · entities": 35.0, "promu · relations": 35.0}
"""What must happen one after the other (the last two side by side), and about how many seconds each takes.

This chain decides how long the whole takes; only the proportions matter once something was measured.
"""

STAGES = {
    "drawing": {"drawing": (0.0, 0.6), "reading captions": (0.6, 0.65), "images": (0.65, 1.0)},
    "pre-training": {"teacher": (0.0, 0.4), "labels": (0.4, 0.5), "pre-training": (0.5, 1.0)},
}
"""Which part of a job each of its stages is."""


class Clock:
    """Share of the work done and seconds left.

    Args:
        names: The jobs, beside drawing.
    """

    def __init__(self, names: Sequence[str]) -> None:
        self.shares = dict.fromkeys(["drawing", *names], 0.0)
        self.started = time.monotonic()

    def move(self, job: str, stage: str, done: int, total: int) -> None:
        """Note that `job` is at `done` of `total` of `stage`."""
        low, high = STAGES.get(job, {}).get(stage, (0.0, 1.0))
        share = 1.0 if stage == "done" else low + (high - low) * done / max(total, 1)
        self.shares[job] = max(self.shares[job], share)

    @property
    def share(self) -> float:
        """Share of the chain that is done, 0..1."""
        return sum(seconds * self.shares[name] for name, seconds in CHAIN.items()) / sum(CHAIN.values())

    @property
    def left(self) -> float | None:
        """Seconds left at the pace so far; None while nothing is done."""
        share = self.share
        return None if share < 0.02 else (time.monotonic() - self.started) * (1 - share) / share


@contextmanager
def watch(names: Sequence[str]) -> Iterator[Callable[[str, str, int, int], None]]:
    """Show progress on standard error: a bar in a terminal, a line every quarter of a minute elsewhere.

    Yields:
        A function of (job, stage, done, total).
    """
    from rich.console import Console
    from rich.progress import BarColumn, Progress, TextColumn

    clock = Clock(names)
    console = Console(stderr=True)
    texts = [TextColumn(text) for text in ("{task.description}", "{task.percentage:>3.0f} %", "{task.fields[left]}")]
    with Progress(
        texts[0], BarColumn(), *texts[1:], console=console, disable=not console.is_terminal, transient=True
    ) as bar:
        row = bar.add_task("starting", total=1.0, left="")
        last = time.monotonic()

        def report(job: str, stage: str, done: int, total: int) -> None:
            nonlocal last
            clock.move(job, stage, done, total)
            what = job if stage in ("done", job) else f"{job}: {stage} {done:,} of {total:,}"
            left = "" if clock.left is None else f"about {int(clock.left // 60)}:{int(clock.left % 60):02d} left"
            bar.update(row, completed=clock.share, description=what, left=left)
            if not console.is_terminal and time.monotonic() - last > 15:
                last = time.monotonic()
                console.print(f"{clock.share:4.0%}  {what}  {left}", highlight=False)

        yield report
