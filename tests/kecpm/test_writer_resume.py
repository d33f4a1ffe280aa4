"""A run with patience that was killed ends as one that never was."""

from __future__ import annotations

import json
import signal
from pathlib import Path
from typing import Any

import pytest
from tests import processes
from tests.training.test_resume import log_of, same_log

from promu.kecpm.kecpm_recipe import KecpmRecipe
from promu.kecpm.train_kecpm import train_seed
from promu.newsreel.joint_world import write_joint
from promu.newsreel.settings import JointSettings

KILLED = """
import json, os, signal, sys
import promu.kecpm.kecpm_model as module
from promu.kecpm.train_kecpm import train_seed
from promu.kecpm.kecpm_recipe import KecpmRecipe
from promu.progress import shown

def die(*args):
    os.kill(os.getpid(), signal.SIGKILL)
def kill(name, done, total):
    if name == "seed 0" and sys.argv[2] == str(done):
        die()
if sys.argv[2] == "save":
    module.save_folder = die
with shown(kill):
    train_seed(KecpmRecipe.model_validate(json.loads(sys.argv[1])), 0)
"""


@pytest.fixture(scope="module")
def drawn(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("joint") / "set"
    write_joint(folder, JointSettings(size=32, posts=(8, 3, 3)))
    return folder


def recipe(drawn: Path, out: Path) -> dict[str, Any]:
    """Two steps an epoch; so slow a learner that it answers nothing."""
    shape = {"d_model": 16, "d_kv": 8, "d_ff": 32, "num_layers": 1, "num_decoder_layers": 1, "num_heads": 2}
    training = {"epochs": 3, "patience": 1, "batch_size": 4, "lr": 1e-5}
    return {
        "data": {"train": f"{drawn}/train.json", "dev": f"{drawn}/val.json", "test": f"{drawn}/test.json"},
        "model": {"name": {"model_type": "t5", **shape}, "tokenizer": {"size": 500}},
        "prompt": {"budget": 100},
        "training": {**training, "precision": "fp32", "log_every": 1},
        "decoding": {"limit": 64},
        "out": str(out),
    }


@pytest.fixture(scope="module")
def unbroken(drawn: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("unbroken") / "run"
    train_seed(KecpmRecipe.model_validate(recipe(drawn, out)), 0)
    return out / "seed-0"


def test_patience_waits_for_a_first_answer(unbroken: Path) -> None:
    assert [line["step"] for line in log_of(unbroken) if "eval_f1" in line] == [2, 4, 6]


@pytest.mark.parametrize("kill_at", ["5", "save"])
@pytest.mark.slow
def test_a_killed_run_ends_as_an_unbroken_one(kill_at: str, unbroken: Path, drawn: Path, tmp_path: Path) -> None:
    settings, said = recipe(drawn, tmp_path / "run"), tmp_path / "said"
    assert processes.run(KILLED, json.dumps(settings), kill_at, said=said) == -signal.SIGKILL, said.read_text()
    result = train_seed(KecpmRecipe.model_validate(settings), 0)
    assert same_log(unbroken, tmp_path / "run" / "seed-0")
    expected = json.loads((unbroken / "result.json").read_text())
    assert all(result[key] == expected[key] for key in ("best_epoch", "dev", "test", "test_unconstrained"))
