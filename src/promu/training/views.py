"""Random views of an image that its boxes follow: resized crop, flip, brightness and contrast."""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from typing import Protocol

import numpy as np
import numpy.typing as npt
import torch
from PIL import Image, ImageEnhance
from torch import Tensor

from promu.corpora.shards import PairShards
from promu.modeling.inputs import as_pixels
from promu.training.recipe import ViewSettings

Boxes = npt.NDArray[np.float32]

LEFT_THE_VIEW = 0.25
"""A box of which a smaller share is still in view no longer shows its thing."""

ASPECT_JITTER = (-0.2877, 0.2877)
"""Range of the log of a view's width over height before it is squeezed to a square: 3/4 to 4/3."""


@dataclass(frozen=True, slots=True)
class View:
    """How an image is shown.

    Attributes:
        origin, size: Left and top, width and height of the part shown, in 0..1 of the image.
        flip: Whether it is mirrored.
        brightness, contrast: Factors, 1 for those of the image.
    """

    origin: tuple[float, float] = (0.0, 0.0)
    size: tuple[float, float] = (1.0, 1.0)
    flip: bool = False
    brightness: float = 1.0
    contrast: float = 1.0


WHOLE = View()


def random_view(rng: np.random.Generator, settings: ViewSettings) -> View:
    """A random resized crop and flip, then, where `settings.jitter` is set, other brightness and contrast."""
    view = WHOLE
    if settings.crop < 1.0:
        area = rng.uniform(settings.crop, 1.0)
        ratio = math.exp(rng.uniform(*ASPECT_JITTER))
        size = (min(math.sqrt(area * ratio), 1.0), min(math.sqrt(area / ratio), 1.0))
        origin = (rng.random() * (1 - size[0]), rng.random() * (1 - size[1]))
        view = View(origin, size, bool(rng.random() < 0.5))
    if settings.jitter:
        brightness, contrast = rng.uniform(1 - settings.jitter, 1 + settings.jitter, 2).tolist()
        view = replace(view, brightness=brightness, contrast=contrast)
    return view


def show(image: Image.Image, view: View, size: int) -> Tensor:
    """The view of an RGB image, squeezed to a square: bytes (3, size, size) in 0..255."""
    width, height = image.size
    left, top = view.origin[0] * width, view.origin[1] * height
    box = (left, top, min(left + view.size[0] * width, width), min(top + view.size[1] * height, height))
    if image.size != (size, size) or view.size != (1.0, 1.0):
        image = image.resize((size, size), Image.Resampling.BILINEAR, box=box, reducing_gap=2.0)
    if view.flip:
        image = image.transpose(Image.Transpose.FLIP_LEFT_RIGHT)
    if view.brightness != 1.0:
        image = ImageEnhance.Brightness(image).enhance(view.brightness)
    if view.contrast != 1.0:
        image = ImageEnhance.Contrast(image).enhance(view.contrast)
    return torch.from_numpy(as_pixels(image))


def move_boxes(boxes: Boxes, view: View) -> tuple[Boxes, npt.NDArray[np.bool_]]:
    """Boxes (R, 4) in 0..1 of the image as boxes of the view, and (R,), whether enough of each is still in it.

    A box is clipped to the crop first; what is left of it is then scaled and mirrored as the image is.
    """
    origin, size = np.tile(view.origin, 2), np.tile(view.size, 2)
    cropped = boxes.clip(origin, origin + size)
    shown, area = ((part[:, 2:] - part[:, :2]).clip(min=0).prod(-1) for part in (cropped, boxes))
    moved = ((cropped - origin) / size).clip(0.0, 1.0)  # again, since a quotient may pass 1 by the last bit
    if view.flip:
        moved = np.stack([1 - moved[:, 2], moved[:, 1], 1 - moved[:, 0], moved[:, 3]], -1)
    return moved.astype(np.float32), shown / np.maximum(area, 1e-9) >= LEFT_THE_VIEW


class Views(Protocol):
    """What a batch shows of its images.

    Attributes:
        argument: The model's argument that takes the stacked tensors.
    """

    argument: str

    def __call__(self, index: int, rng: np.random.Generator) -> tuple[Tensor, View]:
        """A view of the image with this number, and which one it is."""


class PixelViews:
    """Random views as pixels (3, S, S), bytes; decoded images are held in memory up to `budget` bytes."""

    argument = "pixel_values"

    def __init__(self, corpus: PairShards, size: int, settings: ViewSettings, budget: int = 2**30) -> None:
        self.corpus = corpus
        self.size = size
        self.settings = settings
        # the shorter side that a smallest view still needs: more is never looked at
        self.side = math.ceil(size / math.sqrt(settings.crop))
        self._left = budget
        self._decoded: dict[int, Image.Image] = {}

    def __call__(self, index: int, rng: np.random.Generator) -> tuple[Tensor, View]:
        """As `Views.__call__`."""
        view = random_view(rng, self.settings)
        return show(self._image(index), view, self.size), view

    def _image(self, index: int) -> Image.Image:
        if index in self._decoded:
            return self._decoded[index]
        image = self.corpus.image(index).decode((self.side, self.side))
        scale = self.side / min(image.size)
        if scale < 1:
            smaller = (max(1, round(image.width * scale)), max(1, round(image.height * scale)))
            image = image.resize(smaller, Image.Resampling.BILINEAR, reducing_gap=2.0)
        cost = 4 * image.width * image.height  # Pillow pads RGB to four bytes
        if cost <= self._left:
            self._left -= cost
            self._decoded[index] = image
        return image
