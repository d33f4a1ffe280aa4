"""`promu score ner` and `promu score re`: predictions in a file against gold in a file."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING

from cyclopts import App

from promu.cli.console import print_json, print_table

if TYPE_CHECKING:
    from promu.evaluation.counts import Counts
    from promu.evaluation.ner import NerScores
    from promu.evaluation.relation import RelationScores

app = App(name="score", help="Score predictions against gold; both files in the format of the gold.")


@app.command(name="ner")
def score_ner(*, gold: Path, predictions: Path, groups: Path | None = None, json: bool = False) -> None:
    """Entities: precision, recall and F1 over exact spans and types (seqeval's strict mode, IOB2).

    Where the predictions hold I- tags that continue no entity, seqeval's default mode, which lets such a tag begin
    one, gives other figures; both are then shown.

    Args:
        gold: CoNLL file with the gold tags.
        predictions: CoNLL file with the predicted tags, same posts in the same order.
        groups: JSON file, an object of group name by post id; adds figures by group.
        json: Print JSON instead of tables; the default mode's figures, where they differ, are under "default".
    """
    from promu.corpora.conll import read_conll
    from promu.evaluation.ner import score_entities

    names = None if groups is None else read_group_names(groups)
    expected = read_conll(gold)
    strict, default = (read_conll(predictions, stray_inside=reading) for reading in ("drop", "begin"))
    scores = score_entities(expected, strict, names)
    other = score_entities(expected, default, names) if strict != default else None
    if json:
        print_json(scores.to_dict() if other is None else {**scores.to_dict(), "default": other.to_dict()})
        return
    print_entity_scores(scores, "" if other is None else "strict")
    if other is not None:
        print_entity_scores(other, "default: a stray I- begins an entity")


@app.command(name="re")
def score_re(*, gold: Path, predictions: Path, groups: Path | None = None, json: bool = False) -> None:
    """Relations: micro precision, recall and F1 with `None` left out; accuracy and macro figures beside them.

    Args:
        gold: MNRE file with the gold relations.
        predictions: MNRE file with the predicted relations, same pairs in the same order.
        groups: JSON file, an object of group name by post id; adds figures by group.
        json: Print JSON instead of tables.
    """
    from promu.corpora.mnre import read_mnre
    from promu.evaluation.relation import score_relations

    names = None if groups is None else read_group_names(groups)
    scores = score_relations(read_mnre(gold), read_mnre(predictions), names)
    if json:
        print_json(scores.to_dict())
    else:
        print_relation_scores(scores)


def print_entity_scores(scores: NerScores, mode: str = "") -> None:
    """Tables of entity scores; `mode` says how stray tags were read."""
    _print_counts(
        f"entities, {scores.posts} posts" + (f" ({mode})" if mode else ""),
        {"all": scores.micro, "spans only": scores.spans, **scores.per_type},
    )
    if scores.per_group:
        _print_counts("by group of posts", scores.per_group)


def print_relation_scores(scores: RelationScores) -> None:
    """Tables of relation scores."""
    _print_counts(f"relations, {scores.pairs} pairs", {"all (micro)": scores.micro})
    print(
        f"macro over the gold's relations: precision {scores.macro_precision:.2f}, recall {scores.macro_recall:.2f}, "
        f"F1 {scores.macro_f1:.2f}\naccuracy, None included: {scores.accuracy:.2f}"
    )
    if scores.per_group:
        _print_counts("by group of posts", scores.per_group)
    _print_counts("by relation", scores.per_relation)


def read_group_names(path: Path) -> Mapping[str, str]:
    """Group names by post id.

    Raises:
        InputError: The file is no such JSON object.
    """
    from promu.evaluation.groups import read_groups

    return read_groups(path)


def _print_counts(title: str, table: Mapping[str, Counts]) -> None:
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
