"""The pool of worked exemplars: posts with captions, relations and the reasoning behind them, one JSON line each.

A pool is made from training posts, or written by hand: `{"text", "caption", "quintuples": [{"head", "head_type",
"tail", "tail_type", "relation"}], "reasoning"}`, with an optional "id".
"""

from __future__ import annotations

import json
import random
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import torch

from promu.corpora.jmere import Background
from promu.errors import InputError
from promu.files import parse_json_object, read_line_records, shorten, write_lines
from promu.schema import Post

_KEYS = "text, caption, quintuples, reasoning"
_PARTS = ("head", "head_type", "tail", "tail_type", "relation")


@dataclass(frozen=True, slots=True)
class Quintuple:
    """A relation in words, with the types of both entities."""

    head: str
    head_type: str
    tail: str
    tail_type: str
    relation: str

    def __str__(self) -> str:
        return f'"{self.head}" ({self.head_type}) and "{self.tail}" ({self.tail_type}): {self.relation}'


@dataclass(frozen=True, slots=True)
class Exemplar:
    """A post worked out."""

    id: str
    text: str
    caption: str
    quintuples: tuple[Quintuple, ...]
    reasoning: str


def make_pool(posts: Sequence[Post], backgrounds: Sequence[Background]) -> list[Exemplar]:
    """Exemplars of labelled training posts.

    The reasoning is the knowledge recorded with a post; where there is none, a sentence that says its relations.

    Args:
        posts: Training posts, and no others.
        backgrounds: One for each post.

    Raises:
        InputError: An entity of a relation has no type.
    """
    return [_exemplar(post, background) for post, background in zip(posts, backgrounds, strict=True)]


def read_pool(path: str | Path) -> list[Exemplar]:
    """Read a pool.

    Raises:
        InputError: The file is missing or empty, or a line is malformed.
    """
    exemplars = read_line_records(path, None, lambda line: _parse(parse_json_object(line)), "exemplars")
    return [
        exemplar if exemplar.id else replace(exemplar, id=str(number))
        for number, exemplar in enumerate(exemplars, start=1)
    ]


def write_pool(path: str | Path, exemplars: Sequence[Exemplar]) -> None:
    """Write a pool so that `read_pool` gives it back; atomic."""
    write_lines(path, [json.dumps(asdict(exemplar), ensure_ascii=False) for exemplar in exemplars])


def _exemplar(post: Post, background: Background) -> Exemplar:
    quintuples = []
    for relation in post.relations:
        head, tail = post.entities[relation.head], post.entities[relation.tail]
        if head.type is None or tail.type is None:
            raise InputError(
                f"post {post.id!r}: an entity of relation {relation.type!r} has no type, which an exemplar must show; "
                "make the pool from jointly labelled posts"
            )
        quintuples.append(Quintuple(post.words(head), head.type, post.words(tail), tail.type, relation.type))
    reasoning = " ".join(background.knowledge)
    if not reasoning:
        said = [f'"{q.head}" is a {q.head_type} and "{q.tail}" a {q.tail_type}: {q.relation}.' for q in quintuples]
        reasoning = " ".join(said) or "No relation is stated."
    return Exemplar(post.id, " ".join(post.tokens), " ".join(background.captions), tuple(quintuples), reasoning)


def _parse(record: dict[str, Any]) -> Exemplar:
    unknown = sorted(set(record) - {"id", "text", "caption", "quintuples", "reasoning"})
    if unknown:
        raise InputError(f"the exemplar has the unknown key {unknown[0]!r}; allowed are id and {_KEYS}")
    for key in ("text", "reasoning"):
        if not isinstance(record.get(key), str) or not record[key].strip():
            raise InputError(f"{key} of the exemplar must be a text, found {shorten(record.get(key))}; it has {_KEYS}")
    for key in ("id", "caption"):
        if not isinstance(record.get(key, ""), str):
            raise InputError(f"{key} of the exemplar must be a text, found {shorten(record[key])}")
    listed = record.get("quintuples")
    if not isinstance(listed, list):
        raise InputError(f"quintuples of the exemplar must be a list, found {shorten(listed)}; it may be empty")
    quintuples = tuple(_quintuple(item, number) for number, item in enumerate(listed))
    return Exemplar(
        record.get("id", ""), record["text"].strip(), record.get("caption", ""), quintuples, record["reasoning"].strip()
    )


def _quintuple(value: object, number: int) -> Quintuple:
    if not isinstance(value, dict) or set(value) != set(_PARTS) or not all(isinstance(v, str) for v in value.values()):
        raise InputError(f"quintuple {number} must be an object of texts {', '.join(_PARTS)}, found {shorten(value)}")
    return Quintuple(**value)


def text_identity(tokens: Sequence[str]) -> str:
    """What two posts of one text have in common, however it was split and capitalised."""
    return "".join("".join(tokens).split()).casefold()


class Exemplars:
    """Training posts as exemplars of any post but those of its own text, whose labels would tell its own.

    Args:
        posts: The training posts.
        labels_of: The labels that a post shows.
        count: Exemplars a prompt.
        seed: Of their choice.
    """

    def __init__(self, posts: Sequence[Post], labels_of: Callable[[Post], set[str]], count: int, seed: int) -> None:
        self._posts = [(text_identity(post.tokens), labels_of(post), post) for post in posts] if count else []
        self._texts = {text for text, _, _ in self._posts}
        self._count, self._seed = count, seed
        self._usual: list[Post] | None = None

    def for_post(self, post: Post) -> list[Post]:
        """Exemplars for one post: the same for all, so that endpoints can keep the beginning of the prompt.

        Where the post's own text is among the training posts, they are chosen as if it were not: its labels then do
        not bear on the choice either.

        Raises:
            InputError: There are too few training posts.
        """
        own = text_identity(post.tokens)
        if own in self._texts:
            return self._choose(own)
        if self._usual is None:
            self._usual = self._choose(None)
        return self._usual

    def _choose(self, without: str | None) -> list[Post]:
        """Shuffled by the seed, those first that show a label not yet shown."""
        shuffled = [(labels, post) for text, labels, post in self._posts if text != without]
        random.Random(self._seed).shuffle(shuffled)
        if len(shuffled) < self._count:
            raise InputError(
                f"{self._count} exemplars are asked for, but the training posts have {len(shuffled)} of another text"
            )
        shown: set[str] = set()
        first: list[Post] = []
        rest: list[Post] = []
        for labels, post in shuffled:
            (rest if labels <= shown else first).append(post)
            shown |= labels
        return (first + rest)[: self._count]


_ROWS = 4096


def nearest(queries: torch.Tensor, pool: torch.Tensor, count: int, barred: Sequence[Sequence[int]]) -> list[list[int]]:
    """The `count` rows of `pool` most like each query, the most similar first.

    Args:
        queries: (N, d) unit vectors.
        pool: (P, d) unit vectors.
        count: How many for each query.
        barred: Rows of `pool` that a query may not have, for each query: the post itself.

    Raises:
        InputError: The pool has too few rows left for some query.
    """
    fewest = len(pool) - max((len(rows) for rows in barred), default=0)
    if count > fewest:
        raise InputError(
            f"{count} exemplars a post are asked for, but the pool of {len(pool)} has only {max(0, fewest)} of another "
            "text for some post; add exemplars or ask for fewer"
        )
    if not count:
        return [[] for _ in range(len(queries))]
    chosen: list[list[int]] = []
    for start in range(0, len(queries), _ROWS):
        scores = queries[start : start + _ROWS] @ pool.T
        for row, columns in enumerate(barred[start : start + _ROWS]):
            if columns:
                scores[row, list(columns)] = -torch.inf
        chosen += scores.topk(count, dim=1).indices.tolist()
    return chosen
