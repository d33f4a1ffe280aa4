"""The teacher: a frozen dual encoder whose prompt similarities give the soft pseudo-labels."""

from __future__ import annotations

import functools
import hashlib
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, Protocol

import torch
from PIL import Image
from safetensors import SafetensorError
from torch import nn
from torch.nn import functional
from transformers import AutoConfig, AutoImageProcessor, AutoModel, AutoTokenizer

from promu.errors import InputError
from promu.hub import best_device
from promu.modeling.inputs import WordEncoder, to_pixels
from promu.modeling.pretraining import PromuDualEncoder

PROMPT_BATCH = 256
IMAGE_BATCH = 64

Encode = Callable[[Any, Sequence[Any]], torch.Tensor]


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


def _in_batches(size: int) -> Callable[[Encode], Encode]:
    """Have a method encode `size` items at a time, without gradients."""

    def decorate(encode: Encode) -> Encode:
        @functools.wraps(encode)
        @torch.inference_mode()
        def encode_all(self: Any, items: Sequence[Any]) -> torch.Tensor:
            return torch.cat([encode(self, items[start : start + size]) for start in range(0, len(items), size)])

        return encode_all

    return decorate


class SelfTrainedTeacher:
    """The paper's teacher: a dual encoder trained with L_CIT alone on the same captions, then frozen.

    Args:
        folder: A saved `PromuDualEncoder` with its tokenizer.

    Raises:
        InputError: The folder does not hold one.
    """

    def __init__(self, folder: str | Path, device: str = "cpu") -> None:
        weights = Path(folder) / "model.safetensors"
        if not weights.is_file():
            raise InputError("no trained teacher here (model.safetensors is missing); train it again", folder)
        self.model = PromuDualEncoder.from_pretrained(folder).to(device).eval()  # type: ignore[arg-type]
        self.encoder = WordEncoder(AutoTokenizer.from_pretrained(folder), self.model.config.max_length)
        self.identity = "self-trained:" + hashlib.sha256(weights.read_bytes()).hexdigest()[:16]
        self.temperature = float(self.model.space.temperature.detach())
        self.device = device

    @_in_batches(PROMPT_BATCH)
    def encode_prompts(self, prompts: Sequence[str]) -> torch.Tensor:
        """As `Teacher.encode_prompts`."""
        batch = self.encoder.batch([self.encoder.text(prompt) for prompt in prompts])
        return self.model.encode_text(**{name: value.to(self.device) for name, value in batch.items()})

    @_in_batches(IMAGE_BATCH)
    def encode_images(self, images: Sequence[Image.Image]) -> torch.Tensor:
        """As `Teacher.encode_images`."""
        size = self.model.config.image_size
        pixels = torch.stack([to_pixels(image, size) for image in images])
        return self.model.encode_images(pixels.to(self.device))


class HubTeacher:
    """A teacher off the shelf: any CLIP- or SigLIP-type model, trained by others on pairs of image and text.

    Args:
        name: A local folder or a hub name, weights in safetensors form. It must hold `get_text_features`,
            `get_image_features` and a `logit_scale`, with its tokenizer and image processor beside it.

    Raises:
        InputError: There is no such model, a part of it is missing or damaged, or it is of another type.
    """

    def __init__(self, name: str, device: str = "cpu") -> None:
        self.model = _load_dual_encoder(name).to(device).eval()
        self.tokenizer = _load_part(AutoTokenizer, name, "tokenizer")
        if len(self.tokenizer) < 50:  # transformers builds an empty one where it finds no vocabulary
            raise InputError(f"teacher {name!r} has no vocabulary for its tokenizer; save it beside the weights")
        self.processor = _load_part(AutoImageProcessor, name, "image processor")
        text = getattr(self.model.config, "text_config", self.model.config)
        self.max_length = int(text.max_position_embeddings)
        # SigLIP was trained on texts padded to the full length, without a mask, and reads others wrongly.
        self.padding: bool | str = "max_length" if "siglip" in self.model.config.model_type else True
        self.identity = f"{Path(name).name if Path(name).exists() else name}:{_checksum(self.model)}"
        self.temperature = float((-self.model.logit_scale.detach()).exp())
        self.device = device

    @_in_batches(PROMPT_BATCH)
    def encode_prompts(self, prompts: Sequence[str]) -> torch.Tensor:
        """As `Teacher.encode_prompts`."""
        batch = self.tokenizer(
            list(prompts), padding=self.padding, truncation=True, max_length=self.max_length, return_tensors="pt"
        ).to(self.device)
        names = ("input_ids",) if self.padding == "max_length" else ("input_ids", "attention_mask")
        return _unit(self.model.get_text_features(**{name: batch[name] for name in names}))

    @_in_batches(IMAGE_BATCH)
    def encode_images(self, images: Sequence[Image.Image]) -> torch.Tensor:
        """As `Teacher.encode_images`."""
        pixels = self.processor(images=list(images), return_tensors="pt")["pixel_values"].to(self.device)
        return _unit(self.model.get_image_features(pixel_values=pixels))


TEACHERS: dict[str, Callable[[str, str], Teacher]] = {"self-trained": SelfTrainedTeacher, "hub": HubTeacher}


def load_teacher(kind: str, name: str, device: str | None = None) -> Teacher:
    """The teacher called `name` of a kind in `TEACHERS`, on `device` (None: the best there is).

    Raises:
        InputError: There is no such kind, or as the teacher's class says.
    """
    if kind not in TEACHERS:
        raise InputError(f"teacher kind {kind!r} is unknown; use one of {', '.join(TEACHERS)}")
    return TEACHERS[kind](name, device or best_device())


def _unit(features: Any) -> torch.Tensor:
    """Features (N, D) to unit vectors; transformers returns them bare or as a pooler's output, by version."""
    return functional.normalize(getattr(features, "pooler_output", features).float(), dim=-1)


def _load_dual_encoder(name: str) -> Any:
    try:
        AutoConfig.from_pretrained(name)
        model = AutoModel.from_pretrained(name, use_safetensors=True, dtype=torch.float32)
    except SafetensorError as error:
        raise InputError(f"the weights of teacher {name!r} are damaged ({error}); fetch or save them again") from error
    except (OSError, ValueError) as error:
        reason = str(error).partition("\n")[0].rstrip(". ")
        raise InputError(
            f"teacher {name!r} cannot be loaded ({reason}); name a folder or hub model within reach that has "
            "safetensors weights"
        ) from error
    if not all(hasattr(model, part) for part in ("get_text_features", "get_image_features", "logit_scale")):
        raise InputError(
            f"teacher {name!r} is a {model.config.model_type!r} model, which does not put texts and images in one "
            "space; name a CLIP- or SigLIP-type one"
        )
    return model


def _load_part(kind: Any, name: str, what: str) -> Any:
    try:
        return kind.from_pretrained(name)
    except (OSError, ValueError) as error:
        raise InputError(f"teacher {name!r} has no {what} that can be loaded; save it beside the weights") from error


def _checksum(model: nn.Module) -> str:
    """Of every weight, whatever files they were kept in."""
    digest = hashlib.sha256()
    for name, weight in sorted(model.state_dict().items()):
        digest.update(name.encode())
        digest.update(weight.cpu().contiguous().numpy().tobytes())
    return digest.hexdigest()[:16]
