"""Caption pairs to evaluate on: a folder of images read as a corpus, and the captions of a corpus as numbers."""

from __future__ import annotations

import hashlib
import logging
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import torch

from promu.alignment.falsify import falsify, word_vectors
from promu.corpora.images import load_image
from promu.corpora.shards import CaptionedImage, PairShards
from promu.errors import InputError
from promu.schema import CaptionPair, MissingPairImage

logger = logging.getLogger(__name__)


class PairFolder:
    """A corpus over a folder of images, read as `PairShards`.

    If no pair is falsified, as many falsified pairs as matched ones are made: captions near in meaning, of another
    image (`promu.alignment.falsify`).

    Args:
        pairs, folder: The pairs, those of one image in any place, and the folder of the images.
        missing: What a missing or broken image does: `raise`, or `skip` its pairs and count them.
        seed: Seed of the falsified captions.

    Attributes:
        skipped, skipped_pairs: The reason for each skipped image, and the number of pairs that were skipped.
        made: Number of falsified pairs that were made.

    Raises:
        InputError: An image is missing or broken and `missing` is `raise`, or no pair is left.
    """

    def __init__(
        self, pairs: Iterable[CaptionPair], folder: Path, missing: MissingPairImage = "raise", seed: int = 0
    ) -> None:
        self.folder = folder
        self.skipped: dict[str, str] = {}
        self.skipped_pairs = self.made = 0
        captions: dict[str, list[tuple[str, bool]]] = {}
        for pair in pairs:
            captions.setdefault(pair.image, []).append((pair.caption, pair.matched))
        self._rows: list[CaptionedImage] = []
        for name, of_image in captions.items():
            try:
                image = load_image(folder / name)
            except InputError as error:
                if missing == "raise":
                    raise InputError(f"{error.reason}; or skip such images", error.path) from None
                logger.warning("%s; its pairs are skipped", error)
                self.skipped[name] = error.reason
                self.skipped_pairs += len(of_image)
                continue
            digest = hashlib.blake2b((folder / name).read_bytes(), digest_size=16).digest()
            self._rows.append(CaptionedImage(name, b"", image.width, image.height, tuple(of_image), digest=digest))
        if not self._rows:
            raise InputError("no caption pair with a readable image is left", folder)
        if all(matched for row in self._rows for _, matched in row.captions):
            for index, added in enumerate(falsify(self._rows, 0.5, word_vectors, [seed])):
                row = self._rows[index]
                self._rows[index] = replace(row, captions=(*row.captions, *((one.text, False) for one in added)))
                self.made += len(added)

    @property
    def images(self) -> int:
        """Number of images."""
        return len(self._rows)

    def image(self, index: int) -> CaptionedImage:
        """An image by its number."""
        row = self._rows[index]
        return replace(row, data=(self.folder / row.image).read_bytes())

    def captions(self) -> Sequence[CaptionedImage]:
        """Every image in order with its captions, without its `data`."""
        return self._rows


PairCorpus = PairShards | PairFolder


@dataclass(frozen=True)
class PairTable:
    """The pairs of a corpus as numbers.

    Attributes:
        texts: Distinct captions, those that match some image first.
        matched_texts: Number of captions that match some image.
        matched, falsified: (N, 2) pairs of a caption and an image, each once.
    """

    texts: list[str]
    matched_texts: int
    matched: torch.Tensor
    falsified: torch.Tensor


def read_pairs(corpus: PairCorpus) -> PairTable:
    """Number the distinct captions of a corpus, those that match some image first."""
    texts: dict[str, int] = {}
    others: list[tuple[str, int]] = []
    matched: dict[tuple[int, int], None] = {}
    for index, image in enumerate(corpus.captions()):
        for text, is_matched in image.captions:
            if is_matched:
                matched[texts.setdefault(text, len(texts)), index] = None
            else:
                others.append((text, index))
    matched_texts = len(texts)
    falsified = dict.fromkeys((texts.setdefault(text, len(texts)), index) for text, index in others)
    return PairTable(list(texts), matched_texts, pair_numbers(matched), pair_numbers(falsified))


def pair_numbers(pairs: Iterable[tuple[int, int]]) -> torch.Tensor:
    """Pairs of a caption and an image as a tensor (N, 2)."""
    return torch.tensor(list(pairs), dtype=torch.long).reshape(-1, 2)
