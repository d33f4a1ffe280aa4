"""Errors at a set rate in the data of pre-training, as a worse detector or labeller would make them."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from promu.alignment.label_store import ImageLabels, LabelStore, SparseLabels
from promu.corpora.shards import HEADER, CaptionedImage, PairShards, ShardWriter
from promu.files import write_json
from promu.schema import Region

PART = 2048
"""Images in a part of a label store."""


def misplace_boxes(corpus: PairShards, out: Path, rate: float, seed: int) -> dict[str, Any]:
    """Copy a corpus; a share `rate` of the regions moves to a random place, with the same size.

    The teacher looks at the new places, so labels have to be made again.

    Returns:
        The number of `items`, and how many of them are `wrong` now.
    """

    def move(region: Region, image: CaptionedImage, rng: np.random.Generator) -> Region:
        x0, y0, x1, y1 = region.box
        left = float(rng.uniform(0, max(image.width - (x1 - x0), 0)))
        top = float(rng.uniform(0, max(image.height - (y1 - y0), 0)))
        return replace(region, box=(left, top, left + x1 - x0, top + y1 - y0))

    # moved boxes count as those of another detector
    settings = dict(corpus.header.get("settings", {}))
    settings["detector"] = f"{settings.get('detector', '')} misplaced:{rate}:{seed}"
    header = {**corpus.header, "settings": settings, "errors": {"boxes": rate, "seed": seed}}
    return _rewrite(corpus, out, header, rate, seed, "regions", move)


def flip_matched(corpus: PairShards, out: Path, rate: float, seed: int) -> dict[str, Any]:
    """Copy a corpus; of a share `rate` of the pairs the flag `matched` is flipped. Returns the same counts."""

    def flip(caption: tuple[str, bool], image: CaptionedImage, rng: np.random.Generator) -> tuple[str, bool]:
        return caption[0], not caption[1]

    header = {**corpus.header, "errors": {"matched": rate, "seed": seed}}
    return _rewrite(corpus, out, header, rate, seed, "captions", flip)


def _rewrite(
    corpus: PairShards,
    out: Path,
    header: dict[str, Any],
    rate: float,
    seed: int,
    field: str,
    change: Callable[[Any, CaptionedImage, np.random.Generator], Any],
) -> dict[str, Any]:
    """Copy a corpus under another header; `change` makes a share of what its images have in `field` wrong."""
    rng = np.random.default_rng(seed)
    counts = {"items": 0, "wrong": 0}
    out.mkdir(parents=True, exist_ok=True)
    with ShardWriter(out, 0) as shard:
        for index in range(corpus.images):
            image = corpus.image(index)
            items = getattr(image, field)
            wrong = rng.random(len(items)) < rate
            pairs = zip(items, wrong, strict=True)
            changed: dict[str, Any] = {field: tuple(change(item, image, rng) if bad else item for item, bad in pairs)}
            shard.add(replace(image, **changed))
            counts["items"] += len(items)
            counts["wrong"] += int(wrong.sum())
    write_json(out / HEADER, header)
    return counts


def shuffle_nouns(source: Path, out: Path, rate: float, seed: int) -> dict[str, Any]:
    """Copy the label stores in `source`; the noun labels of a share `rate` of the regions are shuffled among them.

    The labels as a whole keep their softness and frequencies. A label may move to a region of the same kind.
    Returns the same counts.
    """
    counts = {"items": 0, "wrong": 0}
    for folder in sorted(path.parent for path in source.glob("labels*/header.json")):
        store = LabelStore(folder)
        target = LabelStore(out / folder.name, store.header)
        images = store.images()
        regions = [len(store[image].boxes) for image in images]
        rng = np.random.default_rng(seed)
        moved = rng.permutation(np.flatnonzero(rng.random(sum(regions)) < rate))
        origin = np.arange(sum(regions))  # the region that each region's label comes from
        origin[moved] = np.roll(moved, 1)
        places = [(image, number) for image, count in zip(images, regions, strict=True) for number in range(count)]
        start = 0
        for first in range(0, len(images), PART):
            part = images[first : first + PART]
            labels = []
            for image in part:
                old = store[image]
                origins = [places[index] for index in origin[start : start + len(old.boxes)].tolist()]
                start += len(old.boxes)
                rows = [store[name].entities[number : number + 1] for name, number in origins]
                labels.append(ImageLabels(old.boxes, SparseLabels.cat(rows), old.relation) if rows else old)
            if part[0] not in target:  # an earlier call may have written this part, then it is complete
                target.add(part, labels)
        counts["items"] += sum(regions)
        counts["wrong"] += len(moved)
    return counts
