"""`promu score`: predictions in files against gold in a file."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

from cyclopts import App, Parameter

from promu.cli import joint_scoring
from promu.cli.console import note, print_json
from promu.cli.score_options import ScoreOptions, compare, comparison_record, print_comparison, runs_record
from promu.cli.score_tables import print_confusion, print_counts, print_summaries, print_tail
from promu.errors import InputError

if TYPE_CHECKING:
    from promu.evaluation.counts import Counts
    from promu.evaluation.ner import NerScores
    from promu.evaluation.relation import RelationScores
    from promu.evaluation.significance import Comparison
    from promu.evaluation.summary import Summary
    from promu.evaluation.tail import TailScores

    Scores = NerScores | RelationScores

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
    from promu.evaluation.files import read_entity_files, renamed
    from promu.evaluation.groups import read_groups
    from promu.evaluation.ner import entity_counts, entity_frequency, score_entities
    from promu.evaluation.tail import RAREST_TYPES

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
        from promu.evaluation.published import export_entities

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
    from promu.evaluation.files import read_relation_files
    from promu.evaluation.groups import read_groups
    from promu.evaluation.relation import relation_counts, relation_frequency, score_relations
    from promu.evaluation.tail import RAREST_RELATIONS

    groups = None if options.groups is None else read_groups(options.groups)
    files = read_relation_files(options.gold, options.all_predictions)
    runs = [score_relations(files.gold, run, groups) for run in files.runs[: len(options.predictions)]]
    _name_foreign("relations", [scores.per_relation for scores in runs])
    rare = relation_frequency(files.gold if options.train is None else read_mnre(options.train))
    if export is not None:
        from promu.evaluation.published import export_relations

        _exported(export_relations(export, files.gold, files.runs[0]))
    _show(
        options,
        {"": runs},
        _tails([scores.per_relation for scores in runs], rare, RAREST_RELATIONS),
        compare(relation_counts, files, options),
    )


app.command(joint_scoring.score_joint, name="joint")


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
    from promu.evaluation.tail import score_tail

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
    from promu.evaluation.summary import summarise

    mean = summarise(tail.macro_f1 for tail in tails)
    return {"runs": [tail.to_dict() for tail in tails], "mean": {"macro_f1": mean.to_dict()}}


def _print_runs(runs: Sequence[Any], mode: str) -> None:
    from promu.evaluation.ner import NerScores
    from promu.evaluation.summary import summarise_tables

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
    from promu.evaluation.relation import RelationScores
    from promu.evaluation.summary import summarise

    names = ("accuracy", "macro_f1") if isinstance(runs[0], RelationScores) else ()
    return {name: summarise(getattr(scores, name) for scores in runs) for name in names}


def _title(what: str, mode: str) -> str:
    return f"{what} ({mode})" if mode else what
