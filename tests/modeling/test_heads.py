"""The heads of fine-tuning: which fused vectors they read, and what their loss is."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch.nn import functional

from promu.modeling.chain import bio_labels
from promu.modeling.classification import PromuForRelationClassification, PromuForTokenClassification
from promu.modeling.configuration import PromuConfig
from promu.modeling.encoders import encode_image

MakeConfig = Callable[..., PromuConfig]
MakeBatch = Callable[..., dict[str, torch.Tensor]]
TAGS = dict(enumerate(bio_labels(["PER", "LOC"])))
RELATIONS = {0: "None", 1: "/per/org/member_of", 2: "/per/per/peer"}


def test_emissions_come_from_first_subwords(make_config: MakeConfig, make_batch: MakeBatch) -> None:
    model = PromuForTokenClassification(make_config(id2label=TAGS)).eval()
    batch = make_batch(rows=2)
    word_index, word_mask = torch.tensor([[1, 3, 5], [2, 4, 0]]), torch.tensor([[1, 1, 1], [1, 1, 0]])
    labels = torch.tensor([[1, 2, 0], [0, 3, 0]])
    output = model(**batch, word_index=word_index, word_mask=word_mask, labels=labels)
    fused = model.promu(**batch).fused_text
    expected = model.emitter(torch.stack([fused[0, [1, 3, 5]], fused[1, [2, 4, 0]]]))
    torch.testing.assert_close(output.emissions, expected)
    # Eq 13: the mean over posts of the sequences' -log p, not the mean over words
    each = model.crf(expected, labels, word_mask)
    torch.testing.assert_close(output.loss, (each[0] + each[1]) / 2)
    assert model(**batch, word_index=word_index, word_mask=word_mask).loss is None


def test_a_post_is_labelled_the_same_alone_and_in_company(make_config: MakeConfig, make_batch: MakeBatch) -> None:
    model = PromuForTokenClassification(make_config(id2label=TAGS)).eval()
    batch = make_batch(rows=3)
    words = {"word_index": torch.tensor([[1, 2, 3]] * 3), "word_mask": torch.ones(3, 3).long()}
    together = model(**batch, **words, image_mask=torch.tensor([1, 0, 1])).emissions
    alone = model(
        input_ids=batch["input_ids"][1:2],
        attention_mask=batch["attention_mask"][1:2],
        **{name: value[1:2] for name, value in words.items()},
    ).emissions
    torch.testing.assert_close(together[1:2], alone, rtol=1e-5, atol=1e-5)


def test_a_relation_is_read_at_the_two_start_markers(make_config: MakeConfig, make_batch: MakeBatch) -> None:
    model = PromuForRelationClassification(make_config(id2label=RELATIONS)).eval()
    batch = make_batch(rows=2)
    markers, labels = torch.tensor([[1, 4], [5, 2]]), torch.tensor([2, 0])
    output = model(**batch, marker_index=markers, labels=labels)
    fused = model.promu(**batch).fused_text
    pairs = torch.stack([torch.cat([fused[0, 1], fused[0, 4]]), torch.cat([fused[1, 5], fused[1, 2]])])
    torch.testing.assert_close(output.logits, model.classifier(pairs))
    torch.testing.assert_close(output.loss, functional.cross_entropy(output.logits, labels))
    # head and tail are not the same thing
    swapped = model(**batch, marker_index=markers.flip(1)).logits
    assert (swapped - output.logits).abs().max() > 1e-3


def test_one_encoded_image_serves_many_pairs(make_config: MakeConfig, make_batch: MakeBatch) -> None:
    model = PromuForRelationClassification(make_config(id2label=RELATIONS)).eval()
    batch = make_batch(rows=2)
    markers = torch.tensor([[1, 4], [5, 2]])
    visual = encode_image(model.promu.vision_encoder, batch["pixel_values"], model.config)  # type: ignore[arg-type]
    texts = {name: batch[name] for name in ("input_ids", "attention_mask")}
    torch.testing.assert_close(
        model(**texts, marker_index=markers, visual=visual).logits, model(**batch, marker_index=markers).logits
    )
