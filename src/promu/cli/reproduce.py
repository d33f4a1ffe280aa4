"""`promu reproduce`: the tables and figures of the paper, and the study's own, as a grid of cells done once each."""

from __future__ import annotations

import shlex
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from promu.errors import InputError
from promu.progress import shown

if TYPE_CHECKING:
    from promu.study.exhibits import Builder, Frame
    from promu.study.jobs import Job
    from promu.study.plan import Entry

ALL = "all"
KECPM = "kecpm"
LINE_EVERY = 30.0
"""Seconds between two lines of progress where standard error is no terminal."""


@dataclass(frozen=True)
class _Planned:
    """What an exhibit needs: its cells, what they do, and how it is shown."""

    entries: Sequence[Entry]
    jobs: Mapping[str, Job]
    frame: Frame
    builders: Mapping[str, Builder]
    workers: int | None
    note: str


def reproduce(exhibit: str, /, *, recipe: str | None = None, seeds: int = 3, out: Path | None = None) -> int:
    """Regenerate a table or a figure of the paper, or all of them, and write them down in every form.

    Jobs are shared between exhibits and done once, two side by side on two cores; started again after it was stopped,
    it goes on where it was. Writes study.html, study.md, study.json, tables/ (CSV, LaTeX) and figures/ (SVG).

    Args:
        exhibit: table1, table2, table3, figure3, figure4, figure5, temperature, robustness, transfer, learning-curve,
            or all; or kecpm, the study of joint extraction from few posts, which has recipes of its own.
        recipe: A study recipe file, or the name of one that comes with promu; by default newsreel-study, and
            newsreel-kecpm-study for kecpm.
        seeds: How many seeds: 0, 1, ...
        out: Folder of the cells and of what is written; by default runs/study, and runs/kecpm-study for kecpm.

    Returns:
        0; 1 where a cell failed: the tables say which, and the next call tries it again.
    """
    from promu.hub import quiet

    quiet()
    from promu.cli.console import complain, print_table
    from promu.study.exhibits import build_sections
    from promu.study.grid import do_cells
    from promu.study.study_page import Study, failures, write_study
    from promu.study.tables import Measured

    few_shot = exhibit == KECPM
    recipe = recipe or ("newsreel-kecpm-study" if few_shot else "newsreel-study")
    out = out or Path("runs/kecpm-study" if few_shot else "runs/study")
    planned = _few_shot(recipe, seeds) if few_shot else _paper(exhibit, recipe, seeds)
    if out.exists() and not out.is_dir():
        raise InputError("this is a file; choose another --out", out)
    cells = (entry.cell for entry in planned.entries)
    with _progress():
        outcomes = do_cells(cells, out / "cells", planned.workers, quiet, planned.jobs)
    measured = [
        Measured(
            entry.exhibit,
            entry.row,
            entry.task,
            entry.seed,
            outcomes[entry.cell.key].result,
            outcomes[entry.cell.key].failure,
        )
        for entry in planned.entries
    ]
    sections = build_sections(measured, planned.frame, planned.builders)
    command = shlex.join(["promu", "reproduce", exhibit, "--recipe", recipe, "--seeds", str(seeds), "--out", str(out)])
    core_seconds = sum(outcome.core_seconds for outcome in outcomes.values())
    page = write_study(out, Study(recipe, command, planned.note, seeds, len(outcomes), core_seconds), sections)
    for section in sections:
        for table in section.tables:
            print_table(table.title, table.columns, table.texts())
    print(f"page: {page}\nMarkdown: {out / 'study.md'}\ntables: {out / 'tables'}\nfigures: {out / 'figures'}")
    missing = [sentence for section in sections for sentence in failures(section)]
    for sentence in missing:
        complain(f"not measured: {sentence}")
    return 1 if missing else 0


def _paper(exhibit: str, recipe: str, seeds: int) -> _Planned:
    """An exhibit of the paper, or all of them."""
    from promu.study.exhibits import BUILDERS, Frame
    from promu.study.jobs import JOBS
    from promu.study.plan import EXHIBITS, kinds_of, plan
    from promu.study.study_recipe import load_study

    study = load_study(recipe)
    entries = plan(study, _exhibits(exhibit, EXHIBITS, study.transfer_world is not None), seeds)
    return _Planned(entries, JOBS, Frame(kinds_of(study), study.world is None), BUILDERS, study.workers, study.note)


def _few_shot(recipe: str, seeds: int) -> _Planned:
    """The study of joint extraction from few posts; its pipeline is put to work by a room above the other jobs'."""
    from promu.study.exhibits import Frame
    from promu.study.few_shot import plan_few_shot
    from promu.study.few_shot_exhibits import FEW_SHOT_BUILDERS
    from promu.study.jobs import JOBS, score_pipeline
    from promu.study.study_recipe import load_few_shot_study

    study = load_few_shot_study(recipe)
    entries = plan_few_shot(study, seeds)
    jobs = {**JOBS, "pipeline": score_pipeline}
    return _Planned(entries, jobs, Frame({}, study.world is None), FEW_SHOT_BUILDERS, study.workers, study.note)


def _exhibits(exhibit: str, known: tuple[str, ...], transfers: bool) -> list[str]:
    """The exhibits that were asked for; of all, transfer is left out where the recipe has no second world."""
    if exhibit == ALL:
        return [name for name in known if name != "transfer" or transfers]
    if exhibit not in known:
        raise InputError(f"{exhibit!r} is no table or figure; choose one of {', '.join(known)}, {ALL} or {KECPM}")
    return [exhibit]


@contextmanager
def _progress() -> Iterator[None]:
    """Show how far the whole grid is on standard error: a bar in a terminal, a line now and then elsewhere."""
    from rich.console import Console
    from rich.progress import BarColumn, Progress, TextColumn

    console = Console(stderr=True)
    columns = (TextColumn("{task.description}"), BarColumn(), TextColumn("{task.completed} of {task.total} cells"))
    with Progress(*columns, console=console, disable=not console.is_terminal, transient=True) as bars:
        number = bars.add_task("starting", total=None)
        said = time.monotonic()

        def show(text: str, done: int, total: int) -> None:
            nonlocal said
            bars.update(number, description=text, completed=done, total=total)
            if not console.is_terminal and time.monotonic() - said > LINE_EVERY:
                said = time.monotonic()
                console.print(f"{done} of {total} cells; {text}", highlight=False)

        with shown(show):
            yield
