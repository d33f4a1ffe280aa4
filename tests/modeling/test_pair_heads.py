"""Heads that read many pairs off one encoded text: what they compute, and what they leave as it is."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch
from transformers import AutoConfig

from promu.errors import InputError
from promu.modeling.backbone import PromuModel
from promu.modeling.classification import PromuForRelationClassification
from promu.modeling.configuration import PromuConfig
from promu.modeling.fusions import FUSIONS
from promu.modeling.inputs import levitate, tensors
from promu.modeling.pair_heads import LEVITATES, SpanPairs

MakeConfig = Callable[..., PromuConfig]
MakeBatch = Callable[..., dict[str, torch.Tensor]]
RELATIONS = {0: "None", 1: "/per/org/member_of", 2: "/per/per/peer"}
MARKERS = [6, 7, 8, 9]
PAIRS = torch.tensor([[0, 1, 2, 3, 5], [0, 3, 5, 1, 2], [1, 1, 3, 4, 5]])


def gelu(value: float) -> float:
    return value * (1 + math.erf(value / math.sqrt(2))) / 2


def test_a_pair_is_scored_by_the_ends_and_means_of_its_spans() -> None:
    head = SpanPairs(width=1, labels=2, dropout=0.0)
    with torch.no_grad():
        head.tokens.weight[:] = torch.tensor([[1.0], [10.0], [100.0], [2.0], [20.0], [200.0], [0.5]])
        head.tokens.bias[:] = 0.0
        head.product.weight[:], head.whole.weight[:] = 1e-3, 3.0
        output: Any = head.output
        output.weight[:], output.bias[:] = torch.tensor([[1.0], [-2.0]]), torch.tensor([0.0, 1.0])
    # [CLS] and seven tokens; head: 0.01, 0.02, 0.03; between: 0.04, 0.06; tail: -0.05
    fused = torch.tensor([[-1.0, 0.01, 0.02, 0.03, 0.04, 0.06, -0.05, 9.0]])[..., None]
    of_head, of_tail = 0.01 + 10 * 0.03 + 100 * 0.02, (2 + 20 + 200) * -0.05
    hidden = of_head + of_tail + 0.5 * 0.05 + 1e-3 * of_head * of_tail + 3 * -1.0
    (logits,) = head(fused, torch.tensor([[0, 1, 4, 6, 7]])).tolist()
    assert logits == pytest.approx([gelu(hidden), 1 - 2 * gelu(hidden)], abs=1e-5)
    # spans that touch or overlap have nothing between them
    of_head, of_tail = 111 * 0.01, 2 * 0.01 + 20 * 0.02 + 200 * 0.015
    hidden = of_head + of_tail + 1e-3 * of_head * of_tail - 3
    assert head(fused, torch.tensor([[0, 1, 2, 1, 3]]))[0, 0].item() == pytest.approx(gelu(hidden), abs=1e-5)


def test_span_pairs_are_scored_alike_alone_in_company_and_with_given_vectors(
    make_config: MakeConfig, make_batch: MakeBatch
) -> None:
    model = PromuForRelationClassification(make_config(id2label=RELATIONS, relation_head="spans")).eval()
    batch, labels = make_batch(rows=2), torch.tensor([1, 0, 2])
    together = model(**batch, pairs=PAIRS, labels=labels)
    assert together.logits.shape == (3, 3) and together.loss.isfinite()
    one = {name: value[1:] for name, value in batch.items()}
    alone = model(**one, pairs=PAIRS[2:] - torch.tensor([1, 0, 0, 0, 0])).logits
    torch.testing.assert_close(alone, together.logits[2:], atol=1e-5, rtol=0)
    given = model(fused_text=model.promu(**batch).fused_text, pairs=PAIRS).logits
    torch.testing.assert_close(given, together.logits, atol=1e-6, rtol=0)
    assert (together.logits[0] - together.logits[1]).abs().max() > 1e-3, "head and tail are not the same thing"


def test_markers_stand_behind_the_text_at_the_ends_that_they_mark() -> None:
    batch = {"input_ids": np.array([[2, 11, 12, 3], [2, 13, 3, 0]]), "attention_mask": np.ones((2, 4), int)}
    batch["attention_mask"][1, 3] = 0
    made = levitate(batch, np.array([[0, 1, 2, 2, 3], [0, 1, 3, 1, 2], [1, 1, 2, 1, 2]]), MARKERS)
    assert made["input_ids"].tolist() == [[2, 11, 12, 3, *MARKERS, *MARKERS], [2, 13, 3, 0, *MARKERS, 2, 2, 2, 2]]
    assert made["position_ids"].tolist() == [[0, 1, 2, 3, 1, 1, 2, 2, 1, 2, 1, 1], [0, 1, 2, 3, *[1] * 4, *[0] * 4]]
    assert made["pairs"].tolist() == [[0, 4, 5, 6, 7], [0, 8, 9, 10, 11], [1, 4, 5, 6, 7]]
    sees = made["attention_mask"][0].tolist()
    assert sees[0] == sees[3] == [1] * 4 + [0] * 8, "the text does not see a marker"
    assert sees[4] == [1] * 8 + [0] * 4 and sees[11] == [1] * 4 + [0] * 4 + [1] * 4
    assert made["attention_mask"][1, :, 3].sum() == 0, "nobody sees padding"


def levitated(model: Any, batch: dict[str, torch.Tensor], pairs: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """Fused vectors of the text, and logits."""
    arrays = {name: values.numpy() for name, values in batch.items()}
    made = {**batch, **tensors(levitate(arrays, pairs.numpy(), MARKERS))}
    ends = made.pop("pairs")
    with torch.no_grad():
        return model.promu(**made).fused_text[:, : batch["input_ids"].shape[1]], model(**made, pairs=ends).logits


@pytest.mark.parametrize("fusion", sorted(name for name in FUSIONS if FUSIONS[name].masks_pairs))
@pytest.mark.parametrize("attention", ["eager", "sdpa", "promu_matmul"])
def test_levitated_markers_change_neither_text_nor_each_other(
    fusion: str, attention: str, make_config: MakeConfig, make_batch: MakeBatch
) -> None:
    model: Any = PromuForRelationClassification(
        make_config(id2label=RELATIONS, relation_head="levitated", fusion=fusion)
    ).eval()
    model.set_attn_implementation(attention)
    batch = make_batch(rows=2)
    batch["attention_mask"][1, 6:] = 0
    batch["image_mask"] = torch.tensor([1, 0])
    text, logits = levitated(model, batch, PAIRS)
    with torch.no_grad():
        plain = model.promu(**batch).fused_text
    inside = batch["attention_mask"].bool()
    assert float((text - plain)[inside].abs().max()) < 1e-6 * float(plain[inside].abs().max())
    first = {name: value[:1] for name, value in batch.items()}
    for number in (0, 1):
        _, alone = levitated(model, first, PAIRS[number : number + 1])
        torch.testing.assert_close(alone[0], logits[number], atol=1e-5, rtol=0)
    assert (logits[0] - logits[1]).abs().max() > 1e-4, "head and tail are not the same thing"


@pytest.mark.parametrize("kind", LEVITATES)
def test_every_encoder_that_is_named_hides_the_markers(kind: str) -> None:
    sizes = {"hidden_size": 16, "num_hidden_layers": 2, "num_attention_heads": 2, "intermediate_size": 16}
    text = AutoConfig.for_model(kind, **sizes, vocab_size=30, max_position_embeddings=40, pad_token_id=1)
    torch.manual_seed(0)
    model = PromuForRelationClassification(
        PromuConfig(text_config=text, id2label=RELATIONS, relation_head="levitated")
    ).eval()
    batch = {"input_ids": torch.randint(10, 30, (2, 6)), "attention_mask": torch.ones(2, 6).long()}
    text_vectors, _ = levitated(model, batch, PAIRS)
    with torch.no_grad():
        torch.testing.assert_close(text_vectors, model.promu(**batch).fused_text, atol=1e-6, rtol=1e-5)


def test_what_cannot_hide_markers_is_refused() -> None:
    small = {"hidden_size": 16, "num_hidden_layers": 2, "num_attention_heads": 2, "intermediate_size": 16}
    text = AutoConfig.for_model("deberta-v2", **small)
    refused = PromuConfig(text_config=text, relation_head="levitated", fusion="text")
    with pytest.raises(InputError, match=r"needs a text encoder with a mask .*'deberta-v2' has none; use .* spans"):
        PromuForRelationClassification(refused)
    vision = {"model_type": "vit", "image_size": 32, **small}
    other = PromuConfig(
        text_config={"model_type": "bert", **small}, vision_config=vision, relation_head="levitated", fusion="mmib"
    )
    with pytest.raises(InputError, match=r"\(adapcoatt, .*\), and 'mmib' has none; use relation_head spans"):
        PromuForRelationClassification(other)
    with pytest.raises(InputError, match="relation_head 'span' is unknown; use one of markers, spans, levitated"):
        PromuConfig(relation_head="span")
    assert PromuModel(refused)  # the backbone alone is none of a head's business
