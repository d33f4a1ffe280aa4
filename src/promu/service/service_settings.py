"""What a service is started with, and how a request is refused."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Literal, Self

from cyclopts import Parameter
from pydantic import BaseModel, ConfigDict, Field, model_validator

TOKEN_VARIABLE = "PROMU_TOKEN"
"""The environment variable with the bearer token; unset or empty: no token is needed."""


class ServiceSettings(BaseModel):
    """Model, batches and limits of one service; every process of it has the same."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    model: Path = Field(description="A folder with ner/ and re/, or one fine-tuned model.")
    backend: Literal["torch", "onnx"] = Field(
        default="torch", description="onnx runs the files of `promu export` in that folder, on the CPU."
    )
    precision: Literal["fp32", "bf16", "int8"] | None = Field(
        default=None, description="fp32 or bf16 with torch; with onnx that of the folder."
    )
    max_batch: int = Field(default=16, ge=1, description="Posts in one forward pass, from any requests.")
    max_wait_ms: float = Field(
        default=5.0, ge=0, le=1000, description="Milliseconds that a batch waits for requests that are arriving."
    )
    max_body_mib: float = Field(default=8.0, gt=0, description="MiB of the body of one request.")
    max_pixels: int = Field(default=25_000_000, ge=1, description="Pixels of one image.")
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
