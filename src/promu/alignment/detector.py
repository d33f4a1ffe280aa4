"""What a detector is, and what is kept of its answer."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from PIL import Image

from promu.errors import InputError
from promu.schema import Region


class Detector(Protocol):
    """Anything that names the regions of images.

    `identity` names the detector and what its regions depend on; it changes whenever they would.
    """

    identity: str

    def detect(self, images: Sequence[Image.Image], names: Sequence[str]) -> list[list[Region]]:
        """The regions of each image, best first.

        Args:
            images: Upright RGB images of any sizes.
            names: Their file names.

        Returns:
            For each image its regions, in pixels of the image given, clipped to it, none without area.
        """


@dataclass(frozen=True, slots=True)
class DetectorSettings:
    """What is kept of a detector's answer.

    Attributes:
        confidence: Regions with a lower score are left out, 0 to 1.
        max_regions: Regions an image at most, the best.
        names: A file with one class name a line, for a YOLO file that does not carry its own.
    """

    confidence: float = 0.3
    max_regions: int = 10
    names: Path | None = None

    def __post_init__(self) -> None:
        if not 0 <= self.confidence <= 1:
            raise InputError(f"a detector's confidence is a number from 0 to 1, found {self.confidence}")
        if self.max_regions < 1:
            raise InputError(f"max_regions must be 1 or more, found {self.max_regions}; for none use detector 'none'")

    def identify(self, kind: str, checksum: str) -> str:
        """The identity of a detector: kind, checksum of all it was made from, and these settings."""
        return f"{kind}:{checksum[:16]}@{self.confidence:g}/{self.max_regions}"

    def keep(self, found: Iterable[Region], size: tuple[int, int]) -> list[Region]:
        """The regions to keep of an image of (width, height) pixels: best first, clipped, none without area."""
        kept: list[Region] = []
        for region in sorted(found, key=lambda region: -region.score):
            if region.score < self.confidence or len(kept) == self.max_regions:
                break
            x0, y0, x1, y1 = region.box
            box = (max(x0, 0.0), max(y0, 0.0), min(x1, float(size[0])), min(y1, float(size[1])))
            if box[0] < box[2] and box[1] < box[3]:
                kept.append(Region(box, region.label, region.score))
        return kept
