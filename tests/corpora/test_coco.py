"""COCO instances."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from promu.corpora.coco import read_coco
from promu.errors import InputError
from promu.schema import Region


def document(*annotations: dict[str, Any]) -> dict[str, Any]:
    return {
        "images": [{"id": 1, "file_name": "a.jpg", "width": 20, "height": 10}, {"id": 2, "file_name": "b.jpg"}],
        "categories": [{"id": 3, "name": "dog"}],
        "annotations": [{"image_id": 1, "category_id": 3, **annotation} for annotation in annotations],
    }


def put(tmp_path: Path, value: object) -> Path:
    path = tmp_path / "instances.json"
    path.write_text(value if isinstance(value, str) else json.dumps(value))
    return path


def test_coco_mini(shared: Path) -> None:
    regions = read_coco(shared / "data" / "coco_mini" / "instances_train2017.json")
    assert len(regions) == 80
    # 739 annotations, 8 of them crowds.
    assert sum(map(len, regions.values())) == 731


def test_boxes(tmp_path: Path) -> None:
    path = put(
        tmp_path,
        document(
            {"bbox": [1, 2, 3, 4]},
            {"bbox": [18.5, 0, 2, 4], "score": 0.25},
            {"bbox": [1, 2, 0, 4]},
            {"bbox": [1, 2, 3, 4], "iscrowd": 1},
            {"bbox": [100, 100, 5, 5], "image_id": 2},
        ),
    )
    assert read_coco(path) == {
        "a.jpg": [Region((1, 2, 4, 6), "dog"), Region((18.5, 0, 20, 4), "dog", 0.25)],
        "b.jpg": [Region((100, 100, 105, 105), "dog")],
    }


@pytest.mark.parametrize(
    ("annotation", "sentence"),
    [
        ({"bbox": [1, 2, 3]}, "bbox of annotations 1 must be four numbers"),
        ({"bbox": [1, 2, -3, 4]}, "must be four numbers x, y, width >= 0"),
        ({"bbox": [1, 2, 10**400, 4]}, "must be four numbers"),
        ({"bbox": [30, 2, 3, 4]}, "lies outside its image of 20 x 10 pixels"),
        ({"bbox": [1, 2, 3, 4], "image_id": 9}, "image_id of annotations 1 is 9, which the file does not define"),
        ({"bbox": [1, 2, 3, 4], "category_id": [3]}, "category_id of annotations 1 is"),
        ({"bbox": [1, 2, 3, 4], "score": 2}, "score of annotations 1 must be a number from 0 to 1"),
        ({}, "annotations 1 lacks bbox"),
    ],
)
def test_malformed(tmp_path: Path, annotation: dict[str, Any], sentence: str) -> None:
    path = put(tmp_path, document({"bbox": [0, 0, 1, 1]}, annotation))
    with pytest.raises(InputError, match=sentence):
        read_coco(path)
    problems: list[InputError] = []
    assert read_coco(path, problems)["a.jpg"] == [Region((0, 0, 1, 1), "dog")]
    assert len(problems) == 1


@pytest.mark.parametrize("section", ["images", "categories"])
def test_an_id_of_two_things_is_refused(tmp_path: Path, section: str) -> None:
    value = document({"bbox": [0, 0, 1, 1]})
    name = "file_name" if section == "images" else "name"
    first = value[section][0]
    value[section].append({**first, name: "other"})
    sentence = rf"id of {section} {len(value[section]) - 1} is {first['id']}, which is '{first[name]}' and 'other'"
    with pytest.raises(InputError, match=sentence):
        read_coco(put(tmp_path, value))
    value[section][-1] = first  # said again is no contradiction
    assert read_coco(put(tmp_path, value))


@pytest.mark.parametrize(
    ("value", "sentence"),
    [
        ([], "a COCO object with images, categories, annotations is expected"),
        ({"images": []}, "'categories' must be a list; is this a COCO instances file"),
        ('{"images": [],\n', "not JSON"),
        ('{"a": 1}\n{"b": 2}\n', "one JSON document is expected, not JSON lines"),
    ],
)
def test_another_file(tmp_path: Path, value: object, sentence: str) -> None:
    with pytest.raises(InputError, match=sentence):
        read_coco(put(tmp_path, value))
