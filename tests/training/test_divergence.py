"""A run whose numbers are lost ends with one sentence and stores nothing of it, in every kind of training."""

from __future__ import annotations

import json
import math
import re
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file, save_file
from tests.factories import TINY_TEXT, TINY_VISION

from promu.cli import main
from promu.newsreel.joint_world import write_joint
from promu.newsreel.settings import JointSettings
from promu.training import loop

SENTENCE = r"error: training diverged in step (\d+) of (\d+): the (loss|norm of its gradient) is (nan|inf)"
STEPS = {"epochs": 2, "batch_size": 8, "lr": 1e-3, "precision": "fp32", "log_every": 1}


@pytest.fixture(scope="module")
def joint_world(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("diverging") / "joint"
    write_joint(folder, JointSettings(size=32, posts=(16, 4, 4)))
    return folder


@pytest.fixture
def finetuning(tiny_world: Path, tiny_models: Path, tmp_path: Path) -> dict[str, Any]:
    ner = tiny_world / "ner"
    return {
        "task": "ner",
        "data": {"train": str(ner / "train.txt"), "dev": str(ner / "valid.txt")},
        "images": "none",
        "model": {"text": TINY_TEXT, "tokenizer": str(tiny_models / "ner")},
        "training": STEPS,
        "out": str(tmp_path / "run"),
    }


def run(recipe: dict[str, Any], folder: Path, *words: str) -> int:
    file = folder / "recipe.json"
    file.write_text(json.dumps(recipe), encoding="utf-8")
    return main([*(words or ("finetune",)), str(file)])


def diverges(recipe: dict[str, Any], folder: Path, capsys: pytest.CaptureFixture[str], *words: str) -> str:
    """What is said; nothing that could be taken for a result is left."""
    assert run(recipe, folder, *words) == 2
    said = capsys.readouterr().err
    assert "Traceback" not in said and said.count("error: ") == 1
    out = Path(recipe["out"])
    assert not (out / "model").exists() and not (out / "result.json").exists()
    for weights in out.rglob("*.safetensors"):
        assert all(bool(value.isfinite().all()) for value in load_file(weights).values())
    return said


@pytest.mark.parametrize("task", ["ner", "re", "joint"])
def test_fine_tuning(
    task: str,
    finetuning: dict[str, Any],
    tiny_world: Path,
    joint_world: Path,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    files = {"re": ("re/mnre_train.txt", "re/mnre_val.txt"), "joint": ("train.json", "val.json")}
    if task in files:
        folder = joint_world if task == "joint" else tiny_world
        finetuning["data"] = dict(zip(("train", "dev"), (str(folder / name) for name in files[task]), strict=True))
    finetuning |= {"task": task, "training": {**STEPS, "lr": 1e30, "warmup": 0.0}}
    said = diverges(finetuning, tmp_path, capsys)
    found = re.search(SENTENCE, said)
    assert found and int(found[1]) <= int(found[2])
    assert "at a learning rate of 1e+30; lower the learning rate (training.lr), and start anew in another" in said


def test_the_last_checkpoint_before_is_what_a_second_start_goes_on_from(
    finetuning: dict[str, Any], tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """A loss of infinity in step 5, where the first epoch of 3 steps is stored: it is met again."""
    steps = spoil(monkeypatch, 5, math.inf)
    said = diverges(finetuning, tmp_path, capsys)
    assert "training diverged in step 5 of 6: the loss is inf" in said
    checkpoints = tmp_path / "run" / "checkpoints"
    assert [path.name for path in checkpoints.iterdir()] == ["checkpoint-3"]
    steps.clear()
    assert "training diverged in step 5 of 6" in diverges(finetuning, tmp_path, capsys)
    assert steps == [4, 5], "it went on from step 3"


def spoil(monkeypatch: pytest.MonkeyPatch, at: int, value: float) -> list[int]:
    """Make the loss of a step `value`; returns the steps that are taken."""
    steps: list[int] = []
    compute = loop._Loop.compute_loss

    def spoiled(self: Any, *args: Any, **kwargs: Any) -> torch.Tensor:
        loss: torch.Tensor = compute(self, *args, **kwargs)
        steps.append(self.state.global_step + 1)
        if steps[-1] == at:
            loss = loss * value
            self.losses = {"loss": loss.detach()}
        return loss

    monkeypatch.setattr(loop._Loop, "compute_loss", spoiled)
    return steps


def test_a_gradient_without_a_norm(
    finetuning: dict[str, Any], tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """The loss is a number, its gradient is none: the step must not be taken."""
    backward = loop._Loop.training_step

    def spoiled(self: Any, model: Any, *args: Any) -> torch.Tensor:
        loss = backward(self, model, *args)
        model.emitter.weight.grad[0, 0] = math.nan
        return loss

    monkeypatch.setattr(loop._Loop, "training_step", spoiled)
    assert "in step 1 of 6: the norm of its gradient is nan" in diverges(finetuning, tmp_path, capsys)


def test_weights_that_are_lost_in_the_last_step(
    finetuning: dict[str, Any], tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Loss and gradient are numbers, and what the optimiser makes of the weights is none."""

    def overflow(self: Any, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        if state.global_step == 5:
            with torch.no_grad():
                self.loop.model.emitter.bias.fill_(math.inf)

    monkeypatch.setattr(loop._Log, "on_optimizer_step", overflow)
    assert "in step 6 of 6: a weight of emitter.bias is nan" in diverges(finetuning, tmp_path, capsys)


def test_a_checkpoint_of_nan_is_not_gone_on_from(
    finetuning: dict[str, Any], tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    spoil(monkeypatch, 5, math.inf)
    diverges(finetuning, tmp_path, capsys)
    weights = next((tmp_path / "run").rglob("model.safetensors"))
    values = load_file(weights)
    values["crf.start"][0] = math.nan
    save_file(values, weights, {"format": "pt"})
    monkeypatch.undo()
    assert run(finetuning, tmp_path) == 2
    assert "in step 3 of 6: a weight of crf.start is nan" in capsys.readouterr().err
    assert not (tmp_path / "run" / "model").exists()


def test_figures_on_dev_that_are_none(
    finetuning: dict[str, Any], tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    fit: Any = loop.fit

    def spoiled(*args: Any, **kwargs: Any) -> Any:
        return fit(*args[:7], lambda: {"f1": math.nan}, *args[8:], **kwargs)

    monkeypatch.setattr("promu.training.finetune.fit", spoiled)
    assert "in step 3 of 6: f1 on dev is nan" in diverges(finetuning, tmp_path, capsys)


@pytest.mark.parametrize("stage", ["teacher", "student"])
def test_pre_training(stage: str, tiny_world: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    pairs = tiny_world / "pairs"
    model = {"text": TINY_TEXT, "vision": TINY_VISION, "config": {"projection_dim": 16}}
    sound, spoiled = {**STEPS, "epochs": 1}, {**STEPS, "epochs": 1, "lr": 1e30, "warmup": 0.0}
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
        "teacher": {**model, "training": spoiled if stage == "teacher" else sound, "views": {"crop": 0.5}},
        "labels": {"num_nouns": 20, "num_relations": 10},
        "model": model,
        "training": spoiled if stage == "student" else sound,
        "out": str(tmp_path / "run"),
    }
    assert re.search(SENTENCE, diverges(recipe, tmp_path, capsys, "pretrain"))
    assert (tmp_path / "run" / "teacher" / "model").exists() is (stage == "student")


def test_the_writer_of_quintuples(joint_world: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    shape = {"d_model": 16, "d_kv": 8, "d_ff": 32, "num_layers": 1, "num_decoder_layers": 1, "num_heads": 2}
    files = (("train", "train"), ("dev", "val"), ("test", "test"))
    recipe = {
        "data": {split: str(joint_world / f"{name}.json") for split, name in files},
        "model": {"name": {"model_type": "t5", **shape}, "tokenizer": {"size": 500}},
        "prompt": {"mode": "text"},
        "training": {**STEPS, "lr": 1e30, "warmup": 0.0},
        "decoding": {"limit": 64},
        "seeds": [0],
        "out": str(tmp_path / "run"),
    }
    assert re.search(SENTENCE, diverges(recipe, tmp_path, capsys, "kecpm", "train"))


@pytest.mark.parametrize("value", [".inf", "-.inf", ".nan", "0", "-1e-4", "inf", "nan"])
@pytest.mark.parametrize("name", ["lr", "head_lr"])
def test_learning_rates_that_are_none(
    name: str, value: str, finetuning: dict[str, Any], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "recipe.json").write_text(json.dumps(finetuning), encoding="utf-8")
    assert main(["finetune", str(tmp_path / "recipe.json"), "--set", f"training.{name}={value}"]) == 2
    said = capsys.readouterr().err
    assert re.search(rf"recipe key 'training.{name}': Input should be (a finite number|greater than 0) .got ", said)
    assert not (tmp_path / "run").exists()
