"""Text and vision encoders: any that Hugging Face names, built from a configuration or loaded with weights."""

from __future__ import annotations

import dataclasses
import json
import logging
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

import torch
from huggingface_hub.errors import StrictDataclassError
from torch import Tensor, nn
from transformers import AutoConfig, AutoImageProcessor, AutoModel, PreTrainedConfig, PreTrainedModel

from promu.errors import InputError
from promu.hub import SAFE_WEIGHTS, load, resolve
from promu.modeling.detector_encoder import DETECTOR_NORMALISATION, DetectorEncoderModel, choose_maps
from promu.modeling.onnx_graph import OnnxGraph
from promu.modeling.yolo_layout import count_classes, recognise_layout

if TYPE_CHECKING:
    from promu.modeling.configuration import PromuConfig

logger = logging.getLogger(__name__)

ONNX = ".onnx"


def build_encoder(config: PreTrainedConfig) -> PreTrainedModel:
    """An encoder of `config` with random weights and without the pooler that promu never uses."""
    try:
        return AutoModel.from_config(config, add_pooling_layer=False)
    except TypeError:  # architectures without a pooler do not know the argument
        return AutoModel.from_config(config)


def encoder_config(settings: str | dict[str, Any], **extra: Any) -> PreTrainedConfig:
    """The configuration of an encoder given by its settings (with `model_type`), or by a local folder or a hub name.

    Of a model that holds a text and a vision encoder (CLIP, SigLIP) it is the vision encoder's. A name that ends in
    `.onnx` is a detector's file (`promu.modeling.detector_encoder`).

    Raises:
        InputError: There is no such encoder (or no hub within reach), or no such setting, or a value is wrong.
    """
    if not isinstance(settings, str):
        return config_of(settings, "encoder", "bert, vit or promu_conv_vit", **extra)
    if settings.endswith(ONNX):
        return detector_encoder_from_onnx(resolve(settings)).config
    config = load(AutoConfig, settings, "encoder")
    return getattr(config, "vision_config", None) or config


def config_of(settings: dict[str, Any], what: str, examples: str, **extra: Any) -> PreTrainedConfig:
    """The configuration that settings describe, by `model_type` and its fields; `extra` are further fields.

    An error calls it `what`, and says `examples` of model types.

    Raises:
        InputError: There is no such model type or setting, or a value is wrong.
    """
    values = {**settings, **extra}
    kind = values.pop("model_type", None)
    try:
        config = AutoConfig.for_model(kind, **values)
    except InputError:
        raise
    except ValueError:
        raise InputError(
            f"{what} settings: model_type {kind!r} is unknown; use one that Hugging Face transformers knows, "
            f"such as {examples}"
        ) from None
    except StrictDataclassError as error:
        raise InputError(f"{what} settings ({kind}): {' '.join(str(error).split())}") from None
    known = {field.name for field in dataclasses.fields(config)} | set(config.attribute_map)
    known -= set(getattr(config, "derived", ()))
    unknown = sorted(set(settings) - known - {"model_type"})
    if unknown:
        raise InputError(f"{what} settings ({kind}): unknown key {unknown[0]!r}; known are {', '.join(sorted(known))}")
    return config


def detector_encoder_from_onnx(path: str | Path, **settings: Any) -> DetectorEncoderModel:
    """An encoder whose trunk is the detector in an ONNX file and whose transformer starts at random.

    Args:
        path: A YOLO-family detector exported without post-processing.
        settings: Fields of `DetectorEncoderConfig`. Without `image_size` images are as large as the detector was
            exported for; without `maps` the maps are chosen by `choose_maps`.

    Raises:
        InputError: The file cannot be read or run, it is no such detector, a map is not in it, or there is no such
            setting.
    """
    trunk = OnnxGraph.from_onnx(path)
    graph = trunk.graph
    size = graph["size"] or [settings.get("image_size")] * 2
    if not all(size):
        raise InputError("this detector was exported for images of any size; set image_size", path)
    try:
        with torch.no_grad():
            said = trunk(torch.full((1, 3, *size), 0.5))[graph["outputs"][0]].numpy()
            layout = recognise_layout(said, (size[0], size[1]))
            maps = settings.pop("maps", None) or choose_maps(trunk, (size[0], size[1]), count_classes(said, layout))
            shapes = [value.shape for value in trunk(torch.zeros(1, 3, *size), maps).values()]
    except InputError as error:
        raise error.at(path) from None
    for name, shape in zip(maps, shapes, strict=True):
        if len(shape) != 4:
            raise InputError(f"value {name!r} of its graph is no map: it has {len(shape)} dimensions, not 4", path)
    made = {"graph": json.dumps(graph), "layout": layout, "maps": list(maps), "channels": sum(s[1] for s in shapes)}
    config: Any = config_of({"model_type": "promu_detector", "image_size": size[0], **settings}, "encoder", "", **made)
    model = DetectorEncoderModel(config)
    model.trunk.load_state_dict(trunk.state_dict())
    return model


def image_normalisation(name: str) -> dict[str, list[float]]:
    """`image_mean` and `image_std` that the vision encoder called `name` was trained with, where it says so."""
    if name.endswith(ONNX) or isinstance(encoder_config(name), DetectorEncoderModel.config_class):
        return dict(DETECTOR_NORMALISATION)
    try:
        processor = AutoImageProcessor.from_pretrained(name)
    except (OSError, ValueError):
        logger.warning("%s does not say how its images are normalised; promu's default (0.5, 0.5) is taken", name)
        return {}
    return {"image_mean": list(processor.image_mean), "image_std": list(processor.image_std)}


def load_encoder(name: str) -> PreTrainedModel:
    """The pretrained encoder called `name`, a local folder or a hub name, safetensors only, in fp32.

    Raises:
        InputError: As `encoder_config`, or its weights are damaged or not in safetensors form.
    """
    if name.endswith(ONNX):
        return detector_encoder_from_onnx(resolve(name))
    config = encoder_config(name)
    # a checkpoint kept in half precision must not be trained in it: AdamW's small steps would round to nothing
    how = {"config": config, **SAFE_WEIGHTS}
    try:
        return cast(PreTrainedModel, load(AutoModel, name, "encoder", add_pooling_layer=False, **how))
    except TypeError:  # architectures without a pooler do not know the argument
        return cast(PreTrainedModel, load(AutoModel, name, "encoder", **how))


def text_layers(encoder: PreTrainedModel) -> nn.ModuleList | None:
    """The transformer layers of a text encoder of the BERT family, lowest first.

    They run alone, as an attention and then a `feed_forward_chunk`. None where the architecture has other layers or
    keeps them elsewhere.
    """
    layers = getattr(getattr(encoder, "encoder", None), "layer", None)
    if isinstance(layers, nn.ModuleList) and all(hasattr(layer, "feed_forward_chunk") for layer in layers):
        return layers
    return None


def split_text_encoder(encoder: PreTrainedModel) -> nn.ModuleList:
    """Take the upper half of the layers out of `encoder` and return them (METHOD: the default fusion, 6 + 6).

    Raises:
        InputError: There are no layers as `text_layers` knows them, or just one.
    """
    layers = text_layers(encoder)
    if layers is None:
        raise InputError(
            f"the layers of a {encoder.config.model_type!r} text encoder cannot be split between text and fusion; "
            "set fusion_layers to a number for a separate fusion stack"
        )
    if len(layers) < 2:
        raise InputError(f"a text encoder of {len(layers)} layer cannot be halved; set fusion_layers to a number")
    half = len(layers) // 2
    encoder.encoder.layer = layers[:half]  # type: ignore[union-attr]
    return layers[half:]


def pooled(hidden: Tensor, mask: Tensor | None, how: str) -> Tensor:
    """What stands for a whole text or image in L_CIT.

    Args:
        hidden: (B, N, d), the CLS vector first; (B, V, N, d) of several levels, of which the last counts.
        mask: (B, N), 1 where there is a token; None means everywhere.
        how: "cls" (the paper), "cls+mean" (plus the mean over the other tokens) or "mean" (of all tokens).

    Returns:
        (B, d).
    """
    if hidden.ndim == 4:
        hidden = hidden[:, -1]
    if how == "cls":
        return hidden[:, 0]
    first = 0 if how == "mean" else 1
    rest = hidden[:, first:]
    if mask is None:
        mean = rest.mean(1)
    else:
        weights = mask[:, first:, None].to(hidden.dtype)
        mean = (rest * weights).sum(1) / weights.sum(1).clamp(min=1.0)
    return mean if how == "mean" else hidden[:, 0] + mean


def normalise_pixels(pixels: Tensor, config: PromuConfig, dtype: torch.dtype) -> Tensor:
    """Pixels (B, 3, S, S) in 0..255, bytes or floats, to what the vision encoder was trained on."""
    mean = torch.tensor(config.image_mean, device=pixels.device, dtype=dtype).view(1, 3, 1, 1)
    std = torch.tensor(config.image_std, device=pixels.device, dtype=dtype).view(1, 3, 1, 1)
    return (pixels.to(dtype) / 255.0 - mean) / std


def encode_image(
    encoder: PreTrainedModel,
    pixels: Tensor | None,
    config: PromuConfig,
    features: Tensor | None = None,
    levels: int | None = None,
) -> Tensor:
    """Visual tokens (B, K+1, d_v), CLS first, of images (Eq 1); (B, V, K+1, d_v) of several levels.

    Args:
        encoder: The vision encoder.
        pixels: (B, 3, S, S) in 0..255; None where `features` are given.
        config: Says how pixels are normalised.
        features: (B, K, C) of a frozen detector (`DetectorEncoderModel.features`), in place of `pixels`.
        levels: How many levels of the encoder to return, at most (`level_layers`); None returns the last alone.

    Raises:
        InputError: The encoder does not return its lower levels.
    """
    inputs = {"features": features}
    if features is None:
        assert pixels is not None
        inputs = {"pixel_values": normalise_pixels(pixels, config, torch.float32)}
    if levels is None:
        return encoder(**inputs).last_hidden_state
    output = encoder(**inputs, output_hidden_states=True)
    if not output.hidden_states:
        kind = encoder.config.model_type
        raise InputError(f"a {kind!r} vision encoder does not return its lower levels; use another fusion")
    *lower, _ = level_layers(encoder.config, levels)
    last = output.last_hidden_state
    return torch.stack([*(output.hidden_states[layer].to(last.dtype) for layer in lower), last], dim=1)


def level_layers(config: PreTrainedConfig, levels: int) -> list[int]:
    """The layers after which a vision encoder's levels are read, evenly spread; 0 is what comes into the first."""
    last = int(config.num_hidden_layers)
    count = min(levels, last + 1)
    return [round(number * last / max(1, count - 1)) for number in range(count)]
