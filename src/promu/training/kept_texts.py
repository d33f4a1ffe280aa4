"""What a frozen text encoder makes of a corpus's captions, computed once and kept on disk."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
import torch
from transformers import PreTrainedModel

from promu.corpora.shards import PairShards
from promu.modeling.backbone import HasEncoders
from promu.modeling.device import autocast
from promu.modeling.inputs import WordEncoder
from promu.training.kept import KeptArray

BATCH = 128


class KeptTexts:
    """Vectors (N+2, d) of the pieces of every caption, and of the empty one, from a frozen text encoder.

    Args:
        model: Its text encoder is frozen.
        encoder: Makes pieces of a caption, as the model is given them.
        corpus: Whose captions.
        folder: Where vectors are kept, in a folder of their own for each encoder and corpus.
        progress: Called with (captions read, captions in all) of this process's share.
    """

    def __init__(
        self,
        model: HasEncoders,
        encoder: WordEncoder,
        corpus: PairShards,
        folder: Path,
        progress: Callable[[int, int], None] | None = None,
    ) -> None:
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
        self.kept = KeptArray(folder, made_from, shape, len(captions))

        @torch.inference_mode()
        def compute(rows: list[int]) -> None:
            batch = {name: value.to(model.device) for name, value in encoder.batch([pieces[r] for r in rows]).items()}
            with autocast(model.device):
                hidden = model.text_encoder(**batch).last_hidden_state.float().cpu().numpy()
            for row, vectors in zip(rows, hidden, strict=True):
                start, stop = self.starts[row : row + 2]
                self.kept.values[start:stop] = vectors[: stop - start]

        self.kept.fill(BATCH, compute, progress)

    def __call__(self, captions: Sequence[str]) -> torch.Tensor:
        """(B, longest, d) of these captions, zeros after the end of each."""
        places = [slice(*self.starts[self.rows[caption] :][:2]) for caption in captions]
        longest = max(place.stop - place.start for place in places)
        found = np.zeros((len(captions), longest, self.kept.values.shape[1]), dtype=np.float16)
        for row, place in enumerate(places):
            found[row, : place.stop - place.start] = self.kept.values[place]
        return torch.from_numpy(found)


def _checksum(encoder: PreTrainedModel, used: list[int]) -> str:
    """Of the weights that the captions' vectors depend on: of the embeddings those of the pieces that occur.

    Entity markers, which no caption holds, start at random.
    """
    embeddings: torch.Tensor = encoder.get_input_embeddings().weight  # type: ignore[operator, assignment]
    checksum = hashlib.sha256()
    for tensor in encoder.state_dict().values():
        rows = tensor[used] if tensor.data_ptr() == embeddings.data_ptr() else tensor
        checksum.update(rows.float().cpu().contiguous().numpy().tobytes())
    return checksum.hexdigest()


def texts_of(
    model: HasEncoders,
    encoder: WordEncoder,
    corpus: PairShards,
    folder: Path,
    progress: Callable[[str, int, int], None] | None = None,
) -> KeptTexts | None:
    """The kept vectors of a corpus's captions where the model's text encoder is frozen; else None."""
    if "text" not in model.config.frozen:
        return None
    report = None if progress is None else lambda done, total: progress("captions", done, total)
    model.eval()
    return KeptTexts(model, encoder, corpus, folder, report)
