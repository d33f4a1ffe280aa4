"""Captions with object tags: beside them (Oscar), or in their place (U-VisualBERT). A tag is a region's label."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from promu.corpora.shards import PairShards
from promu.errors import InputError
from promu.modeling.inputs import Batch, EncodedText
from promu.schema import CaptionPair
from promu.training.batches import Sample
from promu.training.pair_batches import CaptionCollator
from promu.training.recipe import LossSettings
from promu.training.views import View, move_boxes

POLLUTED = 0.5
"""Share of the captions that get the tags of another image (Oscar)."""
OF_IMAGES = 0.5
"""Share of the pairs that are read as their image alone (U-VisualBERT)."""


class TagCollator(CaptionCollator):
    """`CaptionCollator` whose texts have tags: the labels of the regions that are in the view, best first.

    With `losses.tag` they stand behind the caption, for half of the rows those of another image of the corpus. The
    batch then has `tag_labels` and `tag_mask` (`JointLoss`). With `losses.unpaired` a row is either a caption without
    its image or an image with its tags as text, which `image_mask` says.

    Raises:
        InputError: No image of the corpus has a region.
    """

    def __init__(self, losses: LossSettings, *given: Any, **more: Any) -> None:
        super().__init__(*given, **more)
        self.losses = losses
        self._tags = [tuple(region.label for region in image.regions) for image in self.corpus.captions()]
        if not any(self._tags):
            raise InputError(
                "no image of this corpus has a region, and object tags are the labels of regions; build it with a "
                "detector (data.corpus.detector)",
                Path(self.corpus.folder),
            )

    def texts_of(
        self,
        pairs: Sequence[CaptionPair],
        samples: Sequence[Sample],
        views: Sequence[View],
        rngs: Sequence[np.random.Generator],
    ) -> tuple[list[EncodedText], Batch]:
        """As `CaptionCollator.texts_of`."""
        tags = [self._in_view(sample, view) for sample, view in zip(samples, views, strict=True)]
        if self.losses.unpaired:
            alone = [bool(rng.random() < OF_IMAGES) for rng in rngs]
            read = [" ".join(t) if image else p.caption for p, t, image in zip(pairs, tags, alone, strict=True)]
            return list(map(self.encoder.caption, read)), {"image_mask": torch.tensor(alone).long()}
        shown = [self._pollute(own, rng) for own, rng in zip(tags, rngs, strict=True)]
        texts = [self.encoder.caption(pair.caption, " ".join(t)) for pair, t in zip(pairs, shown, strict=True)]
        own = [sorted(one) == sorted(other) for one, other in zip(tags, shown, strict=True)]
        return texts, {
            "tag_labels": torch.tensor(own).long(),
            "tag_mask": torch.tensor([bool(t) for t in shown]).long(),
        }

    def _in_view(self, sample: Sample, view: View) -> tuple[str, ...]:
        image = self.corpus.image(self.corpus.image_of(sample.row))
        if not image.regions:
            return ()
        size = np.array((image.width, image.height) * 2, dtype=np.float32)
        boxes: NDArray[np.float32] = np.array([region.box for region in image.regions], dtype=np.float32) / size
        return tuple(r.label for r, seen in zip(image.regions, move_boxes(boxes, view)[1], strict=True) if seen)

    def _pollute(self, own: tuple[str, ...], rng: np.random.Generator) -> tuple[str, ...]:
        other = self._tags[int(rng.integers(len(self._tags)))]
        return other if rng.random() < POLLUTED else own


def caption_collator(losses: LossSettings, corpus: PairShards, *given: Any, **more: Any) -> CaptionCollator:
    """The collator of a corpus's captions that these losses need; arguments as of `CaptionCollator`."""
    return TagCollator(losses, corpus, *given, **more) if losses.tags else CaptionCollator(corpus, *given, **more)
