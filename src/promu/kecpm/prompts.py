"""Prompts: what the model reads about a post: relations and types, the text, captions, the most relevant knowledge."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from promu.alignment.falsify import SentenceVectors
from promu.corpora.jmere import Background, read_jmere, read_jmere_background
from promu.kecpm.grammar import GrammarTokenizer
from promu.kecpm.kecpm_recipe import PromptSettings
from promu.kecpm.post_knowledge import knowledge_for
from promu.modeling.inventory import Inventory, type_words
from promu.schema import Post


@dataclass(frozen=True, slots=True)
class Split:
    """Posts of one split, with captions and knowledge of each."""

    posts: list[Post]
    background: list[Background]


def read_split(path: Path, knowledge: Path | None = None) -> Split:
    """Read a JMERE file with its background, or with that of its JSON-lines file in the folder `knowledge`.

    Raises:
        InputError: A file cannot be read, or the recorded one is about other posts.
    """
    posts = read_jmere(path)
    if knowledge is None:
        return Split(posts, read_jmere_background(path))
    recorded = knowledge_for(posts, knowledge / f"{path.stem}.jsonl")
    return Split(posts, [background or Background((), ()) for background in recorded])


@dataclass(frozen=True, slots=True)
class Prompt:
    """The tokens of a prompt, and how many captions and sentences of knowledge did not fit into it."""

    input_ids: list[int]
    captions_left_out: int
    sentences_left_out: int


def build_prompts(
    tokenizer: GrammarTokenizer, inventory: Inventory, split: Split, settings: PromptSettings
) -> list[Prompt]:
    """One prompt a post: relations, types, text, and as far as the budget goes captions and knowledge.

    The text is there word by word and whole, whatever the budget, since names are copied from it. A sentence that does
    not fit is left out and the next tried, so that none is cut.
    """
    relations = ", ".join(dict.fromkeys(map(type_words, inventory.relations)))
    opening = tokenizer(f"Relations: {relations} . Types: {', '.join(map(type_words, inventory.types))} . Text:")
    caption, knowledge = tokenizer("Caption:"), tokenizer("Knowledge:")
    prompts = []
    for post, background in zip(split.posts, split.background, strict=True):
        ids = [*tokenizer.start, *opening, *(token for word in post.tokens for token in tokenizer.word(word))]
        captions = background.captions if settings.mode in ("text+caption", "all") else ()
        sentences = background.knowledge if settings.mode in ("text+knowledge", "all") else ()
        no_captions = _append(ids, caption, [tokenizer(text) for text in captions], settings.budget - 1)
        no_sentences = _append(ids, knowledge, [tokenizer(text) for text in sentences], settings.budget - 1)
        prompts.append(Prompt([*ids, tokenizer.end], no_captions, no_sentences))
    return prompts


def _append(ids: list[int], title: tuple[int, ...], parts: Sequence[tuple[int, ...]], budget: int) -> int:
    """Append the parts that fit, under their title; returns how many do not."""
    left_out = 0
    for part in parts:
        if len(ids) + len(title + part) > budget:
            left_out += 1
        else:
            ids += title + part
            title = ()
    return left_out


def most_relevant_first(
    posts: Sequence[Post], background: Sequence[Background], ranker: SentenceVectors | None
) -> list[Background]:
    """The background with each post's sentences of knowledge in order of relevance to its text.

    The `ranker` compares by cosine; without one, what counts is how many different words of the post a sentence has.
    """
    texts = [" ".join(post.tokens) for post in posts]
    sentences = list(dict.fromkeys(sentence for each in background for sentence in each.knowledge))
    row = {sentence: len(texts) + number for number, sentence in enumerate(sentences)}
    vectors = None if ranker is None or not sentences else ranker([*texts, *sentences]).numpy()
    ranked = []
    for number, (text, each) in enumerate(zip(texts, background, strict=True)):
        if vectors is not None:
            scores = vectors[[row[sentence] for sentence in each.knowledge]] @ vectors[number]
        else:
            scores = np.array([len(_words(text) & _words(sentence)) for sentence in each.knowledge])
        order = np.argsort(-scores, kind="stable")
        ranked.append(Background(each.captions, tuple(each.knowledge[place] for place in order)))
    return ranked


def _words(text: str) -> set[str]:
    return {word.strip(".,;:!?\"'()#@").lower() for word in text.split()} - {""}


def exchange_names(split: Split, seed: int) -> Split:
    """The posts with the words of their names exchanged among them, in text, captions and knowledge alike.

    A word is exchanged wherever it stands, always for the same other one; words that also stand outside of names stay.
    Labels stay what they are, so names must say nothing about them (beyond the paper).
    """
    inside: set[str] = set()
    outside: set[str] = set()
    for post in split.posts:
        named = {place for entity in post.entities for place in range(entity.start, entity.end)}
        for place, word in enumerate(post.tokens):
            (inside if place in named else outside).add(word)
    names = sorted(inside - outside)
    other = dict(zip(names, np.random.default_rng(seed).permutation(names).tolist(), strict=True))

    def sentence(text: str) -> str:
        bare = [(word.rstrip(".,;:!?"), word) for word in text.split()]  # a word may end in a mark
        return " ".join(other.get(name, name) + word[len(name) :] for name, word in bare)

    posts = [replace(post, tokens=tuple(other.get(word, word) for word in post.tokens)) for post in split.posts]
    known = ((each.captions, each.knowledge) for each in split.background)
    return Split(posts, [Background(*(tuple(map(sentence, part)) for part in parts)) for parts in known])
