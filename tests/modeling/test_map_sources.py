"""Backbones by name as vision encoders: convolutional ones and transformers, alone and side by side, frozen or not."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from tests.modeling.tiny_detectors import save_tiny_yolox
from torch import nn
from transformers import AutoModel, BertConfig, BertModel

from promu.config import ModelSettings
from promu.errors import InputError
from promu.modeling.backbone import PromuModel
from promu.modeling.encoders import config_of, image_normalisation, load_encoder, map_encoder
from promu.modeling.map_encoder import MapEncoderModel
from promu.modeling.map_sources import NetworkSource, on_onnxruntime

SMALL: dict[str, Any] = {"hidden_size": 16, "num_attention_heads": 2, "intermediate_size": 32, "num_hidden_layers": 1}
BACKBONES: dict[str, dict[str, Any]] = {
    "resnet": {"embedding_size": 8, "hidden_sizes": [8, 16], "depths": [1, 1], "layer_type": "basic"},
    "convnext": {"hidden_sizes": [8, 16], "depths": [1, 1], "num_stages": 2},
    "mobilenet_v2": {"depth_multiplier": 0.25, "image_size": 64},
    "efficientnet": {"width_coefficient": 0.25, "depth_coefficient": 0.25, "image_size": 64, "hidden_dim": 320},
    "swin": {"embed_dim": 8, "depths": [1, 1], "num_heads": [1, 2], "image_size": 64, "window_size": 4},
    "promu_efficientnet_lite": {"width": 0.25, "depth": 0.25, "hidden_size": 24, "image_size": 64},
}
CHANNELS = {
    "resnet": 16,
    "convnext": 16,
    "mobilenet_v2": 1280,
    "efficientnet": 320,
    "swin": 16,
    "promu_efficientnet_lite": 24,
}


def save_backbone(folder: Path, kind: str) -> str:
    """A tiny backbone with random weights, as the hub has it, with what says how its images are normalised."""
    torch.manual_seed(0)
    network = AutoModel.from_config(config_of({"model_type": kind, **BACKBONES[kind]}, "encoder", ""))
    for module in network.modules():  # statistics that evaluation mode can be told by
        if isinstance(module, nn.BatchNorm2d):
            module.running_mean.fill_(0.1)  # type: ignore[union-attr]
    network.save_pretrained(folder)
    text = '{"image_processor_type": "ViTImageProcessor", "image_mean": [0.1, 0.2, 0.3], "image_std": [0.5, 0.6, 0.7]}'
    (folder / "preprocessor_config.json").write_text(text)
    return str(folder)


def some_pixels(rows: int = 2, side: int = 64) -> torch.Tensor:
    return torch.rand(rows, 3, side, side, generator=torch.Generator().manual_seed(1))


@pytest.mark.parametrize(
    "kind", ["resnet", *(pytest.param(kind, marks=pytest.mark.slow) for kind in BACKBONES if kind != "resnet")]
)
def test_a_backbone_by_name_gives_tokens_and_is_trained(kind: str, tmp_path: Path) -> None:
    name = save_backbone(tmp_path / kind, kind)
    encoder = load_encoder(name)
    assert isinstance(encoder, MapEncoderModel)
    assert encoder.config.channels == CHANNELS[kind]
    assert image_normalisation(name) == {"image_mean": [0, 0, 0], "image_std": [1, 1, 1]}, "its own comes later"
    side = int(encoder.config.image_size)  # type: ignore[arg-type]
    states = encoder(pixel_values=some_pixels(side=side)).last_hidden_state
    assert states.shape == (2, 50, 256)
    states[:, :, 0].sum().backward()
    trained = [parameter for name, parameter in encoder.named_parameters() if name.startswith("sources")]
    assert trained and sum(parameter.grad is not None for parameter in trained) > len(trained) / 2
    encoder.save_pretrained(tmp_path / "saved")
    back = load_encoder(str(tmp_path / "saved"))
    expected = encoder.eval()(pixel_values=some_pixels(side=side)).last_hidden_state
    assert torch.equal(back.eval()(pixel_values=some_pixels(side=side)).last_hidden_state, expected)
    assert isinstance(back, MapEncoderModel) and back.trunk_checksum() == encoder.trunk_checksum()


def test_the_map_is_that_of_the_network_on_its_own_pixels(tmp_path: Path) -> None:
    """Normalised as the network was trained, pooled to the grid, patch by patch from the top left."""
    name = save_backbone(tmp_path / "net", "resnet")
    encoder = map_encoder([{"name": name, "image_size": 64}], grid=4, **SMALL).eval()
    network: Any = AutoModel.from_pretrained(name).eval()
    mean, std = (torch.tensor(value).view(1, 3, 1, 1) for value in ([0.1, 0.2, 0.3], [0.5, 0.6, 0.7]))
    last = network(pixel_values=(some_pixels() - mean) / std).last_hidden_state
    side = last.shape[2] // 4
    features = encoder.features(some_pixels())
    assert features.shape == (2, 16, 16)
    for row, column in ((0, 0), (1, 3), (3, 2)):
        cells = last[:, :, row * side : (row + 1) * side, column * side : (column + 1) * side].mean((2, 3))
        torch.testing.assert_close(features[:, row * 4 + column], cells)


def test_a_vision_transformer_as_source_gives_its_patches_and_not_its_cls(tmp_path: Path) -> None:
    sizes = {"hidden_size": 16, "num_hidden_layers": 1, "num_attention_heads": 2, "intermediate_size": 32}
    encoder = map_encoder([{"model_type": "vit", "image_size": 64, "patch_size": 16, **sizes}], grid=4, **SMALL).eval()
    network: Any = encoder.sources[0].network
    hidden = network(pixel_values=(some_pixels() - 0.5) / 0.5).last_hidden_state
    assert hidden.shape == (2, 17, 16)
    torch.testing.assert_close(encoder.features(some_pixels()), hidden[:, 1:])


def test_sources_side_by_side_each_see_the_image_in_their_own_size(tmp_path: Path) -> None:
    pytest.importorskip("onnx")
    detector = save_tiny_yolox(tmp_path / "tiny.onnx")
    name = save_backbone(tmp_path / "net", "resnet")
    pixels = some_pixels(side=96)
    both = map_encoder([{"onnx": str(detector), "image_size": 64}, {"name": name, "image_size": 96}], grid=4, **SMALL)
    assert both.config.image_size == 96 and both.feature_shape == (16, 45 + 16)
    features = both.eval().features(pixels)
    smaller = torch.nn.functional.interpolate(pixels, (64, 64), mode="bilinear", antialias=True)
    torch.testing.assert_close(features[..., :45], map_encoder([detector], grid=4, **SMALL).features(smaller))
    alone = map_encoder([{"name": name, "image_size": 96}], grid=4, **SMALL).eval()
    torch.testing.assert_close(features[..., 45:], alone.features(pixels))
    maps, said = both.outputs(pixels)
    torch.testing.assert_close(maps, features)
    assert said.shape == (2, 84, 8), "the detector among them still finds regions"
    with pytest.raises(InputError, match="none of this encoder's sources is a detector"):
        alone.outputs(pixels)


def test_frozen_networks_stay_as_they_are(tmp_path: Path) -> None:
    """No parameter for an optimiser, no batch statistics from training, and equal features in both modes."""
    encoder = map_encoder([save_backbone(tmp_path / "net", "mobilenet_v2")], **SMALL)
    assert not [name for name, one in encoder.named_parameters() if name.startswith("sources") and one.requires_grad]
    before = encoder.eval().features(some_pixels())
    weights = {name: value.clone() for name, value in encoder.sources.state_dict().items()}
    encoder.train()
    encoder(pixel_values=some_pixels()).last_hidden_state.sum().backward()
    assert torch.equal(encoder.features(some_pixels()), before)
    assert all(torch.equal(value, weights[name]) for name, value in encoder.sources.state_dict().items())
    assert all((parameter.grad is not None) == parameter.requires_grad for parameter in encoder.parameters())
    encoder.save_pretrained(tmp_path / "saved")
    back = load_encoder(str(tmp_path / "saved")).train()
    assert not [name for name, one in back.named_parameters() if name.startswith("sources") and one.requires_grad]


def test_onnxruntime_computes_the_same_features(tmp_path: Path) -> None:
    pytest.importorskip("onnxruntime")
    pytest.importorskip("onnxscript")
    encoder = map_encoder([save_backbone(tmp_path / "net", "promu_efficientnet_lite")], **SMALL).eval()
    source = encoder.sources[0]
    assert isinstance(source, NetworkSource)
    expected = encoder.features(some_pixels(3))
    with torch.inference_mode(), on_onnxruntime(list(encoder.sources), 4):
        assert source.faster is not None
        for rows in (3, 1, 3):
            torch.testing.assert_close(encoder.features(some_pixels(3)[:rows]), expected[:rows], atol=1e-4, rtol=1e-4)
    assert source.faster is None


def test_a_recipe_names_sources_or_describes_a_backbone(tmp_path: Path) -> None:
    from tests.factories import caption_tokenizer

    from promu.modeling.initial_model import build_model

    BertModel(BertConfig(vocab_size=90, hidden_size=16, num_hidden_layers=2, num_attention_heads=2)).save_pretrained(
        tmp_path / "text"
    )
    name = save_backbone(tmp_path / "net", "resnet")
    described = {"model_type": "convnext", **BACKBONES["convnext"]}
    for vision, frozen in (
        ({"model_type": "promu_maps", "sources": [name, described], **SMALL}, True),
        (described, False),
        (name, False),
    ):
        settings = ModelSettings(text=str(tmp_path / "text"), vision=vision)
        model = build_model(PromuModel, settings, caption_tokenizer())
        assert isinstance(model.vision_encoder, MapEncoderModel)
        sources = [p for n, p in model.vision_encoder.named_parameters() if n.startswith("sources")]
        assert all(parameter.requires_grad != frozen for parameter in sources) and sources
        assert list(model.config.image_std) == [1, 1, 1]
    bad: dict[str, Any] = {"model_type": "promu_maps", "sources": name}
    with pytest.raises(InputError, match="sources of a promu_maps encoder is a list of networks"):
        build_model(PromuModel, ModelSettings(text=str(tmp_path / "text"), vision=bad), caption_tokenizer())
    with pytest.raises(InputError, match="a source needs a network; give name"):
        map_encoder([{"image_size": 64}])
    for text in (str(tmp_path / "text"), {"model_type": "bert"}):
        with pytest.raises(InputError, match="a 'bert' model reads text, and a source is read from images"):
            map_encoder([text])
