"""What is asked of a model: messages of text and pictures, and the hash by which an answer is found again."""

from __future__ import annotations

import base64
import hashlib
import io
import json
import math
from collections.abc import Mapping
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any, Literal

from promu.corpora.pictures import load_picture

Role = Literal["system", "user", "assistant"]

CHARACTERS_PER_TOKEN = 4
"""A token of English is about four characters; other scripts take more tokens than this rule expects."""

PIXELS_PER_TOKEN = 750
"""A picture of w x h pixels as sent is expected to take w·h / 750 tokens; endpoints differ by a factor of two or so."""


@dataclass(frozen=True, slots=True)
class Picture:
    """A picture of a prompt, decoded only when it is sent.

    Attributes:
        path: The file.
        longest: Pixels of its longer side as sent, at most.
        digest: SHA-256 of the file, by which a request is known.
        size: (width, height) as sent.
    """

    path: Path
    longest: int
    digest: str
    size: tuple[int, int]

    @classmethod
    def read(cls, path: Path, longest: int) -> Picture:
        """Decode a picture once, so that a broken one is known before anything is asked.

        Raises:
            InputError: It is missing or broken.
        """
        size = _shrunk_size(load_picture(path, target=(longest, longest)).size, longest)
        return cls(path, longest, hashlib.sha256(path.read_bytes()).hexdigest(), size)

    def data_url(self) -> str:
        """The shrunk picture as a JPEG in a `data:` address.

        Raises:
            InputError: The file has gone or changed for the worse since `read`.
        """
        return _encoded(self)

    @property
    def tokens(self) -> int:
        """Tokens it is expected to take, see `PIXELS_PER_TOKEN`."""
        return math.ceil(self.size[0] * self.size[1] / PIXELS_PER_TOKEN)


@dataclass(frozen=True, slots=True)
class Message:
    """One turn: text, and pictures after it."""

    role: Role
    text: str
    pictures: tuple[Picture, ...] = ()

    def wire(self) -> dict[str, Any]:
        """As the chat-completions interface wants it."""
        return self._with([picture.data_url() for picture in self.pictures])

    def named(self) -> dict[str, Any]:
        """As it is hashed and kept: a picture stands there by the digest of its file and its size limit."""
        return self._with([f"sha256:{picture.digest}@{picture.longest}" for picture in self.pictures])

    def _with(self, addresses: list[str]) -> dict[str, Any]:
        if not addresses:
            return {"role": self.role, "content": self.text}
        parts: list[dict[str, Any]] = [{"type": "text", "text": self.text}]
        parts += [{"type": "image_url", "image_url": {"url": address}} for address in addresses]
        return {"role": self.role, "content": parts}


@dataclass(frozen=True, slots=True)
class Request:
    """One question to a model.

    Attributes:
        model: The name the endpoint knows it by.
        messages: The conversation so far.
        max_tokens: Longest answer.
        temperature: 0 for the likeliest answer.
        schema: JSON schema of the answer; None where free text is wanted.
    """

    model: str
    messages: tuple[Message, ...]
    max_tokens: int
    temperature: float = 0.0
    schema: Mapping[str, Any] | None = None

    def to_json(self) -> str:
        """What is hashed and kept; equal requests give equal text.

        Whether the schema went out as `response_format` is no part of it: that is the endpoint's ability.
        """
        content = {
            "model": self.model,
            "messages": [message.named() for message in self.messages],
            "max_tokens": self.max_tokens,
            "temperature": self.temperature,
            "schema": self.schema,
        }
        return json.dumps(content, ensure_ascii=False, sort_keys=True, separators=(",", ":"))

    def prompt_tokens(self) -> int:
        """Tokens expected, by `CHARACTERS_PER_TOKEN` and `PIXELS_PER_TOKEN`, and four a message."""
        pictures = sum(picture.tokens for message in self.messages for picture in message.pictures)
        return pictures + sum(4 + text_tokens(message.text) for message in self.messages)


def request_key(text: str) -> str:
    """The SHA-256 that a request's `to_json` is stored under."""
    return hashlib.sha256(text.encode("utf-8", "surrogatepass")).hexdigest()


def text_tokens(text: str) -> int:
    """Tokens expected of a text."""
    return math.ceil(len(text) / CHARACTERS_PER_TOKEN)


@lru_cache(maxsize=64)  # exemplars stand in every prompt, and a correction shows the picture again
def _encoded(picture: Picture) -> str:
    image = load_picture(picture.path, target=(picture.longest, picture.longest))
    buffer = io.BytesIO()
    image.resize(_shrunk_size(image.size, picture.longest)).save(buffer, "JPEG", quality=90)
    return f"data:image/jpeg;base64,{base64.b64encode(buffer.getvalue()).decode()}"


def _shrunk_size(size: tuple[int, int], longest: int) -> tuple[int, int]:
    factor = min(1.0, longest / max(size))
    return max(1, round(size[0] * factor)), max(1, round(size[1] * factor))
