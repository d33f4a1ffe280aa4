"""Regions by any Hugging Face object-detection model."""

from __future__ import annotations

import hashlib
import inspect
import json
from collections import defaultdict
from collections.abc import Sequence
from typing import Any

import torch
from huggingface_hub.errors import StrictDataclassError
from PIL import Image
from safetensors import SafetensorError
from transformers import AutoImageProcessor, AutoModelForObjectDetection

from promu.alignment.detector import DetectorSettings
from promu.errors import InputError, first_line
from promu.modeling.device import best_device
from promu.modeling.names import resolve
from promu.schema import Region


class HuggingFaceRegions:
    """Regions by an object-detection model: DETR and its family, YOLOS, RT-DETR, D-FINE and their like.

    Where a model scores every class of a box by itself, as most since Deformable DETR do, a box may pass the threshold
    as several things: it is one region, of the likeliest.

    Args:
        name: A local folder or a hub name; its weights must be in safetensors form.
        settings: What is kept.
        batch: Pictures a pass at most.

    Raises:
        InputError: There is no such model within reach, it cannot be loaded, or it lacks weights or names of classes.
    """

    def __init__(self, name: str, settings: DetectorSettings, batch: int = 8) -> None:
        self.settings = settings
        self.batch = batch
        self.device = best_device()
        self.processor, self.model = _load(name)
        self.model.to(self.device).eval()
        self._masked = "pixel_mask" in inspect.signature(self.model.forward).parameters
        self.identity = settings.identify("hf", _checksum(self.processor, self.model))

    @torch.inference_mode()
    def detect(self, pictures: Sequence[Image.Image], names: Sequence[str]) -> list[list[Region]]:
        """As `Detector.detect`.

        Only pictures that have one size when prepared share a pass, since with padding what is found in a picture
        would depend on its neighbours.
        """
        prepared = [self.processor(images=picture, return_tensors="pt") for picture in pictures]
        by_size: dict[torch.Size, list[int]] = defaultdict(list)
        for row, entry in enumerate(prepared):
            by_size[entry["pixel_values"].shape].append(row)
        regions: list[list[Region]] = [[] for _ in pictures]
        for rows in by_size.values():
            for start in range(0, len(rows), self.batch):
                part = rows[start : start + self.batch]
                for row, found in zip(part, self._pass([prepared[row] for row in part], part, pictures), strict=True):
                    regions[row] = self.settings.keep(found, pictures[row].size)
        return regions

    def _pass(self, prepared: list[Any], rows: list[int], pictures: Sequence[Image.Image]) -> list[list[Region]]:
        names = ["pixel_values"] + ["pixel_mask"] * (self._masked and "pixel_mask" in prepared[0])
        inputs = {name: torch.cat([entry[name] for entry in prepared]).to(self.device) for name in names}
        results = self.processor.post_process_object_detection(
            self.model(**inputs),
            threshold=self.settings.confidence,
            target_sizes=[(pictures[row].height, pictures[row].width) for row in rows],
        )
        return [self._regions(result) for result in results]

    def _regions(self, result: dict[str, torch.Tensor]) -> list[Region]:
        names = self.model.config.id2label
        found: dict[tuple[float, ...], Region] = {}
        for box, label, score in zip(
            map(tuple, result["boxes"].tolist()), result["labels"].tolist(), result["scores"].tolist(), strict=True
        ):
            if box[0] < box[2] and box[1] < box[3] and (box not in found or found[box].score < score):
                found[box] = Region(box, names[label], min(1.0, score))
        return list(found.values())


def _load(name: str) -> tuple[Any, Any]:
    folder = resolve(name)
    try:
        processor = AutoImageProcessor.from_pretrained(folder)
        model, report = AutoModelForObjectDetection.from_pretrained(
            folder, use_safetensors=True, dtype=torch.float32, output_loading_info=True
        )
    except SafetensorError as error:
        raise InputError(f"the weights of detector {name!r} are damaged ({error}); fetch or save them again") from error
    except ImportError as error:
        raise InputError(
            f"detector {name!r} needs a package that is missing ({first_line(error)}); name a model that does without"
        ) from error
    except RuntimeError as error:
        raise InputError(
            f"the weights of detector {name!r} have other sizes than its config.json says; fetch both again"
        ) from error
    except StrictDataclassError as error:
        raise InputError(f"the config.json of detector {name!r} is wrong: {' '.join(str(error).split())}") from error
    except (OSError, ValueError) as error:
        raise InputError(
            f"{name!r} is no object-detection model within reach ({first_line(error)}); name a folder or hub "
            "model with config.json, preprocessor_config.json and safetensors weights"
        ) from error
    _require_trained(name, processor, model, report["missing_keys"])
    return processor, model


def _require_trained(name: str, processor: Any, model: Any, missing: set[str]) -> None:
    """Refuse what transformers loads with a word in its log: a head of chance weights, classes without a name."""
    if untrained := sorted(missing & dict(model.named_parameters()).keys()):
        raise InputError(
            f"detector {name!r} comes without {len(untrained)} of its weights, the first {untrained[0]!r}: it was "
            "saved without its detection head; name a model trained to detect"
        )
    if sorted(model.config.id2label) != list(range(model.config.num_labels)):
        raise InputError(
            f"detector {name!r} numbers its classes {', '.join(map(str, sorted(model.config.id2label)[:3]))}, ...; "
            f"id2label in its config.json must name 0 to {model.config.num_labels - 1}"
        )
    if not hasattr(processor, "post_process_object_detection"):
        raise InputError(
            f"the preprocessor_config.json of detector {name!r} names {type(processor).__name__}, which reads no "
            "boxes; save the model's own image processor there"
        )


def _checksum(processor: Any, model: Any) -> str:
    """Of weights, class names and how pictures are prepared, wherever they were loaded from."""
    checksum = hashlib.sha256(json.dumps(processor.to_dict(), sort_keys=True, default=str).encode())
    checksum.update(json.dumps(model.config.id2label).encode())
    for name, tensor in sorted(model.state_dict().items()):
        checksum.update(name.encode())
        checksum.update(
            tensor.cpu().contiguous().view(-1).view(torch.uint8).numpy().tobytes() if tensor.numel() else b""
        )
    return checksum.hexdigest()
