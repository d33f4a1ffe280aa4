"""A graph is written whole or not at all."""

from __future__ import annotations

import os
import sqlite3
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pyarrow as pa
import pytest
from pyarrow import parquet as pq
from tests.graph.examples import POSTS, make_graph, rows, write_posts

from promu import progress
from promu.errors import InputError
from promu.graph.build import WRITERS, GraphFormat, build_graph
from promu.graph.graph_store import open_graph
from promu.graph.names import read_relation_properties


@pytest.mark.parametrize("to", list(WRITERS))
def test_a_broken_line_leaves_what_was_there(tmp_path: Path, to: GraphFormat) -> None:
    source = write_posts(tmp_path / "out.jsonl", POSTS)
    with source.open("a", encoding="utf-8") as file:
        file.write("{")
    out = tmp_path / "graph"
    if to != "parquet":
        out.write_text("old", encoding="utf-8")
    with pytest.raises(InputError, match=r"out.jsonl:4: not JSON"):
        build_graph([source], out, to, properties={})
    assert sorted(os.listdir(tmp_path)) == sorted(["out.jsonl", "graph"] if to != "parquet" else ["out.jsonl"])
    assert to == "parquet" or out.read_text(encoding="utf-8") == "old"


@pytest.mark.parametrize("to", list(WRITERS))
def test_nothing_else_is_left_and_anybody_may_read_it(tmp_path: Path, to: GraphFormat) -> None:
    out = make_graph(tmp_path, POSTS, to)
    assert sorted(os.listdir(tmp_path)) == sorted([out.name, "out.jsonl"])
    umask = os.umask(0)
    os.umask(umask)
    files = sorted(out.iterdir()) if out.is_dir() else [out]
    assert {file.stat().st_mode & 0o777 for file in files} == {0o666 & ~umask}
    if to != "parquet":
        assert make_graph(tmp_path, POSTS[:1], to) == out  # written over
    else:
        assert [file.name for file in files] == ["entities.parquet", "evidence.parquet", "relations.parquet"]


def test_places_that_cannot_be_written_to(tmp_path: Path) -> None:
    source = write_posts(tmp_path / "out.jsonl", POSTS)
    (tmp_path / "folder").mkdir()
    (tmp_path / "other.txt").write_text("other")
    places: list[tuple[str, GraphFormat, str]] = [
        ("folder", "sqlite", "is there already, as a folder"),
        ("folder", "parquet", "is there already, as a folder; remove it or name another place"),
        ("other.txt", "parquet", "is a file, and Parquet needs a folder"),
        ("out.jsonl", "sqlite", "this is what is read from; name another place to write to"),
        ("none/g", "ttl", "no such folder to write to; make it first"),
    ]
    for out, to, reason in places:
        with pytest.raises(InputError, match=reason):
            build_graph([source], tmp_path / out, to, properties={})
    with pytest.raises(InputError, match=r"the lowest score is 1.5; scores are from 0 to 1"):
        build_graph([source], tmp_path / "g", "ttl", properties={}, min_score=1.5)


def test_a_full_disk_is_said(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    class Small(sqlite3.Connection):
        """A database that is full soon."""

        def executescript(self, script: str) -> sqlite3.Cursor:
            cursor = super().executescript(script)
            super().execute("PRAGMA max_page_count = 1")
            return cursor

    connect = sqlite3.connect
    monkeypatch.setattr(
        "promu.graph.build.sqlite3.connect", lambda *args, **more: connect(*args, **more, factory=Small)
    )
    many = [{**POSTS[0], "id": str(index)} for index in range(300)]
    with pytest.raises(InputError, match=r"is full.*make room and run the command again"):
        make_graph(tmp_path, many)
    assert os.listdir(tmp_path) == ["out.jsonl"]


def test_files_that_are_no_graph(tmp_path: Path) -> None:
    path = tmp_path / "graph.sqlite"

    def opened() -> None:
        with open_graph(path):
            pytest.fail("was opened")

    with pytest.raises(InputError, match="no such graph; make one with promu graph"):
        opened()
    path.write_text("not a database, though long enough to be looked at" * 9, encoding="utf-8")
    with pytest.raises(InputError, match=r"is not a graph .file is not a database"):
        opened()
    path.unlink()
    other = sqlite3.connect(path)
    other.execute("CREATE TABLE meta (name, value)")
    other.commit()
    with pytest.raises(InputError, match="is a graph of version None, not 1"):
        opened()
    other.execute("DROP TABLE meta")
    other.commit()
    other.close()
    with pytest.raises(InputError, match=r"is not a graph .no such table"):
        opened()


def test_an_opened_graph_cannot_be_changed(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="readonly"), open_graph(make_graph(tmp_path, POSTS)) as connection:
        connection.execute("DELETE FROM posts")


def test_several_files_are_one_graph(tmp_path: Path) -> None:
    whole = make_graph(tmp_path, POSTS)
    everything = rows(whole, "SELECT name, mentions, posts FROM entities ORDER BY iri")
    first, second = write_posts(tmp_path / "1.jsonl", POSTS[:2]), tmp_path / "2.parquet"
    pq.write_table(pa.Table.from_pylist(POSTS[2:]), second)
    out = tmp_path / "several.sqlite"
    assert build_graph([first, second], out, "sqlite", properties=read_relation_properties()).posts == 3
    assert rows(out, "SELECT name, mentions, posts FROM entities ORDER BY iri") == everything
    third = write_posts(tmp_path / "3.jsonl", [POSTS[2], POSTS[1]])
    with pytest.raises(InputError, match=r"3.jsonl:2: a post with the id 'b' came before; give each post an id"):
        build_graph([first, third], out, "sqlite", properties={})


def test_progress_goes_from_nothing_to_everything(tmp_path: Path) -> None:
    many = [{**POSTS[2], "id": str(number)} for number in range(2500)]
    first, second = write_posts(tmp_path / "1.jsonl", many[:1200]), tmp_path / "2.parquet"
    pq.write_table(pa.Table.from_pylist(many[1200:]), second)
    seen: list[tuple[str, int, int]] = []
    with progress.shown(lambda *step: seen.append(step)):
        build_graph([first, second], tmp_path / "g", "ttl", properties={})
    assert seen == [("merging", done, 2500) for done in (1000, 2200, 2500)]


def test_a_pipe_is_read_once(tmp_path: Path) -> None:
    pipe = tmp_path / "pipe"
    os.mkfifo(pipe)
    text = write_posts(tmp_path / "out.jsonl", POSTS).read_text(encoding="utf-8")
    with ThreadPoolExecutor(1) as pool:
        pool.submit(pipe.write_text, text)
        with progress.shown(lambda *step: None):
            summary = build_graph([pipe], tmp_path / "g", "sqlite", properties={})
    assert summary.posts == 3
