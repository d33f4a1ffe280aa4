"""Gold boxes named by the COE head and by a teacher, against what each says of one box at a time."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest
import torch
from PIL import Image
from tests.factories import COLOURS, NOUNS, caption_tokenizer, image_bytes, tiny_pair_model

from promu.corpora.images import load_image
from promu.errors import InputError
from promu.evaluation.regions import measure_regions, readable_boxes
from promu.modeling.inputs import WordEncoder, tensors, to_pixels
from promu.schema import Region

SYNONYMS = {name: frozenset({name}) for name in NOUNS}
GOLD = {
    "red.png": [Region((0, 0, 20, 16), "red"), Region((10, 8, 40, 32), "dog")],
    "blue.png": [],
    "green.png": [Region((0, 0, 40, 32), "green"), Region((0, 0, 4, 4), "toaster")],
}


class ColourTeacher:
    """Puts an image nearest to the prompt that holds the name of its middle pixel's colour."""

    identity = "colours"
    temperature = 0.1

    def encode_prompts(self, prompts: Sequence[str]) -> torch.Tensor:
        self.names = list(COLOURS)
        return torch.stack([torch.tensor([float(name in prompt) for name in self.names]) for prompt in prompts])

    def encode_images(self, images: Sequence[Image.Image]) -> torch.Tensor:
        rows = []
        for image in images:
            middle: Any = image.getpixel((image.width - 1, image.height - 1))
            apart = [sum(abs(a - b) for a, b in zip(middle, COLOURS[name], strict=True)) for name in self.names]
            rows.append([1 / (1 + distance) for distance in apart])
        return torch.tensor(rows, dtype=torch.float32)


@pytest.fixture(autouse=True)
def _exact(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("promu.pytorch.best_precision", lambda device: "fp32")


@pytest.fixture(scope="module")
def encoder() -> WordEncoder:
    return WordEncoder(caption_tokenizer(), 32)


def opened(image: str) -> Image.Image:
    return load_image(image_bytes(COLOURS[image.removesuffix(".png")]))


def by_hand(model: Any, encoder: WordEncoder, image: str, region: Region) -> list[str]:
    """The five likeliest nouns of one box through the model's own forward."""
    box = torch.tensor(region.box) / torch.tensor([40.0, 32.0, 40.0, 32.0])
    with torch.inference_mode():
        output = model(
            **tensors(encoder.batch([encoder.text("")])),
            pixel_values=torch.from_numpy(to_pixels(opened(image), 32))[None],
            boxes=box[None, None],
        )
    return [NOUNS[index] for index in output.entity_logits[0, 0].topk(5).indices.tolist()]


def test_the_head_and_the_teacher_name_the_same_boxes(encoder: WordEncoder) -> None:
    model = tiny_pair_model(encoder.tokenizer)
    found = measure_regions(model, encoder, GOLD, opened, SYNONYMS, teacher=ColourTeacher(), batch_size=2)
    boxes = [(image, region) for image, regions in GOLD.items() for region in regions if region.label in NOUNS]
    named = [by_hand(model, encoder, image, region) for image, region in boxes]
    own = found["model"]
    for rank, first in (("top1", 1), ("top5", 5)):
        hits = [region.label in nouns[:first] for (_, region), nouns in zip(boxes, named, strict=True)]
        assert own["micro"][rank] == pytest.approx(100 * sum(hits) / 3)
    assert own["boxes"] == 3 and own["unnameable"] == {"toaster": 1}
    assert (found["images"], found["empty"], found["nouns"]) == (2, 1, 6)
    # the crop of "dog" is red, so the teacher is wrong there
    assert found["teacher"] is not None
    assert found["teacher"]["per_category"] == {
        "red": {"boxes": 1, "top1": 1, "top5": 1},
        "dog": {"boxes": 1, "top1": 0, "top5": found["teacher"]["per_category"]["dog"]["top5"]},
        "green": {"boxes": 1, "top1": 1, "top5": 1},
    }


def test_without_a_teacher(encoder: WordEncoder) -> None:
    found = measure_regions(tiny_pair_model(encoder.tokenizer), encoder, GOLD, opened, SYNONYMS)
    assert found["teacher"] is None


def test_what_cannot_be_measured_is_said(encoder: WordEncoder) -> None:
    blind = tiny_pair_model(encoder.tokenizer, itm=1, cit=1, coe=0, cir=0)
    with pytest.raises(InputError, match="no COE head"):
        measure_regions(blind, encoder, GOLD, opened, SYNONYMS)
    with pytest.raises(InputError, match="no COE head"):
        measure_regions(tiny_pair_model(encoder.tokenizer, dual=True), encoder, GOLD, opened, SYNONYMS)
    silent = tiny_pair_model(encoder.tokenizer)
    silent.config.nouns = []
    with pytest.raises(InputError, match=r"config\.json does not say its nouns"):
        measure_regions(silent, encoder, GOLD, opened, SYNONYMS)
    model = tiny_pair_model(encoder.tokenizer)
    with pytest.raises(InputError, match="no gold box"):
        measure_regions(model, encoder, {"blue.png": []}, opened, SYNONYMS)
    outside = {"red.png": [Region((50, 0, 60, 10), "red")]}
    with pytest.raises(InputError, match=r"of 'red\.png' lies outside its 40 x 32 image"):
        measure_regions(model, encoder, outside, opened, SYNONYMS)


def test_a_box_over_the_edge_is_cut(encoder: WordEncoder) -> None:
    model = tiny_pair_model(encoder.tokenizer)
    over, whole = (
        measure_regions(model, encoder, {"red.png": [Region(box, "red")]}, opened, SYNONYMS)["model"]
        for box in ((-5.0, 0.0, 60.0, 32.0), (0.0, 0.0, 40.0, 32.0))
    )
    assert over == whole


def test_images_that_cannot_be_read(tmp_path: Path) -> None:
    (tmp_path / "red.png").write_bytes(image_bytes(COLOURS["red"]))
    (tmp_path / "green.png").write_bytes(image_bytes(COLOURS["green"])[:60])
    with pytest.raises(InputError, match=r"green\.png: .*or skip such images"):
        readable_boxes(GOLD, tmp_path, "raise")
    kept, skipped = readable_boxes(GOLD, tmp_path, "skip")  # blue.png has no box, so it need not be there
    assert list(kept) == ["red.png", "blue.png"] and skipped == {"green.png": 2}
