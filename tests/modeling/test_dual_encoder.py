"""The teacher's dual encoder: unit vectors in one space, and able to learn sixteen pairs by heart."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import pytest
import torch
from tests.factories import joint_loss

from promu.errors import InputError
from promu.modeling.configuration import PromuConfig
from promu.modeling.contrastive import SharedSpace, contrastive_image_text_loss
from promu.modeling.pretraining import PromuDualEncoder

MakeConfig = Callable[..., PromuConfig]
MakeBatch = Callable[..., dict[str, torch.Tensor]]


def test_vectors_are_of_unit_length_in_one_space(make_config: MakeConfig, make_batch: MakeBatch) -> None:
    model = PromuDualEncoder(make_config(vision_hidden_size=24, projection_dim=16)).eval()
    batch = make_batch(rows=3)
    texts = model.encode_text(batch["input_ids"], batch["attention_mask"])
    for vectors in (model.encode_images(batch["pixel_values"]), texts):
        assert vectors.shape == (3, 16)
        torch.testing.assert_close(vectors.norm(dim=-1), torch.ones(3))


@pytest.mark.parametrize("norm", [False, True])
def test_it_learns_sixteen_pairs_by_heart(make_config: MakeConfig, make_batch: MakeBatch, norm: bool) -> None:
    config = make_config(
        projection_dim=16,
        projection_norm=norm,
        pooling="cls+mean",
        text_num_hidden_layers=1,
        vision_num_hidden_layers=1,
    )
    model = PromuDualEncoder(config)
    batch = make_batch(rows=16)
    optimiser = torch.optim.Adam(model.parameters(), lr=3e-3)
    first = joint_loss(model, batch)[0].item()
    for _ in range(80):
        optimiser.zero_grad()
        loss = joint_loss(model, batch)[0]
        loss.backward()
        optimiser.step()
    assert first > 1 and loss.item() < 0.05


@pytest.mark.parametrize(("log_temperature", "expected"), [(-20.0, 0.001), (5.0, 0.5), (-2.0, 0.1353)])
def test_the_temperature_is_brought_back_into_its_limits(
    make_config: MakeConfig, log_temperature: float, expected: float
) -> None:
    space = SharedSpace(make_config())
    with torch.no_grad():
        space.log_temperature.fill_(log_temperature)
    space.clamp_temperature()
    assert space.temperature.item() == pytest.approx(expected, rel=1e-3)


def test_a_temperature_beyond_its_limits_has_a_gradient_and_comes_back(make_config: MakeConfig) -> None:
    """Two pairs, the wrong one the more alike: the higher the temperature the better, and T starts below its limit."""
    space = SharedSpace(make_config(projection_dim=2))
    with torch.no_grad():
        space.log_temperature.fill_(math.log(1e-4))
    visual, text = torch.eye(2), torch.tensor([[0.6, 0.8], [0.8, 0.6]])
    optimiser = torch.optim.SGD(space.parameters(), lr=1e-4)
    loss = contrastive_image_text_loss(visual, text, space.temperature)
    loss.backward()  # T is 1e-4 and the loss .2 / T, so its derivative by log T is -2000
    assert loss.item() == pytest.approx(2000, rel=1e-3)
    assert space.log_temperature.grad is not None
    assert space.log_temperature.grad.item() == pytest.approx(-2000, rel=1e-3)
    optimiser.step()
    space.clamp_temperature()
    assert space.temperature.item() == pytest.approx(0.001, rel=1e-3)


def test_the_temperature_starts_as_configured_and_is_learned(make_config: MakeConfig, make_batch: MakeBatch) -> None:
    model = PromuDualEncoder(make_config())
    assert model.space.temperature.item() == pytest.approx(0.07)
    joint_loss(model, make_batch())[0].backward()
    assert model.space.log_temperature.grad is not None and model.space.log_temperature.grad != 0


def test_projections_with_a_hidden_layer(make_config: MakeConfig, make_batch: MakeBatch) -> None:
    """Linear unless asked for; with a hidden layer vectors still have length 1, and dropout ends with training."""
    assert isinstance(SharedSpace(make_config()).visual, torch.nn.Linear)
    model = PromuDualEncoder(make_config(projection_dim=16, projection_hidden=24, projection_dropout=0.5))
    layers: Any = model.space.visual
    kinds = [type(layer).__name__ for layer in layers]
    assert kinds == ["Linear", "GELU", "Dropout", "Linear"] and layers[0].out_features == 24
    batch = make_batch(rows=3)
    vectors = model.eval().encode_images(batch["pixel_values"])
    torch.testing.assert_close(vectors.norm(dim=-1), torch.ones(3))
    assert torch.equal(vectors, model.encode_images(batch["pixel_values"]))
    pooled = torch.rand(3, layers[0].in_features)
    assert not torch.equal(model.train().space.project_visual(pooled), model.space.project_visual(pooled))
    with pytest.raises(InputError, match="projection_dropout needs projection_hidden"):
        make_config(projection_dropout=0.5)
