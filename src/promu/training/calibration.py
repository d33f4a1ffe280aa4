"""Scores that mean what they say: one temperature, fitted on dev when fine-tuning ends.

It divides the scores of labels (or of the CRF's paths) and so changes no answer, only how sure the model says to be.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import torch

from promu.evaluation.calibration import expected_calibration_error, fit_temperature, log_loss
from promu.modeling.backbone import PromuPreTrainedModel
from promu.modeling.inputs import WordEncoder
from promu.schema import Post
from promu.training.tasks import Batch, Pictures, Task

Outputs = list[tuple[torch.Tensor, Batch, Sequence[Post]]]
"""What the model said of each batch, with the batch and its posts."""


def calibrate(
    task: Task,
    model: PromuPreTrainedModel,
    encoder: WordEncoder,
    splits: Mapping[str, Sequence[Post]],
    pictures: Pictures,
) -> dict[str, Any]:
    """Fit `model.config.score_temperature` on `dev` and say how far scores are off, before and after.

    The temperature is the one at which the scores of the answers (spans found, relations chosen) predict best, by log
    loss, which answers are right. Without an answer on dev it stays 1.

    Args:
        task: The model's.
        model: In evaluation mode afterwards, with the temperature set.
        encoder: Its tokenizer.
        splits: Gold posts by name, `dev` among them.
        pictures: Gives a batch's pictures.

    Returns:
        `temperature` and, for each of dev and test that is there, `answers`, `ece_before` and `ece_after`: expected
        calibration error in 15 bins, None without answers.
    """
    told = {name: _ask(task, model, encoder, splits[name], pictures) for name in ("dev", "test") if name in splits}

    def judged(name: str, temperature: float) -> tuple[list[float], list[bool]]:
        model.config.score_temperature = temperature
        return _judge(task, model, told[name])

    before = {name: judged(name, 1.0) for name in told}
    temperature = fit_temperature(lambda value: log_loss(*judged("dev", value))) if before["dev"][0] else 1.0
    result: dict[str, Any] = {"temperature": temperature}
    for name, first in before.items():
        result[name] = {
            "answers": len(first[0]),
            "ece_before": expected_calibration_error(*first),
            "ece_after": expected_calibration_error(*judged(name, temperature)),
        }
    model.config.score_temperature = temperature
    return result


@torch.inference_mode()
def _ask(
    task: Task,
    model: PromuPreTrainedModel,
    encoder: WordEncoder,
    posts: Sequence[Post],
    pictures: Pictures,
    batch_size: int = 64,
) -> Outputs:
    model.eval()
    posts = sorted(posts, key=lambda post: len(post.tokens))
    told: Outputs = []
    for start in range(0, len(posts), batch_size):
        chosen = posts[start : start + batch_size]
        batch = {**task.batch(encoder, chosen, None), **pictures([post.image for post in chosen])}
        output = model(**{name: value.to(model.device) for name, value in batch.items()})
        kept = {name: value for name, value in batch.items() if name != "pixel_values"}
        told.append((task.outputs(output).cpu(), kept, chosen))
    return told


def _judge(task: Task, model: PromuPreTrainedModel, told: Outputs) -> tuple[list[float], list[bool]]:
    """The score of each answer at the model's temperature, and whether it is right."""
    scores, right = [], []
    for outputs, batch, posts in told:
        for gold, answer in zip(posts, task.answer(model, outputs, batch, posts), strict=True):
            for score, is_right in task.judge(gold, answer):
                scores.append(score)
                right.append(is_right)
    return scores, right
