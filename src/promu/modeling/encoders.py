"""Text and vision encoders: any that Hugging Face names, built from a configuration or loaded with weights."""

from __future__ import annotations

import dataclasses
import json
import logging
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

import torch
from huggingface_hub.errors import StrictDataclassError
from torch import Tensor, nn
from transformers import AutoConfig, AutoImageProcessor, AutoModel, PreTrainedConfig, PreTrainedModel

from promu.errors import InputError
from promu.files import shorten
from promu.hub import resolve
from promu.modeling.map_encoder import MAP_NORMALISATION, MapEncoderModel
from promu.modeling.map_sources import DetectorSource, MapSource, NetworkSource, bare_model, choose_maps, gives_patches
from promu.modeling.onnx_graph import OnnxGraph
from promu.modeling.yolo_layout import count_classes, recognise_layout
from promu.pytorch import SAFE_WEIGHTS, load

if TYPE_CHECKING:
    from promu.modeling.configuration import PromuConfig

logger = logging.getLogger(__name__)

ONNX = ".onnx"
_NOT_OF_MAPS = {"id2label", "label2id", "transformers_version", "architectures", "dtype", "_name_or_path"}


def encoder_config(settings: str | dict[str, Any], **extra: Any) -> PreTrainedConfig:
    """The configuration of an encoder given by its settings (with `model_type`), or by a local folder or a hub name.

    Of a model that holds a text and a vision encoder (CLIP, SigLIP) it is the vision encoder's. A name that ends in
    `.onnx` is a detector's file (`promu.modeling.map_encoder`).

    Raises:
        InputError: There is no such encoder (or no hub within reach), or no such setting, or a value is wrong.
    """
    if not isinstance(settings, str):
        return config_of(settings, "encoder", "bert, vit or promu_conv_vit", **extra)
    if settings.endswith(ONNX):
        return map_encoder([settings]).config
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


def map_encoder(sources: Sequence[str | Path | dict[str, Any]], **settings: Any) -> MapEncoderModel:
    """An encoder that reads the maps of other networks, side by side, and whose transformer starts at random.

    Args:
        sources: Each a name, or a mapping. A name that ends in `.onnx` is a YOLO-family detector exported without
            post-processing, any other a backbone (convolutional or ViT) as `load_encoder` takes it. A mapping is
            `{onnx: FILE, maps: [...], image_size: N}`, `{name: NAME, image_size: N}`, or the settings of a backbone
            with random weights (`{model_type: resnet, ...}`). `image_size` is the side to which images are resized for
            this source; a detector without it takes them as they come.
        settings: Fields of `MapEncoderConfig`. Without `image_size` images are as large as the largest source needs.

    Raises:
        InputError: A source cannot be loaded or read, a map is not in it, or there is no such setting.
    """
    side = settings.get("image_size")
    made = [_source(one if isinstance(one, dict) else {_kind_of(str(one)): str(one)}, side) for one in sources]
    largest = max((natural for _, natural in made), default=side)
    described = [source.settings for source, _ in made]
    config: Any = config_of(
        {"model_type": "promu_maps", "image_size": largest, **settings}, "encoder", "", sources=described
    )
    model = MapEncoderModel(config)
    for own, (source, _) in zip(model.sources, made, strict=True):
        own.load_state_dict(source.state_dict())
    return model


def _kind_of(name: str) -> str:
    return "onnx" if name.endswith(ONNX) else "name"


def _source(settings: dict[str, Any], side: int | None) -> tuple[MapSource, int]:
    """The source that a recipe describes, with its weights, and the side of the images that it was made for."""
    rest = dict(settings)
    size = rest.pop("image_size", None)
    if size is not None and (type(size) is not int or size < 1):
        raise InputError(f"image_size {size!r} of a source is no number of pixels; give a whole number, such as 224")
    if "onnx" in rest:
        path, maps = resolve(str(rest.pop("onnx"))), rest.pop("maps", None)
        _nothing_else(rest, "onnx, maps, image_size")
        if maps is not None and (not isinstance(maps, list) or not all(isinstance(one, str) for one in maps)):
            raise InputError(f"maps {shorten(maps)} of a source is no list of names; leave it out to have them chosen")
        return _detector_source(path, maps, size, side)
    if "model_type" in rest:
        extra = {} if size is None else {"image_size": size}
        config = _of_images(config_of(rest, "encoder", "resnet or convnext", **extra))
        network, normal = bare_model(config), {}
    else:
        name = rest.pop("name", None)
        _nothing_else(rest, "name, image_size")
        if not isinstance(name, str):
            raise InputError("a source needs a network; give name: NAME, onnx: FILE, or model_type with its settings")
        config = _of_images(encoder_config(name))
        network, normal = _load_network(name, config), _own_normalisation(name, config)
    mean, std = (normal.get(key, [0.5] * 3) for key in ("image_mean", "image_std"))
    size = size or _own_size(config)
    # what says nothing of the maps, and may read otherwise once saved, is left out
    kept = {key: value for key, value in config.to_diff_dict().items() if key not in _NOT_OF_MAPS}
    described = {"network": {**kept, "model_type": config.model_type}, "mean": mean, "std": std}
    source = NetworkSource({**described, "size": size, "channels": 0})
    source.network.load_state_dict(network.state_dict())
    with torch.no_grad():
        source.settings["channels"] = source.eval().maps(torch.zeros(1, 3, size, size))[0].shape[1]
    return source, size


def _of_images(config: PreTrainedConfig) -> PreTrainedConfig:
    if hasattr(config, "vocab_size"):
        raise InputError(f"a {config.model_type!r} model reads text, and a source is read from images; name another")
    return config


def _nothing_else(rest: dict[str, Any], known: str) -> None:
    if rest:
        raise InputError(f"a source has no setting {next(iter(rest))!r}; known are {known}")


def _own_size(config: PreTrainedConfig) -> int:
    """The side of the images that a network was trained on; 224 where it does not say."""
    timm = getattr(config, "pretrained_cfg", None) or {}
    size = getattr(config, "image_size", None) or (timm.get("input_size") or [224])[-1]
    return int(size[0] if isinstance(size, list | tuple) else size)


def _detector_source(path: str, maps: list[str] | None, size: int | None, side: int | None) -> tuple[MapSource, int]:
    trunk = OnnxGraph.from_onnx(path)
    graph = trunk.graph
    shape = graph["size"] or [size or side] * 2
    if not all(shape):
        raise InputError("this detector was exported for images of any size; set image_size", path)
    try:
        with torch.no_grad():
            said = trunk(torch.full((1, 3, *shape), 0.5))[graph["outputs"][0]].numpy()
            layout = recognise_layout(said, (shape[0], shape[1]))
            maps = maps or choose_maps(trunk, (shape[0], shape[1]), count_classes(said, layout))
            shapes = [value.shape for value in trunk(torch.zeros(1, 3, *shape), maps).values()]
    except InputError as error:
        raise error.at(path) from None
    for name, found in zip(maps, shapes, strict=True):
        if len(found) != 4:
            raise InputError(f"value {name!r} of its graph is no map: it has {len(found)} dimensions, not 4", path)
    channels = sum(found[1] for found in shapes)
    described = {"graph": json.dumps(graph), "layout": layout, "maps": list(maps), "channels": channels, "size": size}
    source = DetectorSource(described)
    source.graph.load_state_dict(trunk.state_dict())
    return source, size or shape[0]


def image_normalisation(name: str) -> dict[str, list[float]]:
    """`image_mean` and `image_std` that the vision encoder called `name` was trained with, where it says so."""
    if name.endswith(ONNX):
        return dict(MAP_NORMALISATION)
    config = encoder_config(name)
    if isinstance(config, MapEncoderModel.config_class) or not gives_patches(config):
        return dict(MAP_NORMALISATION)
    return _own_normalisation(name, config)


def _own_normalisation(name: str, config: PreTrainedConfig) -> dict[str, list[float]]:
    if timm := getattr(config, "pretrained_cfg", None):
        return {"image_mean": list(timm["mean"]), "image_std": list(timm["std"])}
    try:
        processor = AutoImageProcessor.from_pretrained(resolve(name))
    except (OSError, ValueError):
        logger.warning("%s does not say how its images are normalised; promu's default (0.5, 0.5) is taken", name)
        return {}
    return {"image_mean": list(processor.image_mean), "image_std": list(processor.image_std)}


def load_encoder(name: str) -> PreTrainedModel:
    """The pretrained encoder called `name`, a local folder or a hub name, safetensors only, in fp32.

    A convolutional backbone, or another that gives a map and not CLS and patches, is read by a `promu_maps` encoder and
    trained with it.

    Raises:
        InputError: As `encoder_config`, or its weights are damaged or not in safetensors form.
    """
    if name.endswith(ONNX):
        return map_encoder([name])
    config = encoder_config(name)
    return _load_network(name, config) if gives_patches(config) else map_encoder([name], train_trunk=True)


def _load_network(name: str, config: PreTrainedConfig) -> PreTrainedModel:
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
        features: (B, K, C) of frozen networks (`MapEncoderModel.features`), in place of `pixels`.
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
