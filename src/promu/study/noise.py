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

Rng = np.random.Generator


def misplace_boxes(corpus: PairShards, out: Path, rate: float, seed: int) -> dict[str, Any]:
    """Copy a corpus; a share `rate` of the regions moves to a random place, with the same size.

    The teacher looks at the new places, so labels have to be made again.

    Returns:
        The number of `items`, and how many of them are `wrong` now.
    """

    def change(image: CaptionedImage, rng: Rng) -> tuple[CaptionedImage, int, int]:
        wrong = rng.random(len(image.regions)) < rate
        regions = tuple(
            _moved(region, image, rng) if moved else region for region, moved in zip(image.regions, wrong, strict=True)
        )
        return replace(image, regions=regions), len(regions), int(wrong.sum())

    return _rewrite(corpus, out, {"boxes": rate, "seed": seed}, change, seed)


def flip_matched(corpus: PairShards, out: Path, rate: float, seed: int) -> dict[str, Any]:
    """Copy a corpus; of a share `rate` of the pairs the flag `matched` is flipped. Returns the same counts."""

    def change(image: CaptionedImage, rng: Rng) -> tuple[CaptionedImage, int, int]:
        wrong = rng.random(len(image.captions)) < rate
        captions = tuple(
            (text, matched != bool(flipped)) for (text, matched), flipped in zip(image.captions, wrong, strict=True)
        )
        return replace(image, captions=captions), len(captions), int(wrong.sum())

    return _rewrite(corpus, out, {"matched": rate, "seed": seed}, change, seed)


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


def _moved(region: Region, image: CaptionedImage, rng: Rng) -> Region:
    x0, y0, x1, y1 = region.box
    left = float(rng.uniform(0, max(image.width - (x1 - x0), 0)))
    top = float(rng.uniform(0, max(image.height - (y1 - y0), 0)))
    return replace(region, box=(left, top, left + x1 - x0, top + y1 - y0))


def _rewrite(
    corpus: PairShards,
    out: Path,
    errors: dict[str, Any],
    change: Callable[[CaptionedImage, Rng], tuple[CaptionedImage, int, int]],
    seed: int,
) -> dict[str, Any]:
    """Copy a corpus with every image changed. The header records the errors; moved boxes count as another detector."""
    rng = np.random.default_rng(seed)
    counts = {"items": 0, "wrong": 0}
    out.mkdir(parents=True, exist_ok=True)
    with ShardWriter(out, 0) as shard:
        for index in range(corpus.images):
            image, items, wrong = change(corpus.image(index), rng)
            shard.add(image)
            counts["items"] += items
            counts["wrong"] += wrong
    settings = dict(corpus.header.get("settings", {}))
    if "boxes" in errors:
        settings["detector"] = f"{settings.get('detector', '')} misplaced:{errors['boxes']}:{errors['seed']}"
    write_json(out / HEADER, {**corpus.header, "settings": settings, "errors": errors})
    return counts
