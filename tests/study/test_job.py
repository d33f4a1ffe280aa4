"""Jobs: what they are known by, and where their inputs are."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import pytest

from promu.errors import InputError
from promu.study.job import RESULT, Job, with_inputs

CORPUS = Job("draw", "drawing", {"seed": 0})
MODEL = Job(
    "finetune", "a model", {"train": "job:corpus/train.txt", "epochs": [1, {"at": "job:corpus"}]}, {"corpus": CORPUS}
)


def test_the_key_changes_with_settings_and_inputs_and_with_nothing_else() -> None:
    assert replace(MODEL, label="another name", cost=7.0).key == MODEL.key
    others = [
        replace(MODEL, settings={**MODEL.settings, "seed": 1}),
        replace(MODEL, kind="pretrain"),
        replace(MODEL, inputs={"corpus": replace(CORPUS, settings={"seed": 1})}),
        replace(MODEL, inputs={"other": CORPUS}),
    ]
    assert len({MODEL.key, *(other.key for other in others)}) == 5
    reordered = Job("draw", "", {"b": 1, "a": [2]}), Job("draw", "", {"a": [2], "b": 1})
    assert reordered[0].key == reordered[1].key


def test_settings_point_into_the_folders_of_the_inputs(tmp_path: Path) -> None:
    run = f"{tmp_path}/{CORPUS.key}/run"
    assert MODEL.resolved(tmp_path) == {"train": f"{run}/train.txt", "epochs": [1, {"at": run}]}


def test_inputs_come_before_what_reads_them_and_each_once() -> None:
    second = replace(MODEL, settings={"seed": 3})
    found = with_inputs([MODEL, second, MODEL])
    assert list(found) == [CORPUS.key, MODEL.key, second.key]


def test_a_job_is_done_when_its_result_is_there(tmp_path: Path) -> None:
    assert CORPUS.result(tmp_path) is None
    (tmp_path / CORPUS.key).mkdir()
    CORPUS.save(tmp_path, {"f1": 1.5}, 2.0, 1.0)
    found = CORPUS.result(tmp_path)
    assert found is not None and found["result"] == {"f1": 1.5} and found["cpu_seconds"] == 1.0
    assert found["label"] == "drawing"
    (tmp_path / CORPUS.key / RESULT).write_text("{", encoding="utf-8")
    with pytest.raises(InputError, match="not JSON"):
        CORPUS.result(tmp_path)
    assert json.dumps(found)
