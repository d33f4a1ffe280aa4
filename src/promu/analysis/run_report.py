"""The report of a pre-training run: one HTML page, made of what lies in the run's folder, needing nothing beside it."""

from __future__ import annotations

import base64
import binascii
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from promu.analysis.pages import page_templates
from promu.analysis.report import LOSSES, duration, percent
from promu.analysis.report_charts import LineChart, Series, line_chart
from promu.analysis.report_pictures import Embedded, embed
from promu.analysis.run_log import LogLine, curve, read_log, suspicious, throughput
from promu.errors import InputError
from promu.files import read_json_document, write_text

REPORT = "report.html"
POINTS = 200
"""Points of a curve; of a longer one each point is the mean of several log lines."""

_MOMENTS = (("teacher", "teacher"), ("before", "student before"), ("after", "student after"))
_WAYS = (("caption_to_picture", "caption → picture"), ("picture_to_caption", "picture → caption"))


@dataclass(frozen=True, slots=True)
class Chart:
    """A chart with its title and what its axes and lines mean."""

    title: str
    axes: str
    note: str
    chart: LineChart


@dataclass(frozen=True, slots=True)
class Compared:
    """One thing that was labelled, and each moment's candidates with their probabilities (None: not asked)."""

    name: str
    moments: tuple[tuple[str, tuple[tuple[str, float], ...] | None], ...]


@dataclass(frozen=True, slots=True)
class SampleView:
    """A sample picture with the labels of its regions and of the whole."""

    picture: Embedded
    caption: str
    regions: tuple[Compared, ...]
    relations: Compared


def write_run_report(out: Path) -> Path:
    """Write `report.html` into a run's folder, from its `log.jsonl` and what else is there.

    That is `recipe.json` (settings), `result.json` (a finished run's counts) and `samples.json`
    (`promu.training.validation.label_samples`). A run that is still going can be reported.

    Raises:
        InputError: The folder has no log, or one of these files is damaged.
    """
    path = out / REPORT
    write_text(path, [render_run(out)])
    return path


def render_run(out: Path) -> str:
    """The report as one HTML document that loads nothing and runs no script (as `write_run_report`)."""
    log = read_log(out / "log.jsonl")
    recipe, result = (_object(out / name) for name in ("recipe.json", "result.json"))
    figures = _figures(log)
    environment = page_templates()
    environment.filters |= {"percent": percent}
    return environment.get_template("run_report.html.j2").render(
        name=out.name or str(out.resolve().name),
        seed=recipe.get("seed"),
        finished=bool(result),
        facts=_facts(log, result),
        warnings=suspicious(log),
        validated=bool(figures),
        charts=_charts(log),
        figures=figures,
        samples=_samples(out),
        settings=_flat(recipe),
        result=_flat(result),
    )


def _object(path: Path) -> dict[str, Any]:
    """A JSON object, empty where the file is not there yet."""
    if not path.is_file():
        return {}
    value = read_json_document(path)
    if not isinstance(value, dict):
        raise InputError("a JSON object is expected; is this the folder of a run?", path)
    return value


def _facts(log: Sequence[LogLine], result: Mapping[str, Any]) -> list[tuple[str, str]]:
    """The figures at the head of the page: number and what it counts."""
    last = log[-1]
    facts = [(f"{last['step']:,}", "steps")]
    samples = [line["samples"] for line in log if "samples" in line]
    if samples:
        facts.append((f"{round(samples[-1]):,}", "pairs read"))
    seconds = result.get("seconds") or max((line.get("seconds", 0.0) for line in log), default=0.0)
    if seconds:
        facts.append((duration(float(seconds)), "in all" if "seconds" in result else "so far"))
    speeds = sorted(speed for _, speed in throughput(log))
    if speeds:
        facts.append((f"{speeds[len(speeds) // 2]:,.0f}/s", "pairs, at the median"))
    facts += [(f"{result[name]:,}", name) for name in ("pairs", "pictures") if isinstance(result.get(name), int)]
    return facts


def _charts(log: Sequence[LogLine]) -> list[Chart]:
    """Every chart that has points."""
    losses = [Series(LOSSES[name][0], name, thinned(curve(log, name))) for name in LOSSES]
    losses.append(Series("sum", "other", thinned(curve(log, "loss"))))
    meanings = " ".join(f"{short}: {meaning}" for name, (short, meaning) in LOSSES.items() if curve(log, name))
    dev_losses = [Series(LOSSES[name][0], name, curve(log, f"eval_loss_{name}")) for name in LOSSES]
    charts = [
        ("Losses", "loss by step", meanings, line_chart(losses)),
        ("Losses on dev", "loss by step, without augmentation", "", line_chart(dev_losses)),
    ]
    for way, called in _WAYS:
        recalls = [
            Series(f"R@{k}", style, curve(log, f"eval_{way}_r{k}"))
            for k, style in ((1, "coe"), (5, "cir"), (10, "itm"))
        ]
        charts.append((f"Retrieval, {called}", "percent found on dev, by step", "", line_chart(recalls)))
    areas = [
        Series(f"{called} / {against}", style, curve(log, f"eval_{judge}_auc_{against}"))
        for judge, called, style in (("cosine", "cosine", "cit"), ("itm", "ITM", "itm"))
        for against in ("falsified", "random")
    ]
    charts.append(
        (
            "Matched or not",
            "ROC-AUC on dev, by step",
            "Matched pairs against the corpus's falsified captions and against random ones; .5 is chance.",
            line_chart(areas, 1.0),
        )
    )
    agreement = [
        Series(f"{called} top {k}", style, curve(log, f"eval_{head}_top{k}"))
        for head, called, style in (("entity", "regions", "coe"), ("relation", "pictures", "cir"))
        for k in (1, 5)
    ]
    charts.append(
        (
            "Agreement with the teacher",
            "percent on dev, by step",
            "How often the student's first candidate is the teacher's first, or among its first five.",
            line_chart(agreement),
        )
    )
    for title, axes, points in (
        ("Throughput", "pairs a second by step", throughput(log)),
        ("Learning rate", "by step", curve(log, "lr")),
        ("Temperature of L_CIT", "by step", curve(log, "temperature")),
    ):
        charts.append((title, axes, "", line_chart([Series(title.split()[0].lower(), "teacher", thinned(points))])))
    return [Chart(title, axes, note, chart) for title, axes, note, chart in charts if chart is not None]


def thinned(points: Sequence[tuple[float, float]]) -> list[tuple[float, float]]:
    """At most `POINTS` points: the means of neighbours, the step being that of the last of them."""
    size = -(-len(points) // POINTS) or 1
    return [
        (part[-1][0], sum(value for _, value in part) / len(part))
        for part in (points[start : start + size] for start in range(0, len(points), size))
    ]


def _figures(log: Sequence[LogLine]) -> list[tuple[str, str, str]]:
    """Every figure on dev, at the first and at the last validation."""
    names = dict.fromkeys(name for line in log for name in line if name.startswith("eval_"))
    rows = []
    for name in names:
        values = [value for _, value in curve(log, name)]
        if values:
            rows.append((name.removeprefix("eval_").replace("_", " "), f"{values[0]:.4g}", f"{values[-1]:.4g}"))
    return rows


def _flat(settings: Mapping[str, Any], prefix: str = "") -> list[tuple[str, str]]:
    """Nested settings as rows of a dotted key and a value."""
    rows: list[tuple[str, str]] = []
    for key, value in settings.items():
        if isinstance(value, dict) and value:
            rows += _flat(value, f"{prefix}{key}.")
        else:
            rows.append((f"{prefix}{key}", value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)))
    return rows


def _samples(out: Path) -> list[SampleView]:
    path = out / "samples.json"
    if not path.is_file():
        return []
    value = read_json_document(path)
    try:
        return [_sample(sample, out) for sample in value]
    except (TypeError, KeyError, ValueError, AttributeError) as error:
        if isinstance(error, InputError):
            raise
        raise InputError(f"not the samples of a run ({type(error).__name__}: {error}); delete the file", path) from None


def _sample(sample: Mapping[str, Any], out: Path) -> SampleView:
    image = sample["image"]
    source = _decoded(image) if image.startswith("data:") else out / image
    regions = sample["regions"]
    boxes = [((box := region["box"])[0], box[1], box[2], box[3]) for region in regions]
    return SampleView(
        embed(source, f"Picture with the caption: {sample['caption']}", [(box, "") for box in boxes]),
        sample["caption"],
        tuple(_compared(f"region {number}", region) for number, region in enumerate(regions, start=1)),
        _compared("whole picture", sample["relations"]),
    )


def _decoded(uri: str) -> bytes:
    try:
        return base64.b64decode(uri.partition("base64,")[2], validate=True)
    except binascii.Error as error:
        raise ValueError(f"a picture is not base64: {error}") from None


def _compared(name: str, labels: Mapping[str, Any]) -> Compared:
    return Compared(
        name,
        tuple(
            (
                called,
                tuple((str(candidate), float(share)) for candidate, share in labels[key]) if key in labels else None,
            )
            for key, called in _MOMENTS
        ),
    )
