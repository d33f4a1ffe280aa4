"""Caption pairs as batches: what the losses are given."""

from __future__ import annotations

import io
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from tests.factories import write_corpus

from promu.alignment.label_store import ImageLabels, LabelHeader, LabelStore, SparseLabels
from promu.corpora.shards import CaptionedImage, PairShards
from promu.modeling.inputs import WordEncoder
from promu.training.batches import Sample
from promu.training.pair_batches import CaptionCollator, PairCollator
from promu.training.recipe import LossSettings, ViewSettings
from promu.training.tokenizers import train_wordpiece
from promu.training.views import PixelViews

NOUNS = ("woman", "trophy", "tower")
RELATIONS = ("spouse", "award received")
CAPTIONS = ("a woman lifts the trophy", "the tower at night")


@pytest.fixture()
def folder(tmp_path: Path) -> Path:
    buffer = io.BytesIO()
    Image.new("RGB", (32, 32), (10, 200, 30)).save(buffer, "PNG")
    header = LabelHeader("t", "d", NOUNS, RELATIONS, "1", "A", 0.1, 3)
    store = LabelStore(tmp_path / "labels", header)
    two = ImageLabels(
        torch.tensor([[0.0, 0.0, 0.5, 1.0], [0.5, 0.0, 1.0, 1.0]]),
        SparseLabels.from_dense(torch.tensor([[0.7, 0.2, 0.1], [0.2, 0.5, 0.3]]), 3),
        SparseLabels.from_dense(torch.tensor([[0.2, 0.8]]), 3),
    )
    none = ImageLabels(
        torch.zeros(0, 4),
        SparseLabels.from_dense(torch.zeros(0, 3), 3),
        SparseLabels.from_dense(torch.tensor([[0.6, 0.4]]), 3),
    )
    store.add(["a.png", "b.png"], [two, none])
    write_corpus(
        tmp_path / "corpus",
        [
            CaptionedImage("a.png", buffer.getvalue(), 32, 32, ((CAPTIONS[0], True),)),
            CaptionedImage("b.png", buffer.getvalue(), 32, 32, ((CAPTIONS[1], False),)),
        ],
    )
    return tmp_path


def collator(folder: Path, crop: float = 1.0, seed: int = 0, caption_drop: float = 0.0, **losses: Any) -> PairCollator:
    corpus = PairShards(folder / "corpus")
    encoder = WordEncoder(train_wordpiece(CAPTIONS, 400, min_frequency=1), 16)
    views = PixelViews(corpus, 32, ViewSettings(crop=crop))
    captions = CaptionCollator(corpus, encoder, views, seed, caption_drop=caption_drop)
    return PairCollator(captions, LabelStore(folder / "labels"), LossSettings(**losses))


BOTH = [Sample(0, 0), Sample(0, 1)]


def batch(folder: Path, **losses: Any) -> dict[str, torch.Tensor]:
    """Both pairs, the second one falsified, without random views."""
    return collator(folder, **losses)(BOTH)


def test_a_sample_is_the_same_in_whatever_batch(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("promu.training.pair_batches.MASKED_SHARE", 0.5)
    make = collator(folder, crop=0.3, mlm=1)
    both, alone = make(BOTH), make(BOTH[:1])
    for name, value in alone.items():
        assert torch.equal(value, both[name][:1, ..., : value.shape[-1]] if value.ndim > 1 else both[name][:1]), name
    later = make([Sample(1, 0)])
    assert not torch.equal(later["boxes"], alone["boxes"]), "every epoch has other views"
    assert not torch.equal(collator(folder, crop=0.3, seed=1)(BOTH[:1])["boxes"], alone["boxes"])


def test_a_row_that_fills_up_a_batch_is_marked(folder: Path) -> None:
    found = collator(folder)([Sample(0, 0), Sample(0, 1, counts=False)])
    assert found["row_mask"].tolist() == [1, 0]


def test_images_beyond_the_budget_are_decoded_again_and_come_out_the_same(folder: Path) -> None:
    corpus = PairShards(folder / "corpus")
    settings = ViewSettings(crop=0.5)
    none, all_of_them = PixelViews(corpus, 16, settings, budget=0), PixelViews(corpus, 16, settings)
    for _ in range(2):
        for index in range(2):
            seen = [views(index, np.random.default_rng(index)) for views in (none, all_of_them)]
            assert torch.equal(seen[0][0], seen[1][0]) and seen[0][1] == seen[1][1]
    assert not none._decoded and len(all_of_them._decoded) == 2


def test_soft_labels_stand_at_their_regions(folder: Path) -> None:
    found = batch(folder)
    assert found["box_mask"].tolist() == [[1, 1], [0, 0]]
    assert torch.allclose(found["entity_labels"][0], torch.tensor([[0.7, 0.2, 0.1], [0.2, 0.5, 0.3]]), atol=1e-3)
    assert torch.allclose(found["relation_labels"], torch.tensor([[0.2, 0.8], [0.6, 0.4]]), atol=1e-3)
    assert found["matched"].tolist() == [1, 0]
    assert found["pixel_values"].shape == (2, 3, 32, 32)


def test_hard_labels_are_one_hot_at_the_largest(folder: Path) -> None:
    found = batch(folder, hard_labels=True)
    assert found["entity_labels"][0].tolist() == [[1, 0, 0], [0, 1, 0]]
    assert found["relation_labels"].tolist() == [[0, 1], [1, 0]]


def test_labels_under_the_confidence_floor_do_not_count(folder: Path) -> None:
    found = batch(folder, confidence_floor=0.65)
    assert found["box_mask"].tolist() == [[1, 0], [0, 0]]
    assert found["relation_mask"].tolist() == [1, 0]


def test_the_floor_acts_on_the_soft_label_where_hard_ones_are_learned(folder: Path) -> None:
    """The regions' top probabilities are .7 and .5, the images' .8 and .6; one-hot labels all have 1."""
    found = batch(folder, hard_labels=True, confidence_floor=0.65)
    assert found["box_mask"].tolist() == [[1, 0], [0, 0]] and found["relation_mask"].tolist() == [1, 0]
    assert found["entity_labels"][0].tolist() == [[1, 0, 0], [0, 1, 0]]
    soft = batch(folder, confidence_floor=0.65)
    assert torch.equal(soft["box_mask"], found["box_mask"]) and torch.equal(
        soft["relation_mask"], found["relation_mask"]
    )


def test_matched_only_leaves_the_falsified_pair_out_of_coe_and_cir(folder: Path) -> None:
    found = batch(folder, matched_only=True)
    assert found["box_mask"].tolist() == [[1, 1], [0, 0]]
    assert found["relation_mask"].tolist() == [1, 0]


def test_a_loss_of_weight_nought_costs_no_labels(folder: Path) -> None:
    assert "entity_labels" not in batch(folder, coe=0)
    assert "relation_labels" not in batch(folder, cir=0)
    assert "mlm_labels" not in batch(folder)


def test_masked_tokens_can_be_restored_from_their_labels(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("promu.training.pair_batches.MASKED_SHARE", 0.5)
    plain, masked = batch(folder), batch(folder, mlm=1)
    hidden = masked["mlm_labels"] != -100
    assert hidden.any()
    assert torch.equal(torch.where(hidden, masked["mlm_labels"], masked["input_ids"]), plain["input_ids"])


def test_only_falsified_pairs_lose_their_caption_and_each_by_its_own_dice(folder: Path) -> None:
    whole, dropped = collator(folder)(BOTH), collator(folder, caption_drop=1.0)(BOTH)
    lengths = dropped["attention_mask"].sum(-1).tolist()
    assert lengths[1] == 2, "nothing is left of the falsified caption but what stands around it"
    assert lengths[0] == whole["attention_mask"][0].sum()
    assert torch.equal(dropped["matched"], whole["matched"])
    make = collator(folder, caption_drop=0.4)
    read = [make([Sample(epoch, 1)])["attention_mask"].sum() > 2 for epoch in range(200)]
    assert sum(bool(one) for one in read) == pytest.approx(120, abs=25)
    assert [bool(make([Sample(epoch, 1)])["attention_mask"].sum() > 2) for epoch in range(50)] == [
        bool(one) for one in read[:50]
    ]
