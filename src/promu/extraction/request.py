"""A post made ready for the models: its words, where they lie in the text, and the pixels of its image."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from PIL import Image

from promu.contexts.captioning import PostDescriber
from promu.corpora.images import load_image
from promu.corpora.posts import from_record, from_text, from_tokens, with_text
from promu.errors import InputError
from promu.files import shorten
from promu.modeling.inputs import WordEncoder, to_pixels
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


def contexts_read(encoders: Sequence[WordEncoder]) -> list[str]:
    """The names of the contexts that any of these encoders reads, in their order."""
    return list(dict.fromkeys(name for encoder in encoders for name in encoder.contexts))


def context_warnings(post: Post, encoders: Sequence[WordEncoder]) -> list[str]:
    """What is odd about a post's contexts: those that no model reads, or, where it has none, those that one reads."""
    read = set(contexts_read(encoders))
    unread = sorted(set(post.contexts) - read)
    if read and not read & set(post.contexts):
        return [
            f"the context {name!r} is what this model was trained with, and posts come without it"
            for name in sorted(read)
        ]
    return [f"the context {name!r} is brought by posts, and this model does not read it" for name in unread]


def describe_image(
    describe: PostDescriber,
    post: Post,
    image: ImageSource,
    captioner: str,
    max_pixels: int,
    encoders: Sequence[WordEncoder],
) -> Post:
    """The post with a description of its image as a context that the models read.

    Raises:
        UnreadableImage: As `promu.corpora.images.load_image` says it.
        InputError: As `PostDescriber`.
    """
    names = contexts_read(encoders)
    try:
        opened = load_image(Path(image) if isinstance(image, str) else image, max_pixels)
    except InputError as error:
        raise UnreadableImage(error.reason, error.path, kind=error.kind or "broken image") from None
    return describe(post, opened, captioner, names)


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
