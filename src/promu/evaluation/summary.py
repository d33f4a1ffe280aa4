"""Mean and spread of a figure over seeds."""

from __future__ import annotations

import math
import statistics
from collections.abc import Iterable
from dataclasses import dataclass

from promu.errors import InputError


@dataclass(frozen=True, slots=True)
class Summary:
    """Mean and sample standard deviation (n − 1) of `n` runs; `std` is None for a single run, which has no spread."""

    mean: float
    std: float | None
    n: int

    def __str__(self) -> str:
        return f"{self.mean:.2f}" if self.std is None else f"{self.mean:.2f} ± {self.std:.2f}"

    def to_dict(self) -> dict[str, float | int | None]:
        """The three figures, unrounded, ready for JSON."""
        return {"mean": self.mean, "std": self.std, "n": self.n}


def summarise(values: Iterable[float]) -> Summary:
    """Summarise one figure over seeds.

    Raises:
        InputError: There is no value, or one is not a finite number.
    """
    runs = [float(value) for value in values]
    if not runs:
        raise InputError("there is no run to summarise; give the figure of at least one seed")
    for value in runs:
        if not math.isfinite(value):
            raise InputError(f"a run's figure is {value}; leave the failed run out or run it again")
    return Summary(statistics.fmean(runs), statistics.stdev(runs) if len(runs) > 1 else None, len(runs))
