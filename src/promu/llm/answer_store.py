"""Answers of models in one SQLite file, by the hash of what was asked: nothing is paid for twice.

Several threads and processes may fill one store. Who is about to ask claims the request; who finds a claim waits for
the answer. The claim of a process that has died, or is older than `LEASE_SECONDS`, is taken over.
"""

from __future__ import annotations

import os
import socket
import sqlite3
import threading
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from promu.errors import InputError

LEASE_SECONDS = 3600.0
"""A claim of this age is taken over, whoever made it (on another machine nobody can tell whether it still runs)."""

_POLL_SECONDS = 0.2
_APPLICATION = 0x70726D75  # "prmu": how a store is told from another SQLite file
_VERSION = 1
_BATCH = 500

_TABLES = """
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
);
CREATE TABLE claims (key TEXT PRIMARY KEY, host TEXT NOT NULL, pid INTEGER NOT NULL, since REAL NOT NULL);
"""


@dataclass(frozen=True, slots=True)
class Answer:
    """What a model said, as it is kept.

    Attributes:
        content: The text; "" where there was none.
        refusal: The model's own words where it declined in the field meant for that.
        finish_reason: `stop`, `length`, `content_filter`, or what else the endpoint says.
        prompt_tokens, completion_tokens: As the endpoint counted them.
        tokens_estimated: The endpoint did not count, so they are estimates.
        answered_by: The model's name as the endpoint gave it, often more exact than the one asked for.
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


_COLUMNS = ", ".join(Answer.__dataclass_fields__)


class Store:
    """A file of answers.

    Args:
        path: The SQLite file; made where it does not exist.
        read_only: Open a store that someone shares without changing anything about it; it must exist.

    Raises:
        InputError: It is no store, of another version, or cannot be opened.
    """

    def __init__(self, path: Path, read_only: bool = False) -> None:
        self.path = path
        self._lock = threading.RLock()
        if not path.absolute().parent.is_dir():
            raise InputError("no such folder to keep the store in; make it first", path.parent)
        if read_only and not path.is_file():
            raise InputError("no such store of answers; check the path", path)
        with self._told():
            address = f"{path.absolute().as_uri()}{'?mode=ro' if read_only else ''}"
            self._database = sqlite3.connect(
                address, uri=True, check_same_thread=False, timeout=60, isolation_level=None
            )
        try:
            with self._told():
                self._prepare(read_only)
        except InputError:
            self._database.close()
            raise

    def __enter__(self) -> Store:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """Close the file."""
        with self._lock:
            self._database.close()

    def get(self, key: str) -> Answer | None:
        """The answer kept under `key`."""
        return self.get_many([key]).get(key)

    def get_many(self, keys: Sequence[str]) -> dict[str, Answer]:
        """The answers that are kept, by key."""
        found: dict[str, Answer] = {}
        with self._told(), self._lock:
            for start in range(0, len(keys), _BATCH):
                part = keys[start : start + _BATCH]
                marks = ",".join("?" * len(part))
                rows = self._database.execute(f"SELECT key, {_COLUMNS} FROM answers WHERE key IN ({marks})", part)
                for key, *fields in rows:
                    found[key] = _answer(fields)
        return found

    def count(self) -> int:
        """How many answers are kept."""
        with self._told(), self._lock:
            return int(self._database.execute("SELECT count(*) FROM answers").fetchone()[0])

    def claim(self, key: str, stopped: threading.Event) -> Answer | None:
        """Wait until the answer is there, or it is ours to ask for.

        Args:
            key: Of the request.
            stopped: Ends the waiting.

        Returns:
            The answer, or None once the request is claimed: then `put` or `release` must follow.

        Raises:
            InputError: `stopped` was set.
        """
        while not stopped.is_set():
            answer = self.get(key)
            if answer is not None or self._try_claim(key):
                return answer
            stopped.wait(_POLL_SECONDS)
        raise InputError("stopped while another process was asking the same")

    def put(self, key: str, request: str, answer: Answer) -> None:
        """Keep an answer and give its claim back, in one transaction."""
        values = (key, request, *(getattr(answer, name) for name in Answer.__dataclass_fields__))
        with self._told(), self._lock, self._transaction():
            self._database.execute(
                f"INSERT OR REPLACE INTO answers (key, request, {_COLUMNS}, asked_at) "
                f"VALUES ({','.join('?' * len(values))}, strftime('%Y-%m-%dT%H:%M:%SZ', 'now'))",
                values,
            )
            self._database.execute("DELETE FROM claims WHERE key = ?", (key,))

    def release(self, key: str) -> None:
        """Give a claim back without an answer."""
        with self._told(), self._lock:
            self._database.execute("DELETE FROM claims WHERE key = ?", (key,))

    def mark(self, key: str, fault: str, reason: str) -> None:
        """Write beside an answer why it could not be used."""
        with self._told(), self._lock:
            self._database.execute("UPDATE answers SET fault = ?, fault_reason = ? WHERE key = ?", (fault, reason, key))

    def _try_claim(self, key: str) -> bool:
        host, pid, now = socket.gethostname(), os.getpid(), time.time()
        with self._told(), self._lock, self._transaction():
            if self._database.execute("SELECT 1 FROM answers WHERE key = ?", (key,)).fetchone():
                return False  # it came between our look and our claim
            row = self._database.execute("SELECT host, pid, since FROM claims WHERE key = ?", (key,)).fetchone()
            if row is not None and now - row[2] < LEASE_SECONDS and (row[0] != host or _alive(row[1])):
                return False
            self._database.execute("INSERT OR REPLACE INTO claims VALUES (?, ?, ?, ?)", (key, host, pid, now))
            return True

    def _prepare(self, read_only: bool) -> None:
        def pragma(name: str) -> int:
            return int(self._database.execute(f"PRAGMA {name}").fetchone()[0])

        if not read_only:
            with self._transaction():
                if not self._database.execute("SELECT 1 FROM sqlite_master").fetchone():
                    for statement in filter(str.strip, _TABLES.split(";")):
                        self._database.execute(statement)
                    self._database.execute(f"PRAGMA application_id = {_APPLICATION}")
                    self._database.execute(f"PRAGMA user_version = {_VERSION}")
        if pragma("application_id") != _APPLICATION:
            raise InputError("an SQLite file, but no store of answers; name another file", self.path)
        if pragma("user_version") != _VERSION:
            raise InputError(
                f"a store of version {pragma('user_version')}, this promu reads {_VERSION}; "
                "name another file, or use the promu that made it",
                self.path,
            )

    @contextmanager
    def _transaction(self) -> Iterator[None]:
        self._database.execute("BEGIN IMMEDIATE")
        try:
            yield
        except BaseException:
            self._database.execute("ROLLBACK")
            raise
        self._database.execute("COMMIT")

    @contextmanager
    def _told(self) -> Iterator[None]:
        """What SQLite complains of, as a sentence with the file."""
        try:
            yield
        except sqlite3.OperationalError as error:
            raise InputError(
                f"the store cannot be used ({error}); check its permissions and the disk", self.path
            ) from None
        except sqlite3.DatabaseError as error:
            raise InputError(f"no store of answers, or a damaged one ({error}); name another file", self.path) from None


def _answer(fields: Sequence[object]) -> Answer:
    values = dict(zip(Answer.__dataclass_fields__, fields, strict=True))
    values["tokens_estimated"] = bool(values["tokens_estimated"])
    return Answer(**values)  # type: ignore[arg-type]


def _alive(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        pass
    return True
