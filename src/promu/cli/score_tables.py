"""Tables of scores: counts, means over runs, what is confused with what, the tail."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

from promu.cli.console import print_table

if TYPE_CHECKING:
    from promu.evaluation.counts import Counts
    from promu.evaluation.summary import Summary
    from promu.evaluation.tail import TailScores

WIDEST = 8
"""Columns that a confusion table may have; a wider one is told as its largest cells."""

LARGEST = 12


def print_counts(title: str, table: Mapping[str, Counts]) -> None:
    """Precision, recall and F1 with the counts behind them, a row a name."""
    print_table(
        title,
        ["", "precision", "recall", "F1", "correct", "predicted", "gold"],
        (
            [
                name,
                *(f"{figure:.2f}" for figure in (counts.precision, counts.recall, counts.f1)),
                *(str(count) for count in (counts.correct, counts.predicted, counts.gold)),
            ]
            for name, counts in table.items()
        ),
    )


def print_summaries(title: str, table: Mapping[str, Mapping[str, Summary]]) -> None:
    """Precision, recall and F1 as mean ± standard deviation, a row a name."""
    print_table(
        title,
        ["", "precision", "recall", "F1"],
        ([name, *(str(figures[part]) for part in ("precision", "recall", "f1"))] for name, figures in table.items()),
    )


def print_confusion(what: str, table: Mapping[str, Mapping[str, int]]) -> None:
    """Gold against predicted: a table where it is narrow enough, otherwise the most frequent mistakes."""
    columns = sorted({name for row in table.values() for name in row})
    if len(columns) <= WIDEST:
        rows = ([gold, *(str(row.get(name, 0)) for name in columns)] for gold, row in table.items())
        print_table(f"confusion of {what}: gold down, predicted across", ["", *columns], rows)
        return
    wrong = [(count, gold, found) for gold, row in table.items() for found, count in row.items() if gold != found]
    largest = sorted(wrong, key=lambda cell: (-cell[0], cell[1:]))[:LARGEST]
    print_table(
        f"confusion of {what}: the {len(largest)} most frequent of {len(wrong)} (all with --json)",
        ["gold", "predicted", "times"],
        ([gold, found, str(count)] for count, gold, found in largest),
    )


def print_tail(title: str, tails: Sequence[TailScores]) -> None:
    """The rarest labels, rarest first; with several runs the mean of their F1."""
    from promu.evaluation.summary import summarise, summarise_tables

    one = tails[0]  # what is rare, and how much of it is gold, is the same for all
    rows = [
        [name, str(one.frequency[name]), str(one.labels[name].gold), str(means["f1"]) if one.labels[name].gold else "–"]
        for name, means in summarise_tables([tail.labels for tail in tails]).items()
    ]
    rows += [
        ["together (micro)", "", str(one.micro.gold), str(summarise(tail.micro.f1 for tail in tails))],
        ["mean of those in the gold", "", "", str(summarise(tail.macro_f1 for tail in tails))],
    ]
    print_table(title, ["", "there", "gold", "F1"], rows)
