"""What a service is started with."""

from __future__ import annotations

from pathlib import Path
from typing import Self

from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator

from promu.errors import InputError
from promu.extraction.backends import BackendName, BackendPrecision

TOKEN_VARIABLE = "PROMU_TOKEN"
"""The environment variable with the bearer token that callers must show; unset or empty, none is asked for."""


class ServiceSettings(BaseModel):
    """Model, batches and limits of one service; every process of it has the same.

    Attributes:
        model: A folder with `ner/` and `re/`, or one fine-tuned model.
        backend, precision: As `Extractor.from_pretrained` has them.
        token: The bearer token that callers must show; None asks for none.
        max_batch: Posts a forward pass at most, whichever requests they came with.
        max_wait_ms: Milliseconds that a batch waits for requests that have arrived but are still being read.
        max_body_mib: MiB of one request's body.
        max_pixels: Pixels of one image, as its header says them.
        max_characters: Characters (Unicode code points) of one post.
        max_pairs: Pairs of entities of one post whose types a relation fits.
        max_posts: Posts of one `/extract/batch`.
        queue: Posts that may be in the service at once; a request for more is answered 503.
        timeout: Seconds that a request may take: to arrive (408), and to be answered (503).
        threads: Torch's threads in each process; None leaves them as they are.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    model: Path
    backend: BackendName = "torch"
    precision: BackendPrecision | None = None
    token: str | None = Field(default=None, repr=False)
    max_batch: int = Field(default=16, ge=1)
    max_wait_ms: float = Field(default=5.0, ge=0, le=1000)
    max_body_mib: float = Field(default=8.0, gt=0)
    max_pixels: int = Field(default=25_000_000, ge=1)
    max_characters: int = Field(default=20_000, ge=1)
    max_pairs: int = Field(default=500, ge=1)
    max_posts: int = Field(default=64, ge=1)
    queue: int = Field(default=128, ge=1)
    timeout: float = Field(default=30.0, gt=0)
    threads: int | None = Field(default=None, ge=1)

    @model_validator(mode="after")
    def _fits(self) -> Self:
        if self.max_posts > self.queue:
            raise ValueError(f"a batch of {self.max_posts} posts never fits a queue of {self.queue}; raise queue")
        return self

    @property
    def max_body(self) -> int:
        """Bytes of one request's body."""
        return int(self.max_body_mib * 1024 * 1024)


def service_settings(**values: object) -> ServiceSettings:
    """Settings from values of any kind, checked.

    Raises:
        InputError: A value is not allowed; the sentence names it.
    """
    try:
        return ServiceSettings.model_validate(values)
    except ValidationError as error:
        first = error.errors()[0]
        name = ".".join(map(str, first["loc"]))
        message = first["msg"].removeprefix("Value error, ")
        raise InputError(f"{name} is {first['input']!r}: {message}" if name else message) from None


class Refused(Exception):
    """A request that is not answered with a result.

    Args:
        status: The HTTP status, 4xx, or 503 where it may succeed later.
        sentence: What is wrong, with the value and the remedy.
        retry_after: Seconds after which it is worth trying again; sent as `Retry-After`.
    """

    def __init__(self, status: int, sentence: str, retry_after: int | None = None) -> None:
        super().__init__(sentence)
        self.status, self.sentence, self.retry_after = status, sentence, retry_after
