"""The pipeline as a job of a study: two models of other cells, scored on a joint set."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from promu.evaluation.groups import read_groups
from promu.evaluation.joint import joint_counts, score_joint
from promu.extraction.extractor import Extractor
from promu.extraction.pipeline import pipeline_answers
from promu.training.loop import Progress
from promu.training.tasks import TASKS


def score_pipeline(settings: Mapping[str, Any], out: Path, progress: Progress) -> dict[str, Any]:
    """Score two models one after the other; see `promu.training.study.jobs` for what jobs are.

    Args:
        settings: Model folders `ner` and `re`, the joint set `test`, its `images` and `groups` (or None).
        out: A folder with links to both models is made there, and `predictions.json`.
        progress: Called with posts done.
    """
    models = out / "model"
    models.mkdir(parents=True, exist_ok=True)
    for name in ("ner", "re"):
        if not (models / name).exists():
            (models / name).symlink_to(Path(settings[name]).resolve(), target_is_directory=True)
    task, test = TASKS["joint"], Path(settings["test"])
    gold = task.read(test)
    images = None if settings["images"] is None else Path(settings["images"])
    predicted, _ = pipeline_answers(
        Extractor.from_pretrained(models), gold, images, progress=lambda done, total: progress("reading", done, total)
    )
    task.write(out / "predictions.json", predicted)
    groups = None if settings["groups"] is None else read_groups(settings["groups"])
    scores = score_joint(gold, predicted, groups=groups)
    return {"test": scores.to_dict(), "post_counts": joint_counts(gold, predicted).tolist()}
