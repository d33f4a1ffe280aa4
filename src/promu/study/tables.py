"""A table of means over seeds, and the forms that it is written in."""

from __future__ import annotations

import csv
import io
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from promu.evaluation.counts import Summary, summarise
from promu.evaluation.significance import Comparison, PostCounts, paired_bootstrap

Content = str | Summary | None
"""What a place of a table holds: words, figures over seeds, or nothing that was measured."""

NOTHING = "–"


@dataclass(frozen=True)
class Table:
    """A table of one exhibit.

    Attributes:
        name: Also the name of its files.
        title: What it shows.
        columns: Their heads; the first `keys` of them say what a row is about.
        rows: As many places each as there are columns.
        keys: Columns that are no figures.
        digits: Of figures.
    """

    name: str
    title: str
    columns: tuple[str, ...]
    rows: tuple[tuple[Content, ...], ...]
    keys: int = 1
    digits: int = 1

    def text(self, content: Content) -> str:
        """A place in words."""
        if content is None:
            return NOTHING
        if isinstance(content, Summary):
            return format(content, f".{self.digits}f").replace("-", "−")
        return content

    def texts(self) -> list[list[str]]:
        """Every place in words."""
        return [[self.text(content) for content in row] for row in self.rows]


def to_markdown(table: Table) -> str:
    """A pipe table under its title."""
    texts = [[cell.replace("|", "\\|") for cell in row] for row in table.texts()]
    rule = ["---"] * table.keys + ["---:"] * (len(table.columns) - table.keys)
    lines = [list(table.columns), rule, *texts]
    return f"**{table.title}**\n\n" + "\n".join(f"| {' | '.join(cells)} |" for cells in lines) + "\n"


_LATEX = {
    "\\": r"\textbackslash{}", "&": r"\&", "%": r"\%", "$": r"\$", "#": r"\#", "_": r"\_", "{": r"\{", "}": r"\}",
    "±": r"$\pm$", "–": "--", "−": "$-$", "τ": r"$\tau$", "→": r"$\rightarrow$", "·": r"$\cdot$", "↓": r"$\downarrow$",
    "~": r"\textasciitilde{}", "^": r"\textasciicircum{}",
}  # fmt: skip


def to_latex(table: Table) -> str:
    """A booktabs table."""

    def line(cells: Sequence[str]) -> str:
        return " & ".join("".join(_LATEX.get(sign, sign) for sign in cell) for cell in cells) + r" \\"

    return "\n".join(
        [
            r"\begin{table}",
            r"\centering",
            rf"\caption{{{''.join(_LATEX.get(sign, sign) for sign in table.title)}}}",
            rf"\label{{tab:{table.name}}}",
            rf"\begin{{tabular}}{{{'l' * table.keys}{'r' * (len(table.columns) - table.keys)}}}",
            r"\toprule",
            line(table.columns),
            r"\midrule",
            *(line(row) for row in table.texts()),
            r"\bottomrule",
            r"\end{tabular}",
            r"\end{table}",
            "",
        ]
    )


def to_csv(table: Table) -> str:
    """Unrounded: of a figure the mean, the standard deviation and the number of seeds, each in a column."""
    numbers = [any(isinstance(row[index], Summary) for row in table.rows) for index in range(len(table.columns))]
    buffer = io.StringIO()
    writer = csv.writer(buffer, lineterminator="\n")
    head: list[str] = []
    for name, number in zip(table.columns, numbers, strict=True):
        head += [f"{name} mean", f"{name} std", f"{name} seeds"] if number else [name]
    writer.writerow(head)
    for row in table.rows:
        cells: list[Any] = []
        for content, number in zip(row, numbers, strict=True):
            if not number:
                cells.append("" if content is None else content)
            elif isinstance(content, Summary):
                cells += [content.mean, "" if content.std is None else content.std, content.n]
            else:
                cells += ["" if content is None else content, "", ""]
        writer.writerow(cells)
    return buffer.getvalue()


def to_json(table: Table) -> dict[str, Any]:
    """The table as JSON data, figures unrounded."""
    return {
        "name": table.name,
        "title": table.title,
        "rows": [
            {
                name: content.to_dict() if isinstance(content, Summary) else content
                for name, content in zip(table.columns, row, strict=True)
            }
            for row in table.rows
        ],
    }


@dataclass(frozen=True)
class Measured:
    """One place of an exhibit.

    Attributes:
        exhibit: The table or figure.
        row: What distinguishes its line: the system, or a sweep's values.
        task: As the study recipe calls it; empty, or a word of the exhibit's own, where it is about none.
        seed: Of data and models.
        result: What was measured; None where the cell failed.
        failure: Why it did.
    """

    exhibit: str
    row: tuple[str, ...]
    task: str
    seed: int
    result: dict[str, Any] | None
    failure: str | None = None


class Sheet:
    """The places of one exhibit, by row and task, over seeds.

    Args:
        places: Of the exhibit.
        tasks: The tasks of the study; those that occur are kept.
    """

    def __init__(self, places: Sequence[Measured], tasks: Sequence[str]) -> None:
        self.places = places
        self.rows: list[tuple[str, ...]] = list(dict.fromkeys(place.row for place in places))
        self.tasks = [task for task in tasks if any(place.task == task for place in places)]
        self.seeds = sorted({place.seed for place in places})

    def at(self, row: tuple[str, ...], task: str) -> list[Measured]:
        """The places of a row and task, by seed."""
        return sorted((p for p in self.places if p.row == row and p.task == task), key=lambda place: place.seed)

    def figures(self, row: tuple[str, ...], task: str, *keys: str) -> dict[int, float | None]:
        """A figure of a row and task by seed: what the result holds at these keys, None where there is nothing."""
        return {place.seed: figure(place.result, *keys) for place in self.at(row, task)}

    def summary(self, row: tuple[str, ...], task: str, *keys: str) -> Summary | None:
        """The same over seeds; None where no seed has it."""
        return summary(self.figures(row, task, *keys).values())


def figure(result: Any, *keys: str) -> float | None:
    """The number that a result holds at these keys, None where a key is missing."""
    for key in keys:
        if not isinstance(result, dict) or key not in result:
            return None
        result = result[key]
    return None if result is None else float(result)


def summary(values: Iterable[float | None]) -> Summary | None:
    """Mean and spread of what there is; None where there is nothing."""
    found = list(values)
    return summarise(found) if any(value is not None for value in found) else None


SAMPLES = 2000


def compared(
    sheet: Sheet, first: tuple[str, ...], other: tuple[str, ...], task: str, one_test: bool
) -> Comparison | None:
    """Two rows of a sheet on the posts of the seeds that both have; None where there is no such seed.

    Args:
        sheet: Their results hold `post_counts`.
        first, other: The rows.
        task: On which task.
        one_test: Whether the seeds share their test posts; else those of all seeds are put together.
    """
    found = [{place.seed: place.result for place in sheet.at(row, task) if place.result} for row in (first, other)]
    seeds = sorted(found[0].keys() & found[1].keys())
    if not seeds:
        return None
    counts: list[list[PostCounts]] = [
        [np.array(results[seed]["post_counts"], dtype=np.int64) for seed in seeds] for results in found
    ]
    if not one_test:
        counts = [[np.concatenate(runs)] for runs in counts]
    return paired_bootstrap(counts[0], counts[1], SAMPLES)


def difference_table(sheet: Sheet, best: tuple[str, ...], name: str, one_test: bool) -> Table:
    """The gain in F1 of one row over each other: over seeds, and with its bootstrap interval and p-value."""
    columns = ["over"]
    for task in sheet.tasks:
        columns += [f"{task}: gain", "95 % interval", "p"]
    rows: list[tuple[Content, ...]] = []
    for row in sheet.rows:
        if row == best:
            continue
        cells: list[Content] = [" · ".join(row)]
        for task in sheet.tasks:
            mine, theirs = (sheet.figures(one, task, "test", "f1") for one in (best, row))
            gains = [
                None if (a := mine.get(seed)) is None or (b := theirs.get(seed)) is None else a - b
                for seed in sheet.seeds
            ]
            comparison = compared(sheet, best, row, task, one_test)
            cells += [summary(gains), *_certainty(comparison)]
        rows.append(tuple(cells))
    title = f"F1 points of {' · '.join(best)} over the others, and how sure"
    return Table(name, title, tuple(columns), tuple(rows))


def _certainty(comparison: Comparison | None) -> tuple[str | None, str | None]:
    """Interval and p-value in words."""
    if comparison is None:
        return None, None
    interval = f"{comparison.low:+.1f} to {comparison.high:+.1f}".replace("-", "−")
    return interval, "< .001" if comparison.p < 0.001 else f"{comparison.p:.3f}"
