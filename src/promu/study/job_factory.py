"""Makes the jobs of a study by varying its recipes. Equal calls make jobs of equal keys, so no work is done twice."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import Any

from promu.config import load_recipe
from promu.errors import InputError
from promu.modeling.configuration import PromuConfig
from promu.modeling.fusions import FUSIONS
from promu.newsreel import NewsreelSettings
from promu.study.job import SUBSET, Job
from promu.study.study_recipe import GridPoint, StudyRecipe
from promu.tasks.task import TASKS
from promu.training.recipe import FinetuneRecipe, MultiTaskRecipe, PretrainRecipe

COSTS = {
    "draw": 6, "corpus": 5, "teacher": 80, "labels": 14, "noise": 4, "pretrain": 80, "subset": 1, "finetune": 28,
    "embeddings": 15, "attention": 5, "draw-joint": 3, "split": 1, "denoise": 100, "knowledge": 4, "writer": 40,
    "pipeline": 8,
}  # fmt: skip
"""Seconds of a job of each kind in the study recipes/newsreel-study.yaml. They decide which jobs start first."""

DRAWN_FILES = {
    "ner": {"train": "ner/train.txt", "dev": "ner/valid.txt", "test": "ner/test.txt"},
    "re": {"train": "re/mnre_train.txt", "dev": "re/mnre_val.txt", "test": "re/mnre_test.txt"},
}

Values = dict[str, Any]
"""Settings as JSON data."""


@dataclass(frozen=True)
class JobFactory:
    """Makes the jobs of one seed in one world.

    Attributes:
        pretraining, finetuning: The recipes that are varied; of fine-tuning by the name that the study gives the task.
        world: Settings of the drawn corpus and its name (`world`); None if the recipes name their data.
        grid: Settings of fine-tuning that every system tries; empty takes those of the recipes.
        parser: The spaCy pipeline of the fusions that read parsed texts.
    """

    pretraining: PretrainRecipe
    finetuning: Mapping[str, FinetuneRecipe]
    world: Mapping[str, Any] | None
    seed: int = 0
    grid: Sequence[GridPoint] = ()
    parser: str | None = None

    @classmethod
    def of(cls, study: StudyRecipe) -> JobFactory:
        """Read the recipes of a study.

        Raises:
            InputError: A recipe cannot be read or is of another kind.
        """
        pretraining = load_recipe(study.pretrain, PretrainRecipe, study.pretrain_set)
        finetuning = {
            name: load_recipe(recipe, FinetuneRecipe, study.finetune_set) for name, recipe in study.finetune.items()
        }
        for name, recipe in finetuning.items():
            if recipe.task == "joint" or isinstance(recipe, MultiTaskRecipe):
                given = "joint extraction" if recipe.task == "joint" else "recipe of several tasks"
                raise InputError(f"a study has no {given}; name a recipe of the task ner or re for {name!r}")
        world = None if study.world is None else world_values(study.world)
        return cls(pretraining, finetuning, world, grid=study.grid, parser=study.parser)

    def in_world(self, name: str) -> JobFactory:
        """The same in another drawn world."""
        return replace(self, world={**(self.world or {}), "world": name})

    def with_cit_temperature(self, value: float) -> JobFactory:
        """The same with another initial temperature of L_CIT, in the teacher and so in the student."""
        recipe = self.pretraining
        changed = {
            name: part.model_copy(update={"config": _changed(dict(part.config), {"temperature": value})})
            for name, part in (("teacher", recipe.teacher), ("model", recipe.model))
        }
        return replace(self, pretraining=recipe.model_copy(update=changed))

    @cached_property
    def drawn(self) -> Job | None:
        """The drawn corpus; None if the recipes name their data."""
        return None if self.world is None else self._job("draw", "drawing", {**self.world, "seed": self.seed}, {})

    @cached_property
    def corpus(self) -> Job:
        """The corpus to pre-train on, the nouns and the tokenizer."""
        settings = {name: self._recipe[name] for name in ("data", "tokenizer")}
        return self._job("corpus", "corpus and tokenizer", settings, {"drawn": self.drawn})

    @cached_property
    def teacher(self) -> Job | None:
        """The self-trained teacher; None if the recipe names a finished one."""
        if self.pretraining.teacher.text is None:
            return None
        settings = {**self._on_corpus(("data", "tokenizer", "model", "seed")), "teacher": self._recipe["teacher"]}
        return self._job("teacher", "teacher", settings, {"drawn": self.drawn, "corpus": self.corpus})

    @cached_property
    def _recipe(self) -> Values:
        """The pre-training recipe with this seed, on the drawn corpus if there is one."""
        recipe = self.pretraining.model_dump(mode="json", exclude={"out"})
        recipe["seed"] = recipe["teacher"]["seed"] = self.seed
        if self.world is None:
            return recipe
        corpus = recipe["data"]["corpus"] if isinstance(recipe["data"]["corpus"], dict) else {}
        files = {"captions": "captions.csv", "images": "images", "regions": "regions.json"}
        pairs = {name: f"job:drawn/pairs/{file}" for name, file in files.items()}
        recipe["data"] |= {name: f"job:drawn/{name}.txt" for name in ("nouns", "relations")}
        recipe["data"]["corpus"] = {**corpus, **pairs, "detector": "coco"}
        if isinstance(recipe["tokenizer"], dict):
            recipe["tokenizer"]["texts"] = ["job:drawn/texts.txt"]
        return recipe

    def _on_corpus(self, names: tuple[str, ...] | None = None) -> Values:
        """These parts of the recipe (all by default), with the files of the jobs `corpus` and `teacher` filled in."""
        recipe = dict(self._recipe)
        data = recipe["data"] = dict(recipe["data"])
        if isinstance(data["corpus"], dict):
            held_out = bool(data["corpus"].get("dev"))
            data["corpus"] = f"job:corpus/corpus{'/train' if held_out else ''}"
            if held_out and data["dev"] is None:
                data["dev"] = "job:corpus/corpus/dev"
        if isinstance(data["nouns"], dict):
            data["nouns"] = "job:corpus/nouns.txt"
        if isinstance(recipe["tokenizer"], dict):
            recipe["tokenizer"] = "job:corpus/tokenizer"
        if self.pretraining.teacher.text is not None:
            recipe["teacher"] = {"init": "job:teacher/teacher/model"}
        return recipe if names is None else {name: recipe[name] for name in names}

    @property
    def _corpus_path(self) -> str:
        return str(self._on_corpus()["data"]["corpus"])

    @property
    def _inputs(self) -> dict[str, Job | None]:
        return {"drawn": self.drawn, "corpus": self.corpus, "teacher": self.teacher}

    def labels(self, changes: Values | None = None, misplaced: Job | None = None) -> Job:
        """The teacher's labels, with changes of the recipe's `labels`, or of a corpus with misplaced boxes."""
        settings = self._on_corpus(("data", "tokenizer", "teacher", "model", "views", "seed"))
        settings["labels"] = {**self._recipe["labels"], **(changes or {})}
        name = "labels"
        if misplaced is not None:
            settings["data"]["corpus"] = "job:noisy"
            name = f"labels, boxes wrong at {misplaced.settings['rate']:g}"
        elif changes:
            name = f"labels, {', '.join(f'{key} {value}' for key, value in changes.items())}"
        return self._job("labels", name, settings, {**self._inputs, "noisy": misplaced})

    def noise(self, kind: str, rate: float) -> Job:
        """The corpus with errors of a kind; for `nouns` its labels with errors."""
        source, inputs = "job:labels", {"labels": self.labels()}
        if kind != "nouns":
            source = self._corpus_path
            inputs = {"corpus": self.corpus} if source.startswith("job:") else {}
        settings = {"errors": kind, "rate": rate, "seed": self.seed, "source": source}
        return self._job("noise", f"{kind} wrong at {rate:g}", settings, inputs)

    def pretrain(
        self,
        name: str,
        losses: Values | None = None,
        labels: Values | None = None,
        config: Values | None = None,
        errors: tuple[str, float] | None = None,
        filter: Job | None = None,
    ) -> Job:
        """A pre-trained model, `name` in messages, with changes of the recipe and errors of a kind at a rate.

        Where a pre-trained model is the `filter`, it learns from the captions that this leaves (BLIP).
        """
        kind = None if errors is None else errors[0]
        noisy = None if errors is None else self.noise(*errors)
        settings = self._on_corpus()
        settings |= {
            "labels": {**settings["labels"], **(labels or {})},
            "losses": {**settings["losses"], **(losses or {})},
            "model": {**settings["model"], "config": self._config(settings["model"]["config"], config)},
            "stores": "job:noisy" if kind == "nouns" else "job:labels",
            "features": "job:labels",
        }
        if kind in ("boxes", "matched"):
            settings["data"]["corpus"] = "job:noisy"
        if filter is not None:
            settings["data"]["filter"] = "job:filter/model"
        if settings["losses"]["unpaired"]:
            settings["warm_start"] = False  # the teacher has learned from pairs
        labelled = self.labels(labels, noisy if kind == "boxes" else None)
        inputs = {**self._inputs, "labels": labelled, "noisy": noisy, "filter": filter}
        return self._job("pretrain", f"{name} · pre-training", settings, inputs)

    def finetune(
        self,
        task: str,
        name: str,
        init: Job | None = None,
        config: Values | None = None,
        text_only: bool = False,
        subset: tuple[int, int] | None = None,
    ) -> Job:
        """A fine-tuned model with its test figures.

        Args:
            task: The study's name of the task.
            name: Name of the system in messages.
            init: The pre-trained model to start from; None starts from the recipe's encoders.
            config: Changes of the model's configuration, without `init`.
            text_only: Leave the images out.
            subset: How many training posts to use, of how many; the number of steps is that of all posts.

        With a `grid`, the model is the best on dev of those that its settings give.
        """
        settings = self.finetuning[task].model_dump(mode="json", exclude={"out"})
        settings |= {"seed": self.seed, "data": self._data(task)}
        inputs: dict[str, Job | None] = {"drawn": self.drawn, "init": init}
        if init is not None:
            settings["model"] = {"init": "job:init/model"}
        else:
            settings["model"] = self.untrained(config)
            if str(settings["model"]["tokenizer"]).startswith("job:"):
                inputs["corpus"] = self.corpus
        if text_only:
            settings["model"] = {**settings["model"], "vision": None}
            settings["images"] = "none"
        if subset is not None:
            posts = subset[0]
            data = settings["data"]
            choice = {"task": settings["task"], "train": data["train"], "posts": posts, "seed": self.seed}
            settings["data"] = data | _reading(data)
            choice |= _reading(data)
            inputs["subset"] = self._job("subset", f"{posts} posts · {task}", choice, {"drawn": self.drawn})
            settings["data"]["train"] = f"job:subset/{SUBSET}"
        settings |= tried(settings["training"], self.grid, subset)
        return self._job("finetune", f"{name} · {task}", settings, inputs)

    def untrained(self, config: Values | None = None) -> Values:
        """The untrained model of the pre-training recipe; its tokenizer may be that of the input `corpus`."""
        recipe = self._on_corpus(("model", "tokenizer"))
        model = recipe["model"]
        return {**model, "tokenizer": recipe["tokenizer"], "config": self._config(model["config"], config)}

    def _config(self, config: Values, changes: Values | None) -> Values:
        """A configuration with changes, and with the parser where they name a fusion that reads parsed texts."""
        fusion = (changes or {}).get("fusion")
        more = {"parser": self.parser} if fusion is not None and FUSIONS[fusion].parses else {}
        return _changed(config, {**(changes or {}), **more})

    def train_posts(self, task: str) -> int:
        """Number of training posts of a task."""
        recipe = self.finetuning[task]
        if self.world is None:
            return len(TASKS[recipe.task].read(Path(recipe.data.train), recipe.data.format, recipe.data.scheme))
        return int(self.world[f"{recipe.task}_posts"][0])

    def _data(self, task: str) -> Values:
        """A task's files: of the drawn corpus, or as its recipe names them."""
        recipe = self.finetuning[task]
        if self.world is None:
            return recipe.data.model_dump(mode="json")
        files = {split: f"job:drawn/{file}" for split, file in DRAWN_FILES[recipe.task].items()}
        folder = f"job:drawn/{recipe.task}"
        return {**files, "images": f"{folder}/images", "groups": f"{folder}/groups.json"}

    def embeddings(self, task: str, name: str, pretrained: Job, items: int) -> Job:
        """Embeddings of at most `items` regions and images by a pre-trained model (figure 3)."""
        data = self._data(task)
        settings = {"model": "job:model/model", "corpus": self._corpus_path, "posts": data["test"], **_reading(data)}
        settings |= {"images": data["images"], "items": items, "seed": self.seed}
        inputs = {"drawn": self.drawn, "corpus": self.corpus, "model": pretrained}
        return self._job("embeddings", f"{name} · embeddings", settings, inputs)

    def attention(self, task: str, before: Job, after: Job) -> Job:
        """Attention of two fine-tuned models (figure 5)."""
        data = self._data(task)
        settings = {"task": self.finetuning[task].task, "before": "job:before/model", "after": "job:after/model"}
        settings |= {name: data[name] for name in ("test", "images", "groups")} | _reading(data)
        inputs = {"drawn": self.drawn, "before": before, "after": after}
        return self._job("attention", f"case study · {task}", settings, inputs)

    def _job(self, kind: str, label: str, settings: Values, inputs: Mapping[str, Job | None]) -> Job:
        """A job with those of the inputs that are not None."""
        given = {name: job for name, job in inputs.items() if job is not None}
        world = "" if self.world is None or self.world["world"] == "news" else f" · {self.world['world']}"
        return Job(
            kind, f"seed {self.seed}{world} · {label}", settings, given, COSTS[kind] * len(settings.get("grid", "1"))
        )


def world_values(world: NewsreelSettings) -> Values:
    """The settings of a job that draws this corpus, without the seed."""
    return {**world.model_dump(mode="json", exclude={"seed"}), "world": "news"}


def _reading(data: Values) -> Values:
    """How the files of a recipe are read, as far as it is not the default: the `format` and the `scheme`."""
    posts = "posts" if str(data["train"]).endswith(".jsonl") else None  # a subset's name has another ending
    given = {"format": data.get("format") or posts, "scheme": data.get("scheme")}
    return {name: value for name, value in given.items() if value not in (None, "auto")}


def tried(training: Values, grid: Sequence[GridPoint], subset: tuple[int, int] | None = None) -> Values:
    """The settings of a job `finetune` that say how to train: `training`, and `grid` if there is something to choose.

    `subset` is as in `JobFactory.finetune`.
    """
    each = [{**training, **point.model_dump(exclude_none=True)} for point in grid] or [training]
    if subset is not None:
        each = [as_many_steps(one, *subset) for one in each]
    return {"training": each[0], "grid": each} if len(each) > 1 else {"training": each[0]}


def as_many_steps(training: Values, posts: int, whole: int) -> Values:
    """Settings that train on `posts` posts with as many steps and validations as on `whole` posts."""
    every, size = math.ceil(whole / training["batch_size"]), training["batch_size"]
    return {**training, "validate_every": every, "epochs": training["epochs"] * every / math.ceil(posts / size)}


def _changed(config: Values, changes: Values | None) -> Values:
    """A model's configuration with changes. A change to a value that holds anyway is left out, for equal keys."""
    defaults = {name: PromuConfig.__dataclass_fields__[name].default for name in changes or {}}
    changed = {name: value for name, value in (changes or {}).items() if config.get(name, defaults[name]) != value}
    return {**config, **changed}
