"""What a graph holds of a name."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path
from sqlite3 import Connection

import pytest
from tests.graph.examples import COUPLE, MEMBER, PEER, POSTS, make_graph, record, write_posts

from promu.errors import InputError
from promu.graph.graph_store import between, facts_of, find_entities, open_graph, query_graph, similar_entities


@pytest.fixture
def graph(tmp_path: Path) -> Iterator[Connection]:
    with open_graph(make_graph(tmp_path, POSTS)) as connection:
        yield connection


def test_a_name_is_found_however_it_is_written(graph: Connection) -> None:
    for name in ("Ann Lee", "ann  LEE", "@Ann Lee", "the Ann Lee"):
        (found,) = find_entities(graph, name)
        assert (found.name, found.type, found.mentions, found.posts, found.score) == ("ANN LEE", "PER", 2, 2, 0.9)
    assert [found.type for found in find_entities(graph, "bob")] == ["PER", "LOC"]  # more often a person
    assert [found.type for found in find_entities(graph, "bob", "LOC")] == ["LOC"]
    assert find_entities(graph, "bob", "ORG") == [] == find_entities(graph, "bobb")


def test_relations_go_both_ways_with_the_surest_evidence_first(graph: Connection) -> None:
    facts = facts_of(graph, find_entities(graph, "ann lee")[0], 20)
    assert facts.forms == (("ANN LEE", 1), ("Ann Lee", 1))
    assert (facts.outward, facts.inward) == (2, 1)
    assert [(link.label, link.other.name, link.outward, link.posts, link.score) for link in facts.links] == [
        (COUPLE, "@Bob", True, 2, 0.8),
        (MEMBER, "#nasa", True, 1, 0.5),
        (PEER, "@Bob", False, 1, 0.4),
    ]
    best, second = facts.links[0].evidence
    assert (best.post, best.tokens[2:4], best.head, best.tail, best.score) == ("b", ("ANN", "LEE"), (2, 4), (0, 1), 0.8)
    assert (second.post, second.score) == ("a", 0.6)


def test_no_more_than_was_asked_for(tmp_path: Path) -> None:
    ends = [(0, 1, "PER", 0.5), (1, 2, "PER", 0.5)]
    posts = [record(str(n), f"Hub name{n % 6}", ends, (0, 1, PEER, n / 20)) for n in range(20)]
    with open_graph(make_graph(tmp_path, posts)) as connection:
        facts = facts_of(connection, find_entities(connection, "hub")[0], 2)
        assert [(link.other.name, link.posts) for link in facts.links] == [("name1", 4), ("name0", 4)]
        assert facts.outward == 6
        assert [found.score for found in facts.links[0].evidence] == [0.95, 0.65, 0.35]  # three of four
        hub, other = find_entities(connection, "hub")[0], facts.links[0].other
        assert between(connection, [hub, other]) == [(hub, PEER, other, 4)]


def test_a_relation_with_itself_stands_on_both_sides(tmp_path: Path) -> None:
    post = record("x", "Ann or ANN", [(0, 1, "PER", 0.5), (2, 3, "PER", 0.5)], (0, 1, PEER, 0.5))
    with open_graph(make_graph(tmp_path, [post])) as connection:
        facts = facts_of(connection, find_entities(connection, "ann")[0], 5)
        assert [link.outward for link in facts.links] == [True, False]
        assert facts.links[0].other == facts.entity


def test_names_that_are_near(graph: Connection) -> None:
    assert [found.name for found in similar_entities(graph, "An Lee")] == ["ANN LEE"]
    assert [(found.name, found.type) for found in similar_entities(graph, "bobb")] == [("@Bob", "PER"), ("bob", "LOC")]
    assert [found.type for found in similar_entities(graph, "bobb", "LOC")] == ["LOC"]
    assert similar_entities(graph, "Zorva") == []


def test_the_python_of_the_page_of_documentation_runs(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    page = (Path(__file__).parents[2] / "docs" / "graph.md").read_text(encoding="utf-8")
    (code,) = re.findall(r"```python\n(.*?)```", page, flags=re.DOTALL)
    monkeypatch.chdir(tmp_path)
    ends = [(0, 1, "PER", 0.9), (2, 3, "PER", 0.9)]
    write_posts(tmp_path / "out.jsonl", [record("1", "Zorva and Kelmo", ends, (0, 1, COUPLE, 0.8))])
    exec(code, {})
    assert capsys.readouterr().out == f"Zorva {COUPLE} Kelmo 1 1\n"


def test_one_call_answers_for_a_name(tmp_path: Path) -> None:
    path = make_graph(tmp_path, POSTS)
    answer = query_graph(path, "bob", "PER")
    assert [facts.entity.type for facts in answer.entities] == ["PER"] and answer.similar == ()
    assert [entity.name for entity in query_graph(path, "bobb").similar] == ["@Bob", "bob"]
    with pytest.raises(InputError, match="limit is 0; at least 1 is needed"):
        query_graph(path, "bob", limit=0)
