"""How benchmarks measure: contenders take turns, so that whatever else the machine does hits all of them alike."""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass
from typing import Any


@dataclass(frozen=True)
class Timing:
    """Medians over the turns of one contender.

    Attributes:
        seconds: Wall clock of one call.
        core_seconds: Processor time of one call, over all threads; other load hardly moves it.
        turns: How many turns there were.
        spread: Wall clock of the slowest turn over that of the fastest.
    """

    seconds: float
    core_seconds: float
    turns: int
    spread: float

    def as_dict(self) -> dict[str, Any]:
        """For JSON."""
        return asdict(self)


@dataclass(frozen=True)
class Row:
    """One line of the table.

    Attributes:
        benchmark, measure: What was measured.
        ours, yardstick: The two figures as text, the second empty where there is none.
        ratio: How many times better ours is (or a share), where there is something to compare.
        core_ratio: The same in processor time.
        goal: What was aimed at.
    """

    benchmark: str
    measure: str
    ours: str
    yardstick: str = ""
    ratio: float | None = None
    core_ratio: float | None = None
    goal: str = ""


def alternate(
    contenders: Mapping[str, Callable[[], object]], turns: int, calls: Mapping[str, int] | int = 1
) -> dict[str, Timing]:
    """Time the contenders in turns (A B C A B C ...), after one call each that does not count.

    Args:
        contenders: What to call, by name.
        turns: How often each gets its turn.
        calls: Calls a turn, one number or one a contender; times are per call.
    """
    samples: dict[str, list[tuple[float, float]]] = {name: [] for name in contenders}
    for contender in contenders.values():
        contender()
    for _ in range(turns):
        for name, contender in contenders.items():
            count = calls if isinstance(calls, int) else calls[name]
            wall, core = time.perf_counter(), time.process_time()
            for _ in range(count):
                contender()
            samples[name].append(((time.perf_counter() - wall) / count, (time.process_time() - core) / count))
    return {name: _timing(taken) for name, taken in samples.items()}


def _timing(taken: list[tuple[float, float]]) -> Timing:
    walls = [wall for wall, _ in taken]
    return Timing(
        statistics.median(walls),
        statistics.median(core for _, core in taken),
        len(taken),
        max(walls) / max(min(walls), 1e-12),
    )
