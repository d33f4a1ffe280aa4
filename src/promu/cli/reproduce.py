"""`promu reproduce`, `rehearse` and `costs`: run a study, or its road for a few steps, and print what it takes."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Annotated

from cyclopts import Parameter

from promu.errors import counted
from promu.progress import shown

LINE_EVERY = 30.0
"""Seconds between two lines of progress if standard error is no terminal."""


def reproduce(
    *exhibits: str,
    recipe: str | None = None,
    seeds: int = 3,
    out: Path | None = None,
    overrides: Annotated[list[str] | None, Parameter(name="--set")] = None,
    json: bool = False,
) -> int:
    """Regenerate tables and figures of the paper, some or all of them, in every form.

    Exhibits share jobs, and each job runs once. Started again, the command goes on where it stopped. It writes
    study.html, study.md, study.json, tables/ (CSV, LaTeX) and figures/ (SVG).

    Args:
        exhibits: table1, table2, table3, figure3, figure4, figure5, temperature, robustness, transfer, learning-curve,
            any number of them; or all; kecpm, the study of joint extraction from few posts; or contexts, that of
            descriptions beside the text. The last two have recipes of their own.
        recipe: Name or file of a study recipe; by default newsreel-study, newsreel-kecpm-study for kecpm, and
            contexts-study for contexts.
        seeds: Number of seeds: 0, 1, ...
        out: Folder of the jobs and results; by default runs/study, runs/kecpm-study or runs/contexts-study.
        overrides: key=value, wins over the recipe.
        json: Print where the files are as JSON, in place of the tables.

    Returns:
        0; 1 if a job failed. The tables say which, and the next call tries it again.
    """
    from promu.cli.console import complain, print_json, print_table
    from promu.hub import quiet
    from promu.study.run_study import run_study

    quiet()
    with show_progress():
        result = run_study(exhibits, recipe, seeds, out, overrides or ())
    folder = result.page.parent
    parts = {"page": result.page.name, "markdown": "study.md", "tables": "tables", "figures": "figures"}
    files = {name: str(folder / part) for name, part in parts.items()}
    if json:
        print_json({**files, "not_measured": [str(failure) for failure in result.failures]})
    else:
        for section in result.sections:
            for table in section.tables:
                print_table(table.title, table.columns, table.texts())
        for name, path in files.items():
            print(f"{name}: {path}")
    for failure in result.failures:
        complain(f"not measured: {failure}")
    return 1 if result.failures else 0


def rehearse(
    *, out: Path = Path("runs/rehearsal"), small: bool = False, tokenizer: Path | None = None, json: bool = False
) -> None:
    """Walk the road of the paper's table 1 for a few steps a stage, with random weights and made sets.

    It shows that nothing but data and time is missing: every stage runs at the paper's shapes, pre-training is killed
    and resumed, and memory, seconds a step and disk are measured. It takes about 15 minutes on two cores and 15 GB of
    disk, which it frees at the end. No figure of quality is kept.

    Args:
        out: Folder of rehearsal.json.
        small: Tiny shapes, in seconds.
        tokenizer: Folder of bert-base-uncased's tokenizer; by default one of the same size is made.
        json: Print what is written to rehearsal.json, in place of tables.
    """
    from promu.cli.console import note, print_json, print_table, progress_bars
    from promu.study.rehearsal import NOTE, RESULT
    from promu.study.rehearsal import rehearse as run
    from promu.study.rehearsal_stages import WORD

    note(NOTE)
    with progress_bars():
        result = run(out, small=small, tokenizer=tokenizer)
    if json:
        print_json(result.to_dict())
        return
    for table in result.tables():
        print_table(table.title, table.columns, table.texts())
    resumed = result.resumed
    print(
        f"{WORD}: pre-training was killed in step {resumed.killed_in} and went on from step {resumed.went_on_from} "
        f"of {resumed.steps}"
    )
    print(f"{WORD}: pairs of the made set: {', '.join(f'{count} {what}' for what, count in result.read.items())}")
    for what, stand_in in result.stand_ins.items():
        print(f"{WORD}: {what}: {stand_in}")
    jobs = ", ".join(f"{count} {kind}" for kind, count in result.left.items())
    print(f"{WORD}: the real table 1 with three seeds has these jobs: {jobs}")
    print(f"{WORD}: {result.seconds:.0f} s; {out / RESULT}")


def costs(*fusions: str, tokens: int = 80, regions: int = 4, json: bool = False) -> None:
    """Count the parameters of each fusion and its matrix products for a post, on BERT-base and ViT-B/16.

    Args:
        fusions: Names; by default all.
        tokens: Tokens of the text.
        regions: Regions of the image.
        json: Print the counts as JSON.
    """
    from dataclasses import asdict

    from promu.cli.console import print_json, print_table
    from promu.study.costs import fusion_costs

    found = fusion_costs(fusions, tokens=tokens, regions=regions)
    if json:
        print_json([asdict(cost) for cost in found])
        return
    columns = ("fusion", "parameters, M", "of the fusion, M", "operations a post, G", "of the fusion, G")
    figures = [(one.parameters / 1e6, one.own / 1e6, one.operations / 1e9, one.fusing / 1e9) for one in found]
    rows = [[one.fusion, *(f"{value:.1f}" for value in of_one)] for one, of_one in zip(found, figures, strict=True)]
    print_table(f"{tokens} tokens, {regions} regions", columns, rows)


@contextmanager
def show_progress() -> Iterator[None]:
    """Show the progress of a study on standard error: a bar in a terminal, a line now and then elsewhere."""
    from rich.console import Console
    from rich.progress import BarColumn, Progress, TextColumn, TimeElapsedColumn

    console = Console(stderr=True)
    columns = (TextColumn("{task.description}"), BarColumn(), TextColumn("{task.fields[jobs]}"), TimeElapsedColumn())
    with Progress(*columns, console=console, disable=not console.is_terminal, transient=True) as bars:
        bar = bars.add_task("starting", total=None, jobs="")
        printed = time.monotonic()

        def show(text: str, done: int, total: int) -> None:
            nonlocal printed
            bars.update(bar, description=text, completed=done, total=total, jobs=f"{done} of {counted(total, 'job')}")
            if not console.is_terminal and time.monotonic() - printed > LINE_EVERY:
                printed = time.monotonic()
                console.print(f"{done} of {counted(total, 'job')}; {text}", highlight=False)

        with shown(show):
            yield
