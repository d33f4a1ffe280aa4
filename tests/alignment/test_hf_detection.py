"""Object-detection models of Hugging Face, tiny ones made on the spot; nothing here needs torchvision."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from transformers import (
    RTDetrConfig,
    RTDetrForObjectDetection,
    RTDetrImageProcessorPil,
    YolosConfig,
    YolosForObjectDetection,
    YolosImageProcessorPil,
)

from promu.alignment.detector import Detector, DetectorSettings
from promu.alignment.regions import build_detector
from promu.errors import InputError

LABELS = {0: "cat", 1: "dog"}


def yolos(folder: Path) -> Path:
    config = YolosConfig(
        hidden_size=16,
        num_hidden_layers=2,
        num_attention_heads=2,
        intermediate_size=32,
        image_size=[32, 48],
        patch_size=8,
        num_detection_tokens=5,
        id2label=LABELS,
        label2id={name: number for number, name in LABELS.items()},
    )
    torch.manual_seed(3)
    model = YolosForObjectDetection(config)
    with torch.no_grad():  # the usual start gives every token one answer
        for parameter in model.parameters():
            parameter.add_(torch.randn_like(parameter) * 0.3)
    model.save_pretrained(folder)
    YolosImageProcessorPil(size={"shortest_edge": 32, "longest_edge": 48}).save_pretrained(folder)
    return folder


def rt_detr(folder: Path) -> Path:
    backbone: Any = {
        "model_type": "rt_detr_resnet",
        "embedding_size": 8,
        "hidden_sizes": [8, 8, 8, 16],
        "depths": [1, 1, 1, 1],
        "layer_type": "basic",
        "out_features": ["stage2", "stage3", "stage4"],
    }
    config = RTDetrConfig(
        backbone_config=backbone,
        encoder_in_channels=[8, 8, 16],
        d_model=16,
        encoder_hidden_dim=16,
        encoder_ffn_dim=16,
        decoder_in_channels=[16, 16, 16],
        decoder_ffn_dim=16,
        decoder_layers=1,
        encoder_attention_heads=2,
        decoder_attention_heads=2,
        num_queries=12,
        num_denoising=0,
        id2label=LABELS,
        label2id={name: number for number, name in LABELS.items()},
    )
    torch.manual_seed(0)
    RTDetrForObjectDetection(config).save_pretrained(folder)
    RTDetrImageProcessorPil(size={"height": 64, "width": 64}).save_pretrained(folder)
    return folder


def some_pictures() -> list[Image.Image]:
    chance = np.random.default_rng(0)
    sizes = [(60, 40), (40, 60), (60, 40), (90, 40)]
    return [Image.fromarray(chance.integers(0, 256, (h, w, 3), dtype=np.uint8)) for w, h in sizes]


@pytest.fixture(params=[yolos, rt_detr])
def folder(request: pytest.FixtureRequest, tmp_path: Path) -> Path:
    made: Path = request.param(tmp_path / "detector")
    return made


def detector_at(folder: Path, **settings: Any) -> Detector:
    return build_detector("hf", str(folder), DetectorSettings(**{"confidence": 0.0, **settings}))


def test_regions_lie_in_the_picture_best_first(folder: Path) -> None:
    pictures = some_pictures()
    found = detector_at(folder, max_regions=4).detect(pictures, ["?"] * 4)
    assert any(found)
    for picture, regions in zip(pictures, found, strict=True):
        assert len(regions) <= 4
        assert [region.score for region in regions] == sorted((region.score for region in regions), reverse=True)
        for region in regions:
            x0, y0, x1, y1 = region.box
            assert 0 <= x0 < x1 <= picture.width and 0 <= y0 < y1 <= picture.height
            assert region.label in LABELS.values()


def test_what_is_found_does_not_depend_on_the_other_pictures(folder: Path) -> None:
    detector = detector_at(folder)
    pictures = some_pictures()
    together = detector.detect(pictures, ["?"] * 4)
    for picture, regions in zip(pictures, together, strict=True):
        (alone,) = detector.detect([picture], ["?"])
        assert len(alone) == len(regions) > 0
        for one, other in zip(alone, regions, strict=True):
            assert one.box == pytest.approx(other.box, abs=1e-3) and one.score == pytest.approx(other.score, abs=1e-4)


def test_boxes_are_the_models_own(tmp_path: Path) -> None:
    """Against the model called by hand: normalised centre and size, over the picture's own pixels."""
    folder = yolos(tmp_path)
    picture = some_pictures()[0]
    model: Any = YolosForObjectDetection.from_pretrained(folder).eval()
    with torch.no_grad():
        output = model(**YolosImageProcessorPil.from_pretrained(folder)(images=picture, return_tensors="pt"))
    scores = output.logits[0].softmax(-1)[:, :-1]
    best = int(scores.max(1).values.argmax())
    x, y, w, h = (output.pred_boxes[0, best] * torch.tensor([60, 40, 60, 40])).tolist()
    (regions,) = detector_at(folder).detect([picture], ["?"])
    expected = (max(x - w / 2, 0), max(y - h / 2, 0), min(x + w / 2, 60), min(y + h / 2, 40))
    assert regions[0].box == pytest.approx(expected, abs=1e-3)
    assert regions[0].score == pytest.approx(float(scores.max()), abs=1e-5)
    assert regions[0].label == LABELS[int(scores[best].argmax())]


def test_a_threshold_above_every_score_leaves_nothing(folder: Path) -> None:
    assert detector_at(folder, confidence=1.0).detect(some_pictures()[:1], ["?"]) == [[]]


def test_identity_changes_with_the_weights(tmp_path: Path) -> None:
    folder = yolos(tmp_path)
    before = detector_at(folder).identity
    assert detector_at(folder).identity == before != detector_at(folder, confidence=0.5).identity
    model: Any = YolosForObjectDetection.from_pretrained(folder)
    with torch.no_grad():
        model.class_labels_classifier.layers[0].bias[0] += 1
    model.save_pretrained(folder)
    assert detector_at(folder).identity != before


def test_models_that_cannot_be_used(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"is no object-detection model within reach .*; name a folder or hub model"):
        build_detector("hf", str(tmp_path / "absent"))
    folder = yolos(tmp_path / "yolos")
    weights = folder / "model.safetensors"
    weights.write_bytes(weights.read_bytes()[:-50])
    with pytest.raises(InputError, match=r"the weights of detector .* are damaged"):
        build_detector("hf", str(folder))
    weights.unlink()
    torch.save({}, folder / "pytorch_model.bin")
    with pytest.raises(InputError, match="safetensors"):
        build_detector("hf", str(folder))
