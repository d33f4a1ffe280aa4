"""The log of a training run (`log.jsonl`): reading it, and what in it should make its reader suspicious."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path

from promu.errors import InputError
from promu.files import read_text

LogLine = Mapping[str, float]
"""`step`, `epoch`, then either `loss`, its parts, `lr`, `samples` and `seconds`, or figures on dev named `eval_…`."""

NO_BETTER_THAN_CHANCE = 0.55
"""A ROC-AUC up to here is as good as none."""

_LEAST_FALL = 0.01
_WINDOW = 3


def read_log(path: Path) -> list[dict[str, float]]:
    """The lines of a log; one that a killed run left half-written at the end is dropped.

    Raises:
        InputError: There is no such file, or a line is no object with a step and numbers.
    """
    lines = read_text(path).split("\n")
    last = lines.pop()  # what follows the last line feed: nothing, or a line that was never finished
    log = []
    for number, line in enumerate(lines, start=1):
        try:
            values = json.loads(line)  # not our stricter reader: the log of a run that diverged holds NaN
        except ValueError as error:
            raise InputError(f"not JSON ({error}); is this the log of a run?", path, number) from None
        numbers = isinstance(values, dict) and all(type(value) in (int, float) for value in values.values())
        if not numbers or type(values.get("step")) is not int:
            raise InputError("a line of a log has a step and numbers; is this the log of a run?", path, number)
        log.append(values)
    if not log:
        raise InputError(f"no whole line in this log{' yet' if last else ''}; let the run go on", path)
    return log


def curve(log: Sequence[LogLine], name: str) -> list[tuple[float, float]]:
    """(step, value) of the lines that have a finite value of that name."""
    return [(line["step"], line[name]) for line in log if name in line and math.isfinite(line[name])]


def throughput(log: Sequence[LogLine]) -> list[tuple[float, float]]:
    """(step, samples a second) between neighbouring lines that count samples."""
    counted = [line for line in log if "samples" in line and "seconds" in line]
    return [
        (after["step"], (after["samples"] - before["samples"]) / (after["seconds"] - before["seconds"]))
        for before, after in pairwise(counted)
        # the clock of a run that was stopped and resumed may stand still or go back
        if after["seconds"] > before["seconds"] and after["samples"] > before["samples"]
    ]


@dataclass(frozen=True, slots=True)
class _Check:
    """A loss, the figures on dev that should follow it, and what to do where they do not.

    Of several `figures` the mean counts, larger being better. `distance`, smaller being better, will do as well.
    """

    loss: str
    figures: tuple[str, ...]
    distance: str | None
    called: str
    remedy: str


_CHECKS = (
    _Check(
        "cit",
        ("eval_caption_to_picture_r10", "eval_picture_to_caption_r10"),
        None,
        "recall@10",
        "the pairs are being learnt by heart, or dev is of another kind: take more pairs, stronger views, fewer epochs",
    ),
    _Check(
        "coe",
        ("eval_entity_top1",),
        "eval_entity_kl",
        "agreement with the teacher on regions",
        "look at the labels (promu label --health), and whether the boxes lie where they should (--show)",
    ),
    _Check(
        "cir",
        ("eval_relation_top1",),
        "eval_relation_kl",
        "agreement with the teacher on pictures",
        "look at the labels (promu label --health): one relation may be the answer to everything",
    ),
)
_MATCHING = ("eval_itm_auc_falsified", "eval_itm_auc_random")


def suspicious(log: Sequence[LogLine]) -> list[str]:
    """One sentence for each loss that falls while its figure on dev does not rise, and for a loss that is no number.

    A loss falls if its mean over the last tenth of the log lies below that around the first validation by more than two
    standard errors and 1 %. Its figure is compared between the first validation and the last, so one validation alone
    says nothing, but for the matching head, whose AUC is held against chance.

    Args:
        log: The lines of a run so far.
    """
    found = [sentence for check in _CHECKS if (sentence := _unfollowed(log, check))]
    return _diverged(log) + found + _unmatched(log)


def _diverged(log: Sequence[LogLine]) -> list[str]:
    broken = [line["step"] for line in log if not math.isfinite(line.get("loss", 0.0))]
    if not broken:
        return []
    return [f"the loss is no number at step {broken[0]:g}; lower the learning rate, or clip the gradients harder"]


def _unfollowed(log: Sequence[LogLine], check: _Check) -> str | None:
    figures = []
    for line in log:
        found = [line[name] for name in check.figures if name in line]
        if found:
            figures.append((line["step"], sum(found) / len(found)))
    if len(figures) < 2:
        return None
    (first, before), (last, after) = figures[0], figures[-1]
    fall = _fall(log, check.loss, first)
    if fall is None or after > before or _nearer(log, check.distance):
        return None
    return (
        f"L_{check.loss.upper()} fell from {fall[0]:.3g} to {fall[1]:.3g} while {check.called} on dev went from "
        f"{before:.1f} to {after:.1f} between steps {first:g} and {last:g}; {check.remedy}"
    )


def _nearer(log: Sequence[LogLine], distance: str | None) -> bool:
    found = [] if distance is None else [value for _, value in curve(log, distance)]
    return len(found) > 1 and found[-1] < (1 - _LEAST_FALL) * found[0]


def _unmatched(log: Sequence[LogLine]) -> list[str]:
    judged = [(line["step"], line[name]) for line in log for name in _MATCHING if name in line]
    if not judged:
        return []
    last, auc = next((step, value) for step, value in judged if step == judged[-1][0])
    fall = _fall(log, "itm", 0)
    if fall is None or auc > NO_BETTER_THAN_CHANCE:
        return []
    return [
        f"L_ITM fell from {fall[0]:.3g} to {fall[1]:.3g}, but at step {last:g} the matching head tells matched from "
        f"falsified captions on dev with an AUC of {auc:.2f}, where chance is .5; train it longer, begin it after "
        "L_CIT has settled, or make the falsified captions less alike"
    ]


def _fall(log: Sequence[LogLine], name: str, since: float) -> tuple[float, float] | None:
    """The mean of a loss around step `since` and at the end, if it has fallen in between beyond its noise."""
    points = curve(log, name)
    width = max(_WINDOW, len(points) // 10)
    so_far = sum(step <= since for step, _ in points)
    start = max(so_far - width, 0)
    early, late = ([value for _, value in part] for part in (points[start : start + width], points[-width:]))
    if start + width > len(points) - width:
        return None
    (before, spread), (after, other) = _mean(early), _mean(late)
    noise = 2 * math.sqrt(spread + other)
    return (before, after) if before - after > max(noise, _LEAST_FALL * abs(before)) else None


def _mean(values: Sequence[float]) -> tuple[float, float]:
    """The mean, and its squared standard error."""
    mean = sum(values) / len(values)
    return mean, sum((value - mean) ** 2 for value in values) / (len(values) - 1) / len(values)
