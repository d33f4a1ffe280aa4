"""Fine-tuning and evaluation have one policy for what a model cannot give: scored, counted and said."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import pytest
from tests.factories import TINY_TEXT

from promu.cli import main

POST = "IMGID:{}\nAnn\tB-PER\nmet\tO\nBob\tB-PER\nin\tO\nRome\tB-LOC\n\n"
SHIP = "IMGID:{}\nthe\tO\nship\tO\nOrla\tB-SHIP\nmet\tO\nAnn\tB-PER\n\n"
LONG = "IMGID:{}\n" + "met\tO\n" * 100 + "Bob\tB-PER\n\n"


@pytest.fixture
def recipe(tmp_path: Path, tiny_models: Path) -> dict[str, Any]:
    (tmp_path / "base.txt").write_text("".join(POST.format(number) for number in range(8)))
    return {
        "task": "ner",
        "data": {"train": str(tmp_path / "base.txt"), "dev": str(tmp_path / "base.txt")},
        "images": "none",
        "model": {"text": TINY_TEXT, "tokenizer": str(tiny_models / "ner")},
        "training": {"epochs": 1, "batch_size": 8, "lr": 1e-3, "precision": "fp32"},
        "out": str(tmp_path / "run"),
    }


def finetune(recipe: dict[str, Any], folder: Path) -> int:
    (folder / "recipe.json").write_text(json.dumps(recipe))
    return main(["finetune", str(folder / "recipe.json")])


def result(folder: Path) -> dict[str, Any]:
    found: dict[str, Any] = json.loads((folder / "run" / "result.json").read_text())
    return found


def test_a_class_that_occurs_in_test_alone(
    recipe: dict[str, Any], tmp_path: Path, capsys: pytest.CaptureFixture[str], caplog: pytest.LogCaptureFixture
) -> None:
    test = tmp_path / "test.txt"
    test.write_text(SHIP.format(0) + POST.format(1))
    recipe["data"]["test"] = str(test)
    assert finetune(recipe, tmp_path) == 0
    capsys.readouterr()
    assert f"{test}: training has no SHIP (1); the model misses them all, and they are scored" in caplog.text
    found = result(tmp_path)
    assert found["unknown_labels"] == {"train": {}, "dev": {}, "test": {"SHIP": 1}}
    assert found["beyond_the_model"]["test"] == {"of a label that training lacks": 1}
    assert found["test"]["per_type"]["SHIP"]["gold"] == 1
    words = ["evaluate", "ner", str(tmp_path / "run" / "model"), "--data", str(test), "--json"]
    assert main(words) == 0
    said = capsys.readouterr()
    evaluated = json.loads(said.out)
    assert "the model cannot give labels that the gold has, and misses them all: SHIP (1)" in said.err
    assert evaluated["unknown_labels"] == {"SHIP": 1}
    assert evaluated["per_type"] == found["test"]["per_type"], "one policy: the same figures"


def test_long_posts_are_counted_with_their_score(
    recipe: dict[str, Any], tmp_path: Path, capsys: pytest.CaptureFixture[str], caplog: pytest.LogCaptureFixture
) -> None:
    test = tmp_path / "test.txt"
    test.write_text(POST.format(0) + LONG.format(1) + LONG.format(2))
    recipe["data"] |= {"test": str(test)}
    assert finetune(recipe, tmp_path) == 0
    said = capsys.readouterr().out
    match = re.search(
        r"^test: (longer than the 80 tokens that are read: 2 of 3 posts \(the longest has \d+\); "
        r"entities past them: 2 of 5)(: F1 .* without them)$",
        said,
        re.MULTILINE,
    )
    assert match is not None and "train: longer" not in said
    assert f"{test}: {match[1]}; train with a larger model.config.max_length, to 96 at most" in caplog.text
    found = result(tmp_path)
    long = found["long_posts"]["test"]
    assert (long["posts"], long["lost"], long["of_answers"], long["f1"]) == (2, 2, 5, found["test"]["f1"])
    assert long["f1_without"] >= long["f1"] and found["long_posts"]["train"]["posts"] == 0
    assert found["beyond_the_model"]["test"] == {"past the last word that is read": 2}
    assert main(["evaluate", "ner", str(tmp_path / "run" / "model"), "--data", str(test)]) == 0
    # evaluation reads long posts in windows, as extraction does
    held = match[1].replace("are read:", "are read together:").replace("past them: 2", "that no window holds: 0")
    assert held in capsys.readouterr().out
    assert match[2] == f": F1 {long['f1']:.2f}, {long['f1_without']:.2f} without them"
    assert main(["evaluate", "ner", str(tmp_path / "run" / "model"), "--data", str(test), "--json"]) == 0
    scored = json.loads(capsys.readouterr().out)["long_posts"]
    assert scored.keys() == long.keys() and scored["f1_without"] == scored["f1"], "nothing is lost"
    assert (scored["posts"], scored["lost"], scored["of_answers"]) == (2, 0, 5)


@pytest.mark.parametrize("split", ["train", "dev"])
def test_a_set_without_entities_is_refused(
    split: str, recipe: dict[str, Any], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "none.txt").write_text("IMGID:1\nAnn\tO\nmet\tO\n\n")
    recipe["data"][split] = str(tmp_path / "none.txt")
    assert finetune(recipe, tmp_path) == 2
    assert f"error: {tmp_path / 'none.txt'}: no post here has an entity" in capsys.readouterr().err
    assert not (tmp_path / "run").exists()


def test_a_length_over_the_positions_is_refused(
    recipe: dict[str, Any], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    recipe["model"]["config"] = {"max_length": 97}
    assert finetune(recipe, tmp_path) == 2
    assert "max_length is 97, but the text encoder has 96 positions; set max_length" in capsys.readouterr().err
    assert not (tmp_path / "run").exists()


def test_no_epoch_that_finds_anything_is_said(
    recipe: dict[str, Any], tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    recipe["training"]["lr"] = 1e-12
    assert finetune(recipe, tmp_path) == 0
    said = "no epoch finds anything right on dev, so that the first was kept; train longer or otherwise"
    assert (said in caplog.text) is (result(tmp_path)["dev"]["f1"] == 0)
