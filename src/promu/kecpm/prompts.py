"""Prompts: what the model is told about a post, in the pieces that its answer is written with."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import torch
from transformers import PreTrainedModel, PreTrainedTokenizerBase

from promu.alignment.sentence_vectors import SentenceVectors
from promu.corpora.jmere import Background, read_jmere, read_jmere_background
from promu.kecpm.decoding import Decoding, write_answers, written_answer
from promu.kecpm.grammar import Grammar, Phrases, Pieces
from promu.kecpm.kecpm_recipe import DecodingSettings, Mode, PromptSettings
from promu.kecpm.knowledge import knowledge_for
from promu.modeling.inventory import Inventory, type_words
from promu.schema import Post, quintuples, with_quintuples


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


IGNORED = -100
"""The label that the loss skips."""


@dataclass(frozen=True, slots=True)
class Described:
    """Posts of one split, and captions and knowledge of each."""

    posts: list[Post]
    background: list[Background]


def read_described(path: Path, knowledge: Path | None = None) -> Described:
    """Read a JMERE file with its background.

    Args:
        path: The file.
        knowledge: Folder of recorded knowledge, one JSON-lines file a split, which takes the place of what the JMERE
            file has.

    Raises:
        InputError: A file cannot be read, or the recorded one is about other posts.
    """
    posts = read_jmere(path)
    if knowledge is None:
        return Described(posts, read_jmere_background(path))
    recorded = knowledge_for(posts, knowledge / f"{path.stem}.jsonl")
    return Described(posts, [known or Background((), ()) for known in recorded])


class Writer:
    """A text-to-text model with everything that it reads and writes posts by.

    Args:
        model: A T5 or BART type model.
        tokenizer: Its tokenizer.
        inventory: Types and relations that it may write.
        prompt: What it reads.
        decoding: How it writes.

    Raises:
        InputError: The tokenizer does not know the words of the inventory.
    """

    def __init__(
        self,
        model: PreTrainedModel,
        tokenizer: PreTrainedTokenizerBase,
        inventory: Inventory,
        prompt: PromptSettings,
        decoding: DecodingSettings,
    ) -> None:
        self.model = model
        self.tokenizer = tokenizer
        self.phrases = Phrases(Pieces(tokenizer), inventory)
        self.prompt = prompt
        self.decoding = decoding
        self.pad = int(tokenizer.pad_token_id)  # type: ignore[arg-type]

    def prompts(self, described: Described) -> list[Prompt]:
        """The prompt of each post, its knowledge in order of relevance."""
        background: Sequence[Background] = described.background
        if self.prompt.mode in ("text+knowledge", "all"):
            ranker = None if self.prompt.ranker is None else SentenceVectors(self.prompt.ranker)
            background = most_relevant_first(described.posts, background, ranker)
        inventory, pieces = self.phrases.inventory, self.phrases.pieces
        return build_prompts(pieces, inventory, described.posts, background, self.prompt.mode, self.prompt.budget)

    def grammars(self, posts: Sequence[Post]) -> list[Grammar]:
        """The grammar of each post's answers."""
        decoding = self.decoding
        return [Grammar(self.phrases, post.tokens, decoding.name_words, decoding.limit) for post in posts]

    def targets(self, posts: Sequence[Post]) -> tuple[list[list[int]], int]:
        """The pieces of each post's gold answer, and how many quintuples cannot be said in all."""
        answers = [written_answer(one, quintuples(post)) for one, post in zip(self.grammars(posts), posts, strict=True)]
        return [list(ids) for ids, _ in answers], sum(count for _, count in answers)

    def batch(self, prompts: Sequence[Sequence[int]], targets: Sequence[Sequence[int]]) -> dict[str, torch.Tensor]:
        """Model inputs (B, longest prompt) and labels (B, longest answer)."""
        return padded_batch(prompts, targets, self.pad)

    def answer(
        self, posts: Sequence[Post], prompts: Sequence[Prompt], constrained: bool = True
    ) -> tuple[list[Post], float]:
        """The posts with what the model wrote as their labels, and the share of answers that obey the grammar."""
        how = Decoding(self.decoding.beams, self.decoding.batch_size, constrained)
        ids = [prompt.ids for prompt in prompts]
        answers = write_answers(self.model, ids, self.grammars(posts), how, self.pad)
        labelled = [with_quintuples(post, answer.quintuples) for post, answer in zip(posts, answers, strict=True)]
        return labelled, sum(answer.parsed for answer in answers) / len(answers)


def padded_batch(
    inputs: Sequence[Sequence[int]], targets: Sequence[Sequence[int]], pad: int
) -> dict[str, torch.Tensor]:
    """Ids of what is read and of what is to be written, as a text-to-text model takes them."""
    return {
        "input_ids": _padded(inputs, pad),
        "attention_mask": _padded([[1] * len(row) for row in inputs], 0),
        "labels": _padded(targets, IGNORED),
    }


def _padded(rows: Sequence[Sequence[int]], fill: int) -> torch.Tensor:
    longest = max(map(len, rows))
    return torch.tensor([[*row, *[fill] * (longest - len(row))] for row in rows])


def renamed(described: Described, seed: int) -> Described:
    """The posts with the words of their names passed around among them, in text, captions and knowledge alike.

    A word is exchanged wherever it stands, always for the same other one; words that also stand outside of names are
    left alone. Labels stay what they are, so names must say nothing about them (beyond the paper).

    Args:
        described: Labelled posts.
        seed: Of the exchange.
    """
    inside: set[str] = set()
    outside: set[str] = set()
    for post in described.posts:
        named = {place for entity in post.entities for place in range(entity.start, entity.end)}
        for place, word in enumerate(post.tokens):
            (inside if place in named else outside).add(word)
    names = sorted(inside - outside)
    changed = dict(zip(names, np.random.default_rng(seed).permutation(names).tolist(), strict=True))

    def text(sentence: str) -> str:
        return " ".join(_changed(word, changed) for word in sentence.split())

    posts = [replace(post, tokens=tuple(changed.get(word, word) for word in post.tokens)) for post in described.posts]
    background = [
        Background(tuple(map(text, known.captions)), tuple(map(text, known.knowledge)))
        for known in described.background
    ]
    return Described(posts, background)


def _changed(word: str, changed: dict[str, str]) -> str:
    """A word of a sentence, which may end in a mark."""
    bare = word.rstrip(".,;:!?")
    return changed.get(bare, bare) + word[len(bare) :]
