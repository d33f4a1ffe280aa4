"""Mean and spread of a figure over seeds."""

from __future__ import annotations

import math
import statistics
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

from promu.errors import InputError
from promu.evaluation.counts import Counts


@dataclass(frozen=True, slots=True)
class Summary:
    """Mean and sample standard deviation (n − 1) of `n` runs; `std` is None for a single run, which has no spread.

    `failed` runs gave no figure; the text then says over how many of all the mean is.
    """

    mean: float
    std: float | None
    n: int
    failed: int = 0

    def __str__(self) -> str:
        return format(self, ".2f")

    def __format__(self, spec: str) -> str:
        """`"83.07 ± 0.20"`, or `"83.07 ± 0.20 (2 of 3 runs)"` where runs failed; `spec` is that of both numbers."""
        spec = spec or ".2f"
        text = f"{self.mean:{spec}}" if self.std is None else f"{self.mean:{spec}} ± {self.std:{spec}}"
        return f"{text} ({self.n} of {self.n + self.failed} runs)" if self.failed else text

    def to_dict(self) -> dict[str, float | int | None]:
        """The figures, unrounded, ready for JSON."""
        return {"mean": self.mean, "std": self.std, "n": self.n, "failed": self.failed}


def summarise(values: Iterable[float | None]) -> Summary:
    """Summarise one figure over seeds; None stands for a run that failed.

    Raises:
        InputError: There is no value, or one is not a finite number.
    """
    given = list(values)
    runs = [float(value) for value in given if value is not None]
    if not runs:
        raise InputError("there is no run to summarise; give the figure of at least one seed")
    for value in runs:
        if not math.isfinite(value):
            raise InputError(f"a run's figure is {value}; leave the failed run out or run it again")
    spread = statistics.stdev(runs) if len(runs) > 1 else None
    return Summary(statistics.fmean(runs), spread, len(runs), len(given) - len(runs))


def summarise_counts(runs: Sequence[Counts]) -> dict[str, Summary]:
    """Precision, recall and F1 over runs, each summarised for itself.

    Raises:
        InputError: There is no run.
    """
    return {part: summarise(getattr(counts, part) for counts in runs) for part in ("precision", "recall", "f1")}


def summarise_tables(runs: Sequence[Mapping[str, Counts]]) -> dict[str, dict[str, Summary]]:
    """The same for tables of counts by label; a label that a run's table lacks has counts of 0 there.

    Raises:
        InputError: There is no run.
    """
    names = dict.fromkeys(name for run in runs for name in run)
    return {name: summarise_counts([run.get(name, Counts(0, 0, 0)) for run in runs]) for name in names}
