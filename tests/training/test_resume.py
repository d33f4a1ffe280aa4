"""A run that was killed goes on, and ends as one that never was."""

from __future__ import annotations

import json
import signal
from pathlib import Path
from typing import Any

import pytest
from tests import processes
from tests.factories import TINY_TEXT, TINY_VISION

from promu.cli import main

# Kills itself, as a power cut would, at a step of a stage, or when that stage is about to save what came of it.
KILLED = """
import os, signal, sys
from pathlib import Path
import promu.training.{kind} as module
from promu.training.recipe import {recipe}
from promu.config import load_recipe
from promu.progress import shown

kill_at = sys.argv[2]
def die(*args):
    os.kill(os.getpid(), signal.SIGKILL)
def kill(name, done, total):
    if f"{{name}}:{{done}}" == kill_at:
        die()
if kill_at == "save":
    module.save_folder = die
with shown(kill):
    module.{kind}(load_recipe(Path(sys.argv[1]), {recipe}))
"""


def run_until_killed(kind: str, recipe: Path, kill_at: str) -> None:
    code, said = KILLED.format(kind=kind, recipe=f"{kind.capitalize()}Recipe"), recipe.with_suffix(".said")
    assert processes.run(code, str(recipe), kill_at, said=said) == -signal.SIGKILL, said.read_text()


def log_of(folder: Path) -> list[dict[str, Any]]:
    """The log without its clock."""
    lines = [json.loads(line) for line in (folder / "log.jsonl").read_text().splitlines()]
    return [{key: value for key, value in line.items() if key != "seconds"} for line in lines]


def same_log(first: Path, second: Path) -> bool:
    one, other = log_of(first), log_of(second)
    return [line["step"] for line in one] == [line["step"] for line in other] and all(
        a == pytest.approx(b, abs=1e-5) for a, b in zip(one, other, strict=True)
    )


def training(epochs: int) -> dict[str, Any]:
    return {"epochs": epochs, "batch_size": 8, "lr": 1e-3, "precision": "fp32", "log_every": 1}


def finetune_recipe(world: Path, tokenizer: Path, out: Path) -> dict[str, Any]:
    data = {name: str(world / "ner" / file) for name, file in (("train", "train.txt"), ("dev", "valid.txt"))}
    return {
        "task": "ner",
        "data": {**data, "test": str(world / "ner" / "test.txt"), "images": str(world / "ner" / "images")},
        "model": {"text": TINY_TEXT, "vision": TINY_VISION, "tokenizer": str(tokenizer)},
        "training": training(3),
        "out": str(out),
    }


def pretrain_recipe(world: Path, out: Path) -> dict[str, Any]:
    pairs = world / "pairs"
    model = {"text": TINY_TEXT, "vision": TINY_VISION, "config": {"projection_dim": 16}}
    return {
        "data": {
            "corpus": {
                "captions": str(pairs / "captions.csv"),
                "images": str(pairs / "images"),
                "detector": "coco",
                "regions": str(pairs / "regions.json"),
            },
            "nouns": str(world / "nouns.txt"),
            "relations": str(world / "relations.txt"),
        },
        "tokenizer": {"size": 400},
        "teacher": {**model, "training": training(3), "views": {"crop": 0.5}},
        "labels": {"num_nouns": 20, "num_relations": 10},
        "losses": {"mlm": 0.5},
        "model": model,
        "training": training(3),
        "out": str(out),
    }


@pytest.fixture(scope="module")
def unbroken(tiny_world: Path, tiny_models: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of a fine-tuning run that nothing disturbed."""
    folder = tmp_path_factory.mktemp("unbroken")
    recipe = folder / "recipe.yaml"
    recipe.write_text(json.dumps(finetune_recipe(tiny_world, tiny_models / "ner", folder / "run")))
    assert main(["finetune", str(recipe)]) == 0
    return folder / "run"


@pytest.mark.parametrize("kill_at", ["ner:5", "save"])
@pytest.mark.slow
def test_a_killed_fine_tuning_ends_as_an_unbroken_one(
    kill_at: str,
    unbroken: Path,
    tiny_world: Path,
    tiny_models: Path,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    recipe, run = tmp_path / "recipe.yaml", tmp_path / "run"
    recipe.write_text(json.dumps(finetune_recipe(tiny_world, tiny_models / "ner", run)))
    run_until_killed("finetune", recipe, kill_at)
    assert not (run / "result.json").exists() and not (run / "model").exists()
    if kill_at == "save":
        assert (run / "checkpoints" / "checkpoint-9").is_dir()
    else:
        # As if it had been killed in the middle of writing a checkpoint: the one before counts.
        torn = run / "checkpoints" / "checkpoint-4"
        torn.mkdir()
        (torn / "trainer_state.json").write_text('{"epo')
    capsys.readouterr()
    assert main(["finetune", str(recipe), "--json"]) == 0
    result = json.loads(capsys.readouterr().out)
    assert same_log(unbroken, run)
    expected = json.loads((unbroken / "result.json").read_text())
    for key in ("best_epoch", "dev", "test", "images", "posts"):
        assert result[key] == expected[key]
    for name in ("valid.txt", "test.txt"):
        assert (run / "predictions" / name).read_bytes() == (unbroken / "predictions" / name).read_bytes()
    assert sorted(path.name for path in run.iterdir()) == sorted(path.name for path in unbroken.iterdir())


def test_a_finished_run_is_not_repeated(unbroken: Path, capsys: pytest.CaptureFixture[str]) -> None:
    before = {path: path.stat().st_mtime_ns for path in unbroken.rglob("*")}
    assert main(["finetune", str(unbroken.parent / "recipe.yaml")]) == 0
    out = capsys.readouterr().out
    assert f"model: {unbroken / 'model'}" in out and "of 24 posts" in out
    assert {path: path.stat().st_mtime_ns for path in unbroken.rglob("*")} == before


@pytest.mark.slow
def test_a_killed_pre_training_ends_as_an_unbroken_one(tiny_world: Path, tmp_path: Path) -> None:
    """Batches come from processes of their own, and the kill is at no epoch's end."""
    recipes = {}
    for name in ("unbroken", "killed"):
        recipe = pretrain_recipe(tiny_world, tmp_path / name)
        if name == "killed":
            recipe["training"].update(save_every=2, workers=2)
        recipes[name] = tmp_path / f"{name}.yaml"
        recipes[name].write_text(json.dumps(recipe))
    assert main(["pretrain", str(recipes["unbroken"])]) == 0
    run_until_killed("pretrain", recipes["killed"], "pre-training:7")
    state = json.loads((tmp_path / "killed" / "checkpoints" / "checkpoint-6" / "trainer_state.json").read_text())
    lines = log_of(tmp_path / "killed")
    assert state["global_step"] == 6 and not lines[5]["epoch"].is_integer()
    assert main(["pretrain", str(recipes["killed"])]) == 0
    unbroken, killed = tmp_path / "unbroken", tmp_path / "killed"
    assert same_log(unbroken / "teacher", killed / "teacher")
    assert same_log(unbroken, killed)
    assert sorted(path.name for path in killed.iterdir()) == sorted(path.name for path in unbroken.iterdir())
