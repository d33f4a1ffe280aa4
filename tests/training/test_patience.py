"""A run with patience ends after so many validations without a better one, killed on the way or not."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from tests.training.test_resume import finetune_recipe, log_of, pretrain_recipe, run_until_killed, same_log
from transformers import TrainerState

from promu.cli import main
from promu.training import loop

STEPS = 3
"""An epoch of the tiny world."""


def patient(world: Path, models: Path, folder: Path) -> Path:
    """A recipe whose runs could take twenty epochs, and wait two for a better one."""
    recipe = finetune_recipe(world, models / "ner", folder / "run")
    recipe["training"] |= {"epochs": 20, "patience": 2, "lr": 2e-2}  # it finds a little
    (folder / "recipe.yaml").write_text(json.dumps(recipe))
    return folder / "recipe.yaml"


@pytest.fixture(scope="module")
def unbroken(tiny_world: Path, tiny_models: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("patient")
    assert main(["finetune", str(patient(tiny_world, tiny_models, folder))]) == 0
    return folder / "run"


def validations(run: Path) -> list[tuple[int, float]]:
    return [(line["step"], line["eval_f1"]) for line in log_of(run) if "eval_f1" in line]


def test_it_ends_two_validations_after_the_best_and_keeps_that(unbroken: Path) -> None:
    found = validations(unbroken)
    best = max(range(len(found)), key=lambda number: found[number][1])  # the first of equals
    assert len(found) == best + 3 < 20
    assert json.loads((unbroken / "result.json").read_text())["best_epoch"] == best + 1


@pytest.mark.parametrize("when", ["waiting", "stopped"])
@pytest.mark.slow
def test_a_killed_run_ends_as_an_unbroken_one(
    when: str, unbroken: Path, tiny_world: Path, tiny_models: Path, tmp_path: Path
) -> None:
    """Killed where one validation was not better, or where it had stopped and nothing was saved yet."""
    last = validations(unbroken)[-1][0]
    recipe = patient(tiny_world, tiny_models, tmp_path)
    run_until_killed("finetune", recipe, "save" if when == "stopped" else f"ner:{last - STEPS + 1}")
    assert not (tmp_path / "run" / "result.json").exists()
    assert main(["finetune", str(recipe)]) == 0
    assert same_log(unbroken, tmp_path / "run")
    results: list[dict[str, Any]] = [
        json.loads((run / "result.json").read_text()) for run in (unbroken, tmp_path / "run")
    ]
    for key in ("best_epoch", "dev", "test", "weights"):
        assert results[0][key] == results[1][key]


def test_pre_training_has_no_best_to_wait_for(tiny_world: Path, tmp_path: Path, capsys: Any) -> None:
    recipe = pretrain_recipe(tiny_world, tmp_path / "run")
    recipe["teacher"]["training"]["patience"] = 1
    (tmp_path / "recipe.yaml").write_text(json.dumps(recipe))
    assert main(["pretrain", str(tmp_path / "recipe.yaml")]) == 2
    assert "training.patience is for fine-tuning, which chooses its best epoch" in capsys.readouterr().err


def test_it_waits_for_the_first_answer() -> None:
    """From few posts the first answers come late: figures of zero end nothing, a figure that was better does."""
    patience = loop._Patience(2)
    none_yet = TrainerState(global_step=40, best_global_step=10, best_metric=0.0)
    assert not patience.over(none_yet, every=10)
    assert patience.over(TrainerState(global_step=40, best_global_step=20, best_metric=0.1), every=10)
    assert not patience.over(TrainerState(global_step=30, best_global_step=20, best_metric=0.1), every=10)
