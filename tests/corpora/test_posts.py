"""Posts as JSON lines, for extraction and as predictions."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from promu.corpora.posts import (
    from_text,
    from_tokens,
    post_record,
    read_posts_jsonl,
    write_posts_jsonl,
)
from promu.errors import InputError
from promu.schema import Entity, Post, Relation


def put(tmp_path: Path, *records: object) -> Path:
    path = tmp_path / "posts.jsonl"
    path.write_text("".join(f"{r if isinstance(r, str) else json.dumps(r)}\n" for r in records), encoding="utf-8")
    return path


def test_text_tokens_and_both(tmp_path: Path) -> None:
    path = put(
        tmp_path,
        {"text": "Zorva, tonight", "image": "p.png"},
        {"id": 7, "tokens": ["New York", "!"]},
        {"id": "x", "text": "New  York!", "tokens": ["New", "York!"], "image": None},
    )
    assert [(post, post.text, post.offsets) for post in read_posts_jsonl(path)] == [
        (Post("1", ("Zorva", ",", "tonight"), "p.png"), "Zorva, tonight", ((0, 5), (5, 6), (7, 14))),
        (Post("7", ("New York", "!")), "New York !", ((0, 8), (9, 10))),
        (Post("x", ("New", "York!")), "New  York!", ((0, 3), (5, 10))),
    ]


def test_what_a_prediction_says() -> None:
    plain = from_text("😀 Zorva Li met  Kelmo", "a", "p.png")
    entities = (Entity(1, 3, "PER", 0.75), Entity(4, 5, "PER"))
    post = replace(plain, entities=entities, relations=(Relation(0, 1, "peer", 0.5),))
    assert post_record(post) == {
        "id": "a",
        "text": "😀 Zorva Li met  Kelmo",
        "tokens": ["😀", "Zorva", "Li", "met", "Kelmo"],
        "image": "p.png",
        "entities": [
            {"start": 1, "end": 3, "text": "Zorva Li", "type": "PER", "char_start": 2, "char_end": 10, "score": 0.75},
            {"start": 4, "end": 5, "text": "Kelmo", "type": "PER", "char_start": 16, "char_end": 21},
        ],
        "relations": [{"head": 0, "tail": 1, "type": "peer", "score": 0.5}],
    }


words = st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\t\n\r\0"), min_size=1).filter(
    lambda word: word.strip(" ")
)


@given(
    tokens=st.lists(words, min_size=2, max_size=6),
    type=st.one_of(st.none(), st.just("PER")),
    score=st.one_of(st.none(), st.floats(0, 1)),
    image=st.one_of(st.none(), st.just("folder/p.png")),
)
def test_round_trip(
    tokens: list[str],
    type: str | None,
    score: float | None,
    image: str | None,
    tmp_path_factory: pytest.TempPathFactory,
) -> None:
    entities = (Entity(0, 1, type, score), Entity(0, len(tokens), "LOC", score))
    post = Post("id", tuple(tokens), image, entities, (Relation(1, 0, "r", score),))
    path = tmp_path_factory.getbasetemp() / "posts-round-trip.jsonl"
    write_posts_jsonl(path, [post, from_tokens(tokens)])
    assert read_posts_jsonl(path) == [post, Post("1", tuple(tokens))]


@pytest.mark.parametrize(
    ("record", "sentence"),
    [
        ({"id": "1", "image": "a.png"}, "the post has neither text nor tokens; its keys are: id, image"),
        ({"text": "a", "img": "a.png"}, "unknown key 'img'; allowed are id, text, tokens, image"),
        ({"text": " "}, "text is empty"),
        ({"text": "\u200b"}, "text has no words"),
        ({"tokens": []}, "tokens is an empty list"),
        ({"tokens": ["b", "a"], "text": "a b"}, "token 'a' is not in the text after position 3; drop text or tokens"),
        ({"tokens": ["a"], "entities": [{"start": 0, "end": 2, "type": "X"}]}, "is no span of the 1 words"),
        ({"tokens": ["a"], "entities": [{"start": 0, "type": "X"}]}, r"entities\[0\] lacks end"),
        ({"tokens": ["a"], "entities": {}}, "entities must be a valid list"),
        (
            {"tokens": ["a"], "entities": [{"start": 0, "end": 1, "score": 7}]},
            r"entities\[0\].score must be a number from 0",
        ),
        (
            {"tokens": ["a"], "relations": [{"head": 0, "tail": 1, "type": "r"}]},
            r"relations\[0\].head is 0, but the post",
        ),
        (
            {
                "tokens": ["a"],
                "entities": [{"start": 0, "end": 1}],
                "relations": [{"head": 0, "tail": 0, "type": "r"}],
            },
            "to itself",
        ),
        ('["a"]', "a JSON list where JSON lines are expected"),
        ('"a"', "a JSON object .* is expected, found 'a'"),
        ("{'text': 'a'}", "not JSON"),
    ],
)
def test_malformed(tmp_path: Path, record: object, sentence: str) -> None:
    path = put(tmp_path, {"text": "fine"}, record, {"text": "fine"})
    with pytest.raises(InputError, match=sentence) as caught:
        read_posts_jsonl(path)
    assert (caught.value.path, caught.value.line) == (str(path), 2)
    problems: list[InputError] = []
    assert [post.id for post in read_posts_jsonl(path, problems)] == ["1", "3"]
    assert [str(problem) for problem in problems] == [str(caught.value)]
