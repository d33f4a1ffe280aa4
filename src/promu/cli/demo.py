"""`promu demo`: draw the corpus, pre-train, fine-tune three systems, extract from unseen posts, write the report."""

from __future__ import annotations

import json
import multiprocessing
import queue
import shutil
import time
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, ProcessPoolExecutor, wait
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from promu.progress import shown

if TYPE_CHECKING:
    from promu.alignment.label_store import LabelStore
    from promu.extraction.extractor import Extractor
    from promu.newsreel import NewsreelSettings
    from promu.report.demo_report import (
        Curves,
        DemoReport,
        LabelledPair,
        Scores,
        SystemResult,
        TeacherQuality,
    )
    from promu.report.post_view import ExtractedPost
    from promu.schema import Post, Region

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

    Draws a world of captioned images, trains a teacher, labels, pre-trains, fine-tunes and tests text-only,
    from-scratch and promu, and extracts entities and relations from posts that were never seen. Started again, it
    goes on where it stopped.

    Args:
        out: Folder of the run; report.html, report.json and model/ end up there.
        seed: One number for the world, the teacher and the models.
    """
    from promu.cli.console import print_table
    from promu.newsreel import NewsreelSettings

    systems = run(out, NewsreelSettings(seed=seed), jobs(out, seed))
    print_table(
        f"Test F1 on the drawn corpus, seed {seed}",
        ["system", "entities", "relations"],
        [(system["name"], f"{system['ner']['f1']:.1f}", f"{system['re']['f1']:.1f}") for system in systems],
    )
    print(f"model:  {out / 'model'}\nreport: {out / 'report.html'}")


def run(out: Path, corpus: NewsreelSettings, every: Sequence[Job]) -> list[dict[str, Any]]:
    """Draw `corpus`, do every job, write the reports; returns the systems of report.json."""
    from promu.cli.console import watch
    from promu.runs import begin

    begin(out, {"corpus": corpus.to_dict(), "jobs": [job.settings for job in every]})
    started = time.perf_counter()
    with watch([job.name for job in every]) as report:
        results = train_all(out, corpus, every, report)
        return write_reports(out, corpus.seed, results, time.perf_counter() - started)


def jobs(out: Path, seed: int) -> list[Job]:
    """Every training run of the demo: pre-training, then two tasks of three systems."""
    from promu.config import load_recipe
    from promu.training.recipe import FinetuneRecipe, PretrainRecipe

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
    pretraining = load_recipe("newsreel-pretrain", PretrainRecipe, overrides)
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
                f"newsreel-{task}",
                FinetuneRecipe,
                [
                    *(f"data.{split}={path}" for split, path in paths.items()),
                    f"data.images={corpus}/{task}/images",
                    f"data.groups={corpus}/{task}/groups.json",
                    f"seed={seed}",
                    f"out={out}/{system}-{task}",
                    *(["images=none"] if system == "text-only" else []),
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
    from promu.config import load_recipe
    from promu.files import usable_cores
    from promu.newsreel import write_newsreel
    from promu.training.prepare import start
    from promu.training.recipe import PretrainRecipe

    with shown(lambda stage, done, total: report("drawing", stage, done, total)):
        write_newsreel(out / "corpus", corpus)
        start(load_recipe(every[0].settings, PretrainRecipe))
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

    from promu.config import load_recipe
    from promu.files import usable_cores
    from promu.training.finetune import finetune
    from promu.training.pretrain import pretrain
    from promu.training.recipe import FinetuneRecipe, PretrainRecipe

    # threads that wait for each other on busy cores cost more than they bring: one job, one core ...
    torch.set_num_threads(max(1, usable_cores() // 2))
    last = 0.0

    def send(stage: str, done: int, total: int) -> None:
        nonlocal last
        if stage == "pre-training":
            torch.set_num_threads(usable_cores())  # ... until what ran beside the teacher has ended
        if done == total or time.monotonic() - last > 0.5:
            last = time.monotonic()
            events.put((job.name, stage, done, total))

    with shown(send):
        if job.kind == "pretrain":
            return pretrain(load_recipe(job.settings, PretrainRecipe))
        return finetune(load_recipe(job.settings, FinetuneRecipe))


def _set_up_worker() -> None:
    from promu.hub import quiet

    quiet()


def write_reports(out: Path, seed: int, results: dict[str, dict[str, Any]], seconds: float) -> list[dict[str, Any]]:
    """Put the model folder together, extract from unseen posts, write report.html and report.json."""
    from promu.files import write_json
    from promu.report.demo_report import to_json, write_report

    for task in TASK_NAMES:
        target = out / "model" / task
        shutil.rmtree(target, ignore_errors=True)
        shutil.copytree(out / f"promu-{task}" / "model", target)
    data = tell(out, seed, results, seconds)
    write_report(out / "report.html", data)
    summary = to_json(data)
    write_json(out / "report.json", summary)
    return list(summary["systems"])


PAIRS_SHOWN = 6
POSTS_SHOWN = 8


def tell(out: Path, seed: int, results: Mapping[str, Mapping[str, Any]], seconds: float) -> DemoReport:
    """Collect the report of the run in `out`."""
    from promu.alignment.label_store import LabelStore
    from promu.corpora.coco import read_coco
    from promu.report.demo_report import DemoReport

    store = LabelStore(out / "pre-training" / "labels")
    drawn = read_coco(out / "corpus" / "pairs" / "regions.json")
    card = json.loads((out / "corpus" / "newsreel.json").read_text(encoding="utf-8"))
    return DemoReport(
        seed=seed,
        seconds=round(seconds, 1),
        systems=[_system(name, results) for name in SYSTEMS],
        ceiling=card["ceiling"],
        curves=_curves(out),
        teacher=_teacher(store, drawn),
        pairs=_pairs(out, store, drawn),
        posts=_posts(out),
        command=f"promu demo --out {out} --seed {seed}",
    )


def _system(name: str, results: Mapping[str, Mapping[str, Any]]) -> SystemResult:
    from promu.report.demo_report import SystemResult

    runs = {task: results[f"{name} · {words}"] for task, words in TASK_NAMES.items()}
    scores = {task: _scores(run["test"]) for task, run in runs.items()}
    seconds = sum(run["seconds"] for run in runs.values())
    if name == "promu":
        seconds += results["pre-training"]["seconds"]
    return SystemResult(name, scores["ner"], scores["re"], round(seconds, 1))


def _scores(figures: Mapping[str, Any]) -> Scores:
    from promu.report.demo_report import Scores

    groups = {group: float(part["f1"]) for group, part in figures["per_group"].items()}
    return Scores(figures["precision"], figures["recall"], figures["f1"], groups)


def _log(folder: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in (folder / "log.jsonl").read_text(encoding="utf-8").splitlines()]


def _curves(out: Path) -> Curves:
    from promu.report.demo_report import Curves

    losses = ("itm", "cit", "coe", "cir", "mlm")
    return Curves(
        teacher=[(line["step"], line["loss"]) for line in _log(out / "pre-training" / "teacher")],
        pretraining=[
            {key: line[key] for key in ("step", *losses) if key in line} for line in _log(out / "pre-training")
        ],
        finetuning={
            f"{system} · {words}": [
                (line["epoch"], line["eval_f1"]) for line in _log(out / f"{system}-{task}") if "eval_f1" in line
            ]
            for system in SYSTEMS
            for task, words in TASK_NAMES.items()
        },
    )


def _best_first(regions: Sequence[Region]) -> list[Region]:
    """The order in which labels were made: that of `promu.alignment.detectors`."""
    return sorted(regions, key=lambda region: -region.score)


def _teacher(store: LabelStore, drawn: Mapping[str, Sequence[Region]]) -> TeacherQuality:
    from promu.newsreel import WORLD
    from promu.report.demo_report import TeacherQuality

    nouns = store.header.nouns
    right = {kind.name: [nouns.index(noun) for noun in kind.nouns if noun in nouns] for kind in WORLD.kinds}
    named, mass, count = 0, 0.0, 0
    for image in store.images():
        labels = store[image].entities.dense(len(nouns))
        for region, row in zip(_best_first(drawn.get(image, ())), labels, strict=True):
            named += int(row.argmax()) in right[region.label]
            mass += float(row[right[region.label]].sum())
            count += 1
    chance = sum(len(places) for places in right.values()) / len(right) / len(nouns)
    return TeacherQuality(named / max(count, 1), mass / max(count, 1), count, chance)


def _pairs(out: Path, store: LabelStore, drawn: Mapping[str, Sequence[Region]]) -> list[LabelledPair]:
    """The first pairs of the corpus, as they come: nothing is picked by hand."""
    from promu.corpora.captions import read_captions
    from promu.newsreel import WORLD
    from promu.report.demo_report import LabelledPair, LabelledRegion

    header = store.header
    names = {kind.name: frozenset(kind.nouns) for kind in WORLD.kinds}
    shown = []
    for pair in read_captions(out / "corpus" / "pairs" / "captions.csv")[:PAIRS_SHOWN]:
        labels = store[pair.image]
        regions = []
        for region, box, row in zip(
            _best_first(drawn.get(pair.image, ())),
            labels.boxes.tolist(),
            labels.entities.dense(len(header.nouns)),
            strict=True,
        ):
            regions.append(LabelledRegion(tuple(box), region.label, _top(row, header.nouns, 3), names[region.label]))
        relation = _top(labels.relation.dense(len(header.relations))[0], header.relations, 4)
        image = out / "corpus" / "pairs" / "images" / pair.image
        shown.append(LabelledPair(image, pair.caption, pair.matched, regions, relation))
    return shown


def _top(row: Any, names: Sequence[str], count: int) -> list[tuple[str, float]]:
    best = row.topk(min(count, len(names)))
    return [(names[index], float(value)) for index, value in zip(best.indices.tolist(), best.values, strict=True)]


def _posts(out: Path) -> list[ExtractedPost]:
    """The first test posts with two names, half of them such that only the image decides."""
    from promu.corpora.coco import read_coco
    from promu.corpora.mnre import read_mnre
    from promu.extraction.extractor import Extractor

    folder = out / "corpus" / "re"
    groups = json.loads((folder / "groups.json").read_text(encoding="utf-8"))
    regions = read_coco(folder / "regions.json")
    extractor = Extractor.from_pretrained(out / "model")
    chosen: list[Post] = []
    wanted = {"image": POSTS_SHOWN * 3 // 4, "text": POSTS_SHOWN - POSTS_SHOWN * 3 // 4}
    for post in read_mnre(folder / "mnre_test.txt"):
        if wanted[groups[post.id]]:
            wanted[groups[post.id]] -= 1
            chosen.append(post)
    return [_extracted(folder / "images", post, groups[post.id], regions, extractor) for post in chosen]


def _extracted(
    images: Path, post: Post, decides: Any, regions: Mapping[str, Sequence[Region]], extractor: Extractor
) -> ExtractedPost:
    from promu.corpora.images import probe_image
    from promu.report.post_view import ExtractedPost, NamedBox

    assert post.image is not None
    image = images / post.image
    header = probe_image(image)
    relation = post.relations[0]
    head, tail = post.entities[relation.head], post.entities[relation.tail]
    return ExtractedPost(
        image=image,
        decides=decides,
        result=extractor(" ".join(post.tokens), image=image, id=post.id).to_dict(),
        gold_entities=[{"start": entity.start, "end": entity.end, "type": entity.type} for entity in post.entities],
        gold_relations=[
            {"head_span": (head.start, head.end), "tail_span": (tail.start, tail.end), "type": relation.type}
        ],
        regions=[
            NamedBox((x0 / header.width, y0 / header.height, x1 / header.width, y1 / header.height), region.label)
            for region in _best_first(regions.get(post.image, ()))
            for x0, y0, x1, y1 in [region.box]
        ],
    )
