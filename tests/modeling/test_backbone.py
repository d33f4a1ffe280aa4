"""The backbone: one path for text with and without images, and a fusion that adds no weight."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import torch
from transformers import BertModel, ViTModel

from promu.errors import InputError
from promu.modeling.backbone import PromuModel
from promu.modeling.configuration import PromuConfig
from promu.modeling.encoders import encode_image

MakeConfig = Callable[..., PromuConfig]
MakeBatch = Callable[..., dict[str, torch.Tensor]]
CLOSE: dict[str, Any] = {"rtol": 1e-5, "atol": 1e-5}


def count(module: torch.nn.Module) -> int:
    return sum(parameter.numel() for parameter in module.parameters())


@pytest.mark.parametrize("fusion_layers", [None, 3])
def test_the_fused_sequence_is_all_text_tokens_visual_cls_and_patches(
    make_config: MakeConfig, make_batch: MakeBatch, fusion_layers: int | None
) -> None:
    model = PromuModel(make_config(fusion_layers=fusion_layers)).eval()
    seen: list[torch.Size] = []
    for layer in model.fusion.layers:
        layer.register_forward_hook(lambda module, args, output: seen.append(output.shape))
    output = model(**make_batch(rows=3, length=7))
    # N + 2 = 7 pieces, K + 1 = 17 visual tokens
    assert seen == [(3, 7 + 17, 32)] * (fusion_layers or 2)
    assert output.text.shape == output.fused_text.shape == (3, 7, 32)
    assert output.visual.shape == output.fused_visual.shape == (3, 17, 32)


def test_the_image_changes_the_text_and_the_text_the_image(make_config: MakeConfig, make_batch: MakeBatch) -> None:
    model = PromuModel(make_config()).eval()
    one, other = make_batch(rows=1, seed=0), make_batch(rows=1, seed=1)
    base = model(**one)
    with_image = model(**{**one, "pixel_values": other["pixel_values"]})
    assert (base.fused_text - with_image.fused_text).abs().max() > 1e-3
    torch.testing.assert_close(base.text, with_image.text)
    with_text = model(**{**one, "input_ids": other["input_ids"]})
    assert (base.fused_visual - with_text.fused_visual).abs().max() > 1e-3


@pytest.mark.parametrize("settings", [{}, {"fusion_layers": 2}, {"vision_hidden_size": 24}])
def test_a_row_without_image_is_read_as_text_alone(
    make_config: MakeConfig, make_batch: MakeBatch, settings: dict[str, Any]
) -> None:
    model = PromuModel(make_config(**settings)).eval()
    batch = make_batch(rows=3)
    mixed = model(**batch, image_mask=torch.tensor([1, 0, 1])).fused_text
    text_only = model(input_ids=batch["input_ids"], attention_mask=batch["attention_mask"]).fused_text
    images = model(**batch).fused_text
    torch.testing.assert_close(mixed[1], text_only[1], **CLOSE)
    torch.testing.assert_close(mixed[[0, 2]], images[[0, 2]], **CLOSE)
    alone = model(input_ids=batch["input_ids"][1:2]).fused_text
    torch.testing.assert_close(mixed[1:2], alone, **CLOSE)
    # whatever pixels stand in the masked row
    batch["pixel_values"][1] = 255 - batch["pixel_values"][1]
    torch.testing.assert_close(model(**batch, image_mask=torch.tensor([1, 0, 1])).fused_text[1], mixed[1], **CLOSE)


def test_padding_changes_no_result(make_config: MakeConfig, make_batch: MakeBatch) -> None:
    model = PromuModel(make_config()).eval()
    batch = make_batch(rows=2, length=6)
    expected = model(**batch)
    padded = {
        "input_ids": torch.cat([batch["input_ids"], torch.full((2, 5), 3)], 1),
        "attention_mask": torch.cat([batch["attention_mask"], torch.zeros(2, 5, dtype=torch.long)], 1),
        "pixel_values": batch["pixel_values"],
    }
    output = model(**padded)
    torch.testing.assert_close(output.fused_text[:, :6], expected.fused_text, **CLOSE)
    torch.testing.assert_close(output.fused_visual, expected.fused_visual, **CLOSE)


def test_visual_tokens_may_be_given_in_place_of_pixels(make_config: MakeConfig, make_batch: MakeBatch) -> None:
    model = PromuModel(make_config()).eval()
    batch = make_batch(rows=2)
    visual = encode_image(model.vision_encoder, batch["pixel_values"], model.config)  # type: ignore[arg-type]
    given = model(input_ids=batch["input_ids"], attention_mask=batch["attention_mask"], visual=visual)
    torch.testing.assert_close(given.fused_text, model(**batch).fused_text, **CLOSE)


def test_the_default_fusion_adds_no_weight(make_config: MakeConfig) -> None:
    config = make_config()
    model = PromuModel(config)
    bert = BertModel(config.text_config, add_pooling_layer=False)  # type: ignore[arg-type]
    vit = ViTModel(config.vision_config, add_pooling_layer=False)  # type: ignore[arg-type]
    assert count(model) == count(bert) + count(vit)
    assert len(model.text_encoder.encoder.layer) == len(model.fusion.layers) == 2  # type: ignore[union-attr, arg-type]


def test_the_default_fusion_is_the_upper_half_of_the_text_encoder(
    make_config: MakeConfig, make_batch: MakeBatch
) -> None:
    """Without an image, text encoder and fusion together are the whole text encoder again."""
    model = PromuModel(make_config()).eval()
    bert = BertModel(make_config().text_config, add_pooling_layer=False).eval()  # type: ignore[arg-type]
    weights = {name.removeprefix("text_encoder."): value for name, value in model.state_dict().items()}
    weights = {
        f"encoder.layer.{int(name.split('.')[2]) + 2}.{name.split('.', 3)[3]}"
        if name.startswith("fusion.")
        else name: value
        for name, value in weights.items()
        if not name.startswith("vision_encoder.")
    }
    bert.load_state_dict(weights)
    batch = make_batch(rows=2)
    expected = bert(input_ids=batch["input_ids"], attention_mask=batch["attention_mask"]).last_hidden_state
    fused = model(input_ids=batch["input_ids"], attention_mask=batch["attention_mask"]).fused_text
    torch.testing.assert_close(fused, expected, **CLOSE)


def test_an_odd_number_of_layers_gives_the_fusion_the_larger_half(make_config: MakeConfig) -> None:
    model = PromuModel(make_config(text_num_hidden_layers=5))
    assert (len(model.text_encoder.encoder.layer), len(model.fusion.layers)) == (2, 3)  # type: ignore[union-attr, arg-type]


def test_a_separate_stack_leaves_the_text_encoder_whole(make_config: MakeConfig) -> None:
    plain, separate = PromuModel(make_config()), PromuModel(make_config(fusion_layers=3))
    assert len(separate.text_encoder.encoder.layer) == 4  # type: ignore[union-attr, arg-type]
    assert count(separate) == count(plain) + 3 * count(separate.fusion.layers[0])


def test_a_text_encoder_of_one_layer_cannot_be_halved(make_config: MakeConfig) -> None:
    with pytest.raises(InputError, match="a text encoder of 1 layer cannot be halved; set fusion_layers to a number"):
        PromuModel(make_config(text_num_hidden_layers=1))
    assert len(PromuModel(make_config(text_num_hidden_layers=1, fusion_layers=1)).fusion.layers) == 1


def test_widths_that_differ_are_mapped_by_one_linear_layer(make_config: MakeConfig, make_batch: MakeBatch) -> None:
    model = PromuModel(make_config(vision_hidden_size=24)).eval()
    output = model(**make_batch(rows=2))
    assert output.visual.shape == (2, 17, 24) and output.fused_visual.shape == (2, 17, 32)
    assert count(model.fusion.visual_map) == 24 * 32 + 32


def test_a_text_only_backbone(make_config: MakeConfig, make_batch: MakeBatch) -> None:
    model = PromuModel(make_config(vision_config=None)).eval()
    batch = make_batch(rows=2)
    output = model(input_ids=batch["input_ids"])
    assert output.fused_text.shape == (2, 7, 32) and output.visual is None and output.fused_visual is None
    assert model.config.image_size is None


def test_attention_maps_cover_the_whole_sequence(make_config: MakeConfig, make_batch: MakeBatch) -> None:
    config = make_config()
    config.text_config._attn_implementation = "eager"  # type: ignore[union-attr]
    model = PromuModel(config).eval()
    batch = make_batch(rows=2)
    output = model(**batch, image_mask=torch.tensor([1, 0]), output_attentions=True)
    assert [weights.shape for weights in output.attentions] == [(2, 4, 24, 24)] * 2
    for weights in output.attentions:
        torch.testing.assert_close(weights.sum(-1), torch.ones(2, 4, 24))
        assert weights[0, :, :7, 7:].sum() > 0 and not weights[1, :, :, 7:].any()
    assert model(**batch).attentions is None


def test_attention_maps_of_a_model_that_computes_none_are_refused(
    make_config: MakeConfig, make_batch: MakeBatch
) -> None:
    model = PromuModel(make_config()).eval()
    with pytest.raises(InputError, match="load the model with attn_implementation='eager'"):
        model(**make_batch(), output_attentions=True)


def test_pixels_are_normalised_as_the_configuration_says(make_config: MakeConfig, make_batch: MakeBatch) -> None:
    """Bytes 0..255 under mean 0.5 and std 0.5 reach the vision encoder as -1..1."""
    model = PromuModel(make_config()).eval()
    seen: list[torch.Tensor] = []
    assert model.vision_encoder is not None
    model.vision_encoder.register_forward_pre_hook(
        lambda module, args, kwargs: seen.append(kwargs["pixel_values"]), with_kwargs=True
    )
    pixels = torch.zeros(1, 3, 16, 16, dtype=torch.uint8)
    pixels[:, 1] = 255
    model(**{**make_batch(rows=1), "pixel_values": pixels})
    assert seen[0].amin((0, 2, 3)).tolist() == seen[0].amax((0, 2, 3)).tolist() == [-1.0, 1.0, -1.0]


def test_gradients_reach_every_weight(make_config: MakeConfig, make_batch: MakeBatch) -> None:
    model = PromuModel(make_config(vision_hidden_size=24))
    output = model(**make_batch())
    (output.fused_text.square().sum() + output.fused_visual.square().sum()).backward()
    without = [name for name, parameter in model.named_parameters() if parameter.grad is None]
    assert without == []


@pytest.mark.parametrize(
    ("settings", "sentence"),
    [
        ({"fusion": "sum"}, "fusion 'sum' is unknown; use one of .*concat"),
        ({"pooling": "max"}, r"pooling 'max' is unknown; use one of cls, cls\+mean"),
    ],
)
def test_unknown_settings_are_refused_by_name(make_config: MakeConfig, settings: dict[str, Any], sentence: str) -> None:
    with pytest.raises(InputError, match=sentence):
        PromuModel(make_config(**settings))
