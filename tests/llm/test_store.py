"""The store recognises its own files, and survives a process that is killed while it writes."""

from __future__ import annotations

import sqlite3
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest

from promu.errors import InputError
from promu.llm.answers import Answer, AnswerStore

ANSWER = Answer('ja ; "nein" 🦜', None, "stop", 3, 2, False, "m", "http://h", 0.5)


def test_what_is_put_is_got(tmp_path: Path) -> None:
    with AnswerStore(tmp_path / "s") as store:
        assert store.put("k", "{}", ANSWER) == ANSWER
        assert store.put("k", "{}", replace(ANSWER, content="another process was slower")) == ANSWER
    with AnswerStore(tmp_path / "s") as store:
        assert store.get("k") == ANSWER
        assert store.get("other") is None


def test_many_are_looked_up_at_once(tmp_path: Path) -> None:
    with AnswerStore(tmp_path / "s") as store:
        for number in range(0, 60, 2):
            store.put(str(number), "{}", ANSWER)
        assert set(store.get_many([str(number) for number in range(60)])) == {str(n) for n in range(0, 60, 2)}


def test_a_store_survives_a_kill_in_the_middle_of_writing(tmp_path: Path) -> None:
    program = f"""
import os
from pathlib import Path
from promu.llm.answers import Answer, AnswerStore
store = AnswerStore(Path({str(tmp_path / "s")!r}))
for number in range(10):
    store.put(str(number), "{{}}", Answer("yes", None, "stop", 3, 2, False, "m", "h", 0.5))
store._database.execute("BEGIN IMMEDIATE")
store._database.execute("PRAGMA cache_size = 1")
for number in range(10, 3000):
    store._database.execute("UPDATE answers SET content = 'half' || ?", (number,))
os.kill(os.getpid(), 9)
"""
    assert subprocess.run([sys.executable, "-c", program]).returncode == -9
    with AnswerStore(tmp_path / "s") as store:
        assert len(store.get_many([str(number) for number in range(3000)])) == 10
        answer = store.get("3")
        assert answer is not None and answer.content == "yes"


def test_files_that_are_no_store(tmp_path: Path) -> None:
    (tmp_path / "text").write_text("no database, " * 100)
    with pytest.raises(InputError, match="text: no store of answers, or a damaged one"):
        AnswerStore(tmp_path / "text")
    with sqlite3.connect(tmp_path / "foreign") as database:
        database.execute("CREATE TABLE people (name TEXT)")
    with pytest.raises(InputError, match="foreign: an SQLite file, but no store of answers"):
        AnswerStore(tmp_path / "foreign")
    with sqlite3.connect(tmp_path / "foreign") as database:
        assert [row[0] for row in database.execute("SELECT name FROM sqlite_master")] == ["people"]
    AnswerStore(tmp_path / "newer").close()
    with sqlite3.connect(tmp_path / "newer") as database:
        database.execute("PRAGMA user_version = 9")
    with pytest.raises(InputError, match="newer: a store of version 9, this promu reads 1"):
        AnswerStore(tmp_path / "newer")
    with pytest.raises(InputError, match="no such store"):
        AnswerStore(tmp_path / "absent", read_only=True)
    with pytest.raises(InputError, match="no such folder"):
        AnswerStore(tmp_path / "absent" / "s")
    with pytest.raises(InputError, match="the store cannot be used"):
        AnswerStore(tmp_path)
