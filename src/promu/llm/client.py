"""Questions to a model: what they may cost, and their answers, from the store or else from the endpoint."""

from __future__ import annotations

import logging
import threading
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any, Generic, TypedDict, TypeVar

from promu.errors import InputError, counted, needs_extra
from promu.llm.answers import Answer, AnswerFault, AnswerStore, Fault, RequestRejected, complete_text
from promu.llm.llm_settings import LlmSettings, SpendingSettings
from promu.llm.messages import CHARACTERS_PER_TOKEN, PIXELS_PER_TOKEN, Message, Request
from promu.progress import map_concurrent

logger = logging.getLogger(__name__)

HOW = (
    f"tokens: {CHARACTERS_PER_TOKEN} characters each, an image of w x h pixels w·h/{PIXELS_PER_TOKEN}; "
    "answers counted at full length; corrections of unusable answers not counted"
)
"""How a plan is estimated."""

_REMEDY = "raise it and run the same again: the answers so far are stored"


@dataclass(frozen=True, slots=True)
class Plan:
    """What a run would send: different requests for those of its posts for which the store has not every answer.

    The tokens are estimated, see `HOW`; the costs are of the prompts alone and with answers of full length, None
    without prices; `first_prompt` has the messages of the first post.
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
        cls, posts: int, left: int, requests: Sequence[Request], spending: SpendingSettings, first: tuple[Message, ...]
    ) -> Plan:
        """Count the requests about those posts that are `left`, equal ones once."""
        different = {request.key: request for request in requests}.values()
        prompt = sum(request.prompt_tokens() for request in different)
        answers = sum(request.max_tokens for request in different)
        costs = spending.cost(prompt, 0), spending.cost(prompt, answers)
        return cls(posts, posts - left, len(different), prompt, answers, *costs, first)

    def __str__(self) -> str:
        cost = "no prices given"
        if self.prompt_cost is not None:
            cost = f"{self.prompt_cost:.4f} for the prompts, {self.most_cost:.4f} with the longest answers"
        return (
            f"{counted(self.requests, 'request')} (complete in the store: {self.complete} of "
            f"{counted(self.posts, 'post')}), about {counted(self.prompt_tokens, 'token')} of prompts and at most "
            f"{self.answer_tokens:,} of answers ({cost})"
        )

    def to_dict(self) -> dict[str, Any]:
        """Ready for JSON."""
        values = {name: getattr(self, name) for name in self.__dataclass_fields__}
        return {**values, "first_prompt": [message.to_dict() for message in self.first_prompt], "how": HOW}


class Budget:
    """Counts what a run has sent and spent, and refuses what would exceed its limits.

    A request reserves its highest possible cost (its prompt as estimated and the longest answer) until its answer says
    what it did cost. So `max_cost` is exceeded only by what the estimate of a prompt was too low.

    Attributes:
        sent: Requests, retries included.
        counts: Answers from the store, answers paid for, retries by the fault before, and so on.
        stopped: Set when the run is to end.
        prompt_tokens, completion_tokens: Of all answers.
    """

    def __init__(self, spending: SpendingSettings | None = None) -> None:
        self.spending = spending or SpendingSettings()
        self.sent = self.prompt_tokens = self.completion_tokens = 0
        self.counts: Counter[str] = Counter()
        self.stopped = threading.Event()
        self._reserved = 0.0
        self._lock = threading.Lock()

    @property
    def cost(self) -> float | None:
        """Money spent; None without prices."""
        return self.spending.cost(self.prompt_tokens, self.completion_tokens)

    def reserve(self, prompt_tokens: int, completion_tokens: int) -> float:
        """Set aside the money for one answer, to be handed to `settle`; InputError if it would exceed `max_cost`."""
        most, limit = self.spending.cost(prompt_tokens, completion_tokens) or 0.0, self.spending.max_cost
        with self._lock:
            spent = self.cost or 0.0
            if limit is not None and spent + self._reserved + most > limit:
                raise InputError(
                    f"the limit on the cost, {limit:g}, is reached: {spent:.4g} spent, {self._reserved:.4g} reserved, "
                    f"the next answer may cost {most:.4g}; {_REMEDY}"
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
        """Count a request that is about to be sent; raises InputError where `max_requests` have been sent."""
        limit = self.spending.max_requests
        with self._lock:
            if limit is not None and self.sent >= limit:
                raise InputError(f"the limit of {counted(limit, 'request')} is reached; {_REMEDY}")
            self.sent += 1

    def count(self, what: str) -> None:
        """Count something that happened."""
        with self._lock:
            self.counts[what] += 1


Value = TypeVar("Value")

_MOST_REJECTED = 10  # before any is answered: then the endpoint is at fault, not the request
_LONGEST_QUOTE = 2000  # characters of an unusable answer that the model is shown again
_CORRECTION = "Your answer could not be used: {reason}\n" + (
    "Answer the question again, in the form that was asked for, and with nothing else."
)


@dataclass(frozen=True, slots=True)
class ParsedAnswer(Generic[Value]):
    """What was parsed from an answer, None where none could be used; and what was wrong with each unusable one."""

    value: Value | None
    faults: tuple[Fault, ...] = ()


class Usage(TypedDict):
    """What a run has sent and spent: requests by what became of them, tokens, money (None without prices)."""

    requests: dict[str, int]
    tokens: dict[str, int]
    cost: float | None


class Client:
    """A store and, maybe, an endpoint behind it; may be used from several threads.

    The function `complete` answers what the store lacks, or raises `RequestRejected`.
    """

    def __init__(
        self, store: AnswerStore, complete: Callable[[Request], Answer] | None = None, budget: Budget | None = None
    ) -> None:
        self.store, self.budget = store, budget or Budget()
        self._complete = complete
        self._in_flight: dict[str, threading.Lock] = {}

    def ask(self, request: Request) -> Answer:
        """One answer. Threads that ask the same at once send one request.

        Raises:
            AnswerFault: The endpoint rejects the request, or there is neither endpoint nor stored answer.
            InputError: The endpoint cannot be used, the budget is used up, or the run is stopped.
        """
        key = request.key
        answer = self.store.get(key)
        if answer is None:
            if self._complete is None:
                raise AnswerFault("not recorded", f"{self.store.path} has no answer of {request.model!r} to this")
            with self._in_flight.setdefault(key, threading.Lock()):
                answer = self.store.get(key)
                if answer is None:
                    return self.store.put(key, request.to_json(), self._request(self._complete, request))
        self.budget.count("answers from the store")
        return answer

    def ask_and_parse(self, request: Request, parse: Callable[[str], Value], corrections: int) -> ParsedAnswer[Value]:
        """Ask, and ask again, `corrections` times at most, with the fault shown to the model. Raises as `ask`.

        `parse` turns the answer's text into a value, or raises AnswerFault.
        """
        faults: list[Fault] = []
        for _ in range(corrections + 1):
            content = ""
            try:
                answer = self.ask(request)
                content = answer.content
                return ParsedAnswer(parse(complete_text(answer)), tuple(faults))
            except AnswerFault as error:
                fault = error.fault
            faults.append(fault)
            if fault.kind in ("rejected", "not recorded"):
                break
            if self._complete is not None:  # otherwise the store is read-only
                self.store.mark(request.key, fault.kind, fault.reason)
            quote = Message("assistant", content[:_LONGEST_QUOTE] or "(no answer)")
            correction = Message("user", _CORRECTION.format(reason=fault.reason))
            request = replace(request, messages=(*request.messages, quote, correction))
        return ParsedAnswer(None, tuple(faults))

    def usage(self) -> Usage:
        """What was sent and spent so far."""
        budget = self.budget
        tokens = {"prompt": budget.prompt_tokens, "answer": budget.completion_tokens}
        return {"requests": {"sent": budget.sent, **budget.counts}, "tokens": tokens, "cost": budget.cost}

    def _request(self, complete: Callable[[Request], Answer], request: Request) -> Answer:
        reserved = self.budget.reserve(request.prompt_tokens(), request.max_tokens)
        spent = 0, 0
        try:
            answer = complete(request)
            spent = answer.prompt_tokens, answer.completion_tokens
        except RequestRejected as error:
            self.budget.count("requests rejected")
            counts = self.budget.counts
            if counts["requests rejected"] >= _MOST_REJECTED and not counts["answers paid for"]:
                reason = f"the endpoint rejected each of the first {_MOST_REJECTED} requests ({error})"
                raise InputError(f"{reason}; does the model take what is sent, images too?") from None
            raise AnswerFault("rejected", f"the endpoint rejects the request ({error})") from None
        finally:
            self.budget.settle(reserved, *spent)
        self.budget.count("answers paid for")
        if answer.tokens_estimated:
            self.budget.count("answers without a token count")
        return answer


@contextmanager
def open_client(settings: LlmSettings, store: Path) -> Iterator[Client]:
    """A client of the endpoint that the settings name; the store is made where it does not exist.

    Raises:
        InputError: The extra `llm` is not installed, or store or key cannot be used.
    """
    try:
        from promu.llm.endpoint import Endpoint
    except ModuleNotFoundError as error:
        raise needs_extra("asking an endpoint", str(error.name), "llm") from None
    budget = Budget(settings)
    with AnswerStore(store) as answers, Endpoint(settings, budget) as endpoint:
        yield Client(answers, endpoint.complete, budget)


def ask_all(
    plan: Plan, settings: LlmSettings, out: Path, items: list[int], ask: Callable[[Client, int], Value], unlimited: bool
) -> tuple[list[Value], Usage]:
    """Ask an endpoint about all `items`, several at once, if the plan may be carried out; makes the folder `out`.

    Raises:
        InputError: There is neither a limit on the cost nor leave to go without (`unlimited`), or the prompts alone
            cost more; or as `open_client` and `Client.ask`.
    """
    limit = settings.max_cost
    if plan.requests:
        if limit is None and not unlimited:
            remedy = "set max_cost (--max-cost) with prices, or give --yes to begin without a limit"
            raise InputError(f"this would send {plan}; {remedy}; --dry-run shows the first prompt")
        if limit is not None and plan.prompt_cost is not None and plan.prompt_cost > limit:
            raise InputError(f"max_cost {limit:g} is less than the prompts alone: {plan}")
        logger.info("sending %s", plan)
    out.mkdir(parents=True, exist_ok=True)
    with open_client(settings, settings.store_for(out)) as client:
        stage = f"asking {settings.model}"
        answers = map_concurrent(items, partial(ask, client), settings.concurrency, client.budget.stopped, stage)
        return answers, client.usage()
