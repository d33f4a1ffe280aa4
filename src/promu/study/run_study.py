"""Runs a study from recipe to page: which jobs its exhibits need, their results, and the files it writes."""

from __future__ import annotations

import shlex
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from promu.config import load_recipe
from promu.errors import InputError
from promu.files import write_json
from promu.study.context_arms import CONTEXT_EXHIBITS, CONTEXTS, ContextFactory
from promu.study.exhibit import Exhibit, Measurement, Request, Section, Sheet
from promu.study.few_shot import FEW_SHOT_EXHIBITS, TASK, FewShotFactory, Recipes
from promu.study.job_factory import JobFactory
from promu.study.paper_exhibits import PAPER_EXHIBITS
from promu.study.runner import run_jobs
from promu.study.study_page import Study, write_study
from promu.study.study_recipe import ContextStudyRecipe, FewShotStudyRecipe, StudyRecipe
from promu.study.sweep_exhibits import SWEEP_EXHIBITS

EXHIBITS = {exhibit.name: exhibit for exhibit in (*PAPER_EXHIBITS, *SWEEP_EXHIBITS)}
"""The exhibits of `StudyRecipe`, in the order of the page."""
ALL = "all"
KECPM = "kecpm"
DEFAULTS = {KECPM: ("newsreel-kecpm-study", "runs/kecpm-study"), CONTEXTS: ("contexts-study", "runs/contexts-study")}
"""Recipe and folder of the studies with recipes of their own."""


@dataclass(frozen=True)
class StudyResult:
    """What a study found: the HTML page that was written, and the exhibits with their tables and figures."""

    page: Path
    sections: list[Section]

    @property
    def failures(self) -> list[str]:
        """A sentence for each measurement that is missing because its job failed."""
        return [failure for section in self.sections for failure in section.failures]


def run_study(
    exhibits: str | Sequence[str] = ALL,
    recipe: str | Path | Mapping[str, Any] | StudyRecipe | FewShotStudyRecipe | ContextStudyRecipe | None = None,
    seeds: int = 3,
    out: str | Path | None = None,
    overrides: Sequence[str] = (),
) -> StudyResult:
    """Regenerate some exhibits or all, and write them under `out` as HTML, Markdown, JSON, CSV, LaTeX and SVG.

    Exhibits share jobs. A job that finished in an earlier call with the same `out` is not run again. Jobs run in other
    processes, so a script calls this under `if __name__ == "__main__":`.

    Example:
        ```python
        from promu import run_study

        recipe = {
            "pretrain": "newsreel-pretrain",
            "finetune": {"entities": "newsreel-ner"},
            "finetune_set": ["training.epochs=1"],
            "systems": ["text-only"],
            "world": {"pairs": 32, "ner_posts": [24, 8, 8], "re_posts": [4, 4, 4]},
        }
        result = run_study("table1", recipe, seeds=1, out="runs/small-study")
        assert not result.failures and result.page.is_file()
        ```

    Args:
        exhibits: Names in `EXHIBITS`; or one of `all`, `kecpm` for the study of joint extraction from few posts, and
            `contexts` for that of descriptions beside the text.
        recipe: A study recipe: name, file, settings or object. None takes newsreel-study, or that of `DEFAULTS`.
        seeds: Number of seeds: 0, 1, ...
        out: Folder of the jobs and of the results; None takes runs/study, or that of `DEFAULTS`.
        overrides: `key.path=value` settings that win over the recipe's.

    Raises:
        InputError: A recipe, an exhibit or the folder cannot be used, or a worker process died.
    """
    names = [exhibits] if isinstance(exhibits, str) else list(exhibits)
    if not names:
        raise InputError(f"no table or figure is named; choose some of {', '.join(EXHIBITS)}, or {ALL}")
    if len(names) > 1 and (alone := [name for name in names if name in (ALL, *DEFAULTS)]):
        raise InputError(f"{alone[0]!r} is a study of its own; run it alone, and the others by their names")
    exhibit = names[0]
    few_shot = exhibit == KECPM
    named, folder = DEFAULTS.get(exhibit, ("newsreel-study", "runs/study"))
    recipe, out = recipe or named, Path(out or folder)
    study: Any
    if exhibit == CONTEXTS:
        study = load_recipe(recipe, ContextStudyRecipe, overrides)
        known = {one.name: one for one in CONTEXT_EXHIBITS}
        contexts = ContextFactory.of(study)
        requests = list(request_all(study, contexts, known.values(), seeds))
        tasks = {name: one.task for name, one in contexts.recipes.items()}
    elif few_shot:
        study = load_recipe(recipe, FewShotStudyRecipe, overrides)
        known = {one.name: one for one in FEW_SHOT_EXHIBITS}
        requests = list(request_all(study, FewShotFactory(study, Recipes(study)), known.values(), seeds))
        tasks = {TASK: "joint"}
    else:
        study = load_recipe(recipe, StudyRecipe, overrides)
        known = EXHIBITS
        # `all` leaves transfer out if the recipe has no second world
        every = [name for name in EXHIBITS if name != "transfer" or study.transfer_world is not None]
        requests = plan(study, every if exhibit == ALL else list(dict.fromkeys(names)), seeds)
        tasks = {name: one.task for name, one in JobFactory.of(study).finetuning.items()}
    if out.exists() and not out.is_dir():
        raise InputError("this is a file; choose another out=", out)
    results = run_jobs((request.job for request in requests), out / "jobs", study.workers)
    measured = [
        Measurement(one.exhibit, one.row, one.task, one.seed, results[one.job.key].result, results[one.job.key].failure)
        for one in requests
    ]
    published = getattr(study, "published", {})
    sections = build_sections(measured, tasks, getattr(study, "world", None) is None, known, published)
    if not isinstance(recipe, (str, Path)):
        write_json(out / "recipe.yaml", study.model_dump(mode="json"))
        recipe = out / "recipe.yaml"
    words = ["promu", "reproduce", *names, "--recipe", str(recipe), "--seeds", str(seeds), "--out", str(out)]
    words += [word for override in overrides for word in ("--set", override)]
    cpu_seconds = sum(result.cpu_seconds for result in results.values())
    about = Study(str(recipe), shlex.join(words), study.note, seeds, len(results), cpu_seconds)
    page = write_study(out, about, sections)
    return StudyResult(page, sections)


def plan(study: StudyRecipe, exhibits: Sequence[str], seeds: int) -> list[Request]:
    """The jobs that these exhibits need over the seeds 0, 1, ...

    Raises:
        InputError: An exhibit is unknown, a recipe cannot be read or lacks what it needs, or `seeds` is below 1.
    """
    names = ", ".join(EXHIBITS)
    for name in exhibits:
        if name not in EXHIBITS:
            raise InputError(f"{name!r} is no table or figure; choose one of {names}, {ALL}, {KECPM} or {CONTEXTS}")
    for name in study.single_seed:
        if name not in EXHIBITS:
            raise InputError(f"single_seed: {name!r} is no table or figure; choose some of {names}")
    factory = JobFactory.of(study)
    return list(request_all(study, factory, [EXHIBITS[name] for name in exhibits], seeds, study.single_seed))


def request_all(
    study: Any,
    factory: JobFactory | FewShotFactory | ContextFactory,
    exhibits: Iterable[Exhibit],
    seeds: int,
    single_seed: Sequence[str] = (),
) -> Iterator[Request]:
    """The requests of these exhibits. Those named in `single_seed` use the first seed only.

    Raises:
        InputError: The recipe lacks what an exhibit needs; or `seeds` is below 1.
    """
    if seeds < 1:
        raise InputError(f"seeds= is {seeds}; at least 1 is needed")
    for exhibit in exhibits:
        for seed in range(1 if exhibit.name in single_seed else seeds):
            for row, task, job in exhibit.requests(study, replace(factory, seed=seed)):
                yield Request(exhibit.name, row, task, seed, job)


def build_sections(
    measured: Sequence[Measurement],
    tasks: Mapping[str, str],
    one_test: bool,
    exhibits: Mapping[str, Exhibit] = EXHIBITS,
    published: Mapping[str, Mapping[str, float]] | None = None,
) -> list[Section]:
    """A section for every exhibit that has a measurement, in the order of the measurements.

    `tasks`, `one_test` and `published` are as in `Sheet`.
    """
    return [
        exhibits[name].build(Sheet([one for one in measured if one.exhibit == name], tasks, one_test, published))
        for name in dict.fromkeys(one.exhibit for one in measured)
    ]
