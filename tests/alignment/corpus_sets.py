"""Small sets of captioned images to build corpora from."""

from __future__ import annotations

import csv
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image
from tests.corpora.test_images import encoded

from promu.alignment.corpus_settings import CorpusSettings


def noise(seed: int, width: int = 24, height: int = 16) -> Image.Image:
    return Image.fromarray(np.random.default_rng(seed).integers(0, 256, (height, width, 3), dtype=np.uint8))


def write_set(folder: Path, images: int, captions: int = 2) -> CorpusSettings:
    """A set of small sound images; its settings."""
    (folder / "images").mkdir(parents=True)
    rows = [("image", "caption")]
    for number in range(images):
        (folder / "images" / f"{number}.png").write_bytes(encoded(noise(number)))
        rows += [(f"{number}.png", f"thing {number} of kind {number % 5}, {each}") for each in range(captions)]
    return CorpusSettings(captions=write_rows(folder, rows), images=folder / "images")


def write_rows(folder: Path, rows: Sequence[Sequence[str]]) -> Path:
    path = folder / "captions.csv"
    with path.open("w", encoding="utf-8", newline="") as file:
        csv.writer(file).writerows(rows)
    return path


def with_(settings: CorpusSettings, **changes: Any) -> CorpusSettings:
    return CorpusSettings(**{**settings.model_dump(), **changes})


def content(folder: Path) -> dict[str, bytes]:
    return {path.relative_to(folder).as_posix(): path.read_bytes() for path in folder.rglob("*") if path.is_file()}
