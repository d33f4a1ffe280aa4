"""MNRE lines."""

from __future__ import annotations

import json
import unicodedata
from dataclasses import replace
from pathlib import Path
from typing import Literal

import pytest
from hypothesis import given
from hypothesis import strategies as st

from promu.corpora.mnre import mnre_notes, read_mnre, relation_types, write_mnre
from promu.errors import InputError
from promu.schema import NO_RELATION, Entity, Post, Relation

GOOD: dict[str, object] = {
    "token": ["Bill", "Cosby", "'s", "star"],
    "h": {"name": "star", "pos": [3, 4]},
    "t": {"name": "Bill Cosby", "pos": [0, 2]},
    "img_id": "a_1.jpg",
    "relation": "/misc/per/of",
}


def put(tmp_path: Path, *lines: object) -> Path:
    path = tmp_path / "mnre.txt"
    path.write_text("".join(f"{line if isinstance(line, str) else repr(line)}\n" for line in lines), encoding="utf-8")
    return path


@pytest.mark.parametrize(("split", "posts", "none"), [("train", 12247, 7744), ("val", 1624, 1000), ("test", 1614, 974)])
@pytest.mark.slow
def test_published_files(shared: Path, tmp_path: Path, split: str, posts: int, none: int) -> None:
    path = shared / "data" / "mnre" / f"mnre_{split}.txt"
    read = read_mnre(path)
    assert len(read) == posts
    assert sum(post.relations[0].type == NO_RELATION for post in read) == none
    write_mnre(tmp_path / "copy.txt", read)
    assert (tmp_path / "copy.txt").read_bytes() == path.read_bytes()


def test_a_line(tmp_path: Path) -> None:
    assert read_mnre(put(tmp_path, GOOD, {**GOOD, "relation": "None"})) == [
        Post(
            "a_1",
            ("Bill", "Cosby", "'s", "star"),
            "a_1.jpg",
            (Entity(3, 4, "misc"), Entity(0, 2, "per")),
            (Relation(0, 1, "/misc/per/of"),),
        ),
        Post(
            "a_1",
            ("Bill", "Cosby", "'s", "star"),
            "a_1.jpg",
            (Entity(3, 4, None), Entity(0, 2, None)),
            (Relation(0, 1, NO_RELATION),),
        ),
    ]


@pytest.mark.parametrize(
    ("line", "sentence"),
    [
        ({**GOOD, "h": {"name": "star", "pos": [3, 5]}}, r"h.pos \[3, 5\] is no span of the 4 words"),
        ({**GOOD, "h": {"name": "star", "pos": [3]}}, "h.pos must be two integers"),
        ({**GOOD, "h": {"name": "star", "pos": [3, True]}}, "h.pos must be two integers"),
        ({**GOOD, "h": {"name": "star", "pos": "34"}}, "h.pos must be two integers"),
        ({**GOOD, "t": {"name": "Bill Cosby", "pos": [0, 1]}}, "but the words at .0, 1. are 'Bill'"),
        ({**GOOD, "t": {"name": "star", "pos": [3, 4]}}, "head and tail are the same span"),
        ({**GOOD, "t": {"name": "Bill Cosby"}}, "t lacks pos; its keys are: name"),
        ({**GOOD, "t": None}, "t must be a mapping"),
        ({**GOOD, "token": []}, "token is an empty list"),
        ({**GOOD, "token": ["a", "", "b", "star"]}, "token.1. is empty"),
        ({**GOOD, "token": "abcd"}, "token must be a list, found"),
        ({**GOOD, "token": [1, 2, 3, 4]}, "token.0. must be a valid string"),
        ({**GOOD, "relation": 3}, "relation must be a string, found 3; no relation is 'None' or null"),
        (repr(GOOD)[:-1] + ", 'relation': 'None'}", "the key 'relation' is there twice; keep one of them"),
        (json.dumps(GOOD)[:-1] + ', "h": null}', "the key 'h' is there twice; keep one of them"),
        ('{"token": [', "not JSON"),
        ({**GOOD, "relation": "peer"}, "neither None nor of the form /head/tail/name"),
        ({**GOOD, "img_id": "../a.jpg"}, "plain file name"),
        ({**GOOD, "extra": 1}, "unknown key 'extra'"),
        ({"token": ["a"]}, "lacks h, t, img_id, relation; its keys are: token"),
        ("[1, 2]", "a list where one dictionary"),
        ("{'token': [", r"not a Python literal \(SyntaxError\); is the line complete"),
        ("__import__('os').system('true')", "not a Python literal"),
        ("{" * 15_000, "not a Python literal"),
        (repr(GOOD)[:-1] + ", 'x': null}", "not a Python literal: 'null' stands without quotes; Python writes None"),
        ("'" + "x" * 30_000 + "'", "the line has 30,002 characters, more than 20,000"),
        ("{'token': 9" + "9" * 10_000 + "}", "not a Python literal"),
    ],
)
def test_malformed(tmp_path: Path, line: object, sentence: str) -> None:
    path = put(tmp_path, GOOD, line, GOOD)
    with pytest.raises(InputError, match=sentence) as caught:
        read_mnre(path)
    assert (caught.value.path, caught.value.line) == (str(path), 2)
    problems: list[InputError] = []
    assert len(read_mnre(path, problems)) == 2
    assert [str(problem) for problem in problems] == [str(caught.value)]


def test_json_lines_and_json_lists(tmp_path: Path) -> None:
    """Escaped emoji, null for no relation, one object a line or all in one list."""
    first = {**GOOD, "token": ["Bill", "Cosby", "😀", "star"]}
    second: dict[str, object] = {**first, "relation": None}
    expected = read_mnre(put(tmp_path, first, {**first, "relation": "None"}))
    assert "\\ud83d\\ude00" in json.dumps(first)
    for lines in ([json.dumps(first), json.dumps(second)], [json.dumps([first, second], indent=1)]):
        path = put(tmp_path, *lines)
        assert read_mnre(path) == expected
        assert mnre_notes(path) == ["relations are null, and read as None (1)"]


@pytest.mark.parametrize(("name", "words"), [("NFC", "NFD"), ("NFD", "NFC")])
def test_names_in_another_normal_form_are_read_and_noted(
    tmp_path: Path, name: Literal["NFC", "NFD"], words: Literal["NFC", "NFD"]
) -> None:
    token = [unicodedata.normalize(words, "Björn"), "Lee", "sings"]
    h, t = {"name": unicodedata.normalize(name, "Björn Lee"), "pos": [0, 2]}, {"name": "sings", "pos": [2, 3]}
    path = put(tmp_path, {**GOOD, "token": token, "h": h, "t": t})
    assert read_mnre(path)[0].words(Entity(0, 2, None)) == " ".join(token[:2])
    assert mnre_notes(path) == [f"names are {name} where their words are {words}, and read as these words (1)"]


def test_relation_types() -> None:
    assert relation_types("/per/org/member_of") == ("per", "org")
    assert relation_types(NO_RELATION) == (None, None)


def test_a_prediction_replaces_the_relation_alone(tmp_path: Path) -> None:
    (gold,) = read_mnre(put(tmp_path, GOOD))
    write_mnre(tmp_path / "out.txt", [replace(gold, relations=(Relation(0, 1, NO_RELATION, 0.9),))])
    (read,) = read_mnre(tmp_path / "out.txt")
    assert read.relations == (Relation(0, 1, NO_RELATION),)
    assert [(entity.start, entity.end, entity.type) for entity in read.entities] == [(3, 4, None), (0, 2, None)]


def test_a_post_with_several_relations_becomes_several_lines(tmp_path: Path) -> None:
    entities = (Entity(0, 1, "per"), Entity(1, 2, "per"), Entity(2, 3, "org"))
    relations = (Relation(0, 1, "/per/per/peer"), Relation(1, 2, "/per/org/member_of"))
    write_mnre(tmp_path / "out.txt", [Post("p", ("A", "B", "C"), "p.jpg", entities, relations)])
    assert [post.relations[0].type for post in read_mnre(tmp_path / "out.txt")] == [r.type for r in relations]


@pytest.mark.parametrize(
    ("post", "sentence"),
    [
        (Post("p", ("A", "B"), "p.jpg"), "every entity must be in a relation"),
        (Post("p", ("A", "B"), None, (Entity(0, 1, "x"), Entity(1, 2, "x")), (Relation(0, 1, "/x/x/r"),)), "image"),
        (
            Post("p", ("A", "B"), "p.jpg", (Entity(0, 1, "x"), Entity(1, 2, "x")), (Relation(0, 1, "r"),)),
            "neither None",
        ),
    ],
)
def test_what_the_format_cannot_hold_is_refused(tmp_path: Path, post: Post, sentence: str) -> None:
    with pytest.raises(InputError, match=sentence):
        write_mnre(tmp_path / "out.txt", [post])
    assert list(tmp_path.iterdir()) == []


words = st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\t\n\r\0"), min_size=1).filter(
    lambda word: word.strip(" ")
)


@given(
    tokens=st.lists(words, min_size=2, max_size=6),
    label=st.sampled_from([NO_RELATION, "/per/org/member_of"]),
    suffix=st.sampled_from([".jpg", ".png", ""]),
)
def test_round_trip(tokens: list[str], label: str, suffix: str, tmp_path_factory: pytest.TempPathFactory) -> None:
    types = relation_types(label)
    entities = (Entity(1, len(tokens), types[0]), Entity(0, 1, types[1]))
    post = Post("img_1", tuple(tokens), f"img_1{suffix}", entities, (Relation(0, 1, label),))
    path = tmp_path_factory.getbasetemp() / "mnre-round-trip.txt"
    write_mnre(path, [post, post])
    assert read_mnre(path) == [post, post]
