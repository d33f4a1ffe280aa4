"""Arrays on disk that are computed once: made by several processes, filled row by row, gone on with after a kill."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor
from transformers import PreTrainedModel

from promu.corpora.shards import PairShards
from promu.files import write_json
from promu.modeling.backbone import HasEncoders
from promu.modeling.configuration import PromuConfig
from promu.modeling.distributed import in_order, process_number, processes, wait_for_all
from promu.modeling.encoders import normalise_pixels
from promu.modeling.inputs import WordEncoder, tensors
from promu.modeling.map_encoder import MapEncoderModel
from promu.modeling.map_sources import on_onnxruntime
from promu.progress import report
from promu.pytorch import autocast, weights_checksum
from promu.training.batches import Sample, rng_of
from promu.training.recipe import ViewSettings
from promu.training.views import WHOLE, PixelViews, View, Views, random_view, show

Array = npt.NDArray[Any]
BATCH = 16
FITTED_ON = 1024
"""Images whose features a map encoder's standardisation is fitted on."""


class CachedArray:
    """A memory-mapped array of half-precision rows, and which of them have been computed.

    Args:
        folder: The array goes to a folder in there that is named by a checksum of `made_from`.
        made_from: All that a row depends on, as JSON data.
        shape: Of the array.
        rows: How many things the array holds something of; its first axis, where that is one row each.
    """

    def __init__(self, folder: Path, made_from: Mapping[str, Any], shape: tuple[int, ...], rows: int) -> None:
        key = hashlib.sha256(json.dumps(made_from, sort_keys=True, default=str).encode()).hexdigest()[:16]
        self.folder = folder / key
        with in_order():
            if not (self.folder / "about.json").is_file():
                self.folder.mkdir(parents=True, exist_ok=True)
                for name, dtype, size in (("values", np.float16, shape), ("done", np.uint8, (rows,))):
                    np.lib.format.open_memmap(self.folder / f"{name}.npy", "w+", dtype, size).flush()
                write_json(self.folder / "about.json", made_from)
        self.values: Array = np.load(self.folder / "values.npy", mmap_mode="r+")
        self._done: Array = np.load(self.folder / "done.npy", mmap_mode="r+")

    def fill(self, batch: int, compute: Callable[[list[int]], None], stage: str) -> None:
        """Compute the rows that are not there yet; the processes share the work and return together.

        `compute` is given `batch` rows at once and puts them into `values`; progress is reported of `stage`.
        """
        share = range(process_number(), len(self._done), processes())
        todo = [row for row in share if not self._done[row]]
        done = len(share) - len(todo)
        for start in range(0, len(todo), batch):
            rows = todo[start : start + batch]
            compute(rows)
            self._done[rows] = 1
            done += len(rows)
            report(stage, done, len(share))
        wait_for_all()


class FeatureViews:
    """Fixed views of a corpus's images as features (K, C) of frozen networks (`Views`).

    The first view of an image is the whole of it, the others are random. Features are stored in `folder`, in another
    folder for each choice of networks, corpus and choice of views.
    """

    argument = "image_features"

    def __init__(
        self,
        encoder: MapEncoderModel,
        config: PromuConfig,
        corpus: PairShards,
        settings: ViewSettings,
        folder: Path,
        seed: int,
    ) -> None:
        self.settings = settings
        self.seed = seed
        side = config.image_size
        assert side is not None
        made_from = {
            "encoder": encoder.trunk_checksum(),
            "side": side,
            "corpus": {**corpus.header, "images": corpus.images},
            "views": settings.model_dump(mode="json"),
            "seed": seed,
        }
        shape = (corpus.images, settings.cached, *encoder.feature_shape)
        self.cache = CachedArray(folder, made_from, shape, corpus.images)

        @torch.inference_mode()
        def compute(rows: list[int]) -> None:
            images = [corpus.image(row).decode((side, side)) for row in rows]
            for number in range(settings.cached):
                shown = [show(image, self._view(row, number), side) for row, image in zip(rows, images, strict=True)]
                pixels = normalise_pixels(torch.stack(shown).to(encoder.device), config, torch.float32)
                self.cache.values[rows, number] = encoder.features(pixels).cpu().numpy()

        with on_onnxruntime(list(encoder.sources), BATCH):
            self.cache.fill(BATCH, compute, "features")
        if not encoder.is_fitted:
            sample = self.cache.values[:FITTED_ON, 0].astype(np.float32)
            encoder.fit_normalisation(torch.from_numpy(sample))

    def __call__(self, index: int, rng: np.random.Generator) -> tuple[Tensor, View]:
        """As `Views.__call__`."""
        number = int(rng.integers(self.settings.cached))
        return torch.from_numpy(np.array(self.cache.values[index, number])), self._view(index, number)

    def _view(self, index: int, number: int) -> View:
        return random_view(rng_of(self.seed, Sample(number, index)), self.settings) if number else WHOLE


def views_of(model: HasEncoders, corpus: PairShards, settings: ViewSettings, folder: Path, seed: int) -> Views:
    """What a model is trained on: pixels, or features in `folder` where its vision encoder is frozen networks'."""
    encoder, size = model.vision_encoder, model.config.image_size
    assert encoder is not None and size is not None
    if not isinstance(encoder, MapEncoderModel) or encoder.config.train_trunk:
        return PixelViews(corpus, size, settings)
    return FeatureViews(encoder, model.config, corpus, settings, folder, seed)


class CachedTexts:
    """Vectors (N+2, d) of the pieces of every caption, and of the empty one, from a frozen text encoder.

    They are stored in `folder`, in another folder for each encoder and corpus.
    """

    def __init__(self, model: HasEncoders, encoder: WordEncoder, corpus: PairShards, folder: Path) -> None:
        captions = list(dict.fromkeys(["", *(pair.caption for pair in corpus.pairs())]))  # one may be dropped
        self.rows = {caption: row for row, caption in enumerate(captions)}
        pieces = [encoder.text(caption) for caption in captions]
        self.starts = np.concatenate([[0], np.cumsum([len(text.input_ids) for text in pieces])])
        used = sorted({piece for text in pieces for piece in text.input_ids})
        made_from = {
            "encoder": _checksum(model.text_encoder, used),
            "pieces": hashlib.sha256(repr([text.input_ids for text in pieces]).encode()).hexdigest(),
        }
        shape = (int(self.starts[-1]), model.config.hidden_size)
        self.cache = CachedArray(folder, made_from, shape, len(captions))

        @torch.inference_mode()
        def compute(rows: list[int]) -> None:
            batch = tensors(encoder.batch([pieces[r] for r in rows]), model.device)
            with autocast(model.device):
                hidden = model.text_encoder(**batch).last_hidden_state.float().cpu().numpy()
            for row, vectors in zip(rows, hidden, strict=True):
                start, stop = self.starts[row : row + 2]
                self.cache.values[start:stop] = vectors[: stop - start]

        self.cache.fill(128, compute, "captions")

    def __call__(self, captions: Sequence[str]) -> Tensor:
        """(B, longest, d) of these captions, zeros after the end of each."""
        places = [slice(*self.starts[self.rows[caption] :][:2]) for caption in captions]
        longest = max(place.stop - place.start for place in places)
        vectors = np.zeros((len(captions), longest, self.cache.values.shape[1]), dtype=np.float16)
        for row, place in enumerate(places):
            vectors[row, : place.stop - place.start] = self.cache.values[place]
        return torch.from_numpy(vectors)


def _checksum(encoder: PreTrainedModel, used: list[int]) -> str:
    """Of the weights that the captions' vectors depend on: of the embeddings those of the pieces that occur.

    Entity markers, which no caption holds, start at random.
    """
    embeddings: Tensor = encoder.get_input_embeddings().weight  # type: ignore[operator, assignment]
    rows = {
        name: tensor[used] if tensor.data_ptr() == embeddings.data_ptr() else tensor
        for name, tensor in encoder.state_dict().items()
    }
    return weights_checksum(rows)


def texts_of(model: HasEncoders, encoder: WordEncoder, corpus: PairShards, folder: Path) -> CachedTexts | None:
    """The stored vectors of a corpus's captions where the model's text encoder is frozen; else None."""
    if "text" not in model.config.frozen:
        return None
    model.eval()
    return CachedTexts(model, encoder, corpus, folder)
