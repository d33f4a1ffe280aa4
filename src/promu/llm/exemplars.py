"""Worked examples in a prompt: the pool of KECPM, its nearest exemplars of a post, and shuffled ones for a baseline.

A pool has one JSON line an exemplar: `{"text", "caption", "quintuples": [{"head", "head_type", "tail", "tail_type",
"relation"}], "reasoning"}`, with an optional "id". It is made from training posts, or written by hand.
"""

from __future__ import annotations

import hashlib
import json
import random
from collections import defaultdict
from collections.abc import Callable, Sequence
from functools import cache
from pathlib import Path
from typing import Annotated

import torch
from pydantic import StringConstraints

from promu.corpora.fields import Record, read_record
from promu.corpora.jmere import Background
from promu.errors import InputError
from promu.files import parse_json_object, read_json_document, read_records, write_json, write_lines
from promu.schema import Post

Text = Annotated[str, StringConstraints(min_length=1, strip_whitespace=True)]


class QuintupleText(Record):
    """A relation in words, with the types of both entities."""

    head: str
    head_type: str
    tail: str
    tail_type: str
    relation: str

    def __str__(self) -> str:
        return f'"{self.head}" ({self.head_type}) and "{self.tail}" ({self.tail_type}): {self.relation}'


class Exemplar(Record):
    """A worked example: a post, its quintuples, and the reasoning that leads to them."""

    id: str = ""
    text: Text
    caption: str = ""
    quintuples: tuple[QuintupleText, ...]
    reasoning: Text


def make_pool(posts: Sequence[Post], backgrounds: Sequence[Background]) -> list[Exemplar]:
    """Exemplars of labelled training posts, each with its background.

    The reasoning is the knowledge recorded with a post; where there is none, a sentence for each of its relations.

    Raises:
        InputError: An entity of a relation has no type.
    """
    return [_exemplar(post, background) for post, background in zip(posts, backgrounds, strict=True)]


def _exemplar(post: Post, background: Background) -> Exemplar:
    quintuples = []
    for relation in post.relations:
        head, tail = post.entities[relation.head], post.entities[relation.tail]
        if head.type is None or tail.type is None:
            found = f"post {post.id!r}: an entity of relation {relation.type!r} has no type"
            raise InputError(f"{found}, which an exemplar must show; make the pool from jointly labelled posts")
        names = {"head": post.words(head), "head_type": head.type, "tail": post.words(tail), "tail_type": tail.type}
        quintuples.append(QuintupleText(**names, relation=relation.type))
    sentences = background.knowledge or [
        f'"{one.head}" is a {one.head_type} and "{one.tail}" a {one.tail_type}: {one.relation}.' for one in quintuples
    ]
    text, caption = " ".join(post.tokens), " ".join(background.captions)
    reasoning = " ".join(sentences) or "No relation is stated."
    return Exemplar(id=post.id, text=text, caption=caption, quintuples=tuple(quintuples), reasoning=reasoning)


def read_pool(path: str | Path) -> list[Exemplar]:
    """Read a pool; exemplars without an id are numbered. Raises as `read_records`."""

    def parse(line: str) -> Exemplar:
        return read_record(Exemplar, parse_json_object(line), "the exemplar", True)

    pool = enumerate(read_records(path, None, parse, "exemplars"), start=1)
    return [each.model_copy(update={"id": each.id or str(number)}) for number, each in pool]


def write_pool(path: str | Path, exemplars: Sequence[Exemplar]) -> None:
    """Write a pool so that `read_pool` gives it back; atomic."""
    write_lines(path, [json.dumps(exemplar.model_dump(), ensure_ascii=False) for exemplar in exemplars])


def text_identity(tokens: Sequence[str]) -> str:
    """What two posts of one text have in common, however it was split and capitalised."""
    return "".join("".join(tokens).split()).casefold()


def choose_exemplars(
    posts: Sequence[tuple[str, str]], pool: Sequence[Exemplar], count: int, encoder: str, path: Path
) -> list[list[int]]:
    """The exemplars most similar to each post, by their number in the pool; never one of the post's own text.

    Similar is what has a high cosine of the sentence vectors of text and caption. Vectors computed in half precision,
    in other batches or on another machine may order near ties otherwise, and another prompt would be paid for again.
    So the choice is written to `path`, and taken from there for the same posts (text and caption), pool, count and
    encoder (folder, hub name, or `package:NAME/PATH`).

    Raises:
        InputError: The pool is too small, or the file holds no choice.
    """
    if not count:
        return [[] for _ in posts]
    queries = [" ".join(post).strip() for post in posts]
    sentences = [f"{exemplar.text} {exemplar.caption}".strip() for exemplar in pool]
    fingerprint = hashlib.sha256(json.dumps([encoder, count, queries, sentences]).encode()).hexdigest()
    if path.is_file():
        written = read_json_document(path)
        if not isinstance(written, dict) or not isinstance(written.get("chosen"), list):
            raise InputError("no choice of exemplars; delete the file, and it is made again", path)
        if written.get("of") == fingerprint:
            return written["chosen"]
    from promu.alignment.falsify import SentenceVectors

    by_text: defaultdict[str, list[int]] = defaultdict(list)
    for number, exemplar in enumerate(pool):
        by_text[text_identity([exemplar.text])].append(number)
    excluded = [by_text[text_identity([text])] for text, _ in posts]
    vectors = SentenceVectors(encoder)
    chosen = most_similar(vectors(queries), vectors(sentences), count, excluded)
    path.parent.mkdir(parents=True, exist_ok=True)
    write_json(path, {"of": fingerprint, "chosen": chosen})
    return chosen


def most_similar(
    queries: torch.Tensor, pool: torch.Tensor, count: int, excluded: Sequence[Sequence[int]]
) -> list[list[int]]:
    """The `count` rows of `pool`, (P, d) unit vectors, most similar to each query, (N, d), the most similar first.

    `excluded` are the rows that a query may not have: the post itself.

    Raises:
        InputError: The pool has too few rows left for some query.
    """
    fewest = len(pool) - max(map(len, excluded), default=0)
    if count > fewest:
        found = f"the pool of {len(pool)} has only {max(0, fewest)} of another text for some post"
        raise InputError(f"exemplars a post: {count} asked for, but {found}; add exemplars or ask for fewer")
    chosen: list[list[int]] = []
    for start in range(0, len(queries), 4096):  # which bounds the memory
        scores = queries[start : start + 4096] @ pool.T
        for row, columns in enumerate(excluded[start : start + 4096]):
            scores[row, list(columns)] = -torch.inf
        chosen += scores.topk(count, dim=1).indices.tolist()
    return chosen


def shuffled_exemplars(
    posts: Sequence[Post], labels_of: Callable[[Post], set[str]], count: int, seed: int
) -> Callable[[Post], list[Post]]:
    """A function from a post to `count` training posts of another text, whose labels give away nothing about it.

    They are the same for all posts, so that endpoints can cache the beginning of the prompt: shuffled by the seed,
    those first that show a label not shown before. Where the post's own text is among the training posts, they are
    chosen as if it were not: its labels then do not influence the choice either.

    Raises:
        InputError: Of the function: there are too few training posts.
    """
    described = [(text_identity(post.tokens), labels_of(post), post) for post in posts]
    texts = {text for text, _, _ in described}

    @cache
    def choose(without: str | None) -> list[Post]:
        shuffled = [(labels, post) for text, labels, post in described if text != without]
        random.Random(seed).shuffle(shuffled)
        if len(shuffled) < count:
            found = f"the training posts have {len(shuffled)} of another text"
            raise InputError(f"exemplars: {count} asked for, but {found}")
        shown: set[str] = set()
        first: list[Post] = []
        rest: list[Post] = []
        for labels, post in shuffled:
            (rest if labels <= shown else first).append(post)
            shown |= labels
        return (first + rest)[:count]

    return lambda post: choose(text if (text := text_identity(post.tokens)) in texts else None)
