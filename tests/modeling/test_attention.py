"""Attention as two products: what PyTorch's own attention computes, and nothing of it in what is saved."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch
from torch.nn import functional
from transformers import BertConfig, T5Config, T5ForConditionalGeneration, ViTConfig

from promu.modeling.attention import MATMUL, matmul_attention, use_fastest_attention
from promu.modeling.backbone import PromuModel
from promu.modeling.configuration import PromuConfig
from promu.pytorch import Precision

SMALL = {"hidden_size": 32, "num_hidden_layers": 2, "num_attention_heads": 4, "intermediate_size": 64}


def backbone() -> PromuModel:
    torch.manual_seed(0)
    text = BertConfig(**SMALL, vocab_size=50)  # type: ignore[arg-type]
    vision = ViTConfig(**SMALL, image_size=16, patch_size=8)  # type: ignore[arg-type]
    return PromuModel(PromuConfig(text_config=text, vision_config=vision)).eval()


def inputs() -> dict[str, torch.Tensor]:
    chance = torch.Generator().manual_seed(1)
    return {
        "input_ids": torch.randint(1, 50, (3, 7), generator=chance),
        "attention_mask": torch.tensor([[1] * 7, [1] * 4 + [0] * 3, [1] * 2 + [0] * 5]),
        "pixel_values": torch.rand(3, 3, 16, 16, generator=chance) * 255,
        "image_mask": torch.tensor([1, 0, 1]),
    }


def test_outputs_and_gradients_equal_pytorch_s_attention() -> None:
    chance = torch.Generator().manual_seed(0)
    query, key, value = (torch.randn(2, 4, 9, 8, generator=chance).requires_grad_() for _ in range(3))
    mask = torch.zeros(2, 1, 9, 9).masked_fill(torch.arange(9) > 5, torch.finfo(torch.float32).min)
    expected = functional.scaled_dot_product_attention(query, key, value, attn_mask=mask).transpose(1, 2)
    found, maps = matmul_attention(torch.nn.Module(), query, key, value, mask, scaling=8**-0.5)
    torch.testing.assert_close(found, expected, rtol=1e-5, atol=1e-6)
    torch.testing.assert_close(maps.sum(-1), torch.ones(2, 4, 9))
    assert not maps[..., 6:].any()
    rates = torch.randn(found.shape, generator=chance)
    for mine, theirs in zip(
        torch.autograd.grad((found * rates).sum(), (query, key, value)),
        torch.autograd.grad((expected * rates).sum(), (query, key, value)),
        strict=True,
    ):
        torch.testing.assert_close(mine, theirs, rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("rate", [0.1, 0.5])
def test_dropout_keeps_the_mean_and_meets_its_rate(rate: float) -> None:
    torch.manual_seed(0)
    query = torch.zeros(4, 4, 100, 8)
    value = torch.ones(4, 4, 100, 8)
    module = torch.nn.Module().train()
    vectors, maps = matmul_attention(module, query, query, value, None, dropout=rate)
    dropped = (maps == 0).float().mean()
    assert dropped == pytest.approx(rate, abs=0.004)  # three standard errors over 160,000 entries
    assert vectors.mean() == pytest.approx(1.0, abs=0.01)
    kept = maps[maps != 0]
    torch.testing.assert_close(kept, torch.full_like(kept, 0.01 / (1 - rate)), rtol=1e-4, atol=0)
    again, _ = matmul_attention(module, query, query, value, None, dropout=rate)
    assert not torch.equal(again, vectors)
    torch.manual_seed(0)
    assert torch.equal(matmul_attention(module, query, query, value, None, dropout=rate)[0], vectors)
    assert torch.equal(
        matmul_attention(module.eval(), query, query, value, None, dropout=rate)[1], maps.new_full(maps.shape, 0.01)
    )


def test_a_backbone_gives_the_same_outputs_with_it() -> None:
    model = backbone()
    expected = model(**inputs())
    use_fastest_attention(model, "cpu", "bf16")
    assert model.vision_encoder is not None
    for part in (model.text_encoder, model.vision_encoder):
        assert part.config._attn_implementation == MATMUL
    found = model(**inputs())
    shown = inputs()["attention_mask"].bool()
    torch.testing.assert_close(found.fused_text[shown], expected.fused_text[shown], rtol=1e-5, atol=1e-5)
    torch.testing.assert_close(found.visual, expected.visual, rtol=1e-5, atol=1e-5)
    # it has maps to show, which PyTorch's has not
    assert len(model(**inputs(), output_attentions=True).attentions) == 1


def test_dropout_is_on_in_training_alone() -> None:
    query = torch.randn(1, 2, 5, 4)
    module = torch.nn.Module()
    runs = [matmul_attention(module, query, query, query, None, dropout=0.5)[1] for _ in range(2)]
    assert not torch.equal(*runs)
    module.eval()
    first, second = (matmul_attention(module, query, query, query, None, dropout=0.5)[1] for _ in range(2))
    assert torch.equal(first, second)


@pytest.mark.parametrize(("device", "precision"), [("cpu", "fp32"), ("cuda", "bf16")])
def test_elsewhere_attention_stays_as_it_is(device: str, precision: Precision) -> None:
    model = backbone()
    use_fastest_attention(model, device, precision)
    assert model.text_encoder.config._attn_implementation == "sdpa"


def test_nothing_of_it_is_saved(tmp_path: Path) -> None:
    model = backbone()
    use_fastest_attention(model, "cpu", "bf16")
    model.save_pretrained(tmp_path)
    assert MATMUL not in json.dumps(json.loads((tmp_path / "config.json").read_text()))
    assert PromuModel.from_pretrained(tmp_path).text_encoder.config._attn_implementation == "sdpa"


def test_a_text_to_text_model_keeps_its_bias_of_positions() -> None:
    torch.manual_seed(0)
    config = T5Config(vocab_size=40, d_model=16, d_kv=8, d_ff=32, num_layers=2, num_heads=2)
    config.decoder_start_token_id = 0
    model = T5ForConditionalGeneration(config).eval()
    torch.nn.init.normal_(model.encoder.block[0].layer[0].SelfAttention.relative_attention_bias.weight)
    ids = torch.tensor([[5, 6, 7, 8, 9], [9, 8, 7, 0, 0]])
    inputs = {"input_ids": ids, "attention_mask": (ids > 0).long(), "labels": torch.tensor([[3, 4, 5], [6, 7, 8]])}
    expected = model(**inputs).logits
    use_fastest_attention(model, "cpu", "bf16")
    torch.testing.assert_close(model(**inputs).logits, expected, rtol=1e-4, atol=1e-5)
