"""The record of scoring: nothing is scored without a line, and a test set that was touched twice is known by it."""

from __future__ import annotations

import json
import logging
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
import torch
from tests.factories import TINY_TEXT

from promu.cli import main
from promu.errors import InputError
from promu.files import checksum
from promu.modeling.loading import load_model
from promu.pytorch import weights_checksum
from promu.runs import EVALUATIONS, EvaluationLog, code_version, record_evaluation
from promu.tasks.task import TASKS


@pytest.fixture
def gold(tmp_path: Path) -> Path:
    path = tmp_path / "gold.txt"
    path.write_text("IMGID:1\na\tO\n")
    return path


def test_a_line_says_what_was_scored_with_what(tmp_path: Path, gold: Path, caplog: pytest.LogCaptureFixture) -> None:
    model = torch.nn.Linear(2, 2)
    EvaluationLog(tmp_path).add("dev", gold, model)
    EvaluationLog(tmp_path).add("dev", gold, model)
    EvaluationLog(tmp_path).add("test", gold, model)
    assert not caplog.records, "dev may be scored at will, and test once"
    first, _, last = EvaluationLog(tmp_path).read()
    assert (first.split, first.file, first.sha256) == ("dev", str(gold), checksum(gold))
    assert first.weights == last.weights == weights_checksum(model.state_dict()) and first.version == code_version()
    assert datetime.fromisoformat(first.time).utcoffset() == timedelta(0)
    assert EvaluationLog(tmp_path).weights_by_split() == {"dev": 1, "test": 1}


def test_a_second_scoring_of_test_is_warned_about_and_stays(
    tmp_path: Path, gold: Path, caplog: pytest.LogCaptureFixture
) -> None:
    one, other = torch.nn.Linear(2, 2), torch.nn.Linear(2, 2)
    EvaluationLog(tmp_path).add("test", gold, one)
    before = (tmp_path / EVALUATIONS).read_bytes()
    with caplog.at_level(logging.WARNING):
        EvaluationLog(tmp_path).add("test", gold, other)
    assert "test set was scored 1 times before, 1 of them with other weights" in caplog.text
    assert (tmp_path / EVALUATIONS).read_bytes().startswith(before)
    assert EvaluationLog(tmp_path).weights_by_split() == {"test": 2}


def test_weights_are_known_by_their_values() -> None:
    linear = torch.nn.Linear(3, 2)
    model = torch.nn.Sequential(linear, torch.nn.BatchNorm1d(2))
    before = weights_checksum(model.state_dict())
    assert weights_checksum(model.state_dict()) == before
    with torch.no_grad():
        linear.bias[1] += 1e-6
    assert weights_checksum(model.state_dict()) != before
    exact = weights_checksum(model.float().state_dict())
    assert weights_checksum(model.to(torch.bfloat16).state_dict()) not in (before, exact)


@pytest.mark.parametrize("line", ["{", "[]", '{"split": "test"}'])
def test_a_record_that_is_none_is_named(line: str, tmp_path: Path, gold: Path) -> None:
    EvaluationLog(tmp_path).add("test", gold, torch.nn.Linear(1, 1))
    with (tmp_path / EVALUATIONS).open("a") as file:
        file.write(line + "\n")
    with pytest.raises(InputError) as caught:
        EvaluationLog(tmp_path).add("test", gold, torch.nn.Linear(1, 1))
    assert (caught.value.path, caught.value.line) == (str(tmp_path / EVALUATIONS), 2)


def test_a_model_outside_its_run_leaves_no_record(tmp_path: Path, gold: Path) -> None:
    (tmp_path / "model").mkdir()
    record_evaluation(tmp_path / "model", gold, torch.nn.Linear(1, 1))
    assert not (tmp_path / EVALUATIONS).exists()


@pytest.mark.slow
def test_a_run_proves_that_test_was_touched_once(
    tiny_world: Path,
    tiny_models: Path,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    caplog: pytest.LogCaptureFixture,
) -> None:
    names = {"train": "train.txt", "dev": "valid.txt", "test": "test.txt"}
    data = {split: str(tiny_world / "ner" / name) for split, name in names.items()}
    run = tmp_path / "run"
    recipe: dict[str, Any] = {
        "task": "ner",
        "data": data,
        "model": {"text": TINY_TEXT, "tokenizer": str(tiny_models / "ner")},
        "training": {"epochs": 3, "batch_size": 8, "lr": 1e-3, "precision": "fp32"},
        "images": "none",
        "out": str(run),
    }
    (tmp_path / "recipe.yaml").write_text(json.dumps(recipe))
    assert main(["finetune", str(tmp_path / "recipe.yaml")]) == 0
    assert "test was scored with the chosen weights alone" in capsys.readouterr().out
    result = json.loads((run / "result.json").read_text())
    # dev after each of three epochs, then once more with the best epoch's weights
    assert [scoring.split for scoring in EvaluationLog(run).read()] == ["dev"] * 4 + ["test"]
    assert result["scored"] == {"dev": 3, "test": 1}
    assert result["data"]["test"] == {
        "file": data["test"],
        "sha256": checksum(data["test"]),
        "release": "unknown",
    }
    chosen = {scoring.weights for scoring in EvaluationLog(run).read()[-2:]}
    model = load_model(TASKS["ner"].model_class, run / "model")
    assert chosen == {result["weights"]} == {weights_checksum(model.state_dict())}
    # once more from the command line: a copy of the file is the same test set
    copy = tmp_path / "copy.txt"
    copy.write_bytes(Path(data["test"]).read_bytes())
    assert main(["evaluate", "ner", str(run / "model"), "--data", str(copy)]) == 0
    assert "test set was scored 1 times before, 0 of them with other weights" in caplog.text
    caplog.clear()
    assert main(["evaluate", "ner", str(run / "model"), "--data", data["train"]]) == 0
    assert "scored" not in caplog.text
    assert [scoring.split for scoring in EvaluationLog(run).read()[4:]] == ["test", "test", "other"]
