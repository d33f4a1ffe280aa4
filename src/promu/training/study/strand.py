"""The cells of one seed in one world: data, teacher, labels, and what is trained on them."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any

from promu.modeling.configuration import PromuConfig
from promu.training.recipe import FinetuneRecipe, PretrainRecipe
from promu.training.study.cells import Cell
from promu.training.study.few_posts import FILE

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
            text_only: Leave the pictures out.
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
            settings["pictures"] = "none"
        if few is not None:
            posts, whole = few
            inputs["few"] = self._few(task, posts)
            settings["data"] = {**settings["data"], "train": f"cell:few/{FILE}"}
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
        """Where a pre-trained model puts regions, nouns, pictures and relations."""
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
