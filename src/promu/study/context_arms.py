"""The study of contexts: what descriptions of the images add to the text of posts, against three controls.

No pixels are read: what a model sees of an image is what a captioner wrote about it.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from promu.config import load_recipe
from promu.errors import InputError
from promu.evaluation.counts import Counts
from promu.evaluation.significance import Comparison, compare_runs
from promu.study import figures as svg
from promu.study.context_jobs import ALL, SEEN, TEXTS, UNSEEN
from promu.study.exhibit import (
    SAMPLES,
    Content,
    Drawing,
    Exhibit,
    Row,
    Section,
    Sheet,
    Table,
    comparison_note,
    p_value,
    summary,
)
from promu.study.figures import Line
from promu.study.job import SUBSET, Job
from promu.study.job_factory import Values
from promu.study.study_recipe import ContextStudyRecipe
from promu.tasks.task import TASKS
from promu.training.recipe import FinetuneRecipe

CONTEXTS = "contexts"
NONE, TRUE, SHUFFLED, EMPTY = "none", "true", "shuffled", "empty"
CHOSEN = "descriptions"
"""The row of the choice of descriptions."""
NAME = "described"
"""The name of the context in every model."""
FEWEST = 30
"""Answers of a label in the gold of test, from which on it has a row of its own."""
PIXELS = "The descriptions are machine descriptions of the images. No pixels are read."


@dataclass(frozen=True)
class ContextFactory:
    """Makes the jobs of one seed. Equal calls make jobs of equal keys, so no work is done twice.

    Attributes:
        study: The recipe.
        recipes: Of fine-tuning, by the name of the set.
        sizes: Training posts, by the name of the set.
    """

    study: ContextStudyRecipe
    recipes: Mapping[str, FinetuneRecipe]
    sizes: Mapping[str, int]
    seed: int = 0

    @classmethod
    def of(cls, study: ContextStudyRecipe) -> ContextFactory:
        """Read the recipes of a study.

        Raises:
            InputError: A recipe or its training posts cannot be read, it is not one of entities or relations, or it
                names no test file.
        """
        recipes, sizes = {}, {}
        for name in study.only or study.sets:
            recipe = load_recipe(study.sets[name].recipe, FinetuneRecipe, study.finetune_set)
            if recipe.task not in ("ner", "re"):
                raise InputError(
                    f"the study has entities and relations; {name!r} names a recipe of the task {recipe.task}"
                )
            data = recipe.data
            if data.test is None:
                raise InputError(f"the study scores on test posts; set data.test in the recipe that {name!r} names")
            recipes[name] = recipe
            sizes[name] = len(TASKS[recipe.task].read(Path(data.train), data.format, data.scheme))
        return cls(study, recipes, sizes)

    def chosen(self, name: str) -> Job:
        """The choice of a set's descriptions: the best on dev, with all labels and the first seed."""
        first = ContextFactory(self.study, self.recipes, self.sizes)
        files = dict(self.study.sets[name].descriptions)
        runs = {one: first._arm(name, one, 1.0, {NAME: file}, {}) for one, file in files.items()}
        runs = runs if len(runs) > 1 else {}  # where there is no choice, none is trained
        candidates = {one: {"file": file, "run": f"job:{one}" if one in runs else None} for one, file in files.items()}
        return Job("choose-contexts", f"{name} · choice of descriptions", {"candidates": candidates}, runs)

    def arm(self, name: str, arm: str, share: float) -> Job:
        """A set's model with the contexts of an arm, trained on a share of the labels."""
        if arm == NONE:
            return self._arm(name, arm, share, {}, {})
        source, inputs = f"job:texts/{TEXTS}", {"texts": self.chosen(name)}
        if arm != TRUE:
            data = self.recipes[name].data
            settings: Values = {"file": f"job:chosen/{TEXTS}", "arm": arm, "seed": self.seed}
            settings |= {"task": self.recipes[name].task, "splits": [data.train, data.dev, data.test]}
            settings |= {"format": data.format, "scheme": data.scheme}
            label = f"seed {self.seed} · {name} · {arm} descriptions"
            inputs = {"texts": Job("control-contexts", label, settings, {"chosen": self.chosen(name)})}
        return self._arm(name, arm, share, {NAME: source}, inputs)

    def _arm(self, name: str, arm: str, share: float, contexts: dict[str, str], inputs: dict[str, Job]) -> Job:
        recipe = self.recipes[name]
        settings = {**recipe.model_dump(mode="json", exclude={"out"}), "seed": self.seed}
        settings["data"] = {**settings["data"], "contexts": contexts}
        factor = self.study.shares.get(share, 1.0)
        settings["training"] = {**settings["training"], "epochs": settings["training"]["epochs"] * factor}
        if share < 1:
            posts = max(1, round(share * self.sizes[name]))
            choice = {"task": recipe.task, "train": recipe.data.train, "posts": posts, "seed": self.seed}
            choice |= {"format": recipe.data.format, "scheme": recipe.data.scheme}
            choice = {key: value for key, value in choice.items() if value not in (None, "auto")}
            label = f"seed {self.seed} · {name} · {posts} posts"
            inputs = {**inputs, "subset": Job("subset", label, choice, {})}
            settings["data"]["train"] = f"job:subset/{SUBSET}"
        label = f"seed {self.seed} · {name} · {arm} · {100 * share:g} %"
        cost = self.sizes[name] / 20 * recipe.training.epochs * share * factor
        return Job("context-arm", label, settings, inputs, cost)


def _requests(study: ContextStudyRecipe, factory: ContextFactory) -> Iterator[tuple[Row, str, Job]]:
    for name in factory.recipes:
        if set(study.arms) - {NONE}:
            yield (CHOSEN, ""), name, factory.chosen(name)
        for share in study.shares:
            for arm in study.arms:
                yield (arm, f"{100 * share:g}"), name, factory.arm(name, arm, share)


def _build(sheet: Sheet) -> Section:
    arms = sheet.only(one for one in sheet.measurements if one.row[0] != CHOSEN)
    shares = sorted({row[1] for row in arms.rows}, key=float)
    names = list(dict.fromkeys(row[0] for row in arms.rows))
    whole = shares[-1]
    columns = ("arm", *(f"{task} {short}" for task in arms.tasks for short in ("P", "R", "F1")))
    parts = ("precision", "recall", "f1")
    rows: list[tuple[Content, ...]] = [
        (arm, *(arms.summary((arm, whole), task, "test", part) for task in arms.tasks for part in parts))
        for arm in names
    ]
    tables = [Table(CONTEXTS, f"Test precision, recall and F1, {whole} % of the labels", columns, tuple(rows))]
    pairs = [(TRUE, other) for other in (NONE, SHUFFLED, EMPTY) if {TRUE, other} <= set(names)]
    if pairs:
        tables += [_gains(arms, pairs, shares), _groups(arms, names, pairs, whole)]
    tables.append(_curve_table(arms, names, shares))
    tables += _choice(sheet, arms, whole)
    drawn = []
    if len(shares) > 1:
        panels = {
            task: [
                Line(arm, [(float(share), arms.spread((arm, share), task, "test", "f1")) for share in shares])
                for arm in names
            ]
            for task in arms.tasks
        }
        chart = svg.lines(panels, "% of the labels", "test F1", log=True)
        drawn.append(Drawing(f"{CONTEXTS}-curve", f"Learning curve; bars: {arms.bars}", chart))
    notes = [
        PIXELS,
        "none: the text of the post alone. true: the text and the description of its image. shuffled: with that of "
        "another image of the same split. empty: with an empty description. Shuffled and empty models are trained and "
        "tested alike.",
        comparison_note(arms),
        "seen names: answers whose names all stand, as names, in the training posts of the run; unseen names: the "
        f"others. A label has a row from {FEWEST} answers in the gold of test on.",
    ]
    return arms.section("Machine descriptions of the images beside the text", notes, tables, drawn)


def _gains(sheet: Sheet, pairs: list[tuple[str, str]], shares: list[str]) -> Table:
    columns = ["difference", "% of the labels"]
    for task in sheet.tasks:
        columns += [f"{task}: F1 points", f"{task}: 95 % interval", f"{task}: p"]
    rows: list[tuple[Content, ...]] = []
    for first, other in pairs:
        for share in shares:
            places: list[Content] = [f"{first} − {other}", share]
            for task in sheet.tasks:
                found = compare_groups(sheet, (first, share), (other, share), task, ALL)
                interval = None if found is None else f"{found.low:+.1f} to {found.high:+.1f}".replace("-", "−")
                places += [sheet.gain((first, share), (other, share), task), interval, p_value(found)]
            rows.append(tuple(places))
    return Table(f"{CONTEXTS}-gains", "What descriptions add, in points of F1", tuple(columns), tuple(rows), keys=2)


def _groups(sheet: Sheet, names: list[str], pairs: list[tuple[str, str]], share: str) -> Table:
    columns = ["set", "answers", *(f"{arm} F1" for arm in names)]
    columns += [column for first, other in pairs for column in (f"{first} − {other}", "p")]
    rows: list[tuple[Content, ...]] = []
    for task in sheet.tasks:
        for group, gold in _group_sizes(sheet, task, share).items():
            places: list[Content] = [task, f"{group} ({gold})"]
            places += [summary(group_f1(sheet, (arm, share), task, group).values()) for arm in names]
            for first, other in pairs:
                found = compare_groups(sheet, (first, share), (other, share), task, group)
                places += [None if found is None else f"{found.difference:+.1f}".replace("-", "−"), p_value(found)]
            rows.append(tuple(places))
    title = f"F1 by seen and unseen names and by label (in brackets: in the gold), {share} % of the labels"
    return Table(f"{CONTEXTS}-groups", title, tuple(columns), tuple(rows), keys=2)


def _group_sizes(sheet: Sheet, task: str, share: str) -> dict[str, int]:
    """Gold answers of each group that has a row, of the first run: seen and unseen names, then labels by number."""
    results = (one.result for row in sheet.rows if row[1] == share for one in sheet.at(row, task) if one.result)
    counts: Mapping[str, list[list[int]]] = next(results, {"counts": {}})["counts"]
    sizes = {group: sum(row[2] for row in rows) for group, rows in counts.items()}
    labels = sorted(sizes.keys() - {ALL, SEEN, UNSEEN}, key=lambda label: (-sizes[label], label))
    kept = [group for group in (SEEN, UNSEEN) if group in sizes] + [one for one in labels if sizes[one] >= FEWEST]
    return {group: sizes[group] for group in kept}


def group_f1(sheet: Sheet, row: Row, task: str, group: str) -> dict[int, float | None]:
    """Test F1 of a group of answers by seed."""
    found: dict[int, float | None] = {}
    for one in sheet.at(row, task):
        counts = (one.result or {}).get("counts", {}).get(group)
        found[one.seed] = None if counts is None else Counts(*np.array(counts).sum(axis=0).tolist()).f1
    return found


def compare_groups(sheet: Sheet, first: Row, other: Row, task: str, group: str) -> Comparison | None:
    """Compare two rows in the F1 of a group of answers, over the seeds and the test posts that both have."""
    results = [{one.seed: one.result for one in sheet.at(row, task) if one.result} for row in (first, other)]
    seeds = sorted(results[0].keys() & results[1].keys())
    runs = [[of_row[seed]["counts"].get(group) for seed in seeds] for of_row in results]
    if not seeds or any(counts is None for of_row in runs for counts in of_row):
        return None
    arrays = [[np.array(counts, dtype=np.int64) for counts in of_row] for of_row in runs]
    return compare_runs(arrays[0], arrays[1], "paired", SAMPLES)


def _curve_table(sheet: Sheet, names: list[str], shares: list[str]) -> Table:
    rows = [(arm, share, *(sheet.f1((arm, share), task) for task in sheet.tasks)) for arm in names for share in shares]
    columns = ("arm", "% of the labels", *(f"{task} F1" for task in sheet.tasks))
    return Table(f"{CONTEXTS}-curve", "Test F1 by the share of the labels", columns, tuple(rows), keys=2)


def _choice(sheet: Sheet, arms: Sheet, share: str) -> list[Table]:
    """How descriptions were chosen, and how many of the gold's names stand in them."""
    rows: list[tuple[Content, ...]] = []
    for task in sheet.tasks:
        result = next((one.result for one in sheet.at((CHOSEN, ""), task) if one.result), None)
        if result is None:
            continue
        names = arms.figures((TRUE, share), task, "names", "percent")
        shown = next((f"{value:.1f}" for value in names.values() if value is not None), None)
        for name, f1 in result["dev"].items():
            mark = "chosen" if name == result["chosen"] else ""
            rows.append((task, name, None if f1 is None else f"{f1:.1f}", mark, shown if mark else ""))
    columns = ("set", "descriptions", "dev F1", "", "names of test's gold that stand in them, %")
    title = "Which descriptions: chosen on dev, all labels, first seed"
    return [Table(f"{CONTEXTS}-chosen", title, columns, tuple(rows), keys=2)] if rows else []


CONTEXT_EXHIBITS = (Exhibit(CONTEXTS, _requests, _build),)
