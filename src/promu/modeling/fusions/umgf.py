"""UMGF's fusion: a graph of words and of the objects that noun phrases name (Zhang et al., AAAI 2021)."""

from __future__ import annotations

from typing import Any, ClassVar

import torch
from torch import Tensor, nn
from transformers import BertConfig, PreTrainedModel
from transformers.models.bert.modeling_bert import BertAttention, BertIntermediate, BertOutput

from promu.modeling.configuration import PromuConfig
from promu.modeling.fusions.base import Fused, Fusion, VisualFeatures, map_of_image, seen_by_cls, visual_map, with_map
from promu.modeling.fusions.objects import Objects

LAYERS = 2
"""Layers of graph fusion."""


class GatedEdges(nn.Module):
    """What nodes get along weighted edges: sum over j of e_ij sigmoid(W_1 x_i + W_2 y_j) * y_j.

    Each number of a vector has a gate of its own.
    """

    def __init__(self, width: int) -> None:
        super().__init__()
        self.own, self.other = nn.Linear(width, width), nn.Linear(width, width, bias=False)

    def forward(self, nodes: Tensor, others: Tensor, edges: Tensor) -> Tensor:
        """Of nodes (B, N, d), others (B, M, d) and weights of edges (B, N, M): (B, N, d)."""
        gates = torch.sigmoid(self.own(nodes)[:, :, None] + self.other(others)[:, None])
        return torch.einsum("bnm,bnmd,bmd->bnd", edges, gates, others)


class Update(nn.Module):
    """A node's next state: FFN(M + C), each with its residual and its norm."""

    def __init__(self, config: BertConfig) -> None:
        super().__init__()
        self.intermediate, self.output = BertIntermediate(config), BertOutput(config)

    def forward(self, nodes: Tensor) -> Tensor:
        """Of nodes (B, N, d)."""
        return self.output(self.intermediate(nodes), nodes)


class GraphLayer(nn.Module):
    """One layer of graph fusion: attention within each modality, gated edges between them, then the update.

    The objects' own update is left out of the last layer, whose objects nothing reads.
    """

    def __init__(self, config: BertConfig, seeing: bool, last: bool) -> None:
        super().__init__()
        self.words_alone, self.update_words = BertAttention(config), Update(config)
        if seeing:
            self.objects_alone, self.to_words = BertAttention(config), GatedEdges(config.hidden_size)
        if seeing and not last:
            self.to_objects, self.update_objects = GatedEdges(config.hidden_size), Update(config)


class GraphFusion(Fusion):
    """Words are linked with each other, objects with each other, and a noun phrase's words with the object it names.

    In each layer (Eq 4-9) C_x and C_o are the words and objects after attention within their modality. A word gets
    M_i = sum over j of e_ij sigmoid(W_1 C_x,i + W_2 C_o,j) * C_o,j from the objects it is linked with, an object
    likewise from its words; then H = FFN(C + M).

    The paper grounds noun phrases with a grounding model. Here the weight e_ij of an edge is how well object j fits the
    phrase of word i: the softmax over the objects of the phrase's mean vector against theirs. A word outside of all
    phrases has no edge. Without a parser (`config.parser`) each token is a phrase of its own.
    """

    parses: ClassVar[str | None] = "each word piece stands for a noun phrase"
    masks_pairs = True

    def __init__(self, config: PromuConfig, text_encoder: PreTrainedModel) -> None:
        super().__init__(config, text_encoder)
        own, seeing = self.own_layer_config(text_encoder, 1), config.vision_config is not None
        self.stack: Any = nn.ModuleList(GraphLayer(own, seeing, last=number + 1 == LAYERS) for number in range(LAYERS))
        if seeing:
            self.visual_map = visual_map(config)
            self.grounder = nn.Linear(config.hidden_size, config.hidden_size, bias=False)

    def forward(
        self, text: Tensor, text_mask: Tensor, images: VisualFeatures | None, output_attentions: bool = False
    ) -> Fused:
        """As `Fusion.forward`; the last map is of the edges."""
        words, maps = self.run_layers(text, text_mask, output_attentions)
        mask = self.attention_mask(words, text_mask)
        if images is None:
            for layer in self.stack:
                words = layer.update_words(layer.words_alone(words, mask)[0])
            return Fused(words, attentions=maps)
        tokens, found = self.visual_map(images.tokens).to(words.dtype), Objects.of(images, self.config.grid)
        objects, present = found.vectors(tokens), found.mask.any(-1)
        edges = self.edges(words, objects, found.mask, images.parse)
        from_words = (edges * seen_by_cls(text_mask)[..., None]).mT
        among = self.attention_mask(objects, torch.where(present[:, None], found.mask, True).to(text_mask.dtype))
        for layer in self.stack:
            words, objects = layer.words_alone(words, mask)[0], layer.objects_alone(objects, among)[0]
            read = layer.to_words(words, objects, edges)
            if hasattr(layer, "to_objects"):
                objects = layer.update_objects(objects + layer.to_objects(objects, words, from_words))
            words = layer.update_words(words + read)
        if output_attentions:
            weights = edges[:, None].expand(-1, maps[0].shape[1], -1, -1)
            maps = with_map(maps, map_of_image(weights, text.shape[1], present, found.shares))
        return Fused(words, tokens, maps)

    def edges(self, words: Tensor, objects: Tensor, mask: Tensor, parse: Tensor | None) -> Tensor:
        """How well each object (B, R, d) fits the noun phrase of each word (B, N, d): (B, N, R).

        The shares of a word sum to 1 over the objects that the mask (B, R) shows; to 0 outside of phrases and where
        there is no object. `parse` is as in `VisualFeatures`.
        """
        phrases = words
        if parse is not None:
            number = parse[..., 2]
            same = ((number[:, :, None] == number[:, None]) & (number[:, :, None] > 0)).to(words.dtype)
            phrases = same / same.sum(-1, keepdim=True).clamp(min=1.0) @ words
        scores = (self.grounder(phrases) @ objects.mT).float() * words.shape[-1] ** -0.5
        scores = scores.masked_fill(~mask[:, None], torch.finfo(scores.dtype).min)
        edges = scores.softmax(-1) * mask[:, None]
        return (edges if parse is None else edges * (parse[..., 2:] > 0)).to(words.dtype)
