"""A fusion, a teacher and a detector, each as small as it can be."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from pathlib import Path

import torch
from PIL import Image
from torch import Tensor

from promu import PromuConfig, Region
from promu.alignment.corpus_settings import DetectorSettings
from promu.modeling.fusions import Fused, Fusion, VisualFeatures
from promu.modeling.fusions.base import visual_map


class MeanFusion(Fusion):
    """The mean of the visual tokens is added to every text token, before the upper layers."""

    def __init__(self, config: PromuConfig, text_encoder: object) -> None:
        super().__init__(config, text_encoder)  # type: ignore[arg-type]
        self.visual_map = visual_map(config)

    def forward(
        self, text: Tensor, text_mask: Tensor, images: VisualFeatures | None, output_attentions: bool = False
    ) -> Fused:
        if images is None:
            hidden, maps = self.run_layers(text, text_mask, output_attentions)
            return Fused(hidden, None, maps)
        tokens = self.visual_map(images.tokens).to(text.dtype)
        # a post without an image is read as text alone
        seen = tokens.mean(1, keepdim=True) * images.present()[:, None, None]
        hidden, maps = self.run_layers(text + seen, text_mask, output_attentions)
        return Fused(hidden, tokens + hidden[:, :1], maps)


class HashedTeacher:
    """Vectors out of checksums: no knowledge, but the same for equal input."""

    temperature = 0.1

    def __init__(self, name: str, device: str = "cpu") -> None:
        self.identity = f"hashed:{name}"

    def encode_prompts(self, prompts: Sequence[str]) -> Tensor:
        return torch.stack([_vector(prompt.encode()) for prompt in prompts])

    def encode_images(self, images: Sequence[Image.Image]) -> Tensor:
        return torch.stack([_vector(image.tobytes()) for image in images])


def _vector(data: bytes) -> Tensor:
    vector = torch.tensor(list(hashlib.sha256(data).digest()), dtype=torch.float32) - 128
    return vector / vector.norm()


class CentreRegions:
    """One region an image: its middle."""

    def __init__(self, path: str | Path, settings: DetectorSettings) -> None:
        self.settings = settings
        self.identity = settings.identify("centre", "1")

    def detect(self, images: Sequence[Image.Image], names: Sequence[str]) -> list[list[Region]]:
        return [self.settings.keep([_centre(*image.size)], image.size) for image in images]


def _centre(width: int, height: int) -> Region:
    return Region((width / 4, height / 4, 3 * width / 4, 3 * height / 4), "thing", 0.9)
