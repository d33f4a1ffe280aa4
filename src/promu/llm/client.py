"""Questions to a model: answered from the store where it has the answer, else by the endpoint."""

from __future__ import annotations

import threading
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Generic, Protocol, TypedDict, TypeVar

from promu.errors import InputError
from promu.llm.answer_store import Answer, AnswerStore
from promu.llm.answers import AnswerFault, Fault, RequestRejected, complete_text
from promu.llm.budget import Budget
from promu.llm.llm_settings import LlmSettings
from promu.llm.messages import Message, Request, request_key

Value = TypeVar("Value")

_MOST_REJECTED = 10
"""So many requests rejected before any is answered: then the endpoint is at fault, not the request."""

_LONGEST_QUOTE = 2000
"""Characters of an unusable answer that the model is shown again."""

CORRECTION = (
    "Your answer could not be used: {reason}\n"
    "Answer the question again, in the form that was asked for, and with nothing else."
)


@dataclass(frozen=True, slots=True)
class ParsedAnswer(Generic[Value]):
    """What came of one question.

    Attributes:
        value: What was parsed from the answer; None where no answer could be used.
        faults: What was wrong with each unusable answer, in order.
    """

    value: Value | None
    faults: tuple[Fault, ...] = ()


class Usage(TypedDict):
    """What a run has sent and spent: requests by what became of them, tokens, money (None without prices)."""

    requests: dict[str, int]
    tokens: dict[str, int]
    cost: float | None


class ChatModel(Protocol):
    """An endpoint, or what takes its place."""

    def complete(self, request: Request) -> Answer:
        """One answer; raises `RequestRejected` where there will be none to this request."""


class Client:
    """A store and, maybe, an endpoint behind it; may be used from several threads.

    Args:
        store: Where answers are looked up and stored.
        endpoint: Answers what the store lacks; None answers from the store alone.
        budget: What may be spent.

    Attributes:
        stopped: Set when the run is to end.
        counts: How many answers came from the store, were paid for, and so on.
    """

    def __init__(
        self,
        store: AnswerStore,
        endpoint: ChatModel | None = None,
        budget: Budget | None = None,
        stopped: threading.Event | None = None,
    ) -> None:
        self.store = store
        self.endpoint = endpoint
        self.budget = budget or Budget()
        self.stopped = stopped or threading.Event()
        self.counts: Counter[str] = Counter()
        self._lock = threading.Lock()
        self._in_flight: dict[str, threading.Lock] = {}

    def ask(self, request: Request) -> Answer:
        """One answer. Threads that ask the same at once send one request.

        Raises:
            AnswerFault: The endpoint rejects the request, or there is neither endpoint nor stored answer.
            InputError: The endpoint cannot be used, the budget is used up, or the run is stopped.
        """
        text = request.to_json()
        key = request_key(text)
        answer = self.store.get(key)
        if answer is None:
            if self.endpoint is None:
                raise AnswerFault("not recorded", f"{self.store.path} has no answer of {request.model!r} to this")
            with self._in_flight.setdefault(key, threading.Lock()):
                answer = self.store.get(key)
                if answer is None:
                    return self._request(self.endpoint, request, key, text)
        self._count("answers from the store")
        return answer

    def ask_and_parse(self, request: Request, parse: Callable[[str], Value], corrections: int) -> ParsedAnswer[Value]:
        """Ask, and ask again with the fault shown to the model, until an answer can be parsed.

        Args:
            request: The question.
            parse: Turns the answer's text into a value; raises AnswerFault.
            corrections: How often to ask again.

        Raises:
            InputError: As `ask`.
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
            if self.endpoint is not None:  # without one the store is read-only
                self.store.mark(request_key(request.to_json()), fault.kind, fault.reason)
            correction = (
                Message("assistant", content[:_LONGEST_QUOTE] or "(no answer)"),
                Message("user", CORRECTION.format(reason=fault.reason)),
            )
            request = replace(request, messages=(*request.messages, *correction))
        return ParsedAnswer(None, tuple(faults))

    def usage(self) -> Usage:
        """What was sent and spent so far."""
        budget = self.budget
        retries = {f"repeated, {fault}": count for fault, count in budget.retries.items()}
        return {
            "requests": {"sent": budget.sent, **self.counts, **retries},
            "tokens": {"prompt": budget.prompt_tokens, "answer": budget.completion_tokens},
            "cost": budget.cost,
        }

    def _request(self, endpoint: ChatModel, request: Request, key: str, text: str) -> Answer:
        reserved = self.budget.reserve(request.prompt_tokens(), request.max_tokens)
        spent = 0, 0
        try:
            answer = endpoint.complete(request)
            spent = answer.prompt_tokens, answer.completion_tokens
        except RequestRejected as error:
            self._count("requests rejected")
            if self.counts["requests rejected"] >= _MOST_REJECTED and not self.counts["answers paid for"]:
                raise InputError(
                    f"the endpoint rejected each of the first {_MOST_REJECTED} requests ({error}); "
                    "does the model take what is sent, images too?"
                ) from None
            raise AnswerFault("rejected", f"the endpoint rejects the request ({error})") from None
        finally:
            self.budget.settle(reserved, *spent)
        self._count("answers paid for")
        if answer.tokens_estimated:
            self._count("answers without a token count")
        return self.store.put(key, text, answer)

    def _count(self, what: str) -> None:
        with self._lock:
            self.counts[what] += 1


@contextmanager
def open_client(settings: LlmSettings, store: Path) -> Iterator[Client]:
    """A client of the endpoint that the settings name, while this lasts.

    Args:
        settings: Endpoint and limits.
        store: The file of answers; made where it does not exist.

    Raises:
        InputError: The extra `llm` is not installed, or store or key cannot be used.
    """
    try:
        from promu.llm.endpoint import Endpoint
    except ModuleNotFoundError as error:
        raise InputError(f"asking an endpoint needs {error.name}; install it with: pip install 'promu[llm]'") from None
    budget, stopped = Budget(settings), threading.Event()
    with AnswerStore(store) as answers, Endpoint(settings, budget, stopped) as endpoint:
        yield Client(answers, endpoint, budget, stopped)
