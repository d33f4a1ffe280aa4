"""What a run costs: the plan before its first request, and the budget while it runs."""

from __future__ import annotations

import threading
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from promu.errors import InputError
from promu.llm.llm_settings import SpendingSettings
from promu.llm.messages import CHARACTERS_PER_TOKEN, PIXELS_PER_TOKEN, Message, Request, request_key

HOW = (
    f"tokens: {CHARACTERS_PER_TOKEN} characters each, an image of w x h pixels w·h/{PIXELS_PER_TOKEN}; "
    "answers counted at full length; corrections of unusable answers not counted"
)
"""How a plan is estimated."""


@dataclass(frozen=True, slots=True)
class Plan:
    """What a run would send.

    Attributes:
        posts: How many posts it is about.
        complete: How many of them the store has every answer for.
        requests: Different requests to send for the others.
        prompt_tokens: Of those, see `HOW`.
        answer_tokens: Of those, were each answer as long as it may be.
        prompt_cost, most_cost: Money for the prompts alone, and with answers of full length; None without prices.
        first_prompt: The messages of the first post.
    """

    posts: int
    complete: int
    requests: int
    prompt_tokens: int
    answer_tokens: int
    prompt_cost: float | None
    most_cost: float | None
    first_prompt: tuple[Message, ...]

    @classmethod
    def of(
        cls,
        posts: int,
        complete: int,
        requests: Sequence[Request],
        spending: SpendingSettings,
        first_prompt: tuple[Message, ...],
    ) -> Plan:
        """Count requests, equal ones once."""
        different = {request_key(request.to_json()): request for request in requests}.values()
        prompt = sum(request.prompt_tokens() for request in different)
        answers = sum(request.max_tokens for request in different)
        costs = spending.cost(prompt, 0), spending.cost(prompt, answers)
        return cls(posts, complete, len(different), prompt, answers, *costs, first_prompt)

    def __str__(self) -> str:
        cost = "no prices given"
        if self.prompt_cost is not None:
            cost = f"{self.prompt_cost:.4f} for the prompts, {self.most_cost:.4f} with the longest answers"
        return (
            f"{self.requests} requests ({self.complete} of {self.posts} posts are complete in the store), about "
            f"{self.prompt_tokens:,} tokens of prompts and at most {self.answer_tokens:,} of answers ({cost})"
        )

    def to_dict(self) -> dict[str, Any]:
        """Ready for JSON."""
        values = {name: getattr(self, name) for name in self.__dataclass_fields__}
        return {**values, "first_prompt": [message.to_record() for message in self.first_prompt], "how": HOW}

    def check_allowed(self, max_cost: float | None, unlimited: bool) -> None:
        """Make sure that the run may begin.

        Raises:
            InputError: There is neither a limit on the cost nor leave to go without, or the prompts alone cost more.
        """
        if not self.requests:
            return
        if max_cost is None and not unlimited:
            raise InputError(
                f"this would send {self}; set max_cost (with prices), or say --yes to begin without a limit; "
                "--dry-run shows the first prompt"
            )
        if max_cost is not None and self.prompt_cost is not None and self.prompt_cost > max_cost:
            raise InputError(f"max_cost {max_cost:g} is less than the prompts alone: {self}")


class Budget:
    """Counts what a run has sent and spent, and refuses what would exceed its limits.

    A request reserves its highest possible cost (its prompt as estimated and the longest answer) until its answer says
    what it did cost. So `max_cost` is exceeded only by what the estimate of a prompt was too low.

    Args:
        spending: Prices and limits; none by default.

    Attributes:
        sent: Requests, retries included.
        retries: How many of them were retries, by the fault before.
        prompt_tokens, completion_tokens: Of all answers.
    """

    def __init__(self, spending: SpendingSettings | None = None) -> None:
        self.spending = spending or SpendingSettings()
        self.sent = self.prompt_tokens = self.completion_tokens = 0
        self.retries: Counter[str] = Counter()
        self._reserved = 0.0
        self._lock = threading.Lock()

    @property
    def cost(self) -> float | None:
        """Money spent; None without prices."""
        return self.spending.cost(self.prompt_tokens, self.completion_tokens)

    def reserve(self, prompt_tokens: int, completion_tokens: int) -> float:
        """Set money aside for one answer.

        Returns:
            The sum, to be handed to `settle`.

        Raises:
            InputError: It would exceed `max_cost`.
        """
        most, limit = self.spending.cost(prompt_tokens, completion_tokens) or 0.0, self.spending.max_cost
        with self._lock:
            spent = self.cost or 0.0
            if limit is not None and spent + self._reserved + most > limit:
                raise InputError(
                    f"the limit on the cost, {limit:g}, is reached: {spent:.4g} spent, {self._reserved:.4g} reserved, "
                    f"the next answer may cost {most:.4g}; raise it and run the same again: "
                    "the answers so far are stored"
                )
            self._reserved += most
        return most

    def settle(self, reserved: float, prompt_tokens: int = 0, completion_tokens: int = 0) -> None:
        """Replace what was reserved by what was spent."""
        with self._lock:
            self._reserved -= reserved
            self.prompt_tokens += prompt_tokens
            self.completion_tokens += completion_tokens

    def count_request(self) -> None:
        """Count one request that is about to be sent.

        Raises:
            InputError: `max_requests` have been sent.
        """
        limit = self.spending.max_requests
        with self._lock:
            if limit is not None and self.sent >= limit:
                raise InputError(
                    f"the limit of {limit} requests is reached; raise it and run the same again: "
                    "the answers so far are stored"
                )
            self.sent += 1

    def count_retry(self, fault: str) -> None:
        """Count a request that will be sent again after a fault."""
        with self._lock:
            self.retries[fault] += 1
