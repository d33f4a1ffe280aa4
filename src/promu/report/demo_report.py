"""The report of one demo run: a single HTML file that needs nothing beside itself."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from markupsafe import Markup

from promu.files import write_text
from promu.report.charts import Bars, Series, bar_chart, line_charts
from promu.report.html import Box, Embedded, check_box, embed, page_templates
from promu.report.palette import LOSSES, system_colour, type_styles
from promu.report.post_view import MARKS, ExtractedPost, types_of, view_post

Candidates = Sequence[tuple[str, float]]
"""Nouns or relations, each with its probability (0-1)."""


@dataclass(frozen=True, slots=True)
class Scores:
    """Micro precision, recall and F1 of one task on the test posts, all 0-100.

    `by_group` is F1 of the posts of each group; "text" and "image" say what decides their labels. `chosen` are the
    settings of fine-tuning that dev chose (`lr`, `epochs`); empty where there was nothing to choose.
    """

    precision: float
    recall: float
    f1: float
    by_group: Mapping[str, float] = field(default_factory=dict)
    chosen: Mapping[str, float] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class SystemResult:
    """One system's figures; `name` is "text-only", "from-scratch" or "promu", `seconds` its training and testing."""

    name: str
    ner: Scores
    re: Scores
    seconds: float


@dataclass(frozen=True, slots=True)
class Curves:
    """How training went.

    Attributes:
        teacher: (step, loss) of the dual encoder.
        pretraining: One mapping a logged step: `step`, and the losses by name, such as
            `{"step": 100, "itm": 0.61, "cit": 3.9, "coe": 2.8, "cir": 3.1}`.
        finetuning: (epoch, dev F1 0-100) by label; a label "promu · entities" names a system and a task.
    """

    teacher: Sequence[tuple[float, float]] = ()
    pretraining: Sequence[Mapping[str, float]] = ()
    finetuning: Mapping[str, Sequence[tuple[float, float]]] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class TeacherQuality:
    """How well the teacher names drawn things that it was not trained to name; all but `regions` are shares (0-1).

    `named` of the `regions` crops have a top noun that names the drawn thing, `chance` of a guess would; `mass` is the
    mean probability of nouns that name it.
    """

    named: float
    mass: float
    regions: int
    chance: float


@dataclass(frozen=True, slots=True)
class LabelledRegion:
    """A region, what was drawn there, and the teacher's most probable nouns, best first.

    `names` are the nouns that would be right, if known; they are marked in the report.
    """

    box: Box
    drawn: str
    labels: Candidates
    names: frozenset[str] = frozenset()

    def __post_init__(self) -> None:
        check_box(self.box)


@dataclass(frozen=True, slots=True)
class LabelledPair:
    """A caption pair with its soft pseudo-labels: nouns for each region, relations for the whole image."""

    image: Path
    caption: str
    matched: bool
    regions: Sequence[LabelledRegion] = ()
    relation: Candidates = ()


@dataclass(frozen=True, slots=True)
class DemoReport:
    """Everything that the report of one demo run shows.

    Attributes:
        seconds: Wall time of the whole run.
        upper_bound: Best F1 (0-100) that a reader of the text alone can expect in this world, by task ("ner", "re").
        teacher: None where the teacher's quality was not measured.
        pairs: Some pairs with their soft labels.
        posts: Some unseen posts with what was extracted.
        command: The command that makes this report again.
        next_steps: What to do with the run, each with its command.
    """

    seed: int
    seconds: float
    systems: Sequence[SystemResult]
    upper_bound: Mapping[str, float]
    curves: Curves
    teacher: TeacherQuality | None
    pairs: Sequence[LabelledPair]
    posts: Sequence[ExtractedPost]
    command: str
    next_steps: Sequence[tuple[str, str]] = ()


def to_json(data: DemoReport) -> dict[str, Any]:
    """The figures of a run as `report.json` holds them, F1 in 0-100."""
    systems = [asdict(system) for system in data.systems]
    return {"seed": data.seed, "seconds": data.seconds, "systems": systems, "upper_bound": dict(data.upper_bound)}


TASKS = (("ner", "Entities", "MNER"), ("re", "Relations", "MRE"))
GROUPS = {"text": "text decides", "image": "image decides"}
PROMU = "promu"
MOSAIC = 12
"""Images beside the title."""


def write_report(path: Path, data: DemoReport) -> None:
    """Write the report atomically.

    Raises:
        InputError: An image is missing or broken, an extraction contradicts itself, or `path` cannot be written.
    """
    write_text(path, [render(data)])


def render(data: DemoReport) -> str:
    """The report as one HTML document that loads nothing and runs no script (as `write_report`)."""
    styles = type_styles(kind for post in data.posts for kind in types_of(post))
    posts = [view_post(post, styles) for post in data.posts]
    pairs = [(pair, _image(pair)) for pair in data.pairs]
    # for the head of the page: each image once, as many as fill whole rows of four
    images = [image for _, image in pairs] + [post.image for post in posts if post.image is not None]
    mosaic = list({image.uri: image for image in images}.values())[:MOSAIC]
    page = page_templates().get_template("report.html.j2")
    return page.render(
        data=data,
        tasks=[_task(data, *task) for task in TASKS],
        system_colour=system_colour,
        charts=_charts(data.curves),
        pairs=pairs,
        posts=posts,
        marks=MARKS,
        mosaic=mosaic[: len(mosaic) // 4 * 4],
    )


def _task(data: DemoReport, key: str, title: str, short: str) -> dict[str, Any]:
    """What the page says of one task.

    `rows` of the table: system, and for each column a figure and whether it is the column's best. `gains`: F1 points of
    promu over each other system.
    """
    scores: dict[str, Scores] = {system.name: getattr(system, key) for system in data.systems}
    columns: dict[str, dict[str, float]] = {
        name: {system: getattr(one, name.lower()) for system, one in scores.items()}
        for name in ("Precision", "Recall", "F1")
    }
    groups = {group for one in scores.values() for group in one.by_group}
    split = {
        GROUPS.get(group, group): {name: one.by_group[group] for name, one in scores.items() if group in one.by_group}
        for group in sorted(groups, key=lambda group: (group not in GROUPS, group != "text", group))
    }
    upper_bound = data.upper_bound.get(key)
    bars = [
        Bars(name, [(system, system_colour(system), f1) for system, f1 in values.items()], limit)
        for name, values, limit in [
            ("all posts", columns["F1"], upper_bound),
            *((*part, None) for part in split.items()),
        ]
    ]
    columns |= {f"F1, {name}": values for name, values in split.items()}
    label = f"Bar chart of F1 in {title.lower()}, by system and by what decides; the figures are in the table below"
    promu = scores[PROMU].f1 if PROMU in scores else None
    gains = [(name, promu - one.f1) for name, one in scores.items() if promu is not None and name != PROMU]
    return {
        "key": key,
        "title": title,
        "short": short,
        "columns": list(columns),
        "rows": [(name, [_cell(column, name) for column in columns.values()]) for name in scores],
        "chart": bar_chart(label, bars),
        "gains": sorted(gains, key=lambda gain: gain[0] != "from-scratch"),
        "f1": promu,
        "upper_bound": upper_bound,
        "chosen": "; ".join(
            f"{name} {one.chosen['lr']:g} × {one.chosen['epochs']:g}" for name, one in scores.items() if one.chosen
        ),
    }


def _cell(column: Mapping[str, float], name: str) -> tuple[str, bool]:
    """A figure of the table, and whether it is the best of several systems."""
    if name not in column:
        return "–", False
    text, best = f"{column[name]:.1f}", f"{max(column.values()):.1f}"
    return text, len(column) > 1 and text == best


def _charts(curves: Curves) -> list[tuple[str, str, str, Markup]]:
    names = list(dict.fromkeys(name for row in curves.pretraining for name in row if name != "step"))
    losses = []
    for name in names:
        short, colour, _ = LOSSES.get(name, (name, "soft", ""))
        losses.append(Series(short, colour, [(row["step"], row[name]) for row in curves.pretraining if name in row]))
    meanings = " ".join(f"{short}: {meaning}" for name, (short, _, meaning) in LOSSES.items() if name in names)
    charts = [
        ("Teacher", "loss by step", "", [Series("loss", "teal", curves.teacher)]),
        ("Pre-training", "loss by step", meanings, losses),
    ]
    tasks: dict[str, list[Series]] = {}
    for label, points in curves.finetuning.items():
        system, _, task = label.partition(" · ")
        tasks.setdefault(task, []).append(Series(system, system_colour(system), points))
    for task, series in tasks.items():
        charts.append((f"Fine-tuning: {task}" if task else "Fine-tuning", "dev F1 by epoch", "", series))
    return line_charts(charts)


def _image(pair: LabelledPair) -> Embedded:
    things = " and ".join(region.drawn for region in pair.regions)
    boxes = [(region.box, region.labels[0][0] if region.labels else "") for region in pair.regions]
    return embed(pair.image, f"Drawn image of {things}" if things else "Drawn image", boxes)
