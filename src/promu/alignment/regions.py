"""Regions: which boxes of a picture hold a thing. One class and one line in `DETECTORS` each."""

from __future__ import annotations

import hashlib
import logging
from collections.abc import Callable, Sequence
from pathlib import Path

from PIL import Image

from promu.alignment.detector import Detector, DetectorSettings
from promu.corpora.coco import read_coco_pictures
from promu.errors import InputError
from promu.files import read_bytes
from promu.schema import Region

logger = logging.getLogger(__name__)


class CocoRegions:
    """Regions from a COCO `instances` file, gold boxes or a detector's saved output.

    Boxes are in pixels of the size that the file gives; a picture that comes in another size has them scaled.

    Raises:
        InputError: As `read_coco`.
    """

    def __init__(self, path: str | Path, settings: DetectorSettings) -> None:
        self.settings = settings
        self.pictures = read_coco_pictures(path)
        self.identity = settings.identify("coco", hashlib.sha256(read_bytes(Path(path))).hexdigest())
        self._path = path
        self._warned = False

    def detect(self, pictures: Sequence[Image.Image], names: Sequence[str]) -> list[list[Region]]:
        """As `Detector.detect`; a picture that the file does not name has none, which the log says once."""
        return [self._regions(picture.size, name) for picture, name in zip(pictures, names, strict=True)]

    def _regions(self, size: tuple[int, int], name: str) -> list[Region]:
        known = self.pictures.get(name)
        if known is None:
            if not self._warned:
                logger.warning("picture %r is not in %s and has no regions (said once)", name, self._path)
                self._warned = True
            return []
        across = 1.0 if known.width is None else size[0] / known.width
        down = 1.0 if known.height is None else size[1] / known.height
        scaled = (
            Region((x0 * across, y0 * down, x1 * across, y1 * down), region.label, region.score)
            for region in known.regions
            for x0, y0, x1, y1 in [region.box]
        )
        return self.settings.keep(scaled, size)


class NoRegions:
    """No detector: every picture is without regions, and L_COE is skipped."""

    identity = "none"

    def detect(self, pictures: Sequence[Image.Image], names: Sequence[str]) -> list[list[Region]]:
        """As `Detector.detect`: always empty."""
        return [[] for _ in pictures]


def _hf(path: str | Path, settings: DetectorSettings) -> Detector:
    from promu.alignment.hf_detection import HuggingFaceRegions

    return HuggingFaceRegions(str(path), settings)


def _yolo(path: str | Path, settings: DetectorSettings) -> Detector:
    from promu.alignment.yolo import YoloRegions

    return YoloRegions(Path(path), settings)


DETECTORS: dict[str, Callable[[str | Path, DetectorSettings], Detector]] = {
    "coco": CocoRegions,
    "hf": _hf,
    "none": lambda path, settings: NoRegions(),
    "yolo": _yolo,
}
"""`coco`: a COCO instances file; `hf`: a Hugging Face model, by folder or hub name; `yolo`: an ONNX file."""


def build_detector(kind: str, path: str | Path | None, settings: DetectorSettings | None = None) -> Detector:
    """The detector named `kind` in `DETECTORS`, on the file or model at `path`.

    Raises:
        InputError: There is no such detector, or what is at `path` is none.
    """
    if kind not in DETECTORS:
        raise InputError(f"detector {kind!r} is unknown; use one of {', '.join(DETECTORS)}")
    if path is None and kind != "none":
        raise InputError(f"detector {kind!r} needs a path; set data.regions")
    settings = settings or DetectorSettings()
    if settings.names is not None and kind != "yolo":
        raise InputError(f"detector {kind!r} has names of its own; a file of class names is for detector 'yolo'")
    return DETECTORS[kind](path or "", settings)
