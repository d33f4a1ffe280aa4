"""UMT: who reads whom, the visual gate, the auxiliary task and its conversion matrix."""

from __future__ import annotations

import math
from typing import Any

import torch
from tests.factories import tiny_batch, tiny_config
from tests.modeling.test_distributed import HEADS

from promu.modeling.backbone import PromuModel
from promu.modeling.classification import PromuForRelationClassification, PromuForTokenClassification
from promu.modeling.fusions.umt import UnifiedFusion, convert
from promu.modeling.pretraining import PromuForPreTraining

LABELS = ["O", "B-LOC", "I-LOC", "B-PER", "I-PER"]
TAGS = dict(enumerate(LABELS))
WORDS = {"word_index": torch.tensor([[1, 2, 3]] * 3), "word_mask": torch.tensor([[1, 1, 1], [1, 1, 1], [1, 1, 0]])}


def fusion_of(model: Any) -> UnifiedFusion:
    found = (model if isinstance(model, PromuModel) else model.promu).fusion
    assert isinstance(found, UnifiedFusion)
    return found


def test_words_read_the_image_that_has_read_them_and_a_gated_image() -> None:
    model = PromuModel(tiny_config(fusion="umt")).eval()
    fusion, batch = fusion_of(model), tiny_batch()
    output = model(**batch)
    words = model(batch["input_ids"]).fused_text  # R
    image = fusion.image_reads_words(output.visual, words, None)[0]  # P
    aware = fusion.words_read_image(words, image, None)[0]  # A
    regions = fusion.words_read_regions(words, output.visual, None)[0]  # Q
    gate = 1 / (1 + torch.exp(-(aware @ fusion.gate_words.weight.T + regions @ fusion.gate_image.weight.T)))
    expected = aware + (gate * regions) @ fusion.reader.weight.T
    torch.testing.assert_close(output.fused_visual, image, rtol=1e-4, atol=1e-5)
    torch.testing.assert_close(output.fused_text, expected, rtol=1e-4, atol=1e-4)


def test_the_visual_gate_by_hand() -> None:
    fusion = fusion_of(PromuModel(tiny_config(fusion="umt", text_hidden_size=4, vision_hidden_size=4)))
    with torch.no_grad():
        fusion.gate_words.weight.copy_(torch.eye(4))
        fusion.gate_image.weight.copy_(2 * torch.eye(4))
        fusion.gate_image.bias.zero_()
    aware, regions = torch.tensor([[[0.0, 1.0, 0.0, 2.0]]]), torch.tensor([[[0.0, 1.0, -1.0, -1.0]]])
    # sums 0, 3, -2, 0
    expected = [0.5, 1 / (1 + math.exp(-3)), 1 / (1 + math.exp(2)), 0.5]
    torch.testing.assert_close(fusion.gate(aware, regions).flatten(), torch.tensor(expected))


def test_the_conversion_matrix_gives_each_type_its_part() -> None:
    spans = torch.tensor([[[0.0, 3.0, 6.0]]])
    assert convert(spans, ["O", "B-X", "I-X", "B-Y", "B-Z", "I-Y", "I-Z"]).tolist() == [[[0.0, 1, 2, 1, 1, 2, 2]]]


@torch.no_grad()
def test_emissions_are_those_of_types_and_of_spans_together() -> None:
    model = PromuForTokenClassification(tiny_config(fusion="umt", id2label=TAGS)).eval()
    batch, fusion = tiny_batch(), fusion_of(model)
    output = model.promu(**batch)
    own = model.emitter(output.fused_text[:, 1:4])
    spans = output.spans[:, 1:4]
    added = torch.stack([spans[..., 0], *(spans[..., kind] / 2 for kind in (1, 2, 1, 2))], dim=-1)
    torch.testing.assert_close(model(**batch, **WORDS).emissions, own + added)
    assert fusion.span_emitter.bias is not None


def test_the_loss_has_the_spans_part_by_its_weight() -> None:
    labels, batch = torch.tensor([[1, 2, 0], [0, 3, 1], [3, 4, 0]]), tiny_batch()
    kinds = torch.tensor([[1, 2, 0], [0, 1, 1], [1, 2, 0]])
    config = tiny_config(fusion="umt", id2label=TAGS, fusion_loss_weights={"spans": 0.7})
    model = PromuForTokenClassification(config).eval()
    output = model(**batch, **WORDS, labels=labels)
    task = model.crf(output.emissions, labels, WORDS["word_mask"]).mean()
    fusion, spans = fusion_of(model), model.promu(**batch).spans[:, 1:4]
    apart = fusion.span_crf(spans, kinds, WORDS["word_mask"]).mean()
    torch.testing.assert_close(output.loss, task + 0.7 * apart)


def test_the_auxiliary_task_never_sees_the_image() -> None:
    model = PromuForTokenClassification(tiny_config(fusion="umt", id2label=TAGS)).eval()
    batch = tiny_batch()
    torch.testing.assert_close(model.promu(**batch).spans, model.promu(batch["input_ids"]).spans)


def test_only_a_model_of_entities_has_the_auxiliary_task() -> None:
    tasks = {"ner": {"labels": LABELS}, "re": {"labels": ["None", "r"]}}
    assert not fusion_of(PromuForPreTraining(tiny_config(**HEADS, fusion="umt"))).finds_spans
    relations = PromuForRelationClassification(tiny_config(fusion="umt", id2label={0: "None", 1: "r"}))
    assert not fusion_of(relations).finds_spans
    assert fusion_of(PromuModel(tiny_config(fusion="umt", tasks=tasks))).finds_spans
    assert not fusion_of(PromuModel(tiny_config(fusion="umt", tasks={"re": tasks["re"]}))).finds_spans
