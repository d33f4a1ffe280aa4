"""Model folders: tokenizers and models that lie in them, and how they are written."""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeVar

from huggingface_hub.errors import StrictDataclassError
from safetensors import SafetensorError
from tokenizers import Tokenizer
from transformers import AutoTokenizer, PreTrainedTokenizerBase

from promu.errors import InputError, first_line
from promu.hub import WEIGHTS, read_json_object
from promu.modeling.backbone import PromuPreTrainedModel
from promu.modeling.configuration import PromuConfig
from promu.pytorch import load, refuse_nan, without_bars

ModelType = TypeVar("ModelType", bound=PromuPreTrainedModel)


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


def check_folder(folder: Path) -> None:
    """Make sure that a folder holds a saved promu model.

    Raises:
        InputError: A file is missing, or the model is another library's.
    """
    for name in ("config.json", WEIGHTS):
        if not (folder / name).is_file():
            raise InputError(f"no promu model here ({name} is missing); name one that save_pretrained wrote", folder)
    kind = read_json_object(folder / "config.json").get("model_type")
    if kind != PromuConfig.model_type:
        raise InputError(f"this is a {kind!r} model, not promu's; name it under model.text to start from it", folder)


def load_model(model_class: type[ModelType], folder: str | Path, **settings: Any) -> ModelType:
    """A saved promu model.

    Raises:
        InputError: The folder holds none, or a damaged one.
    """
    folder = Path(folder)
    check_folder(folder)
    try:
        with without_bars():
            model = model_class.from_pretrained(folder, use_safetensors=True, **settings)
        refuse_nan(model, "this model")
        return model
    except InputError as error:
        raise error.at(folder) from error
    except SafetensorError as error:
        raise InputError(f"the weights are damaged ({error}); copy or save them again", folder / WEIGHTS) from error
    except (OSError, ValueError, KeyError, RuntimeError, StrictDataclassError) as error:
        if "ignore_mismatched_sizes" in str(error):
            raise InputError("its weights have other shapes than its config.json; save it again", folder) from error
        raise InputError(f"this model cannot be loaded: {first_line(error)}; save it again", folder) from error


def save_folder(
    folder: Path,
    model: PromuPreTrainedModel,
    tokenizer: PreTrainedTokenizerBase,
    more: Callable[[Path], None] | None = None,
) -> None:
    """Model and tokenizer in one folder, and what `more` writes into it; there whole or not at all."""
    temporary = folder.with_name(folder.name + ".tmp")
    shutil.rmtree(temporary, ignore_errors=True)
    model.save_pretrained(temporary)
    tokenizer.save_pretrained(temporary)
    if more is not None:
        more(temporary)
    shutil.rmtree(folder, ignore_errors=True)  # the model that was there stays until the new one is whole
    os.replace(temporary, folder)
