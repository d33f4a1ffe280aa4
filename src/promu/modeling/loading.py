"""Backbones, tokenizers and model folders from the settings of a recipe."""

from __future__ import annotations

import json
import os
import shutil
from pathlib import Path
from typing import Any, TypeVar

from huggingface_hub.errors import StrictDataclassError
from safetensors import SafetensorError
from tokenizers import Tokenizer
from transformers import AutoTokenizer, PreTrainedModel, PreTrainedTokenizerBase

from promu.config import ModelSettings
from promu.errors import InputError, first_line
from promu.hub import load, resolve
from promu.modeling.backbone import HasEncoders, PromuPreTrainedModel
from promu.modeling.configuration import PromuConfig
from promu.modeling.encoders import detector_encoder_from_onnx, encoder_config, image_normalisation, load_encoder
from promu.modeling.inputs import add_entity_markers
from promu.modeling.small_encoders import CharBiLstmModel

ModelType = TypeVar("ModelType", bound=PromuPreTrainedModel)

WEIGHTS = "model.safetensors"


def load_tokenizer(name: str) -> PreTrainedTokenizerBase:
    """The tokenizer in a folder or on the hub.

    Raises:
        InputError: There is none, or it is an empty placeholder.
    """
    folder = Path(name)
    files = ("tokenizer.json", "vocab.txt", "vocab.json", "tokenizer.model")
    if folder.is_dir() and not any((folder / file).is_file() for file in files):
        raise InputError("this model folder has no tokenizer (tokenizer.json); copy it or save the model again", name)
    for path in (folder / "tokenizer_config.json", folder / "tokenizer.json"):
        if path.is_file():
            read_json_object(path)
    if path.is_file():
        try:
            Tokenizer.from_buffer(path.read_bytes())  # from_file raises nothing narrower than Exception
        except ValueError as error:
            raise InputError(f"not a tokenizer ({error}); copy the model folder again", path) from None
    tokenizer: PreTrainedTokenizerBase = load(AutoTokenizer, name, "tokenizer")
    if len(tokenizer) < 50:
        raise InputError(f"tokenizer {name!r} has only {len(tokenizer)} pieces; its vocabulary was not found")
    return tokenizer


def load_model(model_class: type[ModelType], folder: str | Path, **settings: Any) -> ModelType:
    """A saved promu model.

    Raises:
        InputError: The folder holds none, or a damaged one.
    """
    folder = Path(folder)
    for name in ("config.json", WEIGHTS):
        if not (folder / name).is_file():
            raise InputError(f"no promu model here ({name} is missing); name one that save_pretrained wrote", folder)
    kind = read_json_object(folder / "config.json").get("model_type")
    if kind != PromuConfig.model_type:
        raise InputError(f"this is a {kind!r} model, not promu's; name it under model.text to start from it", folder)
    try:
        return model_class.from_pretrained(folder, use_safetensors=True, **settings)
    except InputError as error:
        raise error.at(folder) from error
    except SafetensorError as error:
        raise InputError(f"the weights are damaged ({error}); copy or save them again", folder / WEIGHTS) from error
    except (OSError, ValueError, KeyError, RuntimeError, StrictDataclassError) as error:
        if "ignore_mismatched_sizes" in str(error):
            raise InputError("its weights have other shapes than its config.json; save it again", folder) from error
        raise InputError(f"this model cannot be loaded: {first_line(error)}; save it again", folder) from error


def saved_class(folder: Path) -> str:
    """The class of the model in a folder, as its config.json names it: "no known model" where it names none.

    Raises:
        InputError: There is no config.json, or something else is in it.
    """
    if not (path := folder / "config.json").is_file():
        raise InputError("no promu model here (config.json is missing); name the model folder of a run", folder)
    named = read_json_object(path).get("architectures")
    return str(named[0]) if isinstance(named, list) and named else "no known model"


def build_model(
    model_class: type[ModelType], settings: ModelSettings, tokenizer: PreTrainedTokenizerBase, **config: Any
) -> ModelType:
    """A model of `model_class` whose backbone starts as the settings say: saved, pretrained encoders, or from scratch.

    The tokenizer fixes the size of the vocabulary; entity markers that it lacks are added. `config` are further fields
    of `PromuConfig`, such as the labels.
    """
    add_entity_markers(tokenizer)
    fields = {**settings.config, **config}
    if settings.init is not None:
        return load_model(model_class, settings.init, **fields)
    assert settings.text is not None
    text = _pretrained(settings.text)
    vision = None if settings.vision is None else _pretrained(settings.vision)
    if text is not None:
        text.resize_token_embeddings(len(tokenizer))
    if vision is not None and settings.vision is not None:
        named = settings.vision if isinstance(settings.vision, str) else settings.vision["onnx"]
        fields = {**image_normalisation(resolve(named)), **fields}
    text_config = text.config if text is not None else encoder_config(settings.text, vocab_size=len(tokenizer))
    vision_config = None if vision is None else vision.config
    if vision is None and settings.vision is not None:
        vision_config = encoder_config(settings.vision)
    try:
        model = model_class(PromuConfig(text_config=text_config, vision_config=vision_config, **fields))
    except InputError:
        raise
    except (ValueError, StrictDataclassError) as error:  # sizes that do not go together
        raise InputError(f"model settings: {first_line(error)}") from None
    backbone: Any = model if isinstance(model, HasEncoders) else model.promu
    backbone.use_encoders(text, vision)
    if isinstance(backbone.text_encoder, CharBiLstmModel):
        backbone.text_encoder.spell(tokenizer.convert_ids_to_tokens(list(range(len(tokenizer)))))
    return model


def _pretrained(settings: str | dict[str, Any]) -> PreTrainedModel | None:
    """The encoder that settings name, or whose lower part is the detector that they name; None for one from scratch."""
    if isinstance(settings, str):
        return load_encoder(resolve(settings))
    if "onnx" not in settings:
        return None
    rest = {key: value for key, value in settings.items() if key not in ("model_type", "onnx")}
    return detector_encoder_from_onnx(resolve(settings["onnx"]), **rest)


def tokenizer_of(settings: ModelSettings) -> PreTrainedTokenizerBase:
    """The tokenizer that a model's settings name, or that of what it starts from."""
    name = settings.tokenizer or settings.init or (settings.text if isinstance(settings.text, str) else None)
    if name is None:
        raise InputError("model.tokenizer is missing; a text encoder made from scratch needs one by name")
    return load_tokenizer(resolve(name))


def read_json_object(path: Path) -> dict[str, Any]:
    """The JSON object in a file of a model folder.

    Raises:
        InputError: There is no such file, or something else is in it.
    """
    try:
        value = json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise InputError("this file of the model is missing; copy the model folder again", path) from None
    except ValueError as error:
        raise InputError(f"not JSON ({error}); copy the model folder again", path) from None
    if not isinstance(value, dict):
        raise InputError("not a JSON object; copy the model folder again", path)
    return value


def save_folder(folder: Path, model: PromuPreTrainedModel, tokenizer: PreTrainedTokenizerBase) -> None:
    """Model and tokenizer in one folder, there whole or not at all."""
    temporary = folder.with_name(folder.name + ".tmp")
    shutil.rmtree(temporary, ignore_errors=True)
    model.save_pretrained(temporary)
    tokenizer.save_pretrained(temporary)
    shutil.rmtree(folder, ignore_errors=True)  # the model that was there stays until the new one is whole
    os.replace(temporary, folder)
