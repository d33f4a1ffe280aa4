"""The losses of pre-training, each against figures worked by hand."""

from __future__ import annotations

import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch.nn import functional

from promu.modeling.losses import (
    contrastive_image_text_loss,
    image_text_matching_loss,
    masked_language_loss,
    soft_label_loss,
)

ONE = torch.tensor(1.0)


def test_matching_loss_by_hand() -> None:
    # probabilities of the right answer: 3/4 and 1/4
    logits = torch.tensor([[0.0, math.log(3.0)], [math.log(1.0), math.log(3.0)]])
    loss = image_text_matching_loss(logits, torch.tensor([1, 0]))
    assert loss.item() == pytest.approx((math.log(4 / 3) + math.log(4)) / 2)


# Three pairs in a space of three dimensions: similarities are the entries of VISUAL, as TEXT is the identity.
VISUAL = torch.tensor([[0.9, 0.3, 0.1], [0.2, 0.8, 0.4], [0.5, 0.0, 0.6]])
TEXT = torch.eye(3)


def softmax_share(own: float, *others: float, temperature: float) -> float:
    """-log of the share that `own` has among itself and `others`."""
    return math.log(sum(math.exp(value / temperature) for value in (own, *others))) - own / temperature


def test_contrastive_loss_by_hand() -> None:
    t = 0.5
    to_text = [
        softmax_share(0.9, 0.3, 0.1, temperature=t),
        softmax_share(0.8, 0.2, 0.4, temperature=t),
        softmax_share(0.6, 0.5, 0.0, temperature=t),
    ]
    to_image = [
        softmax_share(0.9, 0.2, 0.5, temperature=t),
        softmax_share(0.8, 0.3, 0.0, temperature=t),
        softmax_share(0.6, 0.1, 0.4, temperature=t),
    ]
    expected = (sum(to_text) / 3 + sum(to_image) / 3) / 2
    loss = contrastive_image_text_loss(VISUAL, TEXT, torch.tensor(t), torch.arange(3), torch.arange(3))
    assert loss.item() == pytest.approx(expected, abs=1e-6)


def test_pairs_that_share_a_image_or_a_caption_are_never_negatives() -> None:
    t = 0.5
    # pairs 0 and 1 share an image, pairs 1 and 2 a caption: only 0 and 2 are left as each other's negatives
    to_text = [softmax_share(0.9, 0.1, temperature=t), 0.0, softmax_share(0.6, 0.5, temperature=t)]
    to_image = [softmax_share(0.9, 0.5, temperature=t), 0.0, softmax_share(0.6, 0.1, temperature=t)]
    expected = (sum(to_text) / 3 + sum(to_image) / 3) / 2
    image_ids, caption_ids = torch.tensor([7, 7, 8]), torch.tensor([1, 2, 2])
    visual = VISUAL.clone().requires_grad_()
    loss = contrastive_image_text_loss(visual, TEXT, torch.tensor(t), image_ids, caption_ids)
    assert loss.item() == pytest.approx(expected, abs=1e-6)
    loss.backward()
    assert visual.grad is not None and visual.grad.isfinite().all()
    assert not visual.grad[1].any(), "a pair without a negative pulls nothing"


def test_contrastive_loss_treats_both_directions_alike() -> None:
    visual, text = functional.normalize(torch.randn(2, 6, 4), dim=-1)
    ids = torch.tensor([0, 0, 1, 2, 3, 3])
    one = contrastive_image_text_loss(visual, text, ONE, ids, torch.arange(6))
    other = contrastive_image_text_loss(text, visual, ONE, torch.arange(6), ids)
    torch.testing.assert_close(one, other)


def test_no_matched_pair_gives_zero_that_can_be_differentiated() -> None:
    visual = torch.zeros(0, 4, requires_grad=True)
    temperature = torch.tensor(0.07, requires_grad=True)
    loss = contrastive_image_text_loss(visual, torch.zeros(0, 4), temperature)
    assert loss.item() == 0
    loss.backward()
    assert temperature.grad == 0


def test_contrastive_loss_does_not_round_in_autocast() -> None:
    visual, text = functional.normalize(torch.randn(2, 16, 8), dim=-1)
    expected = contrastive_image_text_loss(visual, text, torch.tensor(0.01))
    with torch.autocast("cpu", dtype=torch.bfloat16):
        torch.testing.assert_close(contrastive_image_text_loss(visual, text, torch.tensor(0.01)), expected)


def test_soft_label_loss_by_hand() -> None:
    # log-probabilities of [log 1, log 3]: 1/4 and 3/4
    logits = torch.tensor([[0.0, math.log(3.0)], [5.0, -5.0]])
    labels = torch.tensor([[0.5, 0.5], [1.0, 0.0]])
    loss = soft_label_loss(logits, labels, torch.tensor([1, 0]))
    assert loss.item() == pytest.approx((math.log(4) + math.log(4 / 3)) / 2)


@settings(max_examples=30)
@given(rows=st.integers(1, 5), width=st.integers(1, 6), seed=st.integers(0, 1000))
def test_one_hot_soft_labels_are_plain_cross_entropy(rows: int, width: int, seed: int) -> None:
    chance = torch.Generator().manual_seed(seed)
    logits = torch.randn(rows, width, generator=chance)
    target = torch.randint(0, width, (rows,), generator=chance)
    loss = soft_label_loss(logits, functional.one_hot(target, width).float(), torch.ones(rows))
    torch.testing.assert_close(loss, functional.cross_entropy(logits, target))
    soft = torch.randn(rows, width, generator=chance).softmax(-1)
    torch.testing.assert_close(soft_label_loss(logits, soft, torch.ones(rows)), functional.cross_entropy(logits, soft))


def test_rows_without_weight_change_neither_mean_nor_gradient() -> None:
    logits = torch.randn(2, 3, 4, requires_grad=True)
    labels = torch.randn(2, 3, 4).softmax(-1)
    weights = torch.tensor([[1, 0, 1], [0, 0, 1]])
    loss = soft_label_loss(logits, labels, weights)
    kept = weights.bool()
    torch.testing.assert_close(loss, functional.cross_entropy(logits[kept], labels[kept]))
    loss.backward()
    assert logits.grad is not None and not logits.grad[~kept].any() and logits.grad[kept].all()


def test_soft_label_loss_of_nothing_is_zero_that_can_be_differentiated() -> None:
    logits = torch.randn(2, 3, requires_grad=True)
    loss = soft_label_loss(logits, torch.full((2, 3), 1 / 3), torch.zeros(2))
    loss.backward()
    assert loss.item() == 0 and logits.grad is not None and not logits.grad.any()


def test_masked_language_loss_counts_masked_pieces_alone() -> None:
    logits = torch.tensor([[[0.0, math.log(3.0)], [9.0, -9.0]]])
    assert masked_language_loss(logits, torch.tensor([[1, -100]])).item() == pytest.approx(math.log(4 / 3))


def test_masked_language_loss_of_no_masked_piece_is_zero_not_nan() -> None:
    logits = torch.randn(2, 3, 5, requires_grad=True)
    loss = masked_language_loss(logits, torch.full((2, 3), -100))
    loss.backward()
    assert loss.item() == 0 and logits.grad is not None and not logits.grad.any()
