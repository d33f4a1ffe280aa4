"""Scores that mean what they say: one temperature, fitted on dev when fine-tuning ends.

It divides the scores of labels (or of the CRF's paths) and so changes no answer, only how sure the model says to be.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from promu.evaluation.calibration import expected_calibration_error, fit_temperature, log_loss
from promu.modeling.backbone import PromuPreTrainedModel
from promu.schema import Post
from promu.training.tasks import Reading, Task


def calibrate(
    task: Task,
    model: PromuPreTrainedModel,
    splits: Mapping[str, Sequence[Post]],
    readings: Mapping[str, Sequence[Reading]],
) -> dict[str, Any]:
    """Fit `model.config.score_temperature` on `dev` and say how far scores are off, before and after.

    The temperature is the one at which the scores of the answers (spans found, relations chosen) predict best, by log
    loss, which answers are right. Without an answer on dev it stays 1.

    Args:
        task: The model's.
        model: The temperature is set in its configuration.
        splits: Gold posts by name.
        readings: What the model said of them (`promu.training.tasks.read_out`), of `dev` at least.

    Returns:
        `temperature` and, for each split that was read, `answers`, `ece_before` and `ece_after`: expected calibration
        error in 15 bins, None without answers.
    """
    # a temperature changes no answer, so that each is decoded once
    decoded = {
        name: [
            (reading, task.decode(model, reading.outputs, reading.batch, [splits[name][row] for row in reading.rows]))
            for reading in of_split
        ]
        for name, of_split in readings.items()
    }

    def judged(name: str, temperature: float) -> tuple[list[float], list[bool]]:
        model.config.score_temperature = temperature
        pairs: list[tuple[float, bool]] = []
        for (rows, outputs, batch), found in decoded[name]:
            for row, answer in zip(rows, task.rate(model, outputs, batch, found), strict=True):
                pairs += task.judge(splits[name][row], answer)
        return [score for score, _ in pairs], [right for _, right in pairs]

    before = {name: judged(name, 1.0) for name in readings}
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
