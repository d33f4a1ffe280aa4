"""IFAformer: both sides of a layer read the keys and values of both modalities."""

from __future__ import annotations

from typing import Any

import torch
from tests.factories import WIDTH, tiny_batch, tiny_config

from promu.modeling.backbone import PromuModel
from promu.modeling.fusions.base import VisualFeatures
from promu.modeling.fusions.ifaformer import DualFusion
from promu.modeling.fusions.objects import Objects

BOXES = torch.tensor([[[0.0, 0.0, 0.5, 0.5], [0.25, 0.0, 1.0, 0.75]]])


def attended(layer: Any, queries: torch.Tensor, keys: torch.Tensor, values: torch.Tensor) -> torch.Tensor:
    """A layer of BERT's kind, its attention spelt out, over the keys and values (1, M, d) that are given."""
    read = torch.empty_like(queries)
    asked = layer.attention.self.query(queries)
    for head in range(4):
        part = slice(head * WIDTH // 4, (head + 1) * WIDTH // 4)
        scores = asked[..., part] @ keys[..., part].mT / (WIDTH // 4) ** 0.5
        read[..., part] = scores.softmax(-1) @ values[..., part]
    hidden = layer.attention.output(read, queries)
    return layer.output(layer.intermediate(hidden), hidden)  # type: ignore[no-any-return]


@torch.no_grad()
def test_two_layers_spelt_out() -> None:
    model = PromuModel(tiny_config(fusion="ifaformer")).eval()
    fusion, batch = model.fusion, tiny_batch(rows=1)
    assert isinstance(fusion, DualFusion) and len(fusion.layers) == 2 and len(fusion.visual_layers) == 1
    output = model(**batch, boxes=BOXES)
    text, tokens = output.text, output.visual
    objects = Objects.of(VisualFeatures(tokens, boxes=BOXES), 4)
    # the two regions; the quarters in front of them are not read
    visual = torch.cat([tokens, objects.vectors(tokens)[:, 4:]], dim=1)
    first: Any = fusion.layers[0]
    of_image: Any = fusion.visual_layers[0]
    both = [
        torch.cat([getattr(first.attention.self, name)(text), getattr(of_image.attention.self, name)(visual)], dim=1)
        for name in ("key", "value")
    ]
    text, visual = attended(first, text, *both), attended(of_image, visual, *both)
    second: Any = fusion.layers[1]
    last = fusion.last_keys_values(visual)
    keys = torch.cat([second.attention.self.key(text), last[..., :WIDTH]], dim=1)
    values = torch.cat([second.attention.self.value(text), last[..., WIDTH:]], dim=1)
    torch.testing.assert_close(output.fused_text, attended(second, text, keys, values), rtol=1e-4, atol=1e-4)
    torch.testing.assert_close(output.fused_visual, visual[:, :17], rtol=1e-4, atol=1e-4)


def test_a_region_is_an_object_and_the_quarters_are_where_there_is_none() -> None:
    tokens = torch.randn(3, 17, 8)
    boxes = torch.tensor([[[0.0, 0.0, 0.5, 0.125]], [[0.0] * 4], [[0.0, 0.0, 1.0, 1.0]]])
    objects = Objects.of(VisualFeatures(tokens, torch.tensor([1, 1, 0]), boxes), 4)
    assert objects.mask.tolist() == [[False] * 4 + [True], [True] * 4 + [False], [False] * 5]
    vectors = objects.vectors(tokens)
    torch.testing.assert_close(vectors[0, 4], (tokens[0, 1] + tokens[0, 2]) / 2)
    torch.testing.assert_close(vectors[1, 3], tokens[1, [11, 12, 15, 16]].mean(0))
