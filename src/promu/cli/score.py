"""`promu score`: predictions in files against gold in a file."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

from cyclopts import App, Parameter

from promu.cli.console import note, print_json, print_table
from promu.errors import InputError

if TYPE_CHECKING:
    from promu.evaluation.counts import Counts, Summary, TailScores
    from promu.evaluation.joint_scores import JointScores
    from promu.evaluation.ner import NerScores
    from promu.evaluation.relation import RelationScores
    from promu.evaluation.score_files import Files
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
    from promu.evaluation.counts import summarise_tables

    rows = summarise_tables(tables)
    return {row: {name: summary.to_dict() for name, summary in figures.items()} for row, figures in rows.items()}


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
    from promu.evaluation.counts import summarise, summarise_tables

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


def score_joint(options: ScoreOptions, *, format: Literal["jmere", "posts"] = "jmere") -> None:
    """Quintuples (head, type, tail, type, relation): micro and macro F1 by exact spans, types and direction.

    Beside them: head and tail exchangeable, entities only, relations only, and under its own name what the published
    string scorer counts. Texts that the gold has several times with other labels are reported.

    Args:
        format: Of all files.
    """
    from promu.corpora.formats import read_posts
    from promu.evaluation.joint_scores import joint_counts
    from promu.evaluation.joint_scores import score_joint as score
    from promu.evaluation.relation import relation_frequency
    from promu.evaluation.score_files import read_groups, read_joint_files

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
    from promu.evaluation.counts import summarise_tables

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
    from promu.evaluation.counts import summarise

    return {
        "all": summarise(scores.macro_all for scores in runs),
        "present": summarise(scores.macro_present for scores in runs),
        "strings": summarise(scores.strings.f1 for scores in runs),
        "merged": summarise(scores.repeated.merged.f1 for scores in runs),
    }


app = App(name="score", help="Score predictions against gold; all files in the format of the gold.")

_MODES = {"strict": "strict", "default": "default: a stray I- begins an entity"}
"""What is said of seqeval's modes where they differ."""


@app.command(name="ner")
def score_ner(
    options: ScoreOptions,
    *,
    rename: Annotated[list[str] | None, Parameter(consume_multiple=True)] = None,
    export: Path | None = None,
) -> None:
    """Entities: precision, recall and F1 over exact spans and types (seqeval), by type, and what is confused with what.

    The files are CoNLL. Where the tags hold an I- that continues no entity, seqeval's two modes give two figures; both
    are then shown. The figure of the literature, which stands first, is the strict one (IOB2), except on the published
    Twitter-2015 files: their gold begins entities with I- tags, and the field's scorers count them.

    Args:
        rename: OLD=NEW, read the type OLD of predictions and training file as NEW, such as MISC=OTHER.
        export: Folder to write gold and (first) predictions to in the forms that UMT's and HVPNeT's scorers take.
    """
    from promu.corpora.conll import read_conll
    from promu.evaluation.counts import RAREST_TYPES
    from promu.evaluation.ner import entity_counts, entity_frequency, score_entities
    from promu.evaluation.score_files import read_entity_files, read_groups, renamed

    names = dict(_renaming(word) for word in rename or ())
    groups = None if options.groups is None else read_groups(options.groups)
    files = read_entity_files(options.gold, options.all_predictions, names)
    scored = {
        mode: [score_entities(read.gold, run, groups) for run in read.runs[: len(options.predictions)]]
        for mode, read in files.items()
    }
    (mode, runs), (other_mode, other_runs) = scored.items()
    _name_foreign("entities of types", [scores.per_type for scores in runs])
    rare = entity_frequency(files[mode].gold if options.train is None else renamed(read_conll(options.train), names))
    if export is not None:
        from promu.evaluation.score_files import export_entities

        begun = files["default"]  # the published scorers count what begins with a stray I-
        _exported(export_entities(export, begun.gold, begun.runs[0]))
    _show(
        options,
        {mode: runs} if runs == other_runs else {mode: runs, other_mode: other_runs},
        _tails([scores.per_type for scores in runs], rare, RAREST_TYPES),
        compare(entity_counts, files[mode], options),
    )


@app.command(name="re")
def score_re(options: ScoreOptions, *, export: Path | None = None) -> None:
    """Relations: micro precision, recall and F1 with `None` left out, by relation, and what is confused with what.

    The files are MNRE. Accuracy (`None` included) and macro figures stand beside.

    Args:
        export: Folder to write gold and (first) predictions to in the forms that HVPNeT's and MEGA's scorers take.
    """
    from promu.corpora.mnre import read_mnre
    from promu.evaluation.counts import RAREST_RELATIONS
    from promu.evaluation.relation import relation_counts, relation_frequency, score_relations
    from promu.evaluation.score_files import read_groups, read_relation_files

    groups = None if options.groups is None else read_groups(options.groups)
    files = read_relation_files(options.gold, options.all_predictions)
    runs = [score_relations(files.gold, run, groups) for run in files.runs[: len(options.predictions)]]
    _name_foreign("relations", [scores.per_relation for scores in runs])
    rare = relation_frequency(files.gold if options.train is None else read_mnre(options.train))
    if export is not None:
        from promu.evaluation.score_files import export_relations

        _exported(export_relations(export, files.gold, files.runs[0]))
    _show(
        options,
        {"": runs},
        _tails([scores.per_relation for scores in runs], rare, RAREST_RELATIONS),
        compare(relation_counts, files, options),
    )


app.command(score_joint, name="joint")


def print_entity_scores(scores: NerScores, mode: str = "") -> None:
    """Tables of entity scores; `mode` says how stray tags were read."""
    print_counts(_title(f"entities, {scores.posts} posts", mode), scores.table())
    if scores.per_group:
        print_counts("by group of posts", scores.per_group)
    print_confusion("types", scores.confusion)


def print_relation_scores(scores: RelationScores) -> None:
    """Tables of relation scores."""
    print_counts(f"relations, {scores.pairs} pairs", scores.table())
    print(
        f"macro over the gold's relations: precision {scores.macro_precision:.2f}, recall {scores.macro_recall:.2f}, "
        f"F1 {scores.macro_f1:.2f}\naccuracy, None included: {scores.accuracy:.2f}"
    )
    if scores.per_group:
        print_counts("by group of posts", scores.per_group)
    print_confusion("relations", scores.confusion)


def _exported(paths: Sequence[Path]) -> None:
    note(f"written for other scorers: {', '.join(map(str, paths))}")


def _renaming(word: str) -> tuple[str, str]:
    old, sign, new = word.partition("=")
    if not (old and sign and new):
        raise InputError(f"--rename {word!r} is not of the form OLD=NEW")
    return old, new


def _name_foreign(what: str, tables: Sequence[Mapping[str, Counts]]) -> None:
    """Say which labels are predicted though the gold never has them."""
    found: Counter[str] = Counter()
    for table in tables:
        found.update({name: counts.predicted for name, counts in table.items() if not counts.gold})
    if found:
        named = ", ".join(f"{name} ({count})" for name, count in sorted(found.items()))
        note(f"{found.total()} predicted {what} that the gold never has count as wrong: {named}")


def _tails(tables: Sequence[Mapping[str, Counts]], frequency: Mapping[str, int], count: int) -> list[TailScores]:
    """The tail of each run; nothing where there are not more labels than a tail has."""
    from promu.evaluation.counts import score_tail

    return [score_tail(table, frequency, count) for table in tables] if len(frequency) > count else []


def _show(
    options: ScoreOptions,
    scored: Mapping[str, Sequence[Scores]],
    tails: Sequence[TailScores],
    comparison: Comparison | None,
) -> None:
    """Print scores by mode, the mode that counts first."""
    if options.json:
        (mode, first), *others = ((mode, _record(options.predictions, runs)) for mode, runs in scored.items())
        result = {**first, **({"mode": mode, **dict(others)} if others else {})}
        if tails:
            result["tail"] = {"counted_in": str(options.rare_in), **_tail_record(tails)}
        print_json({**result, **comparison_record(comparison, options)})
        return
    for mode, runs in scored.items():
        _print_runs(runs, _MODES[mode] if len(scored) > 1 else "")
    if tails:
        print_tail(f"tail: the {len(tails[0].labels)} rarest in {options.rare_in.name}", tails)
    print_comparison(comparison, options)


def _record(paths: Sequence[Path], runs: Sequence[Scores]) -> dict[str, Any]:
    """JSON of one run, or of several and their mean."""
    if len(runs) == 1:
        return runs[0].to_dict()
    means = {f"mean_{name}": summary.to_dict() for name, summary in _relation_means(runs).items()}
    return {**runs_record(paths, runs), **means}


def _tail_record(tails: Sequence[TailScores]) -> dict[str, Any]:
    if len(tails) == 1:
        return tails[0].to_dict()
    from promu.evaluation.counts import summarise

    mean = summarise(tail.macro_f1 for tail in tails)
    return {"runs": [tail.to_dict() for tail in tails], "mean": {"macro_f1": mean.to_dict()}}


def _print_runs(runs: Sequence[Any], mode: str) -> None:
    from promu.evaluation.counts import summarise_tables
    from promu.evaluation.ner import NerScores

    entities = isinstance(runs[0], NerScores)
    if len(runs) > 1:
        what = f"entities, {runs[0].posts} posts" if entities else f"relations, {runs[0].pairs} pairs"
        title = _title(f"{what}, mean ± standard deviation of {len(runs)} runs", mode)
        print_summaries(title, summarise_tables([scores.table() for scores in runs]))
        if runs[0].per_group:
            print_summaries("by group of posts", summarise_tables([scores.per_group for scores in runs]))
        for name, summary in _relation_means(runs).items():
            print(f"{name.replace('_f1', ' F1')}: {summary}")
    elif entities:
        print_entity_scores(runs[0], mode)
    else:
        print_relation_scores(runs[0])


def _relation_means(runs: Sequence[Any]) -> dict[str, Summary]:
    """Means of what relation scores have beside counts; nothing for entities."""
    from promu.evaluation.counts import summarise
    from promu.evaluation.relation import RelationScores

    names = ("accuracy", "macro_f1") if isinstance(runs[0], RelationScores) else ()
    return {name: summarise(getattr(scores, name) for scores in runs) for name in names}


def _title(what: str, mode: str) -> str:
    return f"{what} ({mode})" if mode else what
