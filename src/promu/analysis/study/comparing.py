"""Is a system really above another: differences over seeds, and a paired bootstrap over posts."""

from __future__ import annotations

import numpy as np

from promu.analysis.study.measured import Sheet, summary
from promu.analysis.study.table import Content, Table
from promu.evaluation.significance import Comparison, PostCounts, paired_bootstrap

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
