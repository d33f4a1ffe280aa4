"""Scores of the rarest labels: where a system that has learned the frequent ones alone is found out."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from promu.evaluation.counts import Counts

RAREST_RELATIONS = 8
"""The paper's eight tail relations (Figure 4)."""

RAREST_TYPES = 2
"""The paper's two less frequent entity types (Figure 4)."""


@dataclass(frozen=True, slots=True)
class TailScores:
    """Scores of the rarest labels, rarest first.

    Attributes:
        labels: Counts by label.
        frequency: How often each occurs where frequency was counted.
        micro: All of them together.
        macro_f1: Mean F1 of those that occur in the gold; one that does not has no F1 to speak of.
    """

    labels: dict[str, Counts]
    frequency: dict[str, int]
    micro: Counts
    macro_f1: float

    def to_dict(self) -> dict[str, Any]:
        """Percentages, unrounded, and the counts behind them; those of `micro` at the top."""
        return {
            **self.micro.to_dict(),
            "macro_f1": self.macro_f1,
            "labels": {
                name: {"frequency": self.frequency[name], **counts.to_dict()} for name, counts in self.labels.items()
            },
        }


def rarest(frequency: Mapping[str, int], count: int) -> list[str]:
    """The `count` rarest labels, rarest first, equally rare ones in alphabetical order."""
    return sorted(frequency, key=lambda name: (frequency[name], name))[:count]


def score_tail(per_label: Mapping[str, Counts], frequency: Mapping[str, int], count: int) -> TailScores:
    """Pick the rarest labels out of a table of scores.

    Args:
        per_label: Counts by label: `per_type` of entity scores, `per_relation` of relation scores.
        frequency: How often each label occurs in the posts that say what is rare, training posts as a rule. A label of
            the table that never occurs there is not among the rarest: no system was taught it.
        count: How many.
    """
    names = rarest(frequency, count)
    labels = {name: per_label.get(name, Counts(0, 0, 0)) for name in names}
    present = [counts.f1 for counts in labels.values() if counts.gold]
    return TailScores(
        labels=labels,
        frequency={name: frequency[name] for name in names},
        micro=Counts(
            *(sum(getattr(counts, part) for counts in labels.values()) for part in ("correct", "predicted", "gold"))
        ),
        macro_f1=sum(present) / len(present) if present else 0.0,
    )
