"""UMGF: gated edges, the grounding of noun phrases, and the layers of the graph."""

from __future__ import annotations

import math

import pytest
import torch
from tests.factories import tiny_batch, tiny_config

from promu.modeling.backbone import PromuModel
from promu.modeling.fusions.base import VisualFeatures
from promu.modeling.fusions.objects import Objects
from promu.modeling.fusions.umgf import GatedEdges, GraphFusion

BOXES = torch.tensor([[0.0, 0.0, 0.5, 0.5], [0.25, 0.0, 1.0, 0.75]]).expand(3, -1, -1)


@pytest.fixture
def fusion() -> GraphFusion:
    found = PromuModel(tiny_config(fusion="umgf", text_hidden_size=4, vision_hidden_size=4)).fusion
    assert isinstance(found, GraphFusion)
    with torch.no_grad():
        found.grounder.weight.copy_(torch.eye(4))
    return found


@torch.no_grad()
def test_a_gated_edge_by_hand() -> None:
    edges = GatedEdges(2)
    edges.own.weight.copy_(torch.eye(2))
    edges.own.bias.zero_()
    edges.other.weight.copy_(2 * torch.eye(2))
    node, others = torch.tensor([[[1.0, 0.0]]]), torch.tensor([[[1.0, 2.0], [-1.0, 0.0]]])
    # gates sigmoid(1 + 2), sigmoid(4) of the first; sigmoid(1 - 2), 1/2 of the second
    first = [1 / (1 + math.exp(-3)), 2 / (1 + math.exp(-4))]
    second = [-1 / (1 + math.exp(1)), 0.0]
    expected = [0.25 * one + 0.75 * other for one, other in zip(first, second, strict=True)]
    found = edges(node, others, torch.tensor([[[0.25, 0.75]]]))
    torch.testing.assert_close(found.flatten(), torch.tensor(expected))


@torch.no_grad()
def test_a_phrase_is_grounded_as_a_whole(fusion: GraphFusion) -> None:
    words = torch.tensor([[[9.0, 9, 9, 9], [4.0, 0, 0, 0], [0.0, 4.0, 0, 0], [0.0, 4.0, 0, 0]]])
    objects = torch.tensor([[[math.log(9), 0, 0, 0], [0.0] * 4, [50.0] * 4]])
    # the first word is in no phrase, the next two are one: their mean is (2, 2, 0, 0), over the root of 4
    parse = torch.tensor([[[0, 0, 0], [1, 1, 7], [2, 1, 7], [3, 1, 8]]])
    edges = fusion.edges(words, objects, torch.tensor([[True, True, False]]), parse)
    expected = [[0.0, 0, 0], [0.9, 0.1, 0], [0.9, 0.1, 0], [0.5, 0.5, 0]]
    torch.testing.assert_close(edges, torch.tensor([expected]))


@torch.no_grad()
def test_without_a_parser_each_token_is_grounded(fusion: GraphFusion) -> None:
    words, objects = torch.tensor([[[2.0, 0, 0, 0], [0.0] * 4]]), torch.tensor([[[math.log(3), 0, 0, 0], [0.0] * 4]])
    edges = fusion.edges(words, objects, torch.tensor([[True, True]]), None)
    torch.testing.assert_close(edges, torch.tensor([[[0.75, 0.25], [0.5, 0.5]]]))
    assert not fusion.edges(words, objects, torch.tensor([[False, False]]), None).any(), "no object, no edge"


@torch.no_grad()
def test_two_layers_spelt_out() -> None:
    model = PromuModel(tiny_config(fusion="umgf")).eval()
    fusion, batch = model.fusion, tiny_batch()
    assert isinstance(fusion, GraphFusion)
    output = model(**batch, boxes=BOXES)
    words = output.text
    for layer in fusion.layers:
        words = layer(words, None)
    objects = Objects.of(VisualFeatures(output.visual, boxes=BOXES), 4).vectors(output.visual)[:, 4:]
    edges = fusion.edges(words, objects, torch.ones(3, 2, dtype=torch.bool), None)
    first, second = fusion.stack
    words, objects = first.words_alone(words)[0], first.objects_alone(objects)[0]
    read, of_words = first.to_words(words, objects, edges), first.to_objects(objects, words, edges.mT)
    words, objects = first.update_words(words + read), first.update_objects(objects + of_words)
    words, objects = second.words_alone(words)[0], second.objects_alone(objects)[0]
    words = second.update_words(words + second.to_words(words, objects, edges))
    torch.testing.assert_close(output.fused_text, words, rtol=1e-4, atol=1e-4)
