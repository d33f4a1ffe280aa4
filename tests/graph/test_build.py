"""Merging and counting, by hand and for any posts."""

from __future__ import annotations

import random
import tempfile
import tracemalloc
from collections import Counter
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tests.graph.examples import COUPLE, MEMBER, PEER, POSTS, Record, make_graph, posts, record, rows, write_posts

from promu.errors import InputError
from promu.graph.build import build_graph
from promu.graph.names import normalise_name, read_relation_properties

RELATIONS = (
    "SELECT head.name, label, tail.name, relations.mentions, relations.posts, relations.score, property FROM relations"
    " JOIN entities AS head ON head.id = head JOIN entities AS tail ON tail.id = tail"
)


def test_a_graph_by_hand(tmp_path: Path) -> None:
    graph = make_graph(tmp_path, POSTS)
    assert set(rows(graph, "SELECT name, key, type, mentions, posts, score FROM entities")) == {
        ("ANN LEE", "ann lee", "PER", 2, 2, 0.9),  # as often as Ann Lee, and before it in code points
        ("@Bob", "bob", "PER", 2, 2, 0.95),
        ("#nasa", "nasa", "ORG", 3, 2, 0.7),
        ("bob", "bob", "LOC", 1, 1, 0.3),
    }
    assert set(rows(graph, "SELECT key, form, forms.mentions FROM forms JOIN entities ON entities.id = entity")) == {
        ("ann lee", "Ann Lee", 1),
        ("ann lee", "ANN LEE", 1),
        ("bob", "Bob", 1),
        ("bob", "@Bob", 1),
        ("bob", "bob", 1),
        ("nasa", "the NASA", 1),
        ("nasa", "#nasa", 1),
        ("nasa", "Nasa", 1),
    }
    wikidata = "http://www.wikidata.org/prop/direct/"
    assert set(rows(graph, RELATIONS)) == {
        ("ANN LEE", COUPLE, "@Bob", 2, 2, 0.8, f"{wikidata}P26"),
        ("ANN LEE", MEMBER, "#nasa", 1, 1, 0.5, f"{wikidata}P463"),
        ("@Bob", PEER, "ANN LEE", 1, 1, 0.4, "https://promu.example/relation/per/per/peer"),
    }
    places = (
        "head_start, head_end, tail_start, tail_end, head_char_start, head_char_end, tail_char_start, tail_char_end"
    )
    evidence = rows(graph, f"SELECT name, {places}, score FROM evidence JOIN posts ON posts.id = post")
    assert set(evidence) == {
        ("a", 0, 2, 3, 4, 0, 7, 12, 15, 0.6),
        ("a", 0, 2, 5, 7, 0, 7, 19, 27, 0.5),
        ("b", 2, 4, 0, 1, 7, 14, 0, 4, 0.8),
        ("b", 0, 1, 2, 4, 0, 4, 7, 14, 0.4),
    }
    assert rows(graph, "SELECT name, tokens FROM posts ORDER BY name")[1:] == [
        ("b", '["@Bob", "x", "ANN", "LEE", "wow"]'),
        ("c", None),  # evidence for nothing, so its words are not kept
    ]


def test_two_tellings_in_one_post_are_two_mentions_and_one_post(tmp_path: Path) -> None:
    twice = record(
        "x",
        "Ann Bob ann BOB",
        [(index, index + 1, "PER", None) for index in range(4)],
        (0, 1, PEER, 0.2),
        (2, 3, PEER, 0.3),
        (0, 2, PEER, None),
    )
    source = write_posts(tmp_path / "out.jsonl", [twice])
    summary = build_graph([source], tmp_path / "g", "sqlite", properties={})
    assert set(rows(tmp_path / "g", RELATIONS.replace(", property", ""))) == {
        ("Ann", PEER, "BOB", 2, 1, 0.3),
        ("Ann", PEER, "Ann", 1, 1, None),
    }
    assert (summary.mentions, summary.entities, summary.evidence, summary.relations) == (4, 2, 3, 2)
    assert summary.loops == 1 and summary.unmapped == {PEER: 3}


def test_weak_relations_are_counted_and_left_out(tmp_path: Path) -> None:
    source = write_posts(tmp_path / "out.jsonl", POSTS)
    table = read_relation_properties()
    summary = build_graph([source], tmp_path / "g", "sqlite", properties=table, min_score=0.5)
    assert (summary.weak, summary.evidence, summary.relations, summary.unmapped) == (1, 3, 2, {})
    assert rows(tmp_path / "g", "SELECT min(score) FROM evidence") == [(0.5,)]
    build_graph([source], tmp_path / "g", "sqlite", properties=table, min_score=0.7)
    assert rows(tmp_path / "g", "SELECT name FROM posts WHERE tokens IS NOT NULL") == [("b",)]


def test_an_id_that_stands_twice_is_a_broken_line(tmp_path: Path) -> None:
    source = write_posts(tmp_path / "out.jsonl", [*POSTS, POSTS[0]])
    with pytest.raises(InputError, match=r"out.jsonl:4: a post with the id 'a' came before; give each post an id"):
        build_graph([source], tmp_path / "g", "sqlite", properties={})
    problems: list[InputError] = []
    assert build_graph([source], tmp_path / "g", "sqlite", properties={}, problems=problems).posts == 3
    assert rows(tmp_path / "g", "PRAGMA integrity_check") == [("ok",)]
    assert rows(tmp_path / "g", "SELECT sum(mentions) FROM entities") == [(8,)]
    assert [problem.line for problem in problems] == [4]


def test_files_that_number_different_posts_alike_go_together_by_their_names(tmp_path: Path) -> None:
    other = [{**post, "tokens": [*post["tokens"], "!"]} for post in POSTS]
    first = write_posts(tmp_path / "first.jsonl", POSTS)
    second = write_posts(tmp_path / "second.jsonl", other)
    with pytest.raises(InputError, match=r"second.jsonl:1: a post with the id 'a' came before; .*ids_by_file="):
        build_graph([first, second], tmp_path / "g", "sqlite", properties={})
    assert build_graph([first, second], tmp_path / "g", "sqlite", properties={}, ids_by_file=True).posts == 6
    ids = [name for (name,) in rows(tmp_path / "g", "SELECT name FROM posts ORDER BY name")]
    assert ids == ["first:a", "first:b", "first:c", "second:a", "second:b", "second:c"]
    (tmp_path / "more").mkdir()
    same = write_posts(tmp_path / "more" / "first.jsonl", other)
    build_graph([first, same], tmp_path / "g", "sqlite", properties={}, ids_by_file=True)
    assert (f"{same}:a",) in rows(tmp_path / "g", "SELECT name FROM posts")
    with pytest.raises(InputError, match="came before"):  # within one file nothing helps
        build_graph([first, first], tmp_path / "g", "sqlite", properties={}, ids_by_file=True)


def content(path: Path) -> dict[str, Counter[tuple[object, ...]]]:
    """All that a graph says, without the numbers of its rows."""
    ends = "JOIN entities AS head ON head.id = head JOIN entities AS tail ON tail.id = tail"
    queries = {
        "entities": "SELECT iri, name, key, type, mentions, posts, score FROM entities",
        "forms": "SELECT iri, form, forms.mentions FROM forms JOIN entities ON entities.id = entity",
        "relations": "SELECT relations.iri, head.iri, label, property, tail.iri, relations.mentions, relations.posts,"
        f" relations.score FROM relations {ends}",
        "evidence": "SELECT iri, name, head_start, tail_start, head_char_start, tail_char_end, evidence.score"
        " FROM evidence JOIN relations ON relations.id = relation JOIN posts ON posts.id = post",
        "posts": "SELECT name, tokens FROM posts",
    }
    return {name: Counter(rows(path, query)) for name, query in queries.items()}


@given(posts(), st.randoms(use_true_random=False))
@settings(max_examples=25)
def test_the_order_of_posts_makes_no_difference(found: list[Record], order: random.Random) -> None:
    with tempfile.TemporaryDirectory() as name:
        first = content(make_graph(Path(name), found))
        order.shuffle(found)
        assert content(make_graph(Path(name), found)) == first


@given(posts())
@settings(max_examples=25)
def test_counts_in_are_counts_out(found: list[Record]) -> None:
    spans = [(normalise_name(one["text"]), one["type"], one["text"]) for post in found for one in post["entities"]]
    told = [link for post in found for link in post["relations"]]
    with tempfile.TemporaryDirectory() as name:
        graph = make_graph(Path(name), found)
        assert rows(graph, "SELECT count(*), total(mentions) FROM entities") == [
            (len({span[:2] for span in spans}), len(spans))
        ]
        forms = rows(graph, "SELECT key, type, form, forms.mentions FROM forms JOIN entities ON entities.id = entity")
        assert {tuple(form): count for *form, count in forms} == Counter(spans)
        assert rows(graph, "SELECT count(*) FROM evidence") == rows(graph, "SELECT total(mentions) FROM relations")
        assert Counter(rows(graph, "SELECT label, evidence.score FROM evidence JOIN relations ON id = relation")) == (
            Counter((link["type"], link["score"]) for link in told)
        )
        assert rows(graph, "SELECT count(*) FROM posts") == [(len(found),)]


def test_memory_grows_with_what_is_distinct_and_not_with_posts(tmp_path: Path) -> None:
    def peak(number: int) -> int:
        words = " ".join(["Ann", *("word" * 20 for _ in range(40))])
        same = ({**record("x", words, [(0, 1, "PER", 0.5)]), "id": str(index)} for index in range(number))
        source = write_posts(tmp_path / "out.jsonl", list(same))
        tracemalloc.start()
        build_graph([source], tmp_path / "g", "ttl", properties={})
        _, highest = tracemalloc.get_traced_memory()
        tracemalloc.stop()
        return highest

    peak(10)  # what is made once
    few, many = peak(50), peak(250)
    assert (tmp_path / "out.jsonl").stat().st_size > 600_000
    assert many < few + 100_000  # of which Python keeps some for its next tuples
