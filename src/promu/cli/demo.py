"""`promu demo`: draw the corpus, pre-train, fine-tune three systems, extract from unseen posts, write the report."""

from __future__ import annotations

import multiprocessing
import queue
import shutil
import time
from collections.abc import Callable, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, ProcessPoolExecutor, wait
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from promu.cores import usable_cores

if TYPE_CHECKING:
    from promu.corpora.newsreel import NewsreelSettings

SYSTEMS = ("text-only", "from-scratch", "promu")
TASK_NAMES = {"ner": "entities", "re": "relations"}


@dataclass(frozen=True)
class Job:
    """One training run that a worker process does: `settings` is a recipe as plain data."""

    name: str
    kind: str
    settings: dict[str, Any]


def demo(*, out: Path = Path("runs/demo"), seed: int = 0) -> None:
    """Run the main job on the built-in corpus and write a report.

    Draws a world of captioned pictures, trains a teacher, labels, pre-trains, fine-tunes and tests text-only,
    from-scratch and promu, and extracts entities and relations from posts that were never seen. Started again, it
    goes on where it stopped.

    Args:
        out: Folder of the run; report.html, report.json and model/ end up there.
        seed: One number for the world, the teacher and the models.
    """
    from promu.cli.console import print_table
    from promu.corpora.newsreel import NewsreelSettings

    systems = run(out, NewsreelSettings(seed=seed), jobs(out, seed))
    print_table(
        f"Test F1 on the drawn corpus, seed {seed}",
        ["system", "entities", "relations"],
        [(system["name"], f"{system['ner']['f1']:.1f}", f"{system['re']['f1']:.1f}") for system in systems],
    )
    print(f"model:  {out / 'model'}\nreport: {out / 'report.html'}")


def run(out: Path, corpus: NewsreelSettings, every: Sequence[Job]) -> list[dict[str, Any]]:
    """Draw `corpus`, do every job, write the reports; returns the systems of report.json."""
    from promu.cli.demo_progress import watch
    from promu.training.run_folder import begin

    begin(out, {"corpus": corpus.to_dict(), "jobs": [job.settings for job in every]})
    started = time.perf_counter()
    with watch([job.name for job in every]) as report:
        results = train_all(out, corpus, every, report)
        return write_reports(out, corpus.seed, results, time.perf_counter() - started)


def jobs(out: Path, seed: int) -> list[Job]:
    """Every training run of the demo: pre-training, then two tasks of three systems."""
    from promu.training.recipe import FinetuneRecipe, PretrainRecipe
    from promu.training.recipe_file import find_recipe, load_recipe

    corpus = out / "corpus"
    overrides = [
        f"data.corpus.captions={corpus}/pairs/captions.csv",
        f"data.corpus.images={corpus}/pairs/images",
        f"data.corpus.regions={corpus}/pairs/regions.json",
        f"data.nouns={corpus}/nouns.txt",
        f"data.relations={corpus}/relations.txt",
        f"tokenizer.texts=[{corpus}/texts.txt]",
        f"teacher.seed={seed}",
        f"seed={seed}",
        f"out={out}/pre-training",
    ]
    pretraining = load_recipe(find_recipe("newsreel-pretrain"), PretrainRecipe, overrides)
    scratch = {**pretraining.model.model_dump(), "tokenizer": f"{out}/pre-training/tokenizer"}
    models = {
        "text-only": {**scratch, "vision": None},
        "from-scratch": scratch,
        "promu": {"init": f"{out}/pre-training/model"},
    }
    found = [Job("pre-training", "pretrain", pretraining.model_dump(mode="json"))]
    for system in SYSTEMS:
        for task, files in (("ner", ("train", "valid", "test")), ("re", ("mnre_train", "mnre_val", "mnre_test"))):
            paths = dict(zip(("train", "dev", "test"), (f"{corpus}/{task}/{file}.txt" for file in files), strict=True))
            recipe = load_recipe(
                find_recipe(f"newsreel-{task}"),
                FinetuneRecipe,
                [
                    *(f"data.{split}={path}" for split, path in paths.items()),
                    f"data.images={corpus}/{task}/images",
                    f"data.groups={corpus}/{task}/groups.json",
                    f"seed={seed}",
                    f"out={out}/{system}-{task}",
                    *(["pictures=none"] if system == "text-only" else []),
                ],
            )
            settings = {**recipe.model_dump(mode="json"), "model": models[system]}
            found.append(Job(f"{system} · {TASK_NAMES[task]}", "finetune", settings))
    return found


def train_all(
    out: Path, corpus: NewsreelSettings, every: Sequence[Job], report: Callable[[str, str, int, int], None]
) -> dict[str, dict[str, Any]]:
    """Draw the corpus and do every job, two at a time where there are two cores; results by the job's name.

    What needs nothing of the others runs beside pre-training; promu's fine-tuning starts when that has ended.
    """
    from promu.corpora.newsreel import write_newsreel
    from promu.training.preparation import start
    from promu.training.recipe import PretrainRecipe
    from promu.training.recipe_file import check_recipe

    write_newsreel(out / "corpus", corpus, lambda done, total: report("drawing", "drawing", done, total))
    pretraining = check_recipe(every[0].settings, PretrainRecipe)
    start(pretraining, lambda stage, done, total: report("drawing", stage, done, total))
    lanes = min(2, usable_cores())
    context = multiprocessing.get_context("spawn")
    results: dict[str, dict[str, Any]] = {}
    with context.Manager() as manager:
        events = manager.Queue()
        pool = ProcessPoolExecutor(lanes, context, initializer=_set_up_worker)
        try:
            waiting: dict[Future[dict[str, Any]], Job] = {}
            later = [job for job in every if job.name.startswith("promu")]
            for job in every:
                if job not in later:
                    waiting[pool.submit(do_job, job, events)] = job
            while waiting:
                done, _ = wait(waiting, timeout=0.2, return_when=FIRST_COMPLETED)
                while True:
                    try:
                        report(*events.get_nowait())
                    except queue.Empty:
                        break
                for future in done:
                    job = waiting.pop(future)
                    results[job.name] = future.result()
                    report(job.name, "done", 1, 1)
                    if job.kind == "pretrain":
                        waiting.update({pool.submit(do_job, next_job, events): next_job for next_job in later})
        except BaseException:
            # what runs is resumable, so it is stopped rather than waited for
            for process in list((pool._processes or {}).values()):
                process.terminate()
            raise
        finally:
            pool.shutdown(wait=True, cancel_futures=True)
    return results


def do_job(job: Job, events: Any) -> dict[str, Any]:
    """Do one job in a worker process; progress goes to `events` as (job, stage, done, total)."""
    import torch

    from promu.training.finetune import finetune
    from promu.training.pretrain import pretrain
    from promu.training.recipe import FinetuneRecipe, PretrainRecipe
    from promu.training.recipe_file import check_recipe

    # threads that wait for each other on busy cores cost more than they bring: one job, one core ...
    torch.set_num_threads(max(1, usable_cores() // 2))
    last = 0.0

    def progress(stage: str, done: int, total: int) -> None:
        nonlocal last
        if stage == "pre-training":
            torch.set_num_threads(usable_cores())  # ... until what ran beside the teacher has ended
        if done == total or time.monotonic() - last > 0.5:
            last = time.monotonic()
            events.put((job.name, stage, done, total))

    if job.kind == "pretrain":
        return pretrain(check_recipe(job.settings, PretrainRecipe), progress)
    return finetune(check_recipe(job.settings, FinetuneRecipe), progress)


def _set_up_worker() -> None:
    from promu.quiet import quiet

    quiet()


def write_reports(out: Path, seed: int, results: dict[str, dict[str, Any]], seconds: float) -> list[dict[str, Any]]:
    """Put the model folder together, extract from unseen posts, write report.html and report.json."""
    from promu.analysis.report import to_json, write_report
    from promu.cli.demo_story import tell
    from promu.files import write_json

    for task in TASK_NAMES:
        target = out / "model" / task
        shutil.rmtree(target, ignore_errors=True)
        shutil.copytree(out / f"promu-{task}" / "model", target)
    data = tell(out, seed, results, seconds)
    write_report(out / "report.html", data)
    summary = to_json(data)
    write_json(out / "report.json", summary)
    return list(summary["systems"])
