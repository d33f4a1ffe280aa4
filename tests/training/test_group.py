"""Several processes train as one would, in one pass or in parts; one may die."""

from __future__ import annotations

import re
import signal
import socket
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file
from tests import processes
from tests.training.test_resume import pretrain_recipe, same_log
from torch import distributed

from promu.cli import main
from promu.files import write_json
from promu.modeling.distributed import join_group

# Process 1 is killed, as by a kernel short of memory, before it makes a step of the joint training.
DIES = """
import os, signal, sys
from promu.training.loop import _Loop
step = _Loop.training_step
def training_step(self, *args, **kwargs):
    if os.environ["RANK"] == "1" and self.state.global_step == 7 and "teacher" not in self.args.output_dir:
        os.kill(os.getpid(), signal.SIGKILL)
    return step(self, *args, **kwargs)
_Loop.training_step = training_step
from promu.cli import main
sys.exit(main(["pretrain", sys.argv[1]]))
"""


def plain_recipe(world: Path, out: Path, **training: Any) -> dict[str, Any]:
    """A recipe without dropout, whose noise differs with who draws it; its teacher is trained too."""
    recipe = pretrain_recipe(world, out)
    still = {"hidden_dropout_prob": 0.0, "attention_probs_dropout_prob": 0.0}
    for part in ("model", "teacher"):
        recipe[part] = {**recipe[part], "text": {**recipe[part]["text"], **still}}
    recipe["training"] = {**recipe["training"], "epochs": 2, "save_every": 2, **training}
    recipe["teacher"]["training"] = {**recipe["teacher"]["training"], "epochs": 1, **training}
    return recipe


def torchrun(*program: str) -> subprocess.CompletedProcess[str]:
    words = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2", *program]
    return subprocess.run(words, capture_output=True, text=True, timeout=300)


def group(recipe: Path) -> str:
    """Pre-train in a group of two, as `torchrun` makes it but without starting Python anew; what they say."""
    code = "import sys; from promu.cli import main; sys.exit(main(['pretrain', sys.argv[1]]))"
    said = recipe.parent / "said"
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = str(free.getsockname()[1])
    meeting = {"MASTER_ADDR": "127.0.0.1", "MASTER_PORT": port, "WORLD_SIZE": "2"}
    members = [
        processes.start(code, str(recipe), said=said, RANK=rank, LOCAL_RANK=rank, **meeting) for rank in ("0", "1")
    ]
    for member in members:
        member.join(300)
    assert [member.exitcode for member in members] == [0, 0], said.read_text()
    return said.read_text()


@pytest.fixture(scope="module")
def one(tiny_world: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of a run of one process, in one pass."""
    folder = tmp_path_factory.mktemp("group")
    write_json(folder / "recipe.json", plain_recipe(tiny_world, folder / "run"))
    assert main(["pretrain", str(folder / "recipe.json")]) == 0
    return folder / "run"


@pytest.mark.parametrize("training", [{"micro_batch": 3}, {}], ids=["parts", "whole"])
@pytest.mark.slow
def test_two_processes_train_as_one(training: dict[str, Any], one: Path, tiny_world: Path, tmp_path: Path) -> None:
    write_json(tmp_path / "recipe.json", plain_recipe(tiny_world, tmp_path / "run", **training))
    assert group(tmp_path / "recipe.json").count("model:") == 1, "the first process speaks for all"
    for part in ("teacher", "."):
        assert same_log(one / part, tmp_path / "run" / part)
    assert same_weights(one / "model", tmp_path / "run" / "model")


def same_weights(first: Path, second: Path) -> bool:
    one, other = (load_file(folder / "model.safetensors") for folder in (first, second))
    assert one.keys() == other.keys()
    return all(torch.allclose(one[name], other[name], atol=1e-4) for name in one)


@pytest.mark.slow
def test_what_l_cit_alone_leaves_out_stops_no_group(one: Path, tiny_world: Path, tmp_path: Path) -> None:
    recipe = plain_recipe(tiny_world, tmp_path / "run", epochs=1)
    recipe["teacher"] = {"init": str(one / "teacher" / "model")}
    recipe["losses"] = {"itm": 0, "cit": 1, "coe": 0, "cir": 0}
    write_json(tmp_path / "recipe.json", recipe)
    group(tmp_path / "recipe.json")
    assert (tmp_path / "run" / "model" / "model.safetensors").is_file()


@pytest.mark.slow
def test_a_group_that_lost_a_process_stops_and_goes_on(one: Path, tiny_world: Path, tmp_path: Path) -> None:
    recipe, script = tmp_path / "recipe.json", tmp_path / "dies.py"
    write_json(recipe, plain_recipe(tiny_world, tmp_path / "run"))
    script.write_text(DIES)
    done = torchrun(str(script), str(recipe))
    assert done.returncode != 0
    assert re.search(
        r"another process of the group (has )?died .*start the command again, the run resumes from its last checkpoint",
        done.stderr,
    ), done.stderr
    assert (tmp_path / "run" / "checkpoints").is_dir() and not (tmp_path / "run" / "model").exists()
    done = torchrun("-m", "promu.cli", "pretrain", str(recipe))
    assert done.returncode == 0, done.stderr
    assert done.stdout.count("model:") == 1
    assert same_log(one, tmp_path / "run") and same_weights(one / "model", tmp_path / "run" / "model")


def test_a_process_that_is_terminated_says_so(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    before = signal.getsignal(signal.SIGTERM)
    monkeypatch.setattr(distributed, "init_process_group", lambda *args, **kwargs: None)
    try:
        monkeypatch.setenv("WORLD_SIZE", "1")
        join_group()
        assert signal.getsignal(signal.SIGTERM) == before, "a process alone is terminated as any other"
        monkeypatch.setenv("WORLD_SIZE", "2")
        join_group()
        with pytest.raises(SystemExit) as stopped:
            signal.raise_signal(signal.SIGTERM)
    finally:
        signal.signal(signal.SIGTERM, before)
    assert stopped.value.code == 143
    assert caplog.messages == [
        "stopped, since another process of the group died or the machine asked for it; start the command again, the "
        "run resumes from its last checkpoint"
    ]
