"""An exhibit is a table or figure of a study: which jobs it needs, and what it makes of their results."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from promu.evaluation.counts import Summary, summarise
from promu.evaluation.significance import Comparison, compare_runs, interval_over_posts
from promu.study.figures import Spread
from promu.study.job import Job

Content = str | Summary | None
"""A place of a table: words, a figure over seeds, or None where nothing was measured."""
Row = tuple[str, ...]
"""What distinguishes a row of an exhibit: the system, or the values of a sweep."""

NOTHING = "–"
SAMPLES = 2000
F1 = ("test", "f1")
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
        published: Published F1 by system and task, to be shown beside.
    """

    def __init__(
        self,
        measurements: Sequence[Measurement],
        kinds: Mapping[str, str],
        one_test: bool,
        published: Mapping[str, Mapping[str, float]] | None = None,
    ) -> None:
        self.measurements = measurements
        self.published = published or {}
        self.kinds = kinds
        self.one_test = one_test
        self.rows: list[Row] = list(dict.fromkeys(one.row for one in measurements))
        self.tasks = [task for task in kinds if any(one.task == task for one in measurements)]
        self.seeds = sorted({one.seed for one in measurements})

    def only(self, measurements: Iterable[Measurement]) -> Sheet:
        """A sheet of these measurements of the same study."""
        return Sheet(list(measurements), self.kinds, self.one_test, self.published)

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

    def spread(self, row: Row, task: str, *keys: str) -> Spread | None:
        """A figure for a chart: mean ± standard deviation; F1 of one seed with its 95 % interval over test posts."""
        if (found := self.summary(row, task, *keys)) is None:
            return None
        low, high = found.mean - (found.std or 0.0), found.mean + (found.std or 0.0)
        if found.n == 1 and keys == F1 and (interval := self.interval(row, task)) is not None:
            low, high = interval
        return Spread(found.mean, low, high)

    @property
    def bars(self) -> str:
        """What the bars of `spread` are, for the title of a chart."""
        return "standard deviation over seeds" if len(self.seeds) > 1 else "95 % interval over test posts, one seed"

    def interval(self, row: Row, task: str) -> tuple[float, float] | None:
        """The 95 % interval of F1 over the posts of the only seed that has a result; None if there is no such."""
        runs = [one.result["post_counts"] for one in self.at(row, task) if one.result and "post_counts" in one.result]
        return interval_over_posts(np.array(runs[0], dtype=np.int64)) if len(runs) == 1 and len(runs[0]) > 1 else None

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
        seeds = f"Mean ± standard deviation over {count} seeds." if count > 1 else self._one_seed()
        name = self.measurements[0].exhibit
        notes, tables = [seeds, *notes], list(tables)
        if (chosen := chosen_table(self, f"{name}-chosen")) is not None:
            tables.append(chosen)
            notes.append(
                "Every system tried the same settings of fine-tuning. Dev chose, and test was scored once, with the "
                "chosen setting."
            )
        return Section(name, title, tuple(notes), tuple(tables), tuple(figures), tuple(self.measurements))

    def _one_seed(self) -> str:
        """What is known of the spread of a single seed's figures."""
        intervals = [self.interval(row, task) for row in self.rows for task in self.tasks]
        widest = max(((high - low) / 2 for low, high in filter(None, intervals)), default=None)
        if widest is None:
            return "One seed: no standard deviation and no intervals."
        return (
            f"One seed: no standard deviation. The 95 % interval of an F1 over its test posts is up to ± {widest:.1f} "
            "points. Other seeds come on top. Smaller differences than that are no effects."
        )


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
    """Compare two rows over the seeds that both have; None if there is no such seed.

    Both rows have the same seeds. The seeds share their test posts, or each has its own.
    """
    results = [{one.seed: one.result for one in sheet.at(row, task) if one.result} for row in (first, other)]
    seeds = sorted(results[0].keys() & results[1].keys())
    if not seeds:
        return None
    counts = [[np.array(of_row[seed]["post_counts"], dtype=np.int64) for seed in seeds] for of_row in results]
    return compare_runs(counts[0], counts[1], "paired" if sheet.one_test else "own posts", SAMPLES)


def p_value(found: Comparison | None) -> str | None:
    """A p-value as tables have it."""
    if found is None:
        return None
    return "< .001" if found.p < 0.001 else f"{found.p:.3f}"


def difference_table(sheet: Sheet, best: Row, name: str) -> Table:
    """The gain in F1 of one row over each other: over seeds, and with interval and p-value of `compare_runs`."""
    columns = ["over"]
    for task in sheet.tasks:
        columns += [f"{task}: gain", f"{task}: 95 % interval", f"{task}: p"]
    rows: list[tuple[Content, ...]] = []
    for row in sheet.rows:
        if row == best:
            continue
        places: list[Content] = [" · ".join(row)]
        for task in sheet.tasks:
            found = compare(sheet, best, row, task)
            interval = None if found is None else f"{found.low:+.1f} to {found.high:+.1f}".replace("-", "−")
            places += [sheet.gain(best, row, task), interval, p_value(found)]
        rows.append(tuple(places))
    title = f"F1 points of {' · '.join(best)} over the others, with 95 % intervals"
    return Table(name, title, tuple(columns), tuple(rows))


def chosen_table(sheet: Sheet, name: str) -> Table | None:
    """How often dev chose which settings of fine-tuning, by row and task; None if there was nothing to choose."""

    def settings(row: Row, task: str) -> str | None:
        results = [one.result for one in sheet.at(row, task) if one.result and "chosen" in one.result]
        times = Counter(f"{one['chosen']['lr']:g} × {one['chosen']['epochs']:g}" for one in results)
        one_seed = len(results) == 1
        return ", ".join(words if one_seed else f"{words} ({count})" for words, count in times.most_common()) or None

    rows = [(" · ".join(row), *(settings(row, task) for task in sheet.tasks)) for row in sheet.rows]
    rows = [row for row in rows if any(row[1:])]
    if not rows:
        return None
    of = "learning rate × epochs" if len(sheet.seeds) == 1 else "learning rate × epochs (number of seeds)"
    return Table(name, f"Chosen on dev: {of}", ("system", *sheet.tasks), tuple(rows))


def comparison_note(sheet: Sheet) -> str:
    """How the intervals and p-values of a section came about."""
    if len(sheet.seeds) == 1:
        return "Intervals and p-values: paired bootstrap over the test posts of the one seed. Other seeds may differ."
    posts = "and the test posts that they share" if sheet.one_test else "each with its own test posts"
    return (
        f"Intervals and p-values: t test over the seeds, {posts}. A p-value is that of one comparison. Of twenty, one "
        "is expected below .05 by chance."
    )
