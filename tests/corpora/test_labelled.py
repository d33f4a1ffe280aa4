"""What a task learns from a file: its format by name or suffix, and pairs of entities out of whole posts."""

from __future__ import annotations

import logging
from dataclasses import replace
from itertools import permutations
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from promu.corpora.labelled import from_pairs, read_labelled, task_format, to_pairs, write_labelled
from promu.corpora.mnre import read_mnre, write_mnre
from promu.corpora.posts import write_posts_jsonl
from promu.errors import InputError
from promu.schema import NO_RELATION, Entity, Post, Relation

WORDS = ("Ann", "met", "Bob", "in", "Rome")
PEOPLE = (Entity(0, 1, "PER"), Entity(2, 3, "PER"), Entity(4, 5, "LOC"))
POST = Post("1", WORDS, "1.jpg", PEOPLE, (Relation(0, 1, "met"), Relation(2, 0, "host")))


def test_the_format_is_named_or_told_by_the_suffix_or_the_published_one() -> None:
    assert [task_format(task, "a.txt").name for task in ("ner", "re")] == ["conll", "mnre"]
    assert task_format("joint", "a.json").name == "jmere"
    assert all(task_format(task, "a.jsonl").name == "posts" for task in ("ner", "re", "joint"))
    assert task_format("ner", "a.txt", "posts").name == "posts"
    with pytest.raises(InputError, match=r"a.txt: the task 're' does not learn from .* 'conll'; use mnre, posts"):
        task_format("re", "a.txt", "conll")
    with pytest.raises(InputError, match="unknown format 'brut'"):
        task_format("re", "a.txt", "brut")


def test_every_ordered_pair_is_an_example() -> None:
    pairs = to_pairs([POST])
    assert [(one.relations[0].head, one.relations[0].tail) for one in pairs] == list(permutations(range(3), 2))
    assert [one.relations[0].type for one in pairs] == ["met", "None", "None", "None", "host", "None"]
    assert all(one.entities == PEOPLE and one.image == "1.jpg" for one in pairs)


def test_of_several_relations_of_a_pair_the_first_counts_and_it_is_said(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    entities = (*PEOPLE, Entity(0, 1, "ORG"))
    relations = (Relation(0, 1, "met"), Relation(0, 1, "likes"), Relation(0, 3, "same"))
    write_posts_jsonl(tmp_path / "a.jsonl", [Post("1", WORDS, None, entities, relations)])
    with caplog.at_level(logging.WARNING):
        pairs = read_labelled("re", tmp_path / "a.jsonl")
    assert [one.relations[0].type for one in pairs if one.relations[0].type != NO_RELATION] == ["met"]
    assert len(pairs) == 10, "the two spans of the same words make no pair, either way round"
    assert "a.jsonl: 1 relation cannot be learned: their pair has another, which counts" in caplog.text
    assert "a.jsonl: 1 relation cannot be learned: head and tail are the same words" in caplog.text


def test_posts_without_two_entities_are_no_relation_data(tmp_path: Path) -> None:
    write_posts_jsonl(tmp_path / "a.jsonl", [Post("1", WORDS, None, PEOPLE[:1])])
    with pytest.raises(InputError, match=r"a.jsonl: no post has two entities, so there is no pair"):
        read_labelled("re", tmp_path / "a.jsonl")


def test_mnre_is_read_as_it_is(tmp_path: Path) -> None:
    pair = Post("1", WORDS, "1.jpg", (Entity(0, 1, "per"), Entity(4, 5, "loc")), (Relation(0, 1, "/per/loc/in"),))
    write_mnre(tmp_path / "a.txt", [pair])
    assert read_labelled("re", tmp_path / "a.txt") == read_mnre(tmp_path / "a.txt") == [pair]


@st.composite
def posts(draw: st.DrawFn) -> Post:
    words = tuple(draw(st.lists(st.sampled_from(WORDS), min_size=1, max_size=6)))
    starts = st.integers(0, len(words) - 1)
    spans = draw(st.lists(st.tuples(starts, st.integers(1, 2)), max_size=4))
    entities = tuple(Entity(at, min(len(words), at + size), "PER", 0.5) for at, size in spans)
    allowed = [
        pair
        for pair in permutations(range(len(entities)), 2)
        if (entities[pair[0]].start, entities[pair[0]].end) != (entities[pair[1]].start, entities[pair[1]].end)
    ]
    chosen = draw(st.lists(st.sampled_from(allowed), unique=True)) if allowed else []
    relations = tuple(Relation(*pair, draw(st.sampled_from(["a", "b"])), 0.25) for pair in sorted(chosen))
    return Post(draw(st.sampled_from("12")), words, None, entities, relations)


@given(st.lists(posts(), min_size=1, max_size=4))
def test_pairs_become_the_posts_again_and_read_back_the_same(given: list[Post]) -> None:
    pairs = to_pairs(given)
    whole = from_pairs(pairs)
    assert whole == [post for post in given if to_pairs([post])]
    assert to_pairs(whole) == pairs


def test_predictions_are_written_so_that_they_line_up_with_gold(tmp_path: Path) -> None:
    gold = to_pairs([POST, POST])
    wrong = [replace(one, relations=(replace(one.relations[0], type="met", score=0.5),)) for one in gold]
    write_labelled("re", tmp_path / "p.jsonl", wrong)
    assert read_labelled("re", tmp_path / "p.jsonl") == wrong
