"""What a run may spend: money by price per million tokens, and requests."""

from __future__ import annotations

import math
import threading
from collections.abc import Sequence
from dataclasses import dataclass

from promu.errors import InputError
from promu.llm.answer_store import Store
from promu.llm.messages import CHARACTERS_PER_TOKEN, PIXELS_PER_TOKEN, Request, request_key


@dataclass(frozen=True, slots=True)
class Prices:
    """Money per million tokens, of whatever currency the endpoint bills in."""

    prompt: float
    completion: float

    def __post_init__(self) -> None:
        for value in (self.prompt, self.completion):
            if not math.isfinite(value) or value < 0:
                raise InputError(f"a price is {value}; give money per million tokens, 0 or more")

    def cost(self, prompt_tokens: int, completion_tokens: int) -> float:
        """Money for so many tokens."""
        return (prompt_tokens * self.prompt + completion_tokens * self.completion) / 1e6


class Budget:
    """Counts what a run has sent and spent, and refuses what would go beyond its limits.

    A request reserves what it may cost at most (its prompt as estimated and the longest answer) until its answer
    says what it did cost. So the money is overdrawn only by what an estimate of a prompt was too low.

    Args:
        prices: None where no price is known; then `max_cost` must be None too.
        max_cost: Most money.
        max_requests: Most requests sent, repeated ones included.
    """

    def __init__(
        self, prices: Prices | None = None, max_cost: float | None = None, max_requests: int | None = None
    ) -> None:
        if max_cost is not None and prices is None:
            raise InputError("a limit on the cost needs the prices of a million tokens; give both")
        if max_cost is not None and not (math.isfinite(max_cost) and max_cost >= 0):
            raise InputError(f"the limit on the cost is {max_cost}; a sum of money is needed")
        if max_requests is not None and max_requests < 0:
            raise InputError(f"the limit on requests is {max_requests}; 0 or more is needed")
        self.prices = prices
        self.max_cost = max_cost
        self.max_requests = max_requests
        self.sent = self.prompt_tokens = self.completion_tokens = 0
        self._reserved = 0.0
        self._lock = threading.Lock()

    @property
    def cost(self) -> float | None:
        """Money spent; None without prices."""
        return None if self.prices is None else self.prices.cost(self.prompt_tokens, self.completion_tokens)

    def reserve(self, prompt_tokens: int, completion_tokens: int) -> float:
        """Set money aside for one answer.

        Returns:
            The sum, to be handed to `settle`.

        Raises:
            InputError: It would go beyond `max_cost`.
        """
        if self.prices is None:
            return 0.0
        most = self.prices.cost(prompt_tokens, completion_tokens)
        with self._lock:
            spent = self.cost or 0.0
            if self.max_cost is not None and spent + self._reserved + most > self.max_cost:
                raise InputError(
                    f"the limit on the cost, {self.max_cost:g}, is reached: {spent:.4g} spent, "
                    f"{self._reserved:.4g} under way, the next answer may cost {most:.4g}; "
                    "raise it and run the same again: what was answered is kept"
                )
            self._reserved += most
        return most

    def settle(self, reserved: float, prompt_tokens: int = 0, completion_tokens: int = 0) -> None:
        """Put what was spent in the place of what was set aside."""
        with self._lock:
            self._reserved -= reserved
            self.prompt_tokens += prompt_tokens
            self.completion_tokens += completion_tokens

    def send(self) -> None:
        """Count one request that is about to be sent.

        Raises:
            InputError: `max_requests` have been sent.
        """
        with self._lock:
            if self.max_requests is not None and self.sent >= self.max_requests:
                raise InputError(
                    f"the limit of {self.max_requests} requests is reached; "
                    "raise it and run the same again: what was answered is kept"
                )
            self.sent += 1


HOW = (
    f"tokens: {CHARACTERS_PER_TOKEN} characters each, an image of w x h pixels w·h/{PIXELS_PER_TOKEN}; "
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
