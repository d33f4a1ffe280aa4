"""Which cells each table and figure asks for."""

from __future__ import annotations

import importlib.util
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, get_args

from promu.corpora.newsreel import WORLDS, NewsreelSettings
from promu.errors import InputError
from promu.modeling.fusions import FUSIONS
from promu.training.recipe import FinetuneRecipe, PretrainRecipe
from promu.training.recipe_file import find_recipe, load_recipe
from promu.training.study.cells import Cell
from promu.training.study.recipe import Exhibit, StudyRecipe
from promu.training.study.strand import Strand
from promu.training.tasks import TASKS

EXHIBITS: tuple[str, ...] = get_args(Exhibit)

TEXT_ONLY, SCRATCH, PROMU = "text-only", "without pre-training", "promu"
CIT, CIT_ITM, CIT_ITM_MLM = "L_CIT", "L_CIT + L_ITM", "L_CIT + L_ITM + L_MLM"
WITHOUT_COE, WITHOUT_CIR, HARD = "promu without L_COE", "promu without L_CIR", "promu, hard labels"
ONLY_CIT = {"itm": 0.0, "coe": 0.0, "cir": 0.0, "mlm": 0.0}

PRETRAININGS: dict[str, dict[str, Any]] = {
    CIT: ONLY_CIT,
    CIT_ITM: {**ONLY_CIT, "itm": 1.0},
    CIT_ITM_MLM: {**ONLY_CIT, "itm": 1.0, "mlm": 1.0},
    PROMU: {},
    WITHOUT_COE: {"coe": 0.0},
    WITHOUT_CIR: {"cir": 0.0},
    HARD: {"hard_labels": True},
}
"""The pre-trained systems of table 1, as what they change of the recipe's losses."""

SYSTEMS = (TEXT_ONLY, SCRATCH, *PRETRAININGS)
RIVALS = (CIT, CIT_ITM, PROMU)
"""Of figure 3: those that put pictures and texts in one space."""
TAILED = (TEXT_ONLY, SCRATCH, CIT_ITM, PROMU, HARD)
"""Of figure 4."""
ENTITY_TEMPLATES, RELATION_TEMPLATES = ("1", "2"), ("A", "B", "C")
ITEMS = 600
"""Regions and pictures of figure 3, at most."""

ANY = ""
"""The task of an entry that is not about one."""
LABELS, PRETRAINING = "labels", "pre-training"
"""The same, of the temperature study: figures of the labels, and of the end of pre-training."""


@dataclass(frozen=True)
class Entry:
    """One place of an exhibit and the cell that fills it.

    Attributes:
        exhibit: Its name.
        row: What distinguishes its line: the system, or a sweep's values.
        task: As the study recipe calls it.
        seed: Of the world and the models.
        cell: Whose result it shows.
    """

    exhibit: str
    row: tuple[str, ...]
    task: str
    seed: int
    cell: Cell


def plan(study: StudyRecipe, exhibits: Sequence[str], seeds: int) -> list[Entry]:
    """The entries of these exhibits over the seeds 0, 1, ...

    Raises:
        InputError: A recipe cannot be read, or lacks what an exhibit needs; or there is no seed.
    """
    if seeds < 1:
        raise InputError(f"--seeds is {seeds}; at least 1 is needed")
    setting = _Setting(study)
    entries: list[Entry] = []
    for exhibit in exhibits:
        _check(study, setting, exhibit)
        for seed in range(1 if exhibit in study.single_seed else seeds):
            entries += (Entry(exhibit, *found) for found in PLANS[exhibit](setting, setting.strand(seed)))
    return entries


def kinds_of(study: StudyRecipe) -> dict[str, str]:
    """Of each task of a study whether it is `ner` or `re`."""
    return {name: recipe.task for name, recipe in _Setting(study).finetuning.items()}


Found = tuple[tuple[str, ...], str, int, Cell]


class _Setting:
    """The recipes of a study, read once."""

    def __init__(self, study: StudyRecipe) -> None:
        self.study = study
        self.pretraining = load_recipe(find_recipe(study.pretrain), PretrainRecipe, study.pretrain_set)
        self.finetuning = {
            name: load_recipe(find_recipe(recipe), FinetuneRecipe, study.finetune_set)
            for name, recipe in study.finetune.items()
        }
        for name, recipe in self.finetuning.items():
            if recipe.task == "joint":
                raise InputError(f"a study has no joint extraction; name a recipe of the task ner or re for {name!r}")
        if study.world is not None:
            try:
                NewsreelSettings(**study.world)
            except TypeError as error:
                raise InputError(f"world: {error}; see promu newsreel --help for what can be set") from None

    def strand(self, seed: int, world: str = "news") -> Strand:
        """What hangs together: one seed in one world."""
        drawn = None if self.study.world is None else {**self.study.world, "world": world}
        return Strand(seed, self.pretraining, self.finetuning, drawn)

    def posts(self, task: str) -> int:
        """Training posts of a task."""
        recipe = self.finetuning[task]
        if self.study.world is not None:
            settings = NewsreelSettings(**self.study.world)
            return (settings.ner_posts if recipe.task == "ner" else settings.re_posts)[0]
        return len(TASKS[recipe.task].read(Path(recipe.data.train)))


def _check(study: StudyRecipe, setting: _Setting, exhibit: str) -> None:
    """Refuse what would fail hours later.

    Raises:
        InputError: The exhibit is unknown, or the recipe lacks what it needs.
    """
    if exhibit not in PLANS:
        raise InputError(f"{exhibit!r} is no table or figure; choose one of {', '.join(PLANS)}, or all")
    if exhibit == "table1" and (unknown := [name for name in study.systems or () if name not in SYSTEMS]):
        raise InputError(f"table1: system {unknown[0]!r} is unknown; use some of {'; '.join(SYSTEMS)}")
    if exhibit == "table2" and (unknown := [name for name in study.fusions if name not in FUSIONS]):
        raise InputError(f"table2: fusion {unknown[0]!r} is unknown; use one of {', '.join(sorted(FUSIONS))}")
    if exhibit == "transfer":
        if study.transfer_world is None:
            raise InputError("transfer needs a second domain; set world and transfer_world in the study recipe")
        if study.transfer_world not in WORLDS:
            raise InputError(
                f"transfer_world {study.transfer_world!r} is unknown; use one of {', '.join(sorted(WORLDS))}"
            )
    if exhibit in ("figure3", "figure5") and study.world is None:
        for name, recipe in setting.finetuning.items():
            if recipe.pictures == "none":
                raise InputError(f"{exhibit} shows pictures, and the recipe of {name!r} reads text alone; name another")
    if exhibit == "figure3":
        if importlib.util.find_spec("sklearn") is None:
            raise InputError("figure3 needs scikit-learn; install it with pip install 'promu[study]'")
        if not any(recipe.task == "re" for recipe in setting.finetuning.values()):
            raise InputError("figure3 shows relations; name a recipe of the task re under finetune in the study recipe")


def _table1(setting: _Setting, strand: Strand) -> Iterator[Found]:
    for system in setting.study.systems or SYSTEMS:
        yield from _system(setting, strand, system)


def _system(setting: _Setting, strand: Strand, system: str) -> Iterator[Found]:
    """Both tasks of a system of table 1."""
    for task in setting.finetuning:
        yield (system,), task, strand.seed, _finetuned(strand, system, task)


def _finetuned(strand: Strand, system: str, task: str) -> Cell:
    if system in PRETRAININGS:
        return strand.finetune(task, system, init=_pretrained(strand, system))
    return strand.finetune(task, system, text_only=system == TEXT_ONLY)


def _pretrained(strand: Strand, system: str) -> Cell:
    return strand.pretrain(system, losses=PRETRAININGS[system])


def _table2(setting: _Setting, strand: Strand) -> Iterator[Found]:
    for fusion in setting.study.fusions:
        pretrained = strand.pretrain(f"{fusion} · {PROMU}", config={"fusion": fusion})
        for task in setting.finetuning:
            plain = strand.finetune(task, f"{fusion} · {SCRATCH}", config={"fusion": fusion})
            yield (fusion, SCRATCH), task, strand.seed, plain
            yield (fusion, PROMU), task, strand.seed, strand.finetune(task, f"{fusion} · {PROMU}", init=pretrained)


def _table3(setting: _Setting, strand: Strand) -> Iterator[Found]:
    for entity in ENTITY_TEMPLATES:
        for relation in RELATION_TEMPLATES:
            name = f"templates {entity}{relation}"
            labels = {"entity_template": entity, "relation_template": relation}
            pretrained = strand.pretrain(name, labels=labels)
            for task in setting.finetuning:
                yield (entity, relation), task, strand.seed, strand.finetune(task, name, init=pretrained)


def _figure3(setting: _Setting, strand: Strand) -> Iterator[Found]:
    task = next(name for name, recipe in setting.finetuning.items() if recipe.task == "re")
    for system in RIVALS:
        yield (system,), ANY, strand.seed, strand.represent(task, system, _pretrained(strand, system), ITEMS)


def _figure4(setting: _Setting, strand: Strand) -> Iterator[Found]:
    for system in TAILED:
        yield from _system(setting, strand, system)


def _figure5(setting: _Setting, strand: Strand) -> Iterator[Found]:
    for task in setting.finetuning:
        before, after = (_finetuned(strand, system, task) for system in (SCRATCH, PROMU))
        yield (PROMU,), task, strand.seed, strand.attend(task, before, after)


def _learning_curve(setting: _Setting, strand: Strand) -> Iterator[Found]:
    for task in setting.finetuning:
        whole = setting.posts(task)
        for system in (SCRATCH, PROMU):
            init = _pretrained(strand, system) if system == PROMU else None
            for posts in setting.study.posts:
                name = f"{system} · {posts} posts"
                yield (system, str(posts)), task, strand.seed, strand.finetune(task, name, init, few=(posts, whole))
            yield (system, str(whole)), task, strand.seed, _finetuned(strand, system, task)


def _temperature(setting: _Setting, strand: Strand) -> Iterator[Found]:
    for value in setting.study.label_temperatures:
        labels = {"temperature": value}
        pretrained = strand.pretrain(f"label temperature {value:g}", labels=labels)
        yield ("labels", f"{value:g}"), LABELS, strand.seed, strand.label(labels=labels)
        for task in setting.finetuning:
            cell = strand.finetune(task, f"label temperature {value:g}", init=pretrained)
            yield ("labels", f"{value:g}"), task, strand.seed, cell
    for value in setting.study.cit_temperatures:
        name = f"L_CIT temperature {value:g}"
        other = strand.with_cit_temperature(value)
        pretrained = other.pretrain(name)
        yield ("L_CIT", f"{value:g}"), LABELS, strand.seed, other.label()
        yield ("L_CIT", f"{value:g}"), PRETRAINING, strand.seed, pretrained
        for task in setting.finetuning:
            yield ("L_CIT", f"{value:g}"), task, strand.seed, other.finetune(task, name, init=pretrained)


def _robustness(setting: _Setting, strand: Strand) -> Iterator[Found]:
    for kind in setting.study.error_kinds:
        # hard labels or soft: what the flag says of captions touches neither
        for system, called in ((PROMU, "soft"), (HARD, "hard"))[: 1 if kind == "matched" else 2]:
            for rate in (0.0, *setting.study.error_rates):
                name = system if not rate else f"{system} · {kind} wrong at {rate:g}"
                pretrained = strand.pretrain(name, losses=PRETRAININGS[system], errors=(kind, rate) if rate else None)
                for task in setting.finetuning:
                    cell = strand.finetune(task, name, init=pretrained)
                    yield (kind, called, f"{rate:g}"), task, strand.seed, cell


def _transfer(setting: _Setting, strand: Strand) -> Iterator[Found]:
    assert setting.study.transfer_world is not None
    there = setting.strand(strand.seed, setting.study.transfer_world)
    away, home = _pretrained(strand, PROMU), _pretrained(there, PROMU)
    for task in setting.finetuning:
        yield (SCRATCH,), task, strand.seed, there.finetune(task, SCRATCH)
        yield ("pre-trained in the other domain",), task, strand.seed, there.finetune(task, "transferred", init=away)
        yield ("pre-trained in this domain",), task, strand.seed, there.finetune(task, PROMU, init=home)


PLANS: Mapping[str, Callable[[_Setting, Strand], Iterator[Found]]] = {
    "table1": _table1,
    "table2": _table2,
    "table3": _table3,
    "figure3": _figure3,
    "figure4": _figure4,
    "figure5": _figure5,
    "temperature": _temperature,
    "robustness": _robustness,
    "transfer": _transfer,
    "learning-curve": _learning_curve,
}
