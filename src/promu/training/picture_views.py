"""The pictures of a corpus as views for training: decoded once and kept, as far as memory goes."""

from __future__ import annotations

import math
from pathlib import Path
from typing import TYPE_CHECKING, Protocol

import numpy as np
import torch
from PIL import Image

from promu.corpora.shards import PairShards
from promu.modeling.backbone import HasEncoders
from promu.modeling.detector_encoder import DetectorEncoderModel
from promu.training.kept_features import FeatureViews
from promu.training.recipe import ViewSettings
from promu.training.views import View, random_view, show

if TYPE_CHECKING:
    from promu.training.loop import Progress


class Views(Protocol):
    """What a batch shows of its pictures.

    Attributes:
        argument: The model's argument that takes the stacked tensors.
    """

    argument: str

    def __call__(self, index: int, chance: np.random.Generator) -> tuple[torch.Tensor, View]:
        """A view of the picture with this number, and which one it is."""


class PixelViews:
    """Random views as pixels (3, S, S), bytes.

    Args:
        corpus: Whose pictures.
        size: S.
        settings: Which views.
        budget: Bytes of decoded pictures to keep; what does not fit is decoded again.
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
        return show(self._picture(index), view, self.size), view

    def _picture(self, index: int) -> Image.Image:
        if index in self._kept:
            return self._kept[index]
        picture = self.corpus.picture(index).decode((self.side, self.side))
        scale = self.side / min(picture.size)
        if scale < 1:
            smaller = (max(1, round(picture.width * scale)), max(1, round(picture.height * scale)))
            picture = picture.resize(smaller, Image.Resampling.BILINEAR, reducing_gap=2.0)
        cost = 4 * picture.width * picture.height  # Pillow pads RGB to four bytes
        if cost <= self._left:
            self._left -= cost
            self._kept[index] = picture
        return picture


def views_of(
    model: HasEncoders,
    corpus: PairShards,
    settings: ViewSettings,
    folder: Path,
    seed: int,
    progress: Progress | None = None,
) -> Views:
    """What training shows a model: pixels, or the kept features of a frozen detector where its encoder is made of one.

    Args:
        model: Whose vision encoder looks.
        corpus: Whose pictures.
        settings: Which views.
        folder: Where features are kept.
        seed: Of the fixed views.
        progress: See `promu.training.loop.Progress`.
    """
    encoder, size = model.vision_encoder, model.config.image_size
    assert encoder is not None and size is not None
    if not isinstance(encoder, DetectorEncoderModel) or encoder.config.train_trunk:
        return PixelViews(corpus, size, settings)
    report = None if progress is None else lambda done, total: progress("features", done, total)
    return FeatureViews(encoder, model.config, corpus, settings, folder, seed, report)
