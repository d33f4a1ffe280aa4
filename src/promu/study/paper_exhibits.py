"""The paper's tables 1 to 3 and figures 3 to 5: the jobs that they need, and what they show."""

from __future__ import annotations

import importlib.util
from collections.abc import Callable, Iterator, Mapping, Sequence
from functools import partial
from typing import Any

from promu.errors import InputError, needs_extra
from promu.evaluation.counts import RAREST_RELATIONS, RAREST_TYPES, rarest
from promu.modeling.fusions import FUSIONS
from promu.modeling.label_prompts import ENTITY_TEMPLATES, RELATION_TEMPLATES
from promu.study import figures as svg
from promu.study.exhibit import (
    PARTS,
    Content,
    Drawing,
    Exhibit,
    Row,
    Section,
    Sheet,
    Table,
    compare,
    comparison_note,
    difference_table,
    p_value,
)
from promu.study.job import Job
from promu.study.job_factory import JobFactory
from promu.study.study_recipe import StudyRecipe
from promu.training.recipe import LossSettings

TEXT_ONLY, SCRATCH, PROMU = "text-only", "without pre-training", "promu"
CIT, CIT_ITM, CIT_ITM_MLM = "L_CIT", "L_CIT + L_ITM", "L_CIT + L_ITM + L_MLM"
WITHOUT_COE, WITHOUT_CIR, HARD = "promu without L_COE", "promu without L_CIR", "promu, hard labels"
CLIP, BLIP, OSCAR, U_VISUALBERT = "CLIP", "BLIP", "Oscar", "U-VisualBERT"
ONLY_CIT = {"itm": 0.0, "coe": 0.0, "cir": 0.0, "mlm": 0.0}


def _objective(name: str) -> dict[str, Any]:
    losses = LossSettings.model_validate(name)
    return {**losses.weights(), "unpaired": losses.unpaired}


PRETRAININGS: dict[str, dict[str, Any]] = {
    CIT: ONLY_CIT,
    CIT_ITM: {**ONLY_CIT, "itm": 1.0},
    CIT_ITM_MLM: {**ONLY_CIT, "itm": 1.0, "mlm": 1.0},
    PROMU: {},
    WITHOUT_COE: {"coe": 0.0},
    WITHOUT_CIR: {"cir": 0.0},
    HARD: {"hard_labels": True},
    **{name: _objective(name.lower()) for name in (CLIP, BLIP, OSCAR, U_VISUALBERT)},
}
"""The pre-trainings that tables 1 and 2 compare, each with its changes of the recipe's losses."""

SYSTEMS = (TEXT_ONLY, SCRATCH, CIT, CIT_ITM, CIT_ITM_MLM, PROMU, WITHOUT_COE, WITHOUT_CIR, HARD)
"""The systems of table 1, unless the study names others, of `PRETRAININGS` too."""
FIGURE3_SYSTEMS = (CIT, CIT_ITM, PROMU)
"""Systems with one space for images and texts."""
FIGURE3_ITEMS = 600
"""Regions and images of figure 3, at most."""
FIGURE4_SYSTEMS = (TEXT_ONLY, SCRATCH, CIT_ITM, PROMU, HARD)

NO_TASK = ""
Requests = Iterator[tuple[Row, str, Job]]


def each_task(factory: JobFactory, row: Row, job: Callable[[str], Job]) -> Requests:
    """The requests of a row: a job for every task."""
    return ((row, task, job(task)) for task in factory.finetuning)


def pretrained(factory: JobFactory, system: str, fusion: str | None = None) -> Job:
    """The model of one of `PRETRAININGS`; for BLIP a first one filters the captions that the second learns from."""
    name, config = (system, None) if fusion is None else (f"{fusion} · {system}", {"fusion": fusion})
    losses = PRETRAININGS[system]
    whole = factory.pretrain(f"{name}, the filter", losses, config=config) if system == BLIP else None
    return factory.pretrain(name, losses, config=config, filter=whole)


def finetuned(factory: JobFactory, system: str, task: str) -> Job:
    """The fine-tuned model of a system of table 1."""
    fusion, pretraining = parts(system)
    if pretraining in PRETRAININGS:
        return factory.finetune(task, system, init=pretrained(factory, pretraining, fusion))
    config = None if fusion is None else {"fusion": fusion}
    return factory.finetune(task, system, config=config, text_only=system == TEXT_ONLY)


def parts(system: str) -> tuple[str | None, str]:
    """Fusion and pre-training of a system: `umt` has none, `umt · promu` that of promu; None is the recipe's fusion.

    Example:
        >>> parts("umt"), parts("umt · L_CIT"), parts("promu")
        (('umt', 'without pre-training'), ('umt', 'L_CIT'), (None, 'promu'))
    """
    fusion, _, pretraining = system.partition(" · ")
    return (fusion, pretraining or SCRATCH) if fusion in FUSIONS else (None, system)


def _systems(factory: JobFactory, systems: Sequence[str]) -> Requests:
    for system in systems:
        yield from each_task(factory, (system,), partial(finetuned, factory, system))


def _table1_requests(study: StudyRecipe, factory: JobFactory) -> Requests:
    every = (TEXT_ONLY, SCRATCH, *PRETRAININGS)  # the first has no fusion
    for where, names in (("table1", study.systems or ()), ("published", study.published)):
        if unknown := [name for name in names if parts(name)[1] not in every[parts(name)[0] is not None :]]:
            known = f"some of {'; '.join(every)}; or a fusion, alone or as 'umt · promu'"
            raise InputError(f"{where}: system {unknown[0]!r} is unknown; use {known}")
    return _systems(factory, study.systems or SYSTEMS)


def _table1(sheet: Sheet) -> Section:
    columns = ["system", *(f"{task} {short}" for task in sheet.tasks for short, _ in PARTS)]
    rows = [
        (row[0], *(sheet.summary(row, task, "test", part) for task in sheet.tasks for _, part in PARTS))
        for row in sheet.rows
    ]
    tables = [Table("table1", "Table 1: test precision, recall and F1", tuple(columns), tuple(rows))]
    if groups := sheet.groups:
        columns = ["system", *(f"{task}, {group} decides" for task in sheet.tasks for group in groups)]
        rows = [
            (row[0], *(sheet.summary(row, t, "test", "per_group", g, "f1") for t in sheet.tasks for g in groups))
            for row in sheet.rows
        ]
        tables.append(Table("table1-groups", "Table 1 by what decides the post: F1", tuple(columns), tuple(rows)))
    notes = []
    if (published := _beside_published(sheet)) is not None:
        tables.append(published)
        notes.append("Published figures are the paper's, by its own code and its own choice of what it leaves open.")
    if (PROMU,) in sheet.rows:
        tables.append(difference_table(sheet, (PROMU,), "table1-gains"))
        notes.append(comparison_note(sheet))
    return sheet.section("Table 1: systems and ablations", notes, tables)


def _beside_published(sheet: Sheet) -> Table | None:
    """F1 beside the published one, and the difference; None if the recipe names no published figures."""
    rows: list[tuple[Content, ...]] = []
    for row in sheet.rows:
        if not (figures := sheet.published.get(row[0])):
            continue
        places: list[Content] = [row[0]]
        for task in sheet.tasks:
            mine, theirs = sheet.f1(row, task), figures.get(task)
            places += [mine, None if theirs is None else f"{theirs:.2f}"]
            places.append(None if mine is None or theirs is None else f"{mine.mean - theirs:+.1f}".replace("-", "−"))
        rows.append(tuple(places))
    columns = [f"{task}{end}" for task in sheet.tasks for end in ("", ", published", ": difference")]
    if not rows:
        return None
    return Table("table1-published", "Table 1: F1 beside the published", ("system", *columns), tuple(rows))


def _table2_requests(study: StudyRecipe, factory: JobFactory) -> Requests:
    if unknown := [name for name in study.fusions if name not in FUSIONS]:
        raise InputError(f"table2: fusion {unknown[0]!r} is unknown; use one of {', '.join(sorted(FUSIONS))}")
    if unknown := [name for name in study.pretrainings if name not in PRETRAININGS]:
        raise InputError(f"table2: pre-training {unknown[0]!r} is unknown; use some of {'; '.join(PRETRAININGS)}")
    for fusion in study.fusions:
        config = {"fusion": fusion}
        for task in factory.finetuning:
            yield (fusion, SCRATCH), task, factory.finetune(task, f"{fusion} · {SCRATCH}", config=config)
        for system in study.pretrainings:
            init = pretrained(factory, system, fusion)
            for task in factory.finetuning:
                yield (fusion, system), task, factory.finetune(task, f"{fusion} · {system}", init=init)


def _table2(sheet: Sheet) -> Section:
    columns: list[str] = ["fusion"]
    for task in sheet.tasks:
        columns += [f"{task}, without", f"{task}, pre-trained", f"{task}: gain", f"{task}: p"]
    rows: list[tuple[Content, ...]] = []
    systems = [row for row in sheet.rows if row[1] != SCRATCH]
    several = len({system for _, system in systems}) > 1
    for with_ in systems:
        without = (with_[0], SCRATCH)
        places: list[Content] = [" · ".join(with_) if several else with_[0]]
        for task in sheet.tasks:
            places += [sheet.f1(without, task), sheet.f1(with_, task), sheet.gain(with_, without, task)]
            places.append(p_value(compare(sheet, with_, without, task)))
        rows.append(tuple(places))
    table = Table("table2", "Table 2: test F1 of each fusion", tuple(columns), tuple(rows))
    return sheet.section("Table 2: fusions with and without pre-training", [comparison_note(sheet)], [table])


def _table3_requests(study: StudyRecipe, factory: JobFactory) -> Requests:
    for entity in ENTITY_TEMPLATES:
        for relation in RELATION_TEMPLATES:
            name = f"templates {entity}{relation}"
            init = factory.pretrain(name, labels={"entity_template": entity, "relation_template": relation})
            yield from each_task(factory, (entity, relation), partial(factory.finetune, name=name, init=init))


def _table3(sheet: Sheet) -> Section:
    columns = ("entity prompt", "relation prompt", *(f"{task} F1" for task in sheet.tasks))
    rows = tuple(
        (
            f"{row[0]}: {ENTITY_TEMPLATES[row[0]].format('…')}",
            f"{row[1]}: {RELATION_TEMPLATES[row[1]].format('…')}",
            *(sheet.f1(row, task) for task in sheet.tasks),
        )
        for row in sheet.rows
    )
    table = Table("table3", "Table 3: test F1 by prompt templates", columns, rows, keys=2)
    return sheet.section("Table 3: prompt templates", [], [table])


def _figure3_requests(study: StudyRecipe, factory: JobFactory) -> Requests:
    _check_images("figure3", factory)
    if importlib.util.find_spec("sklearn") is None:
        raise needs_extra("figure3", "scikit-learn", "study")
    tasks = [name for name, recipe in factory.finetuning.items() if recipe.task == "re"]
    if not tasks:
        raise InputError("figure3 shows relations; name a recipe of the task re under finetune in the study recipe")
    for system in FIGURE3_SYSTEMS:
        yield (system,), NO_TASK, factory.embeddings(tasks[0], system, pretrained(factory, system), FIGURE3_ITEMS)


def _check_images(exhibit: str, factory: JobFactory) -> None:
    for name, recipe in factory.finetuning.items():
        if factory.world is None and recipe.images == "none":
            raise InputError(f"{exhibit} shows images, and the recipe of {name!r} reads text alone; name another")


def _figure3(sheet: Sheet) -> Section:
    columns = ("system", "alignment ↓", "uniformity ↓", "nearest prompt, %", "neighbours, %", "fused neighbours, %")
    keys = ("alignment", "uniformity", "nearest_prompt", "neighbours", "fused_neighbours")
    tables, figures = [], []
    for kind, title in (("regions", "regions and nouns"), ("images", "images and relations")):
        rows = tuple((row[0], *(sheet.summary(row, NO_TASK, kind, key) for key in keys)) for row in sheet.rows)
        tables.append(Table(f"figure3-{kind}", f"Figure 3: {title}", columns, rows, digits=2))
        results = {row[0]: [one.result for one in sheet.at(row, NO_TASK) if one.result] for row in sheet.rows}
        panels = {system: found[0][kind]["points"] for system, found in results.items() if found}
        if panels:
            figures.append(Drawing(f"figure3-{kind}", f"{title}, t-SNE, first seed", svg.plane(panels)))
    notes = [
        "The figures are measured in the space of L_CIT. Alignment is the mean squared distance of an item and its own "
        "prompt on the unit sphere. Uniformity is the log of the mean of exp(−2 × squared distance) over pairs of "
        "items. Both follow Wang & Isola (2020).",
        "Nearest prompt: share of the items whose nearest prompt is their own. Neighbours: share of the five nearest "
        "items that have the same label. Last column: the same after the fusion, with an empty caption.",
        "An item is a region or an image. The label of a region comes from its detector, that of an image from its "
        "post. Dots are items, words are prompts.",
    ]
    return sheet.section("Figure 3: embeddings", notes, tables, figures)


def _figure4_requests(study: StudyRecipe, factory: JobFactory) -> Requests:
    return _systems(factory, FIGURE4_SYSTEMS)


def _figure4(sheet: Sheet) -> Section:
    tables, panels, names = [], {}, {}
    even = bool(sheet.tasks)
    for task in sheet.tasks:
        per, count = ("per_type", RAREST_TYPES) if sheet.kinds[task] == "ner" else ("per_relation", RAREST_RELATIONS)
        # number of each label in training: the mean over seeds, rounded
        results = {one.seed: one.result for one in sheet.measurements if one.task == task and one.result}
        counts: list[Mapping[str, int]] = [result["train_counts"] for result in results.values()]
        labels = sorted({label for of_seed in counts for label in of_seed})
        frequency = {label: round(sum(of_seed.get(label, 0) for of_seed in counts) / len(counts)) for label in labels}
        even = even and max(frequency.values(), default=1) < 3 * max(min(frequency.values(), default=1), 1)
        tail = rarest(frequency, count)
        if not tail:
            continue
        columns = ("system", *(f"{label} ({frequency[label]:g})" for label in tail))
        series = {row[0]: [sheet.summary(row, task, "test", per, label, "f1") for label in tail] for row in sheet.rows}
        rows = tuple((name, *values) for name, values in series.items())
        tables.append(Table(f"figure4-{task}", f"Figure 4: test F1 of the rarest, {task}", columns, rows))
        panels[task], names[task] = series, tail
    notes = ["The labels that are rarest in training. In brackets: their number in training, mean over seeds."]
    if even:
        notes.append(
            "In the drawn posts all labels are about equally frequent. So this is no real tail: read the figure as F1 "
            "by label."
        )
    figures = [Drawing("figure4", "F1 of the rarest labels", svg.bars(panels, names))] if panels else []
    return sheet.section("Figure 4: tail types and relations", notes, tables, figures)


def _figure5_requests(study: StudyRecipe, factory: JobFactory) -> Requests:
    _check_images("figure5", factory)

    def attention(task: str) -> Job:
        return factory.attention(task, finetuned(factory, SCRATCH, task), finetuned(factory, PROMU, task))

    return each_task(factory, (PROMU,), attention)


def _figure5(sheet: Sheet) -> Section:
    models = (("before", "without pre-training"), ("after", "with pre-training"))
    figures: list[Drawing] = []
    rows: list[tuple[Content, ...]] = []
    row = (PROMU,)
    for task in sheet.tasks:
        for one in sheet.at(row, task):
            if one.result is not None and one.seed == sheet.seeds[0]:
                for number, case in enumerate(one.result["cases"], start=1):
                    title = f"{task}: {' '.join(case['tokens'])} Gold: {case['gold']}. Chosen: {case['why']}."
                    figures.append(Drawing(f"figure5-{task}-{number}", title, svg.attention(case, models)))
        right = [sheet.summary(row, task, "right", key) for key, _ in models]
        posts = sheet.summary(row, task, "posts")
        rows.append((task, *right, None if posts is None else f"{posts.mean:g}"))
    columns = ("task", *(name for _, name in models), "of")
    table = Table("figure5", "Posts with an image whose prediction is right in full", columns, tuple(rows))
    notes = [
        "For each task: the first test post that only the model with pre-training predicts right, and the first that "
        "only the other one does. Posts that the image decides come first. Nothing is picked by hand.",
        "Attention from the names (their first sub-word tokens, or their markers), mean over heads and fusion layers. "
        "From left to right: the image, the shares of its patches, the shares of the words. Both models share a scale.",
    ]
    return sheet.section("Figure 5: case study", notes, [table], figures)


PAPER_EXHIBITS = (
    Exhibit("table1", _table1_requests, _table1),
    Exhibit("table2", _table2_requests, _table2),
    Exhibit("table3", _table3_requests, _table3),
    Exhibit("figure3", _figure3_requests, _figure3),
    Exhibit("figure4", _figure4_requests, _figure4),
    Exhibit("figure5", _figure5_requests, _figure5),
)
