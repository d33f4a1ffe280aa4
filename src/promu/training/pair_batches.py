"""Caption pairs as batches for pre-training: captions, views, boxes, soft labels."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import replace

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional

from promu.alignment.label_store import ImageLabels, LabelStore
from promu.corpora.shards import PairShards
from promu.modeling.inputs import Batch, EncodedText, WordEncoder, pad_positions, tensors
from promu.schema import CaptionPair
from promu.training.batches import Sample, rng_of
from promu.training.feature_cache import CachedTexts
from promu.training.recipe import LossSettings
from promu.training.views import View, Views, move_boxes

MASKED_SHARE = 0.15
"""Share of the tokens that masked language modelling hides (BERT's)."""


class CaptionCollator:
    """Samples to a batch of captions and views: all that L_CIT needs.

    The random numbers of a sample depend on the seed, the epoch and its row alone. So it is the same for any number of
    processes, and after any interruption.
    """

    def __init__(
        self,
        corpus: PairShards,
        encoder: WordEncoder,
        views: Views,
        seed: int,
        texts: CachedTexts | None = None,
        caption_drop: float = 0.0,
    ) -> None:
        self.caption_drop = caption_drop
        self.corpus = corpus
        self.texts = texts
        self.encoder = encoder
        self.views = views
        self.seed = seed

    def __call__(self, samples: Sequence[Sample]) -> Batch:
        """The batch of these samples."""
        return self.collate(samples)[0]

    def collate(
        self, samples: Sequence[Sample]
    ) -> tuple[Batch, list[CaptionPair], list[View], list[np.random.Generator]]:
        """The batch and, for each row, its pair, its view, and the generator of its further random numbers."""
        pairs = [self.corpus[sample.row] for sample in samples]
        rngs = [rng_of(self.seed, sample) for sample in samples]
        shown = [self.views(self.corpus.image_of(sample.row), rng) for sample, rng in zip(samples, rngs, strict=True)]
        pairs = [self._read(pair, rng) for pair, rng in zip(pairs, rngs, strict=True)]
        texts, more = self.texts_of(pairs, samples, [view for _, view in shown], rngs)
        batch = {
            **tensors(self.encoder.batch(texts)),
            **more,
            self.views.argument: torch.stack([tensor for tensor, _ in shown]),
            "image_ids": torch.tensor([_stable_id(pair.image) for pair in pairs]),
            "caption_ids": torch.tensor([_stable_id(pair.caption) for pair in pairs]),
            "row_mask": torch.tensor([int(sample.counts) for sample in samples]),
        }
        if self.texts is not None:
            batch["text_features"] = self.texts([pair.caption for pair in pairs])
        return batch, pairs, [view for _, view in shown], rngs

    def texts_of(
        self,
        pairs: Sequence[CaptionPair],
        samples: Sequence[Sample],
        views: Sequence[View],
        rngs: Sequence[np.random.Generator],
    ) -> tuple[list[EncodedText], Batch]:
        """The text of each row, and what else the batch has to say of it."""
        return [self.encoder.caption(pair.caption) for pair in pairs], {}

    def _read(self, pair: CaptionPair, rng: np.random.Generator) -> CaptionPair:
        """The pair, or, for a share of the falsified ones, its image with an empty caption."""
        drop = not pair.matched and self.caption_drop and rng.random() < self.caption_drop
        return replace(pair, caption="") if drop else pair


class PairCollator:
    """Samples to a batch of `PromuForPreTraining.forward`: captions, views, boxes and dense soft labels."""

    def __init__(self, captions: CaptionCollator, store: LabelStore, losses: LossSettings) -> None:
        self.captions = captions
        self.encoder = captions.encoder
        self.store = store
        self.losses = losses

    def __call__(self, samples: Sequence[Sample]) -> Batch:
        """The batch of these samples."""
        batch, pairs, views, rngs = self.captions.collate(samples)
        matched = batch["matched"] = torch.tensor([int(pair.matched) for pair in pairs])
        labels = [self.store[pair.image] for pair in pairs]
        if self.losses.coe:
            self._add_regions(batch, labels, views, matched)
        if self.losses.cir:
            width = len(self.store.header.relations)
            soft = torch.cat([label.relation.dense(width) for label in labels])
            relation_mask = self._sure(soft).long()
            batch.update(
                relation_labels=self._sharpen(soft),
                relation_mask=relation_mask * matched if self.losses.matched_only else relation_mask,
            )
        if self.losses.mlm:
            shape = batch["input_ids"].shape
            noise = torch.from_numpy(np.stack([rng.random(self.encoder.max_length) for rng in rngs]))
            batch["input_ids"], batch["mlm_labels"] = mask_tokens(batch, self.encoder, noise[:, : shape[1]])
        return batch

    def _add_regions(self, batch: Batch, labels: Sequence[ImageLabels], views: Sequence[View], matched: Tensor) -> None:
        moved = [move_boxes(label.boxes.numpy(), view) for label, view in zip(labels, views, strict=True)]
        box_mask = torch.from_numpy(pad_positions([range(len(boxes)) for boxes, _ in moved])[1])
        present = box_mask.bool()
        boxes = torch.zeros(*present.shape, 4)
        boxes[present] = torch.from_numpy(np.concatenate([boxes for boxes, _ in moved]))
        box_mask[present] = torch.from_numpy(np.concatenate([in_view for _, in_view in moved])).long()
        width = len(self.store.header.nouns)
        entity_labels = torch.zeros(*boxes.shape[:2], width)
        soft = torch.cat([label.entities.dense(width) for label in labels])
        entity_labels[present] = self._sharpen(soft)
        box_mask[present] *= self._sure(soft).long()
        counted = matched[:, None] if self.losses.matched_only else 1
        batch.update(boxes=boxes, box_mask=box_mask * counted, entity_labels=entity_labels)

    def _sure(self, soft: Tensor) -> Tensor:
        """Of each soft label whether its top probability reaches the floor; a hard label's would always."""
        return soft.amax(-1) >= self.losses.confidence_floor

    def _sharpen(self, labels: Tensor) -> Tensor:
        """Soft labels as they are, or one-hot at their largest entry (the paper's ablation)."""
        if not self.losses.hard_labels or not len(labels):
            return labels
        return functional.one_hot(labels.argmax(-1), labels.shape[-1]).float()


def mask_tokens(batch: Mapping[str, Tensor], encoder: WordEncoder, noise: Tensor) -> tuple[Tensor, Tensor]:
    """Hide ordinary tokens of a batch behind [MASK] where `noise` (B, N), uniform in 0..1, is below `MASKED_SHARE`.

    Special tokens and entity markers stay.

    Returns:
        `input_ids` (B, N) with the masks, and labels (B, N): the hidden tokens, -100 elsewhere.
    """
    ids = batch["input_ids"]
    special = torch.tensor(encoder.tokenizer.all_special_ids)
    hidden = batch["attention_mask"].bool() & ~torch.isin(ids, special) & (noise < MASKED_SHARE)
    return ids.masked_fill(hidden, encoder.tokenizer.mask_token_id), torch.where(hidden, ids, -100)


def _stable_id(text: str) -> int:
    return int.from_bytes(hashlib.blake2b(text.encode(), digest_size=7).digest())
