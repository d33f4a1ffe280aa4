"""Progress of long work: whoever runs a stage reports how far it is, whoever shows it says so with `shown`.

No function takes a callback for this: the sink is a context variable, so that it reaches a stage however deep it lies.
`map_concurrent` hands it to its threads; other threads do not have it, and worker processes report nothing.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterable, Iterator, Sized
from concurrent.futures import ThreadPoolExecutor, as_completed
from contextlib import contextmanager
from contextvars import ContextVar, copy_context
from typing import TypeVar

Item = TypeVar("Item")
Result = TypeVar("Result")

Sink = Callable[[str, int, int], None]
"""Is called with (stage, steps done, steps in all)."""

_sink: ContextVar[Sink | None] = ContextVar("promu_progress", default=None)
_figures: ContextVar[str] = ContextVar("promu_figures", default="")
_stored = threading.Event()


def report(stage: str, done: int, total: int, figures: str = "") -> None:
    """Say that `done` of `total` steps of a stage are done. How good they are, a sink finds in `figures`."""
    sink = _sink.get()
    if sink is not None:
        _figures.set(figures)
        sink(stage, done, total)


def figures() -> str:
    """What the report that a sink is called with says beside the steps, such as `loss 0.231, dev F1 81.20`."""
    return _figures.get()


def mark_stored() -> None:
    """Say that what is done so far is on disk, so that the same call would go on from it."""
    _stored.set()


def is_stored() -> bool:
    """Whether an interrupted call would go on from something."""
    return _stored.is_set()


def forget_stored() -> None:
    """A new call begins."""
    _stored.clear()


def rate_of(speed: float) -> str:
    """Steps a second in words; seconds a step where it takes longer than one.

    Example:
        >>> rate_of(12.34), rate_of(0.4), rate_of(1 / 95)
        ('12.3/s', '2.5 s/step', '1.6 min/step')
    """
    if speed >= 1:
        return f"{speed:.1f}/s"
    return f"{1 / speed:.1f} s/step" if speed > 1 / 60 else f"{1 / speed / 60:.1f} min/step"


def track(items: Iterable[Item], stage: str, total: int | None = None) -> Iterator[Item]:
    """The items of a stage, each reported as done when the next is asked for; without `total`, `items` has a length."""
    if total is None:
        assert isinstance(items, Sized)
        total = len(items)
    for done, item in enumerate(items, start=1):
        yield item
        report(stage, done, total)


def is_shown() -> bool:
    """Whether anyone looks: for what would have to be counted first."""
    return _sink.get() is not None


@contextmanager
def shown(sink: Sink | None) -> Iterator[None]:
    """Report to `sink` in here; None silences what is reported."""
    token = _sink.set(sink)
    try:
        yield
    finally:
        _sink.reset(token)


def map_concurrent(
    items: Iterable[Item], work: Callable[[Item], Result], concurrency: int, stopped: threading.Event, stage: str
) -> list[Result]:
    """`work` on every item in threads, so many at a time, reported as they are done.

    The first exception, or an interrupt, sets `stopped`; what is under way is finished, the rest not begun.

    Returns:
        The results in the order of the items.
    """
    with ThreadPoolExecutor(concurrency) as pool:
        futures = [pool.submit(copy_context().run, work, item) for item in items]
        try:
            for future in track(as_completed(futures), stage, len(futures)):
                future.result()
        except BaseException:
            stopped.set()
            pool.shutdown(wait=False, cancel_futures=True)
            raise
        return [future.result() for future in futures]
