"""`promu recipes`, `convert`, `weights` and `bundle`: what own data and models need before and after training."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

from cyclopts import App, Parameter

from promu.cli.console import note, print_json
from promu.config import ShippedRecipe, copy_recipe, find_recipe, list_recipes
from promu.corpora.char_spans import InsideWord
from promu.corpora.convert import convert as run_convert
from promu.errors import InputError, counted
from promu.schema import Scheme

recipes_app = App(name="recipes", help="List the recipes that come with promu, show one, or copy one to change it.")


@recipes_app.default
def list_all(*, json: bool = False) -> None:
    """List the recipes that come with promu; `own-…` are templates for own data.

    Args:
        json: Print JSON instead of a table.
    """
    found = list_recipes()
    if json:
        print_json([_facts(recipe) for recipe in found])
        return
    width = max(len(one.name) for one in found)
    print("\n".join(f"{one.name:<{width}}  {one.about}" for one in found))
    print("promu recipes show NAME prints one; promu recipes copy NAME FILE writes it to a file of your own")


@recipes_app.command
def show(name: str, /, *, json: bool = False) -> None:
    """Print a recipe.

    Args:
        name: Of a recipe that comes with promu, or a file.
        json: Print JSON: name, command, what it does, the YAML.
    """
    path = find_recipe(name)
    if json:
        known = {recipe.path: _facts(recipe) for recipe in list_recipes()}
        print_json({**known.get(path, {"name": name}), "yaml": path.read_text(encoding="utf-8")})
        return
    print(path.read_text(encoding="utf-8"), end="")


@recipes_app.command
def copy(name: str, file: Path, /, *, json: bool = False) -> None:
    """Write a recipe to a file of your own, to be changed there. What is there is never replaced.

    Relative paths in a recipe count from the folder in which a command runs, wherever the recipe lies.

    Args:
        name: Of a recipe that comes with promu.
        file: Where to.
        json: Print JSON instead of lines.
    """
    path = copy_recipe(name, file)
    command = next((recipe.command for recipe in list_recipes() if recipe.name == name), "")
    run = command.replace(name, str(path)) if command else ""
    if json:
        print_json({"name": name, "path": str(path), "run": run})
        return
    print(f"{path}: the recipe {name}" + (f"; run it with\n  {run}" if run else ""))


def _facts(recipe: ShippedRecipe) -> dict[str, str]:
    facts = {"name": recipe.name, "command": recipe.command, "about": recipe.about}
    return {**facts, "path": str(recipe.path)}


def convert(
    source: Path,
    target: Path,
    /,
    *,
    from_: Annotated[str, Parameter(name="--from")],
    to: str,
    inside_word: InsideWord = "leave-out",
    scheme: Scheme = "auto",
    to_scheme: Scheme = "auto",
    json: bool = False,
) -> None:
    """Write a file of labelled posts in another format, and say what the other format cannot carry.

    What is left out is named with file, line and value. A file that is malformed is refused, and nothing is written.

    Args:
        source: The file; for brat a folder, or one of its .txt files.
        target: The file to write, replaced if it is there; for brat a new folder.
        from_: Its format: conll, mnre, jmere, gmner, fmnerg, fmnerg-coarse, posts, spans, doccano, label-studio,
            prodigy, brat or spacy.
        to: The format to write, one of the same.
        inside_word: A span of characters that begins or ends inside a word: leave it out, widen it to the whole word,
            or split the word.
        scheme: How the tags of a CoNLL file mark entities; auto finds it out.
        to_scheme: How those that are written do; auto is iob2.
        json: Print JSON instead of lines, with everything that was left out.
    """
    result = run_convert(source, target, from_, to, inside_word=inside_word, scheme=scheme, to_scheme=to_scheme)
    if json:
        print_json(result.to_dict())
        return
    for line in result.lines():
        note(line)
    entities, relations = counted(result.entities, "entity", "entities"), counted(result.relations, "relation")
    print(f"{target}: {counted(result.posts, 'post')}, {entities}, {relations}")


def weights(source: str, folder: Path, /, *, json: bool = False) -> None:
    """Write released weights of EfficientNet-Lite as a model folder, in safetensors, for recipes to name.

    The file is read once, by a reader that builds tensors and runs nothing of what a pickle may hold.

    Args:
        source: The .pth file, a folder with one, or package:NAME/PATH, such a folder in an installed package.
        folder: The folder to write.
        json: Print JSON instead of a line.
    """
    from promu.modeling.efficientnet_lite import import_efficientnet_lite

    config = import_efficientnet_lite(source, folder)
    if json:
        print_json({"folder": str(folder), "config": config.to_diff_dict()})
        return
    print(f"{folder}: EfficientNet-Lite for images of {config.image_size} pixels, {config.hidden_size} channels")


def bundle(
    *,
    ner: str,
    re: str,
    out: Path,
    types: Annotated[list[str] | None, Parameter(consume_multiple=True)] = None,
    json: bool = False,
) -> None:
    """Copy an entity model and a relation model into one folder, from which promu extracts both.

    Args:
        ner: The entity model: the folder `model` of its run, or a hub name.
        re: The relation model.
        out: The folder to make.
        types: ENTITY=RELATION, such as PERSON=per: the type that the relations' labels have for a type of entities.
        json: Print JSON instead of lines.
    """
    from promu.hub import quiet

    quiet()
    from promu.extraction.bundle import bundle as run

    result = run(out, ner=ner, re=re, types=dict(map(_renaming, types or ())))
    if json:
        print_json(result.to_dict())
        return
    print(f"{out}: finds {', '.join(result.entity_types)} and {counted(len(result.relations), 'relation')}")
    print(f"promu extract --model {out} --text '…'")


def _renaming(word: str) -> tuple[str, str]:
    old, sign, new = word.partition("=")
    if not (old and sign and new):
        raise InputError(f"--types {word!r} is not of the form ENTITY=RELATION")
    return old, new
