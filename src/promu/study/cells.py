"""A cell: one job of the study, known by what determines its result, done once and kept in a folder of its own."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any

from promu.files import read_json_document, write_json

VERSION = 1
"""Of what the jobs do; raised when the same settings would give another result."""

RESULT = "cell.json"
RUN = "run"
PLACE = "cell:"
"""How a setting names the folder of an input: `cell:corpus/pairs/images` is a path in that of the input `corpus`."""

SUBSET = "posts.txt"
"""In a cell's folder: a subset of the training posts."""


@dataclass(frozen=True, eq=False)
class Cell:
    """One job with its settings and the cells that it reads.

    Attributes:
        kind: A name in `promu.study.jobs.JOBS`.
        label: What it is, for those who watch.
        settings: All that its result depends on beside its inputs, as JSON data; paths into inputs as in `PLACE`.
        inputs: Other cells by the name that the settings give them.
        cost: About how long it takes, in any unit; decides what is begun first while nothing was measured.
    """

    kind: str
    label: str
    settings: Mapping[str, Any]
    inputs: Mapping[str, Cell] = field(default_factory=dict)
    cost: float = 1.0

    @cached_property
    def key(self) -> str:
        """Its name among all cells: the kind and a digest of what determines the result."""
        described = [VERSION, self.kind, self.settings, {name: cell.key for name, cell in self.inputs.items()}]
        text = json.dumps(described, sort_keys=True, ensure_ascii=False)
        return f"{self.kind}-{hashlib.sha256(text.encode()).hexdigest()[:16]}"

    def folder(self, grid: Path) -> Path:
        """Where it is kept: the job's files under `run/`, its result in `cell.json`, which is written last."""
        return grid / self.key

    def run_folder(self, grid: Path) -> Path:
        """Where the job's own files are."""
        return self.folder(grid) / RUN

    def placed(self, grid: Path) -> dict[str, Any]:
        """The settings with the paths of the inputs' folders put in."""
        folders = {name: str(cell.run_folder(grid)) for name, cell in self.inputs.items()}
        return dict(_placed(dict(self.settings), folders))

    def result(self, grid: Path) -> dict[str, Any] | None:
        """What the job gave, with the seconds that it took; None where it has not been done.

        Raises:
            InputError: The file is damaged.
        """
        path = self.folder(grid) / RESULT
        return dict(read_json_document(path)) if path.is_file() else None

    def keep(self, grid: Path, result: Mapping[str, Any], seconds: float, cpu: float) -> dict[str, Any]:
        """Write the result with the time that it took, on the clock and on the processor: now the cell is done."""
        spent = {"seconds": round(seconds, 2), "cpu_seconds": round(cpu, 2)}
        kept = {"cell": self.key, "label": self.label, **spent, "result": dict(result)}
        write_json(self.folder(grid) / RESULT, kept)
        return kept


def _placed(value: Any, folders: Mapping[str, str]) -> Any:
    if isinstance(value, dict):
        return {key: _placed(inner, folders) for key, inner in value.items()}
    if isinstance(value, list):
        return [_placed(inner, folders) for inner in value]
    if isinstance(value, str) and value.startswith(PLACE):
        name, slash, rest = value.removeprefix(PLACE).partition("/")
        return f"{folders[name]}{slash}{rest}"
    return value


def with_inputs(cells: Iterable[Cell]) -> dict[str, Cell]:
    """These cells and all that they rest on, by key, inputs before those that read them."""
    found: dict[str, Cell] = {}

    def visit(cell: Cell) -> Iterator[Cell]:
        if cell.key not in found:
            for one in cell.inputs.values():
                yield from visit(one)
            yield cell

    for cell in cells:
        for one in visit(cell):
            found.setdefault(one.key, one)
    return found
