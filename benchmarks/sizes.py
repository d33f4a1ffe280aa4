"""The sizes at which pre-training is timed, and the samples it is timed on."""

from __future__ import annotations

import io
from dataclasses import dataclass

import numpy as np
import torch
from PIL import Image, ImageDraw
from transformers import BertConfig, ViTConfig

from promu.modeling.configuration import PromuConfig
from promu.modeling.pretraining import PromuForPreTraining

PADDED = 80
"""What the paper pads every caption to."""


@dataclass(frozen=True)
class Size:
    """Encoders, batch and candidates of a benchmark."""

    text: BertConfig
    vision: ViTConfig
    batch: int
    nouns: int
    relations: int

    def config(self, **settings: object) -> PromuConfig:
        """The student's configuration."""
        return PromuConfig(
            text_config=self.text,
            vision_config=self.vision,
            nouns=[f"noun {number}" for number in range(self.nouns)],
            relations=[f"relation {number}" for number in range(self.relations)],
            **settings,  # type: ignore[arg-type]
        )

    def student(self, **settings: object) -> PromuForPreTraining:
        """A student with random weights, in training mode."""
        torch.manual_seed(0)
        return PromuForPreTraining(self.config(**settings)).train()


def size(quick: bool) -> Size:
    """The paper's encoders (BERT-base, ViT-B/16 at 224 pixels) and 8 samples a step; tiny ones where `quick`."""
    if not quick:
        return Size(BertConfig(), ViTConfig(), 8, 1000, 100)
    small = {"hidden_size": 32, "num_hidden_layers": 2, "num_attention_heads": 2, "intermediate_size": 64}
    return Size(BertConfig(**small), ViTConfig(**small, image_size=32, patch_size=16), 4, 7, 5)  # type: ignore[arg-type]


def captions(rows: int, seed: int, vocabulary: int) -> list[list[int]]:
    """Captions as word pieces, [CLS] and [SEP] included, as long as those of photographs are.

    Flickr8k's have 14.2 ± 4.0 pieces of BERT's (8 to 36 of them); the longest of eight is 21 on average.
    """
    chance = np.random.default_rng(seed)
    lengths = chance.normal(14.2, 4.0, rows).round().clip(8, 36).astype(int)
    return [[101, *chance.integers(1000, vocabulary, length - 2).tolist(), 102] for length in lengths]


def padded(texts: list[list[int]], width: int | None = None) -> dict[str, torch.Tensor]:
    """Pieces and mask, padded to `width`, or to the longest of the batch."""
    width = max(map(len, texts)) if width is None else width
    ids = torch.zeros(len(texts), width, dtype=torch.long)
    mask = torch.zeros(len(texts), width, dtype=torch.long)
    for row, text in enumerate(texts):
        ids[row, : len(text)] = torch.tensor(text)
        mask[row, : len(text)] = 1
    return {"input_ids": ids, "attention_mask": mask}


def photograph(number: int, side: int) -> bytes:
    """A JPEG that costs about as much to decode as a photograph: smooth shades, shapes and grain."""
    chance = np.random.default_rng(number)
    coarse = Image.fromarray(chance.integers(0, 255, (8, 8, 3), dtype=np.uint8)).resize(
        (side, side), Image.Resampling.BICUBIC
    )
    pen = ImageDraw.Draw(coarse)
    for _ in range(8):
        x, y, w, h = (chance.random(4) * side * 0.6).tolist()
        pen.ellipse((x, y, x + w, y + h), fill=tuple(chance.integers(0, 255, 3).tolist()))
    grain = chance.normal(0, 6, (side, side, 1))
    image = Image.fromarray((np.asarray(coarse) + grain).clip(0, 255).astype(np.uint8))
    target = io.BytesIO()
    image.save(target, "JPEG", quality=90)
    return target.getvalue()
