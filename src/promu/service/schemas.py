"""What a service is started with, and its requests and answers over HTTP, as pydantic models; how it refuses one.

The models of requests check them; all of them make the OpenAPI document.
"""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any, Literal, Self

from cyclopts import Parameter
from pydantic import BaseModel, ConfigDict, Field, WithJsonSchema, model_validator

from promu.extraction.extraction_config import ExtractionConfig

TOKEN_VARIABLE = "PROMU_TOKEN"
"""The environment variable with the bearer token; unset or empty: no token is needed."""


class ServiceSettings(BaseModel):
    """Model, batches and limits of one service; every process of it has the same."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    model: Path = Field(description="A folder with ner/ and re/, or one fine-tuned model.")
    name: str | None = Field(default=None, description="What the page calls the model; by default its folder's name.")
    backend: Literal["torch", "onnx"] | None = Field(
        default=None,
        description="onnx runs the files of `promu export` in that folder, on the CPU; by default torch, or onnx where "
        "there are no weights.",
    )
    precision: Literal["fp32", "bf16", "int8"] | None = Field(
        default=None, description="fp32 or bf16 with torch; with onnx that of the folder."
    )
    device: str | None = Field(default=None, description="cpu, cuda, ...; by default the best there is.")
    entity_threshold: float | None = Field(
        default=None, ge=0, le=1, description="As for promu extract: by default the model's own, fitted on dev."
    )
    relation_threshold: float | None = Field(default=None, ge=0, le=1, description="The same for relations.")
    type_map: dict[str, str] = Field(default={}, description="Entity type -> its name in the relations' labels.")
    stride: float = Field(
        default=0.5, ge=0.1, le=1, description="As for promu extract: how far apart windows of a long post begin."
    )
    max_batch: int = Field(default=16, ge=1, description="Posts in one forward pass, from any requests.")
    max_wait_ms: float = Field(
        default=5.0, ge=0, le=1000, description="Milliseconds that a batch waits for requests that are arriving."
    )
    max_body_mib: float = Field(default=8.0, gt=0, description="MiB of the body of one request.")
    max_pixels: int = Field(default=25_000_000, ge=1, description="Pixels of one image.")
    image_cache_mib: int = Field(
        default=256, ge=0, description="MiB in each process for work on images that posts share; 0 keeps nothing."
    )
    max_characters: int = Field(default=20_000, ge=1, description="Characters (code points) of one post.")
    max_pairs: int = Field(default=500, ge=1, description="Pairs of entities of one post whose types fit a relation.")
    max_posts: int = Field(default=64, ge=1, description="Posts of one request to /extract/batch.")
    queue: int = Field(default=128, ge=1, description="Posts in the service at once; further requests get a 503.")
    timeout: float = Field(default=30.0, gt=0, description="Seconds for a request to arrive, and to be answered.")
    threads: int | None = Field(
        default=None, ge=1, description="Torch's threads in each process; by default the workers share the cores."
    )
    # never on the command line, where other users of the machine could read it
    token: Annotated[str | None, Parameter(parse=False)] = Field(
        default=None, repr=False, description="The bearer token of requests; None: no token is needed."
    )

    @model_validator(mode="after")
    def _batch_fits(self) -> Self:
        if self.max_posts > self.queue:
            raise ValueError(f"a batch of {self.max_posts} posts never fits a queue of {self.queue}; raise queue")
        return self

    @property
    def config(self) -> ExtractionConfig:
        """The options of every extraction here."""
        names = (
            "entity_threshold", "relation_threshold", "type_map", "stride", "max_pairs", "max_pixels",
            "image_cache_mib",
        )  # fmt: skip
        return ExtractionConfig(batch_size=self.max_batch, **{name: getattr(self, name) for name in names})

    @property
    def max_body(self) -> int:
        """Bytes of the body of one request."""
        return int(self.max_body_mib * 1024 * 1024)


class Refusal(Exception):
    """A request, or a post of a batch, is refused.

    Args:
        status: The HTTP status, 4xx, or 503 where it may succeed after `retry_after` seconds (sent as `Retry-After`).
        sentence: What is wrong, with the value and the remedy.
    """

    def __init__(self, status: int, sentence: str, retry_after: int | None = None) -> None:
        super().__init__(sentence)
        self.status, self.sentence, self.retry_after = status, sentence, retry_after


Text = Annotated[str, Field(strict=True)]
_IMAGE = "An image file's bytes in base64 (JPEG, PNG, GIF, WebP, BMP, TIFF, AVIF); never an address"
_BASE64 = {"anyOf": [{"type": "string", "contentEncoding": "base64"}, {"type": "null"}], "description": _IMAGE}


class PostIn(BaseModel):
    """One post: a text and optionally its image."""

    model_config = ConfigDict(
        extra="forbid", json_schema_extra={"examples": [{"text": "Ada Lovelace lived in London"}]}
    )

    text: Text = Field(description="Running text; at least one word")
    image: Annotated[Text | None, WithJsonSchema(_BASE64)] = None
    id: Text | None = Field(default=None, description="Returned in the answer")
    explain: Annotated[bool, Field(strict=True)] = Field(default=False, description="Add attention and regions")
    contexts: dict[Text, Text] = Field(
        default={}, description="Further texts about the post, by the names that the model reads (`contexts` of /model)"
    )
    types: list[Text] | None = Field(
        default=None, description="Types of entities to ask for, each `NAME` or `NAME: DESCRIPTION`; else the model's"
    )
    relations: list[Text] | None = Field(
        default=None, description="Relations to ask for, each `NAME`, `NAME: DESCRIPTION` or `NAME (HEAD -> TAIL)`"
    )
    threshold: dict[Text, Annotated[float, Field(ge=0, le=1)]] | None = Field(
        default=None, description="Lowest score by type or relation"
    )

    @property
    def options(self) -> dict[str, Any]:
        """What of its options differs from the service's."""
        given = {"types": self.types, "relations": self.relations, "threshold": self.threshold}
        return {name: value for name, value in given.items() if value is not None}


class BatchIn(BaseModel):
    """Many posts in one request."""

    model_config = ConfigDict(
        extra="forbid",
        json_schema_extra={
            "examples": [
                {
                    "posts": [
                        {"id": "1", "text": "Ada Lovelace was born in London"},
                        {"text": "Grace Hopper joined the Navy"},
                    ]
                }
            ]
        },
    )

    posts: list[PostIn] = Field(description="Answered in their order", min_length=1)


class EntityOut(BaseModel):
    """A typed span; `start` and `end` count words, `char_start` and `char_end` Unicode code points; ends exclusive."""

    start: int
    end: int
    text: str
    type: str | None
    score: float | None
    char_start: int
    char_end: int


class RelationOut(BaseModel):
    """A directed, typed link; `head` and `tail` are places in `entities`."""

    head: int
    tail: int
    type: str
    score: float | None


class AttendedRegionOut(BaseModel):
    """A part of the image with much attention; the box in shares of the image's width and height."""

    box: tuple[float, float, float, float]
    share: float


class AttentionOut(BaseModel):
    """Shares of attention behind one answer: of each word that was read with it, and of each patch, row by row."""

    words: list[float]
    patches: list[list[float]]
    regions: list[AttendedRegionOut]
    start: int = Field(description="The number of the first of the words: 0 unless the post is long")


class ExplanationOut(BaseModel):
    """One attention for each entity and each relation, in their order."""

    entities: list[AttentionOut]
    relations: list[AttentionOut]


class BelowOut(BaseModel):
    """How many answers were left out, because their scores lie below the thresholds of `/model`."""

    entities: int
    relations: int


class ExtractionOut(BaseModel):
    """Entities and relations of one post."""

    id: str
    text: str
    tokens: list[str]
    entities: list[EntityOut]
    relations: list[RelationOut]
    triples: list[list[str]] = Field(description="The relations in words: head, relation, tail")
    far_pairs: int = Field(description="How many pairs of entities are too far apart to be asked about; mostly 0")
    image_read: bool = Field(description="Whether an image was read with the text")
    image_reason: str | None = Field(description="Why not: `no image`, or `text-only model`")
    warnings: list[str] = Field(description="Why not to trust the answers, a sentence each; mostly none")
    below: BelowOut
    contexts: dict[str, str] | None = Field(default=None, description="The contexts that the post brought")
    explanation: ExplanationOut | None = Field(default=None, description="If explain is true")


class ErrorOut(BaseModel):
    """Why there is no result, in a sentence."""

    error: str


class PostErrorOut(ErrorOut):
    """Why there is no result for one post of a batch."""

    id: str


class BatchOut(BaseModel):
    """An extraction or an error for each post, in their order."""

    results: list[ExtractionOut | PostErrorOut]
    failed: int = Field(description="How many of them are errors")


class StatusOut(BaseModel):
    """State of the service."""

    status: str
    model: str | None = None
    explains: bool | None = Field(default=None, description="Whether `explain` is possible")
    warnings: list[str] | None = Field(default=None, description="Relations that can never be found, and why")


class ModelPartOut(BaseModel):
    """One fine-tuned model: its task, and the file of its weights with its SHA-256 and its date."""

    task: str
    does: str
    file: str
    checksum: str
    saved: str


class ModelOut(BaseModel):
    """The model that the service has loaded."""

    name: str
    parts: list[ModelPartOut]
    entity_types: list[str]
    relation_types: list[str]
    styles: dict[str, str] = Field(description="The page's style of each type of entity, by its name in capitals")
    entity_threshold: float | None = Field(description="Entities with a lower score are left out")
    relation_threshold: float | None = Field(description="Relations with a lower score are left out")
    warnings: list[str] = Field(description="Relations that can never be found, and why")
    reads_images: bool
    contexts: list[str] = Field(description="Names of the further texts that it reads beside a post")
    explains: bool = Field(description="Whether `explain` is possible")
    backend: str
    precision: str


MULTIPART: dict[str, Any] = {
    "type": "object",
    "required": ["text"],
    "additionalProperties": False,
    "properties": {
        "text": {"type": "string", "description": "Running text, UTF-8; at least one word"},
        "image": {"type": "string", "format": "binary", "description": "The image, as a file"},
        "id": {"type": "string", "description": "Returned in the answer"},
        "explain": {"type": "string", "enum": ["true", "false"], "description": "Add attention and regions"},
    },
}
"""A post as a multipart form."""
