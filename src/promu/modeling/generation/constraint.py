"""Constrained decoding: of the pieces that a model may write next, only those that the grammar allows."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from transformers import LogitsProcessor

from promu.modeling.generation.grammar import Grammar, State


class Constraint(LogitsProcessor):
    """Gives every piece that would break the grammar of its post a score of -inf.

    The state of each answer is kept from step to step under what has been written, so that a step costs one move of
    the automaton a row, whatever the length, and beams may be dropped, doubled and put in another order.

    Args:
        grammars: One a post of the batch, each with a limit.
        end: The id of the end of sequence.
        beams: Rows a post.
    """

    def __init__(self, grammars: Sequence[Grammar], end: int, beams: int = 1) -> None:
        self.grammars = grammars
        self.end = end
        self.beams = beams
        self.states: dict[tuple[int, tuple[int, ...]], State | None] = {}
        self.prompt = 0

    def __call__(self, input_ids: Any, scores: Any) -> Any:
        """(rows, length) what was written, (rows, vocabulary) its scores, which are changed in place."""
        rows = input_ids.tolist()
        if not self.states:
            self.prompt = len(rows[0])  # the token that decoding starts from is none of the answer
        states = {}
        flat: list[int] = []
        width = scores.shape[-1]
        for row, ids in enumerate(rows):
            post = row // self.beams
            key = (post, tuple(ids[self.prompt :]))
            if key not in states:
                states[key] = self._state(post, key[1])
            state = states[key]
            # A beam that left the grammar has no probability left, and one that ended needs nothing more.
            allowed = [self.end] if state is None or state.ended else state.allowed()
            flat += [row * width + piece for piece in allowed]
        self.states = states
        index = torch.tensor(flat, device=scores.device)
        kept = scores.view(-1)[index]
        scores.fill_(-torch.inf)
        scores.view(-1)[index] = kept
        return scores

    def _state(self, post: int, written: tuple[int, ...]) -> State | None:
        if not written:
            return self.grammars[post].start()
        before = self.states[post, written[:-1]]
        return None if before is None or before.ended else before.after(written[-1])
