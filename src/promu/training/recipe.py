"""Recipes of pre-training and fine-tuning: every setting of a run, declared once with its type, limits and meaning."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Any, ClassVar, Literal, Self

from pydantic import Field, field_validator, model_validator

from promu.alignment.corpus_settings import CorpusSettings
from promu.config import (
    BackboneSettings,
    Count,
    ModelSettings,
    NotNegative,
    NotNegativeInt,
    Place,
    Positive,
    Recipe,
    Settings,
    Share,
)
from promu.corpora.context_files import check_name_of
from promu.corpora.tag_schemes import SCHEME
from promu.errors import InputError
from promu.extensions import extensions
from promu.schema import MissingPostImage, Scheme


class TrainingSettings(Settings):
    """The optimiser and its schedule: AdamW, gradients clipped to length 1, warm-up, then cosine decay to zero."""

    epochs: Positive = Field(default=1, description="times through the data; may be a fraction")
    steps: Count | None = Field(default=None, description="steps of the whole run in place of `epochs`; null: by those")
    batch_size: Count = Field(default=16, description="rows a step, of all processes together")
    lr: Positive = Field(default=1e-4, description="highest learning rate (AdamW)")
    head_lr: Positive | dict[str, Positive] | None = Field(
        default=None,
        description="highest learning rate of the heads; null takes `lr`; of several tasks also by task, "
        "`{ner: 1.0e-2, re: 1.0e-3}`",
    )
    weight_decay: NotNegative = Field(default=1e-3, description="weight decay of AdamW")
    warmup: Share = Field(default=0.1, description="share of the steps in which the rate rises")
    precision: Literal["auto", "fp32", "bf16"] = Field(
        default="auto", description="`bf16` or `fp32`; `auto` takes bf16 where the device computes it natively"
    )
    log_every: Count = Field(default=10, description="steps between two lines of `log.jsonl`")
    save_every: Count | None = Field(default=None, description="steps between checkpoints; null: once an epoch")
    validate_every: Count | None = Field(default=None, description="steps between validations; null: once an epoch")
    patience: Count | None = Field(
        default=None, description="validations without a better one that end fine-tuning, once one was above zero"
    )
    micro_batch: Count | None = Field(default=None, description="rows at once; L_CIT still contrasts the whole batch")
    workers: NotNegativeInt = Field(default=0, description="processes that make batches")


class TokenizerSettings(Settings):
    """A WordPiece vocabulary to train on the captions, or on the posts of a fine-tuning."""

    size: Annotated[int, Field(ge=100)] = Field(description="tokens of the vocabulary at most")
    texts: list[Place] = Field(default=[], description="further files of plain text to train it on")
    min_frequency: Count = Field(default=2, description="how often a token must occur")


class ContextData(Settings):
    """Further texts about the posts of a task."""

    contexts: dict[str, Place | list[Place] | None] = Field(
        default={},
        description="further texts about the posts, read after them ([contexts.md](contexts.md)): file or files by "
        "name; null takes those that the posts bring under this name",
    )
    allow_leaks: bool = Field(
        default=False, description="train and score although contexts say labels of the gold, as for an upper bound"
    )

    @field_validator("contexts")
    @classmethod
    def _names_of_contexts(cls, contexts: dict[str, Any]) -> dict[str, Any]:
        try:
            return {check_name_of(name): file for name, file in contexts.items()}
        except InputError as error:
            raise ValueError(error.reason) from None


class PromptSettings(Settings):
    """Labels as words, with `labels: prompts` ([open-labels.md](open-labels.md))."""

    texts: dict[str, str] = Field(
        default={}, description="what describes a label in its prompt, by its name: `{MISC: works and events}`"
    )
    entity_template: Literal["1", "2"] = Field(
        default="1", description="prompt of a type: `1` or `2`, as of pre-training"
    )
    relation_template: Literal["A", "B", "C"] = Field(default="A", description="prompt of a relation: `A`, `B` or `C`")
    negatives: NotNegativeInt = Field(default=16, description="labels of a batch that none of its posts has, at most")
    dropped: Share = Field(
        default=0.1, description="share of the labels of a batch that it is not asked for: their answers are none then"
    )
    held_out: list[str] | Share = Field(
        default=[],
        description="labels, or which share of them, that training never sees: posts that have one are left out, and "
        "test is scored on them once more; which ones the seed decides",
    )


class FinetuneData(ContextData):
    """Labelled files of one task, and the folder of their images."""

    train: Place = Field(description="file to learn from")
    dev: Place = Field(description="file by which the best epoch is chosen")
    test: Place | None = Field(default=None, description="file that is scored once, at the end")
    format: str | None = Field(
        default=None,
        description="format of the files: the task's published one (`ner`: `conll`, `re`: `mnre`, `joint`: `jmere`), "
        "`posts`, JSON lines for any task, or for `ner` also `gmner`, `fmnerg` (fine types) and `fmnerg-coarse`; null "
        "takes `posts` for a name in .jsonl, else the published one",
    )
    scheme: Scheme = Field(default="auto", description=SCHEME)
    images: Place | None = Field(default=None, description="folder of the posts' images")
    groups: Place | None = Field(default=None, description="JSON, group by post id: figures by group on test")


class FinetuneRecipe(Recipe):
    """Fine-tune one task; the best epoch on dev is chosen, test is scored once at the end."""

    command: ClassVar[str] = "promu finetune"
    telling_key: ClassVar[str] = "task"

    @classmethod
    def kind_of(cls, raw: Mapping[str, Any]) -> type[Self]:
        """`MultiTaskRecipe` where `task` is a list."""
        several: Any = MultiTaskRecipe if isinstance(raw.get("task"), list) else cls
        return several

    task: str = Field(description="`ner`, `re`, `joint`, or a task that an installed package adds")
    data: FinetuneData = Field(description="files and images")
    model: ModelSettings = Field(description="the backbone")
    labels: Literal["fixed", "prompts"] = Field(
        default="fixed",
        description="`fixed`: the labels of the training posts; `prompts`: words that the text encoder reads, so that "
        "any type or relation can be asked for ([open-labels.md](open-labels.md))",
    )
    prompts: PromptSettings = Field(default=PromptSettings(), description="how labels become prompts")
    tokenizer: TokenizerSettings | None = Field(
        default=None,
        description="a vocabulary to train on the words of `data.train`, for a text encoder made from scratch; null "
        "takes the model's",
    )
    training: TrainingSettings = Field(default=TrainingSettings(), description="optimiser and schedule")
    images: Literal[MissingPostImage, "none"] = Field(
        default="raise",
        description="`raise` stops at the first post whose image is missing or broken, `text-only` reads "
        "such a post as text and counts it, `none` reads every post as text",
    )
    seed: NotNegativeInt = Field(default=0, description="seed of the order of posts, of dropout and of new weights")
    out: Place = Field(description="folder of the run")

    @field_validator("task")
    @classmethod
    def _known_task(cls, task: str) -> str:
        names = ["ner", "re", "joint", *(entry.name for entry in extensions("promu.tasks"))]
        if task not in names:
            raise ValueError(f"must be one of {', '.join(names)}")
        return task

    @model_validator(mode="after")
    def _one_tokenizer(self) -> FinetuneRecipe:
        if self.tokenizer is not None and (self.model.tokenizer or not isinstance(self.model.text, dict)):
            raise ValueError("tokenizer is trained for a text encoder from scratch (model.text with model_type) alone")
        return self

    @model_validator(mode="after")
    def _one_rate(self) -> FinetuneRecipe:
        if isinstance(self.training.head_lr, dict) and isinstance(self.task, str):
            raise ValueError("training.head_lr has rates by task, and there is one task; give one rate")
        return self

    @model_validator(mode="after")
    def _prompts_of_two_tasks(self) -> FinetuneRecipe:
        if self.labels == "fixed" and self.prompts != PromptSettings():
            raise ValueError("prompts has settings of labels: prompts, and labels is fixed; set labels: prompts")
        if self.labels == "prompts" and not {"ner", "re"}.issuperset(
            [self.task] if isinstance(self.task, str) else self.task
        ):
            raise ValueError(f"labels: prompts is for the tasks ner and re, and this is {self.task}; leave it out")
        return self

    @model_validator(mode="after")
    def _images_somewhere(self) -> FinetuneRecipe:
        if self.images != "none" and self.data.images is None:
            raise ValueError("data.images is missing; name the folder of images, or set images: none")
        return self


class TaskFile(Settings):
    """A file of posts whose entity types have other names than in the other files, or whose images lie elsewhere."""

    file: Place = Field(description="the file")
    types: dict[str, str] = Field(
        default={}, description="entity type in the file -> its name in the model: `{OTHER: MISC}`"
    )
    images: Place | None = Field(default=None, description="folder of its posts' images; null takes the task's")
    format: str | None = Field(default=None, description="its format; null takes the task's")


Files = Place | TaskFile | list[Place | TaskFile]


class TaskData(ContextData):
    """The files of one of several tasks; where a split has several files, they are read as one set."""

    train: Files = Field(description="file, or list of files, to learn from")
    dev: Files = Field(description="file or files that choose the epoch")
    test: Files | None = Field(default=None, description="file or files that are scored once, at the end")
    format: str | None = Field(default=None, description="format of the files, as with one task")
    scheme: Scheme = Field(default="auto", description=SCHEME)
    images: Place | None = Field(default=None, description="folder of the posts' images")
    groups: Place | None = Field(default=None, description="JSON, group by post id: figures by group on test")

    def files(self) -> dict[str, list[TaskFile]]:
        """The files of each split that has some."""
        splits = {"train": self.train, "dev": self.dev, "test": self.test}
        listed = {split: one if isinstance(one, list) else [one] for split, one in splits.items() if one is not None}
        return {
            split: [one if isinstance(one, TaskFile) else TaskFile(file=one) for one in files]
            for split, files in listed.items()
        }


class TogetherSettings(Settings):
    """How several tasks share their training."""

    sampling: Literal["proportional", "equal"] | dict[str, Positive] = Field(
        default="proportional",
        description="rows of each task in an epoch, which has as many rows as all sets together: `proportional` to its "
        "set, `equal`, or weights by task, `{ner: 2, re: 1}`",
    )
    loss_weights: dict[str, Positive] = Field(
        default={}, description="weight of a task's loss, of each row; 1 for a task that is not named"
    )
    chosen_by: Literal["mean", "minimum", "ner", "re"] = Field(
        default="mean", description="F1 on dev that chooses the epoch: `mean` or `minimum` of the tasks', or one task's"
    )


TaskName = Literal["ner", "re"]


class MultiTaskRecipe(FinetuneRecipe):
    """Fine-tune one model for several tasks: one backbone, a head for each task."""

    task: list[TaskName] = Field(min_length=1, description="list of `ner`, `re`")  # type: ignore[assignment]
    data: dict[TaskName, TaskData] = Field(description="files and images of each task")  # type: ignore[assignment]
    together: TogetherSettings = Field(default=TogetherSettings(), description="how the tasks share the training")

    @field_validator("task")
    @classmethod
    def _known_task(cls, task: list[TaskName]) -> list[TaskName]:  # type: ignore[override]
        if len(set(task)) < len(task):
            raise ValueError("names a task twice")
        return task

    @model_validator(mode="after")
    def _images_somewhere(self) -> MultiTaskRecipe:
        for task, data in self.data.items():
            everywhere = all(file.images for files in data.files().values() for file in files)
            if self.images != "none" and data.images is None and not everywhere:
                raise ValueError(f"data.{task}.images is missing; name the folder of images, or set images: none")
        return self

    @model_validator(mode="after")
    def _named_tasks(self) -> MultiTaskRecipe:
        if set(self.data) != set(self.task):
            raise ValueError(f"data has files of {', '.join(self.data)}, and the tasks are {', '.join(self.task)}")
        rates, shares, weights = self.training.head_lr, self.together.sampling, self.together.loss_weights
        by_task = {"training.head_lr": rates, "together.sampling": shares, "together.loss_weights": weights}
        for name, values in by_task.items():
            if isinstance(values, dict) and (others := set(values) - set(self.task)):
                raise ValueError(f"{name} names {', '.join(sorted(others))}, and the tasks are {', '.join(self.task)}")
        if isinstance(shares, dict) and (left := [task for task in self.task if task not in shares]):
            raise ValueError(f"together.sampling has no weight for {', '.join(left)}; give each task one")
        if self.together.chosen_by not in ("mean", "minimum", *self.task):
            raise ValueError(f"together.chosen_by is {self.together.chosen_by}, which is none of the tasks")
        return self


class NounSettings(Settings):
    """Nouns found in the corpus's captions by a spaCy pipeline."""

    pipeline: str = Field(description="spaCy pipeline that finds nouns: an installed one, folder, `package:NAME/PATH`")
    stop: Place | None = Field(default=None, description="file of words that are no nouns")


class PropertySettings(Settings):
    """Relations from a table of Wikidata properties."""

    properties: Place = Field(description="table of Wikidata properties")
    meta: Place | None = Field(default=None, description="file of rules for those that relate no things")


class PretrainData(Settings):
    """The corpus, and where candidates come from."""

    corpus: Place | CorpusSettings = Field(description="folder that `promu corpus build` made, or how to build it")
    dev: Place | None = Field(default=None, description="corpus to validate on; null takes what building held out")
    filter: Place | None = Field(
        default=None,
        description="folder of a model with L_ITM and L_LM that filters the captions: those that it does not hold for "
        "the image's are left out, and those that it writes are added (BLIP)",
    )
    nouns: Place | NounSettings = Field(description="file of candidates, or how to find them")
    relations: Place | PropertySettings = Field(description="file of candidates, or how to find them")


class ViewSettings(Settings):
    """Random views of an image, which its boxes follow."""

    crop: Annotated[float, Field(gt=0.0, le=1.0)] = Field(
        default=0.5, description="smallest share of the image's area that a view keeps; 1 turns crops and flips off"
    )
    jitter: Share = Field(default=0.0, description="brightness and contrast change by random factors of 1 ± this share")
    cached: Count = Field(
        default=2, description="views of an image whose features are stored, with frozen networks as encoder"
    )


class TeacherSettings(Settings):
    """The teacher: self-trained from its encoders, `init` one trained before, or `name` any CLIP-type model."""

    init: Place | None = Field(default=None, description="folder of a teacher trained before")
    name: Place | None = Field(default=None, description="any CLIP- or SigLIP-type model")
    kind: str = Field(default="hub", description="what `name` is: `hub`, or a teacher that an installed package adds")
    text: Place | dict[str, Any] | None = Field(default=None, description="its text encoder, as under `model`")
    vision: Place | dict[str, Any] | None = Field(default=None, description="its vision encoder, as under `model`")
    config: BackboneSettings = Field(default=BackboneSettings(), description="further settings of its backbone")
    training: TrainingSettings = Field(default=TrainingSettings(), description="its optimiser and schedule")
    views: ViewSettings = Field(default=ViewSettings(crop=0.3), description="its views of the images")
    seed: NotNegativeInt = Field(default=0, description="seed of its training")

    @model_validator(mode="after")
    def _one_origin(self) -> TeacherSettings:
        origins = [self.init is not None, self.name is not None, self.text is not None or self.vision is not None]
        if sum(origins) != 1 or (self.text is None) != (self.vision is None):
            raise ValueError("set one of init (a trained teacher), name (a CLIP-type model), or text and vision")
        return self


class LabelSettings(Settings):
    """How the teacher labels regions and images: candidates, templates, temperature."""

    num_nouns: Count = Field(default=1000, description="candidates of regions (M of Eq 6)")
    num_relations: Count = Field(default=100, description="candidates of images (L of Eq 9)")
    entity_template: str = Field(default="1", description='prompt of a noun: `"1"` or `"2"`')
    relation_template: str = Field(default="A", description="prompt of a relation: `A`, `B` or `C`")
    temperature: Positive | None = Field(default=None, description="of the softmax; null takes the teacher's own")
    top_k: Count = Field(default=16, description="candidates stored of each label; the others are stored as one sum")
    detector_weight: Share = Field(
        default=0.0,
        description="share of a region's label, times the detector's score, that goes to the nouns for the detector's "
        "category (beyond the paper)",
    )
    synonyms: Place | None = Field(default=None, description="nouns that name a detector's category; null: COCO's")


OBJECTIVES: dict[str, dict[str, Any]] = {
    "promu": {},
    "clip": {"itm": 0.0, "coe": 0.0, "cir": 0.0},
    "blip": {"coe": 0.0, "cir": 0.0, "lm": 1.0},
    "oscar": {"itm": 0.0, "cit": 0.0, "coe": 0.0, "cir": 0.0, "mlm": 1.0, "tag": 1.0},
    "u-visualbert": {"itm": 0.0, "cit": 0.0, "coe": 0.0, "cir": 0.0, "mlm": 1.0, "unpaired": True},
}
"""Objectives of pre-training by the name of their method: the settings of `LossSettings` that make each."""


class LossSettings(Settings):
    """The losses of pre-training: weights and switches, or the name of a method in `OBJECTIVES` that has them.

    Example:
        >>> LossSettings.model_validate("blip").weights()
        {'itm': 1.0, 'cit': 1.0, 'coe': 0.0, 'cir': 0.0, 'mlm': 0.0, 'lm': 1.0, 'tag': 0.0}
    """

    itm: NotNegative = Field(default=1.0, description="weight of L_ITM (Eq 3); 0 turns a loss off")
    cit: NotNegative = Field(default=1.0, description="weight of L_CIT (Eq 4, 5)")
    coe: NotNegative = Field(default=1.0, description="weight of L_COE (Eq 6-8)")
    cir: NotNegative = Field(default=1.0, description="weight of L_CIR (Eq 9, 10)")
    mlm: NotNegative = Field(default=0.0, description="weight of masked language modelling (beyond the paper)")
    lm: NotNegative = Field(default=0.0, description="weight of L_LM, a decoder that writes the caption (BLIP)")
    tag: NotNegative = Field(
        default=0.0,
        description="weight of the loss of polluted object tags (Oscar); the regions' labels are then read as tags "
        "behind each caption",
    )
    unpaired: bool = Field(
        default=False,
        description="a pair is read as its caption alone or as its image alone, with object tags as text "
        "(U-VisualBERT); for masked language modelling alone",
    )
    hard_labels: bool = Field(default=False, description="the likeliest candidate alone, in place of the distribution")
    confidence_floor: Share = Field(default=0.0, description="labels whose top probability is lower are left out")
    matched_only: bool = Field(default=False, description="L_COE and L_CIR of matched pairs alone")

    def weights(self) -> dict[str, float]:
        """The weights by loss name."""
        return {name: getattr(self, name) for name in ("itm", "cit", "coe", "cir", "mlm", "lm", "tag")}

    @property
    def tags(self) -> bool:
        """Whether object tags are read; falsified pairs then are not, unless L_ITM reads them."""
        return bool(self.tag) or self.unpaired

    @model_validator(mode="before")
    @classmethod
    def _of_a_method(cls, value: Any) -> Any:
        if not isinstance(value, str):
            return value
        if value not in OBJECTIVES:
            raise ValueError(f"{value!r} is no objective; name one of {', '.join(OBJECTIVES)}, or give weights")
        return OBJECTIVES[value]

    @model_validator(mode="after")
    def _tags_go_with_them(self) -> LossSettings:
        on = [name for name, weight in self.weights().items() if weight]
        if self.tag and self.cit:
            raise ValueError(
                "tag shows the text encoder what is in the image, which L_CIT would learn from; set cit to 0"
            )
        if self.unpaired and on != ["mlm"]:
            raise ValueError("unpaired leaves no pair to compare; give mlm a weight, and every other loss 0")
        return self


class PretrainRecipe(Recipe):
    """Teacher, labels and joint pre-training, each in its own folder under `out` and never done twice."""

    command: ClassVar[str] = "promu pretrain"
    telling_key: ClassVar[str] = "teacher"

    data: PretrainData = Field(description="corpus and candidates")
    tokenizer: Place | TokenizerSettings = Field(description="folder or hub name, or how to train one")
    teacher: TeacherSettings = Field(description="who labels")
    labels: LabelSettings = Field(default=LabelSettings(), description="how it labels")
    losses: LossSettings = Field(
        default=LossSettings(),
        description="weights and switches, or in their place the name of a method: `promu`, `clip`, `blip`, `oscar`, "
        "`u-visualbert`",
    )
    model: ModelSettings = Field(description="the student's backbone")
    training: TrainingSettings = Field(default=TrainingSettings(), description="optimiser and schedule")
    views: ViewSettings = Field(default=ViewSettings(), description="the student's views of the images")
    caption_drop: Share = Field(
        default=0.0, description="share of falsified pairs that are read with an empty caption (beyond the paper)"
    )
    warm_start: bool = Field(
        default=False,
        description="the student begins with the self-trained teacher's encoders and projections, which must have its "
        "shape (beyond the paper)",
    )
    seed: NotNegativeInt = Field(default=0, description="seed of the order of pairs, of views, dropout and new weights")
    out: Place = Field(description="folder of the run")

    @model_validator(mode="after")
    def _goes_to_the_end(self) -> PretrainRecipe:
        if self.training.patience is not None or self.teacher.training.patience is not None:
            raise ValueError("training.patience is for fine-tuning, which chooses its best epoch; set it to null")
        if self.losses.unpaired and self.warm_start:
            raise ValueError(
                "warm_start begins with a teacher that has learned from pairs; for unpaired set it to false"
            )
        return self
