"""KECPM's writer at t5-small's shape with random weights: batches against one post at a time; the constraint's cost.

Random weights write without an end, so every answer is as long as it may be; in both ways of writing alike.
"""

from __future__ import annotations

import random
import statistics
import time
from collections.abc import Callable
from typing import Any
from unittest.mock import patch

import torch
from benchmarks.measure import Row, alternate
from transformers import PreTrainedModel

from promu.kecpm.decoding import Constraint, GeneratedAnswer, generate_answers, load_seq2seq
from promu.kecpm.grammar import Grammar, GrammarState, GrammarTokenizer, Phrases
from promu.kecpm.kecpm_recipe import DecodingSettings
from promu.modeling.inventory import Inventory
from promu.pytorch import best_device
from promu.training.tokenizers import train_text_to_text

T5_SMALL = {"d_model": 512, "d_kv": 64, "d_ff": 2048, "num_layers": 6, "num_heads": 8, "vocab_size": 32128}
TINY = {"d_model": 32, "d_kv": 16, "d_ff": 64, "num_layers": 1, "num_heads": 2, "vocab_size": 1000}
TYPES = ("per", "org", "loc", "misc")
WORDS = "the a in on of with and for met joins plays visits wins near old new big red team club city film song".split()  # noqa: SIM905
LIMIT = 96
"""GrammarTokenizer of an answer."""


def _posts(count: int) -> list[tuple[str, ...]]:
    """Posts of 8 to 30 words."""
    chance = random.Random(0)
    return [tuple(chance.choices(WORDS, k=chance.randint(8, 30))) for _ in range(count)]


class _Begun(Grammar):
    """Answers that are in their first quintuple already: random weights would say "No relation" of every post."""

    def start(self) -> GrammarState:
        """As after the words that a quintuple opens with."""
        return self.resumed(())


class _Bench:
    """A model, posts as prompts with as much knowledge as the recipes give them, and their grammars."""

    def __init__(self, quick: bool, posts: int) -> None:
        tokenizer = train_text_to_text([" ".join(WORDS)] * 3, 900)
        inventory = Inventory(tuple((head, f"relation_{head}_{tail}", tail) for head in TYPES for tail in TYPES))
        self.phrases = Phrases(GrammarTokenizer(tokenizer), inventory)
        self.pad = int(tokenizer.pad_token_id)  # type: ignore[arg-type]
        ids = {"pad_token_id": self.pad, "eos_token_id": self.phrases.tokenizer.end, "decoder_start_token_id": self.pad}
        torch.manual_seed(0)
        self.model: PreTrainedModel = load_seq2seq({"model_type": "t5", **(TINY if quick else T5_SMALL)}, **ids)
        self.model.to(best_device()).eval()  # type: ignore[arg-type]
        self.limit = LIMIT
        texts = _posts(posts)
        chance = random.Random(1)
        self.prompts = []
        for words in texts:
            more = chance.choices(WORDS, k=chance.randint(40, 120))
            self.prompts.append([piece for word in (*words, *more) for piece in self.phrases.tokenizer.word(word)])
        self.grammars = [_Begun(self.phrases, words, 12, self.limit) for words in texts]

    @torch.inference_mode()
    def plain(self, posts: int) -> None:
        """What one writes first: generate, a post at a time, in fp32."""
        for prompt in self.prompts[:posts]:
            self.model.generate(  # type: ignore[operator]
                input_ids=torch.tensor([prompt], device=self.model.device),
                max_new_tokens=self.limit,
                min_new_tokens=self.limit,
                do_sample=False,
            )

    def ours(self, constrained: bool, batch_size: int) -> Callable[[], list[GeneratedAnswer]]:
        """`generate_answers` over all posts."""
        how = DecodingSettings(batch_size=batch_size)
        return lambda: generate_answers(self.model, self.prompts, self.grammars, how, self.pad, constrained)


def _constraint_share(call: Callable[[], object]) -> tuple[float, float]:
    """Seconds that a call takes, and those of them that are spent in the constraint."""
    spent = 0.0
    original = Constraint.__call__

    def timed(self: Constraint, input_ids: Any, scores: Any) -> Any:
        nonlocal spent
        started = time.perf_counter()
        result = original(self, input_ids, scores)
        spent += time.perf_counter() - started
        return result

    with patch.object(Constraint, "__call__", timed):
        started = time.perf_counter()
        call()
        return time.perf_counter() - started, spent


def run(quick: bool) -> tuple[dict[str, Any], list[Row]]:
    """Posts per second of both ways, and what the constraint adds to decoding."""
    posts, alone, batch = (6, 2, 3) if quick else (64, 4, 64)
    bench = _Bench(quick, posts)
    free, bound = bench.ours(False, batch), bench.ours(True, batch)
    times = alternate({"plain": lambda: bench.plain(alone), "ours": free}, 1 if quick else 3)
    shares = []
    for _ in range(1 if quick else 3):
        whole, spent = _constraint_share(bound)
        shares.append(spent / (whole - spent))
    share = statistics.median(shares)
    plain, ours = alone / times["plain"].seconds, posts / times["ours"].seconds
    result = {
        "times": {name: timing.as_dict() for name, timing in times.items()},
        "posts": {"plain": alone, "ours": posts},
        "constraint_share": share,
        "quintuples_written": sum(len(answer.quintuples) for answer in bound()),
        "pieces": bench.limit,
    }
    core = (times["plain"].core_seconds / alone) / max(times["ours"].core_seconds / posts, 1e-9)
    return result, [
        Row("kecpm", "posts/s, batches in bf16", f"{ours:.2f}", f"{plain:.2f}", ours / plain, core, "5"),
        Row("kecpm", "constraint, share of decoding", f"{100 * share:.1f} %", goal="15 %"),
    ]
