"""What the cells of a study gave, as the tables and figures read it."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

from promu.evaluation.summary import Summary, summarise


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
