"""Regions: which boxes of a picture hold a thing. One class and one line in `DETECTORS` each."""

from __future__ import annotations

from pathlib import Path
from typing import Protocol

from promu.corpora.coco import read_coco
from promu.errors import InputError
from promu.schema import Region


class Detector(Protocol):
    """Anything that names the regions of a picture."""

    def regions(self, image: str) -> list[Region]:
        """The regions of the picture with this file name, in pixels of the original picture, best first."""


class CocoRegions:
    """Regions from a COCO `instances` file, gold boxes or a detector's saved output."""

    def __init__(self, path: Path) -> None:
        self.by_image = read_coco(path)

    def regions(self, image: str) -> list[Region]:
        """As `Detector.regions`; a picture that the file does not name has none."""
        return sorted(self.by_image.get(image, ()), key=lambda region: -region.score)


class NoRegions:
    """No detector: every picture is without regions, and L_COE is skipped."""

    def __init__(self, path: Path | None = None) -> None:
        del path

    def regions(self, image: str) -> list[Region]:
        """As `Detector.regions`: always empty."""
        return []


DETECTORS: dict[str, type[CocoRegions] | type[NoRegions]] = {"coco": CocoRegions, "none": NoRegions}


def build_detector(kind: str, path: Path | None) -> Detector:
    """The detector named `kind` in `DETECTORS`, on the file or model at `path`."""
    if kind not in DETECTORS:
        raise InputError(f"detector {kind!r} is unknown; use one of {', '.join(DETECTORS)}")
    if kind == "none":
        return NoRegions()
    if path is None:
        raise InputError(f"detector {kind!r} needs a path; set data.regions")
    return DETECTORS[kind](path)
