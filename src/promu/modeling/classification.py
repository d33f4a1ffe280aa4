"""MNER: emissions from fused word vectors, then a CRF."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from torch import Tensor, nn
from torch.nn import functional
from transformers.utils.generic import ModelOutput

from promu.modeling.backbone import PromuModel, PromuPreTrainedModel, vectors_at
from promu.modeling.configuration import PromuConfig
from promu.modeling.crf import LinearChainCrf


@dataclass
class TokenClassificationOutput(ModelOutput):
    """Loss (mean over posts, Eq 13, and what the fusion adds) when labels were given; emissions (B, W, C)."""

    loss: Tensor | None = None
    emissions: Tensor | None = None
    attentions: tuple[Tensor, ...] | None = None


class PromuForTokenClassification(PromuPreTrainedModel):
    """Backbone, linear emissions on each word's first sub-word, linear-chain CRF (Eq 12, 13).

    The label names, in BIO form, are `config.id2label`. `Extractor` runs it on whole posts.

    Example:
        ```python
        from promu import PromuForTokenClassification

        model = PromuForTokenClassification.from_pretrained("runs/demo/model/ner")
        assert "B-PER" in model.config.id2label.values()
        ```
    """

    def __init__(self, config: PromuConfig) -> None:
        super().__init__(config)
        self.promu = PromuModel(config)
        self.dropout = nn.Dropout(config.classifier_dropout)
        self.emitter = nn.Linear(config.hidden_size, len(config.labels))
        self.crf = LinearChainCrf(config.labels)
        self.post_init()

    @staticmethod
    def head_labels(config: PromuConfig) -> dict[str, Sequence[str]]:
        return {"emitter": config.labels, "crf": config.labels}

    def forward(
        self,
        input_ids: Tensor,
        attention_mask: Tensor,
        word_index: Tensor,
        word_mask: Tensor,
        labels: Tensor | None = None,
        **inputs: Any,
    ) -> TokenClassificationOutput:
        """Emissions, and the loss where labels are given.

        Args:
            input_ids, attention_mask: As in `PromuModel.forward`.
            word_index: (B, W) position of each word's first sub-word in `input_ids`.
            word_mask: (B, W), 1 for words, 0 for padding.
            labels: (B, W) label ids.
            inputs: Of the image, and `output_attentions`, as in `PromuModel.forward`.
        """
        backbone = self.promu(input_ids, attention_mask, **inputs)
        emissions = self.emitter(self.dropout(vectors_at(backbone.fused_text, word_index))).float()
        loss = None
        if labels is not None:
            loss = self.crf(emissions, labels, word_mask).mean() + self.promu.fusion_loss(backbone)
        return TokenClassificationOutput(loss=loss, emissions=emissions, attentions=backbone.attentions)


@dataclass
class RelationClassificationOutput(ModelOutput):
    """Loss (Eq 15, and what the fusion adds) when labels were given; logits (B, N_r)."""

    loss: Tensor | None = None
    logits: Tensor | None = None
    attentions: tuple[Tensor, ...] | None = None


class PromuForRelationClassification(PromuPreTrainedModel):
    """Backbone and a linear head on [fused E1 start ; fused E2 start] (Eq 14, 15).

    The relation names are `config.id2label`. `Extractor` runs it on whole posts.

    Example:
        ```python
        from promu import PromuForRelationClassification

        model = PromuForRelationClassification.from_pretrained("runs/demo/model/re")
        assert "None" in model.config.id2label.values()
        ```
    """

    def __init__(self, config: PromuConfig) -> None:
        super().__init__(config)
        self.promu = PromuModel(config)
        self.dropout = nn.Dropout(config.classifier_dropout)
        self.classifier = nn.Linear(2 * config.hidden_size, len(config.labels))
        self.post_init()

    @staticmethod
    def head_labels(config: PromuConfig) -> dict[str, Sequence[str]]:
        return {"classifier": config.labels}

    def forward(
        self,
        input_ids: Tensor,
        attention_mask: Tensor,
        marker_index: Tensor,
        labels: Tensor | None = None,
        **inputs: Any,
    ) -> RelationClassificationOutput:
        """Logits over relations, and the loss where labels are given.

        Args:
            input_ids, attention_mask: As in `PromuModel.forward`.
            marker_index: (B, 2) positions of [E1] and [E2] in `input_ids`.
            labels: (B,) relation ids.
            inputs: Of the image, and `output_attentions`, as in `PromuModel.forward`.
        """
        backbone = self.promu(input_ids, attention_mask, **inputs)
        pair = vectors_at(backbone.fused_text, marker_index).flatten(1)
        logits = self.classifier(self.dropout(pair)).float()
        loss = None
        if labels is not None:
            loss = functional.cross_entropy(logits, labels) + self.promu.fusion_loss(backbone)
        return RelationClassificationOutput(loss=loss, logits=logits, attentions=backbone.attentions)
