"""`promu score`: predictions in files against gold in a file."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

from cyclopts import App, Parameter

from promu.cli.console import note, print_json, print_table
from promu.errors import InputError, counted
from promu.schema import Scheme

if TYPE_CHECKING:
    from promu.evaluation.counts import Counts, TailScores
    from promu.evaluation.scoring import ScoreReport, Scores

app = App(name="score", help="Score predictions against gold; all files in one format.")


@Parameter(name="*")
@dataclass(frozen=True, kw_only=True)
class ScoreOptions:
    """What all kinds of scores are given.

    Args:
        gold: File with the gold.
        predictions: File with the predictions, same posts in the same order; several are runs of one system (seeds),
            whose mean and standard deviation is shown.
        against: Predictions of another system, one file or several: is the difference more than chance? Several runs
            are compared over runs and posts, single ones over posts alone.
        format: Of all files; left out, posts for .jsonl files, else the task's own: conll, mnre, jmere or
            gmner.
        scheme: How the tags of CoNLL files mark entities; auto finds it out.
        train: Training file. Of ner and re: what is rare there is the tail; without it the gold says what is rare. Of
            joint: its relations count in the macro F1 over all relations.
        groups: JSON file, an object of group name by post id; adds figures by group.
        samples: Samples of the paired bootstrap (--against, single runs); their seed is fixed.
        json: Print JSON instead of tables.
    """

    gold: Path
    predictions: Annotated[list[Path], Parameter(consume_multiple=True)]
    against: Annotated[list[Path] | None, Parameter(consume_multiple=True)] = None
    format: str | None = None
    scheme: Scheme = "auto"
    train: Path | None = None
    groups: Path | None = None
    samples: int = 10_000
    json: bool = False


@app.command(name="ner")
def score_ner(
    options: ScoreOptions,
    *,
    rename: Annotated[list[str] | None, Parameter(consume_multiple=True)] = None,
    export: Path | None = None,
) -> None:
    """Entities: precision, recall and F1 over exact spans and types (seqeval), by type, and what is confused with what.

    Where the tags of CoNLL files hold an I- that continues no entity, seqeval's two modes give two figures; both
    are then shown. The figure of the literature, which stands first, is the strict one (IOB2), except on the published
    Twitter-2015 files: their gold begins entities with I- tags, and the field's scorers count them.

    Args:
        rename: OLD=NEW, read the type OLD of predictions and training file as NEW, such as MISC=OTHER.
        export: Folder to write gold and (first) predictions to in the forms that UMT's and HVPNeT's scorers take.
    """
    from promu.evaluation.scoring import export_entities, read_entity_files

    names = dict(_renaming(word) for word in rename or ())
    report = _score("ner", options, rename=names)
    if export is not None:
        # the published scorers let a stray I- begin an entity
        files = (options.gold, options.predictions[:1], names, options.format, options.scheme)
        posts, runs = read_entity_files(*files)["default"]
        note(f"written for other scorers: {', '.join(map(str, export_entities(export, posts, runs[0])))}")
    _show(report, options)


@app.command(name="re")
def score_re(options: ScoreOptions, *, export: Path | None = None) -> None:
    """Relations: micro precision, recall and F1 with `None` left out, by relation, and what is confused with what.

    Accuracy (`None` included) and macro figures stand beside. In posts every ordered pair of entities counts.

    Args:
        export: Folder to write gold and (first) predictions to in the forms that HVPNeT's and MEGA's scorers take.
    """
    from promu.corpora.labelled import read_labelled
    from promu.evaluation.scoring import export_relations

    report = _score("re", options)
    if export is not None:
        gold, found = (read_labelled("re", path, options.format) for path in (options.gold, options.predictions[0]))
        paths = export_relations(export, gold, found)
        note(f"written for other scorers: {', '.join(map(str, paths))}")
    _show(report, options)


@app.command(name="gmner")
def score_gmner(
    options: ScoreOptions, *, rename: Annotated[list[str] | None, Parameter(consume_multiple=True)] = None
) -> None:
    """Entities with the region that shows them: GMNER (span, type, region), MNER (span, type), EEG (span, region).

    A region is right if its IoU with any gold box of the name is at least .5; where gold has none, if there is none.
    With FMNERG's fine types GMNER and MNER are shown with the coarse ones too.

    Args:
        rename: OLD=NEW, read the type OLD of predictions and training file as NEW, such as MISC=OTHER.
    """
    _show(_score("gmner", options, rename=dict(_renaming(word) for word in rename or ())), options)


@app.command(name="joint")
def score_joint(options: ScoreOptions) -> None:
    """Quintuples (head, type, tail, type, relation): micro and macro F1 by exact spans, types and direction.

    Beside them: head and tail exchangeable, entities only, relations only, and under its own name what the published
    string scorer counts. Texts that the gold has several times with other labels are reported.
    """
    _show(_score("joint", options), options)


def _score(task: Literal["ner", "re", "joint", "gmner"], options: ScoreOptions, **more: Any) -> ScoreReport:
    from promu.evaluation.scoring import score

    given = {
        name: getattr(options, name)
        for name in ("gold", "predictions", "format", "scheme", "train", "groups", "samples")
    }
    return score(task, against=options.against or [], **given, **more)


def _renaming(word: str) -> tuple[str, str]:
    old, sign, new = word.partition("=")
    if not (old and sign and new):
        raise InputError(f"--rename {word!r} is not of the form OLD=NEW")
    return old, new


_MODES = {"": "", "strict": " (strict)", "default": " (default: a stray I- begins an entity)"}
"""What a title says of seqeval's mode, where the modes differ."""


def _show(report: ScoreReport, options: ScoreOptions) -> None:
    unknown = report.unknown_labels()
    if unknown:
        named = ", ".join(f"{name} ({count})" for name, count in unknown.items())
        what = counted(sum(unknown.values()), "predicted label")
        note(f"{what} that the gold never has, counted as wrong: {named}")
    if options.json:
        print_json(report.to_dict())
        return
    for mode, runs in report.by_mode().items():
        print_scores(runs, _MODES[mode])
    if report.tail:
        _print_tail(f"tail: the {len(report.tail[0].labels)} rarest in {Path(report.rare_in).name}", report.tail)
    if report.comparison is not None:
        print(f"against {', '.join(report.against)}: {report.comparison}\n({report.comparison.method})")


def print_scores(runs: Sequence[Scores], mode: str = "") -> None:
    """Tables of one run, or of the means over several; `mode` is what the title says of the way the tags were read."""
    from promu.evaluation.grounded_scores import GroundedScores
    from promu.evaluation.joint_scores import JointScores
    from promu.evaluation.ner import NerScores
    from promu.evaluation.scoring import other_figures

    first = runs[0]
    if isinstance(first, NerScores):
        what = f"entities, {counted(first.posts, 'post')}"
    elif isinstance(first, GroundedScores):
        what = f"grounded entities, {counted(first.posts, 'post')}"
    elif isinstance(first, JointScores):
        what = f"quintuples, {counted(first.posts, 'post')}"
    else:
        what = f"relations, {counted(first.pairs, 'pair')}"
    spread = f", mean ± standard deviation of {len(runs)} runs" if len(runs) > 1 else ""
    _print_counts(f"{what}{spread}{mode}", [scores.table() for scores in runs])
    if first.per_group:
        _print_counts("by group of posts", [scores.per_group for scores in runs])
    figures = other_figures(runs)
    if isinstance(first, JointScores):
        print(f"macro F1 over all relations known ({len(first.per_relation)}): {figures['all']}")
        print(f"macro F1 over the gold's relations: {figures['present']}")
        print(f"F1 by the published string scorer: {figures['strings']}")
        if first.repeated.texts:
            note(
                f"{counted(first.repeated.texts, 'text comes', 'texts come')} again with other labels "
                f"({counted(first.repeated.posts, 'post')}); taken as one post each, F1 is {figures['merged']}"
            )
        return
    if isinstance(first, GroundedScores):
        return
    if not isinstance(first, NerScores):
        print(f"accuracy: {figures['accuracy']} (None included)")
        print(
            f"macro F1: {figures['macro_f1']} (over the gold's relations; precision {figures['macro_precision']}, "
            f"recall {figures['macro_recall']})"
        )
    if len(runs) == 1:
        _print_confusion("types" if isinstance(first, NerScores) else "relations", first.confusion)


def _print_counts(title: str, tables: Sequence[Mapping[str, Counts]]) -> None:
    """Precision, recall and F1, a row a name: of one run with the counts behind them, of several their means."""
    from promu.evaluation.counts import summarise_tables

    rows = [[name, *map(str, figures.values())] for name, figures in summarise_tables(tables).items()]
    header = ["", "precision", "recall", "F1"]
    if len(tables) == 1:
        header += ["correct", "predicted", "gold"]
        for row, counts in zip(rows, tables[0].values(), strict=True):
            row += [str(counts.correct), str(counts.predicted), str(counts.gold)]
    print_table(title, header, rows)


WIDEST = 8
"""Columns that a confusion table may have; a wider one is told as its largest cells."""

LARGEST = 12


def _print_confusion(what: str, table: Mapping[str, Mapping[str, int]]) -> None:
    """Gold against predicted: a table where it is narrow enough, otherwise the most frequent mistakes."""
    columns = sorted({name for row in table.values() for name in row})
    if len(columns) <= WIDEST:
        rows = ([gold, *(str(row.get(name, 0)) for name in columns)] for gold, row in table.items())
        print_table(f"confusion of {what}: gold down, predicted across", ["", *columns], rows)
        return
    wrong = [(count, gold, found) for gold, row in table.items() for found, count in row.items() if gold != found]
    largest = sorted(wrong, key=lambda cell: (-cell[0], cell[1:]))[:LARGEST]
    title = f"confusion of {what}: the {len(largest)} most frequent of {len(wrong)} (all with --json)"
    print_table(title, ["gold", "predicted", "times"], ([gold, found, str(count)] for count, gold, found in largest))


def _print_tail(title: str, tails: Sequence[TailScores]) -> None:
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
    print_table(title, ["", "frequency", "gold", "F1"], rows)
