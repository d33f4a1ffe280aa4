"""A job of a study: one piece of work, named by a digest of what determines its result, and done once."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any

from promu.files import read_json_document, write_json

VERSION = 1
"""Version of what the jobs do. Raise it when the same settings would give another result."""

RESULT = "job.json"
RUN = "run"
PREFIX = "job:"
"""A setting `job:corpus/pairs/images` is the path `pairs/images` in the folder of the input called `corpus`."""

SUBSET = "posts.txt"
"""File of a subset of the training posts, in a job's folder."""


@dataclass(frozen=True, eq=False)
class Job:
    """One job with its settings and the jobs whose files it reads.

    Attributes:
        kind: A name in `promu.study.job_kinds.KINDS`.
        settings: JSON data that, with the inputs, determines the result. Paths into inputs start with `PREFIX`.
        inputs: Other jobs, by the name that the settings use for them.
        cost: Rough duration in any unit. It decides what starts first while nothing was measured.
    """

    kind: str
    label: str
    settings: Mapping[str, Any]
    inputs: Mapping[str, Job] = field(default_factory=dict)
    cost: float = 1.0

    @cached_property
    def key(self) -> str:
        """Unique name: the kind and a digest of what determines the result."""
        described = [VERSION, self.kind, self.settings, {name: job.key for name, job in self.inputs.items()}]
        text = json.dumps(described, sort_keys=True, ensure_ascii=False)
        return f"{self.kind}-{hashlib.sha256(text.encode()).hexdigest()[:16]}"

    def run_folder(self, jobs: Path) -> Path:
        """The folder of the files that the job writes."""
        return jobs / self.key / RUN

    def resolved(self, jobs: Path) -> dict[str, Any]:
        """The settings, with the folders of the inputs filled in."""
        folders = {name: str(job.run_folder(jobs)) for name, job in self.inputs.items()}
        return dict(_resolved(dict(self.settings), folders))

    def result(self, jobs: Path) -> dict[str, Any] | None:
        """The record of a finished job: `result`, `seconds`, `cpu_seconds`. None if the job has not finished.

        Raises:
            InputError: The file is damaged.
        """
        path = jobs / self.key / RESULT
        return dict(read_json_document(path)) if path.is_file() else None

    def save(self, jobs: Path, result: Mapping[str, Any], seconds: float, cpu_seconds: float) -> dict[str, Any]:
        """Write the record of the finished job, and return it."""
        times = {"seconds": round(seconds, 2), "cpu_seconds": round(cpu_seconds, 2)}
        record = {"job": self.key, "label": self.label, **times, "result": dict(result)}
        write_json(jobs / self.key / RESULT, record)
        return record


def _resolved(value: Any, folders: Mapping[str, str]) -> Any:
    if isinstance(value, dict):
        return {key: _resolved(inner, folders) for key, inner in value.items()}
    if isinstance(value, list):
        return [_resolved(inner, folders) for inner in value]
    if isinstance(value, str) and value.startswith(PREFIX):
        name, slash, rest = value.removeprefix(PREFIX).partition("/")
        return f"{folders[name]}{slash}{rest}"
    return value


def with_inputs(jobs: Iterable[Job]) -> dict[str, Job]:
    """These jobs and all their direct and indirect inputs, by key. Inputs come before the jobs that read them."""
    ordered: dict[str, Job] = {}

    def visit(job: Job) -> None:
        if job.key not in ordered:
            for one in job.inputs.values():
                visit(one)
            ordered[job.key] = job

    for job in jobs:
        visit(job)
    return ordered
