"""Does the cells of a study, several side by side, each as soon as what it reads is there."""

from __future__ import annotations

import json
import logging
import multiprocessing
import os
import queue
import threading
import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from concurrent.futures import FIRST_COMPLETED, Future, ProcessPoolExecutor, wait
from concurrent.futures.process import BrokenProcessPool
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from promu.errors import InputError
from promu.files import usable_cores
from promu.progress import report, shown
from promu.study.cells import Cell, with_inputs
from promu.study.jobs import JOBS, Job

logger = logging.getLogger(__name__)

LOG = "log.jsonl"
LOCK = "lock"
POLL = 0.3
"""Seconds between two looks at what the workers say."""


@dataclass(frozen=True)
class Outcome:
    """What became of a cell: its result with the processor time that it took, or why there is none."""

    result: dict[str, Any] | None
    failure: str | None = None
    core_seconds: float = 0.0


@dataclass
class Standing:
    """How far the grid is.

    Attributes:
        done, failed, total: Cells.
        running: Of each cell at work its label, and what it last said as (stage, done, of).
        left: Seconds left at the pace of the cells that were done so far; None while none was.
    """

    done: int
    failed: int
    total: int
    running: dict[str, tuple[str, int, int]]
    left: float | None = None

    def __str__(self) -> str:
        """Time left, and what is being done."""
        parts = []
        if self.left is not None:
            minutes = self.left / 60
            parts.append(f"about {minutes:.0f} min left" if minutes >= 1 else "less than a minute left")
        if self.failed:
            parts.append(f"{self.failed} failed")
        for label, (stage, done, total) in self.running.items():
            parts.append(f"{label} {100 * done // max(total, 1)} %" if stage else label)
        return "; ".join(parts) or "starting"


def do_cells(
    wanted: Iterable[Cell],
    grid: Path,
    workers: int | None = None,
    set_up: Callable[[], None] | None = None,
    jobs: Mapping[str, Job] = JOBS,
) -> dict[str, Outcome]:
    """Do what is not there of these cells and of all that they rest on.

    Progress is reported in cells; the stage says in words how long it will take and which cells are at work.

    A cell is done by one process on one thread: at the size of a study two cells side by side are quicker than two
    threads in one. What was killed is begun again, and goes on inside where the job itself resumes. A cell that
    `InputError` stops is left out, with all that rest on it, and tried again by the next call.

    Args:
        wanted: The cells whose results are asked for.
        grid: Folder of all cells.
        workers: Processes; None takes one a core.
        set_up: Called once in each worker before its first cell; a function of a module, for it is sent there.
        jobs: What cells do, by kind; functions of modules too.

    Returns:
        The outcome of every cell by key, inputs included.

    Raises:
        InputError: A worker process died, or the folder cannot be written to.
    """
    cells = with_inputs(wanted)
    try:
        grid.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise InputError(f"the folder cannot be made ({error.strerror}); choose another --out", grid) from None
    return _Grid(cells, grid, workers or usable_cores(), set_up, jobs).run()


class _Grid:
    """The state of one call of `do_cells`."""

    def __init__(
        self,
        cells: Mapping[str, Cell],
        folder: Path,
        workers: int,
        set_up: Callable[[], None] | None,
        jobs: Mapping[str, Job],
    ) -> None:
        self.set_up = set_up
        self.jobs = jobs
        self.cells = cells
        self.folder = folder
        self.workers = workers
        self.outcomes: dict[str, Outcome] = {}
        self.seconds: dict[str, list[float]] = {}
        self.running: dict[str, tuple[float, str, int, int]] = {}  # began, stage, done, of
        for key, cell in cells.items():
            if (kept := cell.result(folder)) is not None:
                self.outcomes[key] = Outcome(kept["result"], core_seconds=kept["cpu_seconds"])
                self.seconds.setdefault(cell.kind, []).append(float(kept["seconds"]))
        self.heights = self._heights()

    def run(self) -> dict[str, Outcome]:
        """Do the cells."""
        if len(self.outcomes) == len(self.cells):
            return self.outcomes
        context = multiprocessing.get_context("spawn")
        events = context.Queue()
        with _alone(self.folder):
            pool = ProcessPoolExecutor(
                self.workers, context, initializer=_set_up_worker, initargs=(events, self.set_up)
            )
            try:
                self._work(pool, events)
            except BrokenProcessPool:
                raise InputError(
                    "a worker process died, as it does when memory runs out; run the same command again, finished "
                    "cells are kept",
                    self.folder,
                ) from None
            except BaseException:
                # what runs is resumable, so it is stopped rather than waited for
                for process in list((pool._processes or {}).values()):
                    process.terminate()
                raise
            finally:
                pool.shutdown(wait=True, cancel_futures=True)
        return self.outcomes

    def _work(self, pool: ProcessPoolExecutor, events: Any) -> None:
        waiting: dict[Future[dict[str, Any]], str] = {}
        while len(self.outcomes) < len(self.cells):
            for cell in self._ready()[: self.workers - len(waiting)]:
                self.running[cell.key] = (time.monotonic(), "", 0, 1)
                waiting[pool.submit(do_cell, cell, self.folder, self.jobs[cell.kind])] = cell.key
            done, _ = wait(waiting, timeout=POLL, return_when=FIRST_COMPLETED)
            self._listen(events)
            for future in done:
                key = waiting.pop(future)
                del self.running[key]
                try:
                    kept = future.result()
                except InputError as error:
                    self._failed(key, str(error))
                else:
                    self.outcomes[key] = Outcome(kept["result"], core_seconds=kept["cpu_seconds"])
                    self.seconds.setdefault(self.cells[key].kind, []).append(kept["seconds"])
                    self._write({name: kept[name] for name in ("cell", "label", "seconds", "cpu_seconds")})
            standing = self._standing()
            report(str(standing), standing.done, standing.total)

    def _ready(self) -> list[Cell]:
        """Cells whose inputs are there, those first that the longest chain of others waits for."""
        ready = [
            cell
            for key, cell in self.cells.items()
            if key not in self.outcomes
            and key not in self.running
            and all((found := self.outcomes.get(one.key)) and found.result is not None for one in cell.inputs.values())
        ]
        return sorted(ready, key=lambda cell: -self.heights[cell.key])

    def _failed(self, key: str, why: str) -> None:
        """Note that a cell came to nothing, and so all that rest on it."""
        self.outcomes[key] = Outcome(None, why)
        self._write({"cell": key, "label": self.cells[key].label, "failure": why})
        logger.warning("%s: %s", self.cells[key].label, why)
        for other, cell in self.cells.items():
            if other not in self.outcomes and any(one.key == key for one in cell.inputs.values()):
                self._failed(other, f"rests on {self.cells[key].label!r}, which failed: {why}")

    def _listen(self, events: Any) -> None:
        while True:
            try:
                key, stage, done, total = events.get_nowait()
            except queue.Empty:
                return
            if key in self.running:
                self.running[key] = (self.running[key][0], stage, done, total)

    def _expected(self, cell: Cell) -> float:
        """Seconds that a cell takes: the mean of its kind, or its cost at the pace of the others."""
        if found := self.seconds.get(cell.kind):
            return sum(found) / len(found)
        costs = {one.kind: one.cost for one in self.cells.values()}
        known = [(sum(times) / len(times)) / costs[kind] for kind, times in self.seconds.items() if kind in costs]
        return cell.cost * (sum(known) / len(known) if known else 1.0)

    def _standing(self) -> Standing:
        failed = sum(outcome.result is None for outcome in self.outcomes.values())
        left = None
        if self.seconds:
            now = time.monotonic()
            work = sum(self._expected(cell) for key, cell in self.cells.items() if key not in self.outcomes)
            work -= sum(min(now - began, self._expected(self.cells[key])) for key, (began, *_) in self.running.items())
            left = work / self.workers
        running = {self.cells[key].label: said for key, (_, *said) in self.running.items()}
        return Standing(len(self.outcomes) - failed, failed, len(self.cells), running, left)  # type: ignore[arg-type]

    def _heights(self) -> dict[str, float]:
        """Cost of the longest chain that begins with each cell."""
        heights: dict[str, float] = {}
        for key, cell in reversed(list(self.cells.items())):
            heights[key] = heights.get(key, 0.0) + cell.cost
            for one in cell.inputs.values():
                heights[one.key] = max(heights.get(one.key, 0.0), heights[key])
        return heights

    def _write(self, line: Mapping[str, Any]) -> None:
        with (self.folder.parent / LOG).open("a", encoding="utf-8") as log:
            log.write(json.dumps(line, ensure_ascii=False) + "\n")


def do_cell(cell: Cell, grid: Path, job: Job) -> dict[str, Any]:
    """Do one cell in a worker process and keep its result."""
    import torch

    torch.set_num_threads(1)
    last = 0.0

    def send(stage: str, done: int, total: int) -> None:
        nonlocal last
        if time.monotonic() - last > POLL:
            last = time.monotonic()
            _worker_events.put((cell.key, stage, done, total))

    started, spent = time.perf_counter(), time.process_time()
    folder = cell.run_folder(grid)
    folder.parent.mkdir(parents=True, exist_ok=True)
    with shown(send):
        result = job(cell.placed(grid), folder)
    return cell.keep(grid, result, time.perf_counter() - started, time.process_time() - spent)


_worker_events: Any = None
"""Where a worker says how far its cell is, as (key, stage, done, of)."""


def _set_up_worker(events: Any, set_up: Callable[[], None] | None) -> None:
    global _worker_events
    _worker_events = events
    # one thread for what computes beside torch, too; read when those libraries start
    os.environ.setdefault("OMP_NUM_THREADS", "1")
    threading.Thread(target=_end_with_parent, daemon=True).start()
    if set_up is not None:
        set_up()


def _end_with_parent() -> None:
    """A worker whose parent was killed stops at once: the next call begins its cell again, in the same folder."""
    parent = multiprocessing.parent_process()
    assert parent is not None
    parent.join()
    os._exit(1)


@contextmanager
def _alone(folder: Path) -> Iterator[None]:
    """Keep a second call out of a folder; the lock goes with the process, however it ends.

    Raises:
        InputError: Another call is at work there.
    """
    import fcntl

    with (folder / LOCK).open("w") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise InputError(
                "another call is at work in this folder; wait for it, or choose another --out", folder
            ) from None
        yield
