"""Posts to and from `datasets.Dataset`, with images and without, and the hub's sets of words and tags."""

from __future__ import annotations

import io
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from promu.corpora.conll import read_conll
from promu.errors import InputError
from promu.schema import Entity, Post, Region, Relation

datasets = pytest.importorskip("datasets")

from promu.corpora.hub_datasets import from_dataset, to_dataset  # noqa: E402

WORDS = ("Ann", "met", "Bob")
POSTS = [
    Post(
        "a",
        WORDS,
        "0.png",
        (Entity(0, 1, "PER", 0.5), Entity(2, 3, "PER")),
        (Relation(0, 1, "met", 0.25), Relation(1, 0, "met")),
        text="Ann  met Bob",
        offsets=((0, 3), (5, 8), (9, 12)),
        extra={"lang": "en", "likes": [1, 2]},
    ),
    Post("b", ("Rome",)),
]


def test_posts_come_back_equal(tmp_path: Path) -> None:
    to_dataset(POSTS).save_to_disk(str(tmp_path / "set"))
    found = from_dataset(datasets.load_from_disk(str(tmp_path / "set")))
    assert found == POSTS
    assert found[0].text == POSTS[0].text and dict(found[0].extra) == dict(POSTS[0].extra)
    assert found[1].text == "Rome" and not found[1].extra


def test_images_go_into_the_dataset_and_out_of_it(images: Path, tmp_path: Path) -> None:
    whole = to_dataset(POSTS, images)
    assert whole[0]["image"].size == (48, 40) and whole[1]["image"] is None
    found = from_dataset(whole, tmp_path / "out")
    assert found == POSTS
    assert (tmp_path / "out" / "0.png").read_bytes() == (images / "0.png").read_bytes()
    assert from_dataset(whole)[0].image is None, "without a folder to write to"
    with pytest.raises(InputError, match=r"0.png: no such image"):
        to_dataset(POSTS, tmp_path)


@pytest.mark.parametrize("named", [True, False])
def test_sets_of_words_and_tags(named: bool) -> None:
    names = ["O", "B-PER", "I-PER", "I-LOC"]
    rows = [[1, 2, 0], [3, 0, 0]]
    kind = datasets.Value("string") if named else datasets.ClassLabel(names=names)
    tags = [[names[tag] for tag in row] for row in rows] if named else rows
    features = datasets.Features({"tokens": datasets.List(datasets.Value("string")), "ner_tags": datasets.List(kind)})
    dataset = datasets.Dataset.from_dict(
        {"tokens": [["Ann", "Lee", "is"], ["Rome", ",", "!"]], "ner_tags": tags}, features
    )
    found = from_dataset(dataset, scheme="iob1")
    assert [post.entities for post in found] == [(Entity(0, 2, "PER"),), (Entity(0, 1, "LOC"),)]
    assert [post.id for post in found] == ["1", "2"]
    with pytest.raises(InputError, match=r"row 2: word 1: I-LOC at the start of a post .* or name the scheme iob1"):
        from_dataset(dataset)


@pytest.mark.parametrize(
    ("rows", "entities"),
    [
        ([["I-PER", "I-PER", "O"], ["I-LOC", "B-LOC", "O"]], [[(0, 2, "PER")], [(0, 1, "LOC"), (1, 2, "LOC")]]),
        ([["B-PER", "E-PER", "O"], ["S-LOC", "S-LOC", "O"]], [[(0, 2, "PER")], [(0, 1, "LOC"), (1, 2, "LOC")]]),
        ([["B-PER", "L-PER", "O"], ["U-LOC", "O", "O"]], [[(0, 2, "PER")], [(0, 1, "LOC")]]),
    ],
)
def test_the_scheme_of_tags_is_found_out_as_in_conll_files(
    rows: list[list[str]], entities: list[list[tuple[int, int, str]]], tmp_path: Path
) -> None:
    dataset = datasets.Dataset.from_dict({"tokens": [["a", "b", "c"]] * 2, "ner_tags": rows})
    expected = [tuple(Entity(*entity) for entity in of) for of in entities]
    assert [post.entities for post in from_dataset(dataset)] == expected
    lines = (f"{word}\t{tag}" for tags in rows for word, tag in [*zip("abc", tags, strict=True), ("", "")])
    (tmp_path / "posts.txt").write_text("\n".join(line.strip() for line in lines))
    assert [post.entities for post in read_conll(tmp_path / "posts.txt")] == expected


def test_what_cannot_be_read_is_said() -> None:
    split = datasets.DatasetDict({"train": to_dataset(POSTS), "test": to_dataset(POSTS)})
    with pytest.raises(
        InputError, match=r"dataset of several splits \(train, test\); give one, such as dataset\['train'\]"
    ):
        from_dataset(split)
    numbers = [{"tokens": ["Ann"], "ner_tags": [7]}]
    with pytest.raises(InputError, match=r"row 1: ner_tags must be tags, or numbers whose names .*, found \[7\]"):
        from_dataset(numbers)
    with pytest.raises(InputError, match="row 1: 'PER' is no tag"):
        from_dataset([{"tokens": ["Ann"], "ner_tags": ["PER"]}])
    problems: list[InputError] = []
    rows = [{"tokens": ["Ann"]}, {"tokens": ["Ann"], "entities": [{"start": 0, "end": 2}]}, {"text": "Bob"}]
    assert [post.tokens for post in from_dataset(rows, problems=problems)] == [("Ann",), ("Bob",)]
    assert [problem.line for problem in problems] == [2]
    with pytest.raises(InputError, match="the dataset holds no row"):
        from_dataset([])
    picture = io.BytesIO()
    with pytest.raises(InputError, match="row 1: image must be a name or an image of the dataset"):
        from_dataset([{"tokens": ["Ann"], "image": picture}])


def test_regions_contexts_and_sizes_come_back(tmp_path: Path) -> None:
    shown = (Region((0.0, 0.0, 5.0, 5.0), "dog", 0.5),)
    entities = (Entity(0, 1, "PER", None, shown), Entity(2, 3, "PER", None, ()))
    posts = [Post("1", WORDS, "0.png", entities, contexts={"caption": "a dog"}, image_size=(9, 9)), Post("2", ("Ann",))]
    posts[1] = replace(posts[1], entities=(Entity(0, 1, "PER"),))
    assert from_dataset(to_dataset(posts)) == posts


@pytest.mark.parametrize(
    ("row", "reason"),
    [
        ({"ner_tags": ["B-PER"]}, "there are 3 words and 1 tag under ner_tags"),
        ({"ner_tags": 3}, "ner_tags must be a list with a tag a word, found 3"),
        (
            {"ner_tags": ["B-PER", "O", "O"], "entities": [{"start": 2, "end": 3, "type": "PER"}]},
            r"ner_tags and entities contradict each other \(PER at \[0, 1\], PER at \[2, 3\]\)",
        ),
        ({"entities": ["Ann"]}, r"entities must be a list of mappings, found \['Ann'\]"),
        ({"entities": {"start": [0], "end": [1, 2]}}, "the lists under entities are not of one length"),
    ],
)
def test_rows_that_contradict_themselves_are_refused(row: dict[str, Any], reason: str) -> None:
    with pytest.raises(InputError, match="row 1: " + reason):
        from_dataset([{"tokens": list(WORDS), **row}])
    with pytest.raises(InputError, match="row 1: a row must be a mapping, found 'Ann'"):
        from_dataset(["Ann"])  # type: ignore[list-item]


def test_a_column_of_the_name_extra_may_be_anybodys() -> None:
    assert [dict(post.extra) for post in from_dataset([{"text": "Ann", "extra": one} for one in ("hi", 3)])] == [
        {"extra": "hi"},
        {"extra": 3},
    ]


def test_answers_go_in_as_they_are() -> None:
    class Answer:
        post = POSTS[0]

    assert from_dataset(to_dataset([Answer()])) == POSTS[:1]
