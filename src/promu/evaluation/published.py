"""Gold and predictions as the published scorers of the field take them.

UMT's script keeps four lines a post and scores lists of tag numbers; HVPNeT's gives lists of tags to seqeval; for
relations HVPNeT's scores two lists of numbers by a table in which `None` is 0, and MEGA's numbers or names against its
own gold. None of them reads a file, so what is written here holds these lists, and UMT's file beside them.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from promu.corpora.conll import bio_tags
from promu.errors import InputError
from promu.evaluation.counts import check_aligned
from promu.evaluation.files import renamed
from promu.evaluation.relation import relation_pairs
from promu.files import write_json, write_text
from promu.schema import NO_RELATION, Post

UMT_FILE, TAGS_FILE, RELATIONS_FILE = "mtmner_pred.txt", "tags.json", "relations.json"

_READ_AS = {"OTHER": "MISC"}
"""What UMT's and HVPNeT's readers make of a type of the Twitter-2015 files."""


def export_entities(folder: Path, gold: Sequence[Post], predicted: Sequence[Post]) -> list[Path]:
    """Write UMT's file, and the same tags as lists with a number for each.

    `mtmner_pred.txt` has of each post its picture's name (or id), words, predicted tags and gold tags, each on a line,
    and an empty line. `tags.json` has `tags` (numbers from 1, as UMT's and HVPNeT's scripts count them), and `words`,
    `true` and `predicted` with a list for each post. The type OTHER is written as MISC, as both scripts read it.

    Returns:
        The files.

    Raises:
        InputError: The posts do not line up, a word holds a blank, or a file cannot be written.
    """
    check_aligned(gold, predicted)
    for post in gold:
        for word in post.tokens:
            if not word or word.split() != [word]:
                raise InputError(f"post {post.id!r}: the word {word!r} holds a blank, which UMT's file cannot show")
    _make(folder)
    true, found = ([bio_tags(post) for post in renamed(posts, _READ_AS)] for posts in (gold, predicted))
    names = dict.fromkeys(["O", *sorted({tag for tags in (*true, *found) for tag in tags})])
    write_text(
        folder / UMT_FILE,
        (
            f"{post.image or post.id}\n{' '.join(post.tokens)}\n{' '.join(ours)}\n{' '.join(right)}\n\n"
            for post, ours, right in zip(gold, found, true, strict=True)
        ),
    )
    numbers = {name: number for number, name in enumerate(names, start=1)}
    words = [list(post.tokens) for post in gold]
    write_json(folder / TAGS_FILE, {"tags": numbers, "words": words, "true": true, "predicted": found})
    return [folder / UMT_FILE, folder / TAGS_FILE]


def export_relations(folder: Path, gold: Sequence[Post], predicted: Sequence[Post]) -> list[Path]:
    """Write `relations.json`: `rel2id` (`None` is 0, the others by name), and `true` and `predicted` numbers by pair.

    Returns:
        The file.

    Raises:
        InputError: The pairs do not line up, or the file cannot be written.
    """
    pairs = relation_pairs(gold, predicted)
    names = dict.fromkeys([NO_RELATION, *sorted({name for pair in pairs for name in pair})])
    numbers = {name: number for number, name in enumerate(names)}
    record = {
        "rel2id": numbers,
        "true": [numbers[name] for name, _ in pairs],
        "predicted": [numbers[name] for _, name in pairs],
    }
    _make(folder)
    write_json(folder / RELATIONS_FILE, record)
    return [folder / RELATIONS_FILE]


def _make(folder: Path) -> None:
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise InputError(f"the folder cannot be made ({error.strerror}); name another", folder) from None
