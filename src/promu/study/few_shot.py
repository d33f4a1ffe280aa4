"""The study of joint extraction from few posts: the jobs of its systems, and its four exhibits."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from functools import cached_property

from promu.config import load_recipe
from promu.corpora.joint_sets import FILES
from promu.errors import InputError
from promu.kecpm.kecpm_recipe import KecpmRecipe, Mode
from promu.study import figures as svg
from promu.study.exhibit import (
    PARTS,
    Content,
    Drawing,
    Exhibit,
    Measurement,
    Section,
    Sheet,
    Table,
    comparison_note,
    difference_table,
)
from promu.study.job import SUBSET, Job
from promu.study.job_factory import COSTS, JobFactory, Values, as_many_steps, tried, world_values
from promu.study.paper_exhibits import PROMU, Requests
from promu.study.study_recipe import FewShotStudyRecipe
from promu.study.sweep_exhibits import learning_curve
from promu.training.recipe import FinetuneRecipe, PretrainRecipe

CURVE, SYSTEMS, KNOWLEDGE, DECODING = "few-shot-curve", "few-shot-systems", "few-shot-knowledge", "few-shot-decoding"

JOINT, PIPELINE, SCRATCH = "joint model", "pipeline", "joint model, without pre-training"
WRITER, WITH_KNOWLEDGE = "writer", "writer with knowledge"
NONE, FIRST, CHECKED, GIVEN = "none", "mock LLM, first answers", "mock LLM, after self-reflection", "given in the set"
"""The knowledge in the writer's prompts."""
CONSTRAINED, FREE = "with the grammar", "without"
"""How the writer decodes."""

TASK = "quintuples"
ERRORS = "errors of the mock LLM"
"""In place of a task: how much of the mock LLM's knowledge is wrong."""


class Recipes:
    """The recipes that a study names.

    Raises:
        InputError: One cannot be read or is of another kind.
    """

    def __init__(self, study: FewShotStudyRecipe) -> None:
        self.joint = _finetuning(study.joint, study.joint_set, "joint")
        self.entities = _finetuning(study.pipeline.entities, study.entities_set, "ner")
        self.relations = _finetuning(study.pipeline.relations, study.relations_set, "re")
        self.writer = self.pretrain = None
        if study.writer is not None:
            self.writer = load_recipe(study.writer, KecpmRecipe, study.writer_set)
        if study.pretrain is not None:
            self.pretrain = load_recipe(study.pretrain, PretrainRecipe, study.pretrain_set)


def _finetuning(name: str, overrides: tuple[str, ...], task: str) -> FinetuneRecipe:
    recipe = load_recipe(name, FinetuneRecipe, overrides)
    if recipe.task != task:
        raise InputError(f"the study needs a recipe of the task {task} here, and {name!r} is one of {recipe.task}")
    return recipe


@dataclass(frozen=True)
class FewShotFactory:
    """Makes the jobs of one seed. Equal calls make jobs of equal keys, so no work is done twice."""

    study: FewShotStudyRecipe
    recipes: Recipes
    seed: int = 0

    def systems(self, posts: int) -> dict[str, Job]:
        """The systems of the learning curve, trained on the same posts."""
        systems = {JOINT: self.joint(posts), PIPELINE: self.pipeline(posts)}
        if self.recipes.writer is not None:
            systems |= {WRITER: self.writer(posts, "text"), WITH_KNOWLEDGE: self.writer(posts, "text+knowledge")}
        return systems

    def joint(self, posts: int, pretrained: bool = True) -> Job:
        """The joint model with its test figures."""
        model, inputs = self._start(pretrained)
        recipe = self.recipes.joint
        data = {**self._files, "train": f"job:subset/{SUBSET}", **self._images_and_groups(recipe)}
        settings = {**self._finetune(recipe, posts), **model, "data": data}
        name = JOINT if pretrained else SCRATCH
        return self._job("finetune", f"{name} · {posts} posts", settings, {**inputs, "subset": self._subset(posts)})

    def pipeline(self, posts: int) -> Job:
        """Two models, trained on the same posts, with the test figures of both together."""
        files = {"train": f"job:subset/{SUBSET}", "valid": self._files["dev"], "test": self._files["test"]}
        split = self._job("split", f"sets of a pipeline · {posts} posts", files, {"subset": self._subset(posts)})
        model, inputs = self._start(True)
        models = {}
        for task, recipe in (("ner", self.recipes.entities), ("re", self.recipes.relations)):
            names = {"train": "train", "dev": "valid", "test": "test"}
            data: Values = {name: f"job:split/{FILES[file][task == 're']}" for name, file in names.items()}
            data |= {**self._images_and_groups(recipe), "groups": None}
            settings = {**self._finetune(recipe, posts), **model, "data": data}
            models[task] = self._job("finetune", f"{task} · {posts} posts", settings, {**inputs, "split": split})
        settings = {"ner": "job:ner/model", "re": "job:re/model", "test": self._files["test"]}
        settings |= self._images_and_groups(self.recipes.entities)
        return self._job("pipeline", f"{PIPELINE} · {posts} posts", settings, models)

    def writer(self, posts: int, mode: Mode, reflection: bool | None = None) -> Job:
        """The text-to-text model with its test figures.

        Its knowledge is that of the set; with `reflection` True or False it comes from the mock LLM, with or without
        self-reflection.
        """
        recipe = self.recipes.writer
        assert recipe is not None
        knowledge = None if reflection is None else self.knowledge(posts, reflection)
        settings = recipe.model_dump(mode="json", exclude={"out", "seeds"})
        settings["seed"] = self.seed
        settings["training"] = as_many_steps(settings["training"], posts, self.study.posts[-1])
        settings["prompt"]["mode"] = mode
        settings["data"] = {
            **self._files,
            "train": f"job:subset/{SUBSET}",
            "knowledge": None if knowledge is None else "job:knowledge",
            "groups": self._groups,
            "versions": recipe.data.versions,
        }
        if self._denoiser is not None:
            settings["model"] = {"name": "job:denoiser/model"}
        inputs = {"subset": self._subset(posts), "knowledge": knowledge, "denoiser": self._denoiser}
        name = f"{WRITER}, {mode}" + ("" if reflection is None else f", {CHECKED if reflection else FIRST}")
        return self._job("writer", f"{name} · {posts} posts", settings, inputs)

    def knowledge(self, posts: int, reflection: bool) -> Job:
        """Knowledge about the posts by the mock LLM, with self-reflection or without."""
        settings = {
            "files": [f"job:subset/{SUBSET}", self._files["dev"], self._files["test"]],
            "errors": {"rate": self.study.error_rate, "recovered": self.study.recovered, "seed": self.seed},
            "reflection": reflection,
        }
        name = f"{CHECKED if reflection else FIRST} · {posts} posts"
        return self._job("knowledge", name, settings, {"subset": self._subset(posts)})

    @cached_property
    def _pretraining(self) -> JobFactory | None:
        """The jobs of pre-training on the drawn captions."""
        if self.recipes.pretrain is None:
            return None
        return JobFactory(self.recipes.pretrain, {}, world_values(self.study.captions), self.seed)

    @cached_property
    def _drawn(self) -> Job | None:
        if self.study.world is None:
            return None
        return self._job("draw-joint", "drawing", {**self.study.world.model_dump(mode="json"), "seed": self.seed}, {})

    @cached_property
    def _denoiser(self) -> Job | None:
        """The writer's model, trained to restore the texts of the drawn captions."""
        if self.study.reading is None or self.recipes.writer is None:
            return None
        captions = self._job("draw", "drawing captions", {**world_values(self.study.captions), "seed": self.seed}, {})
        settings = {
            "captions": "job:captions/pairs/captions.csv",
            "posts": "job:captions/texts.txt",
            "model": self.recipes.writer.model.model_dump(mode="json"),
            "training": self.study.reading.model_dump(mode="json"),
            "seed": self.seed,
        }
        return self._job("denoise", f"{WRITER} reads", settings, {"captions": captions})

    @property
    def _files(self) -> dict[str, str]:
        """Train, dev and test of the whole set."""
        if self._drawn is None:
            return dict(self.study.sets[self.seed % len(self.study.sets)].model_dump())
        return {"train": "job:drawn/train.json", "dev": "job:drawn/val.json", "test": "job:drawn/test.json"}

    @property
    def _groups(self) -> str | None:
        return None if self._drawn is None else "job:drawn/groups.json"

    def _images_and_groups(self, recipe: FinetuneRecipe) -> Values:
        """Images and groups of the posts: of the drawn set, or as the recipe names them."""
        images = recipe.data.images if self._drawn is None else "job:drawn/images"
        return {"images": None if recipe.images == "none" else images, "groups": self._groups}

    def _finetune(self, recipe: FinetuneRecipe, posts: int) -> Values:
        """A recipe on a subset of the posts, without its data."""
        settings = recipe.model_dump(mode="json", exclude={"out", "data"})
        training = tried(settings["training"], self.study.grid, (posts, self.study.posts[-1]))
        return {**settings, "seed": self.seed, **training}

    def _start(self, pretrained: bool) -> tuple[Values, dict[str, Job]]:
        """The model to start from, as changes of a recipe, and the job that makes it."""
        if self._pretraining is None:
            return {}, {}
        if pretrained:
            return {"model": {"init": "job:init/model"}}, {"init": self._pretraining.pretrain(PROMU)}
        return {"model": self._pretraining.untrained()}, {"corpus": self._pretraining.corpus}

    def _subset(self, posts: int) -> Job:
        settings = {"task": "joint", "train": self._files["train"], "posts": posts, "seed": self.seed}
        return self._job("subset", f"{posts} posts", settings, {})

    def _job(self, kind: str, label: str, settings: Values, inputs: Mapping[str, Job | None]) -> Job:
        """A job with those of the inputs that are not None, and with the drawn set if its settings name it."""
        given = {name: job for name, job in inputs.items() if job is not None}
        if "job:drawn/" in json.dumps(settings) and self._drawn is not None:
            given["drawn"] = self._drawn
        return Job(kind, f"seed {self.seed} · {label}", settings, given, COSTS[kind] * len(settings.get("grid", "1")))


FIGURES = {"F1": ("f1",), "macro F1": ("macro_f1", "present"), "entities F1": ("entities", "f1")}


def _curve_requests(study: FewShotStudyRecipe, factory: FewShotFactory) -> Requests:
    for posts in study.posts:
        for system, job in factory.systems(posts).items():
            yield (system, str(posts)), TASK, job


def _curve(sheet: Sheet) -> Section:
    keys = {name: (TASK, "test", *keys) for name, keys in FIGURES.items()}
    rows, chart = learning_curve(sheet, {"quintuples": keys["F1"], "entities": keys["entities F1"]})
    figures = tuple((*row, *(sheet.summary(row, *each) for each in keys.values())) for row in rows)
    columns = ("system", "training posts", *keys)
    table = Table(CURVE, "Test F1 by the number of labelled posts", columns, figures, keys=2)
    notes = [
        "Training on a subset takes at most as many steps as training on all posts. A larger subset contains the "
        "smaller ones."
    ]
    return sheet.section("Learning curve", notes, [table], [chart])


def _systems_requests(study: FewShotStudyRecipe, factory: FewShotFactory) -> Requests:
    systems = factory.systems(study.compared_at)
    if study.pretrain is not None:
        systems[SCRATCH] = factory.joint(study.compared_at, pretrained=False)
    for system, job in systems.items():
        yield (system,), TASK, job


def _systems(sheet: Sheet) -> Section:
    table = _table(sheet, SYSTEMS, "Pipeline, joint model and writer on the same posts", "system")
    tables = [table, *_gains(sheet, (JOINT,), SYSTEMS)]
    return sheet.section("Pipeline, joint model, writer", [comparison_note(sheet)], tables, [_bars(sheet, SYSTEMS)])


def _knowledge_requests(study: FewShotStudyRecipe, factory: FewShotFactory) -> Requests:
    if study.writer is None:
        return
    posts = study.compared_at
    yield (NONE,), TASK, factory.writer(posts, "text")
    if study.world is not None:
        for name, reflection in ((FIRST, False), (CHECKED, True)):
            yield (name,), ERRORS, factory.knowledge(posts, reflection)
            yield (name,), TASK, factory.writer(posts, "text+knowledge", reflection)
    yield (GIVEN,), TASK, factory.writer(posts, "text+knowledge")


def _knowledge(sheet: Sheet) -> Section:
    scored = sheet.only(one for one in sheet.measurements if one.task == TASK)
    table = _table(scored, KNOWLEDGE, "The writer by the knowledge in its prompts", "knowledge")
    wrong = [sheet.summary(row, ERRORS, "wrong_share") for row in scored.rows]
    notes = [comparison_note(sheet)]
    if any(share is not None for share in wrong):
        table = replace(
            table,
            columns=(*table.columns, "wrong, %"),
            rows=tuple((*row, share) for row, share in zip(table.rows, wrong, strict=True)),
        )
        notes.append(
            "Wrong: share of the sentences about train, dev and test posts that are not true in the drawn world. The "
            "mock LLM knows the facts of the set. It goes through the steps of promu knowledge generate: question, "
            "answer, self-reflection, revised answer."
        )
    best = (CHECKED,) if (CHECKED,) in scored.rows else (GIVEN,)
    tables = [table, *_gains(scored, best, KNOWLEDGE)]
    return scored.section("Knowledge and self-reflection", notes, tables, [_bars(scored, KNOWLEDGE)])


def _decoding_requests(study: FewShotStudyRecipe, factory: FewShotFactory) -> Requests:
    if study.writer is not None:
        for system in (WRITER, WITH_KNOWLEDGE):
            yield (system,), TASK, factory.systems(study.compared_at)[system]


def _decoding(sheet: Sheet) -> Section:
    both = sheet.only(one for measurement in sheet.measurements for one in _both_ways(measurement))
    columns = ("system", "decoding", *(short for short, _ in PARTS), "parsed, %")
    rows: list[tuple[Content, ...]] = [
        (*row, *(both.summary(row, TASK, "test", part) for _, part in PARTS), both.summary(row, TASK, "parsed_share"))
        for row in both.rows
    ]
    tables = [Table(DECODING, "Decoding with and without the grammar", columns, tuple(rows), keys=2)]
    for system in dict.fromkeys(row[0] for row in both.rows):
        of_system = sheet.only(one for one in both.measurements if one.row[0] == system)
        tables += _gains(of_system, (system, CONSTRAINED), f"{DECODING}-{system.replace(' ', '-')}")
    notes = [
        comparison_note(sheet),
        "If an answer breaks the grammar, its quintuples before and after the break are still scored.",
    ]
    return both.section("Constrained decoding", notes, tables)


def _both_ways(measurement: Measurement) -> Iterator[Measurement]:
    """A writer's measurement as two: decoded with the grammar and without."""
    for way, end in ((CONSTRAINED, ""), (FREE, "_unconstrained")):
        result = measurement.result
        if result is not None:
            test = result[f"test{end}"]
            parsed_share = 100 * test["parsed"]
            result = {"test": test, "post_counts": result[f"post_counts{end}"], "parsed_share": parsed_share}
        yield replace(measurement, row=(*measurement.row, way), result=result)


def _table(sheet: Sheet, name: str, title: str, head: str) -> Table:
    """Precision, recall, F1, F1 of entities, and F1 by group of posts where there are groups."""
    columns = (head, *(short for short, _ in PARTS), "entities F1", *(f"{group} decides" for group in sheet.groups))
    keys = [*((part,) for _, part in PARTS), ("entities", "f1")]
    keys += [("per_group", group, "f1") for group in sheet.groups]
    rows = tuple((row[0], *(sheet.summary(row, TASK, "test", *each) for each in keys)) for row in sheet.rows)
    return Table(name, f"{title}: test", columns, rows)


def _bars(sheet: Sheet, name: str) -> Drawing:
    """F1 of each row over all posts, and by group of posts."""
    keys: dict[str, tuple[str, ...]] = {"all posts": ("f1",)}
    keys |= {f"{group} decides": ("per_group", group, "f1") for group in sheet.groups}
    title = "Test F1 by what decides the post" if len(keys) > 1 else "Test F1"
    series = {label: [sheet.summary(row, TASK, "test", *key) for row in sheet.rows] for label, key in keys.items()}
    return Drawing(name, title, svg.bars({title: series}, {title: [row[0].replace(", ", ",\n") for row in sheet.rows]}))


def _gains(sheet: Sheet, best: tuple[str, ...], name: str) -> list[Table]:
    return [difference_table(sheet, best, f"{name}-gains")] if len(sheet.rows) > 1 else []


FEW_SHOT_EXHIBITS = (
    Exhibit(CURVE, _curve_requests, _curve),
    Exhibit(SYSTEMS, _systems_requests, _systems),
    Exhibit(KNOWLEDGE, _knowledge_requests, _knowledge),
    Exhibit(DECODING, _decoding_requests, _decoding),
)
