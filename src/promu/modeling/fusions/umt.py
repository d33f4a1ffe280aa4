"""UMT's fusion: cross-modal transformers, a visual gate, and an auxiliary task on the text (Yu et al., ACL 2020)."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import ClassVar

import torch
from torch import Tensor, nn
from transformers import PreTrainedModel
from transformers.models.bert.modeling_bert import BertLayer

from promu.modeling.configuration import PromuConfig
from promu.modeling.crf import LinearChainCrf
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

SPANS = ("O", "B", "I")
"""The labels of the auxiliary task: where an entity is, of whatever type."""


class UnifiedFusion(Fusion):
    """Words that have read the image, a gated image for each word, and entity spans told from the text alone.

    S are the text layers' vectors, and R = TEL_main(S) their second reading. Image-aware words: P = CMT(V; R), the
    image's queries over the words, then A = CMT(R; P), the words' queries over P. Word-aware image: Q = CMT(R; V). The
    visual gate g = sigmoid(W_a A + W_q Q) lets through B = g * Q. The fused words are [A ; B]. A linear head reads
    them as W_1 A + W_2 B, so A + W B is as much.

    The auxiliary task has a reading of its own, T = TEL_aux(S), linear emissions of `SPANS`, and a CRF. It never sees
    the image. The conversion matrix adds its emissions to those of the entity labels (`convert`). It is there where the
    model's labels are entity types in BIO form. Its loss is `spans`.

    A post without an image is R.
    """

    auxiliary: ClassVar[Mapping[str, float]] = {"spans": 0.5}
    masks_pairs = True

    def __init__(self, config: PromuConfig, text_encoder: PreTrainedModel) -> None:
        super().__init__(config, text_encoder)
        width, own = config.hidden_size, self.own_layer_config(text_encoder, 1)
        self.main_layer = BertLayer(own)
        labels = config.of_task("ner").labels if "ner" in (config.tasks or ["ner"]) else []
        self.finds_spans = any(label.startswith("B-") for label in labels)
        if self.finds_spans:
            self.auxiliary_layer = BertLayer(own)
            self.span_emitter = nn.Linear(width, len(SPANS))
            self.span_crf = LinearChainCrf(("O", "B-", "I-"))
        if config.vision_config is None:
            return
        self.visual_map = visual_map(config)
        self.image_reads_words, self.words_read_image = CrossAttention(own), CrossAttention(own)
        self.words_read_regions = CrossAttention(own)
        self.gate_words, self.gate_image = nn.Linear(width, width, bias=False), nn.Linear(width, width)
        self.reader = nn.Linear(width, width)

    def forward(
        self, text: Tensor, text_mask: Tensor, images: VisualFeatures | None, output_attentions: bool = False
    ) -> Fused:
        """As `Fusion.forward`; the last map is of the words' own reading of the image, Q."""
        alone, maps = self.run_layers(text, text_mask, output_attentions)
        mask = self.attention_mask(alone, text_mask)
        words = self.main_layer(alone, mask)
        spans = self.span_emitter(self.auxiliary_layer(alone, mask)) if self.finds_spans else None
        if images is None:
            return Fused(words, attentions=maps, spans=spans)
        tokens, present = self.visual_map(images.tokens).to(words.dtype), images.present()
        to_words = self.attention_mask(tokens, seen_by_cls(text_mask))
        image, _ = self.image_reads_words(tokens, words, to_words)
        aware, _ = self.words_read_image(words, image, None)
        regions, to_image = self.words_read_regions(words, tokens, None)
        fused = aware + self.reader(self.gate(aware, regions) * regions)
        if output_attentions:
            maps = with_map(maps, map_of_image(required_map(to_image), text.shape[1], present))
        return Fused(torch.where(present[:, None, None], fused, words), image, maps, spans=spans)

    def gate(self, aware: Tensor, regions: Tensor) -> Tensor:
        """How much of the image (B, N, d) each word (B, N, d) takes, in 0..1 for each number."""
        return torch.sigmoid(self.gate_words(aware) + self.gate_image(regions))

    def span_loss(self, spans: Tensor, labels: Tensor, mask: Tensor, names: Sequence[str]) -> Tensor:
        """-log p of the spans of BIO labels (B, W) under the auxiliary emissions (B, W, 3): (B,), weighted."""
        kinds = torch.tensor([SPANS.index(name[0]) for name in names], device=labels.device)
        return self.loss_weights["spans"] * self.span_crf(spans, kinds[labels], mask)


def convert(spans: Tensor, names: Sequence[str]) -> Tensor:
    """Emissions of spans (B, W, 3) as additions to those of entity labels (B, W, C): T W_c.

    The conversion matrix W_c gives what speaks for B to the B of each type in equal parts, likewise I, and all of O to
    O.

    Example:
        >>> convert(torch.tensor([[[5.0, 2.0, 4.0]]]), ["O", "B-LOC", "I-LOC", "B-PER", "I-PER"]).tolist()
        [[[5.0, 1.0, 2.0, 1.0, 2.0]]]
    """
    kinds = torch.tensor([SPANS.index(name[0]) for name in names], device=spans.device)
    shares = 1.0 / torch.bincount(kinds, minlength=len(SPANS)).clamp(min=1)
    return spans.float()[..., kinds] * shares[kinds]
