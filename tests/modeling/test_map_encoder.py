"""A detector's maps as vision encoder: features and regions of one pass, kept features in place of images, saving."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from tests.modeling.tiny_detectors import save_tiny_yolov8, save_tiny_yolox
from transformers import AutoModel, BertConfig, BertModel

from promu.alignment.corpus_settings import DetectorSettings
from promu.alignment.detectors import build_detector
from promu.alignment.synonyms import COCO_NAMES
from promu.alignment.yolo import Frame, find_regions
from promu.corpora.images import load_image
from promu.errors import InputError
from promu.modeling.backbone import PromuModel
from promu.modeling.encoders import (
    encoder_config,
    image_normalisation,
    load_encoder,
    map_encoder,
)
from promu.modeling.inputs import to_pixels
from promu.modeling.map_encoder import MapEncoderModel
from promu.modeling.map_sources import bare_model

pytest.importorskip("onnx")

SMALL: dict[str, Any] = {"hidden_size": 16, "num_attention_heads": 2, "intermediate_size": 32, "grid": 4}


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return save_tiny_yolox(tmp_path / "tiny.onnx")


@pytest.fixture
def encoder(path: Path) -> MapEncoderModel:
    return map_encoder([path], **SMALL).eval()


def some_pixels(rows: int = 3) -> torch.Tensor:
    return torch.rand(rows, 3, 64, 64, generator=torch.Generator().manual_seed(1))


def test_what_promu_expects_of_a_vision_encoder(encoder: MapEncoderModel) -> None:
    assert encoder(pixel_values=some_pixels()).last_hidden_state.shape == (3, 17, 16)
    config = encoder.config
    assert (config.hidden_size, config.image_size, config.num_attention_heads) == (16, 64, 2)
    assert config.image_size // config.patch_size == config.grid == 4  # type: ignore[operator]
    assert encoder.feature_shape == (16, 45)


@pytest.mark.parametrize(("size", "grid"), [(416, 7), (256, 7), (288, 7), (224, 7), (640, 13), (49, 7), (320, 1)])
def test_the_grid_can_be_worked_out_from_image_and_patch_size(path: Path, size: int, grid: int) -> None:
    config = map_encoder([path], **{**SMALL, "image_size": size, "grid": grid}).config
    assert config.image_size // config.patch_size == grid  # type: ignore[operator]


def test_features_are_the_detectors_maps_pooled(encoder: MapEncoderModel) -> None:
    """Channel by channel against the trunk's own values: RGB in 0..1 reaches it as BGR in 0..255."""
    pixels = some_pixels()
    features = encoder.features(pixels)
    assert features.shape == (3, 16, 45) and not features.requires_grad
    graph: Any = encoder.sources[0].graph
    maps = graph(pixels[:, [2, 1, 0]] * 255, encoder.config.sources[0]["maps"])
    assert [tuple(value.shape[1:]) for value in maps.values()] == [
        *((4, 8, 8), (6, 4, 4), (8, 2, 2)),  # backbone
        *((4, 8, 8), (6, 4, 4), (8, 2, 2)),  # neck
        *((3, 8, 8), (3, 4, 4), (3, 2, 2)),  # class scores
    ]
    start = 0
    for value in maps.values():
        end = start + value.shape[1]
        for row, column in ((0, 0), (1, 3)):
            patch = features[:, row * 4 + column, start:end]
            side = value.shape[2]
            if side == 8:  # a patch is the mean of 2 x 2 cells
                cells = value[:, :, 2 * row : 2 * row + 2, 2 * column : 2 * column + 2].mean((2, 3))
            else:  # one cell, or a quarter of one
                cells = value[:, :, row * side // 4, column * side // 4]
            torch.testing.assert_close(patch, cells)
        start = end
    assert start == 45


def test_kept_features_stand_for_images(encoder: MapEncoderModel) -> None:
    features = encoder.features(some_pixels())
    torch.testing.assert_close(
        encoder(features=features).last_hidden_state, encoder(pixel_values=some_pixels()).last_hidden_state
    )


def test_normalisation_makes_channels_alike_and_survives(encoder: MapEncoderModel, tmp_path: Path) -> None:
    features = encoder.features(some_pixels(20))
    features[..., 7] = 3.0  # a channel that never varies
    assert not encoder.is_fitted
    encoder.fit_normalisation(features)
    assert encoder.is_fitted
    seen: list[torch.Tensor] = []
    encoder.embeddings.projection.register_forward_pre_hook(lambda module, given: seen.append(given[0]))
    encoder(features=features)
    flat = seen[0].flatten(0, 1)
    torch.testing.assert_close(flat.mean(0), torch.zeros(45), atol=1e-4, rtol=0)
    spread = torch.ones(45)
    spread[7] = 0
    torch.testing.assert_close(flat.std(0), spread, atol=1e-4, rtol=0)
    encoder.save_pretrained(tmp_path / "saved")
    assert MapEncoderModel.from_pretrained(tmp_path / "saved").is_fitted


def test_saving_and_loading_change_nothing_and_need_no_onnx(
    encoder: MapEncoderModel, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    encoder.fit_normalisation(encoder.features(some_pixels()))
    expected = encoder(pixel_values=some_pixels()).last_hidden_state
    encoder.save_pretrained(tmp_path / "saved")
    for package in ("onnx", "onnxruntime"):
        monkeypatch.setitem(sys.modules, package, None)
    for back in (AutoModel.from_pretrained(tmp_path / "saved"), load_encoder(str(tmp_path / "saved"))):
        assert isinstance(back, MapEncoderModel)
        assert torch.equal(back.eval()(pixel_values=some_pixels()).last_hidden_state, expected)
        assert back.trunk_checksum() == encoder.trunk_checksum()
    assert image_normalisation(str(tmp_path / "saved"))["image_std"] == [1, 1, 1]


def test_only_the_transformer_is_trained_unless_asked_for(path: Path, tmp_path: Path) -> None:
    encoder = map_encoder([path], **SMALL)
    assert not [name for name, _ in encoder.named_parameters() if name.startswith("sources")]
    encoder(pixel_values=some_pixels()).last_hidden_state.sum().backward()
    assert all(parameter.grad is not None for parameter in encoder.parameters())
    encoder.save_pretrained(tmp_path / "frozen")
    # the same weights, now to be trained
    trained: Any = MapEncoderModel.from_pretrained(tmp_path / "frozen", train_trunk=True)
    assert trained.trunk_checksum() == encoder.trunk_checksum()
    trained(pixel_values=some_pixels()).last_hidden_state[:, :, 0].sum().backward()
    # every parameter is used, as training on several machines demands: the boxes' own convolutions are none
    assert all(parameter.grad is not None for parameter in trained.parameters())
    trunk = dict(trained.sources.named_parameters())
    assert all(parameter.grad.any() for parameter in trunk.values())
    assert len(trunk) == len(trained.sources.state_dict()) - 2 * 2 * 3


def test_the_checksum_changes_with_whatever_changes_features(path: Path) -> None:
    made = [
        map_encoder([path], **SMALL),
        map_encoder([path], **{**SMALL, "grid": 5}),
        map_encoder([{"onnx": str(path), "maps": ["conv0"]}], **SMALL),
        map_encoder([path], **SMALL),
    ]
    made[3].sources.state_dict()["0.graph.w0"][0] += 1
    assert len({encoder.trunk_checksum() for encoder in made}) == 4
    # what comes after the features does not count
    other = map_encoder([path], **{**SMALL, "hidden_size": 32})
    assert other.trunk_checksum() == made[0].trunk_checksum()


def test_position_and_cls_matter(encoder: MapEncoderModel) -> None:
    features = encoder.features(some_pixels())
    shuffled = features[:, torch.randperm(16, generator=torch.Generator().manual_seed(0))]
    first, second = (encoder(features=value).last_hidden_state[:, 0] for value in (features, shuffled))
    assert not torch.allclose(first, second, atol=1e-5)


def test_a_backbone_starts_from_an_onnx_file_by_its_name(path: Path, tmp_path: Path) -> None:
    BertModel(
        BertConfig(vocab_size=60, hidden_size=16, num_hidden_layers=2, num_attention_heads=2, intermediate_size=32)
    ).save_pretrained(tmp_path / "text")
    promu = PromuModel.from_encoders(str(tmp_path / "text"), str(path)).eval()
    assert promu.config.image_size == 64 and promu.config.grid == 7
    pixels = (some_pixels() * 255).to(torch.uint8)
    output = promu(input_ids=torch.ones(3, 4, dtype=torch.long), pixel_values=pixels)
    assert output.visual.shape == (3, 50, 256)
    # bytes reach the detector in its own scale
    torch.testing.assert_close(output.visual, promu.vision_encoder(pixel_values=pixels.float() / 255).last_hidden_state)
    promu.save_pretrained(tmp_path / "promu")
    back = PromuModel.from_pretrained(tmp_path / "promu").eval()
    assert torch.equal(back(torch.ones(3, 4, dtype=torch.long), pixel_values=pixels).visual, output.visual)


def test_by_name_and_from_a_configuration(path: Path) -> None:
    config = encoder_config(str(path))
    assert config.model_type == "promu_maps" and config.channels == 45
    assert isinstance(load_encoder(str(path)), MapEncoderModel)
    assert image_normalisation(str(path)) == {"image_mean": [0, 0, 0], "image_std": [1, 1, 1]}
    scratch = bare_model(config)
    hidden = scratch(pixel_values=some_pixels()).last_hidden_state
    assert hidden.isfinite().all() and hidden.std() > 0.1


def test_one_pass_gives_features_and_regions(path: Path, encoder: MapEncoderModel, tmp_path: Path) -> None:
    image = Image.fromarray(np.random.default_rng(0).integers(0, 256, (64, 64, 3), dtype=np.uint8))
    (tmp_path / "names.txt").write_text("cat\ndog\nhorse\n")
    settings = DetectorSettings(confidence=0.05, class_names=tmp_path / "names.txt")
    pixels = torch.from_numpy(to_pixels(image, 64))[None] / 255
    features, said = encoder.outputs(pixels)
    assert torch.equal(features, encoder.features(pixels))
    found = find_regions(
        said[0].numpy(),
        encoder.config.sources[0]["layout"],
        (64, 64),
        Frame(1, 1),
        (64, 64),
        ("cat", "dog", "horse"),
        settings,
    )
    (expected,) = build_detector("yolo", path, settings).detect([image], ["a.png"])
    assert len(found) == len(expected) > 0
    for one, other in zip(found, expected, strict=True):
        assert one.box == pytest.approx(other.box, abs=1e-2) and one.label == other.label


def test_a_detector_of_another_build(tmp_path: Path) -> None:
    """v8 wants RGB in 0..1; of images in another size than it was exported for it gives its maps but no regions."""
    path = save_tiny_yolov8(tmp_path / "v8.onnx")
    encoder = map_encoder([path], **SMALL)
    assert encoder.config.sources[0]["layout"] == "yolov8" and encoder.feature_shape == (16, 45)
    graph: Any = encoder.sources[0].graph
    maps = graph(some_pixels(), encoder.config.sources[0]["maps"])
    assert [value.shape[1] for value in maps.values()] == [4, 6, 8, 4, 6, 8, 3, 3, 3]
    features, said = encoder.outputs(some_pixels())
    torch.testing.assert_close(
        features[:, 0, 36:39], maps[encoder.config.sources[0]["maps"][6]][:, :, :2, :2].mean((2, 3))
    )
    assert said.shape == (3, 7, 84)
    assert encoder.features(torch.rand(1, 3, 96, 96)).shape == (1, 16, 45)
    with pytest.raises(InputError, match=r"finds regions only in images of \[64, 64\] pixels, .* not \[96, 96\]"):
        encoder.outputs(torch.rand(1, 3, 96, 96))


@pytest.mark.parametrize(
    ("settings", "sentence"),
    [
        ({"image_size": 32}, "image_size 32 of a promu_maps encoder is too small for a grid of 7; use at least 49"),
        ({"num_attention_heads": 3}, "hidden_size 256 of a promu_maps encoder is no multiple of its 3"),
        ({"hiden_size": 3}, "encoder settings .promu_maps.: unknown key 'hiden_size'; known are"),
        ({"hidden_size": "wide"}, "encoder settings .promu_maps.: .*wide"),
    ],
)
def test_settings_that_do_not_work_say_why(path: Path, settings: dict[str, Any], sentence: str) -> None:
    with pytest.raises(InputError, match=sentence):
        map_encoder([path], **settings)


@pytest.mark.parametrize(
    ("source", "sentence"),
    [
        ({"maps": ["nose"]}, r"tiny\.onnx: the detector's graph has no map 'nose'"),
        ({"maps": ["output"]}, r"tiny\.onnx: value 'output' of its graph is no map: it has 3 dimensions, not 4"),
        ({"image_size": -3}, "image_size -3 of a source is no number of pixels"),
        ({"maps": 3}, "maps 3 of a source is no list of names; leave it out"),
        ({"maps": "backbone"}, "maps 'backbone' of a source is no list of names"),
        ({"imagesize": 3}, "a source has no setting 'imagesize'; known are onnx, maps, image_size"),
    ],
)
def test_sources_that_do_not_work_say_why(path: Path, source: dict[str, Any], sentence: str) -> None:
    with pytest.raises(InputError, match=sentence):
        map_encoder([{"onnx": str(path), **source}])


def test_a_description_without_a_source_is_refused() -> None:
    from promu.modeling.map_encoder import MapEncoderConfig

    with pytest.raises(InputError, match="needs networks whose maps it reads; name them as sources"):
        AutoModel.from_config(MapEncoderConfig())


def test_a_real_detector(shared: Path) -> None:
    path = shared / "models" / "yolox_nano" / "yolox_nano.onnx"
    encoder = map_encoder([path], image_size=416, num_hidden_layers=1)
    assert len(encoder.config.sources[0]["maps"]) == 9 and encoder.feature_shape == (
        49,
        64 + 128 + 256 + 64 + 128 + 256 + 3 * 80,
    )
    image = load_image(shared / "data" / "coco_mini" / "images" / "000000000790.jpg")
    features, said = encoder.outputs(torch.from_numpy(to_pixels(image, 416))[None] / 255)
    assert features.isfinite().all()
    frame = Frame(416 / image.width, 416 / image.height)
    found = find_regions(
        said[0].numpy(),
        encoder.config.sources[0]["layout"],
        (416, 416),
        frame,
        image.size,
        COCO_NAMES,
        DetectorSettings(),
    )
    # squeezed to a square instead of letterboxed, the detector sees much the same
    (expected,) = build_detector("yolo", path).detect([image], ["790"])
    assert {region.label for region in found[:1]} == {region.label for region in expected[:1]}
    smaller = map_encoder([path], image_size=256, num_hidden_layers=1)
    assert smaller(pixel_values=torch.rand(1, 3, 256, 256)).last_hidden_state.shape == (1, 50, 256)
