"""Gold and predictions out of files, ready to be scored: aligned, and with labels that mean the same."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Literal

from promu.corpora.conll import StrayInside, bio_tags, read_conll
from promu.corpora.formats import clashing_names, read_posts
from promu.corpora.mnre import read_mnre
from promu.corpora.releases import has_stray_inside
from promu.errors import InputError
from promu.evaluation.counts import check_aligned
from promu.evaluation.ner import entity_frequency
from promu.evaluation.relation import relation_pairs
from promu.files import read_json_document, write_json, write_text
from promu.schema import NO_RELATION, Post

Mode = Literal["strict", "default"]

READINGS: dict[Mode, StrayInside] = {"strict": "drop", "default": "begin"}
"""What seqeval's two modes make of an I- tag that continues nothing."""


@dataclass(frozen=True, slots=True)
class Files:
    """Gold posts, and the same posts as each file of predictions has them."""

    gold: list[Post]
    runs: list[list[Post]]


def read_entity_files(
    gold: Path, predictions: Sequence[Path], rename: Mapping[str, str] | None = None
) -> dict[Mode, Files]:
    """Read CoNLL files by each of seqeval's modes, the mode of the literature's figure first.

    That is `strict` (IOB2). For the published Twitter-2015 files, whose gold begins entities with I- tags, it is
    `default`: the field's scorers count these entities. Any other gold with such a tag is refused.

    Args:
        gold: File with the gold tags.
        predictions: Files with predicted tags, the same posts in the same order.
        rename: New name by old name of entity types in the predictions.

    Raises:
        InputError: A file cannot be read, the posts do not line up, or the predictions know a type of the gold under
            another name only.
    """
    known = has_stray_inside(gold)
    modes: tuple[Mode, Mode] = ("default", "strict") if known else ("strict", "default")
    files = {}
    for mode in modes:
        expected = read_conll(gold, stray_inside=READINGS[mode] if known else None)
        runs = []
        for path in predictions:
            posts = renamed(read_conll(path, stray_inside=READINGS[mode]), rename or {})
            _check_names(expected, posts, path)
            runs.append(_aligned(expected, posts, path))
        files[mode] = Files(expected, runs)
    return files


def read_relation_files(gold: Path, predictions: Sequence[Path]) -> Files:
    """Read MNRE files.

    Raises:
        InputError: A file cannot be read, or the posts do not line up.
    """
    expected = read_mnre(gold)
    return Files(expected, [_aligned(expected, read_mnre(path), path) for path in predictions])


def read_joint_files(gold: Path, predictions: Sequence[Path], format: str = "jmere") -> Files:
    """Read files of posts with their relations, JMERE or JSON lines of posts.

    Raises:
        InputError: A file cannot be read, the posts do not line up, or the gold has no relation at all.
    """
    expected = read_posts(gold, format)
    if not any(post.relations for post in expected):
        raise InputError("no post of the gold has a relation, so there is nothing to score against", gold)
    return Files(expected, [_aligned(expected, read_posts(path, format), path) for path in predictions])


def renamed(posts: Sequence[Post], names: Mapping[str, str]) -> list[Post]:
    """The posts with other names for their entity types; a type that `names` lacks keeps its own."""
    return [
        replace(
            post,
            entities=tuple(
                replace(entity, type=None if entity.type is None else names.get(entity.type, entity.type))
                for entity in post.entities
            ),
        )
        for post in posts
    ]


def _aligned(gold: Sequence[Post], posts: list[Post], path: Path) -> list[Post]:
    try:
        check_aligned(gold, posts)
    except InputError as error:
        raise InputError(error.reason, path) from None
    return posts


def _check_names(gold: Sequence[Post], posts: Sequence[Post], path: Path) -> None:
    for name, other in clashing_names(entity_frequency(posts), entity_frequency(gold)).items():
        raise InputError(
            f"the predictions say {name} where the gold says {other}; if they mean the same, give "
            f"--rename {name}={other}",
            path,
        )


def read_groups(path: str | Path) -> dict[str, str]:
    """Read group names by post id from a JSON object such as `{"17_06_1": "text", "17_06_2": "image"}`.

    Raises:
        InputError: The file cannot be read, or is no such object.
    """
    value = read_json_document(Path(path))
    if not isinstance(value, dict) or not value:
        raise InputError('must hold one JSON object, {"<post id>": "<group>", ...}, with at least one post', path)
    for name, group in value.items():
        if not isinstance(group, str):
            raise InputError(f"the group of post {name!r} is {group!r}; a group is a string", path)
    return value


UMT_FILE, TAGS_FILE, RELATIONS_FILE = "mtmner_pred.txt", "tags.json", "relations.json"

_READ_AS = {"OTHER": "MISC"}
"""What UMT's and HVPNeT's readers make of a type of the Twitter-2015 files."""


def export_entities(folder: Path, gold: Sequence[Post], predicted: Sequence[Post]) -> list[Path]:
    """Write UMT's file, and the same tags as lists with a number for each.

    `mtmner_pred.txt` has of each post its image's name (or id), words, predicted tags and gold tags, each on a line,
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
