"""Caption pairs as batches: what the losses are given."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from PIL import Image

from promu.alignment.label_store import LabelHeader, LabelStore, PictureLabels, SparseLabels
from promu.modeling.inputs import WordEncoder
from promu.schema import CaptionPair
from promu.training.pair_batches import PairCollator
from promu.training.recipe import LossSettings
from promu.training.wordpiece import train_wordpiece

NOUNS = ("woman", "trophy", "tower")
RELATIONS = ("spouse", "award received")
CAPTIONS = ("a woman lifts the trophy", "the tower at night")


@pytest.fixture()
def folder(tmp_path: Path) -> Path:
    for name in ("a.png", "b.png"):
        Image.new("RGB", (32, 32), (10, 200, 30)).save(tmp_path / name)
    header = LabelHeader("t", "d", NOUNS, RELATIONS, "1", "A", 0.1, 3)
    store = LabelStore(tmp_path / "labels", header)
    two = PictureLabels(
        torch.tensor([[0.0, 0.0, 0.5, 1.0], [0.5, 0.0, 1.0, 1.0]]),
        SparseLabels.from_dense(torch.tensor([[0.7, 0.2, 0.1], [0.2, 0.5, 0.3]]), 3),
        SparseLabels.from_dense(torch.tensor([[0.2, 0.8]]), 3),
    )
    none = PictureLabels(
        torch.zeros(0, 4),
        SparseLabels.from_dense(torch.zeros(0, 3), 3),
        SparseLabels.from_dense(torch.tensor([[0.6, 0.4]]), 3),
    )
    store.add(["a.png", "b.png"], [two, none])
    return tmp_path


def batch(folder: Path, **losses: Any) -> dict[str, torch.Tensor]:
    """Both pairs, the second one falsified, without random views."""
    pairs = [CaptionPair("a.png", CAPTIONS[0], True), CaptionPair("b.png", CAPTIONS[1], False)]
    encoder = WordEncoder(train_wordpiece(CAPTIONS, 400, min_frequency=1), 16)
    store = LabelStore(folder / "labels")
    return PairCollator(pairs, folder, encoder, store, LossSettings(**losses), 32, 1.0)([0, 1])


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


def test_matched_only_leaves_the_falsified_pair_out_of_coe_and_cir(folder: Path) -> None:
    found = batch(folder, matched_only=True)
    assert found["box_mask"].tolist() == [[1, 1], [0, 0]]
    assert found["relation_mask"].tolist() == [1, 0]


def test_a_loss_of_weight_nought_costs_no_labels(folder: Path) -> None:
    assert "entity_labels" not in batch(folder, coe=0)
    assert "relation_labels" not in batch(folder, cir=0)
    assert "mlm_labels" not in batch(folder)


def test_masked_pieces_can_be_restored_from_their_labels(folder: Path) -> None:
    torch.manual_seed(0)
    plain, masked = batch(folder), batch(folder, mlm=1, mask_share=0.5)
    hidden = masked["mlm_labels"] != -100
    assert hidden.any()
    assert torch.equal(torch.where(hidden, masked["mlm_labels"], masked["input_ids"]), plain["input_ids"])
