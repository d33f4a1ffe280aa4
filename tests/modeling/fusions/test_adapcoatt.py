"""AdapCoAtt: additive attention, the grid of regions, and the two gates, by hand."""

from __future__ import annotations

import math

import pytest
import torch
from tests.factories import tiny_batch, tiny_config

from promu.modeling.backbone import PromuModel
from promu.modeling.fusions.adapcoatt import AdaptiveFusion, AdditiveAttention


@pytest.fixture
def fusion() -> AdaptiveFusion:
    found = PromuModel(tiny_config(fusion="adapcoatt", text_hidden_size=4, vision_hidden_size=4)).fusion
    assert isinstance(found, AdaptiveFusion)
    return found


@torch.no_grad()
def test_attention_compares_what_is_added() -> None:
    attention = AdditiveAttention(2)
    attention.keys.weight.copy_(torch.eye(2))
    attention.queries.weight.copy_(torch.eye(2))
    attention.queries.bias.zero_()
    attention.score.weight.copy_(torch.tensor([[1.0, 0.0]]))
    keys, queries = torch.tensor([[[1.0, 5.0], [-1.0, 7.0], [9.0, 9.0]]]), torch.tensor([[[0.0, 0.0], [1.0, 0.0]]])
    means, shares = attention(queries, keys, torch.tensor([[1, 1, 0]]))
    for row, query in enumerate((0.0, 1.0)):
        # the scores are tanh(1 + q) and tanh(-1 + q); the third key is masked
        one, other = math.exp(math.tanh(1 + query)), math.exp(math.tanh(-1 + query))
        share = one / (one + other)
        torch.testing.assert_close(shares[0, row], torch.tensor([share, 1 - share, 0.0]))
        torch.testing.assert_close(means[0, row], torch.tensor([2 * share - 1, 7 - 2 * share]))
    assert abs(shares[0, 0, 0] - shares[0, 1, 0]) > 0.05, "the query matters, as it would not behind a concatenation"


@torch.no_grad()
def test_the_mixing_gate_by_hand(fusion: AdaptiveFusion) -> None:
    for part in (fusion.image_part, fusion.text_part):
        part.weight.copy_(torch.eye(4))
        part.bias.zero_()
    fusion.mixing_gate.weight.zero_()
    fusion.mixing_gate.bias.copy_(torch.tensor([0.0, math.log(3), 0.0, 0.0]))
    fusion.mixing_gate.weight[2, 2] = 1.0  # of the image's third number
    seen, read = torch.tensor([[[1.0, 1.0, 1.0, 0.0]]]), torch.tensor([[[-1.0, 0.0, 2.0, 0.0]]])
    one, two = math.tanh(1), math.tanh(2)
    gate = 1 / (1 + math.exp(-one))
    expected = [0.0, 0.75 * one, gate * one + (1 - gate) * two, 0.0]
    torch.testing.assert_close(fusion.mixed(seen, read).flatten(), torch.tensor(expected))


@torch.no_grad()
def test_the_filtration_gate_by_hand(fusion: AdaptiveFusion) -> None:
    fusion.filtration_gate.weight.zero_()
    fusion.filtration_gate.weight[0, 0] = 1.0  # the word's first number
    fusion.filtration_gate.weight[1, 5] = 1.0  # the mixture's second
    fusion.filtration_gate.bias.copy_(torch.tensor([0.0, 0.0, -30.0, 30.0]))
    fusion.kept.weight.copy_(torch.eye(4))
    fusion.kept.bias.zero_()
    words, mixed = torch.tensor([[[2.0, 9.0, 9.0, 9.0]]]), torch.tensor([[[1.0, -1.0, 1.0, 1.0]]])
    one = math.tanh(1)
    expected = [one / (1 + math.exp(-2)), -one / (1 + math.exp(1)), 0.0, one]
    torch.testing.assert_close(fusion.filtered(words, mixed).flatten(), torch.tensor(expected))


def test_the_image_is_seven_by_seven_regions(fusion: AdaptiveFusion) -> None:
    tokens = torch.zeros(1, 17, 4)
    shares = fusion.regions(tokens)
    assert shares.shape == (1, 49, 17) and not shares[..., 0].any(), "the visual CLS is no region"
    torch.testing.assert_close(shares.sum(-1), torch.ones(1, 49))
    # of 4 x 4 patches the second region of the first row, 1/7 to 2/7, covers 3/28 of the first and 1/28 of the second
    torch.testing.assert_close(shares[0, 1, 1:4], torch.tensor([0.75, 0.25, 0.0]))
    torch.testing.assert_close(shares[0, 7, [1, 5]], torch.tensor([0.75, 0.25]))


@torch.no_grad()
def test_the_parts_together() -> None:
    model = PromuModel(tiny_config(fusion="adapcoatt")).eval()
    fusion, batch = model.fusion, tiny_batch()
    assert isinstance(fusion, AdaptiveFusion)
    output = model(**batch)
    words = model(batch["input_ids"]).fused_text
    seen, _ = fusion.to_image(words, fusion.regions(output.visual) @ output.visual)
    read, _ = fusion.to_text(seen, words)
    kept = fusion.filtered(words, fusion.mixed(seen, read))
    torch.testing.assert_close(output.fused_text, words + fusion.reader(kept), rtol=1e-4, atol=1e-4)
