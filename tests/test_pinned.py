"""Pinned figures: seeded runs at tiny size give what they gave before, to 1e-4; a silent drift is seen here.

`PROMU_PIN=write pytest tests/test_pinned.py` stores the figures anew. That belongs into a commit of its own, which says
what changed them.
"""

from __future__ import annotations

import json
import os
import re
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from tests.factories import TINY_TEXT, TINY_VISION
from tests.kecpm.test_seq2seq import Setup

from promu.cli import main
from promu.kecpm.decoding import generate_answers
from promu.kecpm.kecpm_recipe import DecodingSettings
from promu.newsreel.joint_world import write_joint
from promu.newsreel.settings import JointSettings

PINNED = Path(__file__).parent / "pinned.json"
KECPM_MODEL = {"d_model": 16, "d_kv": 8, "d_ff": 32, "num_layers": 1, "num_decoder_layers": 1, "num_heads": 2}


def training(epochs: int, **more: Any) -> dict[str, Any]:
    return {"epochs": epochs, "batch_size": 8, "lr": 1e-3, "precision": "fp32", "log_every": 1, **more}


def run(folder: Path, command: list[str], recipe: dict[str, Any]) -> list[dict[str, float]]:
    """Run a recipe by its command; the numbers of its log, line by line, without the clock."""
    file = folder / f"{command[-1]}.json"
    file.write_text(json.dumps(recipe), encoding="utf-8")
    assert main([*command, str(file)]) == 0
    return log_of(Path(recipe["out"]))


def log_of(out: Path) -> list[dict[str, float]]:
    lines = [json.loads(line) for line in (out / "log.jsonl").read_text(encoding="utf-8").splitlines()]
    kept = ("loss", "cit", "itm", "coe", "cir", "mlm", "eval_f1", "step")
    return [{key: line[key] for key in kept if key in line} for line in lines]


def check(name: str, figures: Any) -> None:
    """Compare with what is stored, number by number."""
    stored = json.loads(PINNED.read_text(encoding="utf-8")) if PINNED.exists() else {}
    figures = json.loads(json.dumps(figures))
    if os.environ.get("PROMU_PIN") == "write":
        PINNED.write_text(json.dumps({**stored, name: figures}, indent=1, sort_keys=True) + "\n", encoding="utf-8")
        return
    differ = list(differences(stored[name], figures))
    assert not differ, "\n".join(differ)


def differences(stored: Any, found: Any, place: str = "") -> Any:
    """Where two trees of figures differ, by more than 1e-4 where both are numbers."""
    if isinstance(stored, dict) and isinstance(found, dict) and stored.keys() == found.keys():
        for key in stored:
            yield from differences(stored[key], found[key], f"{place}.{key}")
    elif isinstance(stored, list) and isinstance(found, list) and len(stored) == len(found):
        for number, (one, other) in enumerate(zip(stored, found, strict=True)):
            yield from differences(one, other, f"{place}[{number}]")
    elif isinstance(stored, int | float) and isinstance(found, int | float):
        if abs(stored - found) > 1e-4:
            yield f"{place}: {stored} was pinned, {found} was found"
    elif stored != found:
        yield f"{place}: {stored!r} was pinned, {found!r} was found"


@pytest.fixture(scope="module")
def joint_world(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("pinned") / "joint"
    write_joint(folder, JointSettings(size=32, posts=(24, 8, 8)))
    return folder


def test_pretraining(tiny_world: Path, tmp_path: Path) -> None:
    pairs = tiny_world / "pairs"
    model = {"text": TINY_TEXT, "vision": TINY_VISION, "config": {"projection_dim": 16}}
    recipe = {
        "data": {
            "corpus": {
                "captions": str(pairs / "captions.csv"),
                "images": str(pairs / "images"),
                "detector": "coco",
                "regions": str(pairs / "regions.json"),
            },
            "nouns": str(tiny_world / "nouns.txt"),
            "relations": str(tiny_world / "relations.txt"),
        },
        "tokenizer": {"size": 400},
        "teacher": {**model, "training": training(2), "views": {"crop": 0.5}},
        "labels": {"num_nouns": 20, "num_relations": 10},
        "losses": {"mlm": 0.5},
        "model": model,
        "training": training(2),
        "seed": 4,
        "out": str(tmp_path / "run"),
    }
    check("pretraining", run(tmp_path, ["pretrain"], recipe))


@pytest.mark.parametrize(
    ("task", "files"),
    [
        ("ner", ("train.txt", "valid.txt")),
        ("re", ("mnre_train.txt", "mnre_val.txt")),
        ("joint", ("train.json", "val.json")),
    ],
)
def test_finetuning(
    task: str, files: tuple[str, str], tiny_world: Path, joint_world: Path, tiny_models: Path, tmp_path: Path
) -> None:
    folder = joint_world if task == "joint" else tiny_world / task
    recipe = {
        "task": task,
        "data": {"train": str(folder / files[0]), "dev": str(folder / files[1]), "images": str(folder / "images")},
        "model": {"text": TINY_TEXT, "vision": TINY_VISION, "tokenizer": str(tiny_models / "ner")},
        "training": training(8 if task == "joint" else 2, batch_size=16 if task == "re" else 8),
        "seed": 4,
        "out": str(tmp_path / "run"),
    }
    check(f"finetuning.{task}", run(tmp_path, ["finetune"], recipe))


def test_extraction_and_graph(tiny_models: Path, tiny_world: Path, tmp_path: Path) -> None:
    images = sorted((tiny_world / "re" / "images").iterdir())
    texts = ("Ann Lee met Bob at the old bridge in Rome", "Zorva won a medal near Mount Kelmo !", "Tavi and the dog")
    posts = [{"id": str(n), "text": text, "image": images[n].name} for n, text in enumerate(texts)]
    posts.append({"id": "text", "text": texts[0]})
    source, out = tmp_path / "posts.jsonl", tmp_path / "out.jsonl"
    source.write_text("".join(json.dumps(post) + "\n" for post in posts), encoding="utf-8")
    words = ["extract", "--model", str(tiny_models), "--input", str(source), "--images", str(images[0].parent)]
    assert main([*words, "--out", str(out), "--precision", "fp32"]) == 0
    found = [json.loads(line) for line in out.read_text(encoding="utf-8").splitlines()]
    check("extraction", [{key: each[key] for key in ("id", "entities", "relations")} for each in found])
    assert main(["graph", str(out), "--to", "ttl", "--out", str(tmp_path / "g.ttl")]) == 0
    text = (tmp_path / "g.ttl").read_text(encoding="utf-8")
    scores = r"\b[01]\.\d+"
    check("graph", [re.sub(scores, "SCORE", text).splitlines(), [float(score) for score in re.findall(scores, text)]])


def test_joint_extraction(tiny_joint: Path, tmp_path: Path) -> None:
    source, out = tmp_path / "posts.jsonl", tmp_path / "out.jsonl"
    source.write_text('{"id": "0", "text": "Ann Lee met Bob at the old bridge in Rome"}\n', encoding="utf-8")
    words = ["extract", "--model", str(tiny_joint), "--input", str(source), "--out", str(out)]
    assert main([*words, "--precision", "fp32"]) == 0
    check("extraction.joint", json.loads(out.read_text(encoding="utf-8"))["relations"])


def test_written_answers(joint_world: Path, tmp_path: Path) -> None:
    splits = (("train", "train"), ("dev", "val"), ("test", "test"))
    settings = [f"data.{split}={joint_world}/{name}.json" for split, name in splits]
    settings += [f"model.name.{name}={value}" for name, value in KECPM_MODEL.items()]
    settings += [f"data.groups={joint_world}/groups.json", f"out={tmp_path / 'run'}", "seeds=[3]"]
    settings += ["model.tokenizer.size=500", "training.epochs=2", "training.batch_size=4", "decoding.limit=64"]
    settings += ["training.precision=fp32", "training.log_every=1"]
    words = [word for setting in settings for word in ("--set", setting)]
    assert main(["kecpm", "train", "newsreel-kecpm", *words]) == 0
    check("kecpm.log", log_of(tmp_path / "run" / "seed-3"))


@pytest.mark.parametrize("kind", ["t5", "bart"])
def test_constrained_answers(kind: str) -> None:
    """Random weights, so that what is written does not hang on a long training.

    NumPy draws them, and in double precision: what PyTorch draws, and how it rounds, hangs on the instruction set.
    """
    setup = Setup(kind)
    random = np.random.default_rng(5)
    with torch.no_grad():
        for parameter in setup.model.double().parameters():
            if parameter.ndim > 1:
                parameter.copy_(torch.from_numpy(random.normal(scale=0.5, size=tuple(parameter.shape))))
    answers = generate_answers(
        setup.model, setup.prompts, setup.grammars(140), DecodingSettings(beams=3, batch_size=4), setup.pad
    )
    check(f"kecpm.answers.{kind}", [answer.quintuples for answer in answers])
