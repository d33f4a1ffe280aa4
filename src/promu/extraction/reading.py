"""From what a caller calls a post to what a batch is made of: words with their places, and pixels."""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import torch
from PIL import Image

from promu.corpora.pictures import load_picture
from promu.corpora.posts import PostLine, from_record, from_text, from_tokens
from promu.errors import InputError
from promu.extraction.result import PictureUse
from promu.modeling.inputs import to_pixels
from promu.schema import Post

logger = logging.getLogger(__name__)

PostLike = str | Sequence[str] | Mapping[str, Any] | Post | PostLine
"""A text, its words, what a line of posts in JSON holds (`{"id", "text", "image"}`), or a post."""

Picture = str | Path | bytes | Image.Image
"""A file's name, a file's bytes, or an opened picture."""

MissingPictures = Literal["error", "text-only"]


@dataclass(frozen=True, slots=True)
class Reading:
    """One post on its way: its line, its picture at each size that a model takes, and what became of the picture."""

    line: PostLine
    pixels: Mapping[int, torch.Tensor]
    picture: PictureUse


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


def read(line: PostLine, image: Picture | None, sizes: frozenset[int], missing: MissingPictures) -> Reading:
    """A post with its picture's pixels.

    Args:
        line: The post.
        image: Its picture.
        sizes: Sides in pixels that the models take; empty where they read text alone.
        missing: What a picture that is missing or broken does.

    Raises:
        InputError: The picture cannot be read and `missing` is `error`.
    """
    if image is None:
        return Reading(line, {}, "none")
    if not sizes:
        return Reading(line, {}, "unread")
    source = Path(image) if isinstance(image, str) else image
    try:
        pixels = {size: to_pixels(load_picture(source, target=(size, size)), size) for size in sizes}
    except InputError as error:
        if missing == "error":
            raise InputError(
                f"{error.reason}; or have post {line.post.id!r} read as text (missing_pictures='text-only', on the "
                "command line --missing-pictures text-only)",
                error.path,
            ) from None
        logger.warning("%s; post %r is read as text", error, line.post.id)
        return Reading(line, {}, "missing")
    return Reading(line, pixels, "used")
