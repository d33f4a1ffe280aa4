"""The study's own exhibits: temperatures, errors in the data, transfer to another domain, number of posts."""

from __future__ import annotations

from collections.abc import Mapping
from functools import partial

from promu.errors import InputError
from promu.newsreel import WORLDS
from promu.study import figures as svg
from promu.study.exhibit import F1, Drawing, Exhibit, Row, Section, Sheet, Table
from promu.study.figures import Line
from promu.study.job_factory import JobFactory
from promu.study.paper_exhibits import HARD, PRETRAININGS, PROMU, SCRATCH, Requests, each_task, finetuned, pretrained
from promu.study.study_recipe import StudyRecipe

LABELS, PRETRAINING = "labels", "pre-training"
"""In place of a task: figures of the labels, and of the end of pre-training."""


def _temperature_requests(study: StudyRecipe, factory: JobFactory) -> Requests:
    for value in study.label_temperatures:
        row, name, labels = ("labels", f"{value:g}"), f"label temperature {value:g}", {"temperature": value}
        init = factory.pretrain(name, labels=labels)
        yield row, LABELS, factory.labels(labels)
        yield from each_task(factory, row, partial(factory.finetune, name=name, init=init))
    for value in study.cit_temperatures:
        row, name = ("L_CIT", f"{value:g}"), f"L_CIT temperature {value:g}"
        other = factory.with_cit_temperature(value)
        init = other.pretrain(name)
        yield row, LABELS, other.labels()
        yield row, PRETRAINING, init
        yield from each_task(factory, row, partial(other.finetune, name=name, init=init))


def _temperature(sheet: Sheet) -> Section:
    columns = ("temperature", "value", "entropy of nouns", "of relations", "L_CIT's at the end", *sheet.tasks)
    rows = tuple(
        (
            *row,
            sheet.summary(row, LABELS, "entity_entropy"),
            sheet.summary(row, LABELS, "relation_entropy"),
            sheet.summary(row, PRETRAINING, "last", "temperature"),
            *(sheet.f1(row, task) for task in sheet.tasks),
        )
        for row in sheet.rows
    )
    table = Table("temperature", "Test F1 by temperature; entropy in nats", columns, rows, keys=2, digits=2)
    charts = []
    for kind, name in (("labels", "of the labels"), ("L_CIT", "at the start of L_CIT")):
        swept = [row for row in sheet.rows if row[0] == kind]
        lines = [Line(task, [(float(row[1]), sheet.spread(row, task, *F1)) for row in swept]) for task in sheet.tasks]
        chart = svg.lines({f"temperature {name}": lines}, "τ", "test F1", log=True)
        charts.append(Drawing(f"temperature-{kind}", f"F1 by temperature {name}; bars: {sheet.bars}", chart))
    notes = [
        "L_CIT's temperature is learned. Its row names the initial value, in the teacher and so in the student. The "
        "labels then have the temperature of the recipe."
    ]
    return sheet.section("Temperature", notes, [table], charts)


def _robustness_requests(study: StudyRecipe, factory: JobFactory) -> Requests:
    for kind in study.error_kinds:
        # the matched flag does not affect the labels, so hard and soft labels are not compared there
        for system, labels in ((PROMU, "soft"), (HARD, "hard"))[: 1 if kind == "matched" else 2]:
            for rate in (0.0, *study.error_rates):
                name = system if not rate else f"{system} · {kind} wrong at {rate:g}"
                errors = (kind, rate) if rate else None
                init = factory.pretrain(name, losses=PRETRAININGS[system], errors=errors)
                row = (kind, labels, f"{rate:g}")
                yield from each_task(factory, row, partial(factory.finetune, name=name, init=init))


def _robustness(sheet: Sheet) -> Section:
    columns = ("errors in", "labels", "share wrong", *(f"{task} F1" for task in sheet.tasks))
    rows = tuple((*row, *(sheet.f1(row, task) for task in sheet.tasks)) for row in sheet.rows)
    table = Table("robustness", "Test F1 with errors in the data of pre-training", columns, rows, keys=3)
    charts = []
    for task in sheet.tasks:
        panels: dict[str, list[Line]] = {}
        for kind, labels in dict.fromkeys(row[:2] for row in sheet.rows):
            swept = [row for row in sheet.rows if row[:2] == (kind, labels)]
            line = Line(labels, [(float(row[2]), sheet.spread(row, task, *F1)) for row in swept])
            panels.setdefault(kind, []).append(line)
        chart = svg.lines(panels, "share wrong", "test F1")
        charts.append(Drawing(f"robustness-{task}", f"{task}: F1 by the share of errors; bars: {sheet.bars}", chart))
    notes = [
        "boxes: regions are moved to a random place, and the teacher labels that place. nouns: labels are shuffled "
        "among regions. matched: the flag is flipped. The teacher is trained without errors."
    ]
    return sheet.section("Robustness", notes, [table], charts)


def _transfer_requests(study: StudyRecipe, factory: JobFactory) -> Requests:
    if study.transfer_world is None:
        raise InputError("transfer needs a second domain; set world and transfer_world in the study recipe")
    if study.transfer_world not in WORLDS:
        raise InputError(f"transfer_world {study.transfer_world!r} is unknown; use one of {', '.join(sorted(WORLDS))}")
    other = factory.in_world(study.transfer_world)
    transferred, own = pretrained(factory, PROMU), pretrained(other, PROMU)
    for task in factory.finetuning:
        yield (SCRATCH,), task, other.finetune(task, SCRATCH)
        yield ("pre-trained in the other domain",), task, other.finetune(task, "transferred", init=transferred)
        yield ("pre-trained in this domain",), task, other.finetune(task, PROMU, init=own)


def _transfer(sheet: Sheet) -> Section:
    columns = ("system", *(f"{task} F1" for task in sheet.tasks))
    rows = tuple((row[0], *(sheet.f1(row, task) for task in sheet.tasks)) for row in sheet.rows)
    notes = ["Fine-tuned and tested in a second drawn world, which has other kinds of things, other words and looks."]
    return sheet.section("Transfer", notes, [Table("transfer", "Test F1 in the other domain", columns, rows)])


def _curve_requests(study: StudyRecipe, factory: JobFactory) -> Requests:
    for task in factory.finetuning:
        whole = factory.train_posts(task)
        for system in (SCRATCH, PROMU):
            init = pretrained(factory, system) if system == PROMU else None
            for posts in study.posts:
                job = factory.finetune(task, f"{system} · {posts} posts", init, subset=(posts, whole))
                yield (system, str(posts)), task, job
            yield (system, str(whole)), task, finetuned(factory, system, task)


def _curve(sheet: Sheet) -> Section:
    rows, chart = learning_curve(sheet, {task: (task, "test", "f1") for task in sheet.tasks})
    columns = ("system", "training posts", *(f"{task} F1" for task in sheet.tasks))
    figures = [(*row, *(sheet.f1(row, task) for task in sheet.tasks)) for row in rows]
    measured = tuple(row for row in figures if any(row[2:]))
    table = Table("learning-curve", "Test F1 by the number of labelled posts", columns, measured, keys=2)
    notes = [
        "Training on a subset takes as many steps as training on all posts. A larger subset contains the smaller ones."
    ]
    return sheet.section("Learning curve", notes, [table], [chart])


def learning_curve(sheet: Sheet, panels: Mapping[str, tuple[str, ...]]) -> tuple[list[Row], Drawing]:
    """The rows (system, number of posts) by system and number, and the curves of all systems.

    `panels` names the task and the keys of a figure by the title of its panel.
    """
    systems = list(dict.fromkeys(row[0] for row in sheet.rows))
    rows = sorted(sheet.rows, key=lambda row: (systems.index(row[0]), int(row[1])))
    lines = {
        title: [
            Line(name, [(float(row[1]), sheet.spread(row, *keys)) for row in rows if row[0] == name])
            for name in systems
        ]
        for title, keys in panels.items()
    }
    drawn = svg.lines(lines, "labelled posts", "test F1", log=True)
    return rows, Drawing(sheet.measurements[0].exhibit, f"Learning curve; bars: {sheet.bars}", drawn)


SWEEP_EXHIBITS = (
    Exhibit("temperature", _temperature_requests, _temperature),
    Exhibit("robustness", _robustness_requests, _robustness),
    Exhibit("transfer", _transfer_requests, _transfer),
    Exhibit("learning-curve", _curve_requests, _curve),
)
