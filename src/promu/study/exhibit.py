"""An exhibit is a table or figure of a study: which jobs it needs, and what it makes of their results."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from promu.evaluation.counts import Summary, summarise
from promu.evaluation.significance import Comparison, paired_bootstrap
from promu.study.job import Job

Content = str | Summary | None
"""A place of a table: words, a figure over seeds, or None where nothing was measured."""
Row = tuple[str, ...]
"""What distinguishes a row of an exhibit: the system, or the values of a sweep."""

NOTHING = "–"
SAMPLES = 2000
PARTS = (("P", "precision"), ("R", "recall"), ("F1", "f1"))


@dataclass(frozen=True)
class Table:
    """A table of an exhibit; its `name` is that of its files.

    The first `keys` columns say what a row is about, the others hold figures with `digits` digits after the point.
    """

    name: str
    title: str
    columns: tuple[str, ...]
    rows: tuple[tuple[Content, ...], ...]
    keys: int = 1
    digits: int = 1

    def texts(self) -> list[list[str]]:
        """Every place in words."""

        def text(content: Content) -> str:
            if isinstance(content, Summary):
                return format(content, f".{self.digits}f").replace("-", "−")
            return NOTHING if content is None else content

        return [[text(content) for content in row] for row in self.rows]


@dataclass(frozen=True)
class Drawing:
    """A drawn figure: name (also of its file), title, SVG."""

    name: str
    title: str
    svg: str


@dataclass(frozen=True)
class Request:
    """A job whose result an exhibit shows, and the place where.

    `task` is the study's name of the task; empty, or a word of the exhibit, if the result is not about one task.
    """

    exhibit: str
    row: Row
    task: str
    seed: int
    job: Job


@dataclass(frozen=True)
class Measurement:
    """The result of a request; `result` is None if the job failed, and `failure` then says why."""

    exhibit: str
    row: Row
    task: str
    seed: int
    result: dict[str, Any] | None
    failure: str | None = None

    def __str__(self) -> str:
        return f"{' · '.join(part for part in (*self.row, self.task) if part)}, seed {self.seed}"


@dataclass(frozen=True)
class Section:
    """An exhibit ready to be written: notes, tables and figures, and the measurements they show."""

    name: str
    title: str
    notes: tuple[str, ...]
    tables: tuple[Table, ...]
    figures: tuple[Drawing, ...]
    measurements: tuple[Measurement, ...]

    @property
    def failures(self) -> list[str]:
        """A sentence for each measurement without a result."""
        return [f"{one}: {one.failure}" for one in self.measurements if one.result is None]


@dataclass(frozen=True)
class Exhibit:
    """One table or figure, declared once, under the name that `promu reproduce` has for it.

    Attributes:
        requests: Of the study's recipe and a job factory: (row, task, job) of each result that it shows. It raises
            `InputError` if the recipe lacks what the exhibit needs.
        build: Makes the section of the page from the measurements.
    """

    name: str
    requests: Callable[[Any, Any], Iterator[tuple[Row, str, Job]]]
    build: Callable[[Sheet], Section]


class Sheet:
    """The measurements of one exhibit by row, task and seed.

    Args:
        measurements: Those of the exhibit.
        kinds: `ner`, `re` or `joint` by the study's name of the task, in the order of the columns; those that have a
            measurement are `tasks`.
        one_test: Whether the seeds share their test posts.
    """

    def __init__(self, measurements: Sequence[Measurement], kinds: Mapping[str, str], one_test: bool) -> None:
        self.measurements = measurements
        self.kinds = kinds
        self.one_test = one_test
        self.rows: list[Row] = list(dict.fromkeys(one.row for one in measurements))
        self.tasks = [task for task in kinds if any(one.task == task for one in measurements)]
        self.seeds = sorted({one.seed for one in measurements})

    def only(self, measurements: Iterable[Measurement]) -> Sheet:
        """A sheet of these measurements of the same study."""
        return Sheet(list(measurements), self.kinds, self.one_test)

    def at(self, row: Row, task: str) -> list[Measurement]:
        """The measurements of a row and task, by seed."""
        return sorted((one for one in self.measurements if one.row == row and one.task == task), key=lambda m: m.seed)

    def figures(self, row: Row, task: str, *keys: str) -> dict[int, float | None]:
        """The number at these keys of the results, by seed."""
        return {one.seed: figure(one.result, *keys) for one in self.at(row, task)}

    def summary(self, row: Row, task: str, *keys: str) -> Summary | None:
        """The same over seeds; None if no seed has it."""
        return summary(self.figures(row, task, *keys).values())

    def f1(self, row: Row, task: str) -> Summary | None:
        """Test F1 over seeds."""
        return self.summary(row, task, "test", "f1")

    def gain(self, row: Row, other: Row, task: str) -> Summary | None:
        """The difference of two rows in test F1 over the seeds that both have."""
        mine, theirs = (self.figures(one, task, "test", "f1") for one in (row, other))
        return summary(
            None if (a := mine.get(seed)) is None or (b := theirs.get(seed)) is None else a - b for seed in self.seeds
        )

    @property
    def groups(self) -> list[str]:
        """The groups of posts that the results have figures for."""
        results = [one.result for one in self.measurements if one.result]
        return sorted({group for result in results for group in result["test"].get("per_group", {})}, reverse=True)

    def section(
        self, title: str, notes: Sequence[str], tables: Sequence[Table], figures: Sequence[Drawing] = ()
    ) -> Section:
        """The section of these measurements; a first note says over how many seeds the means are."""
        count = len(self.seeds)
        seeds = f"Mean ± standard deviation over {count} seeds." if count > 1 else "One seed: no standard deviation."
        name = self.measurements[0].exhibit
        return Section(name, title, (seeds, *notes), tuple(tables), tuple(figures), tuple(self.measurements))


def figure(result: Any, *keys: str) -> float | None:
    """The number that a result holds at these keys; None if a key is missing."""
    for key in keys:
        if not isinstance(result, dict) or key not in result:
            return None
        result = result[key]
    return None if result is None else float(result)


def summary(values: Iterable[float | None]) -> Summary | None:
    """Mean and standard deviation of the values that are not None; None if there is no such value."""
    listed = list(values)
    return summarise(listed) if any(value is not None for value in listed) else None


def compare(sheet: Sheet, first: Row, other: Row, task: str) -> Comparison | None:
    """Paired bootstrap of two rows over the seeds that both have; None if there is no such seed.

    The posts of all seeds are pooled if the seeds do not share their test posts.
    """
    results = [{one.seed: one.result for one in sheet.at(row, task) if one.result} for row in (first, other)]
    seeds = sorted(results[0].keys() & results[1].keys())
    if not seeds:
        return None
    counts = [[np.array(of_row[seed]["post_counts"], dtype=np.int64) for seed in seeds] for of_row in results]
    if not sheet.one_test:
        counts = [[np.concatenate(runs)] for runs in counts]
    return paired_bootstrap(counts[0], counts[1], SAMPLES)


def difference_table(sheet: Sheet, best: Row, name: str) -> Table:
    """The gain in F1 of one row over each other: over seeds, and with bootstrap interval and p-value."""
    columns = ["over"]
    for task in sheet.tasks:
        columns += [f"{task}: gain", "95 % interval", "p"]
    rows: list[tuple[Content, ...]] = []
    for row in sheet.rows:
        if row == best:
            continue
        places: list[Content] = [" · ".join(row)]
        for task in sheet.tasks:
            interval = p = None
            if (found := compare(sheet, best, row, task)) is not None:
                interval = f"{found.low:+.1f} to {found.high:+.1f}".replace("-", "−")
                p = "< .001" if found.p < 0.001 else f"{found.p:.3f}"
            places += [sheet.gain(best, row, task), interval, p]
        rows.append(tuple(places))
    title = f"F1 points of {' · '.join(best)} over the others, with 95 % intervals"
    return Table(name, title, tuple(columns), tuple(rows))


def bootstrap_note(sheet: Sheet) -> str:
    """How the intervals and p-values of a section came about."""
    pooled = "the test posts, means over seeds" if sheet.one_test else "the test posts of all seeds together"
    return f"Intervals and p-values: paired bootstrap over {pooled}."
