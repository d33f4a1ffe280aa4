"""What the demo's report tells: figures, curves, labelled pictures, and posts that were never seen."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from promu.alignment.label_store import LabelStore
from promu.analysis.report_data import (
    Curves,
    DemoReport,
    ExtractedPost,
    LabelledPair,
    LabelledRegion,
    NamedBox,
    Scores,
    SystemResult,
    TeacherQuality,
)
from promu.cli.demo import SYSTEMS, TASK_NAMES
from promu.corpora.captions import read_captions
from promu.corpora.coco import read_coco
from promu.corpora.mnre import read_mnre
from promu.corpora.newsreel import WORLD
from promu.corpora.pictures import probe_picture
from promu.extraction.extractor import Extractor
from promu.schema import Post, Region

PAIRS_SHOWN = 6
POSTS_SHOWN = 8


def tell(out: Path, seed: int, results: Mapping[str, Mapping[str, Any]], seconds: float) -> DemoReport:
    """Collect the report of the run in `out`."""
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
    runs = {task: results[f"{name} · {words}"] for task, words in TASK_NAMES.items()}
    scores = {task: _scores(run["test"]) for task, run in runs.items()}
    seconds = sum(run["seconds"] for run in runs.values())
    if name == "promu":
        seconds += results["pre-training"]["seconds"]
    return SystemResult(name, scores["ner"], scores["re"], round(seconds, 1))


def _scores(figures: Mapping[str, Any]) -> Scores:
    groups = {group: float(part["f1"]) for group, part in figures["per_group"].items()}
    return Scores(figures["precision"], figures["recall"], figures["f1"], groups)


def _log(folder: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in (folder / "log.jsonl").read_text(encoding="utf-8").splitlines()]


def _curves(out: Path) -> Curves:
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
    """The order in which labels were made: that of `promu.alignment.regions`."""
    return sorted(regions, key=lambda region: -region.score)


def _teacher(store: LabelStore, drawn: Mapping[str, Sequence[Region]]) -> TeacherQuality:
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
    """The first test posts with two names, half of them such that only the picture decides."""
    folder = out / "corpus" / "re"
    groups = json.loads((folder / "groups.json").read_text(encoding="utf-8"))
    regions = read_coco(folder / "regions.json")
    extractor = Extractor.from_pretrained(out / "model")
    chosen: list[Post] = []
    wanted = {"picture": POSTS_SHOWN * 3 // 4, "text": POSTS_SHOWN - POSTS_SHOWN * 3 // 4}
    for post in read_mnre(folder / "mnre_test.txt"):
        if wanted[groups[post.id]]:
            wanted[groups[post.id]] -= 1
            chosen.append(post)
    return [_extracted(folder / "images", post, groups[post.id], regions, extractor) for post in chosen]


def _extracted(
    images: Path, post: Post, decides: Any, regions: Mapping[str, Sequence[Region]], extractor: Extractor
) -> ExtractedPost:
    assert post.image is not None
    picture = images / post.image
    header = probe_picture(picture)
    relation = post.relations[0]
    head, tail = post.entities[relation.head], post.entities[relation.tail]
    return ExtractedPost(
        image=picture,
        decides=decides,
        result=extractor(" ".join(post.tokens), image=picture, id=post.id).to_dict(),
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
