"""What is read from JSON lines and from Parquet, and how broken lines are named."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from tests.graph.examples import POSTS, record, write_posts

from promu.errors import InputError
from promu.graph.build import read_extractions


def test_a_post_comes_with_its_names_and_places(tmp_path: Path) -> None:
    (number, found), *rest = read_extractions(write_posts(tmp_path / "out.jsonl", POSTS))
    assert number == 1 and len(rest) == 2
    assert found.texts == ("Ann Lee", "Bob", "the NASA") and found.keys == ("ann lee", "bob", "nasa")
    assert found.characters == ((0, 7), (12, 15), (19, 27))
    assert [(one.head, one.tail, one.score) for one in found.post.relations] == [(0, 1, 0.6), (0, 2, 0.5)]


def test_what_the_extractor_writes_is_read(tiny_models: Path, tmp_path: Path) -> None:
    from promu.extraction.extractor import Extractor

    results = [Extractor.from_pretrained(tiny_models)("Ann Lee met Bob, in @Rome  tonight")]
    path = write_posts(tmp_path / "out.jsonl", [result.to_dict() for result in results])
    found = [post for _, post in read_extractions(path)]
    assert [post.post.entities for post in found] == [result.post.entities for result in results]
    assert [post.texts for post in found] == [tuple(entity.text for entity in result.entities) for result in results]
    assert found[0].texts


def test_parquet_says_the_same_and_unknown_columns_do_not_matter(tmp_path: Path) -> None:
    pq.write_table(pa.Table.from_pylist([{**post, "image": "used"} for post in POSTS]), tmp_path / "out.parquet")
    lines = list(read_extractions(write_posts(tmp_path / "out.jsonl", POSTS)))
    assert list(read_extractions(tmp_path / "out.parquet")) == lines


def change(**values: Any) -> dict[str, Any]:
    return {**POSTS[0], **values}


def entity(**values: Any) -> dict[str, Any]:
    return change(entities=[{**POSTS[0]["entities"][0], **values}], relations=[])


TWICE = [{"head": 0, "tail": 1, "type": "x", "score": 0.5}] * 2


@pytest.mark.parametrize(
    ("line", "reason"),
    [
        ("{", "not JSON"),
        ("[]", "a JSON list where JSON lines are expected"),
        ("3", "a JSON object"),
        (
            {"id": "x", "text": "no tokens"},
            "the post lacks tokens, entities, relations; is this what promu extract wrote",
        ),
        (change(entities={}), "entities must be a valid list, found {}"),
        (change(entities=["x"]), "entities[0] must be a mapping"),
        (change(relations="x"), "relations must be a valid list"),
        (change(tokens="words"), "tokens must be a list"),
        (entity(end=99), "span of entities[0] "),
        (entity(text=None), "text of entities[0] must be a string with something in it, found None"),
        (entity(text=" \n"), "entities[0].text is empty"),
        (entity(text="a\0b"), "entities[0].text holds a NUL character"),
        (entity(text="\ud800"), "entities[0].text holds half of a surrogate pair"),
        (entity(text="Bob Lee"), "start and end [0, 2] are the words 'Ann Lee', but its text is 'Bob Lee'"),
        (change(text="Ann Lee", entities=[]), "tokens and text do not agree: token 2 is 'and', but the text ends"),
        (entity(char_end=0), "char_start and char_end of entities[0], [0, 0], are no span of characters"),
        (entity(char_start=None, char_end=None), "entities[0] lacks char_start and char_end"),
        (entity(char_start=True), "entities[0].char_start must be a valid integer, found True"),
        (entity(score=2), "entities[0].score must be a number from 0 to 1"),
        (change(relations=[{"head": 0, "tail": 7, "type": "x"}]), "relations[0].tail is 7, but the post has 3"),
        (change(relations=[{"head": 0, "tail": 0, "type": "x"}]), "links entity 0 to itself"),
        (change(relations=[{"head": 0, "tail": 1, "type": "None"}]), "of type 'None', which means that there is none"),
        (change(relations=TWICE), "relation 1 repeats relation 0"),
        (change(entities=[POSTS[0]["entities"][0]] * 2, relations=[]), "entity 1 repeats entity 0"),
    ],
)
def test_a_broken_line_is_named_or_left_out(tmp_path: Path, line: Any, reason: str) -> None:
    path = write_posts(tmp_path / "out.jsonl", [POSTS[1], POSTS[2]])
    broken = line if isinstance(line, str) else json.dumps(line)
    path.write_text(path.read_text(encoding="utf-8").replace("\n", f"\n{broken}\n", 1), encoding="utf-8")
    with pytest.raises(InputError) as caught:
        list(read_extractions(path))
    assert str(caught.value).startswith(f"{path}:2: ") and reason in str(caught.value)
    problems: list[InputError] = []
    assert [(number, found.post.id) for number, found in read_extractions(path, problems)] == [(1, "b"), (3, "c")]
    assert [str(problem) for problem in problems] == [str(caught.value)]


def test_files_that_are_none(tmp_path: Path) -> None:
    path = tmp_path / "out"
    with pytest.raises(InputError, match="no such file"):
        list(read_extractions(path))
    with pytest.raises(InputError, match="is a folder"):
        list(read_extractions(tmp_path))
    for content, reason in ((b"", "is empty"), (b"PAR1 and no more", "cannot be read as Parquet")):
        path.write_bytes(content)
        with pytest.raises(InputError, match=reason):
            list(read_extractions(path))
    pq.write_table(pa.table({"id": ["a"], "tokens": [["x"]]}), path)
    with pytest.raises(InputError, match="lacks the columns entities, relations"):
        list(read_extractions(path))
    pq.write_table(pa.Table.from_pylist([record("a", "x y", [(0, 1, "PER", 0.5)]), change(id=" ")]), path)
    with pytest.raises(InputError, match="out:2: id is empty"):
        list(read_extractions(path))
