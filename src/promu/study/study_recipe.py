"""What a study is made of: the recipes that its cells vary, the drawn worlds, the values that its sweeps go over."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Annotated, Any, Literal

from pydantic import Field, model_validator

from promu.config import Count, Positive, Settings, Share, load_recipe
from promu.training.recipe import TrainingSettings

Exhibit = Literal[
    "table1",
    "table2",
    "table3",
    "figure3",
    "figure4",
    "figure5",
    "temperature",
    "robustness",
    "transfer",
    "learning-curve",
]
ErrorKind = Literal["boxes", "nouns", "matched"]


class StudyRecipe(Settings):
    """A study: every table and figure over the same recipes.

    Attributes:
        pretrain: The recipe of pre-training, by file or name; the cells vary it.
        finetune: The recipe of each task by the name that the tables give it.
        pretrain_set, finetune_set: Settings that win over those recipes, as `key=value`.
        world: Settings of the drawn corpus that stands in the place of the recipes' data, one world a seed; null takes
            the data that the recipes name.
        transfer_world: Name of the other drawn world, in which the transfer study fine-tunes and tests.
        single_seed: Exhibits that use the first seed alone.
        systems: Of table 1, by the names in `promu.study.plan.SYSTEMS`; null takes all.
        fusions: Of table 2, by their names in `promu.modeling.fusions.FUSIONS`.
        posts: Of the learning curve, beside all.
        label_temperatures: Of the soft labels.
        cit_temperatures: L_CIT's temperature as the student begins.
        error_kinds, error_rates: Of the robustness study.
        workers: Cells at a time; null takes one a core.
        note: What the page says of the study's size.
    """

    pretrain: str
    finetune: Annotated[dict[str, str], Field(min_length=1)]
    pretrain_set: tuple[str, ...] = ()
    finetune_set: tuple[str, ...] = ()
    world: dict[str, Any] | None = None
    transfer_world: str | None = None
    single_seed: tuple[Exhibit, ...] = ()
    systems: Annotated[tuple[str, ...], Field(min_length=1)] | None = None
    fusions: tuple[str, ...] = ("concat", "hvpnet", "mmib")
    posts: tuple[Count, ...] = (50, 100, 200)
    label_temperatures: tuple[Positive, ...] = (0.02, 0.05, 0.1, 0.2)
    cit_temperatures: tuple[Positive, ...] = (0.02, 0.07, 0.2)
    error_kinds: tuple[ErrorKind, ...] = ("boxes", "nouns", "matched")
    error_rates: tuple[Share, ...] = (0.3, 0.6)
    workers: Count | None = None
    note: str = ""

    @model_validator(mode="after")
    def _transfer_is_drawn(self) -> StudyRecipe:
        if self.transfer_world is not None and self.world is None:
            raise ValueError("transfer_world is another drawn world, so world (the first one's settings) is needed too")
        return self


def load_study(name: str, overrides: Sequence[str] = ()) -> StudyRecipe:
    """The study recipe of that name or path.

    Raises:
        InputError: There is none, or it is not legal.
    """
    return load_recipe(name, StudyRecipe, overrides)


class JointFiles(Settings):
    """A joint set: JMERE files of train, dev and test."""

    train: str
    dev: str
    test: str


class PipelineRecipes(Settings):
    """The recipes of the two tasks that a pipeline is made of."""

    entities: str
    relations: str


class FewShotStudyRecipe(Settings):
    """A study of joint extraction from few posts: writer, joint model and pipeline on the same posts.

    Attributes:
        joint, pipeline: Their recipes, by file or name; the cells vary them.
        writer: The text-to-text model's; null leaves it out.
        pretrain: The recipe of pre-training from which joint model and pipeline start, on drawn captions; null starts
            them as their recipes say.
        reading: How the writer learns beforehand to restore the texts of that world, captions and posts without their
            labels; null starts it as its recipe says.
        joint_set, entities_set, relations_set, writer_set, pretrain_set: Settings that win over those recipes, as
            `key=value`.
        world: Settings of the drawn joint set (`promu fewshot draw`), one a seed.
        captions: Settings of the drawn caption pairs (`promu newsreel`); null for its defaults.
        sets: Instead of a drawn one: a joint set for each seed, in turn; they share their test posts.
        posts: Of the learning curve; all are trained on for as many steps as the last.
        asked: How many posts the questions of knowledge, reflection and decoding are asked with; one of `posts`.
        error_rate: Share of its facts that the stand-in for a language model gets wrong.
        recovered: Share of those that it puts right by self-reflection.
        workers, note: As in `StudyRecipe`.
    """

    joint: str
    pipeline: PipelineRecipes
    writer: str | None = None
    pretrain: str | None = None
    reading: TrainingSettings | None = None
    joint_set: tuple[str, ...] = ()
    entities_set: tuple[str, ...] = ()
    relations_set: tuple[str, ...] = ()
    writer_set: tuple[str, ...] = ()
    pretrain_set: tuple[str, ...] = ()
    world: dict[str, Any] | None = None
    captions: dict[str, Any] | None = None
    sets: tuple[JointFiles, ...] = ()
    posts: Annotated[tuple[Count, ...], Field(min_length=1)]
    asked: Count
    error_rate: Share = 0.5
    recovered: Share = 0.5
    workers: Count | None = None
    note: str = ""

    @model_validator(mode="after")
    def _fits(self) -> FewShotStudyRecipe:
        if (self.world is None) == (not self.sets):
            raise ValueError("set either world (a drawn joint set) or sets (files)")
        if self.world is None and (self.pretrain is not None or self.reading is not None):
            raise ValueError("pretrain and reading learn from a drawn world, so world is needed too")
        if self.reading is not None and self.writer is None:
            raise ValueError("reading is the writer's; name its recipe, or set reading to null")
        if list(self.posts) != sorted(set(self.posts)) or self.asked not in self.posts:
            raise ValueError(f"posts must rise, and asked ({self.asked}) be one of them")
        return self


def load_few_shot_study(name: str) -> FewShotStudyRecipe:
    """The study recipe of that name or path.

    Raises:
        InputError: There is none, or it is not legal.
    """
    return load_recipe(name, FewShotStudyRecipe)
