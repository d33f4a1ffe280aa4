"""Which cells the study of joint extraction from few posts asks for."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import numpy as np

from promu.config import load_recipe
from promu.corpora.jmere import read_jmere_background, write_jmere
from promu.corpora.joint_sets import FILES
from promu.errors import InputError
from promu.kecpm.kecpm_recipe import GenerationRecipe, Mode
from promu.newsreel import NewsreelSettings
from promu.newsreel.joint_world import JointSettings
from promu.schema import Post, quintuples
from promu.study.cells import SUBSET, Cell
from promu.study.few_shot_exhibits import (
    CHECKED,
    CURVE,
    DECODING,
    FIRST,
    GIVEN,
    JOINT,
    KNOWING,
    KNOWLEDGE,
    NONE,
    PIPELINE,
    SCRATCH,
    SYSTEMS,
    TASK,
    TOLD,
    WRITER,
)
from promu.study.plan import COSTS, PROMU, Entry, Settings, Strand, as_many_steps
from promu.study.study_recipe import FewShotStudyRecipe
from promu.tasks.task import TASKS, Task
from promu.training.recipe import FinetuneRecipe, PretrainRecipe


def write_few_posts(task: str, train: Path, out: Path, count: int, seed: int) -> int:
    """Write `count` of the posts of `train` to `out/posts.txt`; returns how many.

    Joint posts keep their captions and knowledge.

    Raises:
        InputError: There are fewer, or so few are asked for that a label would have no post.
    """
    posts = TASKS[task].read(train)
    rows = few_posts(TASKS[task], posts, count, seed)
    chosen = [posts[row] for row in rows]
    out.mkdir(parents=True, exist_ok=True)
    if task == "joint":
        background = read_jmere_background(train)
        write_jmere(out / SUBSET, chosen, [background[row] for row in rows])
    else:
        TASKS[task].write(out / SUBSET, chosen)
    return len(chosen)


def few_posts(task: Task, posts: Sequence[Post], count: int, seed: int) -> list[int]:
    """The rows of `count` posts by chance, each label being on one at least: a model cannot be asked for others.

    A larger count of the same seed holds the posts of a smaller one.

    Raises:
        InputError: As `write_few_posts`.
    """
    if count > len(posts):
        raise InputError(f"{count} training posts are asked for and there are {len(posts)}; ask for fewer")
    order = np.random.default_rng(seed).permutation(len(posts)).tolist()
    seen = _labels(task, [])
    first: list[int] = []
    for index in order:
        own = _labels(task, [posts[index]])
        if own - seen:
            first.append(index)
            seen |= own
    if len(first) > count:
        raise InputError(
            f"{count} training posts are too few to hold all {len(seen)} labels; ask for {len(first)} at least"
        )
    taken = set(first)
    chosen = [*first, *(index for index in order if index not in taken)][:count]
    return sorted(chosen)


def _labels(task: Task, posts: Sequence[Post]) -> set[str]:
    """The labels of posts, where joint extraction would refuse to learn from posts without any."""
    if task is TASKS["joint"] and not any(quintuples(post) for post in posts):
        return set()
    return set(task.labels(posts))


def plan_few_shot(study: FewShotStudyRecipe, seeds: int) -> list[Entry]:
    """The entries of all exhibits over the seeds 0, 1, ...

    Raises:
        InputError: A recipe cannot be read, or there is no seed.
    """
    if seeds < 1:
        raise InputError(f"--seeds is {seeds}; at least 1 is needed")
    recipes = _Recipes(study)
    return [entry for seed in range(seeds) for entry in _entries(FewShot(study, recipes, seed))]


def _entries(one: FewShot) -> Iterator[Entry]:
    study, seed = one.study, one.seed
    for posts in study.posts:
        for system, cell in one.systems(posts).items():
            yield Entry(CURVE, (system, str(posts)), TASK, seed, cell)
    compared = one.systems(study.asked)
    if study.pretrain is not None:
        compared[SCRATCH] = one.joint(study.asked, pretrained=False)
    for system, cell in compared.items():
        yield Entry(SYSTEMS, (system,), TASK, seed, cell)
    if study.writer is None:
        return
    told = {NONE: one.writer(study.asked, "text"), GIVEN: one.writer(study.asked, "text+knowledge")}
    if study.world is not None:
        for name, reflection in ((FIRST, False), (CHECKED, True)):
            told[name] = one.writer(study.asked, "text+knowledge", reflection)
            yield Entry(KNOWLEDGE, (name,), TOLD, seed, one.known(study.asked, reflection))
    for name in (NONE, FIRST, CHECKED, GIVEN):
        if name in told:
            yield Entry(KNOWLEDGE, (name,), TASK, seed, told[name])
    for system in (WRITER, KNOWING):
        yield Entry(DECODING, (system,), TASK, seed, compared[system])


class _Recipes:
    """The recipes of a study, read once."""

    def __init__(self, study: FewShotStudyRecipe) -> None:
        self.joint = _finetuning(study.joint, study.joint_set, "joint")
        self.entities = _finetuning(study.pipeline.entities, study.entities_set, "ner")
        self.relations = _finetuning(study.pipeline.relations, study.relations_set, "re")
        self.writer = self.pretrain = None
        if study.writer is not None:
            self.writer = load_recipe(study.writer, GenerationRecipe, study.writer_set)
        if study.pretrain is not None:
            self.pretrain = load_recipe(study.pretrain, PretrainRecipe, study.pretrain_set)
        for name, kind, settings in (
            ("world", JointSettings, study.world),
            ("captions", NewsreelSettings, study.captions),
        ):
            try:
                kind(**(settings or {}))
            except TypeError as error:
                raise InputError(f"{name}: {error}; see promu fewshot draw --help and promu newsreel --help") from None


def _finetuning(name: str, overrides: tuple[str, ...], task: str) -> FinetuneRecipe:
    recipe = load_recipe(name, FinetuneRecipe, overrides)
    if recipe.task != task:
        raise InputError(f"the study needs a recipe of the task {task} here, and {name!r} is one of {recipe.task}")
    return recipe


@dataclass(frozen=True)
class FewShot:
    """Makes the cells of one seed; equal calls give cells of equal keys, so that nothing is done twice.

    Attributes:
        study: What is studied.
        recipes: Its recipes.
        seed: Of worlds, choice of posts, and models.
    """

    study: FewShotStudyRecipe
    recipes: _Recipes
    seed: int

    def systems(self, posts: int) -> dict[str, Cell]:
        """The systems that the learning curve compares, on the same posts."""
        found = {JOINT: self.joint(posts), PIPELINE: self.pipeline(posts)}
        if self.recipes.writer is not None:
            found |= {WRITER: self.writer(posts, "text"), KNOWING: self.writer(posts, "text+knowledge")}
        return found

    def joint(self, posts: int, pretrained: bool = True) -> Cell:
        """The joint model, tested."""
        model, start = self._start(pretrained)
        recipe = self.recipes.joint
        data = {**self._files, "train": f"cell:few/{SUBSET}", **self._seen(recipe)}
        settings = {**self._finetuning(recipe, posts), **model, "data": data}
        name = JOINT if pretrained else SCRATCH
        return self._cell("finetune", f"{name} · {posts} posts", settings, {**start, "few": self._few(posts)})

    def pipeline(self, posts: int) -> Cell:
        """Two models, trained on the same posts, and scored as one."""
        files = {"train": f"cell:few/{SUBSET}", "valid": self._files["dev"], "test": self._files["test"]}
        split = self._cell("split", f"sets of a pipeline · {posts} posts", files, {"few": self._few(posts)})
        model, start = self._start(True)
        models = {}
        for task, recipe in (("ner", self.recipes.entities), ("re", self.recipes.relations)):
            names = {"train": "train", "dev": "valid", "test": "test"}
            data = {name: f"cell:split/{FILES[file][task == 're']}" for name, file in names.items()}
            seen = {**self._seen(recipe), "groups": None}
            settings = {**self._finetuning(recipe, posts), **model, "data": {**data, **seen}}
            models[task] = self._cell("finetune", f"{task} · {posts} posts", settings, {**start, "split": split})
        settings = {"ner": "cell:ner/model", "re": "cell:re/model", "test": self._files["test"]}
        settings |= self._seen(self.recipes.entities)
        return self._cell("pipeline", f"{PIPELINE} · {posts} posts", settings, models)

    def writer(self, posts: int, mode: Mode, reflection: bool | None = None) -> Cell:
        """The text-to-text model, tested.

        Its knowledge is the set's or, where `reflection` says with or without, what a stand-in wrote.
        """
        recipe = self.recipes.writer
        assert recipe is not None
        known = None if reflection is None else self.known(posts, reflection)
        settings = recipe.model_dump(mode="json", exclude={"out", "seeds"})
        settings["seed"] = self.seed
        settings["training"] = as_many_steps(settings["training"], posts, self.study.posts[-1])
        settings["prompt"]["mode"] = mode
        settings["data"] = {
            **self._files,
            "train": f"cell:few/{SUBSET}",
            "knowledge": None if known is None else "cell:known",
            "groups": self._groups,
            "versions": recipe.data.versions,
        }
        inputs = {"few": self._few(posts), "known": known, "read": self._read}
        if self._read is not None:
            settings["model"] = {"name": "cell:read/model"}
        name = f"{WRITER}, {mode}" + ("" if reflection is None else f", {CHECKED if reflection else FIRST}")
        return self._cell("write", f"{name} · {posts} posts", settings, inputs)

    def known(self, posts: int, reflection: bool) -> Cell:
        """What a stand-in for a language model writes about the posts, with self-reflection or without."""
        files = [f"cell:few/{SUBSET}", self._files["dev"], self._files["test"]]
        errors = {"rate": self.study.error_rate, "recovered": self.study.recovered, "seed": self.seed}
        settings = {"files": files, "errors": errors, "reflection": reflection}
        return self._cell(
            "know", f"{CHECKED if reflection else FIRST} · {posts} posts", settings, {"few": self._few(posts)}
        )

    @cached_property
    def _captions(self) -> Settings:
        """The world of the captions."""
        return {**(self.study.captions or {}), "world": "news"}

    @cached_property
    def _strand(self) -> Strand | None:
        """Pre-training on the drawn captions."""
        if self.recipes.pretrain is None:
            return None
        return Strand(self.seed, self.recipes.pretrain, {}, self._captions)

    @cached_property
    def _drawn(self) -> Cell | None:
        if self.study.world is None:
            return None
        return self._cell("draw-joint", "drawing", {**self.study.world, "seed": self.seed}, {})

    @cached_property
    def _read(self) -> Cell | None:
        """The writer when it has read the captions."""
        if self.study.reading is None or self.recipes.writer is None:
            return None
        captions = self._cell("draw", "drawing captions", {**self._captions, "seed": self.seed}, {})
        settings = {
            "captions": "cell:captions/pairs/captions.csv",
            "posts": "cell:captions/texts.txt",
            "model": self.recipes.writer.model.model_dump(mode="json"),
            "training": self.study.reading.model_dump(mode="json"),
            "seed": self.seed,
        }
        return self._cell("read", f"{WRITER} reads", settings, {"captions": captions})

    @property
    def _files(self) -> dict[str, str]:
        """Train, dev and test of the whole set."""
        if self._drawn is None:
            return dict(self.study.sets[self.seed % len(self.study.sets)].model_dump())
        return {"train": "cell:drawn/train.json", "dev": "cell:drawn/val.json", "test": "cell:drawn/test.json"}

    @property
    def _groups(self) -> str | None:
        return None if self._drawn is None else "cell:drawn/groups.json"

    def _seen(self, recipe: FinetuneRecipe) -> Settings:
        """Images and groups of the posts: the drawn ones, or those that a recipe names."""
        images = recipe.data.images if self._drawn is None else "cell:drawn/images"
        return {"images": None if recipe.images == "none" else images, "groups": self._groups}

    def _finetuning(self, recipe: FinetuneRecipe, posts: int) -> Settings:
        """A recipe on a few posts, data left out."""
        settings = recipe.model_dump(mode="json", exclude={"out", "data"})
        training = as_many_steps(settings["training"], posts, self.study.posts[-1])
        return {**settings, "seed": self.seed, "training": training}

    def _start(self, pretrained: bool) -> tuple[Settings, dict[str, Cell]]:
        """What a model starts from, as settings that win over its recipe's, and the cell that made it."""
        if self._strand is None:
            return {}, {}
        if pretrained:
            return {"model": {"init": "cell:init/model"}}, {"init": self._strand.pretrain(PROMU)}
        return {"model": self._strand.untrained()}, {"taught": self._strand.taught}

    def _few(self, posts: int) -> Cell:
        settings = {"task": "joint", "train": self._files["train"], "posts": posts, "seed": self.seed}
        return self._cell("few", f"{posts} posts", settings, {})

    def _cell(self, kind: str, label: str, settings: Settings, inputs: Mapping[str, Cell | None]) -> Cell:
        """A cell that reads those of the inputs that there are, and the drawn set where its settings name it."""
        there = {name: cell for name, cell in inputs.items() if cell is not None}
        if "cell:drawn/" in json.dumps(settings):
            there["drawn"] = self._drawn  # type: ignore[assignment]
        return Cell(kind, f"seed {self.seed} · {label}", settings, there, COSTS[kind])
