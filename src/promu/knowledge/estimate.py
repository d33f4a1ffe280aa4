"""What a run would ask and cost, before it asks anything."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from promu.knowledge.budget import Prices
from promu.knowledge.messages import CHARACTERS_PER_TOKEN, PIXELS_PER_TOKEN, Request, request_key
from promu.knowledge.store import Store

HOW = (
    f"tokens: {CHARACTERS_PER_TOKEN} characters each, a picture of w x h pixels w·h/{PIXELS_PER_TOKEN}; "
    "answers counted at full length; corrections of unusable answers not counted"
)


@dataclass(frozen=True, slots=True)
class Estimate:
    """A run before its first call.

    Attributes:
        questions: Each asked once unless its answer cannot be used; several posts may ask the same.
        in_store: How many of them the store has an answer to.
        requests: How many different ones are left to send.
        prompt_tokens: Of those, see `HOW`.
        answer_tokens: Of those, were each answer as long as it may be.
        prompt_cost, most_cost: Money for the prompts alone, and with answers of full length; None without prices.
    """

    questions: int
    in_store: int
    requests: int
    prompt_tokens: int
    answer_tokens: int
    prompt_cost: float | None
    most_cost: float | None

    def __str__(self) -> str:
        cost = "no prices given"
        if self.prompt_cost is not None:
            cost = f"{self.prompt_cost:.4f} for the prompts, {self.most_cost:.4f} with the longest answers"
        return f"about {self.prompt_tokens:,} tokens of prompts and at most {self.answer_tokens:,} of answers ({cost})"


def estimate(requests: Sequence[Request], store: Store | None, prices: Prices | None) -> Estimate:
    """Count what is not in the store yet; `store` is None where there is none so far."""
    keys = [request_key(request.to_json()) for request in requests]
    kept = set() if store is None else set(store.get_many(list(dict.fromkeys(keys))))
    left = {key: request for key, request in zip(keys, requests, strict=True) if key not in kept}
    prompt = sum(request.prompt_tokens() for request in left.values())
    answers = sum(request.max_tokens for request in left.values())
    return Estimate(
        questions=len(requests),
        in_store=sum(key in kept for key in keys),
        requests=len(left),
        prompt_tokens=prompt,
        answer_tokens=answers,
        prompt_cost=None if prices is None else prices.cost(prompt, 0),
        most_cost=None if prices is None else prices.cost(prompt, answers),
    )
