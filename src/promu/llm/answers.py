"""Reading answers: whether one can be used, the JSON in it, and where its names stand in the post."""

from __future__ import annotations

import contextlib
import json
import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal

from promu.errors import InputError
from promu.files import parse_json, shorten
from promu.llm.answer_store import Answer

FaultKind = Literal[
    "refusal", "truncated", "empty", "broken JSON", "wrong shape", "too long", "off topic", "rejected", "not recorded"
]
"""`off topic`: about other things than were asked; `rejected`: the endpoint did not accept the request; `not recorded`:
there is no endpoint, and the store has no answer."""

_FENCED = re.compile(r"```(?:json)?\s*\n(.*?)```", re.DOTALL | re.IGNORECASE)
_DECODER = json.JSONDecoder()


class RequestRejected(Exception):
    """The endpoint does not accept this one request (status 400, 413, 422): a retry would not help."""


@dataclass(frozen=True, slots=True)
class Fault:
    """What was wrong with one answer."""

    kind: FaultKind
    reason: str


class AnswerFault(Exception):
    """An answer that cannot be used; the model is shown `fault.reason` too, which is a sentence."""

    def __init__(self, kind: FaultKind, reason: str) -> None:
        super().__init__(reason)
        self.fault = Fault(kind, reason)


def complete_text(answer: Answer) -> str:
    """The text of a complete answer.

    Raises:
        AnswerFault: It was declined, cut off, or is empty.
    """
    if answer.refusal is not None:
        raise AnswerFault("refusal", f"the model declined: {shorten(answer.refusal, 200)}")
    if answer.finish_reason == "content_filter":
        raise AnswerFault("refusal", "the endpoint's content filter held the answer back")
    if answer.finish_reason == "length":
        raise AnswerFault(
            "truncated", f"the answer was cut off after {answer.completion_tokens} tokens; a shorter one is needed"
        )
    if not answer.content.strip():
        raise AnswerFault("empty", "the answer is empty")
    return answer.content


def json_object(text: str) -> dict[str, Any]:
    """The JSON object of an answer: the whole of it, in a fenced block, or the first one between other words.

    Raises:
        AnswerFault: There is none.
    """
    fenced = _FENCED.search(text)
    candidate = (fenced[1] if fenced else text).strip()
    if "{" in candidate and not candidate.startswith(("{", "[")):
        candidate = candidate[candidate.index("{") :]
        with contextlib.suppress(ValueError, RecursionError):  # parse_json says what is wrong with it
            candidate = candidate[: _DECODER.raw_decode(candidate)[1]]
    try:
        value = parse_json(candidate)
    except InputError as error:
        if "{" in text or "[" in text:
            raise AnswerFault("broken JSON", error.reason) from None
        raise AnswerFault("refusal", f"no JSON but words: {shorten(text, 200)}") from None
    if not isinstance(value, dict):
        raise AnswerFault("wrong shape", f"a JSON object is expected, found {shorten(value)}")
    return value


def json_list(text: str, key: str) -> list[Any]:
    """The list under the one `key` of an answer's JSON object.

    Raises:
        AnswerFault: As `json_object`, or there is no such list.
    """
    values = json_object(text).get(key)
    if not isinstance(values, list):
        raise AnswerFault("wrong shape", f'the object must have the key "{key}" with a list')
    return values


Span = tuple[int, int]
"""First word, word after the last."""


def find_spans(tokens: Sequence[str], name: str) -> list[Span]:
    """Every span of words that is `name`, from left to right.

    A model does not know how the text was split, so blanks do not count ("Tel Aviv 's" is "Tel Aviv's"); but a span
    begins and ends with a word. Upper case is ignored only where no span has the letters of `name` as they are.
    """
    return _exact_spans(tokens, name) or _exact_spans([token.casefold() for token in tokens], name.casefold())


def _exact_spans(tokens: Sequence[str], name: str) -> list[Span]:
    wanted = "".join(name.split())
    if not wanted:
        return []
    text = ""
    begins: dict[int, int] = {}
    ends: dict[int, int] = {}
    for index, token in enumerate(tokens):
        begins[len(text)] = index
        text += "".join(token.split())
        ends.setdefault(len(text), index + 1)  # a no-break space is a word without letters, and ends no name
    spans = []
    position = text.find(wanted)
    while position >= 0:
        end = position + len(wanted)
        if position in begins and end in ends:
            spans.append((begins[position], ends[end]))
        position = text.find(wanted, position + 1)
    return spans


def next_free_span(spans: Sequence[Span], taken: Sequence[Span]) -> Span | None:
    """Which of a name's spans is meant: the first free one behind the last taken, else the first free one.

    The model lists names in the order of the text, so the second "Paris" is the second in the text.
    """
    free = [span for span in spans if all(span[1] <= other[0] or other[1] <= span[0] for other in taken)]
    last = taken[-1][1] if taken else 0
    return next((span for span in free if span[0] >= last), free[0] if free else None)
