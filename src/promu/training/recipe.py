"""Recipes: every setting of a run, typed and with its limits; `promu.config` reads them."""

from __future__ import annotations

from typing import Annotated, Any, ClassVar, Literal

from pydantic import Field, model_validator

from promu.config import BackboneSettings, Count, ModelSettings, Positive, Recipe, Settings, Share


class TrainingSettings(Settings):
    """The optimiser and its schedule (AdamW; warm-up, then cosine or linear to zero).

    `batch_size` is that of all processes together. `micro_batch` reads it in parts of that many rows, for batches that
    do not fit into memory; every part is contrasted with the whole batch. `piece_dropout` hides that share of the word
    pieces behind [MASK] in fine-tuning (behind the unknown piece in a writer's prompts), so that a model trained on few
    posts does not learn their names by heart.
    `save_every` and `validate_every` count steps; null means once an epoch. `patience` ends a run after so many
    validations on dev without a better one; null goes through all epochs. `workers` are processes that make batches.
    `sharded` divides weights and optimiser among the processes too (FSDP2) instead of keeping a copy in each (DDP).
    """

    epochs: Positive = 1
    batch_size: Count = 16
    lr: Positive = 1e-4
    head_lr: Positive | None = None
    weight_decay: Annotated[float, Field(ge=0.0)] = 1e-3
    warmup: Share = 0.1
    schedule: Literal["cosine", "linear", "constant"] = "cosine"
    clip: Positive = 1.0
    piece_dropout: Share = 0.0
    precision: Literal["auto", "fp32", "bf16"] = "auto"
    log_every: Count = 10
    save_every: Count | None = None
    validate_every: Count | None = None
    patience: Count | None = None
    micro_batch: Count | None = None
    workers: Annotated[int, Field(ge=0)] = 0
    sharded: bool = False


class FinetuneData(Settings):
    """Published files of one task, and the folder of their images."""

    train: str
    dev: str
    test: str | None = None
    images: str | None = None
    groups: str | None = None


class FinetuneRecipe(Recipe):
    """Fine-tune one task; the best dev epoch is kept, test is scored once at the end.

    `images`: `require` stops at the first post whose image is missing or broken, `text-only-when-missing` reads
    such a post as text and counts it, `none` reads every post as text.
    """

    command: ClassVar[str] = "promu finetune"
    telling_key: ClassVar[str] = "task"

    task: Literal["ner", "re", "joint"]
    data: FinetuneData
    model: ModelSettings
    training: TrainingSettings = TrainingSettings()
    images: Literal["require", "text-only-when-missing", "none"] = "require"
    seed: Annotated[int, Field(ge=0)] = 0
    out: str

    @model_validator(mode="after")
    def _images_somewhere(self) -> FinetuneRecipe:
        if self.images != "none" and self.data.images is None:
            raise ValueError("data.images is missing; name the folder of images, or set images: none")
        return self


class CorpusRecipe(Settings):
    """How to build the corpus from caption pairs and images (`promu corpus build`), kept under `out/corpus`.

    Attributes:
        captions: Caption CSV or JSON lines, a NewsCLIPpings annotation, or a folder of images beside text files.
        images: Folder of the images.
        detector, regions: What names regions, and its file or model; `none` leaves them out.
        missing: What to do with a pair whose image is missing or broken: `require` stops, `skip` counts it.
        falsify: Where falsified pairs come from: `keep` those of the set, `similar` or `uniform` makes some, `none`.
        share: Share of the pairs that are falsified, where they are made.
        text_encoder: By what captions are compared for `similar`; null compares their words.
        side: Longest side of a kept image in pixels; null keeps the files as they are.
        dev: Images held out for validation.
    """

    captions: str
    images: str
    detector: str = "none"
    regions: str | None = None
    missing: Literal["require", "skip"] = "require"
    falsify: Literal["keep", "similar", "uniform", "none"] = "keep"
    share: Share = 0.5
    text_encoder: str | None = None
    side: Count | None = None
    dev: Annotated[int, Field(ge=0)] = 0
    seed: Annotated[int, Field(ge=0)] = 0


class NounSettings(Settings):
    """Nouns found in the corpus's captions by a spaCy pipeline; `stop` is a file of words that are none."""

    pipeline: str
    stop: str | None = None


class PropertySettings(Settings):
    """Relations from a table of Wikidata properties; `meta` is a file of rules for those that relate no things."""

    properties: str
    meta: str | None = None


class PretrainData(Settings):
    """The corpus, and where candidates come from.

    Attributes:
        corpus: Folder of a corpus that was built, or how to build it.
        dev: Folder of a corpus to validate on; null takes the images that building held out, if it did.
        nouns: File of candidates, or how to find them.
        relations: The same.
    """

    corpus: str | CorpusRecipe
    dev: str | None = None
    nouns: str | NounSettings
    relations: str | PropertySettings


class ViewSettings(Settings):
    """Random views of an image, which its boxes follow.

    Attributes:
        crop: Smallest share of the image's area that a view keeps; 1 turns crops and flips off.
        operations: How many operations of RandAugment's kind a view goes through.
        magnitude: Their strength.
        kept: How many views of an image a frozen detector is shown, once; what it made of them is kept.
    """

    crop: Annotated[float, Field(gt=0.0, le=1.0)] = 0.5
    operations: Annotated[int, Field(ge=0)] = 0
    magnitude: Share = 0.3
    kept: Count = 2


class TeacherSettings(Settings):
    """The teacher: self-trained from its encoders, `init` one trained before, or `name` any CLIP-type model."""

    init: str | None = None
    name: str | None = None
    text: str | dict[str, Any] | None = None
    vision: str | dict[str, Any] | None = None
    config: BackboneSettings = {}
    training: TrainingSettings = TrainingSettings()
    views: ViewSettings = ViewSettings(crop=0.3)
    seed: Annotated[int, Field(ge=0)] = 0

    @model_validator(mode="after")
    def _one_origin(self) -> TeacherSettings:
        origins = [self.init is not None, self.name is not None, self.text is not None or self.vision is not None]
        if sum(origins) != 1 or (self.text is None) != (self.vision is None):
            raise ValueError("set one of init (a trained teacher), name (a CLIP-type model), or text and vision")
        return self


class LabelSettings(Settings):
    """How the teacher labels: candidates, templates, temperature (null: the teacher's own).

    `detector_weight` is how far a region's label follows the word that the detector has for it, times the detector's
    score (beyond the paper, off by default); `synonyms` is the table of which nouns its words are, null for COCO's.
    """

    num_nouns: Count = 1000
    num_relations: Count = 100
    entity_template: str = "1"
    relation_template: str = "A"
    temperature: Positive | None = None
    top_k: Count = 16
    detector_weight: Share = 0.0
    synonyms: str | None = None


class LossSettings(Settings):
    """The weights of Eq 11 and the switches of the ablations."""

    itm: Annotated[float, Field(ge=0.0)] = 1.0
    cit: Annotated[float, Field(ge=0.0)] = 1.0
    coe: Annotated[float, Field(ge=0.0)] = 1.0
    cir: Annotated[float, Field(ge=0.0)] = 1.0
    mlm: Annotated[float, Field(ge=0.0)] = 0.0
    mask_share: Share = 0.15
    hard_labels: bool = False
    confidence_floor: Share = 0.0
    matched_only: bool = False

    def weights(self) -> dict[str, float]:
        """The weights by loss name."""
        return {name: getattr(self, name) for name in ("itm", "cit", "coe", "cir", "mlm")}


class TokenizerSettings(Settings):
    """A WordPiece vocabulary to train: on the captions, and on the lines of further files of plain text."""

    size: Annotated[int, Field(ge=100)]
    texts: list[str] = []
    min_frequency: Count = 2


class PretrainRecipe(Recipe):
    """Teacher, labels and joint pre-training, each kept in its own folder under `out` and never done twice.

    `tokenizer` names one, or says how to train one. Beyond the paper, and off by default: `patch_keep` is the share of
    patches that a step encodes (FLIP); `caption_drop` the share of the falsified pairs that are read with an empty
    caption, so that regions and images are named without one too; `warm_start` begins the student's encoders and
    projections with the self-trained teacher's, which must have their shape.
    """

    command: ClassVar[str] = "promu pretrain"
    telling_key: ClassVar[str] = "teacher"

    data: PretrainData
    tokenizer: str | TokenizerSettings
    teacher: TeacherSettings
    labels: LabelSettings = LabelSettings()
    losses: LossSettings = LossSettings()
    model: ModelSettings
    training: TrainingSettings = TrainingSettings()
    views: ViewSettings = ViewSettings()
    patch_keep: Annotated[float, Field(gt=0.0, le=1.0)] = 1.0
    caption_drop: Share = 0.0
    warm_start: bool = False
    seed: Annotated[int, Field(ge=0)] = 0
    out: str

    @model_validator(mode="after")
    def _goes_to_the_end(self) -> PretrainRecipe:
        if self.training.patience is not None or self.teacher.training.patience is not None:
            raise ValueError("training.patience is for fine-tuning, which keeps its best epoch; set it to null")
        return self
