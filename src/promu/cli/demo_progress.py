"""How far the demo is: one bar whose time left follows what was measured so far."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager

CHAIN = {"drawing": 20.0, "pre-training": 280.0, "promu · entities": 35.0, "promu · relations": 35.0}
"""What must happen one after the other (the last two side by side), and about how many seconds each takes.

This chain decides how long the whole takes; only the proportions matter once something was measured.
"""

STAGES = {
    "drawing": {"drawing": (0.0, 0.6), "reading captions": (0.6, 0.65), "pictures": (0.65, 1.0)},
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
        self.shares[job] = 1.0 if stage == "done" else low + (high - low) * done / max(total, 1)

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
