"""A whole post, entities and all pairs, by each head of relations, against one forward pass of the tagger alone.

One backbone of BERT-base and ViT-B/16's sizes serves all heads, with random weights. Where entities are is said as in
`benchmarks.extract`. All pairs of entities may be related.
"""

from __future__ import annotations

import statistics
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import torch
from benchmarks.extract import BATCH, LABELS, PADDED, WORDS, find_entities_at, timed
from benchmarks.measure import Row
from benchmarks.sizes import size
from PIL import Image

from promu.extraction.extractor import Extractor
from promu.extraction.onnx_export import export_models
from promu.hub import best_precision
from promu.modeling.classification import PromuForRelationClassification
from promu.modeling.configuration import RELATION_HEADS, PromuConfig
from promu.modeling.inputs import WordEncoder, add_entity_markers
from promu.modeling.loading import save_folder
from promu.modeling.multi_task import PromuForMultiTask
from promu.schema import Entity, Post
from promu.tasks.model_folder import open_predictors
from promu.tasks.predictor import TorchPredictor
from promu.tasks.task import TASKS
from promu.training.tokenizers import train_wordpiece

FEW, COUNTS = 4, (2, 4, 8, 16)
"""Entities of the post whose parts are compared, and those of the posts that are compared by their number."""
TEXT = (*WORDS, *WORDS)


def entities(count: int) -> list[Entity]:
    """So many persons, one every second word."""
    return [Entity(2 * number, 2 * number + 1, "PER") for number in range(count)]


class Models:
    """One backbone, its tagger, and a model of relations for each head; the span head also as int8 graphs."""

    def __init__(self, folder: Path, quick: bool) -> None:
        self.tokenizer = train_wordpiece([" ".join(TEXT)] * 2, 300, min_frequency=1)
        add_entity_markers(self.tokenizer)
        torch.manual_seed(0)
        config = self._config(quick, "spans")
        self.model = PromuForMultiTask(config).eval()
        self.folder = None
        if not quick:  # exporting takes its time, and has tests of its own
            save_folder(folder / "model", self.model, self.tokenizer)
            export_models(folder / "model", int8=True, output=folder / "int8")
            self.folder = folder / "int8"
        self.relaters: dict[str, Any] = {"spans": self.model.for_task("re")}
        for head in set(RELATION_HEADS) - {"spans"}:
            own = self._config(quick, head).of_task("re")
            parts = {"promu": self.model.promu, **PromuForRelationClassification.head_modules(own)}
            self.relaters[head] = PromuForRelationClassification(own, parts).eval()

    def _config(self, quick: bool, head: str) -> PromuConfig:
        config = size(quick).config(tasks={task: {"labels": names} for task, names in LABELS.items()})
        config.max_length, config.relation_head = PADDED, head
        config.nouns, config.relations = [], []
        return config

    def extractors(self, precision: Any, count: int) -> dict[str, Extractor]:
        """By the way in which a post is read: each head, the tagger alone, and both in int8 where there are graphs."""
        encoder = WordEncoder(self.tokenizer, PADDED)
        finder = TorchPredictor(TASKS["ner"], self.model.for_task("ner"), encoder, precision)
        found = {f"tagger, {precision}": Extractor(find_entities_at(finder, entities(count)))}
        for head, model in self.relaters.items():
            reader = WordEncoder(self.tokenizer, PADDED, relation_head=head)
            relater = TorchPredictor(TASKS["re"], model, reader, precision)
            found[f"{head}, {precision}"] = Extractor(finder, relater)
        if self.folder is not None:
            finder, relater = open_predictors(self.folder, "cpu", None, "onnx")  # type: ignore[assignment]
            find_entities_at(finder, entities(count))
            found |= {"tagger, int8": Extractor(finder), "spans, int8": Extractor(finder, relater)}
        return found


def medians(calls: dict[str, Callable[[], object]], turns: int) -> dict[str, float]:
    """Seconds of each call; they take turns."""
    times: dict[str, list[float]] = {name: [] for name in calls}
    for call in calls.values():
        call()
    for _ in range(turns):
        for name, call in calls.items():
            times[name].append(timed(call))
    return {name: statistics.median(of_call) for name, of_call in times.items()}


def run(quick: bool) -> tuple[dict[str, Any], list[Row]]:
    """A post at batch 1 and 32 by each head, and at batch 1 by the number of its entities."""
    best = best_precision("cpu")
    precisions = list(dict.fromkeys(["fp32", best]))  # bf16 comes last: it converts the weights for good
    side = int(size(quick).vision.image_size)  # type: ignore[arg-type]
    image = Image.fromarray(np.random.default_rng(0).integers(0, 256, (side, side, 3), dtype=np.uint8))
    turns = 2 if quick else 9
    result: dict[str, Any] = {"batch 1": {}, f"batch {BATCH}": {}, "entities": {}}
    with tempfile.TemporaryDirectory() as place, torch.inference_mode():
        models = Models(Path(place), quick)
        for precision in precisions:
            ways = models.extractors(precision, FEW)
            result["batch 1"] |= medians({name: _call(one, 1, image) for name, one in ways.items()}, turns)
            many = {name: _call(one, BATCH, image) for name, one in ways.items()}
            result[f"batch {BATCH}"] |= medians(many, 1 if quick else 3)
            counts: dict[str, Callable[[], object]] = {}
            for count in COUNTS:
                ways = models.extractors(precision, count)
                counts |= {f"{name}, {count} entities": _call(one, 1, image) for name, one in ways.items()}
            result["entities"] |= medians(counts, turns)
    return result, _rows(result)


def _call(extractor: Extractor, count: int, image: Image.Image) -> Callable[[], object]:
    posts = [Post(str(number), TEXT) for number in range(count)]
    options: dict[str, Any] = {"batch_size": BATCH, "max_pairs": None}
    return lambda: extractor(posts, [image] * count, **options)


def _rows(result: dict[str, Any]) -> list[Row]:
    rows = []
    for batch in ("batch 1", f"batch {BATCH}"):
        seconds, posts = result[batch], 1 if batch == "batch 1" else BATCH
        for name, mine in seconds.items():
            head, precision = name.split(", ")
            if head == "tagger":
                continue
            forward = seconds[f"tagger, {precision}"]
            goal = ("1.25 or less" if precision == "int8" else "1.3 or less") if head == "spans" and posts == 1 else ""
            measure = f"{FEW} entities, {name}, {batch}: against one tagger forward"
            times = [f"{1e3 * value / posts:.0f} ms a post" for value in (mine, forward)]
            rows.append(Row("pairs", measure, times[0], times[1], mine / forward, None, goal))
            if head == "spans" and precision != "int8" and posts > 1:
                today = seconds[f"markers, {precision}"]
                measure = f"{FEW} entities, {name}, {batch}: against markers"
                times = [f"{posts / value:.2f} posts/s" for value in (mine, today)]
                rows.append(Row("pairs", measure, times[0], times[1], today / mine, None, "2.2"))
    few, most = COUNTS[0], COUNTS[-1]
    for name, mine in result["entities"].items():
        if not name.endswith(f"{most} entities") or name.startswith("tagger"):
            continue
        way = name.rsplit(", ", 1)[0]
        other = result["entities"][f"{way}, {few} entities"]
        goal = "1.6 or less" if way.startswith("spans") else ""
        times = [f"{1e3 * value:.0f} ms" for value in (mine, other)]
        rows.append(Row("pairs", f"{way}: {most} entities against {few}", times[0], times[1], mine / other, None, goal))
    return rows
