"""What the paper's road costs: operations as PyTorch counts them, hours as the page says them."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch
from torch.nn.attention import SDPBackend, sdpa_kernel
from torch.utils.flop_counter import FlopCounterMode
from transformers import BertConfig, ViTConfig

from promu.cli import main
from promu.errors import InputError
from promu.modeling.backbone import PromuModel
from promu.modeling.configuration import PromuConfig
from promu.modeling.fusions import FUSIONS
from promu.modeling.losses import JointLoss
from promu.modeling.map_sources import bare_model
from promu.modeling.pretraining import PromuDualEncoder
from promu.study.costs import PAIRS, TRAIN_PAIRS, Rates, dual_encoder_step, fusion_costs, paper_costs, student_pass

PAGE = Path(__file__).parents[2] / "docs" / "reproduce-the-paper.md"
COSTS = {cost.name: cost for cost in paper_costs()}


def test_the_teacher_s_operations_are_those_that_pytorch_counts() -> None:
    sizes = {"hidden_size": 96, "num_attention_heads": 4, "intermediate_size": 192, "num_hidden_layers": 2}
    vision = ViTConfig(**sizes, image_size=64, patch_size=8)  # type: ignore[arg-type]
    config = PromuConfig(text_config=BertConfig(**sizes), vision_config=vision)  # type: ignore[arg-type]
    model = PromuDualEncoder(config).train()
    counter = FlopCounterMode(display=False)
    with counter, sdpa_kernel(SDPBackend.MATH):  # PyTorch does not count its fused attention
        ones = torch.ones(3, 20, dtype=torch.long)
        batch = {"input_ids": ones, "attention_mask": ones, "pixel_values": torch.zeros(3, 3, 64, 64)}
        loss, _ = JointLoss.of(model).of_batch(model, batch)
        loss.backward()
    # the embedding of patches passes no gradient back to the pixels
    assert counter.get_total_flops() / 3 == pytest.approx(dual_encoder_step(config, 20), rel=0.03)


def test_the_paper_s_pre_training_by_hand() -> None:
    """85,000 steps of 128: ViT-B/16 with 197 tokens, 6 layers of 80 tokens, 6 of 80 + 197, 7.08 M weights each."""
    weights = 2 * 7.08e6 * (12 * 197 + 6 * 80 + 6 * 277)
    assert COSTS["pre-training"].operations == pytest.approx(3 * 85_000 * 128 * weights, rel=0.06)
    assert COSTS["pre-training"].times == 15 and PAIRS == 1_111_828
    assert (
        pytest.approx(10, abs=0.3) == 85_000 * 128 / PAIRS
        and round(85_000 * 128 / TRAIN_PAIRS["merged_balanced"]) == 153
    )


def test_hours_follow_from_rates_and_accelerators() -> None:
    cost = COSTS["pre-training"]
    assert cost.hours == pytest.approx(cost.operations / (989e12 * 0.35) / 3600)
    assert (cost.on(1), cost.on(8), cost.on(100)) == (15 * cost.hours, 2 * cost.hours, cost.hours)
    slow = {one.name: one for one in paper_costs(Rates(share=0.175))}
    assert slow["pre-training"].hours == pytest.approx(2 * cost.hours)
    assert slow["corpus and regions"].on(8) == COSTS["corpus and regions"].hours, "no accelerator helps"
    small = COSTS["fine-tuning, Twitter-2015"]
    assert small.hours == pytest.approx(15 * (4000 + 4257) / 16 * 0.05 / 3600), "a small step has a least duration"


def test_the_page_says_what_is_counted() -> None:
    page = PAGE.read_text(encoding="utf-8")
    for cost in COSTS.values():
        operations = f"{cost.operations / 1e18:.3f} × 10¹⁸" if cost.operations else "–"
        row = f"| {cost.name} | {operations} | {cost.hours:.2f} | {cost.times} | {cost.on(1):.1f} | {cost.on(8):.1f} |"
        assert row in page
    one, eight = (sum(cost.on(count) for cost in COSTS.values()) for count in (1, 8))
    assert f"| all | | | | {one:.0f} | {eight:.0f} |" in page


SMALL = PromuConfig(
    text_config=BertConfig(hidden_size=16, num_attention_heads=2, intermediate_size=32, num_hidden_layers=4),
    vision_config=ViTConfig(
        hidden_size=16, num_attention_heads=2, intermediate_size=32, num_hidden_layers=2, image_size=32, patch_size=8
    ),
)


def test_fusions_are_counted_as_they_are_built() -> None:
    found = {cost.fusion: cost for cost in fusion_costs(config=SMALL, tokens=10)}
    assert found.keys() == set(FUSIONS)
    for name in ("concat", "umt", "text"):
        config = PromuConfig(text_config=SMALL.text_config, vision_config=SMALL.vision_config, fusion=name)
        whole = sum(weights.numel() for weights in PromuModel(config).parameters())
        assert found[name].parameters == whole - (name == "text") * vision_weights()
    assert found["concat"].own == found["text"].own == 0
    assert found["bert+sg"].own == 16 * 16, "one matrix"
    assert found["concat"].operations == pytest.approx(student_pass(SMALL, 10))
    # the text layers, the mean of 8 boxes of 17 tokens, theirs in turn, and the matrix
    more = found["bert+sg"].fusing - found["text"].fusing
    assert more == 2 * (8 * 17 * 16 + 8 * 16 + 16 * 16)


def vision_weights() -> int:
    return sum(weights.numel() for weights in bare_model(SMALL.vision_config).parameters())  # type: ignore[arg-type, misc]


def test_an_unknown_fusion_and_a_model_without_images_are_refused() -> None:
    with pytest.raises(InputError, match="fusion 'mean' is unknown; use one of adapcoatt"):
        fusion_costs(["mean"], SMALL)
    with pytest.raises(InputError, match="fusions are compared on posts with images; name a model with a vision"):
        fusion_costs(config=PromuConfig(text_config=SMALL.text_config))


@pytest.mark.slow
def test_the_page_of_baselines_has_the_table_of_the_command(capsys: pytest.CaptureFixture[str]) -> None:
    page = (PAGE.parent / "baselines.md").read_text(encoding="utf-8")
    assert main(["costs", "concat", "umt", "mega", "--json"]) == 0
    for one in json.loads(capsys.readouterr().out):
        figures = (one["parameters"] / 1e6, one["own"] / 1e6, one["operations"] / 1e9, one["fusing"] / 1e9)
        assert f"| {one['fusion']} | {' | '.join(f'{figure:.1f}' for figure in figures)} |" in page
    assert main(["costs", "text"]) == 0
    assert "80 tokens, 4 regions" in capsys.readouterr().out
