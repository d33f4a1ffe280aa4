"""Many questions at once, stopped together."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterable
from concurrent.futures import Future, ThreadPoolExecutor, as_completed
from typing import TypeVar

Item = TypeVar("Item")
Result = TypeVar("Result")


def run_all(
    items: Iterable[Item],
    work: Callable[[Item], Result],
    concurrency: int,
    stopped: threading.Event,
    advance: Callable[[int, int], None] = lambda done, total: None,
) -> list[Result]:
    """`work` on every item, so many at a time.

    The first exception, or an interrupt, sets `stopped`; what is under way is finished and kept, the rest not begun.

    Returns:
        The results in the order of the items.
    """
    with ThreadPoolExecutor(concurrency) as pool:
        futures: list[Future[Result]] = [pool.submit(work, item) for item in items]
        try:
            for done, future in enumerate(as_completed(futures), start=1):
                future.result()
                advance(done, len(futures))
        except BaseException:
            stopped.set()
            pool.shutdown(wait=False, cancel_futures=True)
            raise
        return [future.result() for future in futures]
