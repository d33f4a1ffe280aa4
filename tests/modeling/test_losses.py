"""The losses of pre-training, each against figures worked by hand."""

from __future__ import annotations

import doctest
import math
from types import ModuleType

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch.nn import functional

from promu.modeling import contrastive, losses
from promu.modeling.configuration import PromuConfig
from promu.modeling.contrastive import CachedCITLoss, CITLoss, MatchedPairs, SharedSpace, contrastive_image_text_loss
from promu.modeling.losses import ITMLoss, JointLoss, SoftLabelLoss, TokenLoss
from promu.modeling.pretraining import PairOutput

ONE = torch.tensor(1.0)


def test_matching_loss_by_hand() -> None:
    # probabilities of the right answer: 3/4 and 1/4
    logits = torch.tensor([[0.0, math.log(3.0)], [math.log(1.0), math.log(3.0)]])
    loss = ITMLoss()(logits, torch.tensor([1, 0]))
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
    loss = SoftLabelLoss()(logits, labels, torch.tensor([1, 0]))
    assert loss.item() == pytest.approx((math.log(4) + math.log(4 / 3)) / 2)


@settings(max_examples=30)
@given(rows=st.integers(1, 5), width=st.integers(1, 6), seed=st.integers(0, 1000))
def test_one_hot_soft_labels_are_plain_cross_entropy(rows: int, width: int, seed: int) -> None:
    chance = torch.Generator().manual_seed(seed)
    logits = torch.randn(rows, width, generator=chance)
    target = torch.randint(0, width, (rows,), generator=chance)
    loss = SoftLabelLoss()(logits, functional.one_hot(target, width).float(), torch.ones(rows))
    torch.testing.assert_close(loss, functional.cross_entropy(logits, target))
    soft = torch.randn(rows, width, generator=chance).softmax(-1)
    torch.testing.assert_close(SoftLabelLoss()(logits, soft, torch.ones(rows)), functional.cross_entropy(logits, soft))


def test_rows_without_weight_change_neither_mean_nor_gradient() -> None:
    logits = torch.randn(2, 3, 4, requires_grad=True)
    labels = torch.randn(2, 3, 4).softmax(-1)
    weights = torch.tensor([[1, 0, 1], [0, 0, 1]])
    loss = SoftLabelLoss()(logits, labels, weights)
    kept = weights.bool()
    torch.testing.assert_close(loss, functional.cross_entropy(logits[kept], labels[kept]))
    loss.backward()
    assert logits.grad is not None and not logits.grad[~kept].any() and logits.grad[kept].all()


def test_soft_label_loss_of_nothing_is_zero_that_can_be_differentiated() -> None:
    logits = torch.randn(2, 3, requires_grad=True)
    loss = SoftLabelLoss()(logits, torch.full((2, 3), 1 / 3), torch.zeros(2))
    loss.backward()
    assert loss.item() == 0 and logits.grad is not None and not logits.grad.any()


def test_masked_language_loss_counts_masked_tokens_of_counting_rows_alone() -> None:
    logits = torch.tensor([[0.0, math.log(3.0)], [9.0, -9.0]])
    assert TokenLoss()(logits, torch.tensor([1, -100])).item() == pytest.approx(math.log(4 / 3))


@pytest.mark.parametrize("count", [0, 3])
def test_masked_language_loss_of_no_counting_token_is_zero_not_nan(count: int) -> None:
    logits = torch.randn(count, 5, requires_grad=True)
    loss = TokenLoss()(logits, torch.full((count,), -100))
    loss.backward()
    assert loss.item() == 0 and logits.grad is not None and not logits.grad.any()


def test_a_caption_is_told_token_by_token_with_smoothed_labels() -> None:
    """L_LM of BLIP: of `[CLS] x [SEP]` the second and third token count, in the row that is matched."""
    batch = {
        "input_ids": torch.tensor([[0, 1, 2], [0, 2, 1]]),
        "attention_mask": torch.ones(2, 3, dtype=torch.long),
        "matched": torch.tensor([1, 0]),
    }
    # probabilities of the right tokens: 1/2 (others 1/4), then 1/4 (others 1/4 and 1/2); row 2 does not count
    logits = torch.tensor([[1.0, 2.0, 1.0], [2.0, 1.0, 1.0], [9.0, 9.0, 0.0], [0.0, 9.0, 0.0]]).log()
    first = 0.9 * math.log(2) + 0.1 / 3 * (math.log(2) + 2 * math.log(4))
    second = 0.9 * math.log(4) + 0.1 / 3 * (math.log(2) + 2 * math.log(4))
    joint = JointLoss({"lm": 2.0})
    total, parts = joint(PairOutput(caption_logits=logits.nan_to_num(neginf=-9.0)), batch)
    assert parts["lm"].item() == pytest.approx((first + second) / 2)
    assert total.item() == pytest.approx(first + second)


def test_the_next_token_is_told_as_it_was_before_it_was_masked_and_tags_are_not_told() -> None:
    batch = {
        "input_ids": torch.tensor([[0, 4, 2, 3, 2]]),  # 4 masks a 1; behind the caption stands the tag 3
        "mlm_labels": torch.tensor([[-100, 1, -100, -100, -100]]),
        "attention_mask": torch.ones(1, 5, dtype=torch.long),
        "token_type_ids": torch.tensor([[0, 0, 0, 1, 1]]),
    }
    logits = torch.tensor([[0.0, 1.0, 0.0, 0.0, 0.0], [0.0, 0.0, 2.0, 0.0, 0.0]])
    expected = functional.cross_entropy(logits, torch.tensor([1, 2]), label_smoothing=0.1)
    parts = JointLoss({"lm": 1.0})(PairOutput(caption_logits=logits), batch)[1]
    torch.testing.assert_close(parts["lm"], expected)


def test_polluted_tags_by_hand() -> None:
    """Oscar: whether the tags are the image's, over matched rows that have tags."""
    batch = {
        "input_ids": torch.zeros(4, 3, dtype=torch.long),
        "matched": torch.tensor([1, 1, 1, 0]),
        "tag_labels": torch.tensor([1, 0, 1, 1]),
        "tag_mask": torch.tensor([1, 1, 0, 1]),
    }
    logits = torch.tensor([[0.0, math.log(3.0)], [0.0, math.log(3.0)], [9.0, 0.0], [9.0, 0.0]])
    parts = JointLoss({"tag": 1.0})(PairOutput(tag_logits=logits), batch)[1]
    assert parts["tag"].item() == pytest.approx((math.log(4 / 3) + math.log(4)) / 2)


@pytest.mark.parametrize("module", [losses, contrastive])
def test_every_loss_has_an_example(module: ModuleType) -> None:  # tests/test_imports.py runs them
    shown = {test.name.rpartition(".")[2] for test in doctest.DocTestFinder().find(module) if test.examples}
    here = {name for name, kind in vars(module).items() if name.endswith("Loss") and kind.__module__ == module.__name__}
    assert here == shown


def test_a_part_of_a_batch_has_the_loss_of_the_whole_and_its_own_gradient() -> None:
    torch.manual_seed(0)
    space = SharedSpace(PromuConfig(projection_dim=4))
    rows = torch.randn(5, 4, requires_grad=True)
    other = torch.randn(5, 4)
    ids = torch.tensor([3, 3, 4, 5, 6])
    whole = CITLoss(space)(MatchedPairs(rows, other, ids))
    whole.backward()
    expected, rows.grad = rows.grad, None
    parts = [MatchedPairs(rows[part].detach(), other[part], ids[part]) for part in (slice(0, 3), slice(3, 5))]
    for number, part in enumerate((slice(0, 3), slice(3, 5))):
        loss = CachedCITLoss(space, parts, number)(MatchedPairs(rows[part], other[part], ids[part]))
        torch.testing.assert_close(loss, whole)
        loss.backward()
    torch.testing.assert_close(rows.grad, expected)
