"""The teacher: a frozen dual encoder whose prompt similarities give the soft pseudo-labels."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from pathlib import Path
from typing import Protocol

import torch
from PIL import Image
from transformers import AutoTokenizer

from promu.errors import InputError
from promu.modeling.dual_encoder import PromuDualEncoder
from promu.modeling.inputs import WordEncoder, to_pixels


class Teacher(Protocol):
    """Unit vectors of prompts and pictures in one space, and the temperature that the space was trained with."""

    identity: str
    temperature: float

    def encode_prompts(self, prompts: Sequence[str]) -> torch.Tensor:
        """(M, D) unit vectors."""

    def encode_pictures(self, pictures: Sequence[Image.Image]) -> torch.Tensor:
        """(N, D) unit vectors of RGB pictures or crops of any size."""


class SelfTrainedTeacher:
    """The paper's teacher: a dual encoder trained with L_CIT alone on the same captions, then frozen.

    Args:
        folder: A saved `PromuDualEncoder` with its tokenizer.

    Raises:
        InputError: The folder does not hold one.
    """

    def __init__(self, folder: Path, device: str = "cpu") -> None:
        weights = folder / "model.safetensors"
        if not weights.is_file():
            raise InputError("no trained teacher here (model.safetensors is missing); train it again", folder)
        self.model = PromuDualEncoder.from_pretrained(folder).to(device).eval()  # type: ignore[arg-type]
        self.encoder = WordEncoder(AutoTokenizer.from_pretrained(folder), self.model.config.max_length)
        self.identity = "self-trained:" + hashlib.sha256(weights.read_bytes()).hexdigest()[:16]
        self.temperature = float(self.model.space.temperature.detach())
        self.device = device

    @torch.inference_mode()
    def encode_prompts(self, prompts: Sequence[str]) -> torch.Tensor:
        """As `Teacher.encode_prompts`."""
        vectors = []
        for start in range(0, len(prompts), 256):
            batch = self.encoder.batch([self.encoder.text(prompt) for prompt in prompts[start : start + 256]])
            vectors.append(self.model.encode_text(**{name: value.to(self.device) for name, value in batch.items()}))
        return torch.cat(vectors)

    @torch.inference_mode()
    def encode_pictures(self, pictures: Sequence[Image.Image]) -> torch.Tensor:
        """As `Teacher.encode_pictures`."""
        size = self.model.config.image_size
        pixels = torch.stack([to_pixels(picture, size) for picture in pictures])
        return self.model.encode_pictures(pixels.to(self.device))


TEACHERS = {"self-trained": SelfTrainedTeacher}
