"""Answers of language models in one SQLite file, by the hash of the request, so that no question is paid for twice.

Several threads and processes may use one store; SQLite's own locks keep every answer whole.
"""

from __future__ import annotations

import sqlite3
import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import astuple, dataclass, fields, replace
from pathlib import Path

from promu.errors import InputError

_APPLICATION = 0x70726D75  # "prmu": tells a store from another SQLite file
_VERSION = 1
_BATCH = 500

_TABLE = """
CREATE TABLE answers (
    key TEXT PRIMARY KEY,
    request TEXT NOT NULL,
    content TEXT NOT NULL,
    refusal TEXT,
    finish_reason TEXT NOT NULL,
    prompt_tokens INTEGER NOT NULL,
    completion_tokens INTEGER NOT NULL,
    tokens_estimated INTEGER NOT NULL,
    answered_by TEXT NOT NULL,
    endpoint TEXT NOT NULL,
    seconds REAL NOT NULL,
    asked_at TEXT NOT NULL,
    fault TEXT,
    fault_reason TEXT
)
"""


@dataclass(frozen=True, slots=True)
class Answer:
    """The answer of a model.

    Attributes:
        content: The text; "" where there was none.
        refusal: The model's own words where it declined in the field meant for that.
        finish_reason: `stop`, `length`, `content_filter`, or what else the endpoint says.
        prompt_tokens, completion_tokens: As the endpoint counted them.
        tokens_estimated: The endpoint did not count, so they are estimates.
        answered_by: The model's name as the endpoint gave it, often more exact than the one in the request.
        endpoint: The address that answered.
        seconds: How long it took.
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


class AnswerStore:
    """A file of answers.

    Args:
        path: The SQLite file; made where it does not exist.
        read_only: Change nothing in the file, as in a store that someone else shares; it must exist.

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
        with self._sqlite_errors():
            # isolation_level=None: every statement is a transaction of its own unless BEGIN says otherwise
            self._database = sqlite3.connect(
                address, uri=True, check_same_thread=False, timeout=60, isolation_level=None
            )
        try:
            with self._sqlite_errors():
                self._prepare(read_only)
        except InputError:
            self._database.close()
            raise

    def __enter__(self) -> AnswerStore:
        return self

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
        answers: dict[str, Answer] = {}
        with self._sqlite_errors(), self._lock:
            for start in range(0, len(keys), _BATCH):
                batch = keys[start : start + _BATCH]
                marks = ",".join("?" * len(batch))
                rows = self._database.execute(f"SELECT key, {_COLUMNS} FROM answers WHERE key IN ({marks})", batch)
                for key, *values in rows:
                    answer = Answer(*values)
                    answers[key] = replace(answer, tokens_estimated=bool(answer.tokens_estimated))
        return answers

    def put(self, key: str, request: str, answer: Answer) -> Answer:
        """Store an answer, and return the stored one: that of another process where it was quicker."""
        values = (key, request, *astuple(answer))
        with self._sqlite_errors(), self._lock:
            self._database.execute(
                f"INSERT OR IGNORE INTO answers (key, request, {_COLUMNS}, asked_at) "
                f"VALUES ({','.join('?' * len(values))}, strftime('%Y-%m-%dT%H:%M:%SZ', 'now'))",
                values,
            )
        return self.get(key) or answer

    def mark(self, key: str, fault: str, reason: str) -> None:
        """Write beside an answer why it could not be used."""
        with self._sqlite_errors(), self._lock:
            self._database.execute("UPDATE answers SET fault = ?, fault_reason = ? WHERE key = ?", (fault, reason, key))

    def _prepare(self, read_only: bool) -> None:
        execute = self._database.execute
        if not read_only:
            execute("BEGIN IMMEDIATE")  # two processes may open a new file at once
            if not execute("SELECT 1 FROM sqlite_master").fetchone():
                execute(_TABLE)
                execute(f"PRAGMA application_id = {_APPLICATION}")
                execute(f"PRAGMA user_version = {_VERSION}")
            execute("COMMIT")
        if execute("PRAGMA application_id").fetchone()[0] != _APPLICATION:
            raise InputError("an SQLite file, but no store of answers; name another file", self.path)
        version = execute("PRAGMA user_version").fetchone()[0]
        if version != _VERSION:
            raise InputError(
                f"a store of version {version}, this promu reads {_VERSION}; "
                "name another file, or use the promu that made it",
                self.path,
            )

    @contextmanager
    def _sqlite_errors(self) -> Iterator[None]:
        """Turn SQLite's errors into sentences with the file."""
        try:
            yield
        except sqlite3.OperationalError as error:
            raise InputError(
                f"the store cannot be used ({error}); check its permissions and the disk", self.path
            ) from None
        except sqlite3.DatabaseError as error:
            raise InputError(f"no store of answers, or a damaged one ({error}); name another file", self.path) from None
