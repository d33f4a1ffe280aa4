"""Answers of language models: kept in one SQLite file, so that no question is paid for twice, and read.

The key of an answer is the hash of its request. Several threads and processes may use one store; SQLite's own locks
keep every answer whole.
"""

from __future__ import annotations

import contextlib
import json
import re
import sqlite3
import threading
from collections.abc import Iterator, Sequence
from dataclasses import astuple, dataclass, fields, replace
from pathlib import Path
from typing import Any, Literal

from promu.errors import InputError
from promu.files import parse_json, shorten
from promu.progress import mark_stored

_APPLICATION = 0x70726D75  # "prmu": tells a store from another SQLite file
_VERSION = 1
_TABLE = """
CREATE TABLE answers (
    key TEXT PRIMARY KEY, request TEXT NOT NULL, content TEXT NOT NULL, refusal TEXT, finish_reason TEXT NOT NULL,
    prompt_tokens INTEGER NOT NULL, completion_tokens INTEGER NOT NULL, tokens_estimated INTEGER NOT NULL,
    answered_by TEXT NOT NULL, endpoint TEXT NOT NULL, seconds REAL NOT NULL, asked_at TEXT NOT NULL,
    fault TEXT, fault_reason TEXT
)
"""


@dataclass(frozen=True, slots=True)
class Answer:
    """The answer of a model.

    Attributes:
        content: The text; "" where there was none.
        refusal: The model's own words where it declined in the field meant for that.
        finish_reason: `stop`, `length`, `content_filter`, or what else the endpoint says.
        prompt_tokens, completion_tokens: As the endpoint counted them; estimates where it did not.
        answered_by: The model's name as the endpoint gave it, often more exact than the one in the request.
    """

    content: str
    refusal: str | None
    finish_reason: str
    prompt_tokens: int
    completion_tokens: int
    tokens_estimated: bool
    answered_by: str
    endpoint: str
    seconds: float


_COLUMNS = ", ".join(field.name for field in fields(Answer))


class AnswerStore(contextlib.AbstractContextManager["AnswerStore"]):
    """An SQLite file of answers; made where it does not exist, unless it is `read_only`, as one that someone shares.

    Raises:
        InputError: The file is no store, is of another version, or cannot be opened.
    """

    def __init__(self, path: Path, read_only: bool = False) -> None:
        self.path = path
        self._lock = threading.Lock()
        if not path.absolute().parent.is_dir():
            raise InputError("no such folder to keep the store in; make it first", path.parent)
        if read_only and not path.is_file():
            raise InputError("no such store of answers; check the path", path)
        address = f"{path.absolute().as_uri()}{'?mode=ro' if read_only else ''}"
        options: dict[str, Any] = {"uri": True, "check_same_thread": False, "timeout": 60}
        with self._database_errors():
            # isolation_level=None: every statement is a transaction of its own unless BEGIN says otherwise
            self._database = sqlite3.connect(address, isolation_level=None, **options)
        try:
            self._prepare(read_only)
        except InputError:
            self._database.close()
            raise

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """Close the file."""
        with self._lock:
            self._database.close()

    def get(self, key: str) -> Answer | None:
        """The answer stored under `key`."""
        return self.get_many([key]).get(key)

    def get_many(self, keys: Sequence[str]) -> dict[str, Answer]:
        """The answers that the store has, by key."""
        query = f"SELECT key, {_COLUMNS} FROM answers WHERE key IN (SELECT value FROM json_each(?))"
        answers = {key: Answer(*values) for key, *values in self._execute(query, json.dumps(keys))}
        return {key: replace(each, tokens_estimated=bool(each.tokens_estimated)) for key, each in answers.items()}

    def put(self, key: str, request: str, answer: Answer) -> Answer:
        """Store an answer, and return the stored one: that of another process where it was quicker."""
        values = (key, request, *astuple(answer))
        self._execute(
            f"INSERT OR IGNORE INTO answers (key, request, {_COLUMNS}, asked_at) "
            f"VALUES ({','.join('?' * len(values))}, strftime('%Y-%m-%dT%H:%M:%SZ', 'now'))",
            *values,
        )
        mark_stored()
        return self.get(key) or answer

    def mark(self, key: str, fault: str, reason: str) -> None:
        """Write beside an answer why it could not be used."""
        self._execute("UPDATE answers SET fault = ?, fault_reason = ? WHERE key = ?", fault, reason, key)

    def _prepare(self, read_only: bool) -> None:
        """Make the table in a new file, and check what the file is."""
        if not read_only:
            self._execute("BEGIN IMMEDIATE")  # two processes may open a new file at once
            if not self._execute("SELECT 1 FROM sqlite_master"):
                self._execute(_TABLE)
                self._execute(f"PRAGMA application_id = {_APPLICATION}")
                self._execute(f"PRAGMA user_version = {_VERSION}")
            self._execute("COMMIT")
        ((application,),) = self._execute("PRAGMA application_id")
        if application != _APPLICATION:
            raise InputError("an SQLite file, but no store of answers; name another file", self.path)
        ((version,),) = self._execute("PRAGMA user_version")
        if version != _VERSION:
            remedy = "name another file, or use the promu that made it"
            raise InputError(f"a store of version {version}, this promu reads {_VERSION}; {remedy}", self.path)

    def _execute(self, statement: str, *values: Any) -> list[Any]:
        """The rows of one statement."""
        with self._database_errors(), self._lock:
            return self._database.execute(statement, values).fetchall()

    @contextlib.contextmanager
    def _database_errors(self) -> Iterator[None]:
        try:
            yield
        except sqlite3.OperationalError as error:
            reason = f"the store cannot be used ({error}); check its permissions and the disk"
            raise InputError(reason, self.path) from None
        except sqlite3.DatabaseError as error:
            raise InputError(f"no store of answers, or a damaged one ({error}); name another file", self.path) from None


FaultKind = Literal[
    "refusal", "truncated", "empty", "broken JSON", "wrong shape", "too long", "off topic", "rejected", "not recorded"
]
"""`off topic`: about other things than were asked; `rejected`: the endpoint did not accept the request; `not recorded`:
there is no endpoint, and the store has no answer."""


class RequestRejected(Exception):
    """The endpoint does not accept this one request (status 400, 413, 422): a retry would not help."""


@dataclass(frozen=True, slots=True)
class Fault:
    """What was wrong with one answer."""

    kind: FaultKind
    reason: str


class AnswerFault(Exception):
    """An answer that cannot be used; the model is shown the reason too, which is a sentence."""

    def __init__(self, kind: FaultKind, reason: str) -> None:
        super().__init__(reason)
        self.fault = Fault(kind, reason)


def complete_text(answer: Answer) -> str:
    """The text of a complete answer; raises AnswerFault where it was declined, cut off, or is empty."""
    if answer.refusal is not None:
        raise AnswerFault("refusal", f"the model declined: {shorten(answer.refusal, 200)}")
    if answer.finish_reason == "content_filter":
        raise AnswerFault("refusal", "the endpoint's content filter held the answer back")
    if answer.finish_reason == "length":
        found = f"the answer was cut off after {answer.completion_tokens} tokens"
        raise AnswerFault("truncated", f"{found}; a shorter one is needed")
    if not answer.content.strip():
        raise AnswerFault("empty", "the answer is empty")
    return answer.content


def json_object(text: str) -> dict[str, Any]:
    """The JSON object that an answer is or holds, in a fenced block, or the first between words; or AnswerFault."""
    fenced = re.search(r"```(?:json)?\s*\n(.*?)```", text, re.DOTALL | re.IGNORECASE)
    candidate = (fenced[1] if fenced else text).strip()
    if "{" in candidate and not candidate.startswith(("{", "[")):
        candidate = candidate[candidate.index("{") :]
        with contextlib.suppress(ValueError, RecursionError):  # parse_json says what is wrong with it
            candidate = candidate[: json.JSONDecoder().raw_decode(candidate)[1]]
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
    """The list under the one `key` of an answer's JSON object; raises AnswerFault where there is none."""
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
    letters = "".join(name.split())
    text = ""
    begins: dict[int, int] = {}
    ends: dict[int, int] = {}
    for index, token in enumerate(tokens):
        begins[len(text)] = index
        text += "".join(token.split())
        ends.setdefault(len(text), index + 1)  # a no-break space is a word without letters, and ends no name
    places = ((match.start(), match.start() + len(letters)) for match in re.finditer(f"(?={re.escape(letters)})", text))
    return [(begins[start], ends[end]) for start, end in places if letters and start in begins and end in ends]


def next_free_span(spans: Sequence[Span], taken: Sequence[Span]) -> Span | None:
    """Which of a name's spans is meant: the first free one behind the last taken, else the first free one.

    The model lists names in the order of the text, so the second "Paris" is the second in the text.
    """
    free = [span for span in spans if all(span[1] <= other[0] or other[1] <= span[0] for other in taken)]
    last = taken[-1][1] if taken else 0
    return next((span for span in free if span[0] >= last), free[0] if free else None)
