"""A report's worth of sample data: real drawn images, made-up figures and extractions.

Run as a program it writes the page, to be looked at: `python tests/report/conftest.py OUT.html [SEED]`.
"""

from __future__ import annotations

import math
import random
import sys
import tempfile
from pathlib import Path
from typing import Any

import pytest

from promu.corpora.captions import read_captions
from promu.corpora.coco import read_coco
from promu.corpora.conll import read_conll
from promu.corpora.mnre import read_mnre
from promu.newsreel.settings import NewsreelSettings
from promu.newsreel.write import write_newsreel
from promu.report.demo_report import (
    Curves,
    DemoReport,
    LabelledPair,
    LabelledRegion,
    Scores,
    SystemResult,
    TeacherQuality,
)
from promu.report.post_view import ExtractedPost
from promu.schema import Post, Region

SIZE = 48
TYPES = ["PER", "LOC", "ORG", "MISC"]


@pytest.fixture(scope="session")
def sample(tmp_path_factory: pytest.TempPathFactory) -> DemoReport:
    """A full report: three systems, curves, six labelled pairs, six extracted posts."""
    return sample_report(tmp_path_factory.mktemp("world") / "newsreel")


def sample_report(corpus: Path, seed: int = 0) -> DemoReport:
    """Draw a small corpus into `corpus` and make up what a run could have found in it."""
    write_newsreel(corpus, NewsreelSettings(seed=seed, pairs=60, ner_posts=(0, 0, 40), re_posts=(0, 0, 40)))
    rng = random.Random(seed)
    return DemoReport(
        seed=seed,
        seconds=433.2,
        systems=[
            SystemResult("text-only", scores(51.4, 76.2, 34.0), scores(47.8, 84.9, 9.0), 74),
            SystemResult("from-scratch", scores(59.0, 77.8, 46.1), scores(50.9, 86.0, 15.8), 81),
            SystemResult("promu", scores(70.3, 82.4, 62.9), scores(78.4, 92.7, 66.1), 246),
        ],
        upper_bound={"ner": 58.3, "re": 55.7},
        curves=curves(rng),
        teacher=TeacherQuality(named=0.634, mass=0.412, regions=812, chance=0.043),
        pairs=[pair for pair in pairs(corpus, rng) if pair.regions][:6],
        posts=posts(corpus, rng),
        command=f"promu demo --out runs/demo --seed {seed}",
    )


def scores(f1: float, text: float, image: float) -> Scores:
    return Scores(f1 + 2.1, f1 - 1.9, f1, {"text": text, "image": image})


def curves(rng: random.Random) -> Curves:
    def falling(start: float, end: float, step: int) -> float:
        return end + (start - end) * math.exp(-step / 250) + rng.gauss(0, 0.03)

    steps = range(20, 1001, 20)
    ends = {"itm": (0.69, 0.42), "cit": (4.1, 2.2), "coe": (3.9, 2.7), "cir": (3.7, 3.0)}
    tops = {"text-only": 52, "from-scratch": 60, "promu": 72}
    return Curves(
        teacher=[(step, falling(4.8, 1.6, step)) for step in steps],
        pretraining=[{"step": step, **{name: falling(*both, step) for name, both in ends.items()}} for step in steps],
        finetuning={
            f"{system} · {task}": [
                (epoch, top * (1 - math.exp(-epoch / 3)) + rng.gauss(0, 0.7)) for epoch in range(1, 13)
            ]
            for task in ("entities", "relations")
            for system, top in tops.items()
        },
    )


def pairs(corpus: Path, rng: random.Random) -> list[LabelledPair]:
    regions = read_coco(corpus / "pairs" / "regions.json")
    nouns = (corpus / "nouns.txt").read_text().split("\n")[:-1]
    candidates = (corpus / "relations.txt").read_text().split("\n")[:-1]
    return [
        LabelledPair(
            corpus / "pairs" / "images" / pair.image,
            pair.caption,
            pair.matched,
            [region_of(region, nouns, rng) for region in regions[pair.image]],
            list(zip(rng.sample(candidates, 4), (0.44, 0.21, 0.08, 0.04), strict=True)),
        )
        for pair in read_captions(corpus / "pairs" / "captions.csv")
    ]


def region_of(region: Region, nouns: list[str], rng: random.Random) -> LabelledRegion:
    labels = [region.label, *rng.sample([noun for noun in nouns if noun != region.label], 2)]
    if rng.random() < 0.25:
        labels.reverse()
    odds = zip(labels, (rng.uniform(0.4, 0.8), 0.12, 0.05), strict=True)
    return LabelledRegion(share(region), region.label, list(odds), frozenset({region.label}))


def share(region: Region) -> tuple[float, float, float, float]:
    x0, y0, x1, y1 = (value / SIZE for value in region.box)
    return x0, y0, x1, y1


def posts(corpus: Path, rng: random.Random) -> list[ExtractedPost]:
    extracted = []
    for task, read in (("re", read_mnre), ("ner", read_conll)):
        folder = corpus / task
        regions = read_coco(folder / "regions.json")
        name = "mnre_test.txt" if task == "re" else "test.txt"
        chosen = [post for post in read(folder / name) if len(post.entities) > 1]
        if task == "re":  # three that are related, and one that is not
            related = [post.relations[0].type != "None" for post in chosen]
            first = sorted(range(len(chosen)), key=lambda number: not related[number])[:3]
            chosen = [*(chosen[number] for number in first), chosen[related.index(False)]]
        for index, post in enumerate(chosen if task == "re" else chosen[:3]):
            image = str(post.image).removesuffix(".jpg") + ".jpg"
            extracted.append(
                ExtractedPost(
                    folder / "images" / image,
                    "image" if index % 3 < 2 else "text",
                    result_of(post, rng, spoil=index == 1),
                    [{"start": e.start, "end": e.end, "type": e.type} for e in post.entities],
                    gold_relations(post) if task == "re" else None,
                    [(share(region), region.label) for region in regions[image]],
                )
            )
    return extracted


def gold_relations(post: Post) -> list[dict[str, Any]]:
    spans = [(entity.start, entity.end) for entity in post.entities]
    return [{"head_span": spans[r.head], "tail_span": spans[r.tail], "type": r.type} for r in post.relations]


def result_of(post: Post, rng: random.Random, spoil: bool) -> dict[str, Any]:
    """What an extractor could have made of a post; `spoil` makes it err."""
    kinds = [entity.type or rng.choice(TYPES) for entity in post.entities]
    if spoil:
        kinds[-1] = TYPES[(TYPES.index(kinds[-1]) + 1) % 4] if kinds[-1] in TYPES else "PER"
    relations = [r for r in post.relations if r.type != "None"]
    return {
        "id": post.id,
        "tokens": list(post.tokens),
        "entities": [
            {"start": e.start, "end": e.end, "text": post.words(e), "type": kind, "score": rng.uniform(0.6, 0.99)}
            for e, kind in zip(post.entities, kinds, strict=True)
        ],
        "relations": [
            {
                "head": r.head,
                "tail": r.tail,
                "type": "/per/misc/awarded" if spoil else r.type,
                "score": rng.uniform(0.5, 0.98),
            }
            for r in relations
        ],
    }


if __name__ == "__main__":
    from promu.report.demo_report import write_report

    with tempfile.TemporaryDirectory() as scratch:
        chosen = int(sys.argv[2]) if len(sys.argv) > 2 else 0
        write_report(Path(sys.argv[1]), sample_report(Path(scratch) / "newsreel", chosen))
