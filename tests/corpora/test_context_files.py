"""Files of contexts: whose text is whose, what is odd about a file, and what is refused."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from promu import Post
from promu.corpora.context_files import (
    add_contexts,
    append_contexts,
    read_appended,
    read_contexts,
    with_record_contexts,
    write_contexts,
)
from promu.corpora.convert import convert
from promu.corpora.posts import from_record, post_record
from promu.errors import InputError

POSTS = [Post("1", ("Ann", "met", "Bob"), "1.jpg"), Post("2", ("So", "happy"), "2.jpg"), Post("3", ("Hi",))]


def lines(path: Path, records: list[Any]) -> Path:
    path.write_text("".join(json.dumps(record, ensure_ascii=False) + "\n" for record in records), encoding="utf-8")
    return path


def texts(path: Path, posts: list[Post] = POSTS) -> list[str | None]:
    found, _ = add_contexts({"all": posts}, {"x": path})
    return [post.contexts.get("x") for post in found["all"]]


def test_texts_go_to_posts_by_image_by_id_and_by_id_and_words(tmp_path: Path) -> None:
    records = [
        {"image": "1.jpg", "text": "two people"},
        {"id": 2, "text": "a party"},
        {"id": "3", "text": "H i", "knowledge": ["Hi is a greeting.", "It is short."], "state": "answered"},
    ]
    assert texts(lines(tmp_path / "x.jsonl", records)) == ["two people", "a party", "Hi is a greeting.\nIt is short."]
    other = lines(tmp_path / "y.jsonl", [{"id": "3", "text": "Other words", "knowledge": ["No."]}, records[0]])
    assert texts(other) == ["two people", None, None]


def test_what_is_odd_about_a_file_is_counted_and_named(tmp_path: Path) -> None:
    records = [
        {"image": "1.jpg", "text": "two people"},
        {"image": "1.jpg", "text": "two people"},
        {"image": "2.jpg", "text": " \n"},
        *({"image": f"{number}.png", "text": "far away"} for number in range(5)),
    ]
    found, counts = add_contexts({"a": POSTS[:1], "b": POSTS[1:]}, {"x": lines(tmp_path / "x.jsonl", records)})
    assert [len(posts) for posts in found.values()] == [1, 2] and not found["b"][0].contexts
    assert counts["x"].sentence() == (
        "1 of 3 posts have a text; of 6 texts, about no post: 5 ('0.png', '1.png', '2.png', ...); "
        "with an empty text: 1 line; that repeats an earlier one: 1 line"
    )


@pytest.mark.parametrize(
    ("records", "reason"),
    [
        ([{"image": "1.jpg", "text": "a"}, {"image": "1.jpg", "text": "b"}], r"x.jsonl:2: another text about image"),
        ([{"image": "1.jpg", "caption": "a"}], r'x.jsonl:1: the line has no "text"; its keys are: image, caption'),
        ([{"image": "1.jpg", "text": "a"}, {"text": "a"}], r"x.jsonl:2: the line says neither"),
        ([{"image": "../1.jpg", "text": "a"}], r"x.jsonl:1: image of the line must be a path inside"),
        ([{"image": "1.jpg", "text": 3}], r"x.jsonl:1: text of the line must"),
        ([{"image": "1.jpg", "text": "a\0b"}], r"x.jsonl:1: text of the line holds a NUL"),
        (
            [{"image": "9.jpg", "text": "a"}],
            r"no text here is about any of 3 posts; is it .*of 1 text, about no post: 1",
        ),
        ([], "is empty"),
    ],
)
def test_what_cannot_be_used_is_refused(records: list[Any], reason: str, tmp_path: Path) -> None:
    with pytest.raises(InputError, match=reason):
        texts(lines(tmp_path / "x.jsonl", records))


def test_several_files_are_read_as_one(tmp_path: Path) -> None:
    first = lines(tmp_path / "a.jsonl", [{"image": "1.jpg", "text": "a"}, {"image": "8.jpg", "text": "c"}])
    second = lines(tmp_path / "b.jsonl", [{"id": "2", "text": "b"}, {"image": "1.jpg", "text": "a"}])
    found, counts = add_contexts({"all": POSTS}, {"x": [first, second]})
    assert [post.contexts.get("x") for post in found["all"]] == ["a", "b", None]
    assert (counts["x"].texts, counts["x"].unknown, counts["x"].repeated) == (3, 1, 1)
    other = lines(tmp_path / "c.jsonl", [{"image": "1.jpg", "text": "not a"}])
    with pytest.raises(InputError, match=r"c.jsonl: another text about image '1.jpg' is in one of the files before"):
        add_contexts({"all": POSTS}, {"x": [first, other]})
    with pytest.raises(InputError, match="a list of files of contexts is empty"):
        add_contexts({"all": POSTS}, {"x": []})


def test_names_are_names(tmp_path: Path) -> None:
    path = lines(tmp_path / "x.jsonl", [{"image": "1.jpg", "text": "a"}])
    with pytest.raises(InputError, match="'a b' is no name of contexts"):
        add_contexts({"all": POSTS}, {"a b": path})
    with pytest.raises(InputError, match="no post brings a text 'own'"):
        add_contexts({"all": POSTS}, {"own": None})
    with pytest.raises(InputError, match="no such file"):
        add_contexts({"all": POSTS}, {"x": tmp_path / "none.jsonl"})


def test_posts_bring_their_own(tmp_path: Path) -> None:
    post = from_record({"id": "1", "text": "Ann sings", "contexts": {"own": "a stage", "empty": " "}, "tag": 1})
    assert post.contexts == {"own": "a stage"} and post.extra == {"tag": 1}
    assert from_record(post_record(post)).contexts == post.contexts
    found, counts = add_contexts({"all": [post]}, {"own": None})
    assert found["all"][0].contexts == {"own": "a stage"} and counts["own"].with_text == 1
    for wrong in ({"own": 1}, ["a"], {"own": "a\0"}):
        with pytest.raises(InputError, match="contexts"):
            from_record({"text": "Ann sings", "contexts": wrong})


def test_conversion_says_what_it_loses(tmp_path: Path) -> None:
    source = lines(tmp_path / "posts.jsonl", [{"text": "Ann sings", "contexts": {"own": "a stage"}}])
    assert convert(source, tmp_path / "out.txt", "posts", "conll").counts["context"] == 1


def test_records_get_the_texts_too(tmp_path: Path) -> None:
    files = {"x": read_contexts(lines(tmp_path / "x.jsonl", [{"image": "1.jpg", "text": "a"}]))}
    given = {"text": "Ann", "image": "1.jpg", "contexts": {"own": "b"}}
    assert with_record_contexts(given, files)["contexts"] == {"own": "b", "x": "a"}
    assert with_record_contexts({"text": "Ann", "image": 3}, files) == {"text": "Ann", "image": 3}


def test_what_is_written_reads_back(tmp_path: Path) -> None:
    write_contexts(tmp_path / "x.jsonl", "id", {"1": "é", "2": "two\nlines"})
    assert read_contexts(tmp_path / "x.jsonl").texts == {("id", "1"): "é", ("id", "2"): "two\nlines"}


def test_what_is_added_is_kept_up_to_a_half_written_line(tmp_path: Path) -> None:
    path = tmp_path / "x.part"
    assert read_appended(path) == {}
    append_contexts(path, "image", {"1.jpg": "é"})
    first = path.read_bytes()
    append_contexts(path, "image", {"2.jpg": "two\nlines"})
    assert path.read_bytes().startswith(first)
    whole = path.read_bytes()
    for kept, cut in ((2, len(whole)), (1, len(whole) - 1), (1, len(first) + 1), (1, len(first)), (0, 17), (0, 0)):
        path.write_bytes(whole[:cut])  # byte 17 is in the middle of a letter
        assert len(read_appended(path)) == kept
        assert path.read_bytes() == whole[: (0, len(first), len(whole))[kept]]
    with pytest.raises(InputError, match="cannot be written"):
        append_contexts(tmp_path / "none" / "x.part", "image", {"1.jpg": "a"})
