"""What is asked of a model: messages of text and images, and the hash by which an answer is found again."""

from __future__ import annotations

import base64
import hashlib
import io
import json
import logging
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from importlib.resources import files
from pathlib import Path
from string import Template
from typing import Any, Literal

from promu.corpora.images import load_image
from promu.errors import InputError
from promu.files import read_text
from promu.schema import MissingPostImage, Post

Role = Literal["system", "user", "assistant"]

CHARACTERS_PER_TOKEN = 4
"""A token of English is about four characters; other scripts take more tokens than this rule expects."""

PIXELS_PER_TOKEN = 750
"""An image of w x h pixels as sent is expected to take w·h / 750 tokens; endpoints differ by a factor of two or so."""


@dataclass(frozen=True, slots=True)
class PromptImage:
    """An image of a prompt, decoded only when it is sent.

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
    def read(cls, path: Path, longest: int) -> PromptImage:
        """Decode an image once, so that a broken one is known before anything is asked.

        Raises:
            InputError: It is missing or broken.
        """
        size = _shrunk_size(load_image(path, target=(longest, longest)).size, longest)
        return cls(path, longest, hashlib.sha256(path.read_bytes()).hexdigest(), size)

    def data_url(self) -> str:
        """The shrunk image as a JPEG in a `data:` address.

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
    """One turn: text, and images after it."""

    role: Role
    text: str
    images: tuple[PromptImage, ...] = ()

    def wire(self) -> dict[str, Any]:
        """As the chat-completions interface wants it."""
        return self._with([image.data_url() for image in self.images])

    def named(self) -> dict[str, Any]:
        """As it is hashed and kept: an image stands there by the digest of its file and its size limit."""
        return self._with([f"sha256:{image.digest}@{image.longest}" for image in self.images])

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
        images = sum(image.tokens for message in self.messages for image in message.images)
        return images + sum(4 + text_tokens(message.text) for message in self.messages)


def request_key(text: str) -> str:
    """The SHA-256 that a request's `to_json` is stored under."""
    return hashlib.sha256(text.encode("utf-8", "surrogatepass")).hexdigest()


def text_tokens(text: str) -> int:
    """Tokens expected of a text."""
    return math.ceil(len(text) / CHARACTERS_PER_TOKEN)


@lru_cache(maxsize=64)  # exemplars stand in every prompt, and a correction shows the image again
def _encoded(image: PromptImage) -> str:
    pixels = load_image(image.path, target=(image.longest, image.longest))
    buffer = io.BytesIO()
    pixels.resize(_shrunk_size(pixels.size, image.longest)).save(buffer, "JPEG", quality=90)
    return f"data:image/jpeg;base64,{base64.b64encode(buffer.getvalue()).decode()}"


def _shrunk_size(size: tuple[int, int], longest: int) -> tuple[int, int]:
    factor = min(1.0, longest / max(size))
    return max(1, round(size[0] * factor)), max(1, round(size[1] * factor))


def packaged(name: str) -> str:
    """The text of a file that comes with the package."""
    return (files("promu.llm") / "templates" / name).read_text(encoding="utf-8")


def load_template(name: str, fields: tuple[str, ...], folder: Path | None = None) -> Template:
    """A template, checked to hold each of `fields` and nothing else; a $ of its own is written $$.

    Args:
        name: File name.
        fields: What will be filled in.
        folder: A user's templates, looked into first; those that it lacks are the package's.

    Raises:
        InputError: The file cannot be read, or its $names are not those of `fields`.
    """
    if folder is not None and not folder.is_dir():
        raise InputError("no such folder of templates; check the path", folder)
    path = None if folder is None else folder / name
    own = path is not None and path.is_file()
    template = Template(read_text(path) if own and path is not None else packaged(name))
    wanted = ", ".join(f"${field}" for field in fields)
    if not template.is_valid():
        raise InputError(f"the template has a $ that begins no name; write $$ for it; its names are {wanted}", path)
    found = set(template.get_identifiers())
    if found != set(fields):
        wrong = ", ".join(f"${name}" for name in sorted(found.symmetric_difference(fields)))
        raise InputError(f"the template must hold {wanted} and no other name; missing or unknown: {wrong}", path)
    return template


def label_lines(labels: Sequence[str], own: Mapping[str, str] | None = None) -> str:
    """Labels, one a line, with what they mean where that is known; letter case does not matter.

    Args:
        labels: As the data writes them.
        own: Descriptions that win over those of the package.
    """
    known: dict[str, Any] = {**json.loads(packaged("labels.json")), **(own or {})}
    meanings = {name.casefold(): meaning for name, meaning in known.items()}
    return "\n".join(
        f"- {label}: {meanings[label.casefold()]}" if label.casefold() in meanings else f"- {label}" for label in labels
    )


logger = logging.getLogger(__name__)


class PromptImages:
    """Images by the posts that name them.

    Args:
        folder: Where they are; None asks about every post by its text alone.
        longest: Pixels of the longer side as sent, at most.
        missing: What a missing or broken image does: stop, or have its post asked about as text.
    """

    def __init__(self, folder: Path | None, longest: int = 768, missing: MissingPostImage = "raise") -> None:
        if longest < 16:
            raise InputError(f"images of at most {longest} pixels show nothing; allow 16 or more")
        if folder is not None and not folder.is_dir():
            raise InputError("no such folder of images; correct --images, or leave it out to ask by text alone", folder)
        self.folder = folder
        self.longest = longest
        self.missing = missing
        self.broken: dict[str, str] = {}
        self._read: dict[str, PromptImage] = {}

    def of(self, post: Post) -> tuple[PromptImage, ...]:
        """The post's image, or nothing.

        Raises:
            InputError: It is missing or broken, and that is an error.
        """
        if self.folder is None or post.image is None or post.image in self.broken:
            return ()
        if post.image not in self._read:
            try:
                self._read[post.image] = PromptImage.read(self.folder / post.image, self.longest)
            except InputError as error:
                if self.missing == "raise":
                    raise InputError(
                        f"{error.reason}; or have its post asked about as text (--missing-images text-only)",
                        error.path,
                    ) from None
                self.broken[post.image] = error.reason
                logger.warning("%s; its posts are asked about as text", error)
                return ()
        return (self._read[post.image],)

    def counts(self, posts: list[Post]) -> dict[str, int]:
        """How many posts were asked about with an image, and how many as text alone."""
        shown = sum(bool(self.of(post)) for post in posts)
        return {"with image": shown, "as text": len(posts) - shown, "images missing or broken": len(self.broken)}
