"""The report of a run: its log, warnings about losses that mislead, and one HTML page of the folder."""

from __future__ import annotations

import base64
import binascii
import json
import math
import statistics
from collections.abc import Mapping, Sequence
from itertools import pairwise
from pathlib import Path
from typing import Any, Required

from markupsafe import Markup
from pydantic import TypeAdapter, ValidationError
from typing_extensions import TypedDict

from promu.config import first_problem
from promu.errors import InputError
from promu.files import read_json_document, read_text, write_text
from promu.report.charts import Series, line_charts
from promu.report.html import Embedded, duration, embed, page_templates
from promu.report.palette import LOSSES

LogLine = Mapping[str, float]
"""`step`, `epoch`, then either `loss`, its parts, `lr`, `samples` and `seconds`, or figures on dev named `eval_…`."""

POINTS = 200
"""Points of a curve; of a longer one each point is the mean of several log lines."""

_CHANCE = 0.55
"""A ROC-AUC up to here counts as chance."""
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


_CHECKS = {
    # loss: figures on dev that should rise (their mean counts), a distance that may fall instead, name, remedy
    "cit": (
        ("eval_caption_to_image_r10", "eval_image_to_caption_r10"),
        None,
        "recall@10",
        "the model memorises the pairs, or dev is of another kind: take more pairs, stronger views, fewer epochs",
    ),
    "coe": (
        ("eval_entity_top1",),
        "eval_entity_kl",
        "agreement with the teacher on regions",
        "look at the labels (promu label --health), and whether the boxes are in the right place (--show)",
    ),
    "cir": (
        ("eval_relation_top1",),
        "eval_relation_kl",
        "agreement with the teacher on images",
        "look at the labels (promu label --health): one relation may be the answer to everything",
    ),
}


def suspicious(log: Sequence[LogLine]) -> list[str]:
    """Warnings: a loss that is not a number, and each loss that falls while its figure on dev does not rise.

    A loss falls if its mean over the last tenth of the log lies below that around the first validation by more than two
    standard errors and 1 %. Its figure is compared between the first validation and the last; one validation alone
    gives no warning. The AUC of the matching head is compared with chance.
    """
    warnings = []
    if diverged := [line["step"] for line in log if not math.isfinite(line.get("loss", 0.0))]:
        step = f"{diverged[0]:g}"
        warnings.append(f"the loss is no number at step {step}; lower the learning rate, or clip the gradients harder")
    for loss, (names, distance, called, remedy) in _CHECKS.items():
        found = [(line["step"], [line[name] for name in names if name in line]) for line in log]
        figures = [(step, statistics.fmean(values)) for step, values in found if values]
        if len(figures) < 2:
            continue
        (first, before), (last, after) = figures[0], figures[-1]
        distances = [value for _, value in curve(log, distance)] if distance else []
        nearer = len(distances) > 1 and distances[-1] < (1 - _LEAST_FALL) * distances[0]
        fall = _fall(log, loss, first)
        if fall is not None and after <= before and not nearer:
            warnings.append(
                f"L_{loss.upper()} fell from {fall[0]:.3g} to {fall[1]:.3g} while {called} on dev went from "
                f"{before:.1f} to {after:.1f} between steps {first:g} and {last:g}; {remedy}"
            )
    matching = ("eval_itm_auc_falsified", "eval_itm_auc_random")
    if judged := [(line["step"], line[name]) for line in log for name in matching if name in line]:
        last, auc = next((step, value) for step, value in judged if step == judged[-1][0])
        fall = _fall(log, "itm", 0)
        if fall is not None and auc <= _CHANCE:
            warnings.append(
                f"L_ITM fell from {fall[0]:.3g} to {fall[1]:.3g}, but at step {last:g} the matching head separates "
                f"matched from falsified captions on dev with an AUC of {auc:.2f}, where chance is .5; train it "
                "longer, start it after L_CIT has settled, or make the falsified captions less alike"
            )
    return warnings


def _fall(log: Sequence[LogLine], name: str, since: float) -> tuple[float, float] | None:
    """The mean of a loss around step `since` and at the end, if it has fallen in between beyond its noise."""
    points = curve(log, name)
    width = max(_WINDOW, len(points) // 10)
    start = max(sum(step <= since for step, _ in points) - width, 0)
    if start + width > len(points) - width:
        return None
    (before, early), (after, late) = (
        (statistics.mean(values), statistics.variance(values) / len(values))  # the mean and its squared standard error
        for values in ([value for _, value in part] for part in (points[start : start + width], points[-width:]))
    )
    noise = 2 * math.sqrt(early + late)
    return (before, after) if before - after > max(noise, _LEAST_FALL * abs(before)) else None


class _Labels(TypedDict, total=False):
    """Candidates with their probabilities, by who labelled and when."""

    teacher: list[tuple[str, float]]
    before: list[tuple[str, float]]
    after: list[tuple[str, float]]


class _Region(_Labels):
    box: Required[tuple[float, float, float, float]]


class _Sample(TypedDict):
    image: str
    caption: str
    regions: list[_Region]
    relations: _Labels


def write_run_report(out: Path) -> Path:
    """Write `report.html` into a run's folder, from its `log.jsonl` and what else is there.

    That is `recipe.json` (settings), `result.json` (a finished run's counts) and `samples.json`
    (`promu.report.label_report`). A run that is still going can be reported.

    Raises:
        InputError: The folder has no log, or one of these files is damaged.
    """
    log = read_log(out / "log.jsonl")
    recipe, result = (_object(out / name) for name in ("recipe.json", "result.json"))
    figures = _figures(log)
    page = page_templates().get_template("run_report.html.j2")
    kind = "Fine-tuning" if "task" in recipe else "Pre-training"
    thresholds = dict(result.get("thresholds") or {})
    points = thresholds.pop("curve", [])
    fitted = next((value for name, value in thresholds.items() if name.endswith("_threshold")), None)
    html = page.render(
        kind=kind,
        name=out.name or str(out.resolve().name),
        seed=recipe.get("seed"),
        finished=bool(result),
        facts=_facts(log, result, "pairs" if kind == "Pre-training" else "posts"),
        warnings=suspicious(log),
        validated=bool(figures),
        charts=_charts(log) + precision_recall_charts(points, "dev", fitted),
        figures=figures,
        samples=_samples(out),
        moments=(("teacher", "teacher"), ("before", "student before"), ("after", "student after")),
        settings=_flat(recipe),
        result=_flat({**result, "thresholds": thresholds} if thresholds else result),
    )
    write_text(path := out / "report.html", [html])
    return path


def _object(path: Path) -> dict[str, Any]:
    """A JSON object, empty where the file is not there yet."""
    if not path.is_file():
        return {}
    value = read_json_document(path)
    if not isinstance(value, dict):
        raise InputError("a JSON object is expected; is this the folder of a run?", path)
    return value


def _facts(log: Sequence[LogLine], result: Mapping[str, Any], unit: str) -> list[tuple[str, str]]:
    """The figures at the head of the page: number and what it counts."""
    facts = [(f"{log[-1]['step']:,}", "steps")]
    if samples := [line["samples"] for line in log if "samples" in line]:
        facts.append((f"{round(samples[-1]):,}", f"{unit} read"))
    if seconds := result.get("seconds") or max((line.get("seconds", 0.0) for line in log), default=0.0):
        facts.append((duration(float(seconds)), "in all" if "seconds" in result else "so far"))
    if speeds := sorted(speed for _, speed in throughput(log)):
        facts.append((f"{speeds[len(speeds) // 2]:,.0f}/s", f"{unit}, at the median"))
    facts += [(f"{result[name]:,}", name) for name in ("pairs", "images") if isinstance(result.get(name), int)]
    return facts


def _charts(log: Sequence[LogLine]) -> list[tuple[str, str, str, Markup]]:
    def lines(*rows: tuple[str, str, str]) -> list[Series]:
        """Series of a name, a colour, and the figure on dev."""
        return [Series(name, colour, curve(log, f"eval_{figure}")) for name, colour, figure in rows]

    losses = [Series(short, colour, thinned(curve(log, name))) for name, (short, colour, _) in LOSSES.items()]
    losses.append(Series("sum", "soft", thinned(curve(log, "loss"))))
    meanings = " ".join(f"{short}: {meaning}" for name, (short, _, meaning) in LOSSES.items() if curve(log, name))
    dev = lines(*((short, colour, f"loss_{name}") for name, (short, colour, _) in LOSSES.items()))
    scores = lines(("F1", "teal", "f1"), ("entities", "blue", "f1_ner"), ("relations", "amber", "f1_re"))
    charts = [
        ("F1 on dev", "percent by step", "", scores),
        ("Losses", "loss by step", meanings, losses),
        ("Losses on dev", "loss by step, without augmentation", "", dev),
    ]
    for way, called in (("caption_to_image", "caption → image"), ("image_to_caption", "image → caption")):
        recalls = lines(*((f"R@{k}", hue, f"{way}_r{k}") for k, hue in ((1, "teal"), (5, "blue"), (10, "purple"))))
        charts.append((f"Retrieval, {called}", "percent on dev, by step", "", recalls))
    areas = lines(
        ("cosine / falsified", "amber", "cosine_auc_falsified"),
        ("cosine / random", "grey", "cosine_auc_random"),
        ("ITM / falsified", "purple", "itm_auc_falsified"),
        ("ITM / random", "blue", "itm_auc_random"),
    )
    note = "Matched pairs against the corpus's falsified captions and against random ones; .5 is chance."
    charts.append(("Matched or not", "ROC-AUC on dev, by step", note, areas))
    agreement = lines(
        ("regions top 1", "teal", "entity_top1"),
        ("regions top 5", "grey", "entity_top5"),
        ("images top 1", "blue", "relation_top1"),
        ("images top 5", "purple", "relation_top5"),
    )
    note = "How often the student's first candidate is the teacher's first, or among its first five."
    charts.append(("Agreement with the teacher", "percent on dev, by step", note, agreement))
    for title, axes, points in (
        ("Throughput", "pairs or posts a second by step", throughput(log)),
        ("Learning rate", "by step", curve(log, "lr")),
        ("Temperature of L_CIT", "by step", curve(log, "temperature")),
    ):
        charts.append((title, axes, "", [Series(title.split()[0].lower(), "teal", thinned(points))]))
    return line_charts(charts, {"Matched or not": 1.0})


def precision_recall_charts(
    points: Sequence[Sequence[float]], split: str, fitted: float | None = None
) -> list[tuple[str, str, str, Markup]]:
    """Charts of points (threshold, precision, recall, F1), as `line_charts` gives them; none without a point."""
    curve = [(recall, precision) for _, precision, recall, _ in points]
    named = (("precision", "blue", 1), ("recall", "amber", 2), ("F1", "teal", 3))
    by_threshold = [Series(name, hue, [(point[0], point[place]) for point in points]) for name, hue, place in named]
    chosen = f" Extraction leaves out answers below {fitted:.3f}, which gave the best F1." if fitted else ""
    note = f"Answers with a score below the threshold are left out.{chosen}"
    charts = [
        ("Precision and recall", f"precision by recall, percent on {split}", "", [Series("precision", "blue", curve)]),
        ("By threshold", f"percent on {split}, by the lowest score that counts", note, by_threshold),
    ]
    return line_charts(charts, {title: 100.0 for title, *_ in charts})


def write_evaluation_report(
    path: Path, title: str, facts: Sequence[tuple[str, str]], points: Sequence[Sequence[float]]
) -> None:
    """Write one HTML page of an evaluation: its figures, and precision and recall by threshold.

    Args:
        path: The page.
        title: What was evaluated on what.
        facts: Figures and their names.
        points: Threshold, precision, recall and F1 of each, as `promu.evaluation.thresholds` counts them.
    """
    page = page_templates().get_template("evaluation.html.j2")
    write_text(path, [page.render(title=title, facts=facts, charts=precision_recall_charts(points, "gold"))])


def thinned(points: Sequence[tuple[float, float]]) -> list[tuple[float, float]]:
    """At most `POINTS` points: the means of neighbours, the step being that of the last of them."""
    size = -(-len(points) // POINTS) or 1
    return [
        (part[-1][0], statistics.fmean(value for _, value in part))
        for part in (points[start : start + size] for start in range(0, len(points), size))
    ]


def _figures(log: Sequence[LogLine]) -> list[tuple[str, str, str]]:
    """Every figure on dev, at the first and at the last validation."""
    names = dict.fromkeys(name for line in log for name in line if name.startswith("eval_"))
    return [
        (name.removeprefix("eval_").replace("_", " "), f"{points[0][1]:.4g}", f"{points[-1][1]:.4g}")
        for name in names
        if (points := curve(log, name))
    ]


def _flat(settings: Mapping[str, Any], prefix: str = "") -> list[tuple[str, str]]:
    """Nested settings as rows of a dotted key and a value."""
    rows: list[tuple[str, str]] = []
    for key, value in settings.items():
        if isinstance(value, dict) and value:
            rows += _flat(value, f"{prefix}{key}.")
        else:
            rows.append((f"{prefix}{key}", value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)))
    return rows


def _samples(out: Path) -> list[tuple[Embedded, str, list[tuple[str, _Labels]]]]:
    """Each sample's image and caption, and for each region and the whole image a name and the labels of each moment."""
    path = out / "samples.json"
    if not path.is_file():
        return []
    try:
        samples = TypeAdapter(list[_Sample]).validate_python(read_json_document(path))
        return [(_image(sample, out), sample["caption"], _labels(sample)) for sample in samples]
    except ValidationError as error:
        raise InputError(f"not the samples of a run ({first_problem(error)}); delete the file", path) from None
    except binascii.Error as error:
        raise InputError(f"an image is not base64: {error}; delete the file", path) from None


def _image(sample: _Sample, out: Path) -> Embedded:
    source: Path | bytes = out / sample["image"]
    if sample["image"].startswith("data:"):
        source = base64.b64decode(sample["image"].partition("base64,")[2], validate=True)
    boxes = [(region["box"], "") for region in sample["regions"]]
    return embed(source, f"Image with the caption: {sample['caption']}", boxes)


def _labels(sample: _Sample) -> list[tuple[str, _Labels]]:
    regions = [(f"region {number}", region) for number, region in enumerate(sample["regions"], start=1)]
    return [*regions, ("whole image", sample["relations"])]
