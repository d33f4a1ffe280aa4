"""MEGA: the structure around words and objects, and the two alignments."""

from __future__ import annotations

import math

import torch
from tests.factories import tiny_batch, tiny_config

from promu.modeling.backbone import PromuModel
from promu.modeling.fusions.base import VisualFeatures
from promu.modeling.fusions.mega import (
    DualGraphFusion,
    neighbours,
    overlaps,
    structural_alignment,
    structure,
    tree,
)
from promu.modeling.fusions.objects import Objects

BOXES = torch.tensor([[0.0, 0.0, 0.5, 0.5], [0.25, 0.0, 1.0, 0.75]]).expand(3, -1, -1)


def test_a_tree_links_the_first_pieces_of_word_and_head() -> None:
    # [CLS] a dog ##house stands [SEP]
    parse = torch.tensor([[[0, 0, 0], [1, 2, 1], [2, 4, 1], [2, 4, 1], [4, 4, 0], [5, 5, 0]]])
    expected = torch.zeros(6, 6)
    expected[1, 2] = expected[2, 1] = expected[2, 4] = expected[4, 2] = 1
    assert torch.equal(tree(parse)[0], expected)


def test_structure_is_a_histogram_of_degrees_around_a_node() -> None:
    star = torch.zeros(1, 5, 5)
    star[0, 0, 1:4] = star[0, 1:4, 0] = 1  # a centre of degree 3, three leaves, and a node alone
    leaf = [0.5 * 2, 1.0]  # the centre, and two leaves two steps away
    assert structure(star)[0, :, :2].tolist() == [[3.0, 0.0], leaf, leaf, leaf, [0.0, 0.0]]
    assert not structure(star)[..., 2:].any()


def test_tokens_beside_each_other_are_linked_within_the_text() -> None:
    links = neighbours(torch.tensor([[1, 1, 1, 0]]))[0]
    assert links.nonzero().tolist() == [[0, 1], [1, 0], [1, 2], [2, 1]]


def test_objects_whose_boxes_overlap_are_linked() -> None:
    boxes = torch.tensor([[[0.0, 0, 0.5, 0.5], [0.4, 0.4, 1, 1], [0.5, 0.0, 1.0, 0.4], [0.1, 0.1, 0.2, 0.2]]])
    objects = Objects(boxes, torch.tensor([[True, True, True, False]]), torch.zeros(1, 4, 17))
    assert overlaps(objects)[0].nonzero().tolist() == [[0, 1], [1, 0]], "to touch is not to overlap; the last is none"


def test_structural_alignment_prefers_what_stands_alike() -> None:
    words, objects = torch.tensor([[[2.0, 0.0], [0.0, 1.0]]]), torch.tensor([[[2.0, 0.0], [1.0, 1.0], [0.0, 0.0]]])
    found = structural_alignment(words, objects, torch.tensor([[1, 1, 0]]))
    # squared distances 0 and 2; 5 and 1
    expected = [[1 / (1 + math.exp(-2)), 1 / (1 + math.exp(2)), 0], [1 / (1 + math.exp(4)), 1 / (1 + math.exp(-4)), 0]]
    torch.testing.assert_close(found, torch.tensor([expected]))


@torch.no_grad()
def test_both_alignments_have_half_a_say() -> None:
    model = PromuModel(tiny_config(fusion="mega")).eval()
    fusion, batch = model.fusion, tiny_batch()
    assert isinstance(fusion, DualGraphFusion)
    # the words 1 to 6 hang from the second token in a row
    parse = torch.tensor([[[place, max(place - 1, 1), 1] for place in range(7)]]).expand(3, -1, -1).clone()
    parse[:, 0] = 0
    output = model(**batch, boxes=BOXES, parse=parse)
    words = model(batch["input_ids"]).fused_text
    objects = Objects.of(VisualFeatures(output.visual, boxes=BOXES), 4).vectors(output.visual)[:, 4:]
    linked = torch.tensor([[0.0, 1.0], [1.0, 0.0]]).expand(3, -1, -1)
    alpha = structural_alignment(structure(tree(parse)), structure(linked), torch.ones(3, 2))
    beta = (fusion.queries(words) @ fusion.keys(objects).mT / math.sqrt(32)).softmax(-1)
    added = fusion.reader((alpha + beta) / 2 @ fusion.values(objects))
    torch.testing.assert_close(output.fused_text, words + added, rtol=1e-4, atol=1e-4)
    other = model(**batch, boxes=BOXES).fused_text
    assert (alpha[:, :, 0] - 0.5).abs().max() < 1e-6, "two objects that see one another stand alike"
    torch.testing.assert_close(other, output.fused_text, rtol=1e-4, atol=1e-4)


@torch.no_grad()
def test_the_tree_matters_where_objects_stand_differently() -> None:
    model = PromuModel(tiny_config(fusion="mega")).eval()
    boxes = torch.cat([BOXES, torch.tensor([[0.0, 0.9, 0.1, 1.0]]).expand(3, -1, -1)], dim=1)
    star = torch.tensor([[[place, 1, 1] for place in range(7)]]).expand(3, -1, -1)
    batch = {**tiny_batch(), "boxes": boxes}
    assert (model(**batch, parse=star).fused_text - model(**batch).fused_text).abs().max() > 1e-3
