"""A run whose fusion samples noise goes on with the noise that it would have had."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from tests.training.test_resume import finetune_recipe, same_log

from promu import progress
from promu.config import load_recipe
from promu.training.finetune import finetune
from promu.training.recipe import FinetuneRecipe


class Cut(Exception):
    """In the place of a power cut."""


def recipe_with_noise(world: Path, tokenizer: Path, out: Path) -> FinetuneRecipe:
    raw = finetune_recipe(world, tokenizer, out)
    model: dict[str, Any] = {**raw["model"], "config": {"fusion": "mmib"}}
    return load_recipe({**raw, "model": model}, FinetuneRecipe)


def cut_at_step_five(name: str, done: int, total: int) -> None:
    if (name, done) == ("ner", 5):
        raise Cut


@pytest.mark.slow
def test_a_run_that_samples_ends_as_an_unbroken_one(tiny_world: Path, tiny_models: Path, tmp_path: Path) -> None:
    finetune(recipe_with_noise(tiny_world, tiny_models / "ner", tmp_path / "unbroken"))
    broken = recipe_with_noise(tiny_world, tiny_models / "ner", tmp_path / "broken")
    with pytest.raises(Cut), progress.shown(cut_at_step_five):
        finetune(broken)
    finetune(broken)
    assert same_log(tmp_path / "unbroken", tmp_path / "broken")
