"""What a frozen detector makes of a corpus's pictures, computed once and kept on disk.

A vision encoder whose lower part is frozen gives the same features for the same view in every epoch. So each picture
gets a few fixed views, the detector sees each of them once, and training reads its features through a memory map.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import torch

from promu.corpora.shards import PairShards
from promu.modeling.configuration import PromuConfig
from promu.modeling.detector_encoder import DetectorEncoderModel
from promu.modeling.encoders import normalise_pixels
from promu.training.batches import Sample, chance_of
from promu.training.kept import KeptArray
from promu.training.recipe import ViewSettings
from promu.training.views import WHOLE, View, random_view, show

BATCH = 16
FITTED_ON = 1024
"""Pictures whose features the encoder's standardisation is fitted on."""


class FeatureViews:
    """Fixed views of a corpus's pictures as features (K, C) of a frozen detector (`Views`).

    The first view of a picture is the whole of it, the others are random.

    Args:
        encoder: Its lower part is the detector.
        config: Says how pixels are normalised.
        corpus: Whose pictures.
        settings: Which views, and how many.
        folder: Where features are kept, in a folder of their own for each detector, corpus and choice of views.
        seed: Of the views.
        progress: Called with (pictures seen, pictures in all) of this process's share.
    """

    argument = "picture_features"

    def __init__(
        self,
        encoder: DetectorEncoderModel,
        config: PromuConfig,
        corpus: PairShards,
        settings: ViewSettings,
        folder: Path,
        seed: int,
        progress: Callable[[int, int], None] | None = None,
    ) -> None:
        self.corpus = corpus
        self.settings = settings
        self.seed = seed
        made_from = {
            "detector": encoder.trunk_checksum(),
            "side": config.image_size,
            "corpus": {**corpus.header, "pictures": corpus.pictures},
            "views": settings.model_dump(mode="json"),
            "seed": seed,
        }
        side = config.image_size
        assert side is not None
        self.kept = KeptArray(
            folder, made_from, (corpus.pictures, settings.kept, *encoder.feature_shape), corpus.pictures
        )

        @torch.inference_mode()
        def compute(rows: list[int]) -> None:
            pictures = [corpus.picture(row).decode((side, side)) for row in rows]
            for number in range(settings.kept):
                shown = [
                    show(picture, self._view(row, number), side) for row, picture in zip(rows, pictures, strict=True)
                ]
                pixels = normalise_pixels(torch.stack(shown).to(encoder.device), config, torch.float32)
                self.kept.values[rows, number] = encoder.features(pixels).cpu().numpy()

        self.kept.fill(BATCH, compute, progress)
        if not encoder.is_fitted:
            sample = self.kept.values[: min(FITTED_ON, corpus.pictures), 0].astype(np.float32)
            encoder.fit_normalisation(torch.from_numpy(sample))

    def __call__(self, index: int, chance: np.random.Generator) -> tuple[torch.Tensor, View]:
        """As `Views.__call__`."""
        number = int(chance.integers(self.settings.kept))
        return torch.from_numpy(np.array(self.kept.values[index, number])), self._view(index, number)

    def _view(self, index: int, number: int) -> View:
        if number == 0:
            return WHOLE
        chance = chance_of(self.seed, Sample(number, index))
        return random_view(chance, self.settings.crop, self.settings.operations, self.settings.magnitude)
