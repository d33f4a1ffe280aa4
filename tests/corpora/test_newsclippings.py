"""NewsCLIPpings as released: annotations, their base in its folder, and what may be wrong with either."""

from __future__ import annotations

import json
from collections import Counter
from pathlib import Path
from typing import Any

import pytest
from tests.factories import image_bytes

from promu.alignment.corpus_build import build_corpus
from promu.alignment.corpus_settings import CorpusSettings
from promu.corpora.captions import Skipped, guess_format
from promu.corpora.newsclippings import read_newsclippings
from promu.corpora.shards import PairShards
from promu.errors import InputError
from promu.schema import CaptionPair


def put(folder: Path, text: str, name: str) -> Path:
    path = folder / name
    path.write_text(text, encoding="utf-8")
    return path


BASE = [
    {"id": 11, "caption": "a flood ", "image_path": "./guardian/1.jpg", "source": "guardian"},
    {"id": 12, "caption": "a match", "image_path": "./bbc/2.jpg"},
]
ANNOTATIONS = [
    {"id": 11, "image_id": 12, "falsified": True, "similarity_score": 0.6},
    {"id": 12, "image_id": 12, "falsified": False},
]


def test_a_file_with_its_base_beside_it(tmp_path: Path) -> None:
    path = put(tmp_path, json.dumps({"annotations": ANNOTATIONS}), "val.json")
    put(tmp_path, json.dumps(BASE), "data.json")
    expected = [CaptionPair("bbc/2.jpg", "a flood", False), CaptionPair("bbc/2.jpg", "a match", True)]
    assert read_newsclippings(path) == expected
    other = put(tmp_path, json.dumps(BASE), "elsewhere.json")
    assert read_newsclippings(path, base=other) == expected


@pytest.mark.parametrize(
    ("annotation", "sentence"),
    [
        ({"id": 99, "image_id": 12, "falsified": True}, "annotation 1 names '99', which the VisualNews base does not"),
        ({"id": 11, "image_id": 12}, "annotation 1 lacks falsified"),
        (
            {"id": 11, "image_id": 12, "falsified": "yes"},
            "falsified of annotation 1 must be a valid boolean",
        ),
        (7, "annotation 1 must be a mapping"),
    ],
)
def test_malformed_annotations(tmp_path: Path, annotation: object, sentence: str) -> None:
    path = put(tmp_path, json.dumps({"annotations": [ANNOTATIONS[0], annotation]}), "val.json")
    put(tmp_path, json.dumps(BASE), "data.json")
    with pytest.raises(InputError, match=sentence):
        read_newsclippings(path)
    problems: list[InputError] = []
    assert len(read_newsclippings(path, problems)) == 1
    assert len(problems) == 1


def test_the_base_is_needed(tmp_path: Path) -> None:
    path = put(tmp_path, json.dumps({"annotations": ANNOTATIONS}), "val.json")
    with pytest.raises(InputError, match="the VisualNews base is missing; put it beside the annotations or name it"):
        read_newsclippings(path)
    with pytest.raises(InputError, match='"annotations"'):
        read_newsclippings(put(tmp_path, json.dumps(ANNOTATIONS), "list.json"))


def entry(number: int, **changes: Any) -> dict[str, Any]:
    return {
        "id": number,
        "caption": f"Caption {number}.",
        "topic": "world",
        "source": "bbc",
        "image_path": f"./bbc/images/0000/{number:03d}.jpg",
        "article_path": f"./bbc/articles/{number}.txt",
        **changes,
    }


def annotation(caption: int, image: int, **changes: Any) -> dict[str, Any]:
    link = {"id": caption, "image_id": image, "similarity_score": 0.7, "falsified": caption != image}
    return {**link, "source_dataset": 1, **changes}


def release(home: Path, entries: list[Any], **subsets: list[Any]) -> Path:
    """The folders of both sets, as their READMEs say; returns that of the subsets."""
    (home / "visual_news" / "origin").mkdir(parents=True)
    put(home / "visual_news" / "origin", json.dumps(entries), "data.json")
    data = home / "news_clippings" / "data"
    for name, listed in subsets.items():
        (data / name).mkdir(parents=True)
        for split in ("train", "val", "test"):
            document = {"annotations": listed if split == "train" else [], "source_datasets": ["a", "b"]}
            put(data / name, json.dumps(document), f"{split}.json")
    return data


def test_subsets_are_read_where_they_are_released(tmp_path: Path) -> None:
    """A file, the folder of a subset, and the folder of all: what two subsets share is read once, and counted."""
    first, second = [annotation(1, 1), annotation(1, 2)], [annotation(1, 1), annotation(2, 3)]
    data = release(tmp_path, [entry(n) for n in (1, 2, 3)], merged_balanced=first, scene_resnet_place=second)
    expected = [
        CaptionPair("bbc/images/0000/001.jpg", "Caption 1.", True),
        CaptionPair("bbc/images/0000/002.jpg", "Caption 1.", False),
    ]
    for path in (data / "merged_balanced" / "train.json", data / "merged_balanced"):
        assert read_newsclippings(path) == expected
        assert guess_format(path) == "newsclippings"
    assert read_newsclippings(data) == [*expected, CaptionPair("bbc/images/0000/003.jpg", "Caption 2.", False)]
    assert guess_format(data) == "newsclippings" and guess_format(tmp_path) == "folder"
    problems: list[InputError] = []
    read_newsclippings(data, problems)
    assert [error.kind for error in problems] == ["pair of several subsets"]
    assert "as annotation 0 of" in str(problems[0]) and str(data / "scene_resnet_place") in str(problems[0])


BROKEN = [
    (
        [entry(1), entry(1, caption="Other.")],
        [annotation(1, 1)],
        "doubled id",
        "base entry 1 has the id 1 of base entry",
    ),
    (
        [entry(1)],
        [annotation(1, 1)] * 2,
        "doubled pair",
        "annotation 1 pairs caption 1 with image 1 as annotation 0 does",
    ),
    (
        [entry(1)],
        [annotation(1, 1), annotation(1, 1, falsified=True)],
        "true and falsified",
        "only one of them calls it",
    ),
    (
        [entry(1)],
        [annotation(1, 1), annotation(1, 9)],
        "unknown id",
        "annotation 1 names '9', which the VisualNews base",
    ),
    (
        [entry(1), entry(2, caption=" ")],
        [annotation(1, 1), annotation(2, 2)],
        "empty caption",
        "caption of base entry 1 ",
    ),
    ([entry(1), {"id": 2}], [annotation(1, 1), annotation(2, 2)], None, "base entry 1 lacks caption, image_path"),
    (
        [entry(1), entry(2, image_path="../2.jpg")],
        [annotation(1, 1), annotation(2, 2)],
        None,
        "a path inside the folder",
    ),
]


@pytest.mark.parametrize(("entries", "annotations", "kind", "sentence"), BROKEN, ids=lambda value: str(value)[:20])
def test_faults_are_counted_and_named(
    entries: list[Any], annotations: list[Any], kind: str | None, sentence: str, tmp_path: Path
) -> None:
    data = release(tmp_path, entries, merged_balanced=annotations)
    with pytest.raises(InputError, match=sentence):
        read_newsclippings(data / "merged_balanced")
    problems: list[InputError] = []
    pairs = read_newsclippings(data / "merged_balanced", problems)
    assert pairs == [CaptionPair("bbc/images/0000/001.jpg", "Caption 1.", True)], "the first counts"
    assert kind in [error.kind for error in problems] and any(sentence in str(error) for error in problems)


def test_entries_that_no_annotation_names_may_be_broken(tmp_path: Path) -> None:
    """A subset uses a part of the million entries; what is wrong with the others is no fault of it."""
    entries = [entry(1), entry(2, caption=""), entry(3), entry(3), {"id": 4}]
    data = release(tmp_path, entries, merged_balanced=[annotation(1, 1)])
    problems: list[InputError] = []
    assert len(read_newsclippings(data, problems)) == 1 and problems == []


@pytest.mark.parametrize("lenient", [False, True])
def test_broken_files_are_one_sentence(lenient: bool, tmp_path: Path) -> None:
    data = release(tmp_path, [entry(1), entry(2)], merged_balanced=[annotation(1, 1)])
    base, file = tmp_path / "visual_news" / "origin" / "data.json", data / "merged_balanced" / "train.json"
    whole = base.read_text()
    for path, text, sentence in (
        (base, whole[:-40], r"data.json:1: not JSON"),
        (base, whole[:-1], r"data.json:1: the JSON list breaks off here"),
        (base, '{"1": {}}', "the VisualNews base must be a JSON list"),
        (file, file.read_text()[:-30], r"train.json:1: not JSON .*; is the file complete\?"),
        (file, "[]", r'\{"annotations": \[...\]\} is expected'),
        (file, '{"annotations": []}', "the file holds no annotations"),
    ):
        before = path.read_text()
        path.write_text(text)
        with pytest.raises(InputError, match=sentence):
            read_newsclippings(data / "merged_balanced", [] if lenient else None)
        path.write_text(before)
    base.unlink()
    with pytest.raises(InputError, match=r"the VisualNews base is missing; .* put visual_news/origin/data.json into a"):
        read_newsclippings(data)
    with pytest.raises(InputError, match=r"no train.json of NewsCLIPpings in this folder; name a subset such as"):
        read_newsclippings(tmp_path / "visual_news")
    with pytest.raises(InputError, match="no such file"):
        read_newsclippings(tmp_path / "absent")


def test_a_corpus_as_released_has_its_own_falsified_pairs(tmp_path: Path) -> None:
    """Images are found beside the base; missing ones and unknown ids are counted, and the counts add up."""
    links = [annotation(1, 1), annotation(1, 2), annotation(2, 2), annotation(3, 3), annotation(1, 3), annotation(9, 1)]
    data = release(tmp_path, [entry(n) for n in (1, 2, 3)], merged_balanced=links, scene_resnet_place=links[:1])
    images = tmp_path / "visual_news" / "origin" / "bbc" / "images" / "0000"
    images.mkdir(parents=True)
    for number in (1, 2):  # that of 3 is missing
        (images / f"{number:03d}.jpg").write_bytes(image_bytes((number, 2, 3)))
    result = build_corpus(CorpusSettings(captions=data, missing_images="skip"), tmp_path / "corpus")
    pairs = [(pair.image[-7:], pair.caption, pair.matched) for pair in PairShards(tmp_path / "corpus").pairs()]
    assert sorted(pairs) == [
        ("001.jpg", "Caption 1.", True),
        ("002.jpg", "Caption 1.", False),
        ("002.jpg", "Caption 2.", True),
    ]
    skipped = {"missing image": 2, "pair of several subsets": 1, "unknown id": 1}
    assert Counter(result["skipped"]["pairs"]) == skipped and result["read"] == 7
    assert any("image 'bbc/images/0000/003.jpg': no such image" in line for line in result["skipped"]["examples"])
    shown = Skipped()
    for number in range(30):
        shown.add(InputError(f"annotation {number}", kind="pair of several subsets"))
    shown.add(InputError("annotation 30", kind="unknown id"))
    assert shown.examples[-1] == "annotation 30", "what is frequent does not hide what is rare"
    with pytest.raises(InputError, match="annotation 5 names '9'"):
        build_corpus(CorpusSettings(captions=data), tmp_path / "strict")
    with pytest.raises(InputError, match="a base is NewsCLIPpings' only"):
        CorpusSettings(captions=data, format="captions", base=tmp_path / "data.json")
    with pytest.raises(InputError, match=r"elsewhere.json: the VisualNews base is missing"):
        build_corpus(CorpusSettings(captions=data, base=tmp_path / "elsewhere.json"), tmp_path / "strict")
