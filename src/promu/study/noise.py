"""Errors put into what pre-training learns from, at a set rate: what a worse detector or labeller would do."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from promu.alignment.label_store import ImageLabels, LabelStore
from promu.corpora.shards import HEADER, CaptionedImage, PairShards, ShardWriter
from promu.files import write_json
from promu.schema import Region

PART = 2048
"""Images a part of a label store."""

Chance = np.random.Generator


def misplace_boxes(corpus: PairShards, out: Path, rate: float, seed: int) -> dict[str, Any]:
    """A corpus in which a share `rate` of the regions lies elsewhere: a box of its size at a place by chance.

    Labels have to be made anew, since the teacher then looks there, too.

    Returns:
        How many `items` there were, and how many are `wrong` now.
    """

    def change(image: CaptionedImage, chance: Chance) -> tuple[CaptionedImage, int, int]:
        wrong = chance.random(len(image.regions)) < rate
        regions = tuple(
            _moved(region, image, chance) if moved else region
            for region, moved in zip(image.regions, wrong, strict=True)
        )
        return replace(image, regions=regions), len(regions), int(wrong.sum())

    return _rewritten(corpus, out, {"boxes": rate, "seed": seed}, change, seed)


def mistake_matches(corpus: PairShards, out: Path, rate: float, seed: int) -> dict[str, Any]:
    """A corpus in which a share `rate` of the pairs says the contrary of whether they match (returns as above)."""

    def change(image: CaptionedImage, chance: Chance) -> tuple[CaptionedImage, int, int]:
        wrong = chance.random(len(image.captions)) < rate
        captions = tuple(
            (text, matched != bool(turned)) for (text, matched), turned in zip(image.captions, wrong, strict=True)
        )
        return replace(image, captions=captions), len(captions), int(wrong.sum())

    return _rewritten(corpus, out, {"matched": rate, "seed": seed}, change, seed)


def mistake_nouns(source: Path, out: Path, rate: float, seed: int) -> dict[str, Any]:
    """The stores in `source` with the noun labels of a share `rate` of the regions passed around among themselves.

    The labels stay what they were as a whole, soft and as frequent; they are on the wrong regions. A label may by
    chance be passed to a region of the same kind.
    """
    counts = {"items": 0, "wrong": 0}
    for folder in sorted(path.parent for path in source.glob("labels*/header.json")):
        store = LabelStore(folder)
        target = LabelStore(out / folder.name, store.header)
        images = store.images()
        regions = [len(store[image].boxes) for image in images]
        chance = np.random.default_rng(seed)
        ring = chance.permutation(np.flatnonzero(chance.random(sum(regions)) < rate))
        given = np.arange(sum(regions))
        given[ring] = np.roll(ring, 1)
        owner = [(image, number) for image, count in zip(images, regions, strict=True) for number in range(count)]
        start = 0
        for first in range(0, len(images), PART):
            part = images[first : first + PART]
            labels = []
            for image in part:
                own = store[image]
                sources = [owner[index] for index in given[start : start + len(own.boxes)].tolist()]
                start += len(own.boxes)
                labels.append(_relabelled(own, store, sources))
            if part[0] not in target:  # a part that an earlier call wrote is there whole
                target.add(part, labels)
        counts["items"] += sum(regions)
        counts["wrong"] += len(ring)
    return counts


def _relabelled(own: ImageLabels, store: LabelStore, sources: list[tuple[str, int]]) -> ImageLabels:
    if not sources:
        return own
    rows = [store[image].entities[number : number + 1] for image, number in sources]
    return ImageLabels(own.boxes, type(own.entities).cat(rows), own.relation)


def _moved(region: Region, image: CaptionedImage, chance: Chance) -> Region:
    x0, y0, x1, y1 = region.box
    left = float(chance.uniform(0, max(image.width - (x1 - x0), 0)))
    top = float(chance.uniform(0, max(image.height - (y1 - y0), 0)))
    return replace(region, box=(left, top, left + x1 - x0, top + y1 - y0))


def _rewritten(
    corpus: PairShards,
    out: Path,
    errors: dict[str, Any],
    change: Callable[[CaptionedImage, Chance], tuple[CaptionedImage, int, int]],
    seed: int,
) -> dict[str, Any]:
    """The corpus with every image changed; its header says so, and that its detector is another."""
    chance = np.random.default_rng(seed)
    counts = {"items": 0, "wrong": 0}
    out.mkdir(parents=True, exist_ok=True)
    with ShardWriter(out, 0) as shard:
        for index in range(corpus.images):
            image, items, wrong = change(corpus.image(index), chance)
            shard.add(image)
            counts["items"] += items
            counts["wrong"] += wrong
    settings = dict(corpus.header.get("settings", {}))
    if "boxes" in errors:
        settings["detector"] = f"{settings.get('detector', '')} misplaced:{errors['boxes']}:{errors['seed']}"
    write_json(out / HEADER, {**corpus.header, "settings": settings, "errors": errors})
    return counts
