"""The choice of exemplars for posts, kept so that a run that goes on asks what it asked before."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Sequence
from pathlib import Path

import torch

from promu.errors import InputError
from promu.files import read_json_document, write_json
from promu.kecpm.knowledge import Described
from promu.llm.exemplars import Exemplar, nearest, text_identity

Vectors = Callable[[Sequence[str]], torch.Tensor]


def choose_exemplars(
    posts: Sequence[Described],
    pool: Sequence[Exemplar],
    count: int,
    encoder: str,
    open_encoder: Callable[[], Vectors],
    kept: Path,
) -> list[list[int]]:
    """The exemplars most like each post, by their number in the pool; never one of the post's own text.

    Vectors computed in half precision, in other batches or on another machine, may order near ties otherwise, and
    another prompt would be paid for again: so a choice that was written for the same posts, pool, count and encoder is
    taken as it is.

    Args:
        posts: Text and captions of each post.
        pool: The exemplars.
        count: How many a post.
        encoder: Name of the encoder.
        open_encoder: Loads it: texts to unit vectors (N, d).
        kept: JSON file of the choice.

    Raises:
        InputError: The pool is too small, or `kept` is no choice.
    """
    texts = [post.sentence() for post in posts]
    worked = [f"{exemplar.text} {exemplar.caption}".strip() for exemplar in pool]
    fingerprint = hashlib.sha256(json.dumps([encoder, count, texts, worked]).encode()).hexdigest()
    if kept.is_file():
        before = read_json_document(kept)
        if not isinstance(before, dict) or not isinstance(before.get("chosen"), list):
            raise InputError("no choice of exemplars; delete the file, and it is made again", kept)
        if before.get("of") == fingerprint:
            return before["chosen"]
    by_text: dict[str, list[int]] = {}
    for number, exemplar in enumerate(pool):
        by_text.setdefault(text_identity([exemplar.text]), []).append(number)
    barred = [by_text.get(text_identity(post.tokens), []) for post in posts]
    vectors = open_encoder()
    chosen = nearest(vectors(texts), vectors(worked), count, barred)
    kept.parent.mkdir(parents=True, exist_ok=True)
    write_json(kept, {"of": fingerprint, "chosen": chosen})
    return chosen
