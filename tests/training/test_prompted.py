"""Models whose labels are prompts: trained on sets with different types, asked for others, scored on unseen ones."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from tests.factories import TINY_TEXT
from tests.training.test_resume import training

from promu import InputError
from promu.config import load_recipe
from promu.modeling.label_prompts import type_prompts
from promu.schema import Entity, Post
from promu.tasks.model_folder import open_predictor
from promu.tasks.task import TASKS
from promu.training.finetune import finetune
from promu.training.prompted import Prompted
from promu.training.recipe import FinetuneRecipe, PromptSettings

SETS = {"city": ("PER", "LOC"), "shop": ("brand", "team")}


def write(folder: Path) -> dict[str, list[dict[str, Any]]]:
    """Two sets of posts with different types."""
    names = {"PER": "Ann", "LOC": "Rome", "brand": "Zorva", "team": "Kelmo"}
    files: dict[str, list[dict[str, Any]]] = {"train": [], "dev": [], "test": []}
    for split, of_split in files.items():
        for name, (first, second) in SETS.items():
            path = folder / f"{name}.{split}.jsonl"
            lines = [
                {
                    "id": f"{name}{row}",
                    "tokens": ["today", names[first], "met", names[second]],
                    "entities": [{"start": 1, "end": 2, "type": first}, {"start": 3, "end": 4, "type": second}][
                        : 1 + row % 2
                    ],
                }
                for row in range(6)
            ]
            path.write_text("".join(json.dumps(line) + "\n" for line in lines))
            of_split.append({"file": str(path)})
    return files


def recipe(folder: Path, tokenizer: Path, **prompts: Any) -> dict[str, Any]:
    folder.mkdir(parents=True, exist_ok=True)
    return {
        "task": ["ner"],
        "data": {"ner": write(folder)},
        "labels": "prompts",
        "prompts": prompts,
        "model": {"text": TINY_TEXT, "tokenizer": str(tokenizer), "config": {"fusion": "text"}},
        "training": {**training(1), "batch_size": 8},
        "images": "none",
        "out": str(folder / "run"),
    }


@pytest.mark.slow
def test_sets_with_different_types_train_one_model_that_is_asked_for_others(tiny_models: Path, tmp_path: Path) -> None:
    result = finetune(recipe(tmp_path, tiny_models / "ner", held_out=["team"], texts={"brand": "what is sold"}))
    one = result["tasks"]["ner"]
    assert one["posts"] == {"train": 9, "dev": 9, "test": 9}, "posts that have a team are left out"
    held = one["held_out"]
    assert held["labels"] == ["team"] and held["answers"] == 3
    assert {"model", "nearest_name"} < set(held) and 0 <= held["model"]["f1"] <= 100
    predictor = open_predictor("ner", tmp_path / "run" / "model", "cpu")
    assert predictor.names == ["LOC", "PER", "brand"] and predictor.config.label_texts == {"brand": "what is sold"}
    asked = predictor.asking(type_prompts(["team: clubs", "ship", "person"]))
    assert asked.labels == ("O", "B-team", "I-team", "B-ship", "I-ship", "B-person", "I-person")
    assert predictor.names == ["LOC", "PER", "brand"], "the model itself is asked for what it was"
    (output,) = asked.predict([Post("1", ("Ann", "met", "Bob"))], lambda _: {})
    assert output.outputs.shape == (1, 3, 7) and asked.answer(output)
    (own,) = predictor.predict([Post("1", ("Ann", "met", "Bob"))], lambda _: {})
    assert own.outputs.shape == (1, 3, 7)


def test_a_batch_is_asked_for_its_labels_and_for_some_that_none_has() -> None:
    posts = [
        Post("1", ("Ann",), entities=(Entity(0, 1, "PER"),)),
        Post("2", ("Zorva",), entities=(Entity(0, 1, "brand"),)),
    ]
    known = [["LOC", "PER"], ["brand", "team"]]
    prompted = Prompted(TASKS["ner"], PromptSettings(negatives=1, dropped=0))
    asked = prompted.draw(posts, known, np.random.default_rng(0))
    assert set(asked.names) > {"PER", "brand"} and len(asked.names) == 3
    for row, of_set in enumerate(known):
        assert asked.mask[row].tolist() == [int(name in of_set) for name in asked.names]
    every = Prompted(TASKS["ner"], PromptSettings(negatives=9, dropped=1)).draw(posts, known, np.random.default_rng(0))
    assert every.names == ["LOC", "team"], "what is left out is asked of no post of the batch"
    none = Prompted(TASKS["ner"], PromptSettings(negatives=0, dropped=1)).draw(posts, known, np.random.default_rng(0))
    assert none.names == ["PER", "brand"], "a batch is asked for something"


def test_labels_are_held_out_by_name_or_by_share() -> None:
    names = ["a", "b", "c", "d", "e", "f"]
    assert Prompted(TASKS["ner"], PromptSettings(held_out=["c", "a"])).hold_out(names, 0) == ["a", "c"]
    third = Prompted(TASKS["ner"], PromptSettings(held_out=1 / 3))
    assert len(third.hold_out(names, 0)) == 2 and third.hold_out(names, 0) == third.hold_out(names, 0)
    assert len({tuple(third.hold_out(names, seed)) for seed in range(5)}) > 1
    with pytest.raises(InputError, match=r"held_out names 'x', and the labels are a, b"):
        Prompted(TASKS["ner"], PromptSettings(held_out=["x"])).hold_out(names, 0)
    with pytest.raises(InputError, match="has all labels, and none is left to learn"):
        Prompted(TASKS["ner"], PromptSettings(held_out=1.0)).hold_out(names, 0)


@pytest.mark.parametrize(
    ("changes", "reason"),
    [
        ({"labels": "fixed", "prompts": {"negatives": 3}}, "labels is fixed; set labels: prompts"),
        ({"task": "joint", "data": {"train": "a", "dev": "b"}}, "labels: prompts is for the tasks ner and re"),
        ({"prompts": {"held_out": 2}}, "held_out"),
    ],
)
def test_recipes_that_make_no_sense(changes: dict[str, Any], reason: str, tmp_path: Path) -> None:
    with pytest.raises(InputError) as error:
        load_recipe({**recipe(tmp_path, tmp_path), **changes}, FinetuneRecipe)
    assert reason in str(error.value)
