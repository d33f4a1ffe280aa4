"""The options of an extraction, declared once for Python, the command line, bulk runs and the service."""

from __future__ import annotations

from typing import Annotated, Any

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from promu.corpora.images import MAX_PIXELS
from promu.errors import InputError
from promu.schema import MissingPostImage


class ExtractionConfig(BaseModel):
    """The options of a call of `Extractor`. Every call that takes one also takes its fields as keywords.

    Example:
        ```python
        from promu import ExtractionConfig, Extractor

        extractor = Extractor.from_pretrained("runs/demo/model")
        config = ExtractionConfig(entity_threshold=0.5, explain=True)
        first = extractor("Zorva and Kelmo tonight", config=config)
        assert first == extractor("Zorva and Kelmo tonight", entity_threshold=0.5, explain=True)
        ```
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    batch_size: int = Field(
        default=32, ge=1, description="Posts, windows of long posts, or pairs of entities, in one forward pass."
    )
    stride: float = Field(
        default=0.5,
        ge=0.1,
        le=1,
        description="A text that is longer than the model takes is read in windows: each begins so far after the one "
        "before, in shares of its words. 1 reads no word twice, and asks about fewer pairs.",
    )
    entity_threshold: float | None = Field(
        default=None,
        ge=0,
        le=1,
        description="Entities with a lower score are left out, and with them their relations; None: the threshold "
        "that fine-tuning has fitted on dev.",
    )
    relation_threshold: float | None = Field(
        default=None, ge=0, le=1, description="Relations with a lower score are left out; None as for entities."
    )
    threshold: dict[str, Annotated[float, Field(ge=0, le=1)]] = Field(
        default={},
        description="Lowest score by type or relation, in place of the others (--threshold.person .4).",
    )
    types: tuple[str, ...] | None = Field(
        default=None,
        description="Types of entities that are asked for in place of the model's own, each NAME or NAME: DESCRIPTION; "
        "for models whose labels are prompts.",
    )
    relations: tuple[str, ...] | None = Field(
        default=None,
        description="Relations that are asked for, each NAME, NAME: DESCRIPTION or NAME (HEAD -> TAIL): DESCRIPTION "
        "with types of its ends.",
    )
    type_map: dict[str, str] = Field(
        default={},
        description="Entity type -> the name that the relations' labels have for it (--type-map.PERSON per), beside "
        "what the relation model's config.json says.",
    )
    explain: bool = Field(
        default=False, description="Add which words, patches and regions of the image the model attended to."
    )
    max_pairs: int | None = Field(
        default=None,
        ge=0,
        description="A post with more ordered pairs of entities whose types fit a relation is refused; None: no limit.",
    )
    max_pixels: int = Field(default=MAX_PIXELS, ge=1, description="An image with more pixels is not decoded.")
    missing_images: MissingPostImage = Field(
        default="raise",
        description="A missing or broken image is an error (raise), or its post is read as text (text-only).",
    )
    image_cache_mib: int = Field(
        default=256,
        ge=0,
        description="MiB of memory for what was made of images (pixels, vectors, descriptions), so that posts with the "
        "same image share the work; 0 keeps nothing.",
    )
    captioner: str | None = Field(
        default=None,
        description="Image-to-text model (folder or hub name) that describes a post's image as the context that the "
        "model reads; NAME=MODEL where it reads several.",
    )

    @property
    def image_budget(self) -> int:
        """`image_cache_mib` in bytes."""
        return self.image_cache_mib * 2**20


def extraction_config(config: ExtractionConfig | None = None, **options: Any) -> ExtractionConfig:
    """A configuration, the default one if None, with some options changed.

    Raises:
        InputError: An option is unknown or its value is not allowed.
    """
    if not options:
        return config or ExtractionConfig()
    try:
        return ExtractionConfig.model_validate({**(config.model_dump() if config else {}), **options})
    except ValidationError as error:
        first = error.errors()[0]
        name = str(first["loc"][0])
        if first["type"] == "extra_forbidden":
            allowed = ", ".join(ExtractionConfig.model_fields)
            raise InputError(f"an extraction has no option {name!r}; it has {allowed}") from None
        if first["type"] == "tuple_type":
            raise InputError(
                f"{name} is a list of words, and this is {first['input']!r}; write {name}=['person']"
            ) from None
        limits = {"greater_than_equal": "at least {ge} is needed", "less_than_equal": "at most {le} is possible"}
        limits["dict_type"] = "scores by type are needed, {{'person': 0.4}}; entity_threshold is one for all entities"
        reason = limits.get(first["type"], first["msg"]).format_map(first.get("ctx") or {})
        raise InputError(f"{name} is {first['input']}; {reason}") from None
