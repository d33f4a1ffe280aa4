"""Caption pairs from a file and a folder of pictures, read as a corpus is, without building one."""

from __future__ import annotations

import hashlib
import logging
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Literal

from promu.alignment.falsify import PictureCaptions, falsify, word_vectors
from promu.corpora.pictures import load_picture
from promu.corpora.shards import CaptionedPicture
from promu.errors import InputError
from promu.schema import CaptionPair

logger = logging.getLogger(__name__)


class PairFolder:
    """A `PairCorpus` over pictures that stay where they are.

    Where no pair is falsified, as many falsified pairs as true ones are made: captions near in meaning, of another
    picture (`promu.alignment.falsify`).

    Args:
        pairs: The pairs; those of one picture need not follow each other.
        folder: Where the pictures are.
        missing: What a missing or broken picture does: `error`, or `skip` its pairs and count them.
        seed: Which captions the falsified pairs are made of.

    Attributes:
        skipped: Why each picture that was skipped cannot be read.
        skipped_pairs: How many pairs were skipped with them.
        made: How many falsified pairs were made.

    Raises:
        InputError: A picture is missing or broken and `missing` is `error`, or no pair is left.
    """

    def __init__(
        self, pairs: Iterable[CaptionPair], folder: Path, missing: Literal["error", "skip"] = "error", seed: int = 0
    ) -> None:
        self.folder = folder
        self.skipped: dict[str, str] = {}
        self.skipped_pairs = self.made = 0
        captions: dict[str, list[tuple[str, bool]]] = {}
        for pair in pairs:
            captions.setdefault(pair.image, []).append((pair.caption, pair.matched))
        self._rows: list[CaptionedPicture] = []
        contents: list[bytes] = []
        for image, own in captions.items():
            try:
                picture = load_picture(folder / image)
            except InputError as error:
                if missing == "error":
                    raise InputError(f"{error.reason}; or skip such pictures", error.path) from None
                logger.warning("%s; its pairs are skipped", error)
                self.skipped[image] = error.reason
                self.skipped_pairs += len(own)
                continue
            contents.append(hashlib.blake2b((folder / image).read_bytes(), digest_size=16).digest())
            self._rows.append(CaptionedPicture(image, b"", picture.width, picture.height, tuple(own)))
        if not self._rows:
            raise InputError("no caption pair with a readable picture is left", folder)
        if all(matched for row in self._rows for _, matched in row.captions):
            self._falsify(contents, seed)

    @property
    def pictures(self) -> int:
        """As `PairCorpus.pictures`."""
        return len(self._rows)

    def picture(self, index: int) -> CaptionedPicture:
        """As `PairCorpus.picture`."""
        row = self._rows[index]
        data = (self.folder / row.image).read_bytes()
        return CaptionedPicture(row.image, data, row.width, row.height, row.captions)

    def captions(self) -> Sequence[CaptionedPicture]:
        """As `PairCorpus.captions`."""
        return self._rows

    def _falsify(self, contents: Sequence[bytes], seed: int) -> None:
        pictures = [
            PictureCaptions(row.image, content, tuple(text for text, _ in row.captions))
            for row, content in zip(self._rows, contents, strict=True)
        ]
        for index, added in enumerate(falsify(pictures, 0.5, word_vectors, [seed])):
            row = self._rows[index]
            own = (*row.captions, *((one.text, False) for one in added))
            self._rows[index] = CaptionedPicture(row.image, b"", row.width, row.height, own)
            self.made += len(added)
