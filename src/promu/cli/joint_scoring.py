"""`promu score joint`: predicted quintuples against gold ones."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Literal

from promu.cli.console import note, print_json
from promu.cli.score_options import ScoreOptions, compare, comparison_record, print_comparison, runs_record
from promu.cli.score_tables import print_counts, print_summaries

if TYPE_CHECKING:
    from promu.evaluation.joint import JointScores
    from promu.evaluation.summary import Summary


def score_joint(options: ScoreOptions, *, format: Literal["jmere", "posts"] = "jmere") -> None:
    """Quintuples (head, type, tail, type, relation): micro and macro F1 by exact spans, types and direction.

    Beside them: head and tail exchangeable, entities only, relations only, and under its own name what the published
    string scorer counts. Texts that the gold has several times with other labels are reported.

    Args:
        format: Of all files.
    """
    from promu.corpora.formats import read_posts
    from promu.evaluation.files import read_joint_files
    from promu.evaluation.groups import read_groups
    from promu.evaluation.joint import joint_counts
    from promu.evaluation.joint import score_joint as score
    from promu.evaluation.relation import relation_frequency

    files = read_joint_files(options.gold, options.all_predictions, format)
    known = [] if options.train is None else list(relation_frequency(read_posts(options.train, format)))
    groups = None if options.groups is None else read_groups(options.groups)
    runs = [score(files.gold, run, known, groups) for run in files.runs[: len(options.predictions)]]
    comparison = compare(joint_counts, files, options)
    if options.json:
        result = runs[0].to_dict() if len(runs) == 1 else runs_record(options.predictions, runs)
        if len(runs) > 1:
            result["mean"]["macro_f1"] = {name: one.to_dict() for name, one in _macro(runs).items()}
        print_json({**result, **comparison_record(comparison, options)})
        return
    print_joint_scores(runs)
    print_comparison(comparison, options)


def print_joint_scores(runs: Sequence[JointScores]) -> None:
    """Tables of one run, or of several and their mean."""
    from promu.evaluation.summary import summarise_tables

    first = runs[0]
    groups = "by group of posts"
    if len(runs) == 1:
        print_counts(f"quintuples, {first.posts} posts", first.table())
        if first.per_group:
            print_counts(groups, first.per_group)
    else:
        title = f"quintuples, {first.posts} posts, mean ± standard deviation of {len(runs)} runs"
        print_summaries(title, summarise_tables([scores.table() for scores in runs]))
        if first.per_group:
            print_summaries(groups, summarise_tables([scores.per_group for scores in runs]))
    figures = {name: str(figure) for name, figure in _macro(runs).items()}
    print(f"macro F1 over all {len(first.per_relation)} relations known: {figures['all']}")
    print(f"macro F1 over the gold's relations: {figures['present']}")
    print(f"F1 by the published string scorer: {figures['strings']}")
    if first.repeated.texts:
        note(
            f"{first.repeated.texts} texts come again with other labels ({first.repeated.posts} posts); taken as one "
            f"post each, F1 is {figures['merged']}"
        )


def _macro(runs: Sequence[JointScores]) -> dict[str, Summary]:
    """Figures that are no counts, over the runs."""
    from promu.evaluation.summary import summarise

    return {
        "all": summarise(scores.macro_all for scores in runs),
        "present": summarise(scores.macro_present for scores in runs),
        "strings": summarise(scores.strings.f1 for scores in runs),
        "merged": summarise(scores.repeated.merged.f1 for scores in runs),
    }
