"""MEGA's fusion: words and objects aligned by graph structure and by meaning (Zheng et al., ACM MM 2021)."""

from __future__ import annotations

from typing import ClassVar

import torch
from torch import Tensor, nn
from torch.nn import functional
from transformers import PreTrainedModel

from promu.modeling.configuration import PromuConfig
from promu.modeling.fusions.base import Fused, Fusion, VisualFeatures, map_of_image, seen_by_cls, visual_map, with_map
from promu.modeling.fusions.objects import Objects

BUCKETS = 6
"""Of a histogram of degrees, by their logarithm: 1, 2 to 3, 4 to 7, and so on."""
DISCOUNT = 0.5
"""What the degrees of neighbours two steps away count, against those of neighbours."""


class DualGraphFusion(Fusion):
    """The dependency tree of the text and a graph of the image's objects, aligned in two ways.

    Structural similarity compares what stands around two nodes (`structure`): alpha_ij, over the objects. Semantic
    agreement is attention: beta_ij = softmax(q(h_i) k(o_j) / sqrt d). A word's objects are
    y_i = sum over j of (alpha_ij + beta_ij) / 2 W_v o_j. The paper adds all y to one vector beside the two entities.
    Here each token keeps its own, [h_i ; y_i], so that both tasks can read it; a linear head reads this as
    W_1 h_i + W_2 y_i, and h_i + W y_i is as much.

    Two objects are linked where their boxes overlap: a scene graph's relations would need a model that draws one.
    Without a parser (`config.parser`) a token is linked with its neighbours in the text.
    """

    parses: ClassVar[str | None] = "the order of the words stands for a dependency tree"
    masks_pairs = True

    def __init__(self, config: PromuConfig, text_encoder: PreTrainedModel) -> None:
        super().__init__(config, text_encoder)
        if config.vision_config is None:
            return
        width = config.hidden_size
        self.visual_map = visual_map(config)
        self.queries, self.keys, self.values = (nn.Linear(width, width) for _ in range(3))
        self.reader = nn.Linear(width, width, bias=False)

    def forward(
        self, text: Tensor, text_mask: Tensor, images: VisualFeatures | None, output_attentions: bool = False
    ) -> Fused:
        """As `Fusion.forward`; the last map is of both alignments' mean."""
        words, maps = self.run_layers(text, text_mask, output_attentions)
        if images is None:
            return Fused(words, attentions=maps)
        tokens, found = self.visual_map(images.tokens).to(words.dtype), Objects.of(images, self.config.grid)
        objects, present = found.vectors(tokens), found.mask.any(-1)
        if images.parse is None:
            around = structure(neighbours(seen_by_cls(text_mask)))
        else:
            first = images.parse[..., 0]
            around = structure(tree(images.parse)).gather(1, first[..., None].expand(-1, -1, BUCKETS))
        alpha = structural_alignment(around, structure(overlaps(found)), found.mask)
        scores = (self.queries(words) @ self.keys(objects).mT).float() * words.shape[-1] ** -0.5
        beta = scores.masked_fill(~found.mask[:, None], torch.finfo(scores.dtype).min).softmax(-1)
        shares = ((alpha + beta) / 2 * present[:, None, None]).to(words.dtype)
        fused = words + self.reader(shares @ self.values(objects))
        if output_attentions:
            weights = shares[:, None].expand(-1, maps[0].shape[1], -1, -1)
            maps = with_map(maps, map_of_image(weights, text.shape[1], present, found.shares))
        return Fused(fused, tokens, maps)


def structure(links: Tensor) -> Tensor:
    """What stands around each node of graphs (B, N, N): a histogram of its neighbours' degrees, (B, N, BUCKETS).

    Neighbours two steps away count `DISCOUNT`. Degrees fall into buckets by their logarithm.

    Example:
        A path of three: its ends see a neighbour of degree 2 and, two steps away, one of degree 1.

        >>> path = torch.tensor([[[0.0, 1, 0], [1, 0, 1], [0, 1, 0]]])
        >>> structure(path)[0, :, :2].tolist()
        [[0.5, 1.0], [2.0, 0.0], [0.5, 1.0]]
    """
    degrees = links.sum(-1)
    buckets = degrees.clamp(min=1).log2().floor().long().clamp(max=BUCKETS - 1)
    kinds = functional.one_hot(buckets, BUCKETS) * (degrees > 0)[..., None]
    itself = torch.eye(links.shape[-1], device=links.device)
    further = ((links @ links > 0) & (links == 0)).float() * (1 - itself)
    return (links + DISCOUNT * further) @ kinds.float()


def structural_alignment(words: Tensor, objects: Tensor, mask: Tensor) -> Tensor:
    """exp(-|a - b|^2) of words (B, N, h) and objects (B, R, h), as shares (B, N, R) of the objects that are there.

    Example:
        >>> words, objects = torch.tensor([[[1.0]]]), torch.tensor([[[1.0], [0.0], [5.0]]])
        >>> shares = structural_alignment(words, objects, torch.tensor([[1, 1, 0]]))
        >>> [round(share, 3) for share in shares.flatten().tolist()]
        [0.731, 0.269, 0.0]
    """
    distances = (words[:, :, None] - objects[:, None]).square().sum(-1)
    return (-distances).masked_fill(mask[:, None] == 0, torch.finfo(distances.dtype).min).softmax(-1)


def tree(parse: Tensor) -> Tensor:
    """The links of dependency trees between the first pieces of words, (B, N, N), of a parse (B, N, 3)."""
    first, head = parse[..., 0], parse[..., 1]
    rows = torch.arange(len(parse), device=parse.device)[:, None]
    links = torch.zeros(len(parse), parse.shape[1], parse.shape[1], device=parse.device)
    links[rows, first, head] = 1.0
    return torch.maximum(links, links.mT) * (1 - torch.eye(parse.shape[1], device=parse.device))


def neighbours(mask: Tensor) -> Tensor:
    """Links between tokens that stand beside each other, (B, N, N), where the mask (B, N) shows both."""
    place, shown = torch.arange(mask.shape[1], device=mask.device), mask.bool()
    return (((place[:, None] - place).abs() == 1) & shown[:, :, None] & shown[:, None]).float()


def overlaps(objects: Objects) -> Tensor:
    """Links between objects whose boxes overlap, (B, R, R)."""
    boxes = objects.boxes.float()
    corner = torch.maximum(boxes[:, :, None, :2], boxes[:, None, :, :2])
    opposite = torch.minimum(boxes[:, :, None, 2:], boxes[:, None, :, 2:])
    cover = (opposite > corner).all(-1) & objects.mask[:, :, None] & objects.mask[:, None]
    return cover.float() * (1 - torch.eye(boxes.shape[1], device=boxes.device))
