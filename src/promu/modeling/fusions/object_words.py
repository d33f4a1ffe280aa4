"""Fusions that read an image as its objects: OCSGA (Wu et al., ACM MM 2020) and BERT+SG (Zheng et al., ACM MM 2021)."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn
from transformers import PreTrainedModel
from transformers.models.bert.modeling_bert import BertLayer

from promu.modeling.configuration import PromuConfig
from promu.modeling.fusions.base import (
    CrossAttention,
    Fused,
    Fusion,
    VisualFeatures,
    map_of_image,
    required_map,
    seen_by_cls,
    visual_map,
    with_map,
)
from promu.modeling.fusions.objects import Objects

STACKED = 2
"""Layers of dense co-attention."""
LABELS = 80
"""Words that an object may be called, where the model has no candidates: as many as COCO has classes."""


class ObjectNames(nn.Module):
    """A word for each object: the vectors of label words, mixed by how well each fits the object's region.

    A detector gives a hard label. Here the label is soft, as the pseudo-labels of L_COE are, so that the naming learns
    from the task and from pre-training. There is one word for each candidate noun of the model (`config.nouns`), else
    `LABELS` that stand for none in advance.
    """

    def __init__(self, config: PromuConfig) -> None:
        super().__init__()
        count = len(config.nouns) or LABELS
        self.namer = nn.Linear(config.hidden_size, count)
        self.words = nn.Linear(count, config.hidden_size, bias=False)

    def forward(self, regions: Tensor) -> Tensor:
        """Label vectors (B, R, d) of region vectors (B, R, d)."""
        return self.words(self.namer(regions).float().softmax(-1).to(regions.dtype))


class CoAttention(nn.Module):
    """A layer of dense co-attention: each side attends to itself (SA), then to the other (GA).

    Labels are guided by words first, then words by these labels. A row without objects keeps its words after SA.
    """

    def __init__(self, fusion: Fusion, text_encoder: PreTrainedModel) -> None:
        super().__init__()
        own = fusion.own_layer_config(text_encoder, 1)
        self.words_alone = BertLayer(own)
        if fusion.config.vision_config is not None:
            self.labels_alone = BertLayer(own)
            self.labels_guided, self.words_guided = CrossAttention(own), CrossAttention(own)


class LabelFusion(Fusion):
    """OCSGA: the labels of an image's objects as words, and dense co-attention between these and the text.

    Labels X and words Y pass `STACKED` layers of `CoAttention`: X = GA(SA(X), Y), Y = GA(SA(Y), X). The image speaks
    through its labels alone. The fused visual tokens, of which L_COE pools its regions, are those that labels are
    read of.
    """

    masks_pairs = True

    def __init__(self, config: PromuConfig, text_encoder: PreTrainedModel) -> None:
        super().__init__(config, text_encoder)
        self.stack: Any = nn.ModuleList(CoAttention(self, text_encoder) for _ in range(STACKED))
        if config.vision_config is None:
            return
        self.visual_map = visual_map(config)
        self.names = ObjectNames(config)

    def forward(
        self, text: Tensor, text_mask: Tensor, images: VisualFeatures | None, output_attentions: bool = False
    ) -> Fused:
        """As `Fusion.forward`; the last map is of the words' last attention to labels, spread over the objects."""
        words, maps = self.run_layers(text, text_mask, output_attentions)
        mask = self.attention_mask(words, text_mask)
        if images is None:
            for layer in self.stack:
                words = layer.words_alone(words, mask)
            return Fused(words, attentions=maps)
        tokens, objects = self.visual_map(images.tokens).to(words.dtype), Objects.of(images, self.config.grid)
        labels, present = self.names(objects.vectors(tokens)), objects.mask.any(-1)
        shown = torch.where(present[:, None], objects.mask, True)  # a row without any is read, and not used
        to_labels = self.attention_mask(words, shown.to(text_mask.dtype))
        among_labels = self.attention_mask(labels, shown.to(text_mask.dtype))
        to_words = self.attention_mask(labels, seen_by_cls(text_mask))
        weights = None
        for layer in self.stack:
            words, labels = layer.words_alone(words, mask), layer.labels_alone(labels, among_labels)
            labels, _ = layer.labels_guided(labels, words, to_words)
            guided, weights = layer.words_guided(words, labels, to_labels)
            words = torch.where(present[:, None, None], guided, words)
        if output_attentions:
            maps = with_map(maps, map_of_image(required_map(weights), text.shape[1], present, objects.shares))
        return Fused(words, tokens, maps)


class PooledFusion(Fusion):
    """BERT+SG: the text's vectors beside the mean of the image's objects.

    The fused word is [h_t ; v], v the mean over the objects of the scene. A linear head reads it as W_1 h_t + W_2 v, so
    h_t + W v is as much. Nothing aligns words with objects; that is the baseline's point.
    """

    masks_pairs = True

    def __init__(self, config: PromuConfig, text_encoder: PreTrainedModel) -> None:
        super().__init__(config, text_encoder)
        if config.vision_config is None:
            return
        self.visual_map = visual_map(config)
        self.reader = nn.Linear(config.hidden_size, config.hidden_size, bias=False)

    def forward(
        self, text: Tensor, text_mask: Tensor, images: VisualFeatures | None, output_attentions: bool = False
    ) -> Fused:
        """As `Fusion.forward`; the last map is the same mean over the objects for each word."""
        words, maps = self.run_layers(text, text_mask, output_attentions)
        if images is None:
            return Fused(words, attentions=maps)
        tokens, objects = self.visual_map(images.tokens).to(words.dtype), Objects.of(images, self.config.grid)
        shares = objects.mask.to(words.dtype)
        shares = shares / shares.sum(-1, keepdim=True).clamp(min=1.0)
        pooled = shares[:, None] @ objects.vectors(tokens)
        if output_attentions:
            equal = shares[:, None, None].expand(-1, maps[0].shape[1], words.shape[1], -1)
            maps = with_map(maps, map_of_image(equal, text.shape[1], objects.mask.any(-1), objects.shares))
        return Fused(words + self.reader(pooled), tokens, maps)
