"""Prompts: what the model is told about a post, in the pieces that its answer is written with."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from promu.alignment.sentence_vectors import SentenceVectors
from promu.corpora.jmere import Background
from promu.modeling.generation.inventory import Inventory, type_words
from promu.modeling.generation.pieces import Pieces
from promu.schema import Post
from promu.training.generation.recipe import Mode


@dataclass(frozen=True, slots=True)
class Prompt:
    """A prompt and what did not fit into it.

    Attributes:
        ids: Word pieces, the end of sequence included.
        captions_left_out, sentences_left_out: Captions and sentences of knowledge that the budget had no room for.
    """

    ids: list[int]
    captions_left_out: int
    sentences_left_out: int


def build_prompts(
    pieces: Pieces,
    inventory: Inventory,
    posts: Sequence[Post],
    background: Sequence[Background],
    mode: Mode,
    budget: int,
) -> list[Prompt]:
    """One prompt a post: relations, types, text, and as far as the budget goes caption and knowledge.

    The text is there word by word and whole, whatever the budget, since names are copied from it. A sentence that does
    not fit is left out and the next tried, so that none is cut.

    Args:
        pieces: The tokenizer.
        inventory: What there is to be found.
        posts: The posts.
        background: Captions and knowledge of each, the most relevant sentences first.
        mode: Which parts a prompt has.
        budget: Word pieces.
    """
    relations = ", ".join(dict.fromkeys(map(type_words, inventory.relations)))
    opening = pieces(f"Relations: {relations} . Types: {', '.join(map(type_words, inventory.types))} . Text:")
    prompts = []
    for post, known in zip(posts, background, strict=True):
        ids = [*pieces.start, *opening, *(piece for word in post.tokens for piece in pieces.word(word))]
        captions = known.captions if mode in ("text+caption", "all") else ()
        sentences = known.knowledge if mode in ("text+knowledge", "all") else ()
        no_captions = _pack(ids, pieces("Caption:"), [pieces(caption) for caption in captions], budget - 1)
        no_sentences = _pack(ids, pieces("Knowledge:"), [pieces(sentence) for sentence in sentences], budget - 1)
        prompts.append(Prompt([*ids, pieces.end], no_captions, no_sentences))
    return prompts


def _pack(ids: list[int], title: tuple[int, ...], parts: Sequence[tuple[int, ...]], budget: int) -> int:
    """Add what fits, under its title; returns how many parts do not."""
    left_out = 0
    begun = False
    for part in parts:
        more = part if begun else title + part
        if len(ids) + len(more) > budget:
            left_out += 1
        else:
            ids += more
            begun = True
    return left_out


def most_relevant_first(
    posts: Sequence[Post], background: Sequence[Background], ranker: SentenceVectors | None
) -> list[Background]:
    """The background with each post's sentences of knowledge in order of relevance to its text.

    Args:
        posts: The posts.
        background: Of each.
        ranker: Compares by cosine of sentence vectors; None by how many different words of the post a sentence has.
    """
    texts = [" ".join(post.tokens) for post in posts]
    sentences = list(dict.fromkeys(sentence for known in background for sentence in known.knowledge))
    if ranker is not None and sentences:
        vectors = ranker([*texts, *sentences]).numpy()
        row = {sentence: len(texts) + number for number, sentence in enumerate(sentences)}
    ranked = []
    for number, (text, known) in enumerate(zip(texts, background, strict=True)):
        if not known.knowledge:
            ranked.append(known)
            continue
        if ranker is not None:
            scores = vectors[[row[sentence] for sentence in known.knowledge]] @ vectors[number]
        else:
            words = _words(text)
            scores = np.array([len(words & _words(sentence)) for sentence in known.knowledge])
        order = np.argsort(-scores, kind="stable")
        ranked.append(Background(known.captions, tuple(known.knowledge[place] for place in order)))
    return ranked


def _words(text: str) -> set[str]:
    return {word.strip(".,;:!?\"'()#@").lower() for word in text.split()} - {""}
