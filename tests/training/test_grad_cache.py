"""A batch read in parts has the losses and gradients of one pass, the contrastive ones too."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from accelerate import Accelerator
from tests.factories import joint_loss, tiny_config
from tests.modeling.test_distributed import HEADS, make_model, whole_batch

from promu.modeling.losses import JointLoss
from promu.modeling.pretraining import PromuDualEncoder, PromuForPreTraining
from promu.training.grad_cache import backward_in_parts, split


def gradients(model: torch.nn.Module) -> dict[str, torch.Tensor]:
    return {name: weight.grad for name, weight in model.named_parameters() if weight.grad is not None}


def assert_same(found: dict[str, torch.Tensor], expected: dict[str, torch.Tensor]) -> None:
    assert found.keys() == expected.keys()
    for name, value in expected.items():
        assert (found[name] - value).abs().max() < 1e-5 + 1e-4 * value.abs().max(), name


@pytest.mark.parametrize("norm", [False, True])
@pytest.mark.parametrize("rows", [1, 2, 3, 5])
def test_parts_have_the_gradients_of_the_whole(rows: int, norm: bool) -> None:
    whole = make_model(norm)
    expected, of_whole = joint_loss(whole, whole_batch())
    expected.backward()
    apart = make_model(norm)
    loss, parts = backward_in_parts(apart, JointLoss.of(apart), whole_batch(), rows, Accelerator(cpu=True))
    assert loss == pytest.approx(float(expected.detach()), rel=1e-4)
    assert_same(parts, of_whole)
    assert_same(gradients(apart), gradients(whole))
    assert gradients(apart)["space.log_temperature"] != 0
    # what the projections' normalisation remembers of the batch is remembered once
    for one, other in zip(whole.buffers(), apart.buffers(), strict=True):
        torch.testing.assert_close(one, other)


def test_the_teacher_s_batches_too() -> None:
    batch = {
        name: value
        for name, value in whole_batch().items()
        if name in ("input_ids", "attention_mask", "pixel_values", "row_mask", "image_ids", "caption_ids")
    }
    models = []
    for _ in range(2):
        torch.manual_seed(2)
        models.append(PromuDualEncoder(tiny_config(projection_dim=16)).train())
    expected, _ = joint_loss(models[0], batch)
    expected.backward()
    loss, parts = backward_in_parts(models[1], JointLoss.of(models[1]), batch, 2, Accelerator(cpu=True))
    assert loss == pytest.approx(float(expected.detach()), rel=1e-4) and parts == {"cit": loss}
    assert_same(gradients(models[1]), gradients(models[0]))


def test_a_part_repeats_the_dropout_of_its_first_pass() -> None:
    """With dropout the loss of one part, read twice, is the loss of reading it once with the same dice."""
    torch.manual_seed(3)
    config = tiny_config(projection_dim=16, text_hidden_dropout_prob=0.5)
    model = PromuDualEncoder(config).train()
    batch = {name: whole_batch()[name] for name in ("input_ids", "attention_mask", "pixel_values")}
    torch.manual_seed(4)
    expected, _ = joint_loss(model, batch)
    torch.manual_seed(4)
    loss, _ = backward_in_parts(model, JointLoss.of(model), batch, 5, Accelerator(cpu=True))
    torch.testing.assert_close(loss, expected.detach())
    torch.manual_seed(5)
    assert abs(float(joint_loss(model, batch)[0].detach()) - float(loss)) > 1e-4, (
        "there was no dropout: nothing was tested"
    )


def test_what_is_contrasted_is_the_same_in_both_passes() -> None:
    """A part's second pass must have the dropout of its first."""
    config = tiny_config(**HEADS, text_hidden_dropout_prob=0.5, loss_weights={"mlm": 0.5})
    model = PromuForPreTraining(config).train()
    seen: list[Any] = []
    model.register_forward_hook(lambda module, given, output: seen.append(output))
    backward_in_parts(model, JointLoss.of(model), whole_batch(), 2, Accelerator(cpu=True))
    first, second = seen[:3], seen[3:]
    assert len(second) == 3
    for one, other in zip(first, second, strict=True):
        torch.testing.assert_close(one.visual, other.visual.detach())
        torch.testing.assert_close(one.text, other.text.detach())


def test_parts_are_even_and_lose_no_row() -> None:
    parts = split(whole_batch(), 2)
    assert [len(part["matched"]) for part in parts] == [2, 2, 1]
    assert torch.equal(torch.cat([part["caption_ids"] for part in parts]), torch.arange(5))


def test_parts_without_the_contrast_are_read_once() -> None:
    model = PromuForPreTraining(tiny_config(**HEADS, loss_weights={"cit": 0.0}))
    calls: list[Any] = []
    model.register_forward_hook(lambda module, given, output: calls.append(output))
    expected, _ = joint_loss(model, whole_batch())
    loss, _ = backward_in_parts(model, JointLoss.of(model), whole_batch(), 2, Accelerator(cpu=True))
    assert loss == pytest.approx(float(expected.detach()), rel=1e-4) and len(calls) == 1 + 3
