"""The teacher: a frozen dual encoder whose prompt similarities give the soft pseudo-labels."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, Protocol

import numpy as np
import torch
from PIL import Image
from torch.nn import functional
from transformers import AutoImageProcessor, AutoModel, AutoTokenizer

from promu.errors import InputError
from promu.extensions import Choices
from promu.files import checksum
from promu.modeling.inputs import WordEncoder, tensors, to_pixels
from promu.modeling.loading import load_model, load_tokenizer
from promu.modeling.pretraining import PromuDualEncoder
from promu.pytorch import SAFE_WEIGHTS, find_device, load, weights_checksum

PROMPT_BATCH = 256
IMAGE_BATCH = 64


class Teacher(Protocol):
    """Unit vectors of prompts and images in one space, and the temperature that the space was trained with.

    `identity` changes whenever the labels would.
    """

    identity: str
    temperature: float

    def encode_prompts(self, prompts: Sequence[str]) -> torch.Tensor:
        """(M, D) unit vectors."""

    def encode_images(self, images: Sequence[Image.Image]) -> torch.Tensor:
        """(N, D) unit vectors of RGB images or crops of any size."""


class _BatchTeacher:
    """Encodes a few prompts or images at a time, without gradients."""

    @torch.inference_mode()
    def encode_prompts(self, prompts: Sequence[str]) -> torch.Tensor:
        starts = range(0, len(prompts), PROMPT_BATCH)
        return torch.cat([self._prompts(prompts[start : start + PROMPT_BATCH]) for start in starts])

    @torch.inference_mode()
    def encode_images(self, images: Sequence[Image.Image]) -> torch.Tensor:
        starts = range(0, len(images), IMAGE_BATCH)
        return torch.cat([self._images(images[start : start + IMAGE_BATCH]) for start in starts])

    def _prompts(self, prompts: Sequence[str]) -> torch.Tensor:
        raise NotImplementedError

    def _images(self, images: Sequence[Image.Image]) -> torch.Tensor:
        raise NotImplementedError


class SelfTrainedTeacher(_BatchTeacher):
    """The paper's teacher: a dual encoder trained with L_CIT alone on the same captions, then frozen.

    Raises:
        InputError: The folder does not hold a saved `PromuDualEncoder` with its tokenizer.
    """

    def __init__(self, folder: str | Path, device: str = "cpu") -> None:
        weights = Path(folder) / "model.safetensors"
        if not weights.is_file():
            raise InputError("no trained teacher here (model.safetensors is missing); train it again", folder)
        self.model = load_model(PromuDualEncoder, folder).to(device).eval()  # type: ignore[arg-type]
        self.encoder = WordEncoder.of(load_tokenizer(str(folder)), self.model.config)
        self.identity = "self-trained:" + checksum(weights)[:16]
        self.temperature = float(self.model.space.temperature.detach())
        self.device = device

    def _prompts(self, prompts: Sequence[str]) -> torch.Tensor:
        batch = tensors(self.encoder.batch([self.encoder.text(prompt) for prompt in prompts]), self.device)
        return self.model.encode_text(**batch)

    def _images(self, images: Sequence[Image.Image]) -> torch.Tensor:
        size = self.model.config.image_size
        pixels = np.stack([to_pixels(image, size) for image in images])
        return self.model.encode_images(torch.from_numpy(pixels).to(self.device))


class HubTeacher(_BatchTeacher):
    """A teacher off the shelf: any CLIP- or SigLIP-type model, trained by others on pairs of image and text.

    It lies in a local folder or on the hub, weights in safetensors form, tokenizer and image processor beside it, and
    has `get_text_features`, `get_image_features` and a `logit_scale`.

    Raises:
        InputError: There is no such model, a part of it is missing or damaged, or it is of another type.
    """

    def __init__(self, name: str, device: str = "cpu") -> None:
        self.model = load(AutoModel, name, "teacher", **SAFE_WEIGHTS).to(device).eval()
        if not all(hasattr(self.model, part) for part in ("get_text_features", "get_image_features", "logit_scale")):
            reason = f"is a {self.model.config.model_type!r} model, which does not put texts and images in one space"
            raise InputError(f"teacher {name!r} {reason}; name a CLIP- or SigLIP-type one")
        self.tokenizer = load(AutoTokenizer, name, "tokenizer of teacher")
        if len(self.tokenizer) < 50:  # transformers builds an empty one where it finds no vocabulary
            raise InputError(f"teacher {name!r} has no vocabulary for its tokenizer; save it beside the weights")
        self.processor = load(AutoImageProcessor, name, "image processor of teacher")
        text = getattr(self.model.config, "text_config", self.model.config)
        self.max_length = int(text.max_position_embeddings)
        # SigLIP was trained on texts padded to the full length, without a mask, and reads others wrongly.
        self.padding: bool | str = "max_length" if "siglip" in self.model.config.model_type else True
        weights = weights_checksum(self.model.state_dict())[:16]
        self.identity = f"{Path(name).name if Path(name).exists() else name}:{weights}"
        self.temperature = float((-self.model.logit_scale.detach()).exp())
        self.device = device

    def _prompts(self, prompts: Sequence[str]) -> torch.Tensor:
        batch = self.tokenizer(
            list(prompts), padding=self.padding, truncation=True, max_length=self.max_length, return_tensors="pt"
        ).to(self.device)
        names = ("input_ids",) if self.padding == "max_length" else ("input_ids", "attention_mask")
        return _unit(self.model.get_text_features(**{name: batch[name] for name in names}))

    def _images(self, images: Sequence[Image.Image]) -> torch.Tensor:
        pixels = self.processor(images=list(images), return_tensors="pt")["pixel_values"].to(self.device)
        return _unit(self.model.get_image_features(pixel_values=pixels))


TEACHERS: Choices[Callable[[str, str], Teacher]] = Choices(
    "promu.teachers", {"self-trained": SelfTrainedTeacher, "hub": HubTeacher}
)
"""Kind of teacher -> function of (name, device); packages add theirs as entry points of `promu.teachers`."""


def load_teacher(kind: str, name: str, device: str | None = None) -> Teacher:
    """The teacher called `name` of a kind in `TEACHERS`, on `device` (None: the best there is).

    Raises:
        InputError: There is no such kind, or as the teacher's class says.
    """
    if kind not in TEACHERS:
        raise InputError(f"teacher kind {kind!r} is unknown; use one of {', '.join(TEACHERS)}")
    return TEACHERS[kind](name, find_device(device))


def _unit(features: Any) -> torch.Tensor:
    """Features (N, D) to unit vectors; transformers returns them bare or as a pooler's output, by version."""
    return functional.normalize(getattr(features, "pooler_output", features).float(), dim=-1)
