"""Which cells each table and figure asks for."""

from __future__ import annotations

import importlib.util
import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import Any, get_args

from promu.config import load_recipe
from promu.errors import InputError
from promu.modeling.configuration import PromuConfig
from promu.modeling.fusions import FUSIONS
from promu.newsreel import WORLDS, NewsreelSettings
from promu.study.cells import SUBSET, Cell
from promu.study.study_recipe import Exhibit, StudyRecipe
from promu.tasks.task import TASKS
from promu.training.recipe import FinetuneRecipe, PretrainRecipe

COSTS = {
    "draw": 6,
    "teach": 85,
    "label": 14,
    "spoil": 4,
    "pretrain": 80,
    "few": 1,
    "finetune": 28,
    "represent": 15,
    "attend": 5,
    "draw-joint": 3,
    "split": 1,
    "read": 100,
    "know": 4,
    "write": 40,
    "pipeline": 8,
}
"""Seconds of each kind of cell at the size of recipes/newsreel-study.yaml: what to begin first."""

DRAWN_FILES = {
    "ner": {"train": "ner/train.txt", "dev": "ner/valid.txt", "test": "ner/test.txt"},
    "re": {"train": "re/mnre_train.txt", "dev": "re/mnre_val.txt", "test": "re/mnre_test.txt"},
}

Settings = dict[str, Any]


@dataclass(frozen=True)
class Strand:
    """Makes cells; equal calls give cells of equal keys, so that nothing is done twice.

    Attributes:
        seed: Of world, teacher and models.
        pretraining, finetuning: The recipes that are varied.
        world: Settings of the drawn world, with its name as `world`; None where the recipes name their data.
    """

    seed: int
    pretraining: PretrainRecipe
    finetuning: Mapping[str, FinetuneRecipe]
    world: Mapping[str, Any] | None

    def _cell(self, kind: str, label: str, settings: Settings, inputs: Mapping[str, Cell | None]) -> Cell:
        there = {name: cell for name, cell in inputs.items() if cell is not None}
        place = "" if self.world is None or self.world["world"] == "news" else f" · {self.world['world']}"
        return Cell(kind, f"seed {self.seed}{place} · {label}", settings, there, COSTS[kind])

    @cached_property
    def drawn(self) -> Cell | None:
        """The world's corpus; None where there is other data."""
        return None if self.world is None else self._cell("draw", "drawing", {**self.world, "seed": self.seed}, {})

    @cached_property
    def _base(self) -> Settings:
        """The pre-training recipe with this seed, on this world."""
        base = self.pretraining.model_dump(mode="json")
        del base["out"]
        base["seed"] = base["teacher"]["seed"] = self.seed
        if self.world is None:
            return base
        base["data"] |= {
            "corpus": {
                **(base["data"]["corpus"] if isinstance(base["data"]["corpus"], dict) else {}),
                "captions": "cell:drawn/pairs/captions.csv",
                "images": "cell:drawn/pairs/images",
                "regions": "cell:drawn/pairs/regions.json",
                "detector": "coco",
            },
            "nouns": "cell:drawn/nouns.txt",
            "relations": "cell:drawn/relations.txt",
        }
        if isinstance(base["tokenizer"], dict):
            base["tokenizer"]["texts"] = ["cell:drawn/texts.txt"]
        return base

    @cached_property
    def taught(self) -> Cell:
        """Corpus, nouns, tokenizer, teacher."""
        settings = {name: self._base[name] for name in ("data", "tokenizer", "teacher", "model", "seed")}
        return self._cell("teach", "teacher", settings, {"drawn": self.drawn})

    @cached_property
    def _after_teacher(self) -> Settings:
        """The recipe with what the teacher's cell has made in the place of how to make it."""
        base = dict(self._base)
        data = dict(base["data"])
        if isinstance(data["corpus"], dict):
            held_out = bool(data["corpus"].get("dev"))
            data["corpus"] = f"cell:taught/corpus{'/train' if held_out else ''}"
            if held_out and data["dev"] is None:
                data["dev"] = "cell:taught/corpus/dev"
        if isinstance(data["nouns"], dict):
            data["nouns"] = "cell:taught/nouns.txt"
        base["data"] = data
        if isinstance(base["tokenizer"], dict):
            base["tokenizer"] = "cell:taught/tokenizer"
        if base["teacher"]["text"] is not None:
            base["teacher"] = {"init": "cell:taught/teacher/model"}
        return base

    @property
    def corpus(self) -> str:
        """Where the corpus to pre-train on is, as a setting."""
        return str(self._after_teacher["data"]["corpus"])

    def label(self, labels: Settings | None = None, misplaced: Cell | None = None) -> Cell:
        """The labels, with some of their settings changed, or of a corpus whose boxes were misplaced."""
        kept = {name: self._after_teacher[name] for name in ("data", "tokenizer", "teacher", "model", "views", "seed")}
        settings = {**kept, "labels": {**self._base["labels"], **(labels or {})}}
        name = "labels"
        if misplaced is not None:
            settings["data"] = {**settings["data"], "corpus": "cell:spoiled"}
            name = f"labels, boxes wrong at {misplaced.settings['rate']:g}"
        elif labels:
            name = f"labels, {', '.join(f'{key} {value}' for key, value in labels.items())}"
        return self._cell("label", name, settings, {"drawn": self.drawn, "taught": self.taught, "spoiled": misplaced})

    def spoil(self, kind: str, rate: float) -> Cell:
        """The corpus, or for `nouns` its labels, with errors of a kind put in."""
        settings = {"errors": kind, "rate": rate, "seed": self.seed}
        if kind == "nouns":
            return self._cell(
                "spoil", f"{kind} wrong at {rate:g}", {**settings, "source": "cell:labels"}, {"labels": self.label()}
            )
        inputs = {"taught": self.taught if self.corpus.startswith("cell:") else None}
        return self._cell("spoil", f"{kind} wrong at {rate:g}", {**settings, "source": self.corpus}, inputs)

    def pretrain(
        self,
        name: str,
        losses: Settings | None = None,
        labels: Settings | None = None,
        config: Settings | None = None,
        errors: tuple[str, float] | None = None,
    ) -> Cell:
        """A pre-trained model.

        Args:
            name: For those who watch.
            losses, labels, config: What is changed of the recipe's losses, labels, and of its model's configuration.
            errors: Kind and rate of errors in what it learns from.
        """
        after = self._after_teacher
        spoiled = None if errors is None else self.spoil(*errors)
        kind = None if errors is None else errors[0]
        labelled = self.label(labels, spoiled if kind == "boxes" else None)
        settings = {
            **after,
            "labels": {**after["labels"], **(labels or {})},
            "losses": {**after["losses"], **(losses or {})},
            "model": {**after["model"], "config": _changed(after["model"]["config"], config)},
            "stores": "cell:spoiled" if kind == "nouns" else "cell:labels",
            "features": "cell:labels",
        }
        if kind in ("boxes", "matched"):
            settings["data"] = {**after["data"], "corpus": "cell:spoiled"}
        inputs = {"drawn": self.drawn, "taught": self.taught, "labels": labelled, "spoiled": spoiled}
        return self._cell("pretrain", f"{name} · pre-training", settings, inputs)

    def finetune(
        self,
        task: str,
        name: str,
        init: Cell | None = None,
        config: Settings | None = None,
        text_only: bool = False,
        few: tuple[int, int] | None = None,
    ) -> Cell:
        """A fine-tuned model, tested.

        Args:
            task: As the study recipe calls it.
            name: For those who watch.
            init: The pre-trained model that it starts from; None starts from the recipe's encoders.
            config: What is changed of the model's configuration, where it does not start from a pre-trained one.
            text_only: Leave the images out.
            few: How many of how many training posts; it then takes as many steps as with all.
        """
        recipe = self.finetuning[task]
        settings = recipe.model_dump(mode="json")
        del settings["out"]
        settings |= {"seed": self.seed, "data": self._data(task)}
        inputs: dict[str, Cell | None] = {"drawn": self.drawn, "init": init}
        if init is not None:
            settings["model"] = {"init": "cell:init/model"}
        else:
            settings["model"] = self.untrained(config)
            if str(settings["model"]["tokenizer"]).startswith("cell:"):
                inputs["taught"] = self.taught
        if text_only:
            settings["model"] = {**settings["model"], "vision": None}
            settings["images"] = "none"
        if few is not None:
            posts, whole = few
            inputs["few"] = self._few(task, posts)
            settings["data"] = {**settings["data"], "train": f"cell:few/{SUBSET}"}
            settings["training"] = as_many_steps(settings["training"], posts, whole)
        return self._cell("finetune", f"{name} · {task}", settings, inputs)

    def untrained(self, config: Settings | None = None) -> Settings:
        """The model of the pre-training recipe as it begins, with changes of its configuration.

        Its tokenizer may be the teacher's, by the name `taught`.
        """
        model = self._after_teacher["model"]
        tokenizer = self._after_teacher["tokenizer"]
        return {**model, "tokenizer": tokenizer, "config": _changed(model["config"], config)}

    def with_cit_temperature(self, value: float) -> Strand:
        """The same with another temperature to begin L_CIT with: the teacher's, and so the student's."""
        recipe = self.pretraining
        changed = {
            name: part.model_copy(update={"config": _changed(dict(part.config), {"temperature": value})})
            for name, part in (("teacher", recipe.teacher), ("model", recipe.model))
        }
        return replace(self, pretraining=recipe.model_copy(update=changed))

    def _few(self, task: str, posts: int) -> Cell:
        settings = {
            "task": self.finetuning[task].task,
            "train": self._data(task)["train"],
            "posts": posts,
            "seed": self.seed,
        }
        return self._cell("few", f"{posts} posts · {task}", settings, {"drawn": self.drawn})

    def _data(self, task: str) -> Settings:
        """A task's files: the drawn ones, or those that its recipe names."""
        recipe = self.finetuning[task]
        if self.world is None:
            return recipe.data.model_dump(mode="json")
        drawn = {split: f"cell:drawn/{file}" for split, file in DRAWN_FILES[recipe.task].items()}
        folder = f"cell:drawn/{recipe.task}"
        return {**drawn, "images": f"{folder}/images", "groups": f"{folder}/groups.json"}

    def represent(self, task: str, name: str, pretrained: Cell, items: int) -> Cell:
        """Where a pre-trained model puts regions, nouns, images and relations."""
        data = self._data(task)
        settings = {
            "model": "cell:model/model",
            "corpus": self.corpus,
            "posts": data["test"],
            "images": data["images"],
            "items": items,
            "seed": self.seed,
        }
        inputs = {"drawn": self.drawn, "taught": self.taught, "model": pretrained}
        return self._cell("represent", f"{name} · representations", settings, inputs)

    def attend(self, task: str, before: Cell, after: Cell) -> Cell:
        """What two fine-tuned models look at."""
        data = self._data(task)
        settings = {
            "task": self.finetuning[task].task,
            "before": "cell:before/model",
            "after": "cell:after/model",
            **{name: data[name] for name in ("test", "images", "groups")},
        }
        return self._cell(
            "attend", f"case study · {task}", settings, {"drawn": self.drawn, "before": before, "after": after}
        )


def as_many_steps(training: Settings, posts: int, whole: int) -> Settings:
    """Settings with which a few posts are trained on for as many steps as all, and validated as often."""
    every, size = math.ceil(whole / training["batch_size"]), training["batch_size"]
    return {**training, "validate_every": every, "epochs": training["epochs"] * every / math.ceil(posts / size)}


def _changed(config: Settings, changes: Settings | None) -> Settings:
    """A model's configuration with changes, of which those that say what holds anyway leave no trace."""
    defaults = {name: PromuConfig.__dataclass_fields__[name].default for name in changes or {}}
    return {
        **config,
        **{name: value for name, value in (changes or {}).items() if config.get(name, defaults[name]) != value},
    }


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
"""Of figure 3: those that put images and texts in one space."""
TAILED = (TEXT_ONLY, SCRATCH, CIT_ITM, PROMU, HARD)
"""Of figure 4."""
ENTITY_TEMPLATES, RELATION_TEMPLATES = ("1", "2"), ("A", "B", "C")
ITEMS = 600
"""Regions and images of figure 3, at most."""

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
        self.pretraining = load_recipe(study.pretrain, PretrainRecipe, study.pretrain_set)
        self.finetuning = {
            name: load_recipe(recipe, FinetuneRecipe, study.finetune_set) for name, recipe in study.finetune.items()
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
            if recipe.images == "none":
                raise InputError(f"{exhibit} shows images, and the recipe of {name!r} reads text alone; name another")
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
