"""Gold and predictions out of files, ready to be scored: aligned, and with labels that mean the same."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Literal

from promu.corpora.conll import StrayInside, read_conll
from promu.corpora.formats import read_posts
from promu.corpora.labels import clashing_names
from promu.corpora.mnre import read_mnre
from promu.corpora.releases import has_stray_inside
from promu.errors import InputError
from promu.evaluation.counts import check_aligned
from promu.evaluation.ner import entity_frequency
from promu.schema import Post

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
