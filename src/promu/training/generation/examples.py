"""Posts as the model reads and writes them: prompts, grammars, answers, all in its pieces."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import torch
from transformers import PreTrainedModel, PreTrainedTokenizerBase

from promu.alignment.sentence_vectors import SentenceVectors
from promu.corpora.jmere import Background, read_jmere, read_jmere_background
from promu.knowledge.recorded import knowledge_for
from promu.modeling.generation.answers import written_answer
from promu.modeling.generation.grammar import Grammar, Phrases
from promu.modeling.generation.inventory import Inventory
from promu.modeling.generation.pieces import Pieces
from promu.modeling.generation.seq2seq import Decoding, write_answers
from promu.schema import Post, quintuples, with_quintuples
from promu.training.generation.prompts import Prompt, build_prompts, most_relevant_first
from promu.training.generation.recipe import DecodingSettings, PromptSettings

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

    def with_missing(self, prompts: Sequence[Sequence[int]], share: float, dice: torch.Tensor) -> list[list[int]]:
        """Prompts with a share of their pieces, the end left out, shown as unknown; `dice` (B, longest) say which."""
        unknown = self.tokenizer.unk_token_id
        return [
            [*(unknown if lot < share else piece for piece, lot in zip(ids[:-1], lots, strict=False)), ids[-1]]
            for ids, lots in zip(prompts, dice.tolist(), strict=True)
        ]

    def batch(self, prompts: Sequence[Sequence[int]], targets: Sequence[Sequence[int]]) -> dict[str, torch.Tensor]:
        """Model inputs (B, longest prompt) and labels (B, longest answer)."""
        return padded_batch(prompts, targets, self.pad)

    def answer(
        self,
        posts: Sequence[Post],
        prompts: Sequence[Prompt],
        constrained: bool = True,
        progress: Callable[[int, int], None] | None = None,
    ) -> tuple[list[Post], float]:
        """The posts with what the model wrote as their labels, and the share of answers that obey the grammar."""
        how = Decoding(self.decoding.beams, self.decoding.batch_size, constrained)
        ids = [prompt.ids for prompt in prompts]
        answers = write_answers(self.model, ids, self.grammars(posts), how, self.pad, progress)
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
