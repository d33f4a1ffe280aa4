"""JMERE on the backbone: words labelled as in MNER, and likely spans related, out of the same fused vectors."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple, Self

import torch
from torch import Tensor, nn
from torch.nn import functional
from transformers.utils.generic import ModelOutput

from promu.errors import InputError
from promu.modeling.backbone import PromuModel, PromuPreTrainedModel, vectors_at
from promu.modeling.chain import FORBIDDEN
from promu.modeling.configuration import PromuConfig
from promu.modeling.crf import LinearChainCrf, bio_labels
from promu.modeling.inventory import Inventory

LONGEST = 12
"""Words of an entity at most."""
FEWEST = 6
"""Candidates of a text at least, as far as it has spans; above that there is one for every two words."""
ALIKE = 1e-3
"""Paths whose scores differ by less are equally good."""


def span_gains(emissions: Tensor, crf: LinearChainCrf, word_mask: Tensor) -> Tensor:
    """What the score of the CRF's path gains by one entity over none at all.

    Args:
        emissions: (B, W, 1 + 2 T).
        crf: Over O, then B- and I- of each type.
        word_mask: (B, W), 1 for words.

    Returns:
        (B, W, L, T) for the span of l + 1 words from word w; -inf for one that does not end within the text.
    """
    moves = crf.transitions - crf.transitions[0, 0]
    over_none = emissions - emissions[..., :1]
    first = torch.arange(emissions.shape[1], device=emissions.device) == 0
    enter = torch.where(first[:, None], crf.start - crf.start[0], moves[0]) + over_none
    last = (word_mask.sum(1, keepdim=True) - 1) == torch.arange(emissions.shape[1], device=emissions.device)
    leave = torch.where(last[..., None], crf.end - crf.end[0], moves[:, 0])
    return _sum_over_spans(enter, over_none, moves, leave, word_mask)


def span_margins(emissions: Tensor, crf: LinearChainCrf, word_mask: Tensor) -> Tensor:
    """The score of the CRF's best path among those with an entity; arguments and result as of `span_gains`."""
    moves = crf.transitions.masked_fill(~crf.legal_transitions, FORBIDDEN)
    words = emissions.shape[1]
    ends = word_mask.sum(1) - 1
    before = crf.start.masked_fill(~crf.legal_start, FORBIDDEN).expand(len(emissions), -1)
    enter = []
    for word in range(words):  # the best that comes before a label, and the label
        enter.append(before + emissions[:, word])
        before = (enter[-1][:, :, None] + moves).amax(1)
    leave = [crf.end.expand(len(emissions), -1)]
    outside = moves.clone()
    outside[:, 2::2] = FORBIDDEN  # an entity is over where no I- follows
    after = leave[0]
    for word in reversed(range(words - 1)):  # the best that comes after a label
        follows = (emissions[:, word + 1] + after)[:, None]
        stops = (ends == word)[:, None]
        leave.append(torch.where(stops, crf.end, (follows + outside).amax(2)))
        after = torch.where(stops, crf.end, (follows + moves).amax(2))
    leave.reverse()
    return _sum_over_spans(torch.stack(enter, 1), emissions, moves, torch.stack(leave, 1), word_mask)


def _sum_over_spans(enter: Tensor, emissions: Tensor, moves: Tensor, leave: Tensor, word_mask: Tensor) -> Tensor:
    """(B, W, L, T): what is paid at a span's first word, within it and after its last word; -inf past the text.

    By label (B, W, 1 + 2 T): `enter` for a first word, its emission included, `emissions` for the words after it,
    `leave` for a last word.
    """
    lengths = torch.arange(LONGEST, device=emissions.device)[:, None]
    # (B, W + L, T) of what comes before
    sums = _windows(functional.pad(emissions[..., 2::2].cumsum(1), (0, 0, 1, LONGEST - 1)))[:, 1:]
    begun, longer = moves.diagonal(1)[1::2], moves.diagonal()[2::2]
    within = sums - sums[:, :, :1] + (lengths > 0) * begun + (lengths - 1).clamp(min=0) * longer
    leave = functional.pad(leave, (0, 0, 0, LONGEST - 1))
    left = torch.where(lengths == 0, _windows(leave[..., 1::2]), _windows(leave[..., 2::2]))
    scores = enter[..., 1::2][:, :, None] + within + left
    ends = torch.arange(emissions.shape[1], device=emissions.device)[:, None] + lengths[:, 0] + 1
    return scores.masked_fill((ends > word_mask.sum(1)[:, None, None])[..., None], -math.inf)


def _windows(values: Tensor) -> Tensor:
    """(B, N, T) to (B, N - L + 1, L, T): from each place the next `LONGEST`."""
    return values.unfold(1, LONGEST, 1).transpose(2, 3)


def touching_gains(crf: LinearChainCrf) -> Tensor:
    """What two entities that touch gain beside `span_gains` of both, (2, T, T): see `joint_decoding.decode`.

    The path moves from the last label of one to the first of the other, where the two spans' gains count a move to O
    and one from O.
    """
    moves = crf.transitions - crf.transitions[0, 0]
    last = torch.stack([moves[1::2], moves[2::2]])
    return last[..., 1::2] - last[..., :1] - moves[0, 1::2]


def gold_labels(entities: Tensor, words: int) -> Tensor:
    """(B, W) BIO label ids of the entities, see `PromuForJointExtraction.forward`."""
    start, end, kind = (part[..., None] for part in entities.unbind(-1))
    place = torch.arange(words, device=entities.device)
    labels = (2 * kind + 1 + (place > start)) * ((place >= start) & (place < end) & (kind >= 0))
    return labels.sum(1)


def choose_candidates(margins: Tensor, word_mask: Tensor) -> tuple[Tensor, Tensor]:
    """The spans of each text that, by `margins` (B, W, L, T), the best paths have as an entity of some type.

    There is one for every two words of the text, whatever the batch, and all entities of the best path are among them,
    however many they are.

    Returns:
        (B, K, 2) words, end exclusive, and (B, K) 1 for candidates, 0 for padding.
    """
    best = margins.amax(-1).flatten(1)
    within = best.isfinite()
    best = (best - best.amax(1, keepdim=True)).masked_fill(~within, -math.inf)
    counts = (word_mask.sum(1) + 1).div(2, rounding_mode="floor").clamp(min=FEWEST)
    on_best = best > -ALIKE
    counts = counts.maximum(on_best.sum(1)).minimum(within.sum(1))
    # spans of one path are equally likely, but for rounding: the earlier ones come first
    best = best.masked_fill(on_best, 1.0) - torch.arange(best.shape[1], device=best.device) * (ALIKE / 10)
    likeliest = best.topk(max(1, int(counts.max())), dim=1).indices
    shown = torch.arange(likeliest.shape[1], device=best.device) < counts[:, None]
    places = likeliest.masked_fill(~shown, best.shape[1]).sort(1).values
    mask = (places < best.shape[1]).long()
    start = places.div(LONGEST, rounding_mode="floor") * mask
    end = start + places.remainder(LONGEST) * mask + 1
    return torch.stack([start, end], dim=-1), mask


class Candidates(NamedTuple):
    """What the answer is chosen from: the likeliest spans of each text.

    Attributes:
        spans: (B, K, 2) words, end exclusive, by position.
        mask: (B, K), 1 for candidates, 0 for padding.
        gains: (B, K, T) what each gains as an entity of each type (`span_gains`).
        relations: (B, K, K, 1 + R) logits of `None` and of each relation, from head to tail.
        emissions: (B, W, 1 + 2 T) of the words' labels: O, then B- and I- of each type.
    """

    spans: Tensor
    mask: Tensor
    gains: Tensor
    relations: Tensor
    emissions: Tensor

    def cpu(self) -> Self:
        """The same on the CPU."""
        return type(self)(*(values.cpu() for values in self))


@dataclass
class JointExtractionOutput(ModelOutput):
    """Loss (`PromuForJointExtraction.forward`) when gold was given, candidates, attention maps."""

    loss: Tensor | None = None
    candidates: Candidates | None = None
    attentions: tuple[Tensor, ...] | None = None


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

    def forward(self, words: Tensor, whole: Tensor, spans: Tensor) -> Tensor:
        """(B, K, K, 1 + R), from head to tail, of words (B, W, d), the fused CLS (B, d) and spans (B, K, 2)."""
        ends = torch.cat([vectors_at(words, spans[..., 0]), vectors_at(words, spans[..., 1] - 1)], dim=-1)
        hidden = self.head(ends)[:, :, None] + self.tail(ends)[:, None] + self.whole(whole)[:, None, None]
        hidden = hidden + mean_between(self.between(words), spans).to(hidden.dtype)
        return self.output(self.dropout(functional.gelu(hidden))).float()


class PromuForJointExtraction(PromuPreTrainedModel):
    """Backbone, emissions and CRF over words (Eq 12, 13), and a score of every ordered pair of candidates.

    `config.id2label` names the triples of head type, relation and tail type that there are (`triple_label`); types and
    relations are those of `inventory_of`. The answer is chosen by `promu.modeling.joint_decoding`.

    Example:
        ```python
        from promu import PromuConfig, PromuForJointExtraction

        config = PromuConfig(
            text_config={"model_type": "bert", "hidden_size": 32, "num_attention_heads": 2, "intermediate_size": 64},
            id2label={0: "/per/loc/place_of_residence"},
        )
        model = PromuForJointExtraction(config)
        ```
    """

    def __init__(self, config: PromuConfig) -> None:
        super().__init__(config)
        inventory = inventory_of(config.labels)
        self.promu = PromuModel(config)
        self.dropout = nn.Dropout(config.classifier_dropout)
        labels = bio_labels(inventory.types)
        self.emitter = nn.Linear(config.hidden_size, len(labels))
        self.crf = LinearChainCrf(labels)
        self.relater = PairRelater(config.hidden_size, len(inventory.relations), config.classifier_dropout)
        self.post_init()

    @staticmethod
    def head_labels(config: PromuConfig) -> dict[str, Sequence[str]]:
        inventory = inventory_of(config.labels)
        words = bio_labels(inventory.types)
        return {"emitter": words, "crf": words, "relater.output": ["None", *inventory.relations]}

    def forward(
        self,
        input_ids: Tensor,
        attention_mask: Tensor,
        word_index: Tensor,
        word_mask: Tensor,
        gold_entities: Tensor | None = None,
        gold_relations: Tensor | None = None,
        **inputs: Any,
    ) -> JointExtractionOutput:
        """The loss where gold is given, else candidates.

        The loss of a post is -log p(entities) - log p(relations | entities): the CRF's -log p(Y | e), and the sum of
        -log p(relation or None) over the ordered pairs of its gold entities. It is averaged over posts, and what the
        fusion adds comes on top.

        Args:
            input_ids, attention_mask: As in `PromuModel.forward`.
            word_index: (B, W) position of each word's first sub-word in `input_ids`.
            word_mask: (B, W), 1 for words, 0 for padding.
            gold_entities: (B, E, 3) start, end (exclusive) and type id of each entity; -1 for padding. Ends are within
                the text, no two overlap.
            gold_relations: (B, F, 3) head and tail as rows of `gold_entities`, and relation id; -1 for padding.
            inputs: Of the image, and `output_attentions`, as in `PromuModel.forward`.
        """
        backbone = self.promu(input_ids, attention_mask, **inputs)
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
            places = spans[..., 0] * LONGEST + spans[..., 1] - spans[..., 0] - 1  # in the grid (W, L), flattened
            gains = vectors_at(span_gains(emissions, self.crf, word_mask).flatten(1, 2), places)
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


def mean_between(words: Tensor, spans: Tensor) -> Tensor:
    """The mean of the words (B, W, d) between two spans (B, K, 2), (B, K, K, d) in fp32; zeros if there are none."""
    sums = functional.pad(words.float().cumsum(1), (0, 0, 1, 0))
    low = torch.minimum(spans[:, :, None, 1], spans[:, None, :, 1])
    high = torch.maximum(spans[:, :, None, 0], spans[:, None, :, 0])
    count = (high - low)[..., None]
    between = vectors_at(sums, high.flatten(1)) - vectors_at(sums, low.flatten(1))
    return between.view(*low.shape, -1) / count.clamp(min=1) * (count > 0)


def relation_loss(logits: Tensor, entities: Tensor, relations: Tensor) -> Tensor:
    """(B,): the sum of -log p(relation or None), by logits (B, E, E, 1 + R), over ordered pairs of gold entities."""
    known = entities[..., 2] >= 0
    pairs = known[:, :, None] & known[:, None] & ~torch.eye(known.shape[1], dtype=torch.bool, device=known.device)
    targets = torch.zeros(pairs.shape, dtype=torch.long, device=known.device)
    rows, places = torch.nonzero(relations[..., 2] >= 0, as_tuple=True)
    head, tail, name = relations[rows, places].unbind(-1)
    targets[rows, head, tail] = name + 1
    losses = functional.cross_entropy(logits.movedim(-1, 1), targets, reduction="none")
    return (losses * pairs).flatten(1).sum(1)
