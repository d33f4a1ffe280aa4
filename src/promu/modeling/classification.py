"""The heads of fine-tuned tasks: entities by emissions and a CRF, relations by one of three ways to see a pair."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional
from transformers import initialization as init
from transformers.utils.generic import ModelOutput

from promu.modeling.backbone import PromuModel, PromuPreTrainedModel, vectors_at
from promu.modeling.chain import bio_labels
from promu.modeling.configuration import PromuConfig
from promu.modeling.crf import ROLES, LinearChainCrf, RoleCrf
from promu.modeling.encoders import pooled
from promu.modeling.fusions.umt import convert
from promu.modeling.inputs import ENTITY_MARKERS
from promu.modeling.pair_heads import LevitatedPairs, SpanPairs, check_levitated

SCALE = 10.0
"""What similarities of labels are multiplied by at the start; learned."""
UNASKED = -30.0
"""Added to the scores of labels that a post's set does not look for: far below others, yet in reach of their sums."""


class LabelPrompts(nn.Module):
    """Scores of vectors for labels that are given as vectors of their prompts, by similarity.

    A score is that of its role, which knows no label, plus the scaled cosine of the two vectors, each behind a linear
    map. The maps begin as they are: a model begins with the similarities that its text encoder has.

    Args:
        given: Width of the vectors that are scored.
        width: Of the labels' vectors.
        parts: Scores of each label, such as two for B and I.

    Example:
        ```python
        import torch
        from promu.modeling.classification import LabelPrompts

        head = LabelPrompts(given=8, width=8, parts=2)
        assert head(torch.randn(1, 6, 8), torch.randn(3, 8)).shape == (1, 6, 1 + 3 * 2)
        ```
    """

    def __init__(self, given: int, width: int, parts: int) -> None:
        super().__init__()
        self.parts, self.width = parts, width
        self.roles = nn.Linear(given, 1 + parts)
        self.vectors = nn.Linear(given, parts * width)
        self.names = nn.Linear(width, width)
        self.scale = nn.Parameter(torch.tensor(SCALE))

    def start_weights(self) -> None:
        """Maps that change nothing, and the scale, where no checkpoint holds them."""
        share = self.vectors.in_features // self.width
        init.copy_(self.vectors.weight, torch.eye(self.width).repeat(self.parts, share) / share)
        init.copy_(self.names.weight, torch.eye(self.width))
        init.constant_(self.scale, SCALE)

    def forward(self, vectors: Tensor, labels: Tensor) -> Tensor:
        """Scores (..., 1 + T parts) of vectors (..., D) for no label, then for each of T labels (T, d)."""
        own = functional.normalize(self.vectors(vectors).float().unflatten(-1, (self.parts, self.width)), dim=-1)
        names = functional.normalize(self.names(labels).float(), dim=-1)
        alike = self.scale * (own @ names.T).transpose(-1, -2)
        roles = self.roles(vectors).float()
        return torch.cat([roles[..., :1], (alike + roles[..., None, 1:]).flatten(-2)], dim=-1)

    def only(self, scores: Tensor, label_mask: Tensor) -> Tensor:
        """Scores (N, ..., 1 + T parts) without labels for which `label_mask` (N, T) is 0."""
        away = functional.pad((1 - label_mask.float()).repeat_interleave(self.parts, 1), (1, 0)) * UNASKED
        return scores + away.view(len(away), *[1] * (scores.ndim - 2), -1)


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
    prompts: LabelPrompts

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

    def answer(self, fused_text: Tensor, positions: Tensor, *, names: Tensor | None = None) -> Tensor:
        """The head's scores of fused vectors (B, N, d), read at the positions that the task has.

        `names` (T, d) are the vectors of labels that are given by prompts.
        """
        raise NotImplementedError

    def names(self, prompt_ids: Tensor, prompt_mask: Tensor) -> Tensor:
        """Vectors (T, d) of labels: the mean of what the backbone makes of their prompts (T, L), without an image."""
        return pooled(self.promu(prompt_ids, prompt_mask).fused_text, prompt_mask, "mean").float()

    def names_of(self, inputs: dict[str, Any]) -> Tensor | None:
        """The same of `prompt_ids` and `prompt_mask`, or as `prompt_vectors` have them; taken out of the inputs."""
        ids, mask, vectors = (inputs.pop(f"prompt_{name}", None) for name in ("ids", "mask", "vectors"))
        return vectors if ids is None else self.names(ids, mask)


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
        dropout, width = nn.Dropout(config.classifier_dropout), config.hidden_size
        if config.label_template is not None:
            return {"dropout": dropout, "prompts": LabelPrompts(width, width, 2), "crf": RoleCrf()}
        return {
            "dropout": dropout,
            "emitter": nn.Linear(config.hidden_size, len(config.labels)),
            "crf": LinearChainCrf(config.labels),
        }

    @staticmethod
    def head_labels(config: PromuConfig) -> dict[str, Sequence[str]]:
        return {"crf": ROLES} if config.label_template else {"emitter": config.labels, "crf": config.labels}

    def answer(
        self, fused_text: Tensor, positions: Tensor, spans: Tensor | None = None, *, names: Tensor | None = None
    ) -> Tensor:
        """Emissions (B, W, C) at the words' places (B, W), with those of spans (B, N, 3) where the fusion has some."""
        vectors = self.dropout(vectors_at(fused_text, positions))
        emissions = self.emitter(vectors).float() if names is None else self.prompts(vectors, names)
        if spans is None:
            return emissions
        return emissions + convert(vectors_at(spans, positions), self._labels(names))

    def _labels(self, names: Tensor | None) -> list[str]:
        """The labels of the emissions; where they are prompts, types are numbers."""
        return self.config.labels if names is None else bio_labels([str(number) for number in range(len(names))])

    def forward(
        self,
        input_ids: Tensor,
        attention_mask: Tensor,
        word_index: Tensor,
        word_mask: Tensor,
        labels: Tensor | None = None,
        label_mask: Tensor | None = None,
        **inputs: Any,
    ) -> TokenClassificationOutput:
        """Emissions, and the loss where labels are given.

        Args:
            input_ids, attention_mask: As in `PromuModel.forward`.
            word_index: (B, W) position of each word's first sub-word in `input_ids`.
            word_mask: (B, W), 1 for words, 0 for padding.
            labels: (B, W) label ids.
            label_mask: (B, T), 0 for types that a post's set does not look for; None where all sets look for all.
            inputs: Of the image, and `output_attentions`, as in `PromuModel.forward`; where labels are prompts also
                `prompt_ids` and `prompt_mask` (T, L), or `prompt_vectors` (T, d) that `names` has made of them.
        """
        names = self.names_of(inputs)
        backbone = self.promu(input_ids, attention_mask, **inputs)
        emissions = self.answer(backbone.fused_text, word_index, backbone.spans, names=names)
        if label_mask is not None:
            emissions = self.prompts.only(emissions, label_mask)
        loss = None
        if labels is not None:
            loss = self.crf(emissions, labels, word_mask).mean() + self.promu.fusion_loss(backbone)
            if backbone.spans is not None:
                fusion: Any = self.promu.fusion
                of_words = vectors_at(backbone.spans, word_index)
                loss = loss + fusion.span_loss(of_words, labels, word_mask, self._labels(names)).mean()
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
        width, dropout = config.hidden_size, config.classifier_dropout
        modules: dict[str, nn.Module] = {"dropout": nn.Dropout(dropout)}
        labels = None if config.label_template else len(config.labels)
        if labels is None:
            given = {"markers": 2 * width, "spans": width, "levitated": len(ENTITY_MARKERS) * width}
            modules["prompts"] = LabelPrompts(given[config.relation_head], width, 1)
        if config.relation_head == "spans":
            return {**modules, "spans": SpanPairs(width, labels, dropout)}
        if config.relation_head == "levitated":
            check_levitated(config)
            return {**modules, "levitated": LevitatedPairs(width, labels)}
        return modules if labels is None else {**modules, "classifier": nn.Linear(2 * width, labels)}

    @staticmethod
    def head_labels(config: PromuConfig) -> dict[str, Sequence[str]]:
        if config.label_template is not None:
            return {}
        places = {"markers": "classifier", "spans": "spans.output", "levitated": "levitated.output"}
        return {places[config.relation_head]: config.labels}

    def answer(self, fused_text: Tensor, positions: Tensor, *, names: Tensor | None = None) -> Tensor:
        """Logits (P, N_r) of pairs (P, 5); with `markers` (B, N_r) at the places (B, 2) of the two markers."""
        if self.config.relation_head == "spans":
            found = self.spans(self.dropout(fused_text), positions)
        elif self.config.relation_head == "levitated":
            found = self.levitated(self.dropout(fused_text), positions)
        else:
            found = self.dropout(vectors_at(fused_text, positions).flatten(1))
            if names is None:
                found = self.classifier(found).float()
        return found if names is None else self.prompts(found, names)

    def forward(
        self,
        input_ids: Tensor | None = None,
        attention_mask: Tensor | None = None,
        marker_index: Tensor | None = None,
        labels: Tensor | None = None,
        pairs: Tensor | None = None,
        fused_text: Tensor | None = None,
        label_mask: Tensor | None = None,
        **inputs: Any,
    ) -> RelationClassificationOutput:
        """Logits over relations, and the loss where labels are given.

        Args:
            input_ids, attention_mask: As in `PromuModel.forward`.
            marker_index: (B, 2) positions of [E1] and [E2] in `input_ids`, for the head `markers`.
            labels: (P,) relation ids.
            pairs: (P, 5), for the other heads.
            fused_text: (B, N, d) the backbone's vectors of the texts, which are then not read again; for `spans`.
            label_mask: (B, T), 0 for relations that a post's set does not look for; None where all sets look for all.
            inputs: As of `PromuForTokenClassification.forward`.
        """
        places = marker_index if pairs is None else pairs
        assert places is not None
        names = self.names_of(inputs)
        if fused_text is not None:
            return RelationClassificationOutput(logits=self.answer(fused_text, places, names=names))
        assert input_ids is not None
        backbone = self.promu(input_ids, attention_mask, **inputs)
        logits = self.answer(backbone.fused_text, places, names=names)
        if label_mask is not None:
            logits = self.prompts.only(logits, label_mask if pairs is None else label_mask[pairs[:, 0]])
        loss = None
        if labels is not None:
            loss = functional.cross_entropy(logits, labels) + self.promu.fusion_loss(backbone)
        return RelationClassificationOutput(loss=loss, logits=logits, attentions=backbone.attentions)
