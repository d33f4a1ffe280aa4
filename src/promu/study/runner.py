"""Runs the jobs of a study in worker processes. A job starts as soon as its inputs are done."""

from __future__ import annotations

import fcntl
import gc
import json
import logging
import multiprocessing
import os
import queue
import threading
import time
from collections.abc import Iterable, Iterator, Mapping
from concurrent.futures import FIRST_COMPLETED, Future, ProcessPoolExecutor, wait
from concurrent.futures.process import BrokenProcessPool
from contextlib import contextmanager
from dataclasses import dataclass
from multiprocessing import forkserver
from multiprocessing.context import ForkServerContext
from pathlib import Path
from statistics import fmean
from typing import Any

from promu.cores import usable_cores
from promu.errors import InputError
from promu.files import make_folder
from promu.progress import mark_stored, report, shown
from promu.study.job import Job, with_inputs

logger = logging.getLogger(__name__)

LOG = "log.jsonl"
LOCK = "lock"
POLL = 0.3
"""Seconds between two progress messages of a worker, and between two looks at them."""


@dataclass(frozen=True)
class JobResult:
    """The result of a job with its time on the clock and on the processor, or the reason why there is none."""

    result: dict[str, Any] | None
    failure: str | None = None
    seconds: float = 0.0
    cpu_seconds: float = 0.0


def run_jobs(
    wanted: Iterable[Job], folder: Path, workers: int | None = None, threads: Mapping[str, int] | None = None
) -> dict[str, JobResult]:
    """Run these jobs and their inputs, as far as they have not finished in an earlier call.

    A job runs in one process on one thread: with jobs of this size two processes are faster than two threads. Where
    there are accelerators, each process has one for itself. A job that was killed starts again, and resumes where its
    own work can. If a job raises `InputError`, it and the jobs that read it have no result; the next call tries them
    again.

    The progress is reported in jobs; the stage says in words how long it takes and which jobs run.

    Args:
        wanted, folder: The jobs whose results are needed, and the folder of all jobs.
        workers: Number of processes; None takes one per accelerator or, where there is none, per core.
        threads: Number of threads by kind of job, where it is not 1.

    Returns:
        The result of every job by its key, inputs included.

    Raises:
        InputError: A worker process died, the folder cannot be written, or another call works in it.
    """
    make_folder(folder)
    return _Run(with_inputs(wanted), folder, workers or accelerators() or usable_cores(), threads or {}).run()


def accelerators() -> int:
    """How many CUDA devices there are, counted without starting CUDA in this process; 0 where there is none."""
    import torch

    return torch.cuda.device_count()


def job_processes() -> ForkServerContext:
    """How processes for jobs are made: forked from one that has loaded what jobs need, and does nothing else.

    Loading takes seconds, and is done once, however many processes there are. A process has the environment of when the
    first was made, until `take_environment` gives it another.
    """
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(["promu.study.job_kinds"])
    before = os.environ.get("OMP_NUM_THREADS")
    # libraries beside torch read this when they are loaded: one thread for them too
    os.environ.setdefault("OMP_NUM_THREADS", "1")
    try:
        forkserver.ensure_running()
    finally:
        if before is None:
            del os.environ["OMP_NUM_THREADS"]
    return context


def take_environment(environment: Mapping[str, str]) -> None:
    """Give this process the environment of the one that wants its jobs done."""
    os.environ.clear()
    os.environ.update(environment)


class _Run:
    """The state of one call of `run_jobs`."""

    def __init__(self, jobs: Mapping[str, Job], folder: Path, workers: int, threads: Mapping[str, int]) -> None:
        self.jobs = jobs
        self.folder = folder
        self.workers = workers
        self.threads = threads
        self.results: dict[str, JobResult] = {}
        self.seconds: dict[str, list[float]] = {}  # of finished jobs, by kind
        self.started: dict[str, float] = {}  # of running jobs, by key
        self.stages: dict[str, tuple[str, int, int]] = {}  # the same
        for key, job in jobs.items():
            if (record := job.result(folder)) is not None:
                self._finished(key, record)
        self.priority = self._chains({key: job.cost for key, job in jobs.items()})

    def run(self) -> dict[str, JobResult]:
        if len(self.results) == len(self.jobs):
            return self.results
        with _exclusive(self.folder):
            context = job_processes()
            events = context.Queue()
            devices: Any = None
            if found := accelerators():
                devices = context.Queue()
                for number in range(self.workers):
                    devices.put(number % found)
            given = (events, devices, dict(os.environ))
            pool = ProcessPoolExecutor(self.workers, context, initializer=_set_up_worker, initargs=given)
            try:
                self._work(pool, events)
            except BrokenProcessPool:
                raise InputError(
                    "a worker process died, as it does when memory runs out; run the same command again, finished "
                    "jobs are kept",
                    self.folder,
                ) from None
            except BaseException:
                # jobs can be resumed, so they are stopped and not waited for
                for process in list((pool._processes or {}).values()):
                    process.terminate()
                raise
            finally:
                pool.shutdown(wait=True, cancel_futures=True)
        return self.results

    def _work(self, pool: ProcessPoolExecutor, events: Any) -> None:
        waiting: dict[Future[dict[str, Any]], str] = {}
        while len(self.results) < len(self.jobs):
            for job in self._ready()[: self.workers - len(waiting)]:
                self.started[job.key] = time.monotonic()
                self.stages[job.key] = ("", 0, 1)
                waiting[pool.submit(_run_job, job, self.folder, self.threads.get(job.kind, 1))] = job.key
            done, _ = wait(waiting, timeout=POLL, return_when=FIRST_COMPLETED)
            self._read_events(events)
            for future in done:
                key = waiting.pop(future)
                del self.started[key], self.stages[key]
                try:
                    record = future.result()
                except InputError as error:
                    self._failed(key, str(error))
                else:
                    self._finished(key, record)
                    self._log({name: value for name, value in record.items() if name != "result"})
            self._report()

    def _ready(self) -> list[Job]:
        """Jobs whose inputs are done; first the one that starts the longest chain of jobs."""
        waiting = [job for key, job in self.jobs.items() if key not in self.results and key not in self.started]
        # jobs that read a failed one have failed with it
        ready = [job for job in waiting if all(one.key in self.results for one in job.inputs.values())]
        return sorted(ready, key=lambda job: -self.priority[job.key])

    def _finished(self, key: str, record: Mapping[str, Any]) -> None:
        mark_stored()
        self.results[key] = JobResult(record["result"], None, float(record["seconds"]), record["cpu_seconds"])
        self.seconds.setdefault(self.jobs[key].kind, []).append(self.results[key].seconds)

    def _failed(self, key: str, reason: str) -> None:
        """Record that a job failed, and with it all jobs that read it."""
        label = self.jobs[key].label
        self.results[key] = JobResult(None, reason)
        self._log({"job": key, "label": label, "failure": reason})
        logger.warning("%s: %s", label, reason)
        for other, job in self.jobs.items():
            if other not in self.results and any(one.key == key for one in job.inputs.values()):
                self._failed(other, f"needs {label!r}, which failed: {reason}")

    def _read_events(self, events: Any) -> None:
        while True:
            try:
                key, *stage = events.get_nowait()
            except queue.Empty:
                return
            if key in self.stages:
                self.stages[key] = tuple(stage)  # type: ignore[assignment]

    def _report(self) -> None:
        """Report the number of finished jobs; the stage is the time left, and what is running."""
        failed = sum(result.result is None for result in self.results.values())
        left, parts = self._left(), []
        if left is not None:
            parts.append(f"about {left / 60:.0f} min left" if left >= 60 else "less than a minute left")
        if failed:
            parts.append(f"{failed} failed")
        for key, (stage, done, total) in self.stages.items():
            label = self.jobs[key].label
            parts.append(f"{label} {100 * done // max(total, 1)} %" if stage else label)
        report("; ".join(parts) or "starting", len(self.results) - failed, len(self.jobs))

    def _left(self) -> float | None:
        """The work left, shared by the workers; but not less than the longest chain of jobs."""
        if not self.seconds:
            return None
        now = time.monotonic()
        left = {
            key: max(self._expected(job) - (now - self.started.get(key, now)), 0.0)
            for key, job in self.jobs.items()
            if key not in self.results
        }
        return max(sum(left.values()) / self.workers, *self._chains(left).values())

    def _expected(self, job: Job) -> float:
        """Seconds that a job takes: the mean of its kind, or its cost at the pace of the other kinds."""
        if times := self.seconds.get(job.kind):
            return fmean(times)
        costs = {one.kind: one.cost for one in self.jobs.values()}
        return job.cost * fmean(fmean(times) / costs[kind] for kind, times in self.seconds.items())

    def _chains(self, costs: Mapping[str, float]) -> dict[str, float]:
        """For each job the cost of the longest chain of jobs that starts with it."""
        chains: dict[str, float] = {}
        for key, job in reversed(list(self.jobs.items())):
            chains[key] = chains.get(key, 0.0) + costs.get(key, 0.0)
            for one in job.inputs.values():
                chains[one.key] = max(chains.get(one.key, 0.0), chains[key])
        return chains

    def _log(self, line: Mapping[str, Any]) -> None:
        with (self.folder.parent / LOG).open("a", encoding="utf-8") as log:
            log.write(json.dumps(line, ensure_ascii=False) + "\n")


def _run_job(job: Job, jobs: Path, threads: int) -> dict[str, Any]:
    """Run one job in a worker process and save its result."""
    import torch

    from promu.study.job_kinds import KINDS

    torch.set_num_threads(threads)
    last = 0.0

    def send(stage: str, done: int, total: int) -> None:
        nonlocal last
        if time.monotonic() - last > POLL:
            last = time.monotonic()
            _worker_events.put((job.key, stage, done, total))

    started, spent = time.perf_counter(), time.process_time()
    folder = job.run_folder(jobs)
    folder.parent.mkdir(parents=True, exist_ok=True)
    with shown(send):
        result = KINDS[job.kind](job.resolved(jobs), folder)
    return job.save(jobs, result, time.perf_counter() - started, time.process_time() - spent)


_worker_events: Any = None
"""Queue of a worker's progress: (key, stage, done, total)."""


def _set_up_worker(events: Any, devices: Any, environment: Mapping[str, str]) -> None:
    global _worker_events
    _worker_events = events
    gc.freeze()  # what is loaded stays, and each training would look through it
    take_environment(environment)
    os.environ.setdefault("OMP_NUM_THREADS", "1")
    if devices is not None:
        take_device(devices)
    threading.Thread(target=_end_with_parent, daemon=True).start()
    from promu.hub import quiet

    quiet()


def take_device(devices: Any) -> None:
    """Leave this process one accelerator of those that it may use: the next in the queue.

    To be called before CUDA starts in this process, which reads the variable once.
    """
    number = devices.get()
    visible = os.environ.get("CUDA_VISIBLE_DEVICES")
    names = visible.split(",") if visible else [str(one) for one in range(number + 1)]
    os.environ["CUDA_VISIBLE_DEVICES"] = names[number]


def _end_with_parent() -> None:
    """Stop the worker at once when its parent was killed: the next call starts the job again in the same folder."""
    parent = multiprocessing.parent_process()
    assert parent is not None
    parent.join()
    os._exit(1)


@contextmanager
def _exclusive(folder: Path) -> Iterator[None]:
    """Lock the folder. The lock ends with the process, however that ends.

    Raises:
        InputError: Another call works in the folder.
    """
    with (folder / LOCK).open("w") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            reason = "another call is at work in this folder; wait for it, or choose another --out"
            raise InputError(reason, folder) from None
        yield
