"""Pretrained encoders of others: their weights arrive, and nothing is unpickled."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from transformers import (
    BertConfig,
    BertModel,
    CLIPConfig,
    CLIPImageProcessorPil,
    CLIPModel,
    CLIPTextConfig,
    CLIPVisionConfig,
    DistilBertConfig,
    DistilBertModel,
    RobertaConfig,
    RobertaModel,
    ViTConfig,
    ViTModel,
)

from promu.errors import InputError
from promu.modeling.backbone import PromuModel
from promu.modeling.encoders import encoder_config, load_encoder, normalise_pixels, pooled
from promu.modeling.small_encoders import ConvViTConfig, ConvViTModel

SIZES: dict[str, Any] = {
    "hidden_size": 32,
    "num_hidden_layers": 4,
    "num_attention_heads": 4,
    "intermediate_size": 48,
    "initializer_range": 0.2,
}
TEXTS: dict[str, tuple[Any, Any]] = {
    "bert": (BertModel, BertConfig(vocab_size=90, max_position_embeddings=64, **SIZES)),
    "roberta": (RobertaModel, RobertaConfig(vocab_size=90, max_position_embeddings=66, pad_token_id=1, **SIZES)),
}


@pytest.fixture
def vision(tmp_path: Path) -> ViTModel:
    model = ViTModel(ViTConfig(image_size=16, patch_size=4, **{**SIZES, "hidden_size": 24})).eval()
    model.save_pretrained(tmp_path / "vision")
    return model


@pytest.mark.parametrize("kind", TEXTS)
def test_saved_encoders_give_their_own_outputs(kind: str, vision: ViTModel, tmp_path: Path) -> None:
    model_class, config = TEXTS[kind]
    text = model_class(config).eval()
    text.save_pretrained(tmp_path / "text")
    promu = PromuModel.from_encoders(str(tmp_path / "text"), str(tmp_path / "vision")).eval()
    ids = torch.randint(5, 90, (3, 9))
    mask = torch.tensor([[1] * 9, [1] * 6 + [0] * 3, [1] * 2 + [0] * 7])
    pixels = torch.randint(0, 256, (3, 3, 16, 16), dtype=torch.uint8)
    output = promu(ids, mask, pixels)
    expected = text(input_ids=ids, attention_mask=mask, output_hidden_states=True)
    seen = mask.bool()
    # the lower half of four layers, and all four where there is no image
    torch.testing.assert_close(output.text[seen], expected.hidden_states[2][seen], rtol=1e-5, atol=1e-5)
    alone = promu(ids, mask).fused_text
    torch.testing.assert_close(alone[seen], expected.last_hidden_state[seen], rtol=1e-5, atol=1e-5)
    visual = vision(pixel_values=pixels / 127.5 - 1).last_hidden_state
    torch.testing.assert_close(output.visual, visual, rtol=1e-4, atol=1e-4)
    # and the whole of it survives a save
    promu.save_pretrained(tmp_path / "promu")
    back = PromuModel.from_pretrained(tmp_path / "promu").eval()
    torch.testing.assert_close(back(ids, mask, pixels).fused_text, output.fused_text)


def test_a_separate_fusion_keeps_all_layers_of_a_pretrained_text_encoder(tmp_path: Path) -> None:
    text = BertModel(TEXTS["bert"][1]).eval()
    text.save_pretrained(tmp_path / "text")
    promu = PromuModel.from_encoders(str(tmp_path / "text"), fusion_layers=2).eval()
    ids = torch.randint(5, 90, (2, 9))
    torch.testing.assert_close(promu(ids).text, text(ids).last_hidden_state, rtol=1e-5, atol=1e-5)
    assert len(promu.fusion.layers) == 2


def test_weights_kept_in_half_precision_are_trained_in_full(vision: ViTModel, tmp_path: Path) -> None:
    BertModel(TEXTS["bert"][1]).bfloat16().save_pretrained(tmp_path / "text")
    promu = PromuModel.from_encoders(str(tmp_path / "text"), str(tmp_path / "vision"))
    assert {parameter.dtype for parameter in promu.parameters()} == {torch.float32}


def test_a_text_encoder_that_cannot_be_split_needs_a_fusion_of_its_own(tmp_path: Path) -> None:
    text = DistilBertModel(DistilBertConfig(vocab_size=90, dim=32, n_layers=2, n_heads=4, hidden_dim=48))
    text.save_pretrained(tmp_path / "text")
    with pytest.raises(
        InputError, match=r"layers of a 'distilbert' text encoder cannot be split .*; set fusion_layers"
    ):
        PromuModel.from_encoders(str(tmp_path / "text"))


def test_pickled_weights_are_refused(tmp_path: Path) -> None:
    text = BertModel(TEXTS["bert"][1])
    text.save_pretrained(tmp_path)
    (tmp_path / "model.safetensors").unlink()
    torch.save(text.state_dict(), tmp_path / "pytorch_model.bin")
    with pytest.raises(InputError, match=r"encoder .* cannot be loaded .*its weights in safetensors form"):
        load_encoder(str(tmp_path))


def test_damaged_weights_are_refused(tmp_path: Path) -> None:
    BertModel(TEXTS["bert"][1]).save_pretrained(tmp_path)
    weights = tmp_path / "model.safetensors"
    weights.write_bytes(weights.read_bytes()[:-100])
    with pytest.raises(InputError, match=r"the weights of encoder .* are damaged .*; fetch or save them again"):
        load_encoder(str(tmp_path))


def test_a_folder_without_an_encoder_is_refused(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"encoder .* cannot be loaded .*config.json"):
        encoder_config(str(tmp_path))
    with pytest.raises(InputError, match=r"encoder '\./nowhere' cannot be loaded .there is no such folder"):
        encoder_config("./nowhere")


def test_pooling_by_hand() -> None:
    hidden = torch.tensor([[[1.0], [2.0], [4.0], [100.0]]])
    mask = torch.tensor([[1, 1, 1, 0]])
    assert pooled(hidden, mask, "cls").item() == 1
    assert pooled(hidden, mask, "cls+mean").item() == 1 + 3
    assert pooled(hidden, None, "cls+mean").item() == pytest.approx(1 + 106 / 3)
    assert pooled(hidden, torch.tensor([[1, 0, 0, 0]]), "cls+mean").item() == 1


def test_normalisation_is_per_channel(make_config: Callable[..., Any]) -> None:
    config = make_config(image_mean=[0.0, 0.5, 1.0], image_std=[1.0, 0.5, 2.0])
    pixels = torch.full((1, 3, 1, 1), 255, dtype=torch.uint8)
    assert normalise_pixels(pixels, config, torch.float32).flatten().tolist() == [1.0, 1.0, 0.0]


def conv_config(**settings: Any) -> ConvViTConfig:
    return ConvViTConfig(**{**SIZES, "image_size": 16, "patch_size": 4, "stem_channels": 8, **settings})


@pytest.mark.parametrize("patch_size", [2, 4, 8, 16])
def test_the_convolutional_stem_gives_one_vector_a_patch(patch_size: int) -> None:
    model = ConvViTModel(conv_config(patch_size=patch_size), add_pooling_layer=False)
    hidden = model(pixel_values=torch.randn(2, 3, 16, 16)).last_hidden_state
    assert hidden.shape == (2, (16 // patch_size) ** 2 + 1, 32)


def test_the_stem_keeps_patches_in_their_place() -> None:
    model = ConvViTModel(conv_config(), add_pooling_layer=False)
    stem = model.embeddings.patch_embeddings
    dark = torch.zeros(1, 3, 16, 16)
    bright = dark.clone()
    bright[..., 12:, :4] = 5.0  # below left: the fourth row's first patch
    change = (stem(bright) - stem(dark)).abs().sum(-1)[0]
    # two 3x3 convolutions also see one pixel of the left neighbour's patch, and group normalisation spreads a little
    # of every change everywhere; the two large changes are in place
    assert sorted(change.topk(2).indices.tolist()) == [12, 13]


@pytest.mark.parametrize(
    ("settings", "sentence"),
    [
        ({"patch_size": 6}, "patch_size 6 of a promu_conv_vit encoder is not a power of two"),
        ({"stem_channels": 12}, "stem_channels 12 and hidden_size 32 .* must both be multiples of 8"),
    ],
)
def test_a_stem_that_cannot_be_built_says_why(settings: dict[str, Any], sentence: str) -> None:
    with pytest.raises(InputError, match=sentence):
        ConvViTModel(conv_config(**settings))


def test_the_vision_half_of_a_clip_type_model_serves_with_its_own_normalisation(tmp_path: Path) -> None:
    vision = CLIPVisionConfig(
        hidden_size=32, intermediate_size=64, num_hidden_layers=2, num_attention_heads=2, image_size=32, patch_size=8
    )
    text = CLIPTextConfig(hidden_size=32, intermediate_size=64, num_hidden_layers=1, num_attention_heads=2)
    clip = CLIPModel(CLIPConfig(text_config=text.to_dict(), vision_config=vision.to_dict(), projection_dim=16)).eval()
    clip.save_pretrained(tmp_path / "clip")
    CLIPImageProcessorPil(image_mean=[0.1, 0.2, 0.3], image_std=[0.4, 0.5, 0.6]).save_pretrained(tmp_path / "clip")
    config = BertConfig(vocab_size=60, hidden_size=16, num_hidden_layers=2, num_attention_heads=2, intermediate_size=32)
    BertModel(config).save_pretrained(tmp_path / "text")
    promu = PromuModel.from_encoders(str(tmp_path / "text"), str(tmp_path / "clip")).eval()
    assert promu.config.image_mean == pytest.approx([0.1, 0.2, 0.3])
    pixels = torch.randint(0, 256, (2, 3, 32, 32))
    mean, std = (torch.tensor(values).view(1, 3, 1, 1) for values in ([0.1, 0.2, 0.3], [0.4, 0.5, 0.6]))
    with torch.no_grad():
        expected = clip.vision_model(pixel_values=(pixels / 255 - mean) / std).last_hidden_state
        visual = promu(input_ids=torch.ones(2, 4, dtype=torch.long), pixel_values=pixels).visual
    assert torch.allclose(visual, expected, atol=1e-5)


def test_a_text_encoder_whose_layers_cannot_be_halved_works_with_a_stack_of_its_own(tmp_path: Path) -> None:
    config = DistilBertConfig(vocab_size=60, dim=32, n_layers=2, n_heads=2, hidden_dim=64)
    DistilBertModel(config).save_pretrained(tmp_path / "text")
    with pytest.raises(InputError, match="fusion_layers"):
        PromuModel.from_encoders(str(tmp_path / "text"))
    promu = PromuModel.from_encoders(str(tmp_path / "text"), fusion_layers=2).eval()
    assert promu(input_ids=torch.ones(2, 5, dtype=torch.long)).fused_text.shape == (2, 5, 32)
