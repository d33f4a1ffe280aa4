"""A rehearsal of the paper's road at tiny shapes: every stage, an interrupt, and REHEARSAL on all that is said."""

from __future__ import annotations

import inspect
import json
import os
import re
import textwrap
from pathlib import Path
from typing import Any

import pytest

from promu.cli import main
from promu.errors import InputError
from promu.hub import quiet
from promu.study.rehearsal import Rehearsal, rehearse
from promu.study.stand_ins import TRUE, filled, write_models
from promu.training.tokenizers import train_wordpiece

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def rehearsed(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Rehearsal]:
    """The folder of the docstring's example and what it returns, without any fetched set."""
    home = tmp_path_factory.mktemp("rehearsal")
    example = re.search(r"```python\n(.*?)```", inspect.getdoc(rehearse) or "", flags=re.DOTALL)
    assert example is not None
    names: dict[str, Any] = {}
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("PROMU_DATA", str(home / "nothing"))
        patch.setenv("HF_HUB_DISABLE_PROGRESS_BARS", "1")
        quiet()  # what this sets, a process keeps
        patch.chdir(home)
        before = dict(os.environ)
        exec(compile(textwrap.dedent(example[1]), "rehearse", "exec"), names)
        assert dict(os.environ) == before, "what it sets for itself is set back"
    return home / "runs" / "small-rehearsal", names["rehearsal"]


@pytest.fixture()
def result(rehearsed: tuple[Path, Rehearsal]) -> dict[str, Any]:
    return dict(json.loads((rehearsed[0] / "rehearsal.json").read_text(encoding="utf-8")))


def test_every_stage_of_table_1_is_walked_and_measured(result: dict[str, Any]) -> None:
    stages = {stage["name"]: stage for stage in result["stages"]}
    trained = ["teacher", "promu · pre-training", "promu · Twitter-2015", "promu · Twitter-2017", "promu · MRE"]
    others = ["corpus and tokenizer", "labels", "labels of a CLIP-type teacher"]
    assert set(stages) == {"models", "sets as published", *others, *trained, "KECPM's writer"}
    for name in (*trained, "KECPM's writer"):
        assert stages[name]["steps"] >= 2 and stages[name]["seconds_a_step"] > 0
    for name in (*trained, *others):
        assert stages[name]["peak_bytes"] > 100e6 and stages[name]["disk_bytes"] > 0
        assert 0 < stages[name]["cpu_seconds"] < 120
    assert result["left"] == {"corpus": 1, "teacher": 3, "labels": 3, "pretrain": 15, "finetune": 54}


def test_pre_training_is_interrupted_and_goes_on(result: dict[str, Any]) -> None:
    resumed = result["resumed"]
    assert (resumed["killed_in"], resumed["went_on_from"], resumed["steps"]) == (3, 2, 4)
    assert resumed["checkpoint_bytes"] > 1e6


def test_what_is_wrong_with_the_made_release_is_counted(result: dict[str, Any]) -> None:
    """16 true and 16 falsified pairs of 16 images, one of them missing; what merged_balanced repeats is read once."""
    assert result["read"] == {"kept": 30, "missing image": 2, "pair of several subsets": 8, "unknown id": 1}


def test_no_figure_is_left(rehearsed: tuple[Path, Rehearsal], result: dict[str, Any]) -> None:
    assert [path.name for path in rehearsed[0].iterdir()] == ["rehearsal.json"], "models, sets and runs are removed"
    assert next(iter(result)) == "REHEARSAL" and "REHEARSAL" in result["REHEARSAL"]
    assert not {"f1", "dev", "test", "precision"} & set(flat_keys({**result, "machine": None}))
    assert result["table1"] == [["promu", "REHEARSAL", "REHEARSAL", "REHEARSAL"]]


def test_the_command_says_rehearsal_in_whatever_it_says(
    rehearsed: tuple[Path, Rehearsal], monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    asked: list[Any] = []

    def answer(out: Path, **settings: Any) -> Rehearsal:
        asked.append(settings)
        return rehearsed[1]

    monkeypatch.setattr("promu.study.rehearsal.rehearse", answer)
    assert main(["rehearse", "--small", "--out", "x"]) == 0
    printed = capsys.readouterr()
    assert asked == [{"small": True, "tokenizer": None}]
    assert printed.err.startswith("note: REHEARSAL: random weights, stand-in images")
    assert "REHEARSAL, tiny shapes: what each stage takes here" in printed.out
    assert "REHEARSAL of table 1: its rows, without figures" in printed.out
    assert "REHEARSAL: pre-training was killed in step 3 and went on from step 2 of 4" in printed.out
    assert "REHEARSAL: photographs of VisualNews: drawn images" in printed.out
    assert main(["rehearse", "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["REHEARSAL"].startswith("REHEARSAL: random weights")


def flat_keys(value: Any) -> list[str]:
    if isinstance(value, dict):
        return [*value, *(key for inner in value.values() for key in flat_keys(inner))]
    return [key for inner in value for key in flat_keys(inner)] if isinstance(value, list) else []


def test_another_folder_and_another_tokenizer_are_refused(tmp_path: Path) -> None:
    (tmp_path / "mine.txt").write_text("do not touch")
    with pytest.raises(InputError, match="this holds something else than a rehearsal"):
        rehearse(tmp_path, small=True)
    with pytest.raises(InputError, match=r"these systems have none; add one of .*promu; .* to systems="):
        rehearse(tmp_path / "new", small=True, systems=["text-only"])
    assert [path.name for path in tmp_path.iterdir()] == ["mine.txt"]
    pieces = filled(train_wordpiece(["a dog met a cat"], 250, 1), 300)
    assert len(pieces) == 300 and pieces("a dog")["input_ids"][0] == pieces.cls_token_id
    pieces.save_pretrained(tmp_path / "pieces")
    with pytest.raises(InputError, match="this tokenizer has 300 tokens, and 30,522 are wanted"):
        write_models(tmp_path / "models", TRUE, ["a"], tmp_path / "pieces")
    assert not (tmp_path / "models").exists()
