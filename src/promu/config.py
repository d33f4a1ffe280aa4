"""Recipe files: YAML found by name, overridden, and checked before anything starts; what is wrong is named."""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any, TypeVar, get_args, get_type_hints

import yaml
from pydantic import BaseModel, ValidationError
from pydantic_core import ErrorDetails
from typing_extensions import is_typeddict

from promu.errors import InputError
from promu.training.recipe import FinetuneRecipe, PretrainRecipe

RecipeType = TypeVar("RecipeType", bound=BaseModel)


def find_recipe(name: str) -> Path:
    """The recipe file called `name`: a path, or the name of one that ships with promu.

    Raises:
        InputError: There is neither; the names that exist are listed.
    """
    path = Path(name)
    if path.is_file():
        return path
    folders = [Path(__file__).parent / "recipes", Path(__file__).parents[2] / "recipes"]
    for folder in folders:
        if (folder / f"{name}.yaml").is_file():
            return folder / f"{name}.yaml"
    shipped = sorted({file.stem for folder in folders if folder.is_dir() for file in folder.glob("*.yaml")})
    raise InputError(f"no recipe file {name!r}; give a path, or one of {', '.join(shipped)}")


def load_recipe(path: Path, kind: type[RecipeType], overrides: Sequence[str] = ()) -> RecipeType:
    """Read and check a recipe.

    `${NAME}` in a value stands for the environment variable; `${PROMU_SHARED}` is `../shared` where it is not set.

    Args:
        path: A YAML file.
        kind: What it should be.
        overrides: `key.path=value` settings that win over the file; values are read as YAML.

    Raises:
        InputError: The file or an override is not legal; the sentence names the key, the value and what is allowed.
    """
    try:
        raw = yaml.safe_load(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise InputError("no such recipe", path) from None
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        line = getattr(getattr(error, "problem_mark", None), "line", None)
        problem = getattr(error, "problem", None) or str(error)
        raise InputError(f"not YAML: {problem}", path, None if line is None else line + 1) from None
    if not isinstance(raw, dict):
        raise InputError("a recipe is a mapping of settings, see the recipes folder", path)
    meant = FinetuneRecipe if "task" in raw else PretrainRecipe if "teacher" in raw else kind
    if meant is not kind:
        command = "promu finetune" if meant is FinetuneRecipe else "promu pretrain"
        raise InputError(f"this is a recipe for {command}; run it with that", path)
    for override in overrides:
        key, separator, value = override.partition("=")
        if not separator:
            raise InputError(f"override {override!r} is not of the form key=value")
        try:
            parsed = yaml.safe_load(value)
        except yaml.YAMLError:
            raise InputError(f"override {override!r}: the value is not YAML; put it in quotes") from None
        _set(raw, key.split("."), parsed, override)
    return check_recipe(_expand(raw), kind, path)


def check_recipe(raw: dict[str, Any], kind: type[RecipeType], path: Path | None = None) -> RecipeType:
    """Settings as plain data to a checked recipe.

    Raises:
        InputError: As `load_recipe`.
    """
    try:
        return kind.model_validate(raw)
    except ValidationError as error:
        # Where a setting may be of several kinds, each kind's errors are listed; the deepest knows best.
        first = max(error.errors(), key=lambda found: len(_keys(raw, found)))
        keys = _keys(raw, first)
        key = ".".join(keys)
        if first["type"] == "extra_forbidden":
            allowed = sorted(_allowed_keys(kind, keys[:-1]))
            raise InputError(f"unknown recipe key {key!r}; allowed here: {', '.join(allowed)}", path) from None
        if first["type"] == "missing" and isinstance(first["loc"][-1], str):
            raise InputError(f"recipe key {key!r} is missing", path) from None
        value = "" if isinstance(first["input"], dict) else f" (got {first['input']!r})"
        reason = first["msg"].removeprefix("Value error, ")
        if first["type"] in ("model_type", "dict_type"):
            reason = f"a group of settings is expected: {', '.join(sorted(_allowed_keys(kind, keys)))}"
        raise InputError(f"recipe key {key!r}: {reason}{value}" if key else f"recipe: {reason}", path) from None


def _keys(raw: Any, error: ErrorDetails) -> list[str]:
    """The keys of the place in `raw` that an error is about, without the names of kinds that pydantic adds."""
    keys = []
    for position, part in enumerate(error["loc"], start=1):
        try:
            raw = raw[part]
        except (KeyError, IndexError, TypeError):
            if error["type"] != "missing" or position < len(error["loc"]):
                continue
        keys.append(str(part))
    return keys


def _allowed_keys(kind: Any, keys: Sequence[str]) -> set[str]:
    """What may stand in the group of settings at `keys`."""
    for key in keys:
        kind = _groups(kind).get(key)
    return set(_groups(kind))


def _groups(kind: Any) -> dict[str, Any]:
    """The settings of a group by name, with their kinds; of several kinds the group counts."""
    for choice in get_args(kind) or (kind,):
        if is_typeddict(choice):
            return dict(get_type_hints(choice))
        if isinstance(choice, type) and issubclass(choice, BaseModel):
            return {name: field.annotation for name, field in choice.model_fields.items()}
    return {}


def _set(settings: dict[str, Any], keys: Sequence[str], value: Any, override: str) -> None:
    for key in keys[:-1]:
        inner = settings.setdefault(key, {})
        if not isinstance(inner, dict):
            raise InputError(f"override {override!r}: {key!r} is a single value, not a group of settings")
        settings = inner
    settings[keys[-1]] = value


def _expand(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: _expand(inner) for key, inner in value.items()}
    if isinstance(value, list):
        return [_expand(inner) for inner in value]
    if isinstance(value, str) and "${" in value:
        value = value.replace("${PROMU_SHARED}", os.environ.get("PROMU_SHARED", "../shared"))
        expanded = os.path.expandvars(value)
        if "${" in expanded:
            raise InputError(f"recipe value {value!r} names an environment variable that is not set")
        return expanded
    return value
