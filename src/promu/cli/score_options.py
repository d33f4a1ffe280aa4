"""What the commands of `promu score` share: what they are given, several runs, another system to compare with."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

from cyclopts import Parameter

if TYPE_CHECKING:
    from promu.evaluation.counts import Counts
    from promu.evaluation.files import Files
    from promu.evaluation.joint import JointScores
    from promu.evaluation.ner import NerScores
    from promu.evaluation.relation import RelationScores
    from promu.evaluation.significance import Comparison, PostCounts
    from promu.schema import Post

    Scores = NerScores | RelationScores | JointScores


@Parameter(name="*")
@dataclass(frozen=True, kw_only=True)
class ScoreOptions:
    """What all kinds of scores are given.

    Args:
        gold: File with the gold.
        predictions: File with the predictions, same posts in the same order; several are runs of one system (seeds),
            whose mean and standard deviation is shown.
        against: Predictions of another system, one file or several: is the difference more than chance?
        train: Training file. Of ner and re: what is rare there is the tail; without it the gold says what is rare. Of
            joint: its relations count in the macro F1 over all relations.
        groups: JSON file, an object of group name by post id; adds figures by group.
        samples: Samples of the paired bootstrap (--against); their seed is fixed.
        json: Print JSON instead of tables.
    """

    gold: Path
    predictions: Annotated[list[Path], Parameter(consume_multiple=True)]
    against: Annotated[list[Path] | None, Parameter(consume_multiple=True)] = None
    train: Path | None = None
    groups: Path | None = None
    samples: int = 10_000
    json: bool = False

    @property
    def rare_in(self) -> Path:
        """The file whose frequencies say what is rare."""
        return self.train or self.gold

    @property
    def all_predictions(self) -> list[Path]:
        """The files of both systems, ours first."""
        return [*self.predictions, *(self.against or [])]


def compare(
    count: Callable[[list[Post], list[Post]], PostCounts], files: Files, options: ScoreOptions
) -> Comparison | None:
    """Compare two systems; None where there is only one.

    Args:
        count: Counts by post, of gold and predictions.
        files: Of `all_predictions`.
        options: Say which of them are whose.
    """
    if options.against is None:
        return None
    from promu.evaluation.significance import paired_bootstrap

    own = len(options.predictions)
    counts = [count(files.gold, run) for run in files.runs]
    return paired_bootstrap(counts[:own], counts[own:], options.samples)


def comparison_record(comparison: Comparison | None, options: ScoreOptions) -> dict[str, Any]:
    """A comparison for the JSON of scores; nothing where there is none."""
    if comparison is None:
        return {}
    return {"against": {"files": [str(path) for path in options.against or ()], **comparison.to_dict()}}


def print_comparison(comparison: Comparison | None, options: ScoreOptions) -> None:
    """Say whether the difference is more than chance."""
    if comparison is not None:
        print(f"against {', '.join(map(str, options.against or ()))}: {comparison}\n({comparison.method})")


def runs_record(paths: Sequence[Path], runs: Sequence[Scores]) -> dict[str, Any]:
    """JSON of several runs and the means of their tables."""
    each = [{"predictions": str(path), **scores.to_dict()} for path, scores in zip(paths, runs, strict=True)]
    return {
        "runs": each,
        "mean": _plain([scores.table() for scores in runs]),
        "mean_per_group": _plain([scores.per_group for scores in runs]),
    }


def _plain(tables: Sequence[Mapping[str, Counts]]) -> dict[str, dict[str, Any]]:
    """Means of tables of counts, ready for JSON."""
    from promu.evaluation.summary import summarise_tables

    rows = summarise_tables(tables)
    return {row: {name: summary.to_dict() for name, summary in figures.items()} for row, figures in rows.items()}
