"""The demo: a study of three systems on the drawn corpus with one seed, and its report."""

from __future__ import annotations

import json
import os
import shutil
import time
from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch

from promu.alignment.label_store import LabelStore
from promu.cores import usable_cores
from promu.corpora.captions import read_captions
from promu.corpora.coco import read_coco
from promu.corpora.images import probe_image
from promu.corpora.labelled import read_labelled
from promu.corpora.mnre import read_mnre
from promu.errors import InputError, install_command
from promu.evaluation.scoring import read_groups
from promu.extraction.extractor import Extractor
from promu.files import read_json_document, write_json
from promu.newsreel import WORLD, NewsreelSettings
from promu.newsreel.noisy_detector import held
from promu.report.demo_report import (
    Curves,
    DemoReport,
    LabelledPair,
    LabelledRegion,
    Scores,
    SystemResult,
    TeacherQuality,
    to_json,
    write_report,
)
from promu.report.post_view import ExtractedPost
from promu.runs import RunFolder
from promu.schema import Post, Region
from promu.service.examples import write_examples
from promu.study.job import Job, with_inputs
from promu.study.job_factory import DRAWN_FILES, JobFactory
from promu.study.paper_exhibits import PROMU, SCRATCH, TEXT_ONLY, finetuned, pretrained
from promu.study.runner import JobResult, run_jobs
from promu.study.study_recipe import GridPoint, StudyRecipe
from promu.tasks.familiarity import Familiarity

ENTITIES, RELATIONS = "entities", "relations"
TASKS = {ENTITIES: "ner", RELATIONS: "re"}
SYSTEMS = {TEXT_ONLY: "text-only", SCRATCH: "from-scratch", PROMU: "promu"}
"""The systems as the study and as the report call them."""

STUDY = StudyRecipe(
    pretrain="newsreel-pretrain",
    pretrain_set=("data.corpus.dev=200",),
    finetune={task: f"newsreel-{kind}" for task, kind in TASKS.items()},
    grid=(GridPoint(lr=2.5e-4, epochs=8), GridPoint(lr=5e-4, epochs=12)),
    world=NewsreelSettings(),
)

PAIRS_SHOWN = 6
POSTS_SHOWN = 8
LOSSES = ("itm", "cit", "coe", "cir", "mlm")


def run_demo(out: Path = Path("runs/demo"), seed: int = 0, study: StudyRecipe = STUDY) -> DemoReport:
    """Draw a corpus, pre-train, fine-tune three systems, extract from unseen posts, and write the report.

    `out` then holds `report.html`, `report.json`, `model/` (entities, relations, and examples for its page), `corpus/`,
    and `jobs/`. A second call goes on where the first stopped.

    Args:
        out: Folder of the run.
        seed: Seed of the world, the teacher and the models.
        study: The recipes, and the settings of the drawn corpus.

    Raises:
        InputError: The folder holds something else, or a job failed.
    """
    RunFolder(out).claim({"seed": seed, "study": study.model_dump(mode="json")})
    started = time.perf_counter()
    factory = replace(JobFactory.of(study), seed=seed)
    run = _Run(out / "jobs", factory, {})
    # Pre-training starts when the systems without it are done or nearly so; then it has every core.
    cores = usable_cores()
    threads = {kind: max(1, cores // 2) for kind in ("teacher", "labels", "finetune")} | {"pretrain": cores}
    run.results = run_jobs(run.models.values(), run.jobs, min(2, cores), threads)
    if failures := [result.failure for result in run.results.values() if result.failure is not None]:
        raise InputError(failures[0])
    (out / "corpus").unlink(missing_ok=True)  # a relative link, so that the folder can be moved
    (out / "corpus").symlink_to(os.path.relpath(run.folder(factory.drawn), out), target_is_directory=True)
    for task, kind in TASKS.items():
        shutil.rmtree(out / "model" / kind, ignore_errors=True)
        shutil.copytree(run.folder(run.models[PROMU, task]) / "model", out / "model" / kind)
    drawn = read_json_document(out / "corpus" / "newsreel.json")
    data = DemoReport(
        seed=seed,
        seconds=round(time.perf_counter() - started, 1),
        systems=[run.system(name) for name in SYSTEMS],
        upper_bound={task: bounds["text"] for task, bounds in drawn["upper_bounds"].items()},
        curves=run.curves(),
        teacher=run.teacher_quality(),
        pairs=run.pairs(),
        posts=_posts(out),
        command=f"promu demo --out {out} --seed {seed}",
        next_steps=_next_steps(out, run),
    )
    write_examples(out / "model", _examples(out))
    _write_familiarity(out)
    write_report(out / "report.html", data)
    write_json(out / "report.json", to_json(data))
    return data


def _write_familiarity(out: Path) -> None:
    """Say what the two models together know: the posts of both sets are of one world."""
    train, dev = (
        [
            post.tokens
            for kind in TASKS.values()
            for post in read_labelled(kind, out / "corpus" / DRAWN_FILES[kind][split])
        ]
        for split in ("train", "dev")
    )
    if (familiarity := Familiarity.of(train, dev)) is not None:
        familiarity.save(out / "model")


class _Run:
    """The jobs of the demo, and what the report shows of their results."""

    def __init__(self, jobs: Path, factory: JobFactory, results: Mapping[str, JobResult]) -> None:
        self.jobs = jobs
        self.factory = factory
        self.results = results
        self.models = {(system, task): finetuned(factory, system, task) for system in SYSTEMS for task in TASKS}

    def folder(self, job: Job | None) -> Path:
        assert job is not None
        return job.run_folder(self.jobs)

    def system(self, name: str) -> SystemResult:
        jobs = {task: self.models[name, task] for task in TASKS}
        scores = {}
        for task, job in jobs.items():
            result = self.results[job.key].result
            assert result is not None
            figures = result["test"]
            groups = {group: float(part["f1"]) for group, part in figures["per_group"].items()}
            chosen = result.get("chosen", {})
            scores[task] = Scores(figures["precision"], figures["recall"], figures["f1"], groups, chosen)
        training = [job for job in with_inputs(jobs.values()).values() if job.kind not in ("draw", "corpus")]
        seconds = sum(self.results[job.key].seconds for job in training)
        return SystemResult(SYSTEMS[name], scores[ENTITIES], scores[RELATIONS], round(seconds, 1))

    def curves(self) -> Curves:
        return Curves(
            teacher=[(line["step"], line["loss"]) for line in _log(self.folder(self.factory.teacher) / "teacher")],
            pretraining=[
                {key: line[key] for key in ("step", *LOSSES) if key in line}
                for line in _log(self.folder(pretrained(self.factory, PROMU)))
            ],
            finetuning={
                f"{SYSTEMS[system]} · {task}": [
                    (line["epoch"], line["eval_f1"]) for line in _log(self.folder(job)) if "eval_f1" in line
                ]
                for (system, task), job in self.models.items()
            },
        )

    @property
    def labels(self) -> LabelStore:
        return LabelStore(self.folder(self.factory.labels()) / "labels")

    def teacher_quality(self) -> TeacherQuality:
        """How often the teacher's best noun names the drawn thing, and how much probability such nouns have.

        Boxes of the detector that hold no thing are left out.
        """
        store, drawn = self.labels, self._drawn_in_regions()
        nouns = store.header.nouns
        right = {kind.name: [nouns.index(noun) for noun in kind.nouns if noun in nouns] for kind in WORLD.kinds}
        named, mass, count = 0, 0.0, 0
        for image in store.images():
            labels = store[image].entities.dense(len(nouns))
            for (_, kind), row in zip(drawn.get(image, ()), labels, strict=True):
                if kind is not None:
                    named += int(row.argmax()) in right[kind]
                    mass += float(row[right[kind]].sum())
                    count += 1
        chance = sum(len(places) for places in right.values()) / len(right) / len(nouns)
        return TeacherQuality(named / max(count, 1), mass / max(count, 1), count, chance)

    def _drawn_in_regions(self) -> dict[str, list[tuple[Region, str | None]]]:
        """By image its regions, best first, and the kind of the thing that each holds; None where it holds none."""
        folder = self.folder(self.factory.drawn) / "pairs"
        truth = read_json_document(folder / "scenes.json")
        found = {}
        for image, regions in read_coco(folder / "regions.json").items():
            things = [(kind, (x, y, x + width, y + height)) for kind, (x, y, width, height) in truth[image]["things"]]
            found[image] = [(region, held(region.box, things)) for region in _best_first(regions)]
        return found

    def pairs(self) -> list[LabelledPair]:
        """The first pairs of the corpus. Nothing is picked by hand."""
        store, folder = self.labels, self.folder(self.factory.drawn) / "pairs"
        drawn = self._drawn_in_regions()
        names = {kind.name: frozenset(kind.nouns) for kind in WORLD.kinds}
        pairs = []
        for pair in [one for one in read_captions(folder / "captions.csv") if one.image in store][:PAIRS_SHOWN]:
            labels = store[pair.image]
            rows = labels.entities.dense(len(store.header.nouns))
            regions = [
                LabelledRegion(
                    tuple(box), kind or "nothing", _top(row, store.header.nouns, 3), names.get(kind or "", frozenset())
                )
                for (_, kind), box, row in zip(drawn.get(pair.image, ()), labels.boxes.tolist(), rows, strict=True)
            ]
            relation = _top(labels.relation.dense(len(store.header.relations))[0], store.header.relations, 4)
            pairs.append(LabelledPair(folder / "images" / pair.image, pair.caption, pair.matched, regions, relation))
        return pairs


def _log(folder: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in (folder / "log.jsonl").read_text(encoding="utf-8").splitlines()]


def _best_first(regions: Sequence[Region]) -> list[Region]:
    """The order in which the regions were labelled, that of `promu.alignment.detectors`."""
    return sorted(regions, key=lambda region: -region.score)


def _top(row: torch.Tensor, names: Sequence[str], count: int) -> list[tuple[str, float]]:
    best = row.topk(min(count, len(names)))
    return [(names[index], float(value)) for index, value in zip(best.indices.tolist(), best.values, strict=True)]


def _posts(out: Path) -> list[ExtractedPost]:
    """The first test posts of relation extraction; in three of four the image decides."""
    folder = out / "corpus" / "re"
    groups = read_groups(folder / "groups.json")
    regions = read_coco(folder / "regions.json")
    extractor = Extractor.from_pretrained(out / "model")
    left = {"image": POSTS_SHOWN * 3 // 4, "text": POSTS_SHOWN - POSTS_SHOWN * 3 // 4}
    posts = []
    for post in read_mnre(folder / "mnre_test.txt"):
        decides = groups[post.id]
        if left.get(decides):
            left[decides] -= 1
            posts.append(_extracted(folder / "images", post, decides, regions, extractor))
    return posts


def _next_steps(out: Path, run: _Run) -> list[tuple[str, str]]:
    pretraining = run.folder(pretrained(run.factory, PROMU))
    return [
        (
            "Try the model on a page, with posts like these and with your own",
            f"{install_command('serve')}\npromu serve --model {out}/model",
        ),
        (
            "Extract from a file of posts, one JSON object a line, and join what was found in a graph",
            f"promu extract --model {out}/model --input posts.jsonl --out found.jsonl\n"
            "promu graph found.jsonl --to sqlite --out graph.sqlite",
        ),
        (
            "Look into the pre-training: its curves, figures on dev, and labels before and after",
            f"open {pretraining}/report.html",
        ),
        ("See whether it holds for other seeds: every table and figure, three seeds", "promu reproduce all"),
        (
            "Train on posts of your own: list the recipes, and copy one to change",
            "promu recipes\npromu recipes copy own-ner my-ner.yaml\npromu finetune my-ner.yaml",
        ),
    ]


def _examples(out: Path) -> list[tuple[str, str, Path | None]]:
    """Examples for the model's page: a text with three images of unlike relations, and two texts that decide alone."""
    folder = out / "corpus" / "re"
    groups = read_groups(folder / "groups.json")
    by_group: defaultdict[str, dict[str, Post]] = defaultdict(dict)
    for post in read_mnre(folder / "mnre_test.txt"):
        by_group[groups[post.id]].setdefault(post.relations[0].type, post)
    open_posts, told = list(by_group["image"].values()), list(by_group["text"].values())
    titles = ("A post and its image", "The same words, another image", "The same words, a third image")
    examples: list[tuple[str, str, Path | None]] = [
        (title, " ".join(open_posts[0].tokens), folder / "images" / str(post.image))
        for title, post in zip(titles, open_posts, strict=False)
    ]
    for title, post, seen in zip(("The text decides", "Text alone"), told, (True, False), strict=False):
        examples.append((title, " ".join(post.tokens), folder / "images" / str(post.image) if seen else None))
    return examples


def _extracted(
    images: Path, post: Post, decides: Any, regions: Mapping[str, Sequence[Region]], extractor: Extractor
) -> ExtractedPost:
    assert post.image is not None
    image = images / post.image
    header = probe_image(image)
    relation = post.relations[0]
    head, tail = ((one.start, one.end) for one in (post.entities[relation.head], post.entities[relation.tail]))
    return ExtractedPost(
        image=image,
        decides=decides,
        result=extractor(" ".join(post.tokens), image=image, id=post.id).to_dict(),
        gold_entities=[{"start": entity.start, "end": entity.end, "type": entity.type} for entity in post.entities],
        gold_relations=[{"head_span": head, "tail_span": tail, "type": relation.type}],
        regions=[
            ((x0 / header.width, y0 / header.height, x1 / header.width, y1 / header.height), region.label)
            for region in _best_first(regions.get(post.image, ()))
            for x0, y0, x1, y1 in [region.box]
        ],
    )
