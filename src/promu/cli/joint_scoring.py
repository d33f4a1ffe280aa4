"""`promu score joint`: predicted quintuples against gold ones."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

from cyclopts import Parameter

from promu.cli.console import note, print_json
from promu.cli.score_tables import print_counts, print_summaries

if TYPE_CHECKING:
    from promu.evaluation.joint import JointScores
    from promu.evaluation.summary import Summary


@Parameter(name="*")
@dataclass(frozen=True, kw_only=True)
class JointOptions:
    """What is scored, and how.

    Args:
        gold: File with the gold.
        predictions: File with the predictions, same posts in the same order; several are runs of one system (seeds),
            whose mean and standard deviation is shown.
        against: Predictions of another system, one file or several: is the difference more than chance?
        train: Training file; its relations count in the macro F1 over all relations.
        groups: JSON file, an object of group name by post id; adds figures by group.
        format: Of all files.
        samples: Samples of the paired bootstrap (--against); their seed is fixed.
        json: Print JSON instead of tables.
    """

    gold: Path
    predictions: Annotated[list[Path], Parameter(consume_multiple=True)]
    against: Annotated[list[Path] | None, Parameter(consume_multiple=True)] = None
    train: Path | None = None
    groups: Path | None = None
    format: Literal["jmere", "posts"] = "jmere"
    samples: int = 10_000
    json: bool = False


def score_joint(options: JointOptions) -> None:
    """Quintuples (head, type, tail, type, relation): micro and macro F1 by exact spans, types and direction.

    Beside them: head and tail exchangeable, entities only, relations only, and under its own name what the published
    string scorer counts. Texts that the gold has several times with other labels are reported.
    """
    from promu.corpora.formats import read_posts
    from promu.evaluation.joint import joint_counts, quintuple_frequency
    from promu.evaluation.joint import score_joint as score
    from promu.evaluation.joint_files import read_joint_files

    files = read_joint_files(options.gold, [*options.predictions, *(options.against or [])], options.format)
    known = [] if options.train is None else list(quintuple_frequency(read_posts(options.train, options.format)))
    own = len(options.predictions)
    groups = None
    if options.groups is not None:
        from promu.evaluation.groups import read_groups

        groups = read_groups(options.groups)
    runs = [score(files.gold, run, known, groups) for run in files.runs[:own]]
    comparison = None
    if options.against is not None:
        from promu.evaluation.significance import paired_bootstrap

        counts = [joint_counts(files.gold, run) for run in files.runs]
        comparison = paired_bootstrap(counts[:own], counts[own:], options.samples)
    if options.json:
        result = _record(options.predictions, runs)
        if comparison is not None:
            result["against"] = {"files": [str(path) for path in options.against or ()], **comparison.to_dict()}
        print_json(result)
        return
    print_joint_scores(runs)
    if comparison is not None:
        print(f"against {', '.join(map(str, options.against or ()))}: {comparison}\n({comparison.method})")


def print_joint_scores(runs: Sequence[JointScores]) -> None:
    """Tables of one run, or of several and their mean."""
    first = runs[0]
    if len(runs) == 1:
        print_counts(f"quintuples, {first.posts} posts", first.table())
    else:
        print_summaries(f"quintuples, {first.posts} posts, mean ± standard deviation of {len(runs)} runs", _rows(runs))
    if first.per_group:
        from promu.evaluation.summary import summarise_tables

        print_summaries("by group of posts", summarise_tables([scores.per_group for scores in runs]))
    figures = {name: str(figure) for name, figure in _macro(runs).items()}
    print(f"macro F1 over all {len(first.per_relation)} relations known: {figures['all']}")
    print(f"macro F1 over the gold's relations: {figures['present']}")
    print(f"F1 by the published string scorer: {figures['strings']}")
    if first.repeated.texts:
        note(
            f"{first.repeated.texts} texts come again with other labels ({first.repeated.posts} posts); taken as one "
            f"post each, F1 is {figures['merged']}"
        )


def _rows(runs: Sequence[JointScores]) -> dict[str, dict[str, Summary]]:
    from promu.evaluation.summary import summarise_tables

    return summarise_tables([scores.table() for scores in runs])


def _macro(runs: Sequence[JointScores]) -> dict[str, Summary]:
    """Figures that are no counts, over the runs."""
    from promu.evaluation.summary import summarise

    return {
        "all": summarise(scores.macro_all for scores in runs),
        "present": summarise(scores.macro_present for scores in runs),
        "strings": summarise(scores.strings.f1 for scores in runs),
        "merged": summarise(scores.repeated.merged.f1 for scores in runs),
    }


def _record(paths: Sequence[Path], runs: Sequence[JointScores]) -> dict[str, Any]:
    """JSON of one run, or of several and their mean."""
    if len(runs) == 1:
        return runs[0].to_dict()
    each = [{"predictions": str(path), **scores.to_dict()} for path, scores in zip(paths, runs, strict=True)]
    rows = {row: {name: one.to_dict() for name, one in figures.items()} for row, figures in _rows(runs).items()}
    return {"runs": each, "mean": {**rows, "macro_f1": {name: one.to_dict() for name, one in _macro(runs).items()}}}
