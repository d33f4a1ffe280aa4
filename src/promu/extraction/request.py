"""A post made ready for the models: its words, where they lie in the text, and the pixels of its image."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from PIL import Image

from promu.corpora.images import load_image
from promu.corpora.posts import from_record, from_text, from_tokens, with_text
from promu.errors import InputError
from promu.files import shorten
from promu.modeling.inputs import to_pixels
from promu.schema import Post

PostLike = str | Mapping[str, Any] | Post
"""A text, what a line of posts in JSON holds (`{"id", "text", "image"}`, or `tokens` for `text`), or a post."""

ImageSource = str | Path | bytes | Image.Image
"""A file's name, a file's bytes, or an opened image."""


NO_IMAGE, TEXT_ONLY = "no image", "text-only model"
"""Why no image was read, where nothing is wrong with it."""


class UnreadableImage(InputError):
    """The image of a post is missing or broken; its text could be read without."""


@dataclass(frozen=True, slots=True, eq=False)
class Request:
    """A post that is ready for the models. `Extractor.prepare` makes one, `Extractor.run` answers it.

    Attributes:
        post: With its text.
        pixels: Bytes (3, S, S) of its image for each side S in pixels that a model takes; empty without an image.
        image_reason: Why there are no pixels, as in `Extraction`.
        source: The image as it was given.
    """

    post: Post
    pixels: Mapping[int, torch.Tensor]
    image_reason: str | None
    source: ImageSource | None = None


def to_post(post: PostLike, id: str) -> Post:
    """A post with its text; `id` is for one that brings none.

    Raises:
        InputError: It has no words, or a value is not legal.
    """
    if isinstance(post, str):
        return from_text(post, id)
    if isinstance(post, Mapping):
        return from_record(post, id)
    if not isinstance(post, Post):
        remedy = 'words go in by name, {"tokens": ["Ann", "met", "Bob"]}'
        raise InputError(f"a post is a text, a mapping or a Post, and this is {shorten(post)}; {remedy}")
    if post.text is None:
        from_tokens(post.tokens)  # refuses empty words
    return with_text(post)


def make_request(post: Post, image: ImageSource | None, sizes: frozenset[int], max_pixels: int) -> Request:
    """Read the image of a post, unless it has more than `max_pixels`, once for each of the models' `sizes`.

    Raises:
        UnreadableImage: As `promu.corpora.images.load_image` says it.
    """
    if image is None:
        return Request(post, {}, NO_IMAGE)
    if not sizes:
        return Request(post, {}, TEXT_ONLY, image)
    source = Path(image) if isinstance(image, str) else image
    try:
        pixels = {size: to_pixels(load_image(source, max_pixels, (size, size)), size) for size in sizes}
    except InputError as error:
        raise UnreadableImage(error.reason, error.path, kind=error.kind or "broken image") from None
    return Request(post, pixels, None, image)
