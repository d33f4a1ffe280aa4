"""Caption pairs as a corpus: what an evaluation needs of one, a folder of images as one, its captions as numbers."""

from __future__ import annotations

import hashlib
import logging
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Protocol

import torch

from promu.alignment.falsify import falsify, word_vectors
from promu.corpora.images import load_image
from promu.corpora.shards import CaptionedImage
from promu.errors import InputError
from promu.schema import CaptionPair, MissingPairImage

logger = logging.getLogger(__name__)


class PairCorpus(Protocol):
    """A corpus of caption pairs, such as `promu.corpora.shards.PairShards`."""

    @property
    def images(self) -> int:
        """Number of images."""

    def image(self, index: int) -> CaptionedImage:
        """An image by its number."""

    def captions(self) -> Iterable[CaptionedImage]:
        """Every image in order with its captions; `data` may be empty."""


class PairFolder:
    """A `PairCorpus` over a folder of images.

    If no pair is falsified, as many falsified pairs as matched ones are made: captions near in meaning, of another
    image (`promu.alignment.falsify`).

    Args:
        pairs: The pairs; those of one image need not follow each other.
        folder: Folder of the images.
        missing: What a missing or broken image does: `raise`, or `skip` its pairs and count them.
        seed: Seed of the falsified captions.

    Attributes:
        skipped: The reason for each image that was skipped.
        skipped_pairs: Number of pairs that were skipped with them.
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
        contents: list[bytes] = []
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
            contents.append(hashlib.blake2b((folder / name).read_bytes(), digest_size=16).digest())
            self._rows.append(CaptionedImage(name, b"", image.width, image.height, tuple(of_image)))
        if not self._rows:
            raise InputError("no caption pair with a readable image is left", folder)
        if all(matched for row in self._rows for _, matched in row.captions):
            self._falsify(contents, seed)

    @property
    def images(self) -> int:
        """As `PairCorpus.images`."""
        return len(self._rows)

    def image(self, index: int) -> CaptionedImage:
        """As `PairCorpus.image`."""
        row = self._rows[index]
        data = (self.folder / row.image).read_bytes()
        return CaptionedImage(row.image, data, row.width, row.height, row.captions)

    def captions(self) -> Sequence[CaptionedImage]:
        """As `PairCorpus.captions`."""
        return self._rows

    def _falsify(self, contents: Sequence[bytes], seed: int) -> None:
        images = [replace(row, digest=content) for row, content in zip(self._rows, contents, strict=True)]
        for index, added in enumerate(falsify(images, 0.5, word_vectors, [seed])):
            row = self._rows[index]
            captions = (*row.captions, *((one.text, False) for one in added))
            self._rows[index] = CaptionedImage(row.image, b"", row.width, row.height, captions)
            self.made += len(added)


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
