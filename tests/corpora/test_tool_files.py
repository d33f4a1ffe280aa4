"""Files of annotation tools that contradict themselves: refused with both readings, whatever says it twice."""

from __future__ import annotations

import json
import unicodedata
from pathlib import Path
from typing import Any

import pytest

import promu
from promu.corpora.formats import FORMATS
from promu.errors import InputError, Problems
from promu.schema import Post

TEXT = "Ann met Bob in Rome"
TOKENS = [
    {"text": word, "start": start, "end": start + len(word), "id": number}
    for number, (word, start) in enumerate(zip(TEXT.split(), (0, 4, 8, 12, 15), strict=True))
]
ANN: dict[str, Any] = {"start": 0, "end": 3, "label": "PER"}


def task(*results: dict[str, Any]) -> list[Any]:
    return [{"id": 1, "data": {"text": TEXT}, "annotations": [{"result": list(results)}]}]


def labelled(start: int, end: int, text: str) -> dict[str, Any]:
    return {"id": "a", "type": "labels", "value": {"start": start, "end": end, "text": text, "labels": ["PER"]}}


def related(head: int, **first: Any) -> dict[str, Any]:
    ends = {"head_span": {**ANN, **first}, "child_span": {"start": 15, "end": 19, "label": "LOC"}}
    return {"text": TEXT, "tokens": TOKENS, "spans": [ANN], "relations": [{"head": head, "label": "in", **ends}]}


BOB = "'Bob' is said to be at [0, 3], where the text is 'Ann'"
CONTRADICTIONS: list[tuple[str, Any, str]] = [
    ("spans", {"text": TEXT, "spans": [{**ANN, "text": "Bob"}]}, BOB),
    ("doccano", {"text": TEXT, "entities": [{**ANN, "type": "LOC"}]}, "label is 'PER', but type is 'LOC'"),
    ("doccano", {"text": TEXT, "entities": [{**ANN, "start_offset": 4}]}, "start is 0, but start_offset is 4"),
    ("doccano", {"text": TEXT, "spans": [ANN], "entities": [ANN]}, "spans and entities all mark spans"),
    ("doccano", {"text": TEXT, "label": [[0, 99, "PER"]]}, "[0, 99] of the span 'Ann met Bob in Rome' is no span"),
    ("doccano", {"text": TEXT, "tokens": ["Ann", "hit"], "entities": []}, "token 1 is 'hit', but the text goes on"),
    ("doccano", {"text": TEXT, "entities": [{**ANN, "id": []}]}, "id of entities[0] must be a number or a string"),
    (
        "doccano",
        {
            "text": TEXT,
            "entities": [{**ANN, "id": 1}, {"id": 1, "start": 15, "end": 19, "label": "LOC"}],
            "relations": [{"from_id": 1, "to_id": 1, "type": "in"}],
        },
        "relation 'in' names 1, which 2 spans are called",
    ),
    ("label-studio", task(labelled(0, 3, "Bob")), BOB),
    ("label-studio", task({"type": "relation", "from_id": [], "to_id": "a"}), "needs from_id and to_id"),
    ("prodigy", {"text": TEXT, "spans": [{**ANN, "text": "Bob"}]}, "'Bob' is said to be at [0, 3]"),
    ("prodigy", {"text": TEXT, "tokens": TOKENS, "spans": [{**ANN, "token_end": 2}]}, "but token_end is word 2"),
    ("prodigy", {"text": TEXT, "tokens": TOKENS, "spans": [{**ANN, "token_end": 9}]}, "token_end is word 9 of 5"),
    ("prodigy", {"text": TEXT, "tokens": [{**TOKENS[0], "text": "Bob"}]}, "its text is 'Bob', but at [0, 3] is 'Ann'"),
    ("prodigy", {"text": TEXT, "tokens": TOKENS[1:]}, "its words leave out 'Ann' of the text at [0, 4]"),
    ("prodigy", related(2), "head is word 2, at [8, 11], but head_span is at [0, 3]"),
    ("prodigy", related(0, start=[0]), "end 0 of relations[0] must have start and end in characters"),
    ("brat", "T1\tPER 0 3\tBob\n", BOB),
    ("brat", "T1\tPER 0 3\nT1\tLOC 15 19\nR1\tin Arg1:T1 Arg2:T1\n", "names 'T1', which 2 spans are called"),
]  # fmt: skip


def written(folder: Path, format: str, content: Any) -> Path:
    if format == "brat":
        (folder / "a.txt").write_text(TEXT, encoding="utf-8")
        (folder / "a.ann").write_text(content, encoding="utf-8")
        return folder / "a.txt"
    (folder / "a").write_text(json.dumps(content) + "\n", encoding="utf-8")
    return folder / "a"


@pytest.mark.parametrize(("format", "content", "reason"), CONTRADICTIONS)
def test_what_contradicts_itself_is_refused_with_both_readings(
    format: str, content: Any, reason: str, tmp_path: Path
) -> None:
    path = written(tmp_path, format, content)
    problems = Problems()
    assert FORMATS[format].read(path, problems) == []
    assert reason in str(problems[0]) and problems[0].line is not None
    with pytest.raises(InputError):
        promu.convert(path, tmp_path / "out.jsonl", format, "posts")
    assert not (tmp_path / "out.jsonl").exists()


@pytest.mark.parametrize("format", ["posts", "doccano", "prodigy"])
def test_a_name_in_another_normal_form_is_the_same_name(format: str, tmp_path: Path) -> None:
    text = unicodedata.normalize("NFD", "José met Bob")
    ends = {"char_start": 0, "char_end": 5, "type": "PER"} if format == "posts" else {**ANN, "end": 5}
    name = "entities" if format != "prodigy" else "spans"
    path = written(tmp_path, format, {"text": text, name: [{**ends, "text": "José"}]})
    (post,) = FORMATS[format].read(path, None)
    assert unicodedata.normalize("NFC", post.words(post.entities[0])) == "José"


def read(folder: Path, format: str, content: Any) -> Post:
    (post,) = FORMATS[format].read(written(folder, format, content), None)
    assert isinstance(post, Post)
    return post


def test_words_and_further_keys_that_a_tool_writes_are_kept(tmp_path: Path) -> None:
    words = {"text": "Ann-Lee", "tokens": ["Ann", "-", "Lee"], "spans": [ANN], "likes": 3}
    assert read(tmp_path, "spans", words).tokens == ("Ann", "-", "Lee")
    assert read(tmp_path, "spans", words).extra == {"likes": 3}
    marked = {"text": TEXT, "spans": [], "source": "x", "_input_hash": 1, "meta": {"likes": 3}}
    assert read(tmp_path, "prodigy", marked).extra == {"source": "x", "likes": 3}
    minimal = [
        {"id": 1, "tweet": TEXT, "label": [{"start": 0, "end": 3, "labels": ["PER"]}], "likes": 3, "annotator": 1}
    ]
    assert read(tmp_path, "label-studio", minimal).extra == {"likes": 3}


def test_a_key_that_a_format_reads_otherwise_is_left_out_by_name(tmp_path: Path) -> None:
    path = written(tmp_path, "posts", {"text": TEXT, "label": "glad", "likes": 3})
    result = promu.convert(path, tmp_path / "out.jsonl", "posts", "doccano")
    assert [(one.kind, one.reason) for one in result.left_out] == [
        ("further key", "post '1': doccano has another use for the key label")
    ]
    assert FORMATS["doccano"].read(tmp_path / "out.jsonl", None)[0].extra == {"likes": 3}
