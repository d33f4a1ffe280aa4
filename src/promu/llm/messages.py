"""Requests to a model: messages of text and images, the templates they are built from, and their hash."""

from __future__ import annotations

import base64
import hashlib
import io
import json
import logging
import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from importlib.resources import files
from pathlib import Path
from string import Template
from typing import Any, Literal

from promu.corpora.images import load_image
from promu.errors import InputError
from promu.files import checksum, read_text
from promu.schema import MissingPostImage, Post

logger = logging.getLogger(__name__)

Role = Literal["system", "user", "assistant"]

CHARACTERS_PER_TOKEN = 4
"""A token of English is about four characters; other scripts take more tokens than this rule expects."""

PIXELS_PER_TOKEN = 750
"""An image of w x h pixels as sent is expected to take w·h / 750 tokens; endpoints differ by a factor of two or so."""


def text_tokens(text: str) -> int:
    """Tokens expected of a text."""
    return math.ceil(len(text) / CHARACTERS_PER_TOKEN)


@dataclass(frozen=True, slots=True)
class PromptImage:
    """An image of a prompt, decoded only when it is sent, as (width, height) `size`; `digest` is its file's SHA-256.

    `longest` limits the pixels of its longer side.
    """

    path: Path
    longest: int
    digest: str
    size: tuple[int, int]

    @classmethod
    def read(cls, path: Path, longest: int) -> PromptImage:
        """Decode an image once, so that InputError of a missing or broken one comes before anything is sent."""
        width, height = load_image(path, target=(longest, longest)).size
        factor = min(1.0, longest / max(width, height))
        size = max(1, round(width * factor)), max(1, round(height * factor))
        return cls(path, longest, checksum(path), size)

    def reference(self) -> str:
        """Stands for the image in what is hashed and stored: the digest of its file and its size limit."""
        return f"sha256:{self.digest}@{self.longest}"


@lru_cache(maxsize=64)  # exemplars stand in every prompt, and a correction shows the image again
def data_url(image: PromptImage) -> str:
    """The shrunk image as a JPEG in a `data:` address."""
    buffer = io.BytesIO()
    pixels = load_image(image.path, target=(image.longest, image.longest))
    pixels.resize(image.size).save(buffer, "JPEG", quality=90)
    return f"data:image/jpeg;base64,{base64.b64encode(buffer.getvalue()).decode()}"


class PromptImages:
    """The images of posts in a folder, None for text alone, sent with `longest` pixels of the longer side at most."""

    def __init__(self, folder: Path | None, longest: int = 768, missing: MissingPostImage = "raise") -> None:
        if folder is not None and not folder.is_dir():
            raise InputError("no such folder of images; correct it, or leave it out to send text alone", folder)
        self.folder, self.longest, self.missing = folder, longest, missing
        self._images: dict[str, PromptImage | None] = {}

    def of(self, post: Post) -> tuple[PromptImage, ...]:
        """The post's image, or nothing; raises InputError where it is missing or broken, if that is an error."""
        if self.folder is None or post.image is None:
            return ()
        if post.image not in self._images:
            try:
                self._images[post.image] = PromptImage.read(self.folder / post.image, self.longest)
            except InputError as error:
                if self.missing == "raise":
                    remedy = "or send its post as text alone (--missing-images text-only)"
                    raise InputError(f"{error.reason}; {remedy}", error.path) from None
                self._images[post.image] = None
                logger.warning("%s; its posts are sent as text alone", error)
        image = self._images[post.image]
        return () if image is None else (image,)

    def counts(self, posts: Sequence[Post]) -> dict[str, int]:
        """How many posts have an image in their prompt, and how many are text alone."""
        shown = sum(bool(self.of(post)) for post in posts)
        broken = sum(image is None for image in self._images.values())
        return {"with image": shown, "as text": len(posts) - shown, "images missing or broken": broken}


@dataclass(frozen=True, slots=True)
class Message:
    """One turn of a conversation: text, and images after it."""

    role: Role
    text: str
    images: tuple[PromptImage, ...] = ()

    def to_dict(self, address: Callable[[PromptImage], str] = PromptImage.reference) -> dict[str, Any]:
        """As the chat-completions interface wants it, its images by address; by default as it is hashed and stored."""
        shown = [{"type": "image_url", "image_url": {"url": address(image)}} for image in self.images]
        return {"role": self.role, "content": [{"type": "text", "text": self.text}, *shown] if shown else self.text}


@dataclass(frozen=True, slots=True)
class Request:
    """One question to a model: the conversation so far; `schema` is the JSON schema of the answer, None for text."""

    model: str
    messages: tuple[Message, ...]
    max_tokens: int
    temperature: float = 0.0
    schema: Mapping[str, Any] | None = None

    def to_json(self) -> str:
        """What is hashed and stored; equal requests give equal text, whether or not the endpoint takes the schema."""
        content = {name: getattr(self, name) for name in ("model", "max_tokens", "temperature", "schema")}
        content["messages"] = [message.to_dict() for message in self.messages]
        return json.dumps(content, ensure_ascii=False, sort_keys=True, separators=(",", ":"))

    @property
    def key(self) -> str:
        """The SHA-256 of `to_json`, under which the answer is stored."""
        return hashlib.sha256(self.to_json().encode("utf-8", "surrogatepass")).hexdigest()

    def prompt_tokens(self) -> int:
        """Tokens expected, by `CHARACTERS_PER_TOKEN` and `PIXELS_PER_TOKEN`, and four a message."""
        sizes = [image.size for message in self.messages for image in message.images]
        images = sum(math.ceil(width * height / PIXELS_PER_TOKEN) for width, height in sizes)
        return images + sum(4 + text_tokens(message.text) for message in self.messages)


def load_template(name: str, fields: tuple[str, ...], folder: Path | None = None) -> Template:
    """A template, checked to hold each of `fields` and nothing else; a plain $ is written $$.

    The templates of `folder` win; those that it lacks are the package's.

    Raises:
        InputError: The file cannot be read, or its $names are not those of `fields`.
    """
    if folder is not None and not folder.is_dir():
        raise InputError("no such folder of templates; check the path", folder)
    path = folder / name if folder is not None and (folder / name).is_file() else None
    template = Template(_packaged(name) if path is None else read_text(path))
    wanted = ", ".join(f"${field}" for field in fields)
    if not template.is_valid():
        raise InputError(f"the template has a $ that begins no name; write $$ for it; its names are {wanted}", path)
    wrong = ", ".join(f"${name}" for name in sorted(set(template.get_identifiers()) ^ set(fields)))
    if wrong:
        raise InputError(f"the template must hold {wanted} and no other name; missing or unknown: {wrong}", path)
    return template


def label_lines(labels: Sequence[str], meanings: Mapping[str, str] | None = None) -> str:
    """Labels, one a line, with their meaning where it is known; letter case does not matter.

    The `meanings` win over those that come with the package.
    """
    every = {**json.loads(_packaged("labels.json")), **(meanings or {})}
    endings = {name.casefold(): f": {meaning}" for name, meaning in every.items()}
    return "\n".join(f"- {label}{endings.get(label.casefold(), '')}" for label in labels)


def _packaged(name: str) -> str:
    return (files("promu.llm") / "templates" / name).read_text(encoding="utf-8")
