"""How well a detector finds gold boxes: recall and precision at one overlap, greedy matching."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from promu.errors import InputError
from promu.evaluation.counts import Counts
from promu.schema import Region

SIZES = {"small": 32.0**2, "medium": 96.0**2, "large": float("inf")}
"""COCO's three sizes by the area of the gold box in pixels: each is below its bound and not below the one before."""


@dataclass(frozen=True, slots=True)
class DetectionScores:
    """Scores of one detector on a set of images.

    Attributes:
        micro: Over all boxes, place and label right.
        boxes: The same with labels ignored.
        per_class: By label, alphabetical; labels that occur only among the detected are listed too.
        recall_by_size: Share of the gold boxes found, 0 to 100, by size of the gold box (`SIZES`); a size without a
            gold box is left out.
        images: How many images were scored.
    """

    micro: Counts
    boxes: Counts
    per_class: dict[str, Counts] = field(default_factory=dict)
    recall_by_size: dict[str, float] = field(default_factory=dict)
    images: int = 0

    def to_dict(self) -> dict[str, Any]:
        """Percentages, unrounded, and the counts behind them; those of `micro` at the top."""
        return {
            **self.micro.to_dict(),
            "images": self.images,
            "boxes": self.boxes.to_dict(),
            "per_class": {name: counts.to_dict() for name, counts in self.per_class.items()},
            "recall_by_size": self.recall_by_size,
        }


def overlap(first: Region, second: Region) -> float:
    """Intersection over union of two boxes."""
    width = min(first.box[2], second.box[2]) - max(first.box[0], second.box[0])
    height = min(first.box[3], second.box[3]) - max(first.box[1], second.box[1])
    shared = max(width, 0.0) * max(height, 0.0)
    return shared / (_area(first) + _area(second) - shared)


def match_regions(
    gold: Sequence[Region], detected: Sequence[Region], least: float = 0.5, labels: bool = True
) -> dict[int, int]:
    """Greedy matching: the surest box first takes the gold box that it overlaps most.

    Args:
        gold: Gold boxes of an image.
        detected: Detected boxes of the same image.
        least: Smallest overlap (intersection over union) that counts.
        labels: A box can only find a gold box of its own label.

    Returns:
        Index of the gold box -> index of the detected box that found it.
    """
    taken: dict[int, int] = {}
    for index in sorted(range(len(detected)), key=lambda index: -detected[index].score):
        region = detected[index]
        best, where = max(
            (
                (overlap(box, region), -place)
                for place, box in enumerate(gold)
                if place not in taken and (box.label == region.label or not labels)
            ),
            default=(0.0, 0),
        )
        if best >= least:
            taken[-where] = index
    return taken


def score_detections(
    gold: Mapping[str, Sequence[Region]], detected: Mapping[str, Sequence[Region]], least: float = 0.5
) -> DetectionScores:
    """Score detected boxes against gold boxes, image by image.

    Args:
        gold: The gold boxes of each image.
        detected: The detected boxes of the same images.
        least: Smallest overlap (intersection over union) that counts as found.

    Raises:
        InputError: There is no image, or the two are not about the same images.
    """
    if not gold:
        raise InputError("the gold holds no image, so there is nothing to score against")
    different = sorted(gold.keys() ^ detected.keys())
    if different:
        side = "detected" if different[0] in gold else "gold"
        raise InputError(f"image {different[0]!r} is missing among the {side} regions; score the same images")
    every_gold: list[Region] = []
    found: list[Region] = []
    anywhere = 0
    for name, boxes in gold.items():
        every_gold += boxes
        found += [boxes[place] for place in match_regions(boxes, detected[name], least)]
        anywhere += len(match_regions(boxes, detected[name], least, labels=False))
    every_detected = [region for regions in detected.values() for region in regions]
    return DetectionScores(
        micro=Counts(len(found), len(every_detected), len(every_gold)),
        boxes=Counts(anywhere, len(every_detected), len(every_gold)),
        per_class={
            label: Counts(
                *(sum(region.label == label for region in part) for part in (found, every_detected, every_gold))
            )
            for label in sorted({region.label for region in [*every_gold, *every_detected]})
        },
        recall_by_size=_recall_by_size(every_gold, found),
        images=len(gold),
    )


def _area(region: Region) -> float:
    x0, y0, x1, y1 = region.box
    return (x1 - x0) * (y1 - y0)


def _size(region: Region) -> str:
    return next(name for name, bound in SIZES.items() if _area(region) < bound)


def _recall_by_size(gold: Sequence[Region], found: Sequence[Region]) -> dict[str, float]:
    there, seen = ([_size(region) for region in part] for part in (gold, found))
    return {name: 100.0 * seen.count(name) / there.count(name) for name in SIZES if name in there}
