"""`promu score ner` and `promu score re`: predictions in a file against gold in a file."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING

from cyclopts import App

from promu.cli.console import print_json, print_table

if TYPE_CHECKING:
    from promu.evaluation.counts import Counts

app = App(name="score", help="Score predictions against gold; both files in the format of the gold.")


@app.command(name="ner")
def score_ner(
    *, gold: Path, predictions: Path, groups: Path | None = None, lenient: bool = False, json: bool = False
) -> None:
    """Entities: precision, recall and F1 over exact spans and types (seqeval, strict IOB2).

    Args:
        gold: CoNLL file with the gold tags.
        predictions: CoNLL file with the predicted tags, same posts in the same order.
        groups: JSON file, an object of group name by post id; adds figures by group.
        lenient: Read an I- tag that continues nothing as the begin of an entity (seqeval's default mode), in place of
            refusing it.
        json: Print JSON instead of tables.
    """
    from promu.corpora.conll import read_conll, read_conll_lenient
    from promu.evaluation.ner import score_entities

    read = read_conll_lenient if lenient else read_conll
    scores = score_entities(read(gold), read(predictions), _read_groups(groups))
    if json:
        print_json(scores.to_dict())
        return
    _print_counts(
        f"entities, {scores.posts} posts",
        {"all": scores.micro, "spans only": scores.spans, **scores.per_type},
    )
    if scores.per_group:
        _print_counts("by group of posts", scores.per_group)


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

    scores = score_relations(read_mnre(gold), read_mnre(predictions), _read_groups(groups))
    if json:
        print_json(scores.to_dict())
        return
    _print_counts(f"relations, {scores.pairs} pairs", {"all (micro)": scores.micro})
    print(
        f"macro over the gold's relations: precision {scores.macro_precision:.2f}, recall {scores.macro_recall:.2f}, "
        f"F1 {scores.macro_f1:.2f}\naccuracy, None included: {scores.accuracy:.2f}"
    )
    if scores.per_group:
        _print_counts("by group of posts", scores.per_group)
    _print_counts("by relation", scores.per_relation)


def _read_groups(path: Path | None) -> Mapping[str, str] | None:
    if path is None:
        return None
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
