"""OCSGA and BERT+SG: labels as words, dense co-attention, and a mean of objects."""

from __future__ import annotations

import math

import torch
from tests.factories import tiny_batch, tiny_config

from promu.modeling.backbone import PromuModel
from promu.modeling.fusions.base import VisualFeatures
from promu.modeling.fusions.object_words import LABELS, LabelFusion, ObjectNames, PooledFusion
from promu.modeling.fusions.objects import Objects

BOXES = torch.tensor([[0.0, 0.0, 0.5, 0.5], [0.25, 0.0, 1.0, 0.75]]).expand(3, -1, -1)


@torch.no_grad()
def test_a_label_is_a_mixture_of_words_by_how_well_each_fits() -> None:
    names = ObjectNames(tiny_config(text_hidden_size=4, nouns=["dog", "cat"]))
    names.namer.weight.zero_()
    names.namer.weight[0, 0] = 1.0
    names.namer.bias.zero_()
    names.words.weight.copy_(torch.tensor([[1.0, 0.0], [0.0, 1.0], [2.0, 2.0], [0.0, 4.0]]))
    regions = torch.tensor([[[math.log(3), 0.0, 0.0, 0.0]]])  # a dog at 3/4, a cat at 1/4
    torch.testing.assert_close(names(regions).flatten(), torch.tensor([0.75, 0.25, 2.0, 1.0]))


def test_a_model_without_candidates_has_words_of_its_own() -> None:
    assert ObjectNames(tiny_config()).words.in_features == LABELS


@torch.no_grad()
def test_labels_are_guided_by_words_and_words_by_these_labels() -> None:
    model = PromuModel(tiny_config(fusion="ocsga")).eval()
    fusion, batch = model.fusion, tiny_batch()
    assert isinstance(fusion, LabelFusion)
    output = model(**batch, boxes=BOXES)
    words = output.text
    for layer in fusion.layers:
        words = layer(words, None)
    labels = fusion.names(Objects.of(VisualFeatures(output.visual, boxes=BOXES), 4).vectors(output.visual)[:, 4:])
    for layer in fusion.stack:
        words, labels = layer.words_alone(words, None), layer.labels_alone(labels, None)
        labels = layer.labels_guided(labels, words, None)[0]
        words = layer.words_guided(words, labels, None)[0]
    torch.testing.assert_close(output.fused_text, words, rtol=1e-4, atol=1e-4)


@torch.no_grad()
def test_every_word_has_the_mean_of_the_objects_beside_it() -> None:
    model = PromuModel(tiny_config(fusion="bert+sg")).eval()
    fusion, batch = model.fusion, tiny_batch()
    assert isinstance(fusion, PooledFusion)
    output = model(**batch, boxes=BOXES)
    alone = model(batch["input_ids"]).fused_text
    first = output.visual[:, [1, 2, 5, 6]].mean(1)
    second = output.visual[:, [2, 3, 4, 6, 7, 8, 10, 11, 12]].mean(1)
    added = (first + second) / 2 @ fusion.reader.weight.T
    torch.testing.assert_close(output.fused_text, alone + added[:, None], rtol=1e-4, atol=1e-4)
