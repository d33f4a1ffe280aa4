"""docs/recipes.md says what the declarations of the recipes say; `make recipes-page` writes it from them."""

from __future__ import annotations

import inspect
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple, get_args, get_type_hints

import pytest
import yaml
from pydantic import BaseModel
from pydantic.fields import FieldInfo
from typing_extensions import is_typeddict

from promu.kecpm.kecpm_recipe import KecpmRecipe, KnowledgeRecipe
from promu.modeling.configuration import PromuConfig
from promu.study.study_recipe import ContextStudyRecipe, FewShotStudyRecipe, StudyRecipe
from promu.training.recipe import FinetuneRecipe, MultiTaskRecipe, PretrainRecipe

PAGE = Path(__file__).parents[1] / "docs" / "recipes.md"
INTRO = """# Recipes: every setting

A recipe is a YAML file with all settings of a run. promu comes with those in [recipes/](../recipes), which have names.
`--set training.epochs=10` overrides the file. `${NAME}` in a value stands for the environment variable NAME. An unknown
key or a value that is not allowed is refused before anything starts, with the key, the value and what is allowed. From
Python a recipe is a name, a path, a mapping or the object itself: `promu.pretrain("newsreel-pretrain")`.

This page is written from the declarations of the settings (`make recipes-page`).
"""
RECIPES: dict[str, type[BaseModel]] = {
    "promu finetune": FinetuneRecipe,
    "promu finetune, several tasks": MultiTaskRecipe,
    "promu pretrain": PretrainRecipe,
    "promu kecpm train": KecpmRecipe,
    "promu knowledge generate": KnowledgeRecipe,
    "promu reproduce": StudyRecipe,
    "promu reproduce kecpm": FewShotStudyRecipe,
    "promu reproduce contexts": ContextStudyRecipe,
}


class Section(NamedTuple):
    """A recipe (`path` is empty) or a group of its settings."""

    command: str
    path: str
    kind: Any


def fields(kind: Any) -> dict[str, FieldInfo]:
    """The settings of a recipe or group by name."""
    if not is_typeddict(kind):
        return dict(kind.model_fields)
    hints = get_type_hints(kind, include_extras=True)
    defaults = PromuConfig()
    return {name: FieldInfo.from_annotated_attribute(hint, getattr(defaults, name)) for name, hint in hints.items()}


def groups(annotation: Any) -> Iterator[Any]:
    """The groups of settings that a setting may be."""
    if is_typeddict(annotation) or (isinstance(annotation, type) and issubclass(annotation, BaseModel)):
        yield annotation
    for inner in get_args(annotation):
        yield from groups(inner)


def sections() -> list[Section]:
    """Every recipe and, after the first recipe that has it, every group of settings."""
    found: list[Section] = []
    for command, recipe in RECIPES.items():
        waiting = [Section(command, "", recipe)]
        while waiting:
            section = waiting.pop(0)
            if section.kind in [other.kind for other in found]:
                continue
            found.append(section)
            for name, field in fields(section.kind).items():
                path = f"{section.path}.{name}".lstrip(".")
                waiting += [Section(command, path, kind) for kind in groups(field.annotation)]
    return found


def titles() -> dict[Any, str]:
    """The heading of each recipe and group."""
    paths = [section.path for section in sections()]
    return {
        kind: command if not path else path if paths.count(path) == 1 else f"{path} of {command}"
        for command, path, kind in sections()
    }


def default(field: FieldInfo) -> str:
    """The default as it is written in YAML."""
    if field.is_required():
        return "needed"
    value = field.get_default(call_default_factory=True)
    if isinstance(value, BaseModel):
        value = value.model_dump(exclude_unset=True)
    if isinstance(value, dict) and not value:
        return "group"
    text = yaml.safe_dump(list(value) if isinstance(value, tuple) else value, default_flow_style=True, width=1000)
    return text.strip().removesuffix("...").strip().removesuffix(".0")


def anchor(heading: str) -> str:
    """The anchor that GitHub gives a heading."""
    return heading.replace(".", "").replace(",", "").replace(" ", "-")


def table(kind: Any) -> str:
    """The settings of a recipe or group, a row each."""
    headings = titles()
    rows = ["| setting | default | what |", "|---|---|---|"]
    for name, field in fields(kind).items():
        what = field.description or ""
        what = f"{what[:1].upper()}{what[1:].removesuffix('.')}."
        links = [f"[{headings[group]}](#{anchor(headings[group])})" for group in groups(field.annotation)]
        what += f" See {links[0]}." if links else ""
        rows.append(f"| `{name}` | {default(field)} | {what} |")
    return "\n".join(rows)


def page() -> str:
    """The whole page."""
    headings = titles()
    parts = [INTRO]
    for _, path, kind in sections():
        summary = " ".join((inspect.getdoc(kind) or "").split("\n\n")[0].split())
        parts.append(f"\n{'###' if path else '##'} {headings[kind]}\n\n{summary}\n\n{table(kind)}\n")
    return "".join(parts)


def test_the_page_is_what_the_declarations_say() -> None:
    assert PAGE.read_text(encoding="utf-8") == page(), "docs/recipes.md is old: run make recipes-page"


@pytest.mark.parametrize("section", sections(), ids=lambda section: f"{section.command} {section.path}".strip())
def test_every_setting_says_what_it_is(section: Section) -> None:
    assert not [name for name, field in fields(section.kind).items() if not field.description]


if __name__ == "__main__":
    PAGE.write_text(page(), encoding="utf-8")
