"""Imports point one way: a lower room never imports a higher one; and importing promu costs nothing."""

from __future__ import annotations

import ast
import doctest
import importlib
import subprocess
import sys
from pathlib import Path
from statistics import median

import pytest

from promu.errors import TRAINING

PACKAGE = Path(__file__).resolve().parent.parent / "src" / "promu"

# From the ground up; a room imports itself and what stands on lower floors, never its neighbours.
FLOORS = [
    {"errors", "progress"},
    {"schema", "files", "extensions", "cores"},
    {"config"},
    {"hub"},
    {"pytorch"},
    {"corpora", "modeling", "runs"},
    {"newsreel", "alignment"},
    {"evaluation"},
    {"llm"},
    {"tasks", "report", "contexts"},
    {"extraction", "graph"},
    {"service"},
    {"training"},
    {"kecpm"},
    {"study"},
    {"cli"},
]
FLOOR = {room: floor for floor, rooms in enumerate(FLOORS) for room in rooms}

MODULES = sorted(path for path in PACKAGE.rglob("*.py") if path != PACKAGE / "__init__.py")
WITH_EXAMPLES = [path for path in MODULES if ">>> " in path.read_text(encoding="utf-8")]


def rooms_imported(source: str, module: tuple[str, ...], is_package: bool) -> set[str]:
    """The rooms of promu that `source` imports, anywhere in it, under TYPE_CHECKING too.

    Args:
        source: The text of the module.
        module: Its dotted name, split, without `promu`.
        is_package: Whether it is an `__init__.py`, from which relative imports count differently.
    """
    rooms = set()
    for node in ast.walk(ast.parse(source)):
        names: list[str] = []
        if isinstance(node, ast.Import):
            names = [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            base = (node.module or "").split(".") if node.module else []
            if node.level:
                parents = ["promu", *module]
                base = parents[: len(parents) - node.level + is_package] + base
            names = [".".join([*base, alias.name]) for alias in node.names]
        for name in names:
            parts = name.split(".")
            if parts[0] == "promu":
                rooms.add(parts[1] if len(parts) > 1 else "")
    return rooms


@pytest.mark.parametrize("path", MODULES, ids=lambda path: str(path.relative_to(PACKAGE)))
def test_no_module_imports_a_higher_room(path: Path) -> None:
    parts = path.relative_to(PACKAGE).with_suffix("").parts
    is_package = parts[-1] == "__init__"
    module = parts[:-1] if is_package else parts
    assert parts[0] in FLOOR, f"{parts[0]} stands on no floor: give it one in FLOORS"
    for room in rooms_imported(path.read_text(encoding="utf-8"), module, is_package):
        if room in ("", "__version__"):  # the package itself, which imports its rooms only when asked for a name
            continue
        assert room in FLOOR, f"{path} imports promu.{room}: import names from the module that defines them"
        below = room == parts[0] or FLOOR[room] < FLOOR[parts[0]]
        assert below, f"promu.{parts[0]} imports promu.{room}, which does not stand below it"


@pytest.mark.parametrize(
    ("source", "expected"),
    [
        ("import promu.training.trainer", {"training"}),
        ("from promu import Extractor", {"Extractor"}),
        ("from promu.corpora.conll import read_conll", {"corpora"}),
        ("def f():\n    from ..alignment import regions", {"alignment"}),
        ("from . import fusion", {"modeling"}),
        ("import torch", set()),
    ],
)
def test_the_check_sees_every_kind_of_import(source: str, expected: set[str]) -> None:
    assert rooms_imported(source, ("modeling", "crf"), is_package=False) == expected


def test_importing_promu_imports_nothing_heavy() -> None:
    code = "import sys, promu, promu.cli; print(*{name.partition('.')[0] for name in sys.modules})"
    loaded = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout.split()
    assert not {"torch", "transformers", "numpy", "PIL", "matplotlib", "pydantic"} & set(loaded)


@pytest.mark.parametrize("path", WITH_EXAMPLES, ids=lambda path: str(path.relative_to(PACKAGE)))
def test_the_examples_of_a_module_run(path: Path) -> None:
    name = ".".join(("promu", *path.relative_to(PACKAGE).with_suffix("").parts)).removesuffix(".__init__")
    result = doctest.testmod(importlib.import_module(name))
    assert result.attempted and not result.failed


@pytest.mark.slow
def test_extracting_imports_neither_training_nor_evaluation_nor_study() -> None:
    code = "import sys; from promu import Extractor, ExtractionConfig; print(*sys.modules)"
    loaded = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout.split()
    rooms = {name.split(".")[1] for name in loaded if name.startswith("promu.")}
    assert {"extraction", "tasks", "modeling"} <= rooms
    assert not {"training", "evaluation", "study", "kecpm", "llm", "alignment", "service", "cli"} & rooms
    assert not {*TRAINING, "pandas"} & set(loaded), "an exported model runs without them"


def test_every_public_name_is_there() -> None:
    import promu

    assert promu.__version__
    for name in promu.__all__:
        assert getattr(promu, name).__class__ is not None
        assert name in dir(promu)
    with pytest.raises(AttributeError, match="'promu' has no attribute 'Extracter'"):
        promu.Extracter  # noqa: B018


def test_no_two_modules_bear_one_name() -> None:
    names = [path.stem for path in MODULES if path.stem != "__init__"]
    assert sorted(names) == sorted(set(names))


def test_modules_are_neither_crumbs_nor_books() -> None:
    lengths = {path: path.read_text(encoding="utf-8").count("\n") for path in MODULES if path.stem != "__init__"}
    assert not [str(path) for path, lines in lengths.items() if lines > 480]
    assert len(lengths) <= 247 and sum(lengths.values()) <= 53_800
    assert median(lengths.values()) >= 165
