"""Questions to a model, answered from the store where it has the answer, by the endpoint where not."""

from __future__ import annotations

import threading
from collections import Counter
from collections.abc import Callable, Iterable
from concurrent.futures import Future, ThreadPoolExecutor, as_completed
from dataclasses import dataclass, replace
from typing import Generic, Protocol, TypeVar

from promu.errors import InputError
from promu.llm.answer_store import Answer, Store
from promu.llm.answers import AnswerFault, Fault, text_of
from promu.llm.budget import Budget
from promu.llm.endpoint import Rejected
from promu.llm.messages import Message, Request, request_key
from promu.progress import track

Read = TypeVar("Read")

_REJECTED = 10
"""So many requests rejected before any is answered: then it is the endpoint, not the request."""

_SHOWN = 2000
"""Characters of an unusable answer that the model is shown again."""

CORRECTION = (
    "Your answer could not be used: {reason}\n"
    "Answer the question again, in the form that was asked for, and with nothing else."
)


@dataclass(frozen=True, slots=True)
class Outcome(Generic[Read]):
    """What came of one question.

    Attributes:
        value: What was read from the answer; None where no answer could be used.
        faults: What was wrong with each unusable answer, in order.
    """

    value: Read | None
    faults: tuple[Fault, ...] = ()


class Answering(Protocol):
    """Who is asked: an endpoint, or what takes its place."""

    def complete(self, request: Request) -> Answer:
        """One answer; raises `Rejected` where there will be none to this request."""


class Client:
    """A store and, maybe, an endpoint behind it.

    Args:
        store: Where answers are looked up and kept.
        endpoint: Who is asked for what the store lacks; None answers from the store alone.
        budget: What may be spent.
        stopped: Set when the run is to end.
    """

    def __init__(self, store: Store, endpoint: Answering | None, budget: Budget, stopped: threading.Event) -> None:
        self.store = store
        self.endpoint = endpoint
        self.budget = budget
        self.stopped = stopped
        self.counts: Counter[str] = Counter()
        self._lock = threading.Lock()

    def ask(self, request: Request) -> Answer:
        """One answer.

        Raises:
            AnswerFault: The endpoint rejects the request, or there is neither endpoint nor recorded answer.
            InputError: The endpoint cannot be used, the budget is used up, or the run is stopped.
        """
        text = request.to_json()
        key = request_key(text)
        if self.endpoint is None:
            answer = self.store.get(key)
            if answer is None:
                raise AnswerFault("not recorded", f"{self.store.path} has no answer of {request.model!r} to this")
        else:
            answer = self.store.claim(key, self.stopped)
            if answer is None:
                return self._pay(self.endpoint, request, key, text)
        self._count("answers from the store")
        return answer

    def converse(self, request: Request, read: Callable[[str], Read], corrections: int) -> Outcome[Read]:
        """Ask, and ask again with the fault said to the model, until an answer can be read.

        Args:
            request: The question.
            read: Turns the answer's text into what is wanted; raises AnswerFault.
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
                return Outcome(read(text_of(answer)), tuple(faults))
            except AnswerFault as error:
                fault = error.fault
            faults.append(fault)
            if fault.kind in ("rejected", "not recorded"):
                break
            if self.endpoint is not None:  # a store that someone shares stays as it is
                self.store.mark(request_key(request.to_json()), fault.kind, fault.reason)
            told = (
                Message("assistant", content[:_SHOWN] or "(no answer)"),
                Message("user", CORRECTION.format(reason=fault.reason)),
            )
            request = replace(request, messages=(*request.messages, *told))
        return Outcome(None, tuple(faults))

    def _pay(self, endpoint: Answering, request: Request, key: str, text: str) -> Answer:
        """Ask the endpoint for what has been claimed."""
        try:
            reserved = self.budget.reserve(request.prompt_tokens(), request.max_tokens)
            try:
                answer = endpoint.complete(request)
            except BaseException:
                self.budget.settle(reserved)
                raise
            self.budget.settle(reserved, answer.prompt_tokens, answer.completion_tokens)
            self.store.put(key, text, answer)
        except Rejected as error:
            self.store.release(key)
            self._count("requests rejected")
            if self.counts["requests rejected"] >= _REJECTED and not self.counts["answers paid for"]:
                raise InputError(
                    f"the endpoint rejected each of the first {_REJECTED} requests ({error}); "
                    "does the model take what is sent, images too?"
                ) from None
            raise AnswerFault("rejected", f"the endpoint rejects the request ({error})") from None
        except BaseException:
            self.store.release(key)
            raise
        self._count("answers paid for")
        if answer.tokens_estimated:
            self._count("answers without a token count")
        return answer

    def _count(self, what: str) -> None:
        with self._lock:
            self.counts[what] += 1


Item = TypeVar("Item")
Result = TypeVar("Result")


def run_all(
    items: Iterable[Item],
    work: Callable[[Item], Result],
    concurrency: int,
    stopped: threading.Event,
    stage: str = "asking",
) -> list[Result]:
    """`work` on every item, so many at a time.

    The first exception, or an interrupt, sets `stopped`; what is under way is finished and kept, the rest not begun.

    Returns:
        The results in the order of the items.
    """
    with ThreadPoolExecutor(concurrency) as pool:
        futures: list[Future[Result]] = [pool.submit(work, item) for item in items]
        try:
            for future in track(as_completed(futures), stage, len(futures)):
                future.result()
        except BaseException:
            stopped.set()
            pool.shutdown(wait=False, cancel_futures=True)
            raise
        return [future.result() for future in futures]
