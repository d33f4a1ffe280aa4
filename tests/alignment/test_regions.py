"""Detectors by name."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from promu.alignment.regions import CocoRegions, NoRegions, build_detector
from promu.errors import InputError
from promu.schema import Region


@pytest.fixture
def instances(tmp_path: Path) -> Path:
    path = tmp_path / "instances.json"
    annotations = [
        {"image_id": 1, "category_id": 1, "bbox": [0, 0, 5, 5], "score": 0.2},
        {"image_id": 1, "category_id": 1, "bbox": [1, 1, 5, 5], "score": 0.9},
    ]
    images = [{"id": 1, "file_name": "a.jpg"}, {"id": 2, "file_name": "b.jpg"}]
    path.write_text(
        json.dumps({"images": images, "categories": [{"id": 1, "name": "dog"}], "annotations": annotations})
    )
    return path


def test_coco_regions_come_best_first(instances: Path) -> None:
    detector = build_detector("coco", instances)
    assert isinstance(detector, CocoRegions)
    assert detector.regions("a.jpg") == [Region((1, 1, 6, 6), "dog", 0.9), Region((0, 0, 5, 5), "dog", 0.2)]
    assert detector.regions("b.jpg") == detector.regions("unheard-of.jpg") == []


def test_no_detector_finds_nothing(instances: Path) -> None:
    detector = build_detector("none", None)
    assert isinstance(detector, NoRegions) and detector.regions("a.jpg") == []


def test_unknown_or_incomplete_detectors_are_refused(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="detector 'yolo' is unknown; use one of coco, none"):
        build_detector("yolo", None)
    with pytest.raises(InputError, match=r"detector 'coco' needs a path; set data.regions"):
        build_detector("coco", None)
    with pytest.raises(InputError, match="no such file"):
        build_detector("coco", tmp_path / "absent.json")


def test_coco_mini(shared: Path) -> None:
    detector = CocoRegions(shared / "data" / "coco_mini" / "instances_train2017.json")
    assert sum(len(detector.regions(image)) for image in detector.by_image) == 731
