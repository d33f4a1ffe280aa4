"""A corpus of photograph-like images to label and to read: what Flickr8k is in size, drawn where it is absent."""

from __future__ import annotations

import csv
from pathlib import Path

import numpy as np
from benchmarks.sizes import photograph

from promu.corpora.shards import HEADER, CaptionedImage, PairShards, ShardWriter
from promu.files import data_folder, write_json
from promu.schema import Region

SIDE = 224
WORDS = ("a", "dog", "man", "woman", "runs", "on", "the", "beach", "with", "red", "ball", "child", "in", "grass", ".")


def corpus(folder: Path, images: int, captions: int = 5) -> tuple[PairShards, str]:
    """A corpus of so many images of 224 pixels, three regions each, and where they came from.

    The images are Flickr8k's where `promu fetch` has put them.
    """
    flickr = data_folder() / "flickr8k"
    source = "drawn"
    if (flickr / "captions.csv").is_file():
        source = "flickr8k"
        texts: dict[str, list[str]] = {}
        with (flickr / "captions.csv").open(encoding="utf-8", newline="") as lines:
            for line in csv.DictReader(lines):
                texts.setdefault(line["image"], []).append(line["caption"])
        root = next(
            path for path in (flickr / "images", flickr / "Images", flickr) if (path / next(iter(texts))).is_file()
        )
        rows = [(name, (root / name).read_bytes(), texts[name][:captions]) for name in list(texts)[:images]]
    else:
        rows = [(f"{number}.jpg", photograph(number, SIDE), _texts(number, captions)) for number in range(images)]
    write_json(folder / HEADER, {"source": source})
    with ShardWriter(folder, 0) as shard:
        for number, (name, data, captions_of) in enumerate(rows):
            chance = np.random.default_rng(number)
            corners = chance.random((3, 2)) * SIDE * 0.5
            regions = tuple(Region((x, y, x + SIDE * 0.4, y + SIDE * 0.4), "thing", 0.9) for x, y in corners.tolist())
            shard.add(CaptionedImage(name, data, SIDE, SIDE, tuple((text, True) for text in captions_of), regions))
    return PairShards(folder), source


def _texts(number: int, count: int) -> list[str]:
    chance = np.random.default_rng(number)
    return [" ".join(chance.choice(WORDS, int(chance.integers(7, 19)))) for _ in range(count)]
