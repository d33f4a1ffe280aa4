"""`promu graph`, as it is typed."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from tests.graph.examples import POSTS, record, write_posts

from promu.cli import main


@pytest.fixture
def source(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    return write_posts(tmp_path / "out.jsonl", POSTS)


def test_make_and_query(source: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["graph", "out.jsonl", "--to", "sqlite", "--out", "g.sqlite"]) == 0
    said = capsys.readouterr().out
    assert "g.sqlite: 4 entities and 3 relations, merged from 8 spans and 4 extracted relations in 3 posts" in said
    assert "under the graph's own IRI: /per/per/peer (1)" in said

    assert main(["graph", "query", "g.sqlite", "@ann lee"]) == 0
    assert capsys.readouterr().out.splitlines() == [
        "ANN LEE (PER): mentioned 2 times in 2 posts, best score 0.90",
        "  written “ANN LEE” (1), “Ann Lee” (1)",
        "  —/per/per/couple→ @Bob (PER): 2 posts, best score 0.80, Wikidata P26",
        "      “b”: [@Bob] x [ANN LEE] wow",
        "  —/per/org/member_of→ #nasa (ORG): 1 post, best score 0.50, Wikidata P463",
        "      “a”: [Ann Lee] and Bob of [the NASA]",
        "  ←/per/per/peer— @Bob (PER): 1 post, best score 0.40",
        "      “b”: [@Bob] x [ANN LEE] wow",
    ]
    assert main(["graph", "query", "g.sqlite", "ann lee", "--limit", "1"]) == 0
    assert "… and 1 more from it; see --limit" in capsys.readouterr().out
    assert main(["graph", "query", "g.sqlite", "bob"]) == 0
    assert "\n\nbob (LOC): mentioned 1 time in 1 post, best score 0.30\n  no relation\n" in capsys.readouterr().out


def test_a_name_that_no_entity_has(source: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["graph", "out.jsonl", "--to", "sqlite", "--out", "g.sqlite"]) == 0
    capsys.readouterr()
    assert main(["graph", "query", "g.sqlite", "bobb"]) == 1
    assert capsys.readouterr().out.splitlines() == [
        "no entity is called “bobb”",
        "  similar: @Bob (PER), in 2 posts",
        "  similar: bob (LOC), in 1 post",
    ]
    assert main(["graph", "query", "g.sqlite", "bobb", "--type", "ORG", "--json"]) == 1
    assert json.loads(capsys.readouterr().out) == {"name": "bobb", "entities": [], "similar": []}


def test_json(source: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["graph", "out.jsonl", "--to", "sqlite", "--out", "g.sqlite", "--json", "--min-score", "0.5"]) == 0
    made = json.loads(capsys.readouterr().out)
    assert made == {
        "out": "g.sqlite",
        "posts": 3,
        "mentions": 8,
        "entities": 4,
        "evidence": 3,
        "relations": 2,
        "weak": 1,
        "loops": 0,
        "unmapped": {},
        "broken": 0,
    }
    assert main(["graph", "query", "g.sqlite", "nasa", "--json"]) == 0
    (found,) = json.loads(capsys.readouterr().out)["entities"]
    assert found["entity"]["iri"] == "https://promu.example/entity/ORG/nasa"
    (link,) = found["links"]
    assert link["evidence"] == [
        {"post": "a", "tokens": POSTS[0]["tokens"], "head": [0, 2], "tail": [5, 7], "score": 0.5}
    ]


def test_one_file_or_several(source: Path, capsys: pytest.CaptureFixture[str]) -> None:
    write_posts(Path("more.jsonl"), [{**POSTS[0], "id": "d"}])
    assert main(["graph", "out.jsonl", "more.jsonl", "--to", "sqlite", "--out", "g.sqlite"]) == 0
    assert "in 4 posts" in capsys.readouterr().out
    assert main(["graph", "--to", "sqlite", "--out", "g.sqlite"]) == 2
    assert "name what promu extract wrote, one file or several" in capsys.readouterr().err


def test_broken_lines_stop_or_are_left_out(source: Path, capsys: pytest.CaptureFixture[str]) -> None:
    source.write_text("{\n" * 12 + source.read_text(encoding="utf-8"), encoding="utf-8")
    command = ["graph", "out.jsonl", "--to", "ttl", "--out", "g.ttl"]
    assert main(command) == 2
    assert capsys.readouterr().err.startswith("error: out.jsonl:1: not JSON")
    assert not Path("g.ttl").exists()
    assert main([*command, "--broken", "skip"]) == 0
    said = capsys.readouterr()
    assert "note: out.jsonl:1: not JSON" in said.err and "(12 times: lines 1, 2, 3, 4, …)" in said.err
    assert "out.jsonl:2:" not in said.err
    assert "note: 12 lines were left out\n" in said.err and "in 3 posts" in said.out


def test_settings_of_a_user(source: Path, capsys: pytest.CaptureFixture[str]) -> None:
    Path("own.tsv").write_text("/per/per/peer\tP3342\n", encoding="utf-8")
    command = ["graph", "out.jsonl", "--to", "ttl", "--out", "g.ttl", "--properties", "own.tsv"]
    assert main([*command, "--base", "https://example.org/mine/"]) == 0
    text = Path("g.ttl").read_text(encoding="utf-8")
    assert "wdt:P3342 <https://example.org/mine/entity/PER/ann%20lee>" in text and "wdt:P26" not in text
    assert "/per/per/couple (2), /per/org/member_of (1)" in capsys.readouterr().out
    assert main([*command, "--base", "example.org"]) == 2
    assert "the base 'example.org' cannot carry names" in capsys.readouterr().err


def test_a_page(source: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["graph", "out.jsonl", "--to", "sqlite", "--out", "g.sqlite"]) == 0
    assert main(["graph", "view", "g.sqlite", "ann lee", "--out", "page.html"]) == 0
    assert capsys.readouterr().out.endswith("page.html\n")
    assert Path("page.html").read_text(encoding="utf-8").startswith("<!DOCTYPE html>")
    assert main(["graph", "view", "g.sqlite", "bob", "--out", "page.html"]) == 2
    assert "say which with --type" in capsys.readouterr().err
    for words in (["query", "g.sqlite", "x", "--limit", "0"], ["view", "g.sqlite", "x", "--out", "p", "--limit", "0"]):
        assert main(["graph", *words]) == 2
        assert "limit is 0" in capsys.readouterr().err
    assert main(["graph", "query", "out.jsonl", "x"]) == 2
    assert "out.jsonl: is not a graph" in capsys.readouterr().err


def test_names_cannot_steer_a_terminal(source: Path, capsys: pytest.CaptureFixture[str]) -> None:
    post = record("\x1b[2J", "Ann Bob", [(0, 1, "PER", 0.5), (1, 2, "PER", 0.5)], (0, 1, "x", 0.5))
    post["tokens"][0] = "Ann\x1b[31m"
    post["entities"][0] |= {"text": "An\nn\x1b[31m", "char_end": 9}
    post["entities"][1] |= {"char_start": 10, "char_end": 13}
    write_posts(source, [post])
    assert main(["graph", "out.jsonl", "--to", "sqlite", "--out", "g.sqlite"]) == 0
    assert main(["graph", "query", "g.sqlite", "bob"]) == 0
    said = capsys.readouterr().out
    assert (
        "\x1b" not in said and r"←x— An\nn\x1b[31m (PER): 1 post" in said and r"“\x1b[2J”: [Ann\x1b[31m] [Bob]" in said
    )
