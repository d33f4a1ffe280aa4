"""What a detector is, and what is kept of its answer."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Protocol

from PIL import Image
from pydantic import Field

from promu.config import Count, Settings, Share
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


class DetectorSettings(Settings):
    """What is kept of a detector's answer."""

    confidence: Share = Field(default=0.3, description="regions with a lower score are left out")
    max_regions: Count = Field(default=10, description="regions an image at most, the best")
    class_names: Path | None = Field(
        default=None, description="file with one class name a line, for a YOLO file without its own"
    )

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
