"""Recipes of the studies: which recipes are varied, on which data, and over which values."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import BeforeValidator, Field, model_validator

from promu.config import Count, Place, Positive, Settings, Share
from promu.newsreel.settings import JointSettings, NewsreelSettings
from promu.training.recipe import TrainingSettings

ErrorKind = Literal["boxes", "nouns", "matched"]
Overrides = tuple[str, ...]
Workers = Annotated[
    Count | None, Field(description="Jobs that run at a time; null: one per accelerator, or per core without.")
]
Note = Annotated[str, Field(description="What the page says about the size of the study.")]


class GridPoint(Settings):
    """One setting of fine-tuning that every system tries."""

    lr: Positive | None = Field(default=None, description="Highest learning rate; null takes that of the recipe.")
    epochs: Positive | None = Field(default=None, description="Times through the data; null takes that of the recipe.")


Grid = Annotated[
    tuple[GridPoint, ...],
    Field(description="Settings of fine-tuning that every system tries, chosen on dev; empty takes the recipes' own."),
]


class StudyRecipe(Settings):
    """A study: tables and figures over the same recipes."""

    pretrain: str = Field(description="The pre-training recipe that the jobs vary: a file or a name.")
    finetune: dict[str, str] = Field(
        min_length=1, description="The fine-tuning recipe of each task, by its name in the tables."
    )
    pretrain_set: Overrides = Field(default=(), description="Overrides of the pre-training recipe, each `key=value`.")
    finetune_set: Overrides = Field(default=(), description="Overrides of the fine-tuning recipes, each `key=value`.")
    grid: Grid = ()
    world: NewsreelSettings | None = Field(
        default=None, description="Settings of the drawn corpus, one per seed; null takes the recipes' data."
    )
    transfer_world: str | None = Field(default=None, description="The other drawn world, of the exhibit `transfer`.")
    single_seed: tuple[str, ...] = Field(default=(), description="Exhibits that use the first seed only.")
    systems: tuple[str, ...] | None = Field(
        default=None,
        min_length=1,
        description="Systems of table 1, fusions too (`umt · promu`); null: the paper's.",
    )
    published: dict[str, dict[str, float]] = Field(
        default={}, description="Published F1 by system and task, shown beside those of table 1."
    )
    fusions: tuple[str, ...] = Field(default=("concat", "hvpnet", "mmib"), description="Fusions of table 2.")
    pretrainings: tuple[str, ...] = Field(
        default=("promu",), min_length=1, description="Pre-trainings of table 2, beside none: `CLIP`, `BLIP`, `promu` …"
    )
    posts: tuple[Count, ...] = Field(
        default=(50, 100, 200), description="Training posts of the learning curve, beside all."
    )
    label_temperatures: tuple[Positive, ...] = Field(
        default=(0.02, 0.05, 0.1, 0.2), description="Temperatures of the soft labels."
    )
    cit_temperatures: tuple[Positive, ...] = Field(
        default=(0.02, 0.07, 0.2), description="Initial values of L_CIT's temperature."
    )
    error_kinds: tuple[ErrorKind, ...] = Field(
        default=("boxes", "nouns", "matched"), description="Kinds of errors in `robustness`."
    )
    error_rates: tuple[Share, ...] = Field(default=(0.3, 0.6), description="Rates of these errors.")
    parser: str | None = Field(default=None, description="spaCy pipeline of the fusions `mega` and `umgf`.")
    workers: Workers = None
    note: Note = ""

    @model_validator(mode="after")
    def _transfer_is_drawn(self) -> StudyRecipe:
        if self.transfer_world is not None and self.world is None:
            raise ValueError("transfer_world is another drawn world, so world (the first one's settings) is needed too")
        return self

    @model_validator(mode="after")
    def _published_tasks_are_known(self) -> StudyRecipe:
        for system, figures in self.published.items():
            if unknown := set(figures) - set(self.finetune):
                raise ValueError(f"published: {system!r} names {min(unknown)!r}, which is no task of finetune")
        return self


class JointFiles(Settings):
    """The JMERE files of a joint set."""

    train: Place = Field(description="Posts to train on.")
    dev: Place = Field(description="Posts by which the best epoch is chosen.")
    test: Place = Field(description="Posts that are scored once, at the end.")


class PipelineRecipes(Settings):
    """The fine-tuning recipes of the two models of a pipeline."""

    entities: str = Field(description="The recipe of the entity model: a file or a name.")
    relations: str = Field(description="The recipe of the relation model: a file or a name.")


class FewShotStudyRecipe(Settings):
    """A study of joint extraction from few posts: writer, joint model and pipeline on the same posts."""

    joint: str = Field(description="The recipe of the joint model: a file or a name.")
    pipeline: PipelineRecipes = Field(description="The recipes of the pipeline's two models.")
    writer: str | None = Field(default=None, description="The recipe of the text-to-text model; null leaves it out.")
    pretrain: str | None = Field(
        default=None, description="The recipe of pre-training that joint model and pipeline start from, or null."
    )
    reading: TrainingSettings | None = Field(
        default=None,
        description="Training of the writer, before the posts, to restore texts of the drawn world, or null.",
    )
    joint_set: Overrides = Field(default=(), description="Overrides of the joint model's recipe, each `key=value`.")
    entities_set: Overrides = Field(default=(), description="Overrides of the pipeline's entity recipe.")
    relations_set: Overrides = Field(default=(), description="Overrides of the pipeline's relation recipe.")
    writer_set: Overrides = Field(default=(), description="Overrides of the writer's recipe.")
    pretrain_set: Overrides = Field(default=(), description="Overrides of the pre-training recipe.")
    grid: Grid = ()
    world: JointSettings | None = Field(default=None, description="Settings of the drawn joint set, one per seed.")
    captions: NewsreelSettings = Field(default=NewsreelSettings(), description="Settings of the drawn caption pairs.")
    sets: tuple[JointFiles, ...] = Field(
        default=(), description="Joint sets on file instead, one per seed, in turn, with shared test posts."
    )
    posts: tuple[Count, ...] = Field(
        min_length=1, description="Training posts of the learning curve, each for as many steps as the last."
    )
    compared_at: Count = Field(description="Training posts of the other exhibits: one of `posts`.")
    error_rate: Share = Field(default=0.5, description="Share of its facts that the mock LLM gets wrong at first.")
    recovered: Share = Field(default=0.5, description="Share of these errors that it corrects by self-reflection.")
    workers: Workers = None
    note: Note = ""

    @model_validator(mode="after")
    def _fits(self) -> FewShotStudyRecipe:
        if (self.world is None) == (not self.sets):
            raise ValueError("set either world (a drawn joint set) or sets (files)")
        if self.world is None and (self.pretrain is not None or self.reading is not None):
            raise ValueError("pretrain and reading learn from a drawn world, so world is needed too")
        if self.reading is not None and self.writer is None:
            raise ValueError("reading is the writer's; name its recipe, or set reading to null")
        if list(self.posts) != sorted(set(self.posts)) or self.compared_at not in self.posts:
            raise ValueError(f"posts must rise, and compared_at ({self.compared_at}) be one of them")
        return self


Arm = Annotated[
    Literal["none", "true", "shuffled", "empty"], BeforeValidator(lambda arm: "true" if arm is True else arm)
]
"""What stands beside the text of a post; a `true` of YAML is the name of the arm too."""


class ContextSet(Settings):
    """A set of posts and the descriptions of its images."""

    recipe: str = Field(description="The fine-tuning recipe: a file or a name.")
    descriptions: dict[str, Place] = Field(
        min_length=1,
        description="Files of descriptions by name, JSON lines of `image` and `text`; the best on dev is used.",
    )


class ContextStudyRecipe(Settings):
    """A study of what descriptions of images add to the text of posts."""

    sets: dict[str, ContextSet] = Field(
        min_length=1, description="The sets, by the name that the tables have for them."
    )
    only: tuple[str, ...] | None = Field(default=None, min_length=1, description="Names of the sets to run; null: all.")
    finetune_set: Overrides = Field(default=(), description="Overrides of the fine-tuning recipes, each `key=value`.")
    arms: tuple[Arm, ...] = Field(
        default=("none", "true", "shuffled", "empty"), min_length=1, description="What stands beside the text."
    )
    shares: dict[Annotated[float, Field(gt=0, le=1)], Positive] = Field(
        default={0.05: 4.0, 0.2: 2.0, 1.0: 1.0},
        min_length=1,
        description="Shares of the training posts, each with the factor by which the recipe's epochs are multiplied.",
    )
    workers: Workers = None
    note: Note = ""

    @model_validator(mode="after")
    def _sets_are_there(self) -> ContextStudyRecipe:
        if unknown := [name for name in self.only or () if name not in self.sets]:
            raise ValueError(f"only names {unknown[0]!r}, and the sets are {', '.join(self.sets)}")
        return self
