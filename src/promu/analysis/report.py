"""The report of one demo run: a single HTML file that needs nothing beside itself."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import jinja2

from promu.analysis.pages import page_templates
from promu.analysis.report_charts import BarChart, LineChart, Series, bar_chart, line_chart
from promu.analysis.report_data import Candidate, Curves, DemoReport, LabelledPair, Scores, SystemResult, to_json
from promu.analysis.report_pictures import Embedded, embed
from promu.analysis.report_posts import PostView, view_post
from promu.files import write_text

__all__ = ["render", "to_json", "write_report"]

TASKS = (("ner", "Entities", "MNER"), ("re", "Relations", "MRE"))
GROUPS = {"text": "text decides", "picture": "picture decides"}
LOSSES = {
    "itm": ("ITM", "does the caption belong to the picture?"),
    "cit": ("CIT", "contrast of captions and pictures."),
    "coe": ("COE", "soft nouns of a region."),
    "cir": ("CIR", "soft relations of a picture."),
    "mlm": ("MLM", "masked words of a caption."),
}
"""Short name and meaning of the parts of the pre-training loss."""

SYSTEM_STYLES = {"text-only": "text", "from-scratch": "scratch", "promu": "promu"}
PROMU = "promu"
MOSAIC = 12
"""Pictures beside the title."""


@dataclass(frozen=True, slots=True)
class Gain:
    """F1 points of promu over another system."""

    over: str
    points: float


@dataclass(frozen=True, slots=True)
class Row:
    """One line of a result table: figures as text, each with whether it is the column's best."""

    name: str
    style: str
    cells: tuple[tuple[str, bool], ...]


@dataclass(frozen=True, slots=True)
class TaskView:
    """What the page says of one task."""

    key: str
    title: str
    short: str
    columns: tuple[str, ...]
    rows: tuple[Row, ...]
    chart: BarChart | None
    gains: tuple[Gain, ...]
    f1: float | None
    ceiling: float | None


@dataclass(frozen=True, slots=True)
class RegionView:
    """A region's number, what was drawn, and its nouns with probability and whether they are right (None: unknown)."""

    number: int
    drawn: str
    labels: tuple[tuple[str, float, bool | None], ...]


@dataclass(frozen=True, slots=True)
class PairView:
    """A caption pair with its picture and soft labels."""

    picture: Embedded
    caption: str
    matched: bool
    regions: tuple[RegionView, ...]
    relation: tuple[Candidate, ...]


def write_report(path: Path, data: DemoReport) -> None:
    """Write the report atomically.

    Raises:
        InputError: A picture is missing or broken, an extraction contradicts itself, or `path` cannot be written.
    """
    write_text(path, [render(data)])


def render(data: DemoReport) -> str:
    """The report as one HTML document that loads nothing and runs no script.

    Raises:
        InputError: A picture is missing or broken, or an extraction contradicts itself.
    """
    posts = [view_post(post) for post in data.posts]
    pairs = [_pair(pair) for pair in data.pairs]
    return (
        _environment()
        .get_template("report.html.j2")
        .render(
            data=data,
            tasks=[_task(data, *task) for task in TASKS],
            systems=data.systems,
            curves=_curves(data.curves),
            pairs=pairs,
            posts=posts,
            mosaic=_mosaic(pairs, posts),
        )
    )


def _environment() -> jinja2.Environment:
    environment = page_templates()
    environment.filters |= {"signed": signed, "duration": duration, "percent": percent}
    environment.globals |= {"system_style": SYSTEM_STYLES.get}
    return environment


def signed(points: float) -> str:
    """A difference with its sign: "+7.1", "−0.4" (a true minus), "±0.0"."""
    text = f"{abs(points):.1f}"
    return f"±{text}" if float(text) == 0 else f"{'+' if points > 0 else '−'}{text}"


def duration(seconds: float) -> str:
    """Seconds in words a person reads: "48 s", "7 min 12 s", "1 h 4 min"."""
    whole = round(seconds)
    if whole < 60:
        return f"{whole} s"
    if whole < 3600:
        return f"{whole // 60} min {whole % 60} s"
    return f"{whole // 3600} h {whole % 3600 // 60} min"


def percent(share: float) -> str:
    """A share as whole percent, with "< 1 %" and "> 99 %" where rounding would deny what is left."""
    if 0 < share < 0.005:
        return "< 1 %"
    if 0.995 < share < 1:
        return "> 99 %"
    return f"{100 * share:.0f} %"


def _task(data: DemoReport, key: str, title: str, short: str) -> TaskView:
    scores: list[tuple[SystemResult, Scores]] = [(system, getattr(system, key)) for system in data.systems]
    groups = _groups([found for _, found in scores])
    getters: list[tuple[str, Callable[[Scores], float | None]]] = [
        ("Precision", lambda found: found.precision),
        ("Recall", lambda found: found.recall),
        ("F1", lambda found: found.f1),
    ]
    getters += [(f"F1, {GROUPS.get(group, group)}", _by_group(group)) for group in groups]
    bests = [
        max((value for _, found in scores if (value := getter(found)) is not None), default=None)
        for _, getter in getters
    ]
    rows = tuple(
        Row(
            system.name,
            SYSTEM_STYLES.get(system.name, "other"),
            tuple(
                _cell(getter(found), best, len(scores) > 1) for (_, getter), best in zip(getters, bests, strict=True)
            ),
        )
        for system, found in scores
    )
    ceiling = data.ceiling.get(key)
    f1 = {system.name: found.f1 for system, found in scores}
    gains: tuple[Gain, ...] = ()
    if PROMU in f1:
        others = sorted((name for name in f1 if name != PROMU), key=lambda name: name != "from-scratch")
        gains = tuple(Gain(name, f1[PROMU] - f1[name]) for name in others)
    return TaskView(
        key,
        title,
        short,
        tuple(name for name, _ in getters),
        rows,
        _bars(scores, groups, ceiling),
        gains,
        f1.get(PROMU),
        ceiling,
    )


def _by_group(group: str) -> Callable[[Scores], float | None]:
    return lambda found: found.by_group.get(group)


def _groups(scores: Sequence[Scores]) -> list[str]:
    """The groups that occur, the known ones first."""
    found = {group for one in scores for group in one.by_group}
    return [group for group in GROUPS if group in found] + sorted(found - GROUPS.keys())


def _cell(value: float | None, best: float | None, several: bool) -> tuple[str, bool]:
    if value is None or best is None:
        return "–", False
    return f"{value:.1f}", several and f"{value:.1f}" == f"{best:.1f}"


def _bars(
    scores: Sequence[tuple[SystemResult, Scores]], groups: Sequence[str], ceiling: float | None
) -> BarChart | None:
    def bar(system: SystemResult, value: float) -> tuple[str, str, float]:
        return system.name, SYSTEM_STYLES.get(system.name, "other"), value

    laid: list[tuple[str, list[tuple[str, str, float]], float | None]] = [
        ("all posts", [bar(system, found.f1) for system, found in scores], ceiling)
    ]
    for group in groups:
        bars = [bar(system, found.by_group[group]) for system, found in scores if group in found.by_group]
        laid.append((GROUPS.get(group, group), bars, None))
    return bar_chart(laid, "text-only ceiling")


def _curves(curves: Curves) -> list[tuple[str, str, str, LineChart]]:
    """(title, what the axes are, explanation, chart) of each chart that has points."""
    charts = [
        ("Teacher", "loss by step", "", line_chart([Series("loss", "teacher", curves.teacher)])),
        ("Pre-training", "loss by step", _meanings(curves.pretraining), line_chart(_losses(curves.pretraining))),
    ]
    by_task: dict[str, list[Series]] = {}
    for label, points in curves.finetuning.items():
        system, _, task = label.partition(" · ")
        by_task.setdefault(task, []).append(Series(system, SYSTEM_STYLES.get(system, "other"), points))
    for task, series in by_task.items():
        title = f"Fine-tuning: {task}" if task else "Fine-tuning"
        charts.append((title, "dev F1 by epoch", "", line_chart(series)))
    return [(title, axes, note, chart) for title, axes, note, chart in charts if chart is not None]


def _meanings(logged: Sequence[Mapping[str, float]]) -> str:
    """What the short names of the losses that occur stand for."""
    found = {name for row in logged for name in row}
    return " ".join(f"{short}: {meaning}" for name, (short, meaning) in LOSSES.items() if name in found)


def _losses(logged: Sequence[Mapping[str, float]]) -> list[Series]:
    names = list(dict.fromkeys(name for row in logged for name in row if name != "step"))
    return [
        Series(
            LOSSES[name][0] if name in LOSSES else name,
            name if name in LOSSES else "other",
            [(row["step"], row[name]) for row in logged if name in row],
        )
        for name in names
    ]


def _pair(pair: LabelledPair) -> PairView:
    drawn = " and ".join(region.drawn for region in pair.regions)
    boxes = [(region.box, region.labels[0][0] if region.labels else "") for region in pair.regions]
    return PairView(
        embed(pair.image, f"Drawn picture of {drawn}" if drawn else "Drawn picture", boxes),
        pair.caption,
        pair.matched,
        tuple(
            RegionView(
                number,
                region.drawn,
                tuple((noun, share, noun in region.names if region.names else None) for noun, share in region.labels),
            )
            for number, region in enumerate(pair.regions, start=1)
        ),
        tuple(pair.relation),
    )


def _mosaic(pairs: Sequence[PairView], posts: Sequence[PostView]) -> list[Embedded]:
    """Pictures for the head of the page, each once, as many as fill whole rows of four."""
    found = [pair.picture for pair in pairs] + [post.picture for post in posts if post.picture is not None]
    unique = list({picture.uri: picture for picture in found}.values())[:MOSAIC]
    return unique[: len(unique) // 4 * 4]
