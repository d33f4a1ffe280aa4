"""Posts as JSON lines, for extraction and as predictions."""

from __future__ import annotations

import json
from dataclasses import replace
from itertools import pairwise
from pathlib import Path

import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st
from pyarrow import parquet

from promu.corpora.posts import (
    from_record,
    from_text,
    from_tokens,
    post_record,
    read_posts_jsonl,
    write_posts_jsonl,
)
from promu.corpora.sources import post_notes, read_post_file
from promu.corpora.tokenize import align, visible
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


def test_further_keys_and_nulls(tmp_path: Path) -> None:
    path = put(
        tmp_path,
        {
            "text": "a",
            "id": None,
            "tokens": None,
            "entities": None,
            "lang": None,
            "user": {"n": [1]},
            "far_pairs": 3,
        },
    )
    (post,) = read_posts_jsonl(path)
    assert post == Post("1", ("a",)) and post.extra == {"lang": None, "user": {"n": [1]}}
    assert list(post_record(post)) == ["id", "text", "tokens", "entities", "relations", "lang", "user"]
    write_posts_jsonl(path, [post])
    assert read_posts_jsonl(path)[0].extra == post.extra


TEXT = "Ann met Bob-Lee in  New York"


@pytest.mark.parametrize(
    ("entity", "span"),
    [
        ({"char_start": 0, "char_end": 3}, (0, 1)),
        ({"char_start": 20, "char_end": 28, "text": "New York"}, (4, 6)),
        ({"char_start": 19, "char_end": 28}, (4, 6)),  # a blank too many is no other word
        ({"start": 4, "end": 6, "text": "New  York"}, (4, 6)),
        ({"start": 2, "end": 3, "text": "Bob-Lee", "char_start": 8, "char_end": 15}, (2, 3)),
    ],
)
def test_readings_that_agree(entity: dict[str, object], span: tuple[int, int]) -> None:
    (found,) = from_record({"text": TEXT, "entities": [entity]}).entities
    assert (found.start, found.end) == span


@pytest.mark.parametrize(
    ("record", "sentence"),
    [
        (
            {"entities": [{"start": 0, "end": 3, "text": "Ann", "char_start": 0, "char_end": 3}]},
            "entities[0] contradicts itself: start and end [0, 3] are the words 'Ann met Bob-Lee', but its text is "
            "'Ann' and char_start and char_end [0, 3] give 'Ann'; start and end count words; name characters ",
        ),
        (
            {"entities": [{"start": 1, "end": 2, "text": "Ann"}]},
            "start and end [1, 2] are the words 'met', but its text is 'Ann'; correct one of them",
        ),
        (
            {"entities": [{"start": 0, "end": 1, "char_start": 0, "char_end": 2}]},
            "start and end [0, 1] are the words 'Ann', but char_start and char_end [0, 2] give 'An'",
        ),
        (
            {"entities": [{"char_start": 8, "char_end": 11}]},
            "characters [8, 11] of entities[0] are 'Bob', which is not whole words: the words there are 'Bob-Lee'",
        ),
        ({"entities": [{"char_start": 3, "char_end": 4}]}, "are ' ', which is not whole words: the words there are ''"),
        ({"entities": [{"char_start": 8, "char_end": 99}]}, "[8, 99], are no span of the 28 characters of the text"),
        ({"entities": [{"char_start": 8}]}, "entities[0] has one of char_start and char_end alone"),
        ({"entities": [{"start": 0, "char_start": 0, "char_end": 3}]}, "entities[0] lacks end"),
        (
            {"tokens": ["Ann", "met"]},
            "after the last token the text goes on with 'Bob-Lee in  New York' at character 8",
        ),
        ({"tokens": ["nn", "met"]}, "token 0 is 'nn', but the text goes on with 'Ann met Bob-Lee"),
        ({"tokens": [*TEXT.split(), "!"]}, "token 6 is '!', but the text ends before it"),
        # without a text of its own, characters are compared by their number
        ({"text": None, "tokens": ["Ann", "."], "entities": [{"start": 1, "end": 2, "text": "!"}]}, "its text is '!'"),
        (
            {"text": None, "tokens": ["Ann"], "entities": [{"start": 0, "end": 1, "char_start": 5, "char_end": 7}]},
            "are the words 'Ann', but char_start and char_end [5, 7] are 2 characters",
        ),
        (
            {"text": None, "tokens": ["a", "b"], "entities": [{"start": 1, "end": 2, "char_start": 0, "char_end": 1}]},
            "char_start is 0, before the end of the words in front of it",
        ),
    ],
)
def test_readings_that_disagree_are_both_said(record: dict[str, object], sentence: str) -> None:
    with pytest.raises(InputError) as caught:
        from_record({"text": TEXT, **record})
    assert sentence in caught.value.reason


def test_tokens_in_another_normal_form_are_said_to_be() -> None:
    with pytest.raises(InputError, match=r"token 1 is 'Björn', .* normal form \(NFC there and NFD here\)"):
        from_record({"text": "hi Bjo\u0308rn", "tokens": ["hi", "Bj\u00f6rn"]})


@given(
    pieces=st.lists(st.text(st.characters(exclude_categories=["Cs"]), max_size=4), min_size=1, max_size=8),
    cuts=st.lists(st.integers(1, 12), max_size=6),
)
def test_offsets_of_other_programs_words_are_exact_or_refused(pieces: list[str], cuts: list[int]) -> None:
    """Words cut anywhere out of a text are found where they were; one that is left out or changed is refused."""
    text = " ".join(pieces)
    edges = sorted({0, len(text), *(cut for cut in cuts if cut < len(text))})
    parts = [text[start:end] for start, end in pairwise(edges)]
    words = [word for part in parts for word in part.split(" ") if visible(word)]
    assert [text[start:end] for start, end in align(words, text)] == words
    for index in range(len(words)):
        for other in (
            words[:index] + words[index + 1 :],
            [*words[:index], f"{words[index]}\u4e00", *words[index + 1 :]],
        ):
            with pytest.raises(InputError, match="tokens and text do not agree"):
                align(other, text)


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
        ({"text": "a", "user": "\ud800"}, "'user' holds half of a surrogate pair"),
        ('{"text": "a", "lang": "en", "lang": "de"}', "the key 'lang' is there twice; keep one of them"),
        ({"text": " "}, "text is empty"),
        ({"text": "\u200b"}, "text has no words"),
        ({"tokens": []}, "tokens is an empty list"),
        (
            {"tokens": ["b", "a"], "text": "a b"},
            "token 0 is 'b', but the text goes on with 'a b' at character 0; drop text or tokens",
        ),
        ({"tokens": ["a"], "entities": [{"start": 0, "end": 2, "type": "X"}]}, "is no span of the 1 word"),
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


def test_notes_on_further_keys_and_scripts_without_blanks(tmp_path: Path) -> None:
    path = put(
        tmp_path,
        {"text": "東京で見た", "entites": [], "lang": "ja"},
        {"text": "ประเทศไทย", "lang": "th"},
        {"text": "見た", "tokens": ["見た"]},
    )
    assert post_notes(path) == [
        "'entites' is not read but carried through, in 1 post; was entities meant?",
        "'lang' is not read but carried through, in 2 posts",
        "scripts without blanks (Chinese in 1 post, Japanese in 1 post, Thai in 1 post) are split into characters; "
        "give tokens for whole words",
    ]
    assert [post.tokens for post in read_post_file(path)][::2] == [tuple("東京で見た"), ("見た",)]
    assert from_record({"text": "東京で", "entities": [{"char_start": 0, "char_end": 2}]}).entities == (
        Entity(0, 2, None),
    )


def test_contexts_in_a_table_are_json(tmp_path: Path) -> None:
    table = tmp_path / "posts.csv"
    table.write_text('text,contexts\nAnn,"{""caption"": ""a dog""}"\nBob,\nEve,dog\n', encoding="utf-8")
    problems: list[InputError] = []
    assert [dict(post.contexts) for post in read_post_file(table, problems)] == [{"caption": "a dog"}, {}]
    assert "the column contexts must hold a mapping in JSON, {...}, found 'dog'" in str(problems[0])
    as_json, as_struct = ['{"caption": "a dog"}', None, "dog"], [{"a": "x", "b": None}, {"a": None, "b": "y"}, None]
    for name, column in {"json": as_json, "struct": as_struct}.items():
        rows = {"text": ["Ann", "Bob", "Eve"], "contexts": column}
        parquet.write_table(pa.table(rows), tmp_path / f"{name}.parquet")
    problems.clear()
    found = [dict(post.contexts) for post in read_post_file(tmp_path / "json.parquet", problems)]
    assert found == [{"caption": "a dog"}, {}] and "contexts must be a valid dictionary" in str(problems[0])
    assert [dict(post.contexts) for post in read_post_file(tmp_path / "struct.parquet")] == [{"a": "x"}, {"b": "y"}, {}]
