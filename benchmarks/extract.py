"""A whole post, entities and all relations between them, by promu's ways of reading it and by the field's.

One backbone of BERT-base and ViT-B/16's sizes serves both tasks, with random weights. Every post has an image, and
four entities where nothing else is said; random weights would not find them: the emissions are computed, and then
replaced by such as say where they are. All pairs of entities may be related.

There are two yardsticks in fp32. *HVPNeT* is a published system's inference (`benchmarks.hvpnet`). *Straightforward*
is promu's own network, used as the field's code uses its own: a forward pass for the entities and one for each pair,
the image encoded again in each, and texts padded to 128 tokens.
"""

from __future__ import annotations

import copy
import statistics
import tempfile
import time
from collections.abc import Callable, Sequence
from itertools import permutations
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import torch
from benchmarks import machine
from benchmarks.hvpnet import LENGTH, Yardstick
from benchmarks.measure import Row
from benchmarks.sizes import photograph, size
from torch.nn.attention import SDPBackend, sdpa_kernel
from torch.utils.flop_counter import FlopCounterMode

from promu.corpora.images import load_image
from promu.extraction.extractor import Extractor
from promu.extraction.onnx_export import export_models
from promu.modeling.chain import bio_labels
from promu.modeling.classification import PromuForRelationClassification
from promu.modeling.configuration import PromuConfig
from promu.modeling.head_settings import RELATION_HEADS
from promu.modeling.inputs import WordEncoder, add_entity_markers, to_pixels
from promu.modeling.loading import save_folder
from promu.modeling.multi_task import PromuForMultiTask
from promu.pytorch import best_precision
from promu.schema import NO_RELATION, Entity, Post
from promu.tasks.model_folder import open_predictors
from promu.tasks.predictor import Predictions, Predictor
from promu.tasks.task import TASKS, pair_posts
from promu.tasks.torch_predictor import TorchPredictor
from promu.training.tokenizers import train_wordpiece

PADDED = 128
BATCH = 32
FEW, COUNTS = 4, (2, 4, 8, 16)
"""Entities of the posts of most rows, and those of the posts that are compared by their number."""
SENTENCE = "zorva kelmo tonight with the crew of orla at old bridge in rome so happy and the dog won a medal"
TEXT = (*SENTENCE.split(), *SENTENCE.split())
LABELS = {
    "ner": bio_labels(["LOC", "MISC", "ORG", "PER"]),
    "re": [
        NO_RELATION,
        *("/per/per/peer", "/per/org/member_of", "/per/loc/place_of_residence", "/org/loc/locate_at"),
        *("/loc/loc/contain", "/per/misc/present_in", "/misc/loc/held_on", "/org/org/subsidiary"),
    ],
}
Calls = dict[str, Callable[[], object]]


def entities(count: int) -> list[Entity]:
    """So many persons, one every second word."""
    return [Entity(2 * number, 2 * number + 1, "PER") for number in range(count)]


def find_entities_at(predictor: Predictor, found: Sequence[Entity]) -> Predictor:
    """A tagger that computes its emissions and then replaces them by those of the entities, of one word each."""
    names = LABELS["ner"]
    rows = np.zeros((PADDED, len(names)), np.float32)
    rows[:, 0] = 20
    for entity in found:
        rows[entity.start] = 20 * (np.arange(len(names)) == names.index(f"B-{entity.type}"))

    class Found(type(predictor)):  # type: ignore[misc]
        def __call__(self, batch: Any, output_attentions: bool = False) -> Any:
            output = super().__call__(batch, output_attentions)
            emissions = np.repeat(rows[None, : output.emissions.shape[1]], len(output.emissions), axis=0)
            return SimpleNamespace(emissions=emissions, fused_text=getattr(output, "fused_text", None))

    predictor.__class__ = Found
    return predictor


class Models:
    """One backbone, its tagger, and a model of relations for each head; the span head also as int8 graphs."""

    def __init__(self, folder: Path, quick: bool) -> None:
        self.tokenizer = train_wordpiece([" ".join(TEXT)] * 2, 300, min_frequency=1)
        add_entity_markers(self.tokenizer)
        torch.manual_seed(0)
        shared = PromuForMultiTask(self._config(quick, "spans")).eval()
        self.int8 = None
        if not quick:  # exporting takes its time, and has tests of its own
            save_folder(folder / "model", shared, self.tokenizer)
            export_models(folder / "model", int8=True, output=folder / "int8")
            self.int8 = folder / "int8"
        heads: dict[str, Any] = {"spans": shared.for_task("re")}
        for head in sorted(set(RELATION_HEADS) - {"spans"}):
            own = self._config(quick, head).of_task("re")
            parts = {"promu": shared.promu, **PromuForRelationClassification.head_modules(own)}
            heads[head] = PromuForRelationClassification(own, parts).eval()
        # opening a predictor may change its model for good, so that each precision has its own, and one is left as is
        whole = {"tagger": shared.for_task("ner"), **heads}
        self.plain = copy.deepcopy(whole)
        self.by_precision = {name: copy.deepcopy(whole) for name in dict.fromkeys(["fp32", best_precision("cpu")])}

    def _config(self, quick: bool, head: str) -> PromuConfig:
        config = size(quick).config(tasks={task: {"labels": names} for task, names in LABELS.items()})
        config.max_length, config.relation_head = PADDED, head
        config.nouns, config.relations = [], []
        return config

    def predictor(self, model: Any, task: str, precision: Any = None, head: str = "spans") -> TorchPredictor:
        """A model opened in a precision; None leaves it as it is."""
        return TorchPredictor(TASKS[task], model, WordEncoder(self.tokenizer, PADDED, relation_head=head), precision)

    def extractors(self, count: int) -> dict[str, Extractor]:
        """By the way in which a post is read: the tagger alone, and each head, in each precision."""
        found = {}
        for precision, models in self.by_precision.items():
            finder = find_entities_at(self.predictor(models["tagger"], "ner", precision), entities(count))
            found[f"tagger, {precision}"] = Extractor(finder)
            for head in RELATION_HEADS:
                found[f"{head}, {precision}"] = Extractor(finder, self.predictor(models[head], "re", precision, head))
        if self.int8 is not None:
            finder, relater = open_predictors(self.int8, "cpu", None, "onnx")  # type: ignore[assignment]
            find_entities_at(finder, entities(count))
            found |= {"tagger, int8": Extractor(finder), "spans, int8": Extractor(finder, relater)}
        return found


class Straightforward:
    """promu's network, the way the field's code uses its own."""

    def __init__(self, models: Models, image: bytes) -> None:
        self.predictors = {
            "ner": models.predictor(models.plain["tagger"], "ner"),
            "re": models.predictor(models.plain["markers"], "re", head="markers"),
        }
        self.image = image
        self.post = Post("1", TEXT, None, tuple(entities(FEW)))
        self.pairs = pair_posts(self.post, list(permutations(range(FEW), 2)))

    @torch.inference_mode()
    def forward(self, task: str, rows: Sequence[Post]) -> None:
        """One row of one model, or several."""
        predictor = self.predictors[task]
        batch = predictor.encode(rows)
        short = PADDED - batch["input_ids"].shape[1]
        for name in ("input_ids", "attention_mask"):
            batch[name] = np.pad(batch[name], ((0, 0), (0, short)))
        side = predictor.config.image_size or 0
        pixels = np.stack([to_pixels(load_image(self.image, target=(side, side)), side) for _ in rows])
        outputs = TASKS[task].outputs(predictor({**batch, "pixel_values": pixels}))
        predictor.answer(Predictions(list(range(len(rows))), list(rows), batch, outputs))

    def one(self) -> None:
        """All passes of one post."""
        self.forward("ner", [self.post])
        for pair in self.pairs:
            self.forward("re", [pair])

    def many(self) -> None:
        """One batch of pairs."""
        self.forward("re", (self.pairs * BATCH)[:BATCH])


def seconds(calls: Calls, turns: int, warm: bool = True) -> dict[str, list[float]]:
    """Seconds of each call, turn by turn; the first turn counts where `warm` is not set."""
    times: dict[str, list[float]] = {name: [] for name in calls}
    for turn in range(turns + warm):
        for name, call in calls.items():
            started = time.perf_counter()
            call()
            if turn >= warm:
                times[name].append(time.perf_counter() - started)
    return times


def operations(call: Callable[[], object]) -> float:
    """Floating-point operations of the products and convolutions in one call."""
    counter = FlopCounterMode(display=False)
    with counter, sdpa_kernel(SDPBackend.MATH):  # PyTorch does not count its fused attention
        call()
    return float(counter.get_total_flops())


def run(quick: bool) -> tuple[dict[str, Any], list[Row]]:
    """Posts a second at batch 1 and 32, and how a post's time grows with its entities."""
    photos = [photograph(number, 256) for number in range(BATCH)]
    pairs = FEW * (FEW - 1)
    with tempfile.TemporaryDirectory() as place, torch.inference_mode():
        models = Models(Path(place), quick)
        ways, plain = models.extractors(FEW), Straightforward(models, photos[0])
        field = Yardstick(LABELS["ner"], len(LABELS["re"]), quick)
        one: Calls = {"HVPNeT": field.post(len(TEXT) + 2, pairs), "straightforward": plain.one}
        one |= {name: _call(way, photos[:1]) for name, way in ways.items()}
        seen = {name: f"{name}, image seen before" for name in ways if name.startswith("spans")}
        others = models.extractors(FEW)  # with a cache of their own, which no call without one empties
        one |= {again: _call(others[name], photos[:1], 256) for name, again in seen.items()}
        many: Calls = {"HVPNeT": field.rows(BATCH, len(TEXT) + 2), "straightforward": plain.many}
        many |= {name: _call(way, photos) for name, way in ways.items()}
        by_count: Calls = {}
        for count in COUNTS:
            for name, way in models.extractors(count).items():
                if not name.startswith(("tagger", "markers")):
                    by_count[f"{name}, {count} entities"] = _call(way, photos[:1])
        work = {name: operations(one[name]) for name in one if "int8" not in name}
        work |= {name: work["spans, fp32"] for name in one if name == "spans, int8"}
        rates = {name: found["gflops"] for name, found in machine.run(quick)[0].items()}
        turns = 2 if quick else 5
        alone, by_count_times = seconds(one, turns), seconds(by_count, turns)
        batched = seconds(many, turns - 1 if quick else 2, warm=False)
    # of a batch of rows a post takes one for its entities and one for each pair
    posts = {name: BATCH / (1 + pairs) if name in ("HVPNeT", "straightforward") else BATCH for name in many}
    result = {
        "posts": {"entities": FEW, "pairs": pairs, "words": len(TEXT), "padded": {"HVPNeT": LENGTH, "plain": PADDED}},
        "bf16_native": best_precision("cpu") == "bf16",
        # once where images are kept, whatever the number of turns
        "encoded_where_seen": {name: others[name].images.counts()["encode"].misses for name in seen},
        "gigaoperations_a_post": {name: count / 1e9 for name, count in work.items()},
        "matmul_gflops": rates,
        "latency_ms": {name: _spread(values) for name, values in alone.items()},
        "posts_per_second": {
            "batch 1": {name: 1 / statistics.median(values) for name, values in alone.items()},
            f"batch {BATCH}": {name: posts[name] / statistics.median(values) for name, values in batched.items()},
        },
        "by_entities_ms": {name: 1e3 * statistics.median(values) for name, values in by_count_times.items()},
    }
    return result, _rows(result)


def _call(extractor: Extractor, photos: Sequence[bytes], cache: int = 0) -> Callable[[], object]:
    posts = [Post(str(number), TEXT) for number in range(len(photos))]
    options: dict[str, Any] = {"batch_size": BATCH, "max_pairs": None, "image_cache_mib": cache}
    return lambda: extractor(posts, list(photos), **options)


def _spread(values: list[float]) -> dict[str, float]:
    ordered = sorted(1e3 * value for value in values)
    return {"p50": statistics.median(ordered), "p95": ordered[min(len(ordered) - 1, round(0.95 * len(ordered)))]}


def _rows(result: dict[str, Any]) -> list[Row]:
    native, fastest = ("bf16 native", "bf16") if result["bf16_native"] else ("bf16 emulated", "int8")
    goals = {"spans, fp32": "10", f"spans, {fastest}": "20"}
    rows = []
    for batch, rates in result["posts_per_second"].items():
        for name, mine in rates.items():
            if name in ("HVPNeT", "straightforward") or name.startswith("tagger"):
                continue
            for yardstick in ("HVPNeT", "straightforward")[: 1 if "seen" in name else 2]:
                other = rates[yardstick]
                measure = f"{name}, {batch}: against {yardstick} in fp32 ({native})"
                shown = (f"{mine:.2f} posts/s", f"{other:.3f} posts/s")
                rows.append(
                    Row(
                        "extract",
                        measure,
                        *shown,
                        mine / other,
                        None,
                        goals.get(name, "") if yardstick == "HVPNeT" else "",
                    )
                )
    many = result["posts_per_second"][f"batch {BATCH}"]
    latency = result["latency_ms"]
    for name, mine in latency.items():
        head, _, precision = name.partition(", ")
        if f"tagger, {precision}" not in latency or head == "tagger":
            continue
        forward = latency[f"tagger, {precision}"]["p50"]
        goal = ("1.25 or less" if precision == "int8" else "1.3 or less") if head == "spans" else ""
        measure = f"{name}: p50 of a post against one tagger forward (p95 {mine['p95']:.0f} ms)"
        rows.append(
            Row("extract", measure, f"{mine['p50']:.0f} ms", f"{forward:.0f} ms", mine["p50"] / forward, None, goal)
        )
        if head == "spans" and f"markers, {precision}" in many:
            shown = (f"{many[name]:.2f} posts/s", f"{many[f'markers, {precision}']:.2f} posts/s")
            ratio = many[name] / many[f"markers, {precision}"]
            rows.append(Row("extract", f"{name}, batch {BATCH}: against markers", *shown, ratio, None, "2.2"))
    rows += _shares(result)
    times = result["by_entities_ms"]
    for name in dict.fromkeys(name.rpartition(", ")[0] for name in times):
        of_counts = [times[f"{name}, {count} entities"] for count in COUNTS]
        listed = " / ".join(f"{value:.0f}" for value in of_counts)
        goal = "1.6 or less" if name.startswith("spans") else ""
        measure = f"{name}: {' / '.join(map(str, COUNTS))} entities, the last against the first"
        rows.append(Row("extract", measure, f"{listed} ms", "", of_counts[-1] / of_counts[0], None, goal))
    return rows


def _shares(result: dict[str, Any]) -> list[Row]:
    """The share of the matmul rate that a post reaches at batch 1."""
    rows = []
    for name, work in result["gigaoperations_a_post"].items():
        if not name.startswith(("HVPNeT", "spans")) or "seen" in name:
            continue
        precision = "bf16" if name.endswith("bf16") else "fp32"  # that of int8 has no matmul to be held against
        reached, most = work * result["posts_per_second"]["batch 1"][name], result["matmul_gflops"][precision]
        shown = (f"{reached:.0f} GFLOP/s", f"{most:.0f} GFLOP/s")
        rows.append(
            Row(
                "extract",
                f"{name}: {work:.1f} GFLOP a post, share of the {precision} matmul rate",
                *shown,
                reached / most,
            )
        )
    return rows
