"""Extraction from a post with image: the straightforward way of the field's code against promu's two backends.

The models have BERT-base and ViT-B/16's sizes and random weights. Every post has four entities, which random weights
would not find: the emissions are computed, and then replaced by such as say where they are.
"""

from __future__ import annotations

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
from benchmarks.measure import Row
from benchmarks.sizes import size
from PIL import Image

from promu.corpora.posts import from_tokens
from promu.extraction.extractor import Extractor
from promu.extraction.onnx_export import export_models
from promu.hub import best_precision
from promu.modeling.crf import bio_labels
from promu.modeling.inputs import to_pixels
from promu.modeling.loading import save_folder
from promu.schema import NO_RELATION, Entity, Post
from promu.tasks.model_folder import open_model, open_predictor
from promu.tasks.predictor import Predictions, Predictor, TorchPredictor
from promu.tasks.task import TASKS, pair_posts
from promu.training.tokenizers import train_wordpiece

PADDED = 128
BATCH = 32
ENTITIES = (Entity(0, 1, "PER"), Entity(4, 5, "PER"), Entity(8, 9, "ORG"), Entity(12, 13, "LOC"))
LABELS = {
    "ner": bio_labels(["LOC", "MISC", "ORG", "PER"]),
    "re": [
        NO_RELATION,
        *("/per/per/peer", "/per/org/member_of", "/per/loc/place_of_residence", "/org/loc/locate_at"),
        *("/loc/loc/contain", "/per/misc/present_in", "/misc/loc/held_on", "/org/org/subsidiary"),
    ],
}
TEXT = "zorva kelmo tonight with the crew of orla at old bridge in rome so happy and the dog won a medal"
WORDS = TEXT.split()


def make_models(folder: Path, quick: bool) -> None:
    """Save a model for each task, with random weights of its own."""
    sized = size(quick)
    tokenizer = train_wordpiece([TEXT] * 2, 300, min_frequency=1)
    for number, (task, labels) in enumerate(LABELS.items()):
        torch.manual_seed(number)
        config = sized.config(
            id2label=dict(enumerate(labels)), label2id={name: index for index, name in enumerate(labels)}
        )
        config.max_length = PADDED
        config.nouns, config.relations = [], []
        save_folder(folder / task, TASKS[task].model_class(config), tokenizer)


def find_entities_at(predictor: Predictor, entities: Sequence[Entity]) -> Predictor:
    """A tagger that computes its emissions and then replaces them by those of the entities, of one word each."""
    names = LABELS["ner"]
    rows = torch.zeros(PADDED, len(names))
    rows[:, 0] = 20
    for entity in entities:
        rows[entity.start] = 20 * (torch.arange(len(names)) == names.index(f"B-{entity.type}"))

    class Found(type(predictor)):  # type: ignore[misc]
        def __call__(self, batch: Any, output_attentions: bool = False) -> Any:
            output = super().__call__(batch, output_attentions)
            emissions = rows[None, : output.emissions.shape[1]].expand_as(output.emissions).contiguous()
            return SimpleNamespace(emissions=emissions, fused_text=getattr(output, "fused_text", None))

    predictor.__class__ = Found
    return predictor


def posts(count: int) -> list[Post]:
    """Posts of 13 to 20 words."""
    return [Post(str(number), tuple(WORDS[: 13 + number % 8])) for number in range(count)]


def open_extractors(folder: Path, precision: Any, backend: Any) -> tuple[Extractor, Extractor]:
    """Both models on one of promu's backends, and the tagger alone, which needs one forward pass for a post."""
    ner, re = (open_predictor(task, folder / task, "cpu", precision, backend) for task in LABELS)
    return Extractor(find_entities_at(ner, ENTITIES), re), Extractor(ner)


def straightforward(folder: Path, image: Image.Image) -> Callable[[str, Sequence[Post]], None]:
    """One row of one model: the text padded to 128 pieces, the image through its encoder, fp32."""
    predictors = {task: TorchPredictor(TASKS[task], *open_model(task, folder / task, "cpu")) for task in LABELS}

    @torch.inference_mode()
    def forward(task: str, rows: Sequence[Post]) -> None:
        predictor = predictors[task]
        batch = predictor.encode(rows)
        short = PADDED - batch["input_ids"].shape[1]
        for name in ("input_ids", "attention_mask"):
            batch[name] = torch.nn.functional.pad(batch[name], (0, short))
        pixels = torch.stack([to_pixels(image, predictor.config.image_size or 0) for _ in rows])
        outputs = TASKS[task].outputs(predictor({**batch, "pixel_values": pixels}))
        predictor.answer(Predictions(list(range(len(rows))), list(rows), batch, outputs))

    return forward


def timed(call: Callable[[], object]) -> float:
    """Seconds of one call."""
    started = time.perf_counter()
    call()
    return time.perf_counter() - started


def run(quick: bool) -> tuple[dict[str, Any], list[Row]]:
    """Latency at batch 1, posts a second at batch 1 and 32."""
    precision = best_precision("cpu")
    side = int(size(quick).vision.image_size)  # type: ignore[arg-type]
    image = Image.fromarray(np.random.default_rng(0).integers(0, 256, (side, side, 3), dtype=np.uint8))
    with tempfile.TemporaryDirectory() as place:
        folder = Path(place) / "models"
        make_models(folder, quick)
        image.save(folder / "photo.png")
        plain = straightforward(folder, image)
        both = {f"torch {precision}": open_extractors(folder, precision, "torch")}
        if not quick:  # exporting takes its time, and has tests of its own
            export_models(folder, int8=True, output=Path(place) / "int8")
            both["onnx int8"] = open_extractors(Path(place) / "int8", None, "onnx")
        ours = {name: extractor for name, (extractor, _) in both.items()}
        pairs = pair_posts(Post("1", tuple(WORDS), None, ENTITIES), list(permutations(range(4), 2)))

        def one_plain() -> None:
            plain("ner", posts(1))
            for pair in pairs:
                plain("re", [pair])

        lines = [from_tokens(post.tokens, post.id, "photo.png") for post in posts(BATCH)]
        single: dict[str, Callable[[], object]] = {
            "straightforward": one_plain,
            "straightforward, one forward": lambda: plain("ner", posts(1)),
            **{name: _one(extractor, lines[0], folder) for name, extractor in ours.items()},
            **{f"{name}, one forward": _one(tagger, lines[0], folder) for name, (_, tagger) in both.items()},
        }
        many = pairs * (BATCH // len(pairs) + 1)
        # rows, of which a post takes one for its entities and one for each pair
        batched: dict[str, tuple[Callable[[], object], float]] = {
            "straightforward": (lambda: plain("re", many[:BATCH]), BATCH / (1 + len(pairs))),
            **{name: (_all(extractor, lines, folder), BATCH) for name, extractor in ours.items()},
        }
        turns = 3 if quick else 12
        times: dict[str, list[float]] = {name: [] for name in single}
        rates: dict[str, list[float]] = {name: [] for name in batched}
        for call in single.values():
            call()
        for turn in range(turns):
            for name, call in single.items():
                times[name].append(timed(call))
            if turn < 2:
                for name, (call, count) in batched.items():
                    rates[name].append(count / timed(call))
    result = {
        "posts": {"entities": len(ENTITIES), "pairs": len(pairs), "words": len(WORDS)},
        "latency_ms": {name: _spread(values) for name, values in times.items()},
        "posts_per_second": {
            name: {"batch 1": 1 / statistics.median(times[name]), f"batch {BATCH}": statistics.median(values)}
            for name, values in rates.items()
        },
    }
    return result, _rows(result, list(ours))


def _one(extractor: Extractor, line: Any, folder: Path) -> Callable[[], object]:
    return lambda: extractor(line, folder / "photo.png")


def _all(extractor: Extractor, lines: Any, folder: Path) -> Callable[[], object]:
    return lambda: list(extractor.pipe(lines, batch_size=BATCH, images=folder))


def _spread(values: list[float]) -> dict[str, float]:
    ordered = sorted(1e3 * value for value in values)
    return {"p50": statistics.median(ordered), "p95": ordered[min(len(ordered) - 1, round(0.95 * len(ordered)))]}


def _rows(result: dict[str, Any], ours: list[str]) -> list[Row]:
    rows = []
    rates, latency = result["posts_per_second"], result["latency_ms"]
    plain = rates["straightforward"]
    for name in ours:
        for batch in plain:
            goal = "6" if name.startswith("torch") else ""
            mine, other = rates[name][batch], plain[batch]
            rows.append(
                Row(
                    "extract",
                    f"{name} against the straightforward way, {batch}",
                    f"{mine:.2f} posts/s",
                    f"{other:.2f} posts/s",
                    mine / other,
                    None,
                    goal,
                )
            )
    forward = latency["straightforward, one forward"]
    for name in ours:
        for what, mine in (("one forward", latency[f"{name}, one forward"]), ("a whole post", latency[name])):
            rows.append(
                Row(
                    "extract",
                    f"p50 of {what}, {name}, against one plain forward (p95 {mine['p95']:.0f} ms)",
                    f"{mine['p50']:.0f} ms",
                    f"{forward['p50']:.0f} ms",
                    mine["p50"] / forward["p50"],
                    None,
                    "0.35 or less" if (name, what) == ("onnx int8", "one forward") else "",
                )
            )
    return rows
