"""The heads of fine-tuned tasks: entities by emissions and a CRF, relations by one of three ways to see a pair."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from torch import Tensor, nn
from torch.nn import functional
from transformers.utils.generic import ModelOutput

from promu.modeling.backbone import PromuModel, PromuPreTrainedModel, vectors_at
from promu.modeling.configuration import PromuConfig
from promu.modeling.crf import LinearChainCrf
from promu.modeling.fusions.umt import convert
from promu.modeling.pair_heads import LevitatedPairs, SpanPairs, check_levitated


@dataclass
class TokenClassificationOutput(ModelOutput):
    """Loss (mean over posts, Eq 13, and what the fusion adds) when labels were given; emissions (B, W, C).

    `fused_text` (B, N, d) has the backbone's vectors, off which a head of relations may read pairs.
    """

    loss: Tensor | None = None
    emissions: Tensor | None = None
    fused_text: Tensor | None = None
    attentions: tuple[Tensor, ...] | None = None


class HeadOnBackbone(PromuPreTrainedModel):
    """A backbone and the head of one task: the modules that `head_modules` makes.

    Args:
        config: With the labels of the task.
        parts: The modules by name, `promu` for the backbone, in place of new ones: of a model that shares its backbone.
    """

    promu: PromuModel

    def __init__(self, config: PromuConfig, parts: Mapping[str, nn.Module] | None = None) -> None:
        super().__init__(config)
        new = {} if parts else {"promu": PromuModel(config), **self.head_modules(config)}
        for name, module in (parts or new).items():
            self.add_module(name, module)
        if new:  # shared parts have their weights
            self.post_init()

    @staticmethod
    def head_modules(config: PromuConfig) -> dict[str, nn.Module]:
        """What sits on the backbone, by name, with new weights."""
        raise NotImplementedError

    def answer(self, fused_text: Tensor, positions: Tensor) -> Tensor:
        """The head's scores of fused vectors (B, N, d), read at the positions that the task has."""
        raise NotImplementedError


class PromuForTokenClassification(HeadOnBackbone):
    """Backbone, linear emissions on each word's first sub-word, linear-chain CRF (Eq 12, 13).

    The label names, in BIO form, are `config.id2label`. `Extractor` runs it on whole posts.

    Example:
        ```python
        from promu import PromuForTokenClassification

        model = PromuForTokenClassification.from_pretrained("runs/demo/model/ner")
        assert "B-PER" in model.config.id2label.values()
        ```
    """

    dropout: nn.Dropout
    emitter: nn.Linear
    crf: LinearChainCrf

    @staticmethod
    def head_modules(config: PromuConfig) -> dict[str, nn.Module]:
        return {
            "dropout": nn.Dropout(config.classifier_dropout),
            "emitter": nn.Linear(config.hidden_size, len(config.labels)),
            "crf": LinearChainCrf(config.labels),
        }

    @staticmethod
    def head_labels(config: PromuConfig) -> dict[str, Sequence[str]]:
        return {"emitter": config.labels, "crf": config.labels}

    def answer(self, fused_text: Tensor, positions: Tensor, spans: Tensor | None = None) -> Tensor:
        """Emissions (B, W, C) at the words' places (B, W), with those of spans (B, N, 3) where the fusion has some."""
        emissions = self.emitter(self.dropout(vectors_at(fused_text, positions))).float()
        if spans is None:
            return emissions
        return emissions + convert(vectors_at(spans, positions), self.config.labels)

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
        emissions = self.answer(backbone.fused_text, word_index, backbone.spans)
        loss = None
        if labels is not None:
            loss = self.crf(emissions, labels, word_mask).mean() + self.promu.fusion_loss(backbone)
            if backbone.spans is not None:
                fusion: Any = self.promu.fusion
                of_words = vectors_at(backbone.spans, word_index)
                loss = loss + fusion.span_loss(of_words, labels, word_mask, self.config.labels).mean()
        return TokenClassificationOutput(loss, emissions, backbone.fused_text, backbone.attentions)


@dataclass
class RelationClassificationOutput(ModelOutput):
    """Loss (Eq 15, and what the fusion adds) when labels were given; logits (P, N_r) of pairs."""

    loss: Tensor | None = None
    logits: Tensor | None = None
    attentions: tuple[Tensor, ...] | None = None


class PromuForRelationClassification(HeadOnBackbone):
    """Backbone and a head of pairs of entities (`config.relation_head`).

    With `markers` it is a linear head on [fused E1 start ; fused E2 start] (Eq 14, 15), and each row of a batch is one
    pair; the other heads (`promu.modeling.pair_heads`) take any number of pairs of each row's text. The relation names
    are `config.id2label`. `Extractor` runs it on whole posts.

    Example:
        ```python
        from promu import PromuForRelationClassification

        model = PromuForRelationClassification.from_pretrained("runs/demo/model/re")
        assert "None" in model.config.id2label.values()
        ```
    """

    dropout: nn.Dropout
    classifier: nn.Linear

    spans: SpanPairs
    levitated: LevitatedPairs

    @staticmethod
    def head_modules(config: PromuConfig) -> dict[str, nn.Module]:
        width, labels, dropout = config.hidden_size, len(config.labels), config.classifier_dropout
        modules: dict[str, nn.Module] = {"dropout": nn.Dropout(dropout)}
        if config.relation_head == "spans":
            return {**modules, "spans": SpanPairs(width, labels, dropout)}
        if config.relation_head == "levitated":
            check_levitated(config)
            return {**modules, "levitated": LevitatedPairs(width, labels)}
        return {**modules, "classifier": nn.Linear(2 * width, labels)}

    @staticmethod
    def head_labels(config: PromuConfig) -> dict[str, Sequence[str]]:
        places = {"markers": "classifier", "spans": "spans.output", "levitated": "levitated.output"}
        return {places[config.relation_head]: config.labels}

    def answer(self, fused_text: Tensor, positions: Tensor) -> Tensor:
        """Logits (P, N_r) of pairs (P, 5); with `markers` (B, N_r) at the places (B, 2) of the two markers."""
        if self.config.relation_head == "spans":
            return self.spans(self.dropout(fused_text), positions)
        if self.config.relation_head == "levitated":
            return self.levitated(self.dropout(fused_text), positions)
        return self.classifier(self.dropout(vectors_at(fused_text, positions).flatten(1))).float()

    def forward(
        self,
        input_ids: Tensor | None = None,
        attention_mask: Tensor | None = None,
        marker_index: Tensor | None = None,
        labels: Tensor | None = None,
        pairs: Tensor | None = None,
        fused_text: Tensor | None = None,
        **inputs: Any,
    ) -> RelationClassificationOutput:
        """Logits over relations, and the loss where labels are given.

        Args:
            input_ids, attention_mask: As in `PromuModel.forward`.
            marker_index: (B, 2) positions of [E1] and [E2] in `input_ids`, for the head `markers`.
            labels: (P,) relation ids.
            pairs: (P, 5), for the other heads.
            fused_text: (B, N, d) the backbone's vectors of the texts, which are then not read again; for `spans`.
            inputs: Of the image, and `output_attentions`, as in `PromuModel.forward`.
        """
        places = marker_index if pairs is None else pairs
        assert places is not None
        if fused_text is not None:
            return RelationClassificationOutput(logits=self.answer(fused_text, places))
        assert input_ids is not None
        backbone = self.promu(input_ids, attention_mask, **inputs)
        logits = self.answer(backbone.fused_text, places)
        loss = None
        if labels is not None:
            loss = functional.cross_entropy(logits, labels) + self.promu.fusion_loss(backbone)
        return RelationClassificationOutput(loss=loss, logits=logits, attentions=backbone.attentions)
