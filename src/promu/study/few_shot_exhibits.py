"""The exhibits of joint extraction from few posts, out of what was measured."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from promu.study import figures as drawing
from promu.study.exhibits import PARTS, Builder, Drawn, Frame, Section, groups_of, section
from promu.study.figures import Line
from promu.study.tables import Content, Measured, Sheet, Table, difference_table

CURVE, SYSTEMS, KNOWLEDGE, DECODING = "few-shot-curve", "few-shot-systems", "few-shot-knowledge", "few-shot-decoding"
"""The exhibits."""

JOINT, PIPELINE, SCRATCH = "joint model", "pipeline", "joint model, without pre-training"
WRITER, KNOWING = "writer", "writer with knowledge"
NONE, FIRST, CHECKED, GIVEN = "none", "stand-in, first answers", "stand-in, after self-reflection", "as the set has it"
"""What the writer is given to know."""
WITH, WITHOUT = "with the grammar", "without"
"""How it decodes."""

TASK = "quintuples"
TOLD = "what it was told"
"""Instead of a task: entries that say how much of the stand-in's knowledge is wrong."""


def _curve(places: Sequence[Measured], frame: Frame) -> Section:
    sheet = Sheet(places, [TASK])
    systems = list(dict.fromkeys(row[0] for row in sheet.rows))
    rows = sorted(sheet.rows, key=lambda row: (systems.index(row[0]), int(row[1])))
    columns = ("system", "training posts", "F1", "macro F1", "entities F1")
    figures = [(*row, *(sheet.summary(row, TASK, "test", *keys) for keys in _FIGURES)) for row in rows]
    table = Table(CURVE, "Test F1 by the number of labelled posts", columns, tuple(figures), keys=2)
    panels = {
        title: [
            Line(name, [(float(row[1]), sheet.summary(row, TASK, "test", *keys)) for row in rows if row[0] == name])
            for name in systems
        ]
        for title, keys in (("quintuples", _FIGURES[0]), ("entities", _FIGURES[2]))
    }
    chart = Drawn(CURVE, "Learning curve", drawing.lines(panels, "labelled posts", "test F1", log=True))
    notes = ["Few posts are trained on for as many steps as all, at most; larger sets hold the smaller ones."]
    return section(sheet, "Learning curve", notes, [table], [chart])


_FIGURES = (("f1",), ("macro_f1", "present"), ("entities", "f1"))


def _systems(places: Sequence[Measured], frame: Frame) -> Section:
    sheet = Sheet(places, [TASK])
    table = _table(sheet, SYSTEMS, "Pipeline, joint model and writer on the same posts", "system")
    tables = [table, *_gains(sheet, (JOINT,), SYSTEMS, frame)]
    return section(sheet, "Pipeline, joint model, writer", _notes(frame), tables, [_bars(sheet, SYSTEMS)])


def _knowledge(places: Sequence[Measured], frame: Frame) -> Section:
    sheet = Sheet([place for place in places if place.task == TASK], [TASK])
    told = Sheet([place for place in places if place.task == TOLD], [TOLD])
    table = _table(sheet, KNOWLEDGE, "The writer by what it is told", "knowledge")
    wrong = [told.summary(row, TOLD, "wrong_share") for row in sheet.rows]
    notes = _notes(frame)
    if any(share is not None for share in wrong):
        table = replace(
            table,
            columns=(*table.columns, "wrong, %"),
            rows=tuple((*row, share) for row, share in zip(table.rows, wrong, strict=True)),
        )
        notes.append(
            "Wrong: share of the sentences of train, dev and test that are not true in the drawn world. The stand-in "
            "knows the facts that the set has, and takes the way of promu knowledge generate: question, answer, "
            "self-reflection, revised answer."
        )
    best = (CHECKED,) if (CHECKED,) in sheet.rows else (GIVEN,)
    tables = [table, *_gains(sheet, best, KNOWLEDGE, frame)]
    return section(sheet, "Knowledge and self-reflection", notes, tables, [_bars(sheet, KNOWLEDGE)])


def _decoding(places: Sequence[Measured], frame: Frame) -> Section:
    """Each cell was decoded both ways, so each of its places is two."""
    both = []
    for place in places:
        for how, end in ((WITH, ""), (WITHOUT, "_unconstrained")):
            result = place.result
            if result is not None:
                test = result[f"test{end}"]
                share = 100 * test["parsed"]
                result = {"test": test, "post_counts": result[f"post_counts{end}"], "parsed_share": share}
            both.append(replace(place, row=(*place.row, how), result=result))
    sheet = Sheet(both, [TASK])
    columns = ("system", "decoding", *(short for short, _ in PARTS), "parsed, %")
    rows = [
        (
            *row,
            *(sheet.summary(row, TASK, "test", part) for _, part in PARTS),
            sheet.summary(row, TASK, "parsed_share"),
        )
        for row in sheet.rows
    ]
    tables = [Table(DECODING, "Decoding with and without the grammar", columns, tuple(rows), keys=2)]
    for system in dict.fromkeys(row[0] for row in sheet.rows):
        own = Sheet([place for place in both if place.row[0] == system], [TASK])
        tables += _gains(own, (system, WITH), f"{DECODING}-{system.replace(' ', '-')}", frame)
    notes = [*_notes(frame), "Of an answer that breaks the grammar, the quintuples before the break and after count."]
    return section(sheet, "Constrained decoding", notes, tables)


def _table(sheet: Sheet, name: str, title: str, head: str) -> Table:
    """Precision, recall, F1, F1 of entities, and F1 by group of posts where there are groups."""
    groups = groups_of(sheet)
    columns = (head, *(short for short, _ in PARTS), "entities F1", *(f"{group} decides" for group in groups))
    keys = [*((part,) for _, part in PARTS), ("entities", "f1"), *(("per_group", group, "f1") for group in groups)]
    rows: list[tuple[Content, ...]] = [
        (row[0], *(sheet.summary(row, TASK, "test", *each) for each in keys)) for row in sheet.rows
    ]
    return Table(name, f"{title}: test", columns, tuple(rows))


def _bars(sheet: Sheet, name: str) -> Drawn:
    """F1 of each row over all posts, and by group of posts."""
    keys: dict[str, tuple[str, ...]] = {"all posts": ("f1",)}
    keys |= {f"{group} decides": ("per_group", group, "f1") for group in groups_of(sheet)}
    title = "Test F1 by what decides the post" if len(keys) > 1 else "Test F1"
    series = {called: [sheet.summary(row, TASK, "test", *key) for row in sheet.rows] for called, key in keys.items()}
    names = [row[0].replace(", ", ",\n") for row in sheet.rows]
    return Drawn(name, title, drawing.bars({title: series}, {title: names}))


def _gains(sheet: Sheet, best: tuple[str, ...], name: str, frame: Frame) -> list[Table]:
    return [difference_table(sheet, best, f"{name}-gains", frame.one_test)] if len(sheet.rows) > 1 else []


def _notes(frame: Frame) -> list[str]:
    pooled = "the test posts, means over seeds" if frame.one_test else "the test posts of all seeds together"
    return [f"Intervals and p-values: paired bootstrap over {pooled}."]


FEW_SHOT_BUILDERS: dict[str, Builder] = {
    CURVE: _curve,
    SYSTEMS: _systems,
    KNOWLEDGE: _knowledge,
    DECODING: _decoding,
}
