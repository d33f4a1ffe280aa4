"""Regions: which boxes of an image hold a thing. One class and one line in `DETECTORS` each."""

from __future__ import annotations

import inspect
import logging
from collections import defaultdict
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import torch
from PIL import Image
from transformers import AutoImageProcessor, AutoModelForObjectDetection

from promu.alignment.corpus_settings import Detector, DetectorSettings
from promu.alignment.yolo import YoloRegions
from promu.corpora.coco import read_coco_images
from promu.errors import InputError
from promu.extensions import Choices
from promu.files import checksum
from promu.pytorch import SAFE_WEIGHTS, best_device, load, weights_checksum
from promu.schema import Region

logger = logging.getLogger(__name__)

BATCH = 8  # images that a Hugging Face model reads at once


class HuggingFaceRegions:
    """Regions by an object-detection model: DETR and its family, YOLOS, RT-DETR, D-FINE and their like.

    Where a model scores every class of a box by itself, as most since Deformable DETR do, a box may pass the threshold
    as several things: it is one region, of the likeliest. The weights must be in safetensors form.

    Raises:
        InputError: There is no such model within reach, it cannot be loaded, or it lacks weights or names of classes.
    """

    def __init__(self, name: str | Path, settings: DetectorSettings) -> None:
        self.settings = settings
        self.device = best_device()
        self.processor, self.model = _load(str(name))
        self.model.to(self.device).eval()
        self._masked = "pixel_mask" in inspect.signature(self.model.forward).parameters
        made_from = (self.processor.to_dict(), self.model.config.id2label)
        self.identity = settings.identify("hf", weights_checksum(self.model.state_dict(), *made_from))

    @torch.inference_mode()
    def detect(self, images: Sequence[Image.Image], names: Sequence[str]) -> list[list[Region]]:
        """As `Detector.detect`.

        Only images that have one size when prepared share a pass, since with padding what is found in an image
        would depend on its neighbours.
        """
        prepared = [self.processor(images=image, return_tensors="pt") for image in images]
        by_size: dict[torch.Size, list[int]] = defaultdict(list)
        for row, entry in enumerate(prepared):
            by_size[entry["pixel_values"].shape].append(row)
        regions: list[list[Region]] = [[] for _ in images]
        for rows in by_size.values():
            for start in range(0, len(rows), BATCH):
                part = rows[start : start + BATCH]
                for row, found in zip(part, self._pass([prepared[row] for row in part], part, images), strict=True):
                    regions[row] = self.settings.keep(found, images[row].size)
        return regions

    def _pass(self, prepared: list[Any], rows: list[int], images: Sequence[Image.Image]) -> list[list[Region]]:
        names = ["pixel_values"] + ["pixel_mask"] * (self._masked and "pixel_mask" in prepared[0])
        inputs = {name: torch.cat([entry[name] for entry in prepared]).to(self.device) for name in names}
        sizes = [(images[row].height, images[row].width) for row in rows]
        read = self.processor.post_process_object_detection
        results = read(self.model(**inputs), threshold=self.settings.confidence, target_sizes=sizes)
        return [self._regions(result) for result in results]

    def _regions(self, result: dict[str, torch.Tensor]) -> list[Region]:
        names = self.model.config.id2label
        found: dict[tuple[float, ...], Region] = {}
        for corners, label, score in zip(*(result[key].tolist() for key in ("boxes", "labels", "scores")), strict=True):
            box = tuple(corners)
            if box[0] < box[2] and box[1] < box[3] and (box not in found or found[box].score < score):
                found[box] = Region(box, names[label], min(1.0, score))
        return list(found.values())


def _load(name: str) -> tuple[Any, Any]:
    """Processor and model; refuses what transformers warns of only: a head with random weights, unnamed classes."""
    processor = load(AutoImageProcessor, name, "image processor of detector")
    model, report = load(AutoModelForObjectDetection, name, "detector", **SAFE_WEIGHTS, output_loading_info=True)
    if untrained := sorted(report["missing_keys"] & dict(model.named_parameters()).keys()):
        reason = f"comes without {len(untrained)} of its weights, the first {untrained[0]!r}: it was saved without its"
        raise InputError(f"detector {name!r} {reason} detection head; name a model trained to detect")
    numbers, count = sorted(model.config.id2label), model.config.num_labels
    if numbers != list(range(count)):
        reason = f"numbers its classes {', '.join(map(str, numbers[:3]))}, ..."
        raise InputError(f"detector {name!r} {reason}; id2label in its config.json must name 0 to {count - 1}")
    if not hasattr(processor, "post_process_object_detection"):
        reason = f"names {type(processor).__name__}, which reads no boxes; save the model's own image processor there"
        raise InputError(f"the preprocessor_config.json of detector {name!r} {reason}")
    return processor, model


class CocoRegions:
    """Regions from a COCO `instances` file, gold boxes or a detector's saved output.

    Boxes are in pixels of the size that the file gives; an image that comes in another size has them scaled.

    Raises:
        InputError: As `read_coco`.
    """

    def __init__(self, path: str | Path, settings: DetectorSettings) -> None:
        self.settings = settings
        self.images = read_coco_images(path)
        self.identity = settings.identify("coco", checksum(path))
        self._path = path
        self._warned = False

    def detect(self, images: Sequence[Image.Image], names: Sequence[str]) -> list[list[Region]]:
        """As `Detector.detect`; an image that the file does not name has none, which the log says once."""
        return [self._regions(image.size, name) for image, name in zip(images, names, strict=True)]

    def _regions(self, size: tuple[int, int], name: str) -> list[Region]:
        image = self.images.get(name)
        if image is None:
            if not self._warned:
                logger.warning("image %r is not in %s and has no regions (this is logged once)", name, self._path)
                self._warned = True
            return []
        across = 1.0 if image.width is None else size[0] / image.width
        down = 1.0 if image.height is None else size[1] / image.height
        scaled = []
        for region in image.regions:
            x0, y0, x1, y1 = region.box
            scaled.append(Region((x0 * across, y0 * down, x1 * across, y1 * down), region.label, region.score))
        return self.settings.keep(scaled, size)


class NoRegions:
    """No detector: every image is without regions, and L_COE is skipped."""

    identity = "none"

    def detect(self, images: Sequence[Image.Image], names: Sequence[str]) -> list[list[Region]]:
        return [[] for _ in images]


DETECTORS: Choices[Callable[[str | Path, DetectorSettings], Detector]] = Choices(
    "promu.detectors",
    {
        "coco": CocoRegions,  # a COCO instances file
        "hf": HuggingFaceRegions,  # a model, by folder or hub name
        "none": lambda path, settings: NoRegions(),
        "yolo": YoloRegions,  # an ONNX file, of PicoDet too
    },
)
"""Detector name -> function of (path, settings); packages add theirs as entry points of `promu.detectors`."""


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
    if settings.class_names is not None and kind != "yolo":
        raise InputError(f"detector {kind!r} has its class names already; a file of class names is for detector 'yolo'")
    return DETECTORS[kind](path or "", settings)
