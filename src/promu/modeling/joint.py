"""JMERE on the backbone: words labelled as in MNER, and likely spans related, out of the same fused vectors."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import NamedTuple, Self

import torch
from torch import nn
from torch.nn import functional
from transformers.utils.generic import ModelOutput

from promu.errors import InputError
from promu.modeling.backbone import PromuModel, PromuPreTrainedModel, vectors_at
from promu.modeling.configuration import PromuConfig
from promu.modeling.crf import LinearChainCrf, bio_labels
from promu.modeling.generation.inventory import Inventory
from promu.modeling.joint_spans import choose_candidates, gold_labels, grid_place, span_gains, span_margins


class Candidates(NamedTuple):
    """What the answer is chosen from: the likeliest spans of each text.

    Attributes:
        spans: (B, K, 2) words, end exclusive, by position.
        mask: (B, K), 1 for candidates, 0 for padding.
        gains: (B, K, T) what each gains as an entity of each type (`joint_spans.span_gains`).
        relations: (B, K, K, 1 + R) logits of `None` and of each relation, from head to tail.
        emissions: (B, W, 1 + 2 T) of the words' labels: O, then B- and I- of each type.
    """

    spans: torch.Tensor
    mask: torch.Tensor
    gains: torch.Tensor
    relations: torch.Tensor
    emissions: torch.Tensor

    def cpu(self) -> Self:
        """The same on the CPU."""
        return type(self)(*(values.cpu() for values in self))


@dataclass
class JointExtractionOutput(ModelOutput):
    """Loss (`PromuForJointExtraction.forward`) when gold was given, candidates, attention maps."""

    loss: torch.Tensor | None = None
    candidates: Candidates | None = None
    attentions: tuple[torch.Tensor, ...] | None = None


class PairRelater(nn.Module):
    """Logits of every ordered pair of spans, from both, the words between them, and the whole post."""

    def __init__(self, width: int, relations: int, dropout: float) -> None:
        super().__init__()
        self.head = nn.Linear(2 * width, width)
        self.tail = nn.Linear(2 * width, width, bias=False)
        self.between = nn.Linear(width, width, bias=False)
        self.whole = nn.Linear(width, width, bias=False)
        self.dropout = nn.Dropout(dropout)
        self.output = nn.Linear(width, 1 + relations)

    def forward(self, words: torch.Tensor, whole: torch.Tensor, spans: torch.Tensor) -> torch.Tensor:
        """(B, K, K, 1 + R), from head to tail.

        Args:
            words: (B, W, d).
            whole: (B, d) the fused CLS.
            spans: (B, K, 2) words, end exclusive.
        """
        ends = torch.cat([vectors_at(words, spans[..., 0]), vectors_at(words, spans[..., 1] - 1)], dim=-1)
        hidden = self.head(ends)[:, :, None] + self.tail(ends)[:, None] + self.whole(whole)[:, None, None]
        hidden = hidden + mean_between(self.between(words), spans).to(hidden.dtype)
        return self.output(self.dropout(functional.gelu(hidden))).float()


class PromuForJointExtraction(PromuPreTrainedModel):
    """Backbone, emissions and CRF over words (Eq 12, 13), and a score of every ordered pair of candidates.

    `config.id2label` names the triples of head type, relation and tail type that there are (`triple_label`); types and
    relations are those of `inventory_of`. The answer is chosen by `promu.modeling.joint_decoding`.
    """

    def __init__(self, config: PromuConfig) -> None:
        super().__init__(config)
        inventory = inventory_of((config.id2label or {}).values())
        self.promu = PromuModel(config)
        self.dropout = nn.Dropout(config.classifier_dropout)
        labels = bio_labels(inventory.types)
        self.emitter = nn.Linear(config.hidden_size, len(labels))
        self.crf = LinearChainCrf(labels)
        self.relater = PairRelater(config.hidden_size, len(inventory.relations), config.classifier_dropout)
        self.post_init()

    def forward(
        self,
        input_ids: torch.Tensor,
        attention_mask: torch.Tensor,
        word_index: torch.Tensor,
        word_mask: torch.Tensor,
        pixel_values: torch.Tensor | None = None,
        picture_mask: torch.Tensor | None = None,
        gold_entities: torch.Tensor | None = None,
        gold_relations: torch.Tensor | None = None,
        output_attentions: bool = False,
        visual: torch.Tensor | None = None,
    ) -> JointExtractionOutput:
        """The loss where gold is given, else candidates.

        The loss of a post is -log p(entities) - log p(relations | entities): the CRF's -log p(Y | e), and the sum of
        -log p(relation or None) over the ordered pairs of its gold entities. It is averaged over posts, and what the
        fusion adds comes on top.

        Args:
            input_ids, attention_mask, pixel_values, picture_mask, visual: As in `PromuModel.forward`.
            word_index: (B, W) position of each word's first sub-word in `input_ids`.
            word_mask: (B, W), 1 for words, 0 for padding.
            gold_entities: (B, E, 3) start, end (exclusive) and type id of each entity; -1 for padding. Ends are within
                the text, no two overlap.
            gold_relations: (B, F, 3) head and tail as rows of `gold_entities`, and relation id; -1 for padding.
            output_attentions: Return the fusion's attention maps.
        """
        backbone = self.promu(input_ids, attention_mask, pixel_values, picture_mask, output_attentions, visual)
        fused = self.dropout(backbone.fused_text)
        words = vectors_at(fused, word_index)
        emissions = self.emitter(words).float()
        output = JointExtractionOutput(attentions=backbone.attentions)
        if gold_entities is not None and gold_relations is not None:
            spans = gold_entities[..., :2].where(gold_entities[..., 2:] >= 0, gold_entities.new_tensor((0, 1)))
            of_entities = self.crf(emissions, gold_labels(gold_entities, word_mask.shape[1]), word_mask)
            of_relations = relation_loss(self.relater(words, fused[:, 0], spans), gold_entities, gold_relations)
            output.loss = (of_entities + of_relations).mean() + self.promu.fusion_loss(backbone)
        else:
            spans, mask = choose_candidates(span_margins(emissions, self.crf, word_mask), word_mask)
            gains = vectors_at(span_gains(emissions, self.crf, word_mask).flatten(1, 2), grid_place(spans))
            output.candidates = Candidates(spans, mask, gains, self.relater(words, fused[:, 0], spans), emissions)
        return output


def triple_label(head_type: str, relation: str, tail_type: str) -> str:
    """The name of a triple among a model's labels, in the form of MNRE's: /per/org/member_of.

    Raises:
        InputError: A type holds a slash.
    """
    for kind in (head_type, tail_type):
        if "/" in kind:
            raise InputError(f"entity type {kind!r} holds a slash, which separates types in a label; rename it")
    return f"/{head_type}/{tail_type}/{relation}"


def inventory_of(labels: Iterable[str]) -> Inventory:
    """The triples that labels name, see `triple_label`.

    Raises:
        InputError: A label names none.
    """
    triples = []
    for label in labels:
        parts = label.split("/", 3)
        if len(parts) != 4 or parts[0]:
            raise InputError(f"label {label!r} names no head type, tail type and relation, as /per/org/member_of does")
        triples.append((parts[1], parts[3], parts[2]))
    return Inventory.from_list(sorted(triples))


def mean_between(words: torch.Tensor, spans: torch.Tensor) -> torch.Tensor:
    """The mean of the words between two spans, (B, K, K, d) in fp32; zeros where there are none.

    Args:
        words: (B, W, d).
        spans: (B, K, 2) words, end exclusive.
    """
    sums = functional.pad(words.float().cumsum(1), (0, 0, 1, 0))
    low = torch.minimum(spans[:, :, None, 1], spans[:, None, :, 1])
    high = torch.maximum(spans[:, :, None, 0], spans[:, None, :, 0])
    count = (high - low).clamp(min=0)
    size = low.shape
    between = vectors_at(sums, high.flatten(1)) - vectors_at(sums, low.flatten(1))
    between = between.view(*size, -1) / count.clamp(min=1)[..., None]
    return between * (count > 0)[..., None]


def relation_loss(logits: torch.Tensor, entities: torch.Tensor, relations: torch.Tensor) -> torch.Tensor:
    """(B,): the sum of -log p(relation or None) over the ordered pairs of gold entities.

    Args:
        logits: (B, E, E, 1 + R).
        entities, relations: See `PromuForJointExtraction.forward`.
    """
    known = entities[..., 2] >= 0
    pairs = known[:, :, None] & known[:, None] & ~torch.eye(known.shape[1], dtype=torch.bool, device=known.device)
    targets = torch.zeros(pairs.shape, dtype=torch.long, device=known.device)
    rows, places = torch.nonzero(relations[..., 2] >= 0, as_tuple=True)
    head, tail, name = relations[rows, places].unbind(-1)
    targets[rows, head, tail] = name + 1
    losses = functional.cross_entropy(logits.movedim(-1, 1), targets, reduction="none")
    return (losses * pairs).flatten(1).sum(1)
