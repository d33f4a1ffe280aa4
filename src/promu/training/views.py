"""One geometric transform for an image and its boxes: random resized crop, flip, and what RandAugment adds."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Protocol

import numpy as np
import numpy.typing as npt
import torch
from PIL import Image, ImageEnhance, ImageOps

from promu.corpora.shards import PairShards
from promu.modeling.inputs import as_pixels
from promu.training.recipe import ViewSettings

if TYPE_CHECKING:
    pass

Boxes = npt.NDArray[np.float32]

LEFT_THE_VIEW = 0.25
"""A box of which a smaller share is still in view no longer shows its thing."""

ASPECT_JITTER = (-0.2877, 0.2877)
"""Range of the log of a view's width over height before it is squeezed to a square: 3/4 to 4/3."""

GREY = (128, 128, 128)
"""What fills the corners that a rotated or sheared view leaves empty."""


@dataclass(frozen=True, slots=True)
class View:
    """How an image is shown.

    Attributes:
        origin, size: Left and top, width and height of the part shown, in 0..1 of the image.
        flip: Whether it is mirrored.
        operations: Then, in their order, operations by name with their strength in -1..1.
    """

    origin: tuple[float, float] = (0.0, 0.0)
    size: tuple[float, float] = (1.0, 1.0)
    flip: bool = False
    operations: tuple[tuple[str, float], ...] = ()


WHOLE = View()


def random_view(chance: np.random.Generator, smallest: float, operations: int = 0, magnitude: float = 0.3) -> View:
    """A random resized crop and flip, then `operations` of RandAugment's kind.

    Args:
        chance: Where chance comes from.
        smallest: Smallest share of the area that a view keeps; 1 gives the whole image, not flipped.
        operations: How many operations, drawn with replacement from `OPERATIONS`.
        magnitude: Strength of each, up to 1; its sign is random.
    """
    chosen = tuple(
        (name, magnitude * (1 if chance.random() < 0.5 else -1))
        for name in chance.choice(list(OPERATIONS), size=operations)
    )
    if smallest >= 1.0:
        return View(operations=chosen)
    area = chance.uniform(smallest, 1.0)
    ratio = math.exp(chance.uniform(*ASPECT_JITTER))
    size = (min(math.sqrt(area * ratio), 1.0), min(math.sqrt(area / ratio), 1.0))
    origin = (chance.random() * (1 - size[0]), chance.random() * (1 - size[1]))
    return View(origin, size, bool(chance.random() < 0.5), chosen)


def show(image: Image.Image, view: View, size: int) -> torch.Tensor:
    """The view of an RGB image, squeezed to a square: bytes (3, size, size) in 0..255."""
    width, height = image.size
    left, top = view.origin[0] * width, view.origin[1] * height
    box = (left, top, min(left + view.size[0] * width, width), min(top + view.size[1] * height, height))
    if image.size != (size, size) or view.size != (1.0, 1.0):
        image = image.resize((size, size), Image.Resampling.BILINEAR, box=box, reducing_gap=2.0)
    if view.flip:
        image = image.transpose(Image.Transpose.FLIP_LEFT_RIGHT)
    for name, strength in view.operations:
        image = OPERATIONS[name](image, strength)
    return as_pixels(image)


def move_boxes(boxes: Boxes, view: View) -> tuple[Boxes, npt.NDArray[np.bool_]]:
    """Boxes of the image as boxes of the view.

    Args:
        boxes: (R, 4) in 0..1 of the image.
        view: What was done to the image.

    Returns:
        (R, 4) in 0..1 of the view, and (R,), whether enough of the box is still in it.
    """
    moved = (boxes - np.tile(view.origin, 2)) / np.tile(view.size, 2)
    if view.flip:
        moved = np.stack([1 - moved[:, 2], moved[:, 1], 1 - moved[:, 0], moved[:, 3]], -1)
    for name, strength in view.operations:
        if name in GEOMETRIC:
            moved = _bounds(moved, np.linalg.inv(_matrix(name, strength)))
    clipped = moved.clip(0.0, 1.0)
    return clipped.astype(np.float32), _area(clipped) / np.maximum(_area(moved), 1e-9) >= LEFT_THE_VIEW


def _area(boxes: npt.NDArray[np.floating]) -> npt.NDArray[np.floating]:
    return (boxes[:, 2:] - boxes[:, :2]).clip(min=0).prod(-1)


def _matrix(name: str, strength: float) -> npt.NDArray[np.float64]:
    """Where a point of the result, in 0..1 around the middle, comes from: 3 x 3."""
    middle = np.array([[1, 0, -0.5], [0, 1, -0.5], [0, 0, 1.0]])
    angle = math.radians(30 * strength)
    turned = {
        "rotate": [[math.cos(angle), math.sin(angle), 0], [-math.sin(angle), math.cos(angle), 0], [0, 0, 1]],
        "shear-x": [[1, 0.3 * strength, 0], [0, 1, 0], [0, 0, 1]],
        "shear-y": [[1, 0, 0], [0.3 * strength, 1, 0], [0, 0, 1]],
        "translate-x": [[1, 0, 0.3 * strength], [0, 1, 0], [0, 0, 1]],
        "translate-y": [[1, 0, 0], [0, 1, 0.3 * strength], [0, 0, 1]],
    }[name]
    return np.linalg.inv(middle) @ np.array(turned) @ middle


def _bounds(boxes: npt.NDArray[np.floating], matrix: npt.NDArray[np.floating]) -> npt.NDArray[np.floating]:
    """The upright boxes around boxes (R, 4) that a matrix has turned."""
    corners = boxes[:, [[0, 1], [2, 1], [0, 3], [2, 3]]]
    points = corners @ matrix[:2, :2].T + matrix[:2, 2]
    return np.concatenate([points.min(1), points.max(1)], -1)


def _geometric(name: str) -> Callable[[Image.Image, float], Image.Image]:
    def apply(image: Image.Image, strength: float) -> Image.Image:
        scale = np.diag([image.width, image.height, 1.0])
        pixels = scale @ _matrix(name, strength) @ np.linalg.inv(scale)
        return image.transform(
            image.size, Image.Transform.AFFINE, tuple(pixels[:2].ravel()), Image.Resampling.BILINEAR, fillcolor=GREY
        )

    return apply


def _enhance(kind: Callable[[Image.Image], ImageEnhance._Enhance]) -> Callable[[Image.Image, float], Image.Image]:
    return lambda image, strength: kind(image).enhance(1 + 0.9 * strength)


GEOMETRIC = ("rotate", "shear-x", "shear-y", "translate-x", "translate-y")

OPERATIONS: dict[str, Callable[[Image.Image, float], Image.Image]] = {
    **{name: _geometric(name) for name in GEOMETRIC},
    "brightness": _enhance(ImageEnhance.Brightness),
    "contrast": _enhance(ImageEnhance.Contrast),
    "colour": _enhance(ImageEnhance.Color),
    "sharpness": _enhance(ImageEnhance.Sharpness),
    "autocontrast": lambda image, strength: ImageOps.autocontrast(image),
    "equalise": lambda image, strength: ImageOps.equalize(image),
    "posterise": lambda image, strength: ImageOps.posterize(image, 8 - round(4 * abs(strength))),
    "solarise": lambda image, strength: ImageOps.solarize(image, 256 - round(200 * abs(strength))),
}
"""RandAugment's operations: an image and a strength in -1..1 to an image of the same size."""


class Views(Protocol):
    """What a batch shows of its images.

    Attributes:
        argument: The model's argument that takes the stacked tensors.
    """

    argument: str

    def __call__(self, index: int, chance: np.random.Generator) -> tuple[torch.Tensor, View]:
        """A view of the image with this number, and which one it is."""


class PixelViews:
    """Random views as pixels (3, S, S), bytes.

    Args:
        corpus: Whose images.
        size: S.
        settings: Which views.
        budget: Bytes of decoded images to keep; what does not fit is decoded again.
    """

    argument = "pixel_values"

    def __init__(self, corpus: PairShards, size: int, settings: ViewSettings, budget: int = 2**30) -> None:
        self.corpus = corpus
        self.size = size
        self.settings = settings
        # the shorter side that a smallest view still needs: more is never looked at
        self.side = math.ceil(size / math.sqrt(settings.crop))
        self._left = budget
        self._kept: dict[int, Image.Image] = {}

    def __call__(self, index: int, chance: np.random.Generator) -> tuple[torch.Tensor, View]:
        """As `Views.__call__`."""
        view = random_view(chance, self.settings.crop, self.settings.operations, self.settings.magnitude)
        return show(self._image(index), view, self.size), view

    def _image(self, index: int) -> Image.Image:
        if index in self._kept:
            return self._kept[index]
        image = self.corpus.image(index).decode((self.side, self.side))
        scale = self.side / min(image.size)
        if scale < 1:
            smaller = (max(1, round(image.width * scale)), max(1, round(image.height * scale)))
            image = image.resize(smaller, Image.Resampling.BILINEAR, reducing_gap=2.0)
        cost = 4 * image.width * image.height  # Pillow pads RGB to four bytes
        if cost <= self._left:
            self._left -= cost
            self._kept[index] = image
        return image
