"""The paper's tables and figures, and the study's own, out of what was measured."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from promu.alignment.candidates import ENTITY_TEMPLATES, RELATION_TEMPLATES
from promu.evaluation.counts import RAREST_RELATIONS, RAREST_TYPES, Summary, rarest
from promu.study import figures as drawing
from promu.study.figures import Line
from promu.study.tables import Content, Measured, Sheet, Table, difference_table, summary

PARTS = (("P", "precision"), ("R", "recall"), ("F1", "f1"))
ALIGNMENT = "alignment (Wang & Isola 2020): mean squared distance of a thing and its own prompt, on the unit sphere"
UNIFORMITY = "uniformity (the same): log of the mean of exp(−2 × squared distance) over pairs of things"


@dataclass(frozen=True)
class Drawn:
    """A figure: name (also of its file), title, SVG."""

    name: str
    title: str
    svg: str


@dataclass(frozen=True)
class Section:
    """One exhibit, ready to be written: what it is, how to read it, its tables and figures, and what they rest on."""

    name: str
    title: str
    notes: tuple[str, ...]
    tables: tuple[Table, ...]
    figures: tuple[Drawn, ...] = ()
    places: tuple[Measured, ...] = ()

    @property
    def failures(self) -> list[Measured]:
        """The places without a result."""
        return [place for place in self.places if place.result is None]


@dataclass(frozen=True)
class Frame:
    """What the exhibits share.

    Attributes:
        tasks: The tasks as the study recipe calls them, with the kind of each (`ner` or `re`).
        one_test: Whether the seeds share their test posts.
    """

    tasks: Mapping[str, str]
    one_test: bool


Builder = Callable[[Sequence[Measured], Frame], Section]


def build_sections(
    measured: Sequence[Measured], frame: Frame, builders: Mapping[str, Builder] | None = None
) -> list[Section]:
    """A section for every exhibit that something was measured for, in the order in which they come.

    Args:
        measured: What the cells gave.
        frame: What the exhibits share.
        builders: By exhibit; None for those of the paper.
    """
    made_by = BUILDERS if builders is None else builders
    return [
        made_by[name]([place for place in measured if place.exhibit == name], frame)
        for name in dict.fromkeys(place.exhibit for place in measured)
    ]


def _seeds(sheet: Sheet) -> str:
    count = len(sheet.seeds)
    return f"Mean ± standard deviation over {count} seeds." if count > 1 else "One seed, so there is no spread."


def section(
    sheet: Sheet, title: str, notes: Sequence[str], tables: Sequence[Table], figures: Sequence[Drawn] = ()
) -> Section:
    """An exhibit of a sheet's places, with a word on their seeds, and those that failed."""
    name = sheet.places[0].exhibit
    return Section(name, title, (_seeds(sheet), *notes), tuple(tables), tuple(figures), tuple(sheet.places))


def _f1(sheet: Sheet, row: tuple[str, ...], task: str) -> Summary | None:
    return sheet.summary(row, task, "test", "f1")


def _table1(places: Sequence[Measured], frame: Frame) -> Section:
    sheet = Sheet(places, list(frame.tasks))
    columns = ["system", *(f"{task} {short}" for task in sheet.tasks for short, _ in PARTS)]
    rows = [
        (row[0], *(sheet.summary(row, task, "test", part) for task in sheet.tasks for _, part in PARTS))
        for row in sheet.rows
    ]
    tables = [Table("table1", "Table 1: test precision, recall and F1", tuple(columns), tuple(rows))]
    groups = groups_of(sheet)
    if groups:
        columns = ["system", *(f"{task}, {group} decides" for task in sheet.tasks for group in groups)]
        rows = [
            (row[0], *(sheet.summary(row, t, "test", "per_group", g, "f1") for t in sheet.tasks for g in groups))
            for row in sheet.rows
        ]
        tables.append(Table("table1-groups", "Table 1 by what decides the post: F1", tuple(columns), tuple(rows)))
    promu = ("promu",)
    notes = []
    if promu in sheet.rows:
        tables.append(difference_table(sheet, promu, "table1-gains", frame.one_test))
        pooled = "the test posts of each seed" if frame.one_test else "the test posts of all seeds together"
        notes.append(f"Intervals and p-values: paired bootstrap over {pooled}.")
    return section(sheet, "Table 1: systems and ablations", notes, tables)


def groups_of(sheet: Sheet) -> list[str]:
    """The groups of posts that its results have figures for."""
    found = [group for place in sheet.places if place.result for group in place.result["test"].get("per_group", {})]
    return sorted(set(found), reverse=True)


def _table2(places: Sequence[Measured], frame: Frame) -> Section:
    sheet = Sheet(places, list(frame.tasks))
    fusions = list(dict.fromkeys(row[0] for row in sheet.rows))
    columns: list[str] = ["fusion"]
    for task in sheet.tasks:
        columns += [f"{task}, without", f"{task}, pre-trained", "gain"]
    rows: list[tuple[Content, ...]] = []
    for fusion in fusions:
        without, with_ = (row for row in sheet.rows if row[0] == fusion)
        cells: list[Content] = [fusion]
        for task in sheet.tasks:
            cells += [_f1(sheet, without, task), _f1(sheet, with_, task), _gain(sheet, with_, without, task)]
        rows.append(tuple(cells))
    table = Table("table2", "Table 2: test F1 of each fusion", tuple(columns), tuple(rows))
    return section(sheet, "Table 2: fusions with and without pre-training", [], [table])


def _gain(sheet: Sheet, row: tuple[str, ...], other: tuple[str, ...], task: str) -> Summary | None:
    """F1 of a row above another's, seed by seed."""
    mine, theirs = (sheet.figures(one, task, "test", "f1") for one in (row, other))
    return summary(
        None if (a := mine.get(seed)) is None or (b := theirs.get(seed)) is None else a - b for seed in sheet.seeds
    )


def _table3(places: Sequence[Measured], frame: Frame) -> Section:
    sheet = Sheet(places, list(frame.tasks))
    columns = ("entity prompt", "relation prompt", *(f"{task} F1" for task in sheet.tasks))
    rows = tuple(
        (
            f"{row[0]}: {ENTITY_TEMPLATES[row[0]].format('…')}",
            f"{row[1]}: {RELATION_TEMPLATES[row[1]].format('…')}",
            *(_f1(sheet, row, task) for task in sheet.tasks),
        )
        for row in sheet.rows
    )
    table = Table("table3", "Table 3: test F1 by prompt templates", columns, rows, keys=2)
    return section(sheet, "Table 3: prompt templates", [], [table])


def _figure3(places: Sequence[Measured], frame: Frame) -> Section:
    sheet = Sheet(places, [])
    columns = ("system", "alignment ↓", "uniformity ↓", "nearest prompt, %", "neighbours, %", "fused neighbours, %")
    keys = ("alignment", "uniformity", "nearest_prompt", "neighbours", "fused_neighbours")
    tables, figures = [], []
    for kind, title in (("regions", "regions and nouns"), ("images", "images and relations")):
        rows = tuple((row[0], *(sheet.summary(row, "", kind, key) for key in keys)) for row in sheet.rows)
        tables.append(Table(f"figure3-{kind}", f"Figure 3: {title}", columns, rows, digits=2))
        shown = {row[0]: first[kind]["points"] for row in sheet.rows if (first := _first(sheet, row)) is not None}
        if shown:
            figures.append(Drawn(f"figure3-{kind}", f"{title}, t-SNE, first seed", drawing.plane(shown)))
    notes = [
        f"In L_CIT's space: {ALIGNMENT}; {UNIFORMITY}; how often the nearest prompt is a thing's own; how many of its "
        "five nearest things share its label. Last column: the same after the fusion, beside an empty caption.",
        "A region's noun is its detector's label, an image's relation that of its post. Dots: things; words: prompts.",
    ]
    return section(sheet, "Figure 3: representations", notes, tables, figures)


def _first(sheet: Sheet, row: tuple[str, ...]) -> dict[str, Any] | None:
    return next((place.result for place in sheet.at(row, "") if place.result is not None), None)


def _figure4(places: Sequence[Measured], frame: Frame) -> Section:
    sheet = Sheet(places, list(frame.tasks))
    tables, panels, names = [], {}, {}
    for task in sheet.tasks:
        per, count = ("per_type", RAREST_TYPES) if frame.tasks[task] == "ner" else ("per_relation", RAREST_RELATIONS)
        frequency = _frequency(sheet, task)
        tail = rarest(frequency, count)
        if not tail:
            continue
        columns = ("system", *(f"{label} ({frequency[label]:g})" for label in tail))
        series = {row[0]: [sheet.summary(row, task, "test", per, label, "f1") for label in tail] for row in sheet.rows}
        rows = tuple((name, *values) for name, values in series.items())
        tables.append(Table(f"figure4-{task}", f"Figure 4: test F1 of the rarest, {task}", columns, rows))
        panels[task], names[task] = series, tail
    notes = ["Rarest in training, how often it is there (mean over seeds) in brackets."]
    spread = [_evenness(_frequency(sheet, task)) for task in sheet.tasks]
    if spread and max(spread) < 3:
        notes.append(
            "In the drawn posts every label is about as frequent as another, so this tail is one of chance: read the "
            "figure as F1 by label."
        )
    figures = [Drawn("figure4", "F1 of the rarest labels", drawing.bars(panels, names))] if panels else []
    return section(sheet, "Figure 4: tail types and relations", notes, tables, figures)


def _frequency(sheet: Sheet, task: str) -> dict[str, int]:
    """How often each label is in training: the mean over seeds, rounded."""
    by_seed = {
        place.seed: place.result["train_counts"] for place in sheet.places if place.task == task and place.result
    }
    labels = sorted({label for counts in by_seed.values() for label in counts})
    return {label: round(sum(counts.get(label, 0) for counts in by_seed.values()) / len(by_seed)) for label in labels}


def _evenness(frequency: Mapping[str, int]) -> float:
    """How many times as frequent as the rarest label the most frequent is."""
    return max(frequency.values()) / max(min(frequency.values()), 1) if frequency else 1.0


def _figure5(places: Sequence[Measured], frame: Frame) -> Section:
    sheet = Sheet(places, list(frame.tasks))
    moments = (("before", "without pre-training"), ("after", "with pre-training"))
    figures: list[Drawn] = []
    rows: list[tuple[Content, ...]] = []
    for task in sheet.tasks:
        for place in sheet.at(sheet.rows[0], task):
            if place.result is None:
                continue
            if place.seed == sheet.seeds[0]:
                for number, case in enumerate(place.result["cases"], start=1):
                    title = f"{task}: {' '.join(case['tokens'])} Gold: {case['gold']}. Chosen: {case['why']}."
                    figures.append(Drawn(f"figure5-{task}-{number}", title, drawing.attention(case, moments)))
        right = [sheet.summary(sheet.rows[0], task, "right", key) for key, _ in moments]
        posts = sheet.summary(sheet.rows[0], task, "posts")
        rows.append((task, *right, None if posts is None else f"{posts.mean:g}"))
    table = Table(
        "figure5", "Posts with an image read wholly right", ("task", *(c for _, c in moments), "of"), tuple(rows)
    )
    notes = [
        "For each task the first test post that one of the two models alone reads rightly, and the first that the "
        "other alone does, posts that the image decides before others; nothing is picked by hand.",
        "Attention from the names (their first pieces, or their markers), mean over heads and fusion layers. Left the "
        "image, beside it the shares of its patches, then those of the words; both on the same scale in a figure.",
    ]
    return section(sheet, "Figure 5: case study", notes, [table], figures)


def _learning_curve(places: Sequence[Measured], frame: Frame) -> Section:
    sheet = Sheet(places, list(frame.tasks))
    systems = list(dict.fromkeys(row[0] for row in sheet.rows))
    rows = [
        (row[0], row[1], *(_f1(sheet, row, task) for task in sheet.tasks))
        for row in sorted(sheet.rows, key=lambda row: (systems.index(row[0]), int(row[1])))
        if any(_f1(sheet, row, task) for task in sheet.tasks)
    ]
    panels = {
        task: [
            Line(
                system,
                sorted((float(row[1]), _f1(sheet, row, task)) for row in sheet.rows if row[0] == system),
            )
            for system in systems
        ]
        for task in sheet.tasks
    }
    columns = ("system", "training posts", *(f"{task} F1" for task in sheet.tasks))
    table = Table("learning-curve", "Test F1 by the number of labelled posts", columns, tuple(rows), keys=2)
    chart = Drawn("learning-curve", "Learning curve", drawing.lines(panels, "labelled posts", "test F1", log=True))
    notes = ["Few posts are trained on for as many steps as all; larger sets hold the smaller ones."]
    return section(sheet, "Learning curve", notes, [table], [chart])


def _temperature(places: Sequence[Measured], frame: Frame) -> Section:
    sheet = Sheet(places, list(frame.tasks))
    columns = ("temperature", "value", "entropy of nouns", "of relations", "L_CIT's at the end", *sheet.tasks)
    rows = tuple(
        (
            *row,
            sheet.summary(row, "labels", "entity_entropy"),
            sheet.summary(row, "labels", "relation_entropy"),
            sheet.summary(row, "pre-training", "last", "temperature"),
            *(_f1(sheet, row, task) for task in sheet.tasks),
        )
        for row in sheet.rows
    )
    table = Table("temperature", "Test F1 by temperature; entropy in nats", columns, rows, keys=2, digits=2)
    charts = []
    for which, name in (("labels", "of the labels"), ("L_CIT", "that L_CIT begins with")):
        swept = [row for row in sheet.rows if row[0] == which]
        panels = {
            f"temperature {name}": [
                Line(task, [(float(row[1]), _f1(sheet, row, task)) for row in swept]) for task in sheet.tasks
            ]
        }
        charts.append(
            Drawn(f"temperature-{which}", f"F1 by temperature {name}", drawing.lines(panels, "τ", "test F1", log=True))
        )
    notes = [
        "L_CIT's temperature is learned, so its row says what it began with, in the teacher and, by it, in the "
        "student; labels are then made at the recipe's own temperature.",
    ]
    return section(sheet, "Temperature", notes, [table], charts)


def _robustness(places: Sequence[Measured], frame: Frame) -> Section:
    sheet = Sheet(places, list(frame.tasks))
    columns = ("errors in", "labels", "share wrong", *(f"{task} F1" for task in sheet.tasks))
    rows = tuple((*row, *(_f1(sheet, row, task) for task in sheet.tasks)) for row in sheet.rows)
    table = Table("robustness", "Test F1 with errors put in before pre-training", columns, rows, keys=3)
    kinds = list(dict.fromkeys(row[:2] for row in sheet.rows))
    charts = []
    for task in sheet.tasks:
        panels = {
            kind: [
                Line(
                    labels, [(float(row[2]), _f1(sheet, row, task)) for row in sheet.rows if row[:2] == (kind, labels)]
                )
                for one, labels in kinds
                if one == kind
            ]
            for kind in dict.fromkeys(kind for kind, _ in kinds)
        }
        svg = drawing.lines(panels, "share wrong", "test F1")
        charts.append(Drawn(f"robustness-{task}", f"{task}: F1 by the share of errors", svg))
    notes = [
        "boxes: regions moved to a place by chance, where the teacher then looks, too; nouns: labels of regions passed "
        "around among themselves; matched: the flag turned. The teacher itself is trained without errors.",
    ]
    return section(sheet, "Robustness", notes, [table], charts)


def _transfer(places: Sequence[Measured], frame: Frame) -> Section:
    sheet = Sheet(places, list(frame.tasks))
    columns = ("system", *(f"{task} F1" for task in sheet.tasks))
    rows = tuple((row[0], *(_f1(sheet, row, task) for task in sheet.tasks)) for row in sheet.rows)
    notes = ["Fine-tuned and tested in a drawn world of other kinds, words and looks than that of the other exhibits."]
    table = Table("transfer", "Test F1 in the other domain", columns, rows)
    return section(sheet, "Transfer", notes, [table])


BUILDERS: dict[str, Builder] = {
    "table1": _table1,
    "table2": _table2,
    "table3": _table3,
    "figure3": _figure3,
    "figure4": _figure4,
    "figure5": _figure5,
    "learning-curve": _learning_curve,
    "temperature": _temperature,
    "robustness": _robustness,
    "transfer": _transfer,
}
