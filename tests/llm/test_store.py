"""The store knows its own files, and what a process left behind that was killed."""

from __future__ import annotations

import os
import socket
import sqlite3
import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest

from promu.errors import InputError
from promu.llm import answer_store as store_module
from promu.llm.answer_store import LEASE_SECONDS, Answer, Store

ANSWER = Answer('ja ; "nein" 🦜', None, "stop", 3, 2, False, "m", "http://h", 0.5)


def claim_of(path: Path, host: str, pid: int, since: float) -> None:
    with sqlite3.connect(path) as database:
        database.execute("INSERT OR REPLACE INTO claims VALUES ('k', ?, ?, ?)", (host, pid, since))


def test_what_is_put_is_got(tmp_path: Path) -> None:
    with Store(tmp_path / "s") as store:
        assert store.claim("k", threading.Event()) is None
        store.put("k", "{}", ANSWER)
    with Store(tmp_path / "s") as store:
        assert store.claim("k", threading.Event()) == store.get("k") == ANSWER
        assert store.get("other") is None
        assert store.count() == 1


def test_many_are_looked_up_at_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(store_module, "_BATCH", 7)
    with Store(tmp_path / "s") as store:
        for number in range(0, 60, 2):
            store.put(str(number), "{}", ANSWER)
        assert set(store.get_many([str(number) for number in range(60)])) == {str(n) for n in range(0, 60, 2)}


def test_the_claim_of_a_dead_process_is_taken_over(tmp_path: Path) -> None:
    dead = subprocess.Popen([sys.executable, "-c", ""])
    dead.wait()
    with Store(tmp_path / "s") as store:
        claim_of(tmp_path / "s", socket.gethostname(), dead.pid, time.time())
        assert store.claim("k", threading.Event()) is None


@pytest.mark.parametrize("host", [socket.gethostname(), "elsewhere"])
def test_the_claim_of_a_living_process_is_waited_for(tmp_path: Path, host: str) -> None:
    with Store(tmp_path / "s") as store:
        claim_of(tmp_path / "s", host, os.getpid(), time.time())
        threading.Timer(0.1, lambda: store.put("k", "{}", ANSWER)).start()
        assert store.claim("k", threading.Event()) == ANSWER
        claim_of(tmp_path / "s", host, os.getpid(), time.time())
        stopped = threading.Event()
        with sqlite3.connect(tmp_path / "s") as database:
            database.execute("DELETE FROM answers")
        threading.Timer(0.1, stopped.set).start()
        with pytest.raises(InputError, match="stopped while another process"):
            store.claim("k", stopped)
        claim_of(tmp_path / "s", host, os.getpid(), time.time() - LEASE_SECONDS - 1)
        assert store.claim("k", threading.Event()) is None


def test_a_store_survives_a_kill_in_the_middle_of_writing(tmp_path: Path) -> None:
    program = f"""
import os
from pathlib import Path
from promu.llm.answer_store import Answer, Store
store = Store(Path({str(tmp_path / "s")!r}))
for number in range(10):
    store.put(str(number), "{{}}", Answer("yes", None, "stop", 3, 2, False, "m", "h", 0.5))
store._database.execute("BEGIN IMMEDIATE")
store._database.execute("PRAGMA cache_size = 1")
for number in range(10, 3000):
    store._database.execute("UPDATE answers SET content = 'half' || ?", (number,))
os.kill(os.getpid(), 9)
"""
    assert subprocess.run([sys.executable, "-c", program]).returncode == -9
    with Store(tmp_path / "s") as store:
        assert store.count() == 10
        answer = store.get("3")
        assert answer is not None and answer.content == "yes"


def test_files_that_are_no_store(tmp_path: Path) -> None:
    (tmp_path / "text").write_text("no database, " * 100)
    with pytest.raises(InputError, match="text: no store of answers, or a damaged one"):
        Store(tmp_path / "text")
    with sqlite3.connect(tmp_path / "foreign") as database:
        database.execute("CREATE TABLE people (name TEXT)")
    with pytest.raises(InputError, match="foreign: an SQLite file, but no store of answers"):
        Store(tmp_path / "foreign")
    with sqlite3.connect(tmp_path / "foreign") as database:
        assert [row[0] for row in database.execute("SELECT name FROM sqlite_master")] == ["people"]
    Store(tmp_path / "newer").close()
    with sqlite3.connect(tmp_path / "newer") as database:
        database.execute("PRAGMA user_version = 9")
    with pytest.raises(InputError, match="newer: a store of version 9, this promu reads 1"):
        Store(tmp_path / "newer")
    with pytest.raises(InputError, match="no such store"):
        Store(tmp_path / "absent", read_only=True)
    with pytest.raises(InputError, match="no such folder"):
        Store(tmp_path / "absent" / "s")
    with pytest.raises(InputError, match="the store cannot be used"):
        Store(tmp_path)
