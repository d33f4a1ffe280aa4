"""Who does the parts of a bulk run: this process, several on this machine, or a cluster under Ray."""

from __future__ import annotations

import logging
import multiprocessing
import os
import threading
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor, as_completed
from concurrent.futures.process import BrokenProcessPool
from pathlib import Path
from typing import Any

import torch

from promu.cores import usable_cores
from promu.errors import InputError
from promu.extraction.bulk_part import BulkSettings, extract_part

Prepare = Callable[[], None] | None
Done = Iterator[dict[str, int]]
"""What `extract_part` counted, of each part as it is done."""

RAY_STORE_BYTES = 100 * 2**20
"""For Ray's objects on one machine: numbers of parts and counts are all that travels."""


def run_local(settings: BulkSettings, parts: Path, numbers: Sequence[int], workers: int, prepare: Prepare) -> Done:
    """Parts one after the other in this process, or by `workers` processes.

    Raises:
        InputError: A process was killed.
    """
    if workers == 1:
        extractor = settings.open()
        for number in numbers:
            yield extract_part(extractor, settings, parts, number)
        return
    settings.open()  # what is wrong with the model is said once, and in its own words
    threads = max(1, usable_cores() // workers)
    pool = ProcessPoolExecutor(
        min(workers, len(numbers)), multiprocessing.get_context("spawn"), _begin, (settings, parts, threads, prepare)
    )
    try:
        for task in as_completed([pool.submit(_do, number) for number in numbers]):
            yield task.result()
    except BrokenProcessPool:
        raise InputError(
            "a worker process was killed (out of memory?); run the same command again, with fewer workers if need be: "
            "it goes on where it stopped"
        ) from None
    finally:
        pool.shutdown(wait=True, cancel_futures=True)


_work: Any = None
"""In a worker process: what does a part."""


def _begin(settings: BulkSettings, parts: Path, threads: int, prepare: Prepare) -> None:
    global _work
    _work = _PartWorker(settings, parts, threads, prepare)
    parent = multiprocessing.parent_process()
    if parent is not None:
        threading.Thread(target=_end_with, args=(parent,), daemon=True).start()


def _end_with(parent: Any) -> None:
    """Leave no worker behind when the process that feeds it is killed."""
    parent.join()
    os._exit(1)


def _do(number: int) -> dict[str, int]:
    found: dict[str, int] = _work.do(number)
    return found


class _PartWorker:
    """A process of its own with an extractor of its own."""

    def __init__(self, settings: BulkSettings, parts: Path, threads: int, prepare: Prepare) -> None:
        if prepare is not None:
            prepare()
        torch.set_num_threads(threads)
        self.settings, self.parts = settings, parts
        self.extractor = settings.open()

    def do(self, number: int) -> dict[str, int]:
        """Do one part."""
        return extract_part(self.extractor, self.settings, self.parts, number)

    def __call__(self, row: dict[str, Any]) -> dict[str, Any]:
        """The same for a row of Ray Data."""
        return {"counts": self.do(int(row["part"]))}


def run_ray(settings: BulkSettings, parts: Path, numbers: Sequence[int], workers: int, prepare: Prepare) -> Done:
    """Parts by actors of Ray Data: on the cluster that `RAY_ADDRESS` names, else on this machine.

    Model, pictures and the folder of parts must lie where every machine of the cluster finds them under the same name.
    An actor that dies is started again, and its part done again.

    Raises:
        InputError: Ray is not installed.
    """
    try:
        import ray
        import ray.data
    except ImportError:
        raise InputError("engine ray needs Ray; install promu[ray], or use engine local") from None
    settings.open()
    os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")  # nothing is told to anyone outside
    own = not ray.is_initialized()
    if own:
        here: dict[str, Any] = {"num_cpus": workers, "object_store_memory": RAY_STORE_BYTES}
        ray.init(log_to_driver=False, logging_level=logging.ERROR, **({} if os.environ.get("RAY_ADDRESS") else here))
    try:
        ray.data.DataContext.get_current().enable_progress_bars = False
        # a block a part: what is handed out, and what is done again
        data = ray.data.from_items([{"part": number} for number in numbers], override_num_blocks=len(numbers))
        worker: Any = _PartWorker  # Ray's types know functions of a row, not classes of such
        told = data.map(
            worker,
            fn_constructor_args=(settings, parts.absolute(), 1, prepare),
            compute=ray.data.ActorPoolStrategy(size=min(workers, len(numbers))),
            num_cpus=1,
        )
        for row in told.iter_rows():
            yield {key: int(value) for key, value in row["counts"].items() if value is not None}
    finally:
        if own:
            ray.shutdown()


Engine = Callable[[BulkSettings, Path, Sequence[int], int, Prepare], Done]
ENGINES: dict[str, Engine] = {"local": run_local, "ray": run_ray}
