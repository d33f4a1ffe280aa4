"""Requests and answers over HTTP as pydantic models: they check requests and make the OpenAPI document."""

from __future__ import annotations

from typing import Annotated, Any

from pydantic import BaseModel, ConfigDict, Field, WithJsonSchema

Text = Annotated[str, Field(strict=True)]
_IMAGE = "An image file's bytes in base64 (JPEG, PNG, GIF, WebP, BMP, TIFF, AVIF); never an address"
_BASE64 = {"anyOf": [{"type": "string", "contentEncoding": "base64"}, {"type": "null"}], "description": _IMAGE}


class PostIn(BaseModel):
    """One post: a text and optionally its image."""

    model_config = ConfigDict(extra="forbid", json_schema_extra={"examples": [{"text": "Zorva and Kelmo tonight"}]})

    text: Text = Field(description="Running text; at least one word")
    image: Annotated[Text | None, WithJsonSchema(_BASE64)] = None
    id: Text | None = Field(default=None, description="Returned in the answer")
    explain: Annotated[bool, Field(strict=True)] = Field(default=False, description="Add attention and regions")


class BatchIn(BaseModel):
    """Many posts in one request."""

    model_config = ConfigDict(
        extra="forbid",
        json_schema_extra={
            "examples": [{"posts": [{"id": "1", "text": "Zorva and Kelmo"}, {"text": "look at Zorva"}]}]
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
    """Shares of attention behind one answer: of each word, and of each patch, row by row."""

    words: list[float]
    patches: list[list[float]]
    regions: list[AttendedRegionOut]


class ExplanationOut(BaseModel):
    """One attention for each entity and each relation, in their order."""

    entities: list[AttentionOut]
    relations: list[AttentionOut]


class ExtractionOut(BaseModel):
    """Entities and relations of one post."""

    id: str
    tokens: list[str]
    entities: list[EntityOut]
    relations: list[RelationOut]
    triples: list[list[str]] = Field(description="The relations in words: head, relation, tail")
    image: str = Field(description="used; none: the post has no image; unread: the models read text alone")
    words_read: int | None = Field(None, description="For a post that is too long: how many of its words were read")
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
