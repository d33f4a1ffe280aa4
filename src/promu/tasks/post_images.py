"""A folder of images as arrays: each decoded and shrunk once, missing ones treated by the policy of the recipe."""

from __future__ import annotations

import logging
from collections.abc import Iterable
from pathlib import Path
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from promu.corpora.images import load_image
from promu.errors import InputError
from promu.modeling.inputs import to_pixels
from promu.schema import MissingPostImage

logger = logging.getLogger(__name__)

ImagePolicy = Literal[MissingPostImage, "none"]
"""What a missing image does; `none` reads no image at all."""


class ImageFolder:
    """Images by file name as bytes (3, S, S), kept in memory up to `budget` bytes.

    Args:
        folder: Where the images are; None where no post has one.
        size: Side S in pixels; None for a text-only model, which never asks.
        policy: `raise`, `text-only` or `none`, as in `FinetuneRecipe`.
        budget: Bytes of pixels to keep; what does not fit is decoded again when asked for.
    """

    def __init__(self, folder: Path | None, size: int | None, policy: ImagePolicy, budget: int = 2**30) -> None:
        self.folder, self.size, self.budget = folder, size, budget
        self.policy: ImagePolicy = policy if size is not None else "none"
        self.missing: dict[str, str] = {}
        """Images that could not be read, and the kind of what is wrong with each."""
        self._kept: dict[str, NDArray[np.uint8]] = {}

    def get(self, image: str | None) -> NDArray[np.uint8] | None:
        """The image's bytes (3, S, S), or None for a post that is to be read as text.

        Raises:
            InputError: It is missing or broken and the policy is `raise`.
        """
        if self.policy == "none" or image is None or image in self.missing:
            return None
        if image in self._kept:
            return self._kept[image]
        assert self.folder is not None and self.size is not None
        try:
            pixels = to_pixels(load_image(self.folder / image, target=(self.size, self.size)), self.size)
        except InputError as error:
            if self.policy == "raise":
                raise InputError(
                    f"{error.reason}; or have its post read as text (in a recipe images: text-only, "
                    "otherwise missing_images='text-only')",
                    error.path,
                ) from None
            self.missing[image] = error.kind or "broken image"
            logger.warning("%s; the post is read as text", error)
            return None
        if (len(self._kept) + 1) * pixels.nbytes <= self.budget:
            self._kept[image] = pixels
        return pixels

    def counts(self, images: Iterable[str | None]) -> dict[str, Any]:
        """How many posts were read with an image, and how many as text and why; and the policy.

        A broken image cannot be decoded; an unwanted one is not read because the policy is `none`.
        """
        counts = dict.fromkeys(("with image", "image missing", "image broken", "image unwanted", "no image named"), 0)
        for image in images:
            if image is None:
                counts["no image named"] += 1
            elif self.policy == "none":
                counts["image unwanted"] += 1
            elif image in self.missing:
                counts["image missing" if self.missing[image] == "missing image" else "image broken"] += 1
            else:
                counts["with image"] += 1
        return {**counts, "policy": self.policy}

    def batch(self, images: Iterable[str | None]) -> dict[str, NDArray[Any]]:
        """`pixel_values` (B, 3, S, S) bytes and `image_mask` (B,); nothing where no post has an image."""
        decoded = [self.get(image) for image in images]
        blank = next((np.zeros_like(pixels) for pixels in decoded if pixels is not None), None)
        if blank is None:
            return {}
        stack = np.stack([blank if pixels is None else pixels for pixels in decoded])
        return {"pixel_values": stack, "image_mask": np.array([int(pixels is not None) for pixels in decoded])}
