"""Caption pairs as batches for pre-training: captions, views, boxes, soft labels."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from pathlib import Path

import torch
from torch.nn import functional

from promu.alignment.label_store import LabelStore, PictureLabels
from promu.modeling.inputs import EncodedText, WordEncoder, mask_pieces, pad_positions
from promu.schema import CaptionPair
from promu.training.pictures import PictureFolder
from promu.training.recipe import LossSettings
from promu.training.views import random_views


class PairCollator:
    """Row numbers to a batch of `PromuForPreTraining.forward`: captions, views, boxes and dense soft labels."""

    def __init__(
        self,
        pairs: Sequence[CaptionPair],
        images: Path,
        encoder: WordEncoder,
        store: LabelStore,
        losses: LossSettings,
        size: int,
        crop: float,
    ) -> None:
        self.pairs = pairs
        self.pictures = PictureFolder(images, size, "require")
        self.encoder = encoder
        self.store = store
        self.losses = losses
        self.crop = crop
        self.texts = [encoder.text(pair.caption) for pair in pairs]

    def __call__(self, rows: Sequence[int]) -> dict[str, torch.Tensor]:
        """The batch of these rows."""
        pairs = [self.pairs[row] for row in rows]
        batch = caption_batch(self.encoder, [self.texts[row] for row in rows], pairs)
        matched = torch.tensor([int(pair.matched) for pair in pairs])
        labels = [self.store[pair.image] for pair in pairs]
        boxes, box_mask = _stack_boxes([label.boxes for label in labels])
        pixels = torch.stack([self.pictures.get(pair.image) for pair in pairs])  # type: ignore[misc]
        pixels, boxes, box_mask = random_views(pixels, boxes, box_mask, self.crop)
        batch.update(pixel_values=pixels, matched=matched)
        if self.losses.coe:
            width = len(self.store.header.nouns)
            dense = self._sharpen(torch.cat([label.entities.dense(width) for label in labels]))
            entity_labels = torch.zeros(*boxes.shape[:2], width)
            entity_labels[_present(labels, boxes.shape[1])] = dense
            floor = entity_labels.max(-1).values >= self.losses.confidence_floor
            keep = matched[:, None] if self.losses.matched_only else 1
            batch.update(boxes=boxes, box_mask=box_mask * floor * keep, entity_labels=entity_labels)
        if self.losses.cir:
            relation_labels = self._sharpen(
                torch.cat([label.relation.dense(len(self.store.header.relations)) for label in labels])
            )
            relation_mask = (relation_labels.max(-1).values >= self.losses.confidence_floor).long()
            batch.update(
                relation_labels=relation_labels,
                relation_mask=relation_mask * matched if self.losses.matched_only else relation_mask,
            )
        if self.losses.mlm:
            batch["input_ids"], batch["mlm_labels"] = mask_pieces(batch, self.encoder, self.losses.mask_share)
        return batch

    def _sharpen(self, labels: torch.Tensor) -> torch.Tensor:
        """Soft labels as they are, or one-hot at their largest entry (the paper's ablation)."""
        if not self.losses.hard_labels or not len(labels):
            return labels
        return functional.one_hot(labels.argmax(-1), labels.shape[-1]).float()


def caption_batch(
    encoder: WordEncoder, texts: Sequence[EncodedText], pairs: Sequence[CaptionPair]
) -> dict[str, torch.Tensor]:
    """Pieces of the captions, and ids that are equal where picture or caption is the same."""
    return {
        **encoder.batch(texts),
        "picture_ids": torch.tensor([_stable_id(pair.image) for pair in pairs]),
        "caption_ids": torch.tensor([_stable_id(pair.caption) for pair in pairs]),
    }


def _stack_boxes(rows: Sequence[torch.Tensor]) -> tuple[torch.Tensor, torch.Tensor]:
    width = max(1, *(len(row) for row in rows)) if rows else 1
    boxes = torch.zeros(len(rows), width, 4)
    for index, row in enumerate(rows):
        boxes[index, : len(row)] = row
    mask = pad_positions([range(len(row)) for row in rows])[1]
    return boxes, mask


def _present(labels: Sequence[PictureLabels], width: int) -> torch.Tensor:
    counts = torch.tensor([len(label.boxes) for label in labels])
    return torch.arange(width)[None, :] < counts[:, None]


def _stable_id(text: str) -> int:
    return int.from_bytes(hashlib.blake2b(text.encode(), digest_size=7).digest())
