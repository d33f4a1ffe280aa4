"""From what a caller calls a post to what models read: words with their places, and pixels."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from PIL import Image

from promu.corpora.images import load_image
from promu.corpora.posts import PostLine, from_record, from_text, from_tokens
from promu.errors import InputError
from promu.extraction.result import ImageUse
from promu.modeling.inputs import to_pixels
from promu.schema import Post

PostLike = str | Sequence[str] | Mapping[str, Any] | Post | PostLine
"""A text, its words, what a line of posts in JSON holds (`{"id", "text", "image"}`), or a post."""

ImageSource = str | Path | bytes | Image.Image
"""A file's name, a file's bytes, or an opened image."""


class UnreadableImage(InputError):
    """The image of a post is missing or broken; its text could be read without."""


@dataclass(frozen=True, slots=True, eq=False)
class ReadyPost:
    """A post as models read it.

    Attributes:
        line: Words, and where they lie in the text.
        pixels: Bytes (3, S, S) of its image for each side S in pixels that a model takes; empty where none is read.
        image: What became of the image.
    """

    line: PostLine
    pixels: Mapping[int, torch.Tensor]
    image: ImageUse


def to_line(post: PostLike, id: str) -> PostLine:
    """A post with its text.

    Args:
        post: Whatever stands for one.
        id: For a post that brings none.

    Raises:
        InputError: It has no words, or a value is not legal.
    """
    if isinstance(post, PostLine):
        return post
    if isinstance(post, Mapping):
        return from_record({"id": id, **post})
    if isinstance(post, Post):
        plain = from_tokens(post.tokens, post.id)
        return PostLine(post, plain.text, plain.offsets)
    return from_text(post, id) if isinstance(post, str) else from_tokens(post, id)


def make_ready(line: PostLine, image: ImageSource | None, sizes: frozenset[int], max_pixels: int) -> ReadyPost:
    """A post with its image's pixels.

    Args:
        line: The post.
        image: Its image.
        sizes: Sides in pixels that the models take; empty where they read text alone.
        max_pixels: An image of more is not read.

    Raises:
        UnreadableImage: As `promu.corpora.images.load_image` says it.
    """
    if image is None:
        return ReadyPost(line, {}, "none")
    if not sizes:
        return ReadyPost(line, {}, "unread")
    source = Path(image) if isinstance(image, str) else image
    try:
        pixels = {size: to_pixels(load_image(source, max_pixels, (size, size)), size) for size in sizes}
    except InputError as error:
        raise UnreadableImage(error.reason, error.path) from None
    return ReadyPost(line, pixels, "used")


@dataclass(frozen=True, slots=True)
class Asked:
    """What a caller wants of each post, whichever way it comes.

    Attributes:
        batch_size: Posts, or pairs of entities, a forward pass.
        entity_threshold: Entities that are found with a lower score are left out, and no relation is sought for them.
        relation_threshold: Relations with a lower score are left out.
        explain: Also say what the fused vectors attended to (`Extraction.explanation`).
        max_pairs: Ordered pairs of entities whose types a relation fits; a post with more is refused. None for any
            number.

    Raises:
        InputError: A value is out of range.
    """

    batch_size: int = 32
    entity_threshold: float = 0.0
    relation_threshold: float = 0.0
    explain: bool = False
    max_pairs: int | None = None

    def __post_init__(self) -> None:
        if self.batch_size < 1:
            raise InputError(f"batch_size is {self.batch_size}; at least 1 is needed")
        for name in ("entity_threshold", "relation_threshold"):
            if not 0 <= getattr(self, name) <= 1:
                raise InputError(f"{name} is {getattr(self, name)}; scores are from 0 to 1")
        if self.max_pairs is not None and self.max_pairs < 0:
            raise InputError(f"max_pairs is {self.max_pairs}; at least 0 is needed, or None for any number")
