"""JMERE on the backbone: words labelled as in MNER, and likely spans related, out of the same fused vectors."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional
from transformers.utils.generic import ModelOutput

from promu.modeling.backbone import PromuModel, PromuPreTrainedModel, vectors_at
from promu.modeling.chain import bio_labels
from promu.modeling.configuration import PromuConfig
from promu.modeling.crf import LinearChainCrf
from promu.modeling.inventory import inventory_of
from promu.modeling.span_candidates import Candidates, propose


def gold_labels(entities: Tensor, words: int) -> Tensor:
    """(B, W) BIO label ids of the entities, see `PromuForJointExtraction.forward`."""
    start, end, kind = (part[..., None] for part in entities.unbind(-1))
    place = torch.arange(words, device=entities.device)
    labels = (2 * kind + 1 + (place > start)) * ((place >= start) & (place < end) & (kind >= 0))
    return labels.sum(1)


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

    def answer(self, fused_text: Tensor, positions: Tensor) -> Tensor:
        """Emissions (B, W, 1 + 2 T) of fused vectors (B, N, d) at the words' places (B, W)."""
        return self.emitter(vectors_at(fused_text, positions)).float()

    def relate(self, fused_text: Tensor, positions: Tensor, spans: Tensor) -> Tensor:
        """Logits (B, K, K, 1 + R) of the ordered pairs of spans (B, K, 2) of the words at these places."""
        return self.relater(vectors_at(fused_text, positions), fused_text[:, 0], spans)

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
        emissions = self.answer(fused, word_index)
        output = JointExtractionOutput(attentions=backbone.attentions)
        if gold_entities is not None and gold_relations is not None:
            spans = gold_entities[..., :2].where(gold_entities[..., 2:] >= 0, gold_entities.new_tensor((0, 1)))
            of_entities = self.crf(emissions, gold_labels(gold_entities, word_mask.shape[1]), word_mask)
            of_relations = relation_loss(self.relate(fused, word_index, spans), gold_entities, gold_relations)
            output.loss = (of_entities + of_relations).mean() + self.promu.fusion_loss(backbone)
        else:
            emitted = emissions.detach().cpu().numpy()
            found = propose(emitted, self.crf.weights(), word_mask.cpu().numpy())
            relations = self.relate(fused, word_index, torch.from_numpy(found[0]).to(fused.device))
            output.candidates = Candidates(*found, relations.detach().cpu().numpy(), emitted)
        return output


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
