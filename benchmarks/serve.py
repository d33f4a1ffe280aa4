"""What HTTP costs on top of the library, and how a service answers when it gets twice the requests that it can do.

python -m benchmarks.serve [--quick] [--seconds 600]
"""

from __future__ import annotations

import argparse
import base64
import json
import statistics
import tempfile
import threading
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import torch
import uvicorn
from benchmarks.load import call
from benchmarks.measure import Row
from benchmarks.sizes import photograph, size

from promu.extraction.extractor import Extractor
from promu.modeling.classification import PromuForRelationClassification, PromuForTokenClassification
from promu.modeling.configuration import PromuConfig
from promu.modeling.inputs import WordEncoder, add_entity_markers
from promu.pytorch import best_precision
from promu.service.metrics import resident_bytes
from promu.service.schemas import ServiceSettings
from promu.service.server import BACKLOG, create_app, listen
from promu.tasks.task import TASKS
from promu.tasks.torch_predictor import TorchPredictor
from promu.training.tokenizers import train_wordpiece

TYPES = ("LOC", "MISC", "ORG", "PER")
RELATIONS = ("None", "/per/per/peer", "/per/org/member_of", "/org/loc/located_in", "/per/misc/owner")
ENTITIES = 4
"""A post, on average."""
WORDS = 16
POSTS, FEW_POSTS = 32, 8
TURNS = 3


def posts(count: int) -> list[tuple[str, bytes]]:
    """Texts of words that are made up, with photographs."""
    chance = np.random.default_rng(0)
    syllables = [c + v for c in "bdfgklmnprstvz" for v in "aeiou"]
    made = ["".join(chance.choice(syllables, chance.integers(1, 4))) for _ in range(400)]
    return [(" ".join(chance.choice(made, WORDS)), photograph(number, 256)) for number in range(count)]


def engine(quick: bool, texts: list[str], folder: Path) -> Extractor:
    """BERT-base and ViT-B/16 with random weights for both tasks, that find about `ENTITIES` entities a post.

    They are saved to `folder`, out of which the service describes them.
    """
    sized = size(quick)
    tokenizer = train_wordpiece(texts, 2000, min_frequency=1)
    add_entity_markers(tokenizer)
    encoder = WordEncoder(tokenizer, 128)
    torch.manual_seed(0)
    bio = ["O", *(f"{place}-{kind}" for kind in TYPES for place in "BI")]
    ner: Any = PromuForTokenClassification(_config(sized, bio)).eval()
    re: Any = PromuForRelationClassification(_config(sized, RELATIONS)).eval()
    with torch.no_grad():
        # O is made as likely as it must be for so many of the words to begin something; I- follows hardly ever
        ner.emitter.bias[[bio.index(name) for name in bio if name.startswith("I-")]] -= 100.0
        ids = torch.randint(0, len(tokenizer), (64, WORDS))
        found = ner(
            ids, torch.ones_like(ids), word_index=torch.arange(WORDS).repeat(64, 1), word_mask=torch.ones_like(ids)
        ).emissions
        lead = (found[..., 1:].max(-1).values - found[..., 0]).flatten()
        ner.emitter.bias[0] += lead.quantile(1 - ENTITIES / WORDS)
    precision = best_precision("cpu")
    models = {"ner": ner, "re": re}
    for task, model in models.items():
        model.save_pretrained(folder / task)
    return Extractor(*(TorchPredictor(TASKS[task], model, encoder, precision) for task, model in models.items()))


def _config(sized: Any, names: Any) -> PromuConfig:
    labels = dict(enumerate(names))
    return sized.config(id2label=labels, label2id={name: index for index, name in labels.items()})


@contextmanager
def served(model: Extractor, settings: ServiceSettings) -> Iterator[str]:
    """The address of a service in a thread of this process: library and service then use one model in one memory."""
    server = uvicorn.Server(uvicorn.Config(create_app(settings, model), log_config=None, access_log=False))
    with listen("127.0.0.1", 0) as sock:
        sock.listen(BACKLOG)
        thread = threading.Thread(target=server.run, args=([sock],))
        thread.start()
        while not server.started:
            time.sleep(0.01)
        try:
            yield f"http://127.0.0.1:{sock.getsockname()[1]}"
        finally:
            server.should_exit = True
            thread.join()


def run(quick: bool, overload_seconds: float = 20.0) -> tuple[dict[str, Any], list[Row]]:
    """Latency alone, rate in company, and overload."""
    made = posts(FEW_POSTS if quick else POSTS)
    with ExitStack() as stack:
        temporary = Path(stack.enter_context(tempfile.TemporaryDirectory()))
        model = engine(quick, [text for text, _ in made], temporary / "benchmark")
        settings = ServiceSettings(model=temporary / "benchmark", image_cache_mib=0)  # the posts come again
        url = stack.enter_context(served(model, settings))
        bodies = temporary / "bodies.jsonl"
        lines = [json.dumps({"text": text, "image": base64.b64encode(photo).decode()}) for text, photo in made]
        bodies.write_text("\n".join(lines), encoding="utf-8")
        records = []
        for number, (text, photo) in enumerate(made):
            (temporary / f"{number}.jpg").write_bytes(photo)
            records.append({"text": text, "image": f"{number}.jpg"})
        result: dict[str, Any] = {"posts": len(made), "words": WORDS, "precision": best_precision("cpu")}
        result["alone"] = _alone(model, made, url, bodies, 1 if quick else TURNS)
        result["bulk"] = _bulk(model, records, temporary, url, bodies, settings.max_batch, 1 if quick else TURNS)
        rate = 2 * result["bulk"]["service"]
        result["overload"] = _overload(url, bodies, rate, 1.0 if quick else overload_seconds)
    return result, _rows(result)


def _alone(model: Extractor, made: list[tuple[str, bytes]], url: str, bodies: Path, turns: int) -> dict[str, Any]:
    """Median seconds of one post at a time, by the library and over HTTP, in turns."""
    call(url, bodies, requests=4)
    library: list[float] = []
    service: list[float] = []
    entities = 0
    for _ in range(turns):
        for text, photo in made:
            started = time.perf_counter()
            entities += len(model(text, photo, image_cache_mib=0).entities)
            library.append(time.perf_counter() - started)
        service += call(url, bodies, requests=len(made))["each"]
    return {
        "library": statistics.median(library),
        "service": statistics.median(service),
        "entities_a_post": entities / len(library),
    }


def _bulk(
    model: Extractor, records: list[dict[str, str]], images: Path, url: str, bodies: Path, batch: int, turns: int
) -> dict[str, Any]:
    """Posts a second: the library over a list, and the service with 16 callers, in turns."""
    library, service = [], []
    for _ in range(turns):
        started = time.perf_counter()
        for _ in model.pipe(records * 2, batch_size=batch, images=images, image_cache_mib=0):
            pass
        library.append(2 * len(records) / (time.perf_counter() - started))
        requests = 2 * len(records)
        service.append(requests / call(url, bodies, connections=16, requests=requests)["seconds"])
    return {"library": statistics.median(library), "service": statistics.median(service)}


def _overload(url: str, bodies: Path, rate: float, seconds: float) -> dict[str, Any]:
    """So many requests a second, each on its own connection; memory from after the first quarter of it to the end."""
    call(url, bodies, rate=rate, seconds=seconds / 4)
    before = resident_bytes()
    result = call(url, bodies, rate=rate, seconds=seconds)
    return {
        "rate": rate,
        "seconds": result["seconds"],
        "statuses": result["statuses"],
        "p95": float(np.quantile(result["each"], 0.95)) if result["each"] else None,
        "mib_before": before / 2**20,
        "mib_after": resident_bytes() / 2**20,
    }


def _rows(result: dict[str, Any]) -> list[Row]:
    alone, bulk, over = result["alone"], result["bulk"], result["overload"]
    statuses = over["statuses"]
    lost = sum(count for status, count in statuses.items() if status not in ("200", "503"))
    grown = over["mib_after"] - over["mib_before"]
    return [
        Row(
            "serve",
            "one caller: median latency over the library's",
            f"{1000 * alone['service']:.1f} ms",
            f"{1000 * alone['library']:.1f} ms",
            goal=f"+ < 5 ms (it is {1000 * (alone['service'] - alone['library']):+.1f})",
        ),
        Row(
            "serve",
            "16 callers: share of the library's bulk rate",
            f"{bulk['service']:.1f} posts/s",
            f"{bulk['library']:.1f} posts/s",
            bulk["service"] / bulk["library"],
            goal="0.95",
        ),
        Row(
            "serve",
            f"twice that rate for {over['seconds']:.0f} s",
            f"{statuses.get('200', 0)} results, {statuses.get('503', 0)} × 503, {lost} unanswered, {grown:+.0f} MiB",
            goal="0 unanswered, memory flat",
        ),
    ]


if __name__ == "__main__":
    parser = argparse.ArgumentParser()
    parser.add_argument("--quick", action="store_true")
    parser.add_argument("--seconds", type=float, default=20.0, help="of overload")
    arguments = parser.parse_args()
    print(json.dumps(run(arguments.quick, arguments.seconds)[0], indent=2))
