"""HVPNeT's visual prefix: what it is made of, how levels are mixed, and how text attends to it."""

from __future__ import annotations

import math
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from tests.factories import GRID, WIDTH, tiny_batch, tiny_config
from tests.modeling.tiny_detectors import save_tiny_yolox
from torch.nn import functional
from transformers import PreTrainedModel, ViTConfig

from promu.errors import InputError
from promu.modeling.backbone import PromuModel
from promu.modeling.encoders import encode_image, level_layers, map_encoder
from promu.modeling.fusions.base import Prefix, VisualFeatures
from promu.modeling.fusions.hvpnet import PrefixFusion, mix
from promu.modeling.losses import patch_coverage, pool_regions


@pytest.fixture
def model() -> PromuModel:
    return PromuModel(tiny_config(fusion="hvpnet", vision_hidden_size=24)).eval()


@pytest.fixture
def fusion(model: PromuModel) -> PrefixFusion:
    assert isinstance(model.fusion, PrefixFusion)
    return model.fusion


def test_levels_are_spread_over_the_layers_of_the_vision_encoder() -> None:
    assert level_layers(ViTConfig(num_hidden_layers=12), 4) == [0, 4, 8, 12]
    assert level_layers(ViTConfig(num_hidden_layers=2), 4) == [0, 1, 2]
    assert level_layers(ViTConfig(num_hidden_layers=1), 4) == [0, 1]


def test_levels_are_the_encoder_s_own_states(model: PromuModel) -> None:
    assert model.vision_encoder is not None
    pixels = tiny_batch(rows=2)["pixel_values"]
    levels = model.encode_visual(pixels)
    assert levels.shape == (2, 3, GRID**2 + 1, 24)
    torch.testing.assert_close(levels[:, -1], encode_image(model.vision_encoder, pixels, model.config))
    seen: list[torch.Tensor] = []
    model.vision_encoder.embeddings.register_forward_hook(lambda module, given, output: seen.append(output))  # type: ignore[union-attr]
    model.encode_visual(pixels)
    torch.testing.assert_close(levels[:, 0], seen[0])


def test_a_vision_encoder_that_keeps_its_levels_to_itself_is_refused(model: PromuModel) -> None:
    class Closed(torch.nn.Module):
        config = ViTConfig()

        def forward(self, pixel_values: torch.Tensor, output_hidden_states: bool) -> object:
            return type("Output", (), {"hidden_states": None})

    closed: PreTrainedModel = Closed()  # type: ignore[assignment]
    with pytest.raises(InputError, match="a 'vit' vision encoder does not return its lower levels; use another fusion"):
        encode_image(closed, tiny_batch()["pixel_values"], model.config, levels=4)


def test_a_detector_s_kept_features_have_levels_too(tmp_path: Path) -> None:
    pytest.importorskip("onnx")
    sizes = {"hidden_size": 16, "num_attention_heads": 2, "intermediate_size": 32, "grid": 4}
    encoder = map_encoder([save_tiny_yolox(tmp_path / "tiny.onnx")], **sizes).eval()
    model = PromuModel(tiny_config(fusion="hvpnet", vision_config=encoder.config)).eval()
    model.use_encoders(vision=encoder)
    features = torch.randn(2, *encoder.feature_shape)
    levels = model.encode_visual(None, image_features=features)
    assert levels.shape[:3] == (2, len(level_layers(encoder.config, 4)), encoder.feature_shape[0] + 1)
    torch.testing.assert_close(levels[:, -1], encoder(features=features).last_hidden_state)
    texts = {name: value for name, value in tiny_batch(rows=2).items() if name != "pixel_values"}
    assert model(**texts, image_features=features).fused_text.shape == (2, 7, WIDTH)


def test_the_gate_is_a_softmax_over_levels_for_each_layer(fusion: PrefixFusion) -> None:
    with torch.no_grad():
        fusion.gate.weight.zero_()
        fusion.gate.bias.copy_(torch.tensor([0.0, math.log(3), 0.0, math.log(2), 0.0, math.log(5)]))
    gates = fusion.gates(torch.randn(1, 3, 17, WIDTH))
    torch.testing.assert_close(gates, torch.tensor([[[0.2, 0.6, 0.2], [0.25, 0.125, 0.625]]]))


def test_the_gate_reads_the_mean_of_the_image_through_a_leaky_relu(fusion: PrefixFusion) -> None:
    levels = torch.zeros(1, 3, 17, WIDTH)
    levels[..., 0], levels[..., 1] = 2.0, -100.0
    with torch.no_grad():
        fusion.gate.weight.zero_()
        fusion.gate.bias.zero_()
        fusion.gate.weight[0, 0] = 1.0  # first layer, first level: 2
        fusion.gate.weight[1, 1] = 1.0  # first layer, second level: -100 / 100
    scores = [math.exp(2.0), math.exp(-1.0), 1.0]
    torch.testing.assert_close(fusion.gates(levels)[0, 0], torch.tensor(scores) / sum(scores))


def test_a_prefix_is_visual_cls_quarters_and_regions(fusion: PrefixFusion) -> None:
    boxes = torch.tensor([[[0.0, 0.0, 0.5, 0.125], [0.0, 0.0, 0.0, 0.0]]])
    shares = fusion.shares(VisualFeatures(torch.zeros(1, 3, 17, 24), boxes=boxes))[0]
    assert shares.shape == (1 + 4 + 2, 17)
    expected = torch.zeros(7, 17)
    expected[0, 0] = 1.0
    # rows of four patches behind the CLS: the first quarter is patches 0, 1, 4, 5
    expected[1, [1, 2, 5, 6]] = 0.25
    expected[2, [3, 4, 7, 8]] = 0.25
    expected[3, [9, 10, 13, 14]] = 0.25
    expected[4, [11, 12, 15, 16]] = 0.25
    expected[5, [1, 2]] = 0.5  # half of the first two patches, and of nothing else
    torch.testing.assert_close(shares, expected)


def plain_attention(layer: torch.nn.Module, hidden: torch.Tensor, keys: list[torch.Tensor]) -> torch.Tensor:
    """One text's attention (N, d), word by word and head by head; `keys` are prefix keys and values (heads, P, d_h)."""
    attention = layer.attention.self  # type: ignore[union-attr]
    heads, width = keys[0].shape[0], hidden.shape[-1] // keys[0].shape[0]
    read = torch.zeros_like(hidden)
    for word in range(len(hidden)):
        for head in range(heads):
            part = slice(head * width, (head + 1) * width)
            query = attention.query(hidden[word])[part]  # type: ignore[operator, union-attr]
            own = [(attention.key(vector)[part], attention.value(vector)[part]) for vector in hidden]  # type: ignore[operator, union-attr]
            pairs = [*own, *zip(keys[0][head], keys[1][head], strict=True)]
            scores = torch.stack([query @ key / math.sqrt(width) for key, _ in pairs]).softmax(0)
            read[word, part] = sum(share * value for share, (_, value) in zip(scores, pairs, strict=True))  # type: ignore[assignment]
    return attention_output(layer)(read, hidden)


def attention_output(layer: torch.nn.Module) -> Callable[..., torch.Tensor]:
    return layer.attention.output  # type: ignore[return-value, union-attr]


@torch.no_grad()
def test_text_attends_to_itself_and_to_the_prefix(fusion: PrefixFusion) -> None:
    layer, hidden = fusion.layers[0], torch.randn(1, 5, WIDTH)
    keys, values = torch.randn(1, 4, 3, WIDTH // 4), torch.randn(1, 4, 3, WIDTH // 4)
    mask = fusion.attention_mask(hidden, torch.tensor([[1, 1, 1, 1, 1, 1, 1, 0]]))
    found, _ = layer.attention(hidden, mask, None, None, Prefix(keys, values))  # type: ignore[operator]
    expected = plain_attention(layer, hidden[0], [keys[0, :, :2], values[0, :, :2]])
    torch.testing.assert_close(found[0], expected, rtol=1e-4, atol=1e-5)


@torch.no_grad()
def test_the_vectors_of_a_prefix_give_one_key_and_one_value_each(fusion: PrefixFusion) -> None:
    mixed = torch.randn(2, 3, WIDTH)
    prefix = fusion._prefix(1, mixed)
    both = functional.linear(mixed, fusion.keys_values[1].weight, fusion.keys_values[1].bias)  # type: ignore[arg-type]
    width = WIDTH // 4
    for head in range(4):
        torch.testing.assert_close(prefix.keys[:, head], both[..., head * width : (head + 1) * width])
        torch.testing.assert_close(prefix.values[:, head], both[..., WIDTH + head * width : WIDTH + (head + 1) * width])


@torch.no_grad()
def test_the_region_vector_of_l_coe_is_what_the_last_layer_s_key_is_made_of(
    model: PromuModel, fusion: PrefixFusion
) -> None:
    boxes = torch.tensor([[[0.1, 0.0, 0.6, 0.4], [0.5, 0.5, 0.9, 1.0]]]).expand(3, -1, -1)
    seen: list[torch.Tensor] = []
    fusion.keys_values[-1].register_forward_pre_hook(lambda module, given: seen.append(given[0]))
    output = model(**tiny_batch(), boxes=boxes)
    regions = pool_regions(output.fused_visual[:, 1:], patch_coverage(boxes, GRID))
    torch.testing.assert_close(seen[0][:, -2:], regions)


@torch.no_grad()
def test_regions_and_every_level_are_read(model: PromuModel) -> None:
    batch = tiny_batch()
    texts = {name: batch[name] for name in ("input_ids", "attention_mask")}
    visual = model.encode_visual(batch["pixel_values"])
    plain = model(**texts, visual=visual).fused_text
    boxes = torch.tensor([[[0.0, 0.0, 0.2, 0.2]]]).expand(3, -1, -1)
    assert (model(**texts, visual=visual, boxes=boxes).fused_text - plain).abs().max() > 1e-4
    for level in range(3):
        other = visual.clone()
        other[:, level] = other[:, level].flip(0)
        assert (model(**texts, visual=other).fused_text - plain).abs().max() > 1e-4, level


def test_mixing_weighs_levels_row_by_row() -> None:
    levels = torch.tensor([[[[1.0]], [[10.0]]], [[[2.0]], [[20.0]]]])
    assert mix(levels, torch.tensor([[0.5, 0.5], [0.0, 1.0]])).flatten().tolist() == [5.5, 20.0]
