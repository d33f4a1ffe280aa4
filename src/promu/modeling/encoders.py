"""Text and vision encoders: any that Hugging Face names, built from a configuration or loaded with weights."""

from __future__ import annotations

import logging
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from safetensors import SafetensorError
from torch import nn
from transformers import AutoConfig, AutoImageProcessor, AutoModel, PreTrainedConfig, PreTrainedModel

from promu.errors import InputError

if TYPE_CHECKING:
    from promu.modeling.configuration import PromuConfig

logger = logging.getLogger(__name__)


def build_encoder(config: PreTrainedConfig) -> PreTrainedModel:
    """An encoder of `config` with random weights and without the pooler that promu never uses."""
    try:
        return AutoModel.from_config(config, add_pooling_layer=False)
    except TypeError:  # architectures without a pooler do not know the argument
        return AutoModel.from_config(config)


def load_encoder_config(name: str) -> PreTrainedConfig:
    """The configuration of the encoder called `name`, a local folder or a hub name.

    Of a model that holds a text and a vision encoder (CLIP, SigLIP) it is the vision encoder's.

    Raises:
        InputError: No such folder, and no such name on the hub (or no hub within reach).
    """
    try:
        config = AutoConfig.from_pretrained(name)
    except (OSError, ValueError) as error:
        raise InputError(_not_loadable(name)) from error
    return getattr(config, "vision_config", None) or config


def picture_normalisation(name: str) -> dict[str, list[float]]:
    """`image_mean` and `image_std` that the vision encoder called `name` was trained with, where it says so."""
    try:
        processor = AutoImageProcessor.from_pretrained(name)
    except (OSError, ValueError):
        logger.warning("%s does not say how its pictures are normalised; promu's default (0.5, 0.5) is taken", name)
        return {}
    return {"image_mean": list(processor.image_mean), "image_std": list(processor.image_std)}


def load_encoder(name: str) -> PreTrainedModel:
    """The pretrained encoder called `name`, a local folder or a hub name, safetensors only, in fp32.

    Raises:
        InputError: As `load_encoder_config`, or its weights are damaged or not in safetensors form.
    """
    config = load_encoder_config(name)
    # a checkpoint kept in half precision must not be trained in it: AdamW's small steps would round to nothing
    how: dict[str, Any] = {"use_safetensors": True, "dtype": torch.float32}
    try:
        try:
            return AutoModel.from_pretrained(name, config=config, add_pooling_layer=False, **how)
        except TypeError:  # architectures without a pooler do not know the argument
            return AutoModel.from_pretrained(name, config=config, **how)
    except OSError as error:
        raise InputError(f"encoder {name!r} has no safetensors weights; convert them, promu never unpickles") from error
    except SafetensorError as error:
        raise InputError(f"the weights of encoder {name!r} are damaged ({error}); fetch or save them again") from error


def _not_loadable(name: str) -> str:
    if Path(name).exists() or name.startswith((".", "/")):
        return f"{name!r} is not a folder with an encoder's config.json; name a model folder or a hub model"
    return f"encoder {name!r} is neither a local folder nor a hub model within reach; name a folder that exists"


def text_layers(encoder: PreTrainedModel) -> nn.ModuleList:
    """The transformer layers of a text encoder of the BERT family, lowest first.

    Raises:
        InputError: The architecture keeps its layers elsewhere, so that they cannot be halved.
    """
    layers = getattr(getattr(encoder, "encoder", None), "layer", None)
    if not isinstance(layers, nn.ModuleList):
        raise InputError(
            f"the layers of a {encoder.config.model_type!r} text encoder cannot be split between text and fusion; "
            "set fusion_layers to a number for a separate fusion stack"
        )
    return layers


def split_text_encoder(encoder: PreTrainedModel) -> nn.ModuleList:
    """Take the upper half of the layers out of `encoder` and return them (METHOD: the default fusion, 6 + 6)."""
    layers = text_layers(encoder)
    if len(layers) < 2:
        raise InputError(f"a text encoder of {len(layers)} layer cannot be halved; set fusion_layers to a number")
    half = len(layers) // 2
    encoder.encoder.layer = layers[:half]  # type: ignore[union-attr]
    return layers[half:]


def pooled(hidden: torch.Tensor, mask: torch.Tensor | None, how: str) -> torch.Tensor:
    """What stands for a whole text or picture in L_CIT.

    Args:
        hidden: (B, N, d), the CLS vector first.
        mask: (B, N), 1 where there is a token; None means everywhere.
        how: "cls" (the paper) or "cls+mean" (plus the mean over the other tokens).

    Returns:
        (B, d).
    """
    if how == "cls":
        return hidden[:, 0]
    if mask is None:
        return hidden[:, 0] + hidden[:, 1:].mean(1)
    weights = mask[:, 1:, None].to(hidden.dtype)
    return hidden[:, 0] + (hidden[:, 1:] * weights).sum(1) / weights.sum(1).clamp(min=1.0)


def normalise_pixels(pixels: torch.Tensor, config: PromuConfig, dtype: torch.dtype) -> torch.Tensor:
    """Pixels (B, 3, S, S) in 0..255, bytes or floats, to what the vision encoder was trained on."""
    mean = torch.tensor(config.image_mean, device=pixels.device, dtype=dtype).view(1, 3, 1, 1)
    std = torch.tensor(config.image_std, device=pixels.device, dtype=dtype).view(1, 3, 1, 1)
    return (pixels.to(dtype) / 255.0 - mean) / std


def encode_picture(encoder: PreTrainedModel, pixels: torch.Tensor, config: PromuConfig, **kwargs: Any) -> torch.Tensor:
    """Visual tokens (B, K+1, d_v), CLS first, of pixels (B, 3, S, S) in 0..255 (Eq 1)."""
    return encoder(pixel_values=normalise_pixels(pixels, config, torch.float32), **kwargs).last_hidden_state
