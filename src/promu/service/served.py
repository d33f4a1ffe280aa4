"""What a service says of the model it serves: its name, what it finds, and which files it was loaded from."""

from __future__ import annotations

from datetime import UTC, datetime
from pathlib import Path

from promu.extraction.extractor import Extractor
from promu.files import checksum
from promu.modeling.loading import read_json_object
from promu.report.palette import type_styles
from promu.service.schemas import ModelOut, ModelPartOut, ServiceSettings
from promu.tasks.model_folder import find_models
from promu.tasks.onnx_predictor import ANSWER, FACTS, GRAPHS

DOES = {"ner": "finds entities", "re": "finds relations", "joint": "finds entities and relations"}
"""What the model of each task does."""


def describe_model(settings: ServiceSettings, extractor: Extractor) -> ModelOut:
    """The model of a service; reads its weights once for their checksums.

    Raises:
        InputError: The model's folder has changed since it was loaded.
    """
    homes = find_models(settings.model)
    entities, relations = extractor.thresholds(settings.config)
    precision: str = settings.precision or "fp32"
    if settings.backend == "onnx":
        precision = read_json_object(homes[0][1] / GRAPHS / FACTS)["precision"]
    return ModelOut(
        name=settings.name or model_name(settings.model),
        parts=[_part(task, home, settings.backend) for task, home in homes],
        entity_types=list(extractor.entity_types),
        relation_types=list(extractor.relation_types),
        styles=type_styles(extractor.entity_types),
        entity_threshold=entities,
        relation_threshold=relations,
        warnings=list(extractor.warnings),
        reads_images=extractor.reads_images,
        explains=extractor.explains,
        backend=settings.backend,
        precision=precision,
    )


def model_name(folder: Path) -> str:
    """The folder's name; with the one above it where it is just `model`, as that of a run is."""
    folder = folder.resolve()
    return f"{folder.parent.name}/{folder.name}".lstrip("/") if folder.name == "model" else folder.name


def _part(task: str, home: Path, backend: str) -> ModelPartOut:
    file = home / GRAPHS / ANSWER if backend == "onnx" else home / "model.safetensors"
    saved = datetime.fromtimestamp(file.stat().st_mtime, UTC).isoformat(timespec="seconds")
    return ModelPartOut(task=task, does=DOES[task], file=file.name, checksum=checksum(file), saved=saved)
