"""Recipes: groups of settings that check themselves, read by name, file or mapping, overridden and checked."""

from __future__ import annotations

import copy
import os
import re
from collections.abc import Mapping, Sequence
from difflib import get_close_matches
from itertools import takewhile
from pathlib import Path
from typing import Annotated, Any, ClassVar, Literal, NamedTuple, Self, TypeVar, get_args, get_type_hints

import yaml
from pydantic import (
    AfterValidator,
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    ValidationError,
    model_validator,
    with_config,
)
from pydantic_core import ErrorDetails
from typing_extensions import TypedDict, is_typeddict

from promu.errors import InputError
from promu.files import data_folder, write_text

Share = Annotated[float, Field(ge=0.0, le=1.0)]
Positive = Annotated[float, Field(gt=0.0)]
Count = Annotated[int, Field(ge=1)]
NotNegative = Annotated[float, Field(ge=0.0)]
NotNegativeInt = Annotated[int, Field(ge=0)]
LEAST_LENGTH = 8
"""Tokens of the longest text that a model reads, at least."""


def portable(path: Any) -> Any:
    r"""A path of a recipe as every system reads it: `\` and `/` both separate folders, `~` at the start is the home.

    A relative path counts from the folder in which the command runs, wherever the recipe lies.

    Raises:
        ValueError: It holds a control character, as a Windows path in double quotes does: YAML reads `"\t"` as a tab.

    Example:
        ```python
        from promu.config import portable

        assert portable(r"data\train.txt") == "data/train.txt"
        ```
    """
    if not isinstance(path, str):
        return path
    if any(ord(character) < 32 for character in path):
        raise ValueError("holds a control character; write a Windows path in single quotes, or with / in place of \\")
    return os.path.expanduser(path.replace("\\", "/"))


Place = Annotated[str, AfterValidator(portable)]
"""A file, a folder or the name of a model, see `portable`."""
PlacePath = Annotated[Path, BeforeValidator(portable)]
"""A file or a folder, see `portable`."""


class Settings(BaseModel):
    """A group of settings: unknown keys and wrong values are refused by name.

    Raises:
        InputError: Of the constructor: a setting is unknown, missing or not legal. `model_validate` raises pydantic's.
    """

    model_config = ConfigDict(extra="forbid", frozen=True, protected_namespaces=(), allow_inf_nan=False)

    def __init__(self, **values: Any) -> None:
        try:
            super().__init__(**values)
        except ValidationError as error:
            raise InputError(first_problem(error)) from None

    # So that pydantic does not call it for a group inside another, whose errors it places itself.
    __init__.__pydantic_base_init__ = True  # type: ignore[attr-defined]


def first_problem(error: ValidationError) -> str:
    """The first problem of settings in one sentence: the setting, its value, and what is allowed."""
    problem = error.errors()[0]
    name = ".".join(map(str, problem["loc"]))
    reason = problem["msg"].removeprefix("Value error, ").removeprefix("Input ").partition(", unable")[0]
    if not name:
        return reason
    if problem["type"] == "extra_forbidden":
        return f"{name} is no setting"
    if problem["type"] == "missing":
        few = isinstance(problem["loc"][-1], int)
        return f"{problem['loc'][-2]} has too few values: {problem['input']!r}" if few else f"setting {name} is missing"
    return f"{name} {reason}" if problem["type"] == "value_error" else f"{name} {reason}, found {problem['input']!r}"


class Recipe(Settings):
    """All settings of one run.

    Attributes:
        command: The command that runs it.
        telling_key: A key that only recipes of this kind have.
    """

    command: ClassVar[str]
    telling_key: ClassVar[str]

    @classmethod
    def kind_of(cls, raw: Mapping[str, Any]) -> type[Self]:
        """The class of these settings: of several that one command runs."""
        return cls


@with_config(ConfigDict(extra="forbid", allow_inf_nan=False))
class BackboneSettings(TypedDict, total=False):
    """The fields of `PromuConfig` that a recipe may set; what is left out has the default there."""

    fusion: Annotated[str, Field(description="name of the fusion, of those in [baselines.md](baselines.md)")]
    parser: Annotated[
        str | None,
        Field(description="spaCy pipeline that parses texts for the fusions `mega` and `umgf`; null does without"),
    ]
    fusion_layers: Annotated[
        Count | None,
        Field(description="layers of a separate fusion stack; null takes the upper half of the text encoder's own"),
    ]
    fusion_loss_weights: Annotated[
        dict[str, NotNegative], Field(description="weights of the fusion's own losses by name; null takes the fusion's")
    ]
    projection_dim: Annotated[Count, Field(description="width of the shared space of L_CIT")]
    projection_norm: Annotated[bool, Field(description="batch-normalise the two projections before they are compared")]
    projection_hidden: Annotated[
        Count | None, Field(description="width of a hidden layer in each projection; null leaves them linear (Eq 4)")
    ]
    projection_dropout: Annotated[float, Field(ge=0, lt=1, description="dropout behind that hidden layer")]
    frozen: Annotated[
        list[Literal["text", "vision"]], Field(description="encoders (`text`, `vision`) whose weights are not trained")
    ]
    pooling: Annotated[
        Literal["cls", "cls+mean", "mean"],
        Field(description="the vector of a whole text or image in L_CIT: `cls`, `cls+mean` or `mean`"),
    ]
    temperature: Annotated[
        float,
        Field(ge=0.001, le=0.5, description="temperature of L_CIT at the start; it is learned, within 0.001 to 0.5"),
    ]
    itm_cosine: Annotated[bool, Field(description="the matching head also reads the cosine of L_CIT")]
    image_mean: Annotated[
        tuple[float, float, float],
        Field(description="mean by which pixels in 0..1 are normalised; a pretrained vision encoder brings its own"),
    ]
    image_std: Annotated[
        tuple[Positive, Positive, Positive], Field(description="standard deviation by which they are normalised")
    ]
    relation_head: Annotated[
        Literal["markers", "spans", "levitated"],
        Field(
            description="how relations see their pair: `markers` in a text of its own, `spans` of the text's fused "
            "vectors, all pairs in one forward, or `levitated` markers behind the text ([method.md](method.md))"
        ),
    ]
    classifier_dropout: Annotated[Share, Field(description="dropout before the heads of the fine-tuned tasks")]
    max_length: Annotated[
        int,
        Field(
            ge=LEAST_LENGTH,
            description="longest text in sub-word tokens, special tokens included; the rest is cut",
        ),
    ]
    context_budget: Annotated[
        int,
        Field(ge=4, description="tokens of a post's contexts at most, beside those of the text, where some are read"),
    ]
    context_order: Annotated[
        Literal["relevance", "given"],
        Field(description="sentences to read where not all fit: those that share words with the post, or the first"),
    ]


class ModelSettings(Settings):
    """The backbone: where its weights come from."""

    init: Place | None = Field(
        default=None,
        description="promu model folder to start from, such as pre-training saved; its encoders come with it, "
        "its heads by the names of their labels",
    )
    text: Place | dict[str, Any] | None = Field(
        default=None,
        description="text encoder: folder, hub name (`NAME@REVISION` for a branch, tag or commit), `package:NAME/PATH` "
        "within an installed Python package, or a configuration with `model_type` for random weights",
    )
    vision: Place | dict[str, Any] | None = Field(
        default=None, description="vision encoder, named in the same ways; null makes a text-only backbone"
    )
    tokenizer: Place | None = Field(default=None, description="folder or hub name; null takes the text encoder's own")
    config: Annotated[BackboneSettings, Field(description="further settings of the backbone")] = {}

    @model_validator(mode="after")
    def _one_origin(self) -> ModelSettings:
        if self.init is None and self.text is None:
            raise ValueError("set either init (a promu model folder) or text (an encoder)")
        if self.init is not None and (self.text is not None or self.vision is not None):
            raise ValueError("init brings its own encoders; leave text and vision out, or set init to null")
        return self


RecipeType = TypeVar("RecipeType", bound=Settings)


class ShippedRecipe(NamedTuple):
    """A recipe that comes with promu.

    Attributes:
        name: By which it is run.
        command: The command line that runs it.
        about: What it does, in one sentence.
        path: Its file.
    """

    name: str
    command: str
    about: str
    path: Path

    @property
    def text(self) -> str:
        """The YAML."""
        return self.path.read_text(encoding="utf-8")


def list_recipes() -> list[ShippedRecipe]:
    """The recipes that come with promu, by name, whatever folder they lie in; `own-…` are templates for own data.

    Example:
        ```python
        import promu

        for recipe in promu.list_recipes():
            print(recipe.name, recipe.about)
        ```
    """
    folders = (Path(__file__).parent / "recipes", Path(__file__).parents[2] / "recipes")  # of a wheel, and of a clone
    files = {file.stem: file for folder in folders if folder.is_dir() for file in folder.rglob("*.yaml")}
    found = []
    for name, path in sorted(files.items()):
        command, *comment = (line.removeprefix("#").strip() for line in _head(path))
        about = re.split(r"[.:](?:\s|$)", " ".join(comment), maxsplit=1)[0]
        found.append(ShippedRecipe(name, command, about, path))
    return found


def _head(path: Path) -> list[str]:
    """The comment at the top of a recipe: the command that runs it, then what it is."""
    lines = path.read_text(encoding="utf-8").splitlines()
    return list(takewhile(lambda line: line.startswith("#"), lines))


def find_recipe(name: str) -> Path:
    """The recipe file called `name`: a path, or the name of one that ships with promu.

    Raises:
        InputError: There is neither; the names like it are listed, or else all.
    """
    path = Path(name)
    if path.is_file():
        return path
    shipped = {recipe.name: recipe.path for recipe in list_recipes()}
    if name not in shipped:
        near = get_close_matches(name, shipped)
        known = f"{', '.join(near)} (promu recipes lists all)" if near else ", ".join(shipped)
        raise InputError(f"no recipe file {name!r}; give a path, or one of {known}")
    return shipped[name]


def copy_recipe(name: str, file: str | Path) -> Path:
    """Write a recipe that comes with promu to a file of one's own, to be changed there.

    Args:
        name: Of the recipe.
        file: Where to; nothing that is there is replaced.

    Returns:
        The file.

    Raises:
        InputError: There is no such recipe; the file is there already, or cannot be written.

    Example:
        ```python
        import promu

        promu.copy_recipe("own-ner", "my.yaml")
        ```
    """
    text, file = find_recipe(name).read_text(encoding="utf-8"), Path(file)
    if file.exists():
        raise InputError("this is there already; name another file, or remove it first", file)
    write_text(file, [text])
    return file


def load_recipe(
    source: str | Path | Mapping[str, Any] | Settings, kind: type[RecipeType], overrides: Sequence[str] = ()
) -> RecipeType:
    """Read and check a recipe.

    `${NAME}` in a value stands for the environment variable; `${PROMU_DATA}` is the folder of fetched sets, also
    where it is not set (`promu.files.data_folder`).

    Args:
        source: The name of a recipe that ships with promu, a YAML file, the settings as plain data, or the object.
        kind: The class of the recipe; an object of it is returned as it is.
        overrides: `key.path=value` settings that win over the source; values are read as YAML.

    Raises:
        InputError: The recipe or an override is not legal; the sentence names the key, the value and what is allowed.
    """
    if isinstance(source, kind) and not overrides:
        return source
    path = find_recipe(source) if isinstance(source, str) else source if isinstance(source, Path) else None
    if isinstance(source, Settings):
        raw: Any = source.model_dump(mode="json")
    else:
        raw = source if path is None else _read_yaml(path)
    if not isinstance(raw, Mapping):
        raise InputError("a recipe is a mapping of settings, see the recipes folder", path)
    for other in Recipe.__subclasses__():
        if other.telling_key in raw and other.telling_key not in kind.model_fields:
            raise InputError(f"this is a recipe for {other.command}; run it with that", path)
    raw = copy.deepcopy(dict(raw))
    for override in overrides:
        key, separator, value = override.partition("=")
        if not separator:
            raise InputError(f"override {override!r} is not of the form key=value")
        try:
            parsed = yaml.safe_load(value)
        except yaml.YAMLError:
            raise InputError(f"override {override!r}: the value is not YAML; put it in quotes") from None
        _set(raw, key.split("."), parsed, override)
    raw = _expand(raw)
    if issubclass(kind, Recipe):
        kind = kind.kind_of(raw)
    try:
        return kind.model_validate(raw)
    except ValidationError as error:
        raise InputError(_sentence(error, raw, kind), path) from None


class _Loader(yaml.SafeLoader):
    """YAML in which no key is there twice: a second one would win without a word."""

    def construct_mapping(self, node: Any, deep: bool = False) -> dict[Any, Any]:
        seen: set[str] = set()
        for key, _ in node.value:
            if key.tag == "tag:yaml.org,2002:str" and key.value in seen:
                problem = f"the key {key.value!r} is there twice; keep one of them"
                raise yaml.constructor.ConstructorError(None, None, problem, key.start_mark)
            seen.add(str(key.value))
        return super().construct_mapping(node, deep)


def _read_yaml(path: Path) -> Any:
    try:
        return yaml.load(path.read_text(encoding="utf-8"), _Loader)
    except FileNotFoundError:
        raise InputError("no such recipe", path) from None
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        line = getattr(getattr(error, "problem_mark", None), "line", None)
        problem = getattr(error, "problem", None) or str(error)
        raise InputError(f"not YAML: {problem}", path, None if line is None else line + 1) from None


def _sentence(error: ValidationError, raw: Any, kind: type[Settings]) -> str:
    """The first error that a user should mend, with its key, its value and what is allowed."""
    # Where a setting may be of several kinds, each kind's errors are listed; the deepest knows best.
    first = max(error.errors(), key=lambda candidate: len(_keys(raw, candidate)))
    keys = _keys(raw, first)
    key = ".".join(keys)
    if first["type"] == "extra_forbidden":
        return f"unknown recipe key {key!r}; allowed here: {', '.join(sorted(_allowed_keys(kind, keys[:-1])))}"
    if first["type"] == "missing" and isinstance(first["loc"][-1], str):
        return f"recipe key {key!r} is missing"
    value = "" if isinstance(first["input"], dict) else f" (got {first['input']!r})"
    reason = first["msg"].removeprefix("Value error, ")
    if first["type"] in ("model_type", "dict_type"):
        reason = f"a group of settings is expected: {', '.join(sorted(_allowed_keys(kind, keys)))}"
    return f"recipe key {key!r}: {reason}{value}" if key else f"recipe: {reason}"


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
    if isinstance(value, Mapping):
        return {key: _expand(inner) for key, inner in value.items()}
    if isinstance(value, (list, tuple)):
        return [_expand(inner) for inner in value]
    if isinstance(value, str) and "${" in value:
        value = value.replace("${PROMU_DATA}", str(data_folder()))
        expanded = os.path.expandvars(value)
        if "${" in expanded:
            raise InputError(f"recipe value {value!r} names an environment variable that is not set")
        return expanded
    return value
