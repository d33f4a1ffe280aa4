"""Detectors by name, and regions out of COCO files."""

from __future__ import annotations

import json
import logging
from pathlib import Path

import pytest
from PIL import Image

from promu.alignment.corpus_settings import DetectorSettings
from promu.alignment.detectors import CocoRegions, NoRegions, build_detector
from promu.errors import InputError
from promu.schema import Region

A = Image.new("RGB", (20, 10))


def instances_at(path: Path, *annotations: dict[str, object]) -> Path:
    images = [{"id": 1, "file_name": "a.jpg", "width": 20, "height": 10}, {"id": 2, "file_name": "b.jpg"}]
    document = {
        "images": images,
        "categories": [{"id": 1, "name": "dog"}],
        "annotations": [{"image_id": 1, "category_id": 1, **annotation} for annotation in annotations],
    }
    path.write_text(json.dumps(document))
    return path


@pytest.fixture
def instances(tmp_path: Path) -> Path:
    return instances_at(
        tmp_path / "instances.json",
        {"bbox": [0, 0, 5, 5], "score": 0.4},
        {"bbox": [1, 1, 5, 5], "score": 0.9},
        {"bbox": [2, 2, 5, 5], "score": 0.1},
        {"bbox": [6, 2, 2, 2], "image_id": 2},
    )


def test_coco_regions_come_best_first_and_unsure_ones_not_at_all(instances: Path) -> None:
    detector = build_detector("coco", instances)
    assert isinstance(detector, CocoRegions)
    assert detector.detect([A, A], ["a.jpg", "unheard-of.jpg"]) == [
        [Region((1, 1, 6, 6), "dog", 0.9), Region((0, 0, 5, 5), "dog", 0.4)],
        [],
    ]


def test_boxes_follow_a_image_that_comes_in_another_size(instances: Path) -> None:
    detector = build_detector("coco", instances, DetectorSettings(max_regions=1))
    # 20 x 10 in the file; shrunk to 10 x 10 a box is half as wide and as high as it was
    assert detector.detect([A.resize((10, 10))], ["a.jpg"]) == [[Region((0.5, 1, 3, 6), "dog", 0.9)]]
    # b.jpg has no size in the file: its boxes are taken as they are, and cut at the image's edges
    assert detector.detect([Image.new("RGB", (7, 3))], ["b.jpg"]) == [[Region((6, 2, 7, 3), "dog", 1.0)]]
    assert detector.detect([Image.new("RGB", (5, 5))], ["b.jpg"]) == [[]]


def test_a_image_that_the_file_does_not_name_is_said_once(instances: Path, caplog: pytest.LogCaptureFixture) -> None:
    detector = build_detector("coco", instances)
    with caplog.at_level(logging.WARNING):
        detector.detect([A, A], ["x.jpg", "y.jpg"])
    assert ["'x.jpg' is not in" in record.message for record in caplog.records] == [True]


def test_no_detector_finds_nothing() -> None:
    detector = build_detector("none", None)
    assert isinstance(detector, NoRegions) and detector.detect([A, A], ["a.jpg", "b.jpg"]) == [[], []]


def test_identity_changes_when_the_regions_would(instances: Path, tmp_path: Path) -> None:
    other = instances_at(tmp_path / "other.json", {"bbox": [0, 0, 5, 6]})
    identities = {
        build_detector("none", None).identity,
        build_detector("coco", instances).identity,
        build_detector("coco", instances, DetectorSettings(confidence=0.4)).identity,
        build_detector("coco", instances, DetectorSettings(max_regions=4)).identity,
        build_detector("coco", other).identity,
    }
    assert len(identities) == 5
    assert build_detector("coco", instances).identity in identities


def test_unknown_or_incomplete_detectors_are_refused(tmp_path: Path, instances: Path) -> None:
    with pytest.raises(InputError, match="detector 'yolov9' is unknown; use one of coco, hf, none, yolo"):
        build_detector("yolov9", None)
    with pytest.raises(InputError, match=r"detector 'coco' needs a path; set data.regions"):
        build_detector("coco", None)
    with pytest.raises(InputError, match="no such file"):
        build_detector("coco", tmp_path / "absent.json")
    with pytest.raises(InputError, match="confidence should be less than or equal to 1, found 30"):
        DetectorSettings(confidence=30)
    with pytest.raises(InputError, match="max_regions should be greater than or equal to 1, found 0"):
        DetectorSettings(max_regions=0)
    with pytest.raises(InputError, match="a file of class names is for detector 'yolo'"):
        build_detector("coco", instances, DetectorSettings(class_names=tmp_path / "names.txt"))
