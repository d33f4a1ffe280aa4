"""Whose folder it is: a run's own is taken up again, anything else is left alone."""

from __future__ import annotations

from pathlib import Path

import pytest

from promu.errors import InputError
from promu.runs import RunFolder, prediction_files


def test_a_run_finds_its_own_result_again(tmp_path: Path) -> None:
    out, settings = tmp_path / "run", {"seed": 1}
    assert RunFolder(out).result(settings) is None
    RunFolder(out).claim(settings)
    (out / "checkpoints").mkdir()
    RunFolder(out).finish({"f1": 50.0})
    assert RunFolder(out).result(settings) == {"f1": 50.0}
    assert not (out / "checkpoints").exists()


def test_a_run_of_other_settings_is_named_and_refused(tmp_path: Path) -> None:
    RunFolder(tmp_path / "run").claim({"seed": 1})
    RunFolder(tmp_path / "run").finish({})
    with pytest.raises(InputError, match="other settings \\(seed\\)"):
        RunFolder(tmp_path / "run").claim({"seed": 2})


def test_a_folder_of_something_else_is_left_alone(tmp_path: Path) -> None:
    (tmp_path / "letter.txt").write_text("dear", encoding="utf-8")
    with pytest.raises(InputError, match="holds no run"):
        RunFolder(tmp_path).claim({"seed": 1})
    assert [path.name for path in tmp_path.iterdir()] == ["letter.txt"]


def test_a_claim_alone_may_be_taken_over(tmp_path: Path) -> None:
    RunFolder(tmp_path / "run").claim({"seed": 1})
    RunFolder(tmp_path / "run").claim({"seed": 2})
    assert RunFolder(tmp_path / "run").result({"seed": 2}) is None


def test_predictions_for_files_of_one_name_are_two_files(tmp_path: Path) -> None:
    def named(**files: list[str]) -> dict[str, list[str]]:
        found = prediction_files(tmp_path, {split: list(map(Path, of)) for split, of in files.items()})
        return {split: [path.relative_to(tmp_path).as_posix() for path in of] for split, of in found.items()}

    assert named(dev=["d/valid.txt"], test=["d/test.txt"]) == {"dev": ["valid.txt"], "test": ["test.txt"]}
    clash = named(dev=["d/posts.jsonl"], test=["t/Posts.jsonl"])
    assert clash == {"dev": ["dev-posts.jsonl"], "test": ["test-Posts.jsonl"]}
    same = named(dev=["all.txt"], test=["./all.txt"])
    assert same == {"dev": ["all.txt"], "test": ["all.txt"]}, "what is predicted for one file is one file"
    assert named(dev=["a/x.txt", "b/x.txt"])["dev"] == ["a/x.txt", "b/x.txt"]
    assert named(dev=["1/a/x.txt", "2/a/x.txt"])["dev"] == ["a/dev-1-x.txt", "a/dev-2-x.txt"]
