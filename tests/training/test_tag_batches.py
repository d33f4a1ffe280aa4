"""Object tags as text: behind a caption, polluted for half of the rows, or in its place."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from tests.factories import captioned, write_corpus

from promu.config import Settings, load_recipe
from promu.corpora.shards import PairShards
from promu.errors import InputError
from promu.modeling.inputs import WordEncoder
from promu.schema import Region
from promu.training.batches import Sample
from promu.training.pair_batches import CaptionCollator
from promu.training.recipe import OBJECTIVES, LossSettings, ViewSettings
from promu.training.tag_batches import TagCollator, caption_collator
from promu.training.tokenizers import train_wordpiece
from promu.training.views import PixelViews

OSCAR, UNPAIRED = (LossSettings.model_validate(name) for name in ("oscar", "u-visualbert"))


class Losses(Settings):
    losses: LossSettings


THINGS = ("dog", "cat", "tree", "bird", "boat", "car")


@pytest.fixture()
def corpus(tmp_path: Path) -> PairShards:
    """Each image shows a thing of its own on the left and a man on the right; the last one shows nothing."""
    images = captioned()
    for number, thing in enumerate(THINGS):
        regions = (Region((0.0, 0.0, 20.0, 32.0), thing, 0.9), Region((20.0, 0.0, 40.0, 32.0), "man", 0.8))
        images[number] = replace(images[number], regions=regions)
    return write_corpus(tmp_path / "corpus", images)


def collator(corpus: PairShards, losses: LossSettings, crop: float = 1.0) -> CaptionCollator:
    texts = [text for image in captioned() for text, _ in image.captions]
    encoder = WordEncoder(train_wordpiece([*texts, " ".join(THINGS) + " man"], 400, min_frequency=1), 16)
    return caption_collator(losses, corpus, encoder, PixelViews(corpus, 32, ViewSettings(crop=crop)), 0)


def rows_of(found: dict[str, Any], collate: CaptionCollator) -> list[str]:
    return [collate.encoder.tokenizer.decode(row[row != collate.encoder.pad]) for row in found["input_ids"]]


def test_tags_stand_behind_the_caption_and_half_are_another_image_s(corpus: PairShards) -> None:
    collate = collator(corpus, OSCAR)
    assert isinstance(collate, TagCollator)
    polluted = 0
    for epoch in range(40):
        found = collate([Sample(epoch, 0), Sample(epoch, len(corpus) - 3)])
        first, last = rows_of(found, collate)
        own, _ = found["tag_labels"].tolist()
        polluted += 1 - own
        tags = first.split("[SEP]")[1].split()
        assert first.startswith("[CLS] a red square [SEP]")
        assert (tags == ["dog", "man"]) == bool(own)
        types = found.get("token_type_ids", torch.zeros_like(found["input_ids"]))[0].bool()
        assert collate.encoder.tokenizer.decode(found["input_ids"][0][types]).split() == [*tags, "[SEP]"] * bool(tags)
        # an image without a region has no tags of its own, and does not count unless it got another's
        assert found["tag_mask"].tolist()[1] == int(last.count("[SEP]") == 2)
    assert 8 <= polluted <= 26, "about half, and one in seven of those drawn is the image itself"


def test_a_region_that_has_left_the_view_gives_no_tag(corpus: PairShards) -> None:
    collate = collator(corpus, UNPAIRED, crop=0.2)
    seen = set()
    for epoch in range(60):
        found = collate([Sample(epoch, 0)])
        if found["image_mask"].item():
            seen.add(rows_of(found, collate)[0].removeprefix("[CLS]").removesuffix("[SEP]").strip())
    assert {"dog", "man", "dog man"} <= seen


def test_a_pair_is_read_as_its_caption_or_as_its_image(corpus: PairShards) -> None:
    collate = collator(corpus, UNPAIRED)
    found = collate([Sample(epoch, 0) for epoch in range(40)])
    texts = set(zip(found["image_mask"].tolist(), rows_of(found, collate), strict=True))
    assert texts == {(0, "[CLS] a red square [SEP]"), (1, "[CLS] dog man [SEP]")}
    assert 8 <= int(found["image_mask"].sum()) <= 32
    alone = collate([Sample(7, 0)])
    assert torch.equal(alone["image_mask"], found["image_mask"][7:8]), "a row hangs on no other"


def test_other_losses_read_captions_as_before(corpus: PairShards) -> None:
    plain = collator(corpus, LossSettings())
    assert type(plain) is CaptionCollator
    assert not {"token_type_ids", "image_mask", "tag_labels"} & plain([Sample(0, 0)]).keys()


def test_a_corpus_without_regions_is_refused(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="no image of this corpus has a region, and object tags are the labels"):
        collator(write_corpus(tmp_path / "bare", captioned()), OSCAR)


@pytest.mark.parametrize("name", OBJECTIVES)
def test_each_objective_is_chosen_by_name(name: str) -> None:
    on = {loss for loss, weight in load_recipe({"losses": name}, Losses).losses.weights().items() if weight}
    assert (
        on
        == {
            "promu": {"itm", "cit", "coe", "cir"},
            "clip": {"cit"},
            "blip": {"itm", "cit", "lm"},
            "oscar": {"mlm", "tag"},
            "u-visualbert": {"mlm"},
        }[name]
    )


@pytest.mark.parametrize(
    ("losses", "sentence"),
    [
        ("albef", "'albef' is no objective; name one of promu, clip, blip, oscar, u-visualbert, or give weights"),
        ({"tag": 1}, "tag shows the text encoder what is in the image, which L_CIT would learn from"),
        ({"unpaired": True, "mlm": 1}, "unpaired leaves no pair to compare; give mlm a weight, and every other loss 0"),
    ],
)
def test_what_does_not_go_together_is_refused(losses: Any, sentence: str) -> None:
    with pytest.raises(InputError, match=sentence):
        load_recipe({"losses": losses}, Losses)
