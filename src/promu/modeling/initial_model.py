"""A model before its training, as the settings of a recipe say: from scratch, from encoders, or from a saved model.

From a saved model the backbone comes as it is, and each head row by row, by the names of the labels. The rows of a head
stand for labels: types of entities in BIO form, relations, candidates of pre-training. A label that both models have
keeps its weights, wherever it stands in either; in the CRF it keeps its moves to and from all others that both have.
What is new starts as in a fresh model. Nothing goes by place.
"""

from __future__ import annotations

import logging
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, TypeVar

import torch
from huggingface_hub.errors import StrictDataclassError
from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import Tensor, nn
from transformers import PreTrainedModel, PreTrainedTokenizerBase

from promu.config import ModelSettings
from promu.errors import InputError, first_line
from promu.hub import WEIGHTS, resolve, saved_class
from promu.modeling.backbone import HasEncoders, PromuPreTrainedModel
from promu.modeling.configuration import PromuConfig
from promu.modeling.crf import LinearChainCrf
from promu.modeling.encoders import encoder_config, image_normalisation, load_encoder, map_encoder
from promu.modeling.inputs import add_entity_markers
from promu.modeling.loading import check_folder, load_tokenizer
from promu.modeling.map_encoder import MAP_NORMALISATION
from promu.modeling.map_sources import gives_patches
from promu.modeling.small_encoders import CharBiLstmModel
from promu.pytorch import refuse_nan, without_bars

ModelType = TypeVar("ModelType", bound=PromuPreTrainedModel)

NAMED = 12
"""Labels that a message names of each kind; the rest is counted."""

logger = logging.getLogger(__name__)


def build_model(
    model_class: type[ModelType], settings: ModelSettings, tokenizer: PreTrainedTokenizerBase, **config: Any
) -> ModelType:
    """A model of `model_class` whose backbone starts as the settings say: saved, pretrained encoders, or from scratch.

    The tokenizer fixes the size of the vocabulary; entity markers that it lacks are added. `config` are further fields
    of `PromuConfig`, such as the labels.

    Raises:
        InputError: There is no such model or encoder, or it does not fit the settings or the tokenizer.
    """
    add_entity_markers(tokenizer)
    fields = {"tasks": None, **settings.config, **config}
    origin = settings.init or settings.text
    if settings.tokenizer is not None and isinstance(origin, str) and settings.tokenizer != origin:
        refuse_other_tokens(tokenizer, origin)
    if settings.init is not None:
        model = start_from(model_class, settings.init, **fields)
        if len(tokenizer) > (known := int(model.config.text_config.vocab_size)):  # type: ignore[union-attr]
            reason = f"the tokenizer has {len(tokenizer)} tokens, the model knows {known}"
            raise InputError(f"{reason}; take the tokenizer that the model was saved with", settings.init)
        return model
    assert settings.text is not None
    text = _pretrained(settings.text)
    vision = None if settings.vision is None else _pretrained(settings.vision)
    if text is not None:
        text.resize_token_embeddings(len(tokenizer))
    if vision is not None and settings.vision is not None:
        named = isinstance(settings.vision, str)
        normal = image_normalisation(resolve(str(settings.vision))) if named else MAP_NORMALISATION
        fields = {**normal, **fields}
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
    """The encoder that settings name, or that reads the maps of networks; None for one from scratch."""
    if isinstance(settings, str):
        return load_encoder(resolve(settings))
    if settings.get("model_type") == "promu_maps":
        rest = {key: value for key, value in settings.items() if key not in ("model_type", "sources")}
        sources = settings.get("sources")
        if not isinstance(sources, list) or not all(isinstance(one, str | dict) for one in sources):
            raise InputError("sources of a promu_maps encoder is a list of networks, each a name or a mapping")
        return map_encoder(sources, **rest)
    return None if gives_patches(encoder_config(settings)) else map_encoder([settings], train_trunk=True)


def tokenizer_of(settings: ModelSettings) -> PreTrainedTokenizerBase:
    """The tokenizer that a model's settings name, or that of what it starts from."""
    name = settings.tokenizer or settings.init or (settings.text if isinstance(settings.text, str) else None)
    if name is None:
        raise InputError("model.tokenizer is missing; a text encoder made from scratch needs one by name")
    return load_tokenizer(resolve(name))


def start_from(model_class: type[ModelType], folder: str | Path, **fields: Any) -> ModelType:
    """A model of `model_class` that starts with what fits of the model saved in `folder`; what does not is logged.

    Args:
        folder: Of any promu model: pre-trained, or fine-tuned for the same task or another.
        fields: Of `PromuConfig`, in place of the saved ones: the labels, above all.

    Raises:
        InputError: The folder holds no model, a damaged one, or one whose backbone does not fit the fields.
    """
    folder = Path(folder)
    check_folder(folder)
    try:
        saved, config = PromuConfig.from_pretrained(folder), PromuConfig.from_pretrained(folder, **fields)
        weights = load_file(folder / WEIGHTS)
    except SafetensorError as error:
        raise InputError(f"the weights are damaged ({error}); copy or save them again", folder / WEIGHTS) from error
    except (OSError, ValueError, StrictDataclassError) as error:
        raise InputError(f"this model cannot be loaded: {first_line(error)}; save it again", folder) from error
    heads = model_class.head_labels(config)
    rest = {name: weight for name, weight in weights.items() if not _head_of(name, heads)}
    try:
        with without_bars():
            loaded: Any = model_class.from_pretrained(None, config=config, state_dict=rest, output_loading_info=True)
    except InputError as error:
        raise error.at(folder) from error
    except RuntimeError as error:
        raise _misfit(folder, saved, fields) from error
    model: ModelType
    model, found = loaded
    kind = saved_class(folder)
    known = next((one for one in _subclasses(PromuPreTrainedModel) if one.__name__ == kind), PromuPreTrainedModel)
    before = {alone(head): (head, names) for head, names in known.head_labels(saved).items()}
    for head, names in heads.items():
        if alone(head) in before:
            _copy_rows(model.get_submodule(head), names, *before[alone(head)], weights, folder)
    refuse_nan(model, f"{folder}")
    needed = [name for name in model.state_dict() if not _head_of(name, heads)]
    missing = sorted(set(needed).intersection(found["missing_keys"]))
    if len(missing) == len(needed):
        raise InputError(f"nothing of this {kind} has a place in a {model_class.__name__}; name another model", folder)
    if missing:
        logger.info("model.init: %s has no %s; they start fresh", folder, _some(sorted(map(_module_of, missing))))
    after = {alone(head): names for head, names in heads.items()}
    for sentence in _sentences(folder, kind, after, {head: names for head, (_, names) in before.items()}):
        logger.info("model.init: %s", sentence)
    return model


def _copy_rows(
    module: nn.Module,
    names: Sequence[str],
    head: str,
    before: Sequence[str],
    weights: Mapping[str, Tensor],
    folder: Path,
) -> None:
    """Give the labels of a head that were there before, in the saved `head`, the weights that they had."""
    old_row = {name: row for row, name in enumerate(before)}
    shared = [(row, old_row[name]) for row, name in enumerate(names) if name in old_row]
    if not shared:
        return
    new, old = (torch.tensor(rows) for rows in zip(*shared, strict=True))
    for name, parameter in module.named_parameters():
        weight = weights.get(f"{head}.{name}", torch.empty(0))
        sides = parameter.ndim if isinstance(module, LinearChainCrf) else 1
        if weight.shape != (*[len(before)] * sides, *parameter.shape[sides:]):
            reason = f"{head}.{name} has the shape {list(weight.shape)}"
            raise InputError(f"its weights have other shapes than its config.json ({reason}); save it again", folder)
        with torch.no_grad():
            if sides == 2:
                parameter[new[:, None], new] = weight[old[:, None], old].to(parameter.dtype)
            else:
                parameter[new] = weight[old].to(parameter.dtype)


def _sentences(
    folder: Path, kind: str, heads: Mapping[str, Sequence[str]], before: Mapping[str, Sequence[str]]
) -> Iterator[str]:
    """What became of the labels: those that keep their weights, those that start fresh, those that are left behind."""
    if not before or (kind == "PromuForPreTraining" and not heads.keys() & before.keys()):
        return
    told = set()
    for head in [*heads, *before]:
        new, old = _labels(heads.get(head, ())), _labels(before.get(head, ()))
        kept, fresh = [name for name in new if name in old], [name for name in new if name not in old]
        gone = [name for name in old if name not in new]
        parts = [f"{_some(kept)} keep their weights of {folder}"] if kept else []
        parts += [f"{_some(fresh)} start fresh"] if fresh else []
        parts += [f"{_some(gone)} of {folder} are left behind"] if gone else []
        if (sentence := "; ".join(parts)) not in told:  # emitter and CRF have the same labels
            told.add(sentence)
            yield f"labels {sentence}"


def _labels(names: Sequence[str]) -> list[str]:
    """Labels without B- and I-, each once."""
    bio = len(names) > 0 and all(name == "O" or name[:2] in ("B-", "I-") for name in names)
    return list(dict.fromkeys(name[2:] if bio and name != "O" else name for name in names))


def _some(names: Sequence[str]) -> str:
    names = list(dict.fromkeys(names))
    return ", ".join(names[:NAMED]) + (f" and {len(names) - NAMED} more" if len(names) > NAMED else "")


def alone(head: str) -> str:
    """The name of a head's module in a model of one task: `crf` for `heads.ner.crf`."""
    return head.split(".", 2)[2] if head.startswith("heads.") else head


def _head_of(name: str, heads: Mapping[str, Sequence[str]]) -> bool:
    return any(name.startswith(f"{head}.") for head in heads)


def _module_of(name: str) -> str:
    """The part of the model that a weight belongs to: `promu.fusion`, `space`."""
    parts = name.split(".")
    return ".".join(parts[: 2 if parts[0] == PromuPreTrainedModel.base_model_prefix else 1])


def _misfit(folder: Path, saved: PromuConfig, fields: Mapping[str, Any]) -> InputError:
    """Why a backbone does not fit: settings that differ from those that it was saved with, or a damaged folder."""
    differing = [name for name, value in fields.items() if getattr(saved, name, None) != value]
    settings = [name for name in differing if name not in ("id2label", "label2id", "nouns", "relations", "tasks")]
    if settings:
        given = ", ".join(f"{name} {fields[name]!r}, saved with {getattr(saved, name, None)!r}" for name in settings)
        return InputError(f"its weights do not fit these settings: {given}; leave those of sizes out", folder)
    return InputError("its weights have other shapes than its config.json; save it again", folder)


def _subclasses(kind: type[PromuPreTrainedModel]) -> Iterator[type[PromuPreTrainedModel]]:
    for one in kind.__subclasses__():
        yield one
        yield from _subclasses(one)


def refuse_other_tokens(tokenizer: PreTrainedTokenizerBase, origin: str) -> None:
    """Make sure that a tokenizer gives each token the id under which a model has learned it.

    A tokenizer may know more tokens. Nothing is compared where the model comes without a tokenizer.

    Args:
        tokenizer: Whose ids the model is to read.
        origin: A model, as `promu.hub.resolve` takes it.

    Raises:
        InputError: A token has another id there.
    """
    try:
        own = load_tokenizer(resolve(origin)).get_vocab()
    except InputError:
        return
    ids = tokenizer.get_vocab()
    differing = [token for token, number in own.items() if ids.get(token) != number]
    if differing:
        token = min(differing, key=own.__getitem__)
        here = f"the id {ids[token]}" if token in ids else "no id"
        raise InputError(
            f"the tokenizer has other ids than the one that {origin} was trained with, for {len(differing):,} of its "
            f"{len(own):,} tokens ({token!r} is {own[token]} there and has {here} here), and embeddings go by id; "
            "leave the tokenizer out, so that the model's own is taken"
        )
