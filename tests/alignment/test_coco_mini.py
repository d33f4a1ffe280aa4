"""A real detector on real photographs: recall and precision on coco-mini's gold boxes are held."""

from __future__ import annotations

from pathlib import Path

import pytest
from tests.evaluation.detection import score_detections

from promu.alignment.corpus_settings import DetectorSettings
from promu.alignment.detectors import build_detector
from promu.corpora.coco import read_coco
from promu.corpora.images import load_image


@pytest.mark.slow
def test_yolox_nano_finds_what_it_found(shared: Path) -> None:
    pytest.importorskip("onnxruntime")
    gold = read_coco(shared / "data" / "coco_mini" / "instances_train2017.json")
    images = [load_image(shared / "data" / "coco_mini" / "images" / name) for name in gold]
    detector = build_detector(
        "yolo", shared / "models" / "yolox_nano" / "yolox_nano.onnx", DetectorSettings(max_regions=100)
    )
    scores = score_detections(gold, dict(zip(gold, detector.detect(images, list(gold)), strict=True)))
    # measured: 34.6 and 66.1 for the boxes alone, 32.8 and 62.7 with their labels, 64.0 of the large ones
    assert scores.boxes.recall > 33.5 and scores.boxes.precision > 65
    assert scores.micro.recall > 32 and scores.micro.precision > 61.5
    assert scores.recall_by_size["large"] > 62


@pytest.mark.slow
def test_picodet_finds_what_it_found(shared: Path) -> None:
    pytest.importorskip("onnxruntime")
    gold = read_coco(shared / "data" / "coco_mini" / "instances_train2017.json")
    images = [load_image(shared / "data" / "coco_mini" / "images" / name) for name in gold]
    path = shared / "models" / "picodet_s" / "picodet_s_416_coco.onnx"
    detector = build_detector("yolo", path, DetectorSettings(confidence=0.4, max_regions=100))
    scores = score_detections(gold, dict(zip(gold, detector.detect(images, list(gold)), strict=True)))
    assert scores.boxes.recall > 38 and scores.boxes.precision > 60
    assert scores.recall_by_size["large"] > 68


def test_gold_boxes_of_every_image(shared: Path) -> None:
    gold = read_coco(shared / "data" / "coco_mini" / "instances_train2017.json")
    images = [load_image(shared / "data" / "coco_mini" / "images" / name) for name in gold]
    detector = build_detector(
        "coco", shared / "data" / "coco_mini" / "instances_train2017.json", DetectorSettings(max_regions=1000)
    )
    found = dict(zip(gold, detector.detect(images, list(gold)), strict=True))
    assert sum(map(len, found.values())) == 731
    assert score_detections(gold, found).micro.f1 == 100
