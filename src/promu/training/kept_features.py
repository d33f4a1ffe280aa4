"""What a frozen detector makes of a corpus's pictures, computed once and kept on disk.

A vision encoder whose lower part is frozen gives the same features for the same view in every epoch. So each picture
gets a few fixed views, the detector sees each of them once, and training reads its features through a memory map.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import torch

from promu.corpora.shards import PairShards
from promu.files import write_json
from promu.modeling.configuration import PromuConfig
from promu.modeling.detector_encoder import DetectorEncoderModel
from promu.modeling.distributed import process_number, processes
from promu.modeling.encoders import normalise_pixels
from promu.training.batches import Sample, chance_of
from promu.training.group import in_order, wait_for_all
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
        key = hashlib.sha256(json.dumps(made_from, sort_keys=True, default=str).encode()).hexdigest()[:16]
        self.folder = folder / key
        shape = (corpus.pictures, settings.kept, *encoder.feature_shape)
        with in_order():
            if not (self.folder / "about.json").is_file():
                self.folder.mkdir(parents=True, exist_ok=True)
                for name, dtype, size in (("features", np.float16, shape), ("seen", np.uint8, shape[:1])):
                    np.lib.format.open_memmap(self.folder / f"{name}.npy", "w+", dtype, size).flush()
                write_json(self.folder / "about.json", made_from)
        self.features: Any = np.load(self.folder / "features.npy", mmap_mode="r+")
        self._seen: Any = np.load(self.folder / "seen.npy", mmap_mode="r+")
        self._fill(encoder, config, progress)
        wait_for_all()
        if not encoder.is_fitted:
            sample = self.features[: min(FITTED_ON, corpus.pictures), 0].astype(np.float32)
            encoder.fit_normalisation(torch.from_numpy(sample))

    def __call__(self, index: int, chance: np.random.Generator) -> tuple[torch.Tensor, View]:
        """As `Views.__call__`."""
        number = int(chance.integers(self.settings.kept))
        return torch.from_numpy(np.array(self.features[index, number])), self._view(index, number)

    def _view(self, index: int, number: int) -> View:
        if number == 0:
            return WHOLE
        chance = chance_of(self.seed, Sample(number, index))
        return random_view(chance, self.settings.crop, self.settings.operations, self.settings.magnitude)

    @torch.inference_mode()
    def _fill(
        self, encoder: DetectorEncoderModel, config: PromuConfig, progress: Callable[[int, int], None] | None
    ) -> None:
        share = range(process_number(), self.corpus.pictures, processes())
        todo = [index for index in share if not self._seen[index]]
        assert config.image_size is not None
        done = len(share) - len(todo)
        for batch in _batches(todo):
            pictures = [self.corpus.picture(index).decode((config.image_size,) * 2) for index in batch]
            for number in range(self.settings.kept):
                pixels = torch.stack(
                    [
                        show(picture, self._view(index, number), config.image_size)
                        for index, picture in zip(batch, pictures, strict=True)
                    ]
                ).to(encoder.device)
                found = encoder.features(normalise_pixels(pixels, config, torch.float32))
                self.features[batch, number] = found.cpu().numpy().astype(np.float16)
            self._seen[batch] = 1
            done += len(batch)
            if progress is not None:
                progress(done, len(share))


def _batches(rows: list[int]) -> Iterator[list[int]]:
    for start in range(0, len(rows), BATCH):
        yield rows[start : start + BATCH]
