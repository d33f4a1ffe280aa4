"""The stages of a rehearsal: jobs of a study, run one after the other, measured, and killed once on the way."""

from __future__ import annotations

import json
import logging
import os
import resource
import shutil
import statistics
import sys
import time
from collections.abc import Iterator, Mapping, Sequence
from contextvars import copy_context
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import torch

from promu.cores import usable_cores
from promu.errors import InputError
from promu.files import make_folder, read_json_document
from promu.hub import quiet
from promu.progress import report, shown
from promu.study.job import Job
from promu.study.runner import job_processes, take_environment

WORD = "REHEARSAL"
SCORED_KINDS = ("finetune", "writer")
TRAINED = {"teacher": "teacher/log.jsonl", "pretrain": "log.jsonl", "finetune": "log.jsonl", "writer": "*/log.jsonl"}
"""Where the steps of a job of each kind are logged."""


@dataclass(frozen=True)
class Stage:
    """One job of the road.

    Attributes:
        seconds: From its start to its end.
        cpu_seconds: Of the processor's time, which tells a busy machine from a slow one.
        steps, seconds_a_step: Of its training, the median without the first; None where nothing is trained.
        peak_bytes: The most memory that its process had, its libraries included.
        accelerator_bytes: The most of an accelerator's memory; None without one.
        disk_bytes: What it left on disk.
    """

    name: str
    seconds: float
    cpu_seconds: float
    steps: int | None
    seconds_a_step: float | None
    peak_bytes: int
    accelerator_bytes: int | None
    disk_bytes: int


@dataclass(frozen=True)
class Resumed:
    """What a kill in the middle of pre-training came to: all in steps, but for the size of the checkpoint."""

    killed_in: int
    went_on_from: int
    steps: int
    checkpoint_bytes: int


@dataclass(frozen=True)
class Used:
    """Time of the processor, and peaks of memory."""

    cpu_seconds: float
    peak_bytes: int
    accelerator_bytes: int | None


class StageRunner:
    """Runs jobs one after the other and measures them."""

    def __init__(self, out: Path, kill_in: int, jobs: Sequence[tuple[Job, str]]) -> None:
        self.jobs = jobs
        self.folder = out / "jobs"
        self.kill_in = kill_in
        self.resumed: Resumed | None = None
        self.read: dict[str, int] = {}

    def run(self) -> Iterator[Stage]:
        """Every stage, as it ends."""
        for job, name in self.jobs:
            if job.kind == "pretrain" and self.resumed is None:
                self._kill(job, name)
            folder, started = job.run_folder(self.folder), time.perf_counter()
            used = self._work(job, name)
            seconds = round(time.perf_counter() - started, 1)
            if job.kind == "corpus":
                result = read_json_document(folder / "corpus" / "result.json")
                self.read = {"kept": result["kept"], **result["skipped"]["pairs"]}
            steps = seconds_of_steps(next(iter(folder.glob(TRAINED[job.kind])), None) if job.kind in TRAINED else None)
            own = statistics.median(steps[1:] or steps) if steps else None
            peaks = (used.peak_bytes, used.accelerator_bytes)
            yield Stage(name, seconds, used.cpu_seconds, len(steps) or None, own, *peaks, size_of(folder))
            if job.kind in SCORED_KINDS:  # its figures are no figures
                shutil.rmtree(folder)

    def _kill(self, job: Job, name: str) -> None:
        """Kill pre-training in the middle, so that what follows has to go on from its checkpoint."""
        self._work(job, name, self.kill_in)
        folder = job.run_folder(self.folder) / "checkpoints"
        found = {int(path.name.rpartition("-")[2]): path for path in folder.glob("checkpoint-*")}
        if not found:
            raise InputError("pre-training was killed and left no checkpoint", folder)
        steps = int(job.settings["training"]["steps"])
        self.resumed = Resumed(self.kill_in, max(found), steps, size_of(found[max(found)]))

    def _work(self, job: Job, name: str, kill_in: int | None = None) -> Used:
        """Run a job, until this step of pre-training if one is given."""
        raise NotImplementedError


class _Stopped(BaseException):
    """Ends a job in the middle, as an interrupt does."""


class InProcess(StageRunner):
    """Runs the jobs in this process."""

    def _work(self, job: Job, name: str, kill_in: int | None = None) -> Used:
        folder = job.run_folder(self.folder)
        make_folder(folder.parent)

        def tell(stage: str, done: int, total: int) -> None:
            outer.copy().run(report, f"{WORD}: {name}, {stage}", done, total)
            if kill_in is not None and stage == "pre-training" and done >= kill_in:
                raise _Stopped

        outer, before = copy_context(), used_until_now()  # the first is what shows the caller's progress
        try:
            with shown(tell):
                do_job(job.kind, job.resolved(self.folder), folder, 1)
        except _Stopped:
            pass
        used = used_until_now()
        return replace(used, cpu_seconds=round(used.cpu_seconds - before.cpu_seconds, 3))


class InProcesses(StageRunner):
    """Runs each job in a process of its own, which can be killed, and whose memory is the job's alone."""

    def __init__(self, out: Path, kill_in: int, jobs: Sequence[tuple[Job, str]]) -> None:
        super().__init__(out, kill_in, jobs)
        self.context = job_processes()

    def _work(self, job: Job, name: str, kill_in: int | None = None) -> Used:
        folder = job.run_folder(self.folder)
        make_folder(folder.parent)
        ours, theirs = self.context.Pipe(duplex=False)
        given = (job.kind, job.resolved(self.folder), folder, theirs, dict(os.environ))
        process = self.context.Process(target=_in_child, args=given)
        process.start()
        theirs.close()
        try:
            while True:
                kind, *message = ours.recv()
                if kind == "step":
                    stage, done, total = message
                    report(f"{WORD}: {name}, {stage}", done, total)
                    if kill_in is not None and stage == "pre-training" and done >= kill_in:
                        return Used(0.0, 0, None)
                elif kind == "failed":
                    raise InputError(f"{name}: {message[0]}")
                else:
                    used: Used = message[0]
                    return used
        except EOFError:
            process.join()
            reason = "its process was killed, as it is when memory runs out; free some"
            if process.exitcode and process.exitcode > 0:
                reason = f"its process failed with status {process.exitcode}, as printed above; mend that"
            raise InputError(f"{name}: {reason}, or rehearse in small") from None
        finally:
            process.kill()
            process.join()


def _in_child(
    kind: str, settings: Mapping[str, Any], folder: Path, parent: Any, environment: Mapping[str, str]
) -> None:
    """Run one job in this process, and tell the parent how far it is."""
    take_environment(environment)
    with shown(lambda stage, done, total: parent.send(("step", stage, done, total))):
        try:
            do_job(kind, settings, folder, usable_cores())
        except InputError as error:
            parent.send(("failed", str(error)))
            return
    parent.send(("ended", used_until_now()))


def do_job(kind: str, settings: Mapping[str, Any], folder: Path, threads: int) -> None:
    """Run one job on so many threads; what it has to say of its figures is not said."""
    from promu.study.job_kinds import KINDS

    quiet()
    logger, before = logging.getLogger("promu"), torch.get_num_threads()
    level = logger.level
    logger.setLevel(logging.ERROR)
    torch.set_num_threads(threads)
    try:
        KINDS[kind](settings, folder)
    finally:
        torch.set_num_threads(before)
        logger.setLevel(level)


def used_until_now() -> Used:
    """What this process has used since it began."""
    usage = resource.getrusage(resource.RUSAGE_SELF)
    peak = usage.ru_maxrss * (1 if sys.platform == "darwin" else 1024)
    accelerator = torch.cuda.max_memory_allocated() if torch.cuda.is_available() else None
    return Used(round(usage.ru_utime + usage.ru_stime, 3), peak, accelerator)


def seconds_of_steps(log: Path | None) -> list[float]:
    """How long each logged step of a run took; empty without a log."""
    if log is None:
        return []
    lines = [json.loads(line) for line in log.read_text(encoding="utf-8").splitlines()]
    ends = [line["seconds"] for line in lines if "loss" in line]
    return [end - start for start, end in zip([0.0, *ends], ends, strict=False)]


def size_of(folder: Path) -> int:
    """Bytes of the files in a folder, links not followed."""
    return sum(path.stat().st_size for path in folder.rglob("*") if path.is_file() and not path.is_symlink())
