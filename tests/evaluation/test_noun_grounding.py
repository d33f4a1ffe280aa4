"""Nouns of captions grounded by the COE head: by hand on a tiny model, and by heads that know and that err."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from PIL import Image
from tests.factories import COLOURS, NOUNS, caption_tokenizer, image_bytes, tiny_pair_model

from promu.corpora.images import load_image
from promu.errors import InputError
from promu.evaluation import noun_grounding
from promu.evaluation.noun_grounding import measure_noun_grounding
from promu.modeling.inputs import WordEncoder, tensors, to_pixels
from promu.schema import CaptionPair, Region

SYNONYMS = {"thing": frozenset({"red", "green"}), "dog": frozenset({"dog"})}
LEFT, RIGHT = (0.0, 0.0, 20.0, 32.0), (20.0, 0.0, 40.0, 32.0)
GOLD = {
    "red.png": [Region(LEFT, "thing"), Region(RIGHT, "dog")],
    "green.png": [Region(RIGHT, "thing")],
    "blue.png": [],
}
CAPTIONS = [
    CaptionPair("red.png", "a red square and dogs"),
    CaptionPair("red.png", "a dog", matched=False),
    CaptionPair("green.png", "a green square, green as grass"),
    CaptionPair("green.png", "a square"),
    CaptionPair("blue.png", "a dog"),
    CaptionPair("elsewhere.png", "a red dog"),
]


@pytest.fixture(autouse=True)
def _exact(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("promu.pytorch.best_precision", lambda device: "fp32")


@pytest.fixture(scope="module")
def encoder() -> WordEncoder:
    return WordEncoder(caption_tokenizer(), 32)


def opened(image: str) -> Image.Image:
    return load_image(image_bytes(COLOURS[image.removesuffix(".png")]))


def says(monkeypatch: pytest.MonkeyPatch, best: dict[str, int]) -> None:
    """A head for which each noun is most probable in the region of this number."""

    def predictions(model: Any, batch: Any, visual: torch.Tensor, boxes: torch.Tensor) -> tuple[torch.Tensor, None]:
        scores = torch.full((*boxes.shape[:2], len(NOUNS)), 0.1)
        for noun, region in best.items():
            if region < boxes.shape[1]:
                scores[:, region, NOUNS.index(noun)] = 0.5
        return scores, None

    monkeypatch.setattr(noun_grounding, "predictions", predictions)


def test_a_head_that_knows_is_right_everywhere(encoder: WordEncoder, monkeypatch: pytest.MonkeyPatch) -> None:
    says(monkeypatch, {"red": 0, "dog": 1, "green": 0})
    found = measure_noun_grounding(tiny_pair_model(encoder.tokenizer), encoder, GOLD, CAPTIONS, opened, SYNONYMS)
    # red and dogs of one caption, green once of another; what is falsified, without a box or elsewhere is not asked
    assert (found["nouns"], found["shown"], found["captions"], found["images"]) == (3, 3, 2, 2)
    assert dict(found["model"]) == {"all": 100.0, "shown": 100.0} and found["label"] is None
    assert found["random"]["all"] == pytest.approx(100 * (0.5 + 0.5 + 1) / 3)


def test_regions_of_a_detector(encoder: WordEncoder, monkeypatch: pytest.MonkeyPatch) -> None:
    regions = {
        "red.png": [
            Region((20.0, 0.0, 40.0, 20.0), "thing", 0.9),  # IoU .625 with the dog, and the wrong label
            Region(LEFT, "thing", 0.5),
            Region((0.0, 0.0, 9.0, 32.0), "dog", 0.4),  # IoU .45 with the thing
        ],
    }  # nothing is found in green.png
    says(monkeypatch, {"red": 1, "dog": 2})
    model = tiny_pair_model(encoder.tokenizer)
    found = measure_noun_grounding(model, encoder, GOLD, CAPTIONS, opened, SYNONYMS, regions, batch_size=1)
    assert (found["nouns"], found["shown"]) == (3, 2)
    assert found["model"] == {"all": pytest.approx(100 / 3), "shown": 50.0}
    assert found["label"] == {"all": 0.0, "shown": 0.0}  # of two things the surer one is no thing
    assert dict(found["random"]) == {"all": pytest.approx(100 * 2 / 9), "shown": pytest.approx(100 / 3)}


def test_it_chooses_what_the_models_own_forward_says(encoder: WordEncoder) -> None:
    model = tiny_pair_model(encoder.tokenizer)
    boxes = [Region(LEFT, "dog"), Region((20.0, 0.0, 30.0, 32.0), "cat"), Region((0.0, 16.0, 40.0, 32.0), "cat")]
    shares = torch.tensor([box.box for box in boxes]) / torch.tensor([40.0, 32.0, 40.0, 32.0])
    with torch.inference_mode():
        output = model(
            **tensors(encoder.batch([encoder.text("a red dog")])),
            pixel_values=torch.from_numpy(to_pixels(opened("red.png"), 32))[None],
            boxes=shares[None],
        )
    chosen = int(output.entity_logits[0].softmax(-1)[:, NOUNS.index("dog")].argmax())
    for number, box in enumerate(boxes):
        gold, regions = {"red.png": [Region(box.box, "dog")]}, {"red.png": boxes}
        pair = CaptionPair("red.png", "a red dog")
        found = measure_noun_grounding(model, encoder, gold, [pair], opened, SYNONYMS, regions)
        assert found["model"]["all"] == (100.0 if number == chosen else 0.0)


def test_what_cannot_be_asked_is_said(encoder: WordEncoder) -> None:
    model = tiny_pair_model(encoder.tokenizer)
    with pytest.raises(InputError, match="no noun of a caption is a noun of the model and names a gold box"):
        measure_noun_grounding(model, encoder, GOLD, [CaptionPair("red.png", "a square")], opened, SYNONYMS)
    outside = {"red.png": [Region((50, 0, 60, 10), "dog")]}
    with pytest.raises(InputError, match=r"of 'red\.png' lies outside its 40 x 32 image"):
        measure_noun_grounding(model, encoder, outside, CAPTIONS, opened, SYNONYMS)
    blind = tiny_pair_model(encoder.tokenizer, itm=1, cit=1, coe=0, cir=0)
    with pytest.raises(InputError, match="no COE head"):
        measure_noun_grounding(blind, encoder, GOLD, CAPTIONS, opened, SYNONYMS)
