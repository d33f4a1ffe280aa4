"""A post made ready for the models: its words, where they lie in the text, and the pixels of its image."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from promu.contexts.captioning import Captioners, context_and_captioner
from promu.corpora.images import load_image, read_image
from promu.corpora.posts import from_record, from_text, from_tokens, with_text
from promu.errors import InputError
from promu.extraction.extraction_config import ExtractionConfig
from promu.extraction.image_cache import ImageCache, checksum
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
    pixels: Mapping[int, NDArray[np.uint8]]
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


def with_image(post: Post, image: ImageSource | None) -> Post:
    """A post that names no image, with the name of the file that is given for it; bytes and pixels have none."""
    return replace(post, image=str(image)) if post.image is None and isinstance(image, str | Path) else post


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


class ImageReader:
    """The images of posts as pixels and, if a captioner is named, as descriptions; work on one content is done once.

    Threads may share it.

    Args:
        cache: What was made of images before.
        encoders: Of the models that read the posts; descriptions become a context that they read.
        sizes: Sides S in pixels of the images that they take; empty where they read text alone.
    """

    def __init__(self, cache: ImageCache, encoders: Sequence[WordEncoder], sizes: frozenset[int]) -> None:
        self._cache, self._sizes = cache, sorted(sizes)
        self._contexts = contexts_read(encoders)
        self._captioners = Captioners()

    def described(self, post: Post, image: _GivenImage, config: ExtractionConfig) -> Post:
        """The post with a description of its image, unless it brings a text of that name.

        Raises:
            InputError: The captioner's name does not say which context it makes, or it cannot be loaded.
            UnreadableImage: As `promu.corpora.images.load_image` says it.
        """
        assert config.captioner is not None
        name, model = context_and_captioner(config.captioner, self._contexts)
        if name in post.contexts:
            return post

        def make(_: list[int]) -> list[str]:
            return [self._captioners.describe(image.opened, model)]

        (text,) = self._cache.once("describe", [(image.checksum, model, config.max_pixels)], make, config.image_budget)
        return replace(post, contexts={**post.contexts, name: text})

    def request(self, post: Post, source: ImageSource | None, config: ExtractionConfig) -> Request:
        """A post with its image, decoded at most once for all models and the captioner.

        Raises:
            InputError: As `described`.
            UnreadableImage: As `promu.corpora.images.load_image` says it; more than `max_pixels` are refused.
        """
        if source is None:
            return Request(post, {}, NO_IMAGE)
        if not self._sizes and config.captioner is None:
            return Request(post, {}, TEXT_ONLY, source)
        # a captioner sees the whole image; without one a big JPEG is decoded at a part of its size
        target = None if config.captioner is not None else (self._sizes[-1], self._sizes[-1])
        image = _GivenImage(source, config.max_pixels, target)
        if config.captioner is not None:
            post = self.described(post, image, config)
            if not self._sizes:
                return Request(post, {}, TEXT_ONLY, source)

        def make(places: list[int]) -> list[NDArray[np.uint8]]:
            return [to_pixels(image.opened, self._sizes[place]) for place in places]

        if isinstance(source, Image.Image):  # there is little to gain: it is decoded
            pixels = make(list(range(len(self._sizes))))
        else:
            keys = [(image.checksum, size, target, config.max_pixels) for size in self._sizes]
            pixels = self._cache.once("decode", keys, make, config.image_budget)
        return Request(post, dict(zip(self._sizes, pixels, strict=True)), None, source)


class _GivenImage:
    """An image as it was given, read at once and decoded when its pixels are first asked for.

    Raises:
        UnreadableImage: As `promu.corpora.images.load_image` says it.
    """

    def __init__(self, source: ImageSource, max_pixels: int, target: tuple[int, int] | None) -> None:
        self._max_pixels, self._target = max_pixels, target
        self._source: ImageSource = source
        self._path: Path | None = None
        if not isinstance(source, Image.Image):
            with _unreadable(None):
                self._source, self._path = read_image(source)

    @cached_property
    def opened(self) -> Image.Image:
        """In RGB, at least of the target's size."""
        with _unreadable(self._path):
            return load_image(self._source, self._max_pixels, self._target)

    @cached_property
    def checksum(self) -> str:
        """Of the file's bytes; of the pixels where there is no file."""
        return checksum(self._source if isinstance(self._source, bytes) else self.opened)


@contextmanager
def _unreadable(path: Path | None) -> Iterator[None]:
    try:
        yield
    except InputError as error:
        raise UnreadableImage(error.reason, error.path or path, kind=error.kind or "broken image") from None
