"""Object-detection models of Hugging Face, tiny ones made on the spot; nothing here needs torchvision."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from safetensors.torch import load_file, save_file
from tests.alignment.hf_families import FAMILIES, LABELS, SOFTMAX, make_detector
from transformers import AutoImageProcessor, AutoModelForObjectDetection

from promu.alignment.corpus_settings import Detector, DetectorSettings
from promu.alignment.detectors import build_detector
from promu.errors import InputError


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """A model of each family."""
    root = tmp_path_factory.mktemp("detectors")
    return {family: make_detector(family, root / family) for family in FAMILIES}


def some_images() -> list[Image.Image]:
    chance = np.random.default_rng(0)
    sizes = [(60, 40), (40, 60), (60, 40), (90, 40)]
    return [Image.fromarray(chance.integers(0, 256, (h, w, 3), dtype=np.uint8)) for w, h in sizes]


def detector_at(folder: Path, **settings: Any) -> Detector:
    return build_detector("hf", str(folder), DetectorSettings(**{"confidence": 0.0, **settings}))


def by_hand(folder: Path, image: Image.Image, softmax: bool) -> list[tuple[float, str, list[float]]]:
    """Score, class and box of every query, best first: normalised centre and size, over the image's own pixels."""
    model: Any = AutoModelForObjectDetection.from_pretrained(folder).eval()
    with torch.no_grad():
        output = model(**AutoImageProcessor.from_pretrained(folder)(images=image, return_tensors="pt"))
    scores = output.logits[0].softmax(-1)[:, :-1] if softmax else output.logits[0].sigmoid()
    assert scores.shape[1] == len(LABELS)
    found = []
    for probabilities, (x, y, w, h) in zip(scores, output.pred_boxes[0].tolist(), strict=True):
        corners = [x - w / 2, y - h / 2, x + w / 2, y + h / 2]
        box = [min(max(corner, 0.0), 1.0) * side for corner, side in zip(corners, image.size * 2, strict=True)]
        found.append((float(probabilities.max()), LABELS[int(probabilities.argmax())], box))
    return sorted(found, key=lambda row: -row[0])


@pytest.mark.parametrize("family", FAMILIES)
@pytest.mark.slow
def test_regions_are_the_models_own(made: dict[str, Path], family: str) -> None:
    """Against the model called by hand: the best boxes, each once and with its likeliest class."""
    image = some_images()[3]
    expected: dict[tuple[float, ...], tuple[float, str]] = {}
    for score, label, corners in by_hand(made[family], image, family in SOFTMAX):
        expected.setdefault(tuple(round(corner, 2) for corner in corners), (score, label))
    (regions,) = detector_at(made[family], max_regions=3).detect([image], ["?"])
    assert len(regions) == min(3, len(expected))
    for region, (box, (score, label)) in zip(regions, expected.items(), strict=False):
        assert region.box == pytest.approx(box, abs=0.02)
        assert region.score == pytest.approx(score, abs=1e-4) and region.label == label


@pytest.mark.parametrize("family", FAMILIES)
def test_what_is_found_does_not_depend_on_the_other_images(made: dict[str, Path], family: str) -> None:
    """Nor on the call: on a CPU the same images give the same regions to the last bit."""
    detector = detector_at(made[family], max_regions=4)
    images = some_images()
    together = detector.detect(images, ["?"] * 4)
    assert detector.detect(images, ["?"] * 4) == together
    detector.batch = 1  # type: ignore[attr-defined]
    for image, regions, (alone,) in zip(
        images, together, [detector.detect([image], ["?"]) for image in images], strict=True
    ):
        assert 0 < len(alone) == len(regions) <= 4
        assert [region.score for region in regions] == sorted((region.score for region in regions), reverse=True)
        for one, other in zip(alone, regions, strict=True):
            assert one.box == pytest.approx(other.box, abs=1e-3) and one.score == pytest.approx(other.score, abs=1e-4)
            x0, y0, x1, y1 = other.box
            assert 0 <= x0 < x1 <= image.width and 0 <= y0 < y1 <= image.height


def test_a_box_that_is_likely_two_things_is_one_region(tmp_path: Path) -> None:
    """Where every class is scored by itself; a cat and a dog in one box would be one crop labelled twice."""
    folder = make_detector("conditional_detr", tmp_path / "model")
    weights = load_file(folder / "model.safetensors")
    for name in [name for name in weights if name.startswith("class_labels_classifier")]:
        weights[name] = torch.tensor([3.0, 2.0, 1.0]) if name.endswith("bias") else torch.zeros_like(weights[name])
    save_file(weights, folder / "model.safetensors", metadata={"format": "pt"})
    (regions,) = detector_at(folder, confidence=0.5, max_regions=20).detect(some_images()[:1], ["?"])
    assert 1 < len(regions) == len({region.box for region in regions}) <= 6
    assert {region.label for region in regions} == {"cat"}
    assert regions[0].score == pytest.approx(1 / (1 + np.exp(-3)), abs=1e-5)


def test_a_threshold_above_every_score_leaves_nothing(made: dict[str, Path]) -> None:
    for family in ("yolos", "rt_detr"):
        assert detector_at(made[family], confidence=1.0).detect(some_images()[:1], ["?"]) == [[]]


def test_identity_changes_with_the_weights(tmp_path: Path) -> None:
    folder = make_detector("yolos", tmp_path)
    before = detector_at(folder).identity
    assert detector_at(folder).identity == before != detector_at(folder, confidence=0.5).identity
    weights = load_file(folder / "model.safetensors")
    weights["class_labels_classifier.layers.0.bias"][0] += 1
    save_file(weights, folder / "model.safetensors", metadata={"format": "pt"})
    assert detector_at(folder).identity != before


def test_models_that_cannot_be_used(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"detector .* cannot be loaded \(.*; name a folder or hub model within reach"):
        build_detector("hf", str(tmp_path / "absent"))
    folder = make_detector("yolos", tmp_path / "yolos")
    weights = folder / "model.safetensors"
    tensors = load_file(weights)
    save_file({name: value for name, value in tensors.items() if "class" not in name}, weights, {"format": "pt"})
    with pytest.raises(InputError, match=r"comes without 6 of its weights, .*saved without its detection head; name a"):
        build_detector("hf", str(folder))
    weights.write_bytes(weights.read_bytes()[:-50])
    with pytest.raises(InputError, match=r"the weights of detector .* are damaged"):
        build_detector("hf", str(folder))
    weights.unlink()
    torch.save({}, folder / "pytorch_model.bin")
    with pytest.raises(InputError, match="safetensors"):
        build_detector("hf", str(folder))


@pytest.mark.parametrize(
    ("family", "file", "changes", "sentence"),
    [
        (
            "yolos",
            "config.json",
            {"id2label": {"1": "cat", "2": "dog", "3": "owl"}},
            "numbers its classes 1, 2, 3, ...; ",
        ),
        ("yolos", "config.json", {"id2label": {"0": "cat", "1": "dog"}}, "have other sizes than its config.json says"),
        (
            "yolos",
            "config.json",
            {"hidden_size": "x"},
            "config.json of detector .* is wrong: .*'hidden_size' expected int",
        ),
        (
            "yolos",
            "preprocessor_config.json",
            {"image_processor_type": "ViTImageProcessor"},
            "names ViTImageProcessorPil, which reads no boxes; save the model's own image processor",
        ),
        (
            "detr",
            "config.json",
            {"backbone_config": {"model_type": "timm_backbone", "backbone": "resnet50"}},
            r"needs a package that is missing \(TimmBackbone requires the timm library",
        ),
        (
            "rt_detr",
            "preprocessor_config.json",
            {"image_processor_type": "RfDetrImageProcessor"},
            r"\(.*RfDetrImageProcessor.* Missing optional dependencies: torchvision",
        ),
    ],
)
def test_configurations_that_cannot_be_used(
    tmp_path: Path, family: str, file: str, changes: dict[str, Any], sentence: str
) -> None:
    folder = make_detector(family, tmp_path / "model")
    path = folder / file
    path.write_text(json.dumps({**json.loads(path.read_text()), **changes}))
    with pytest.raises(InputError, match=sentence):
        build_detector("hf", str(folder))
