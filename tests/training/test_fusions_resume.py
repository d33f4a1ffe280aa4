"""A broken run goes on as an unbroken one, whatever its fusion has of its own."""

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


def recipe_of(fusion: str, world: Path, tokenizer: Path, out: Path) -> FinetuneRecipe:
    raw = finetune_recipe(world, tokenizer, out)
    model: dict[str, Any] = {**raw["model"], "config": {"fusion": fusion}}
    return load_recipe({**raw, "model": model}, FinetuneRecipe)


def cut_at_step_five(name: str, done: int, total: int) -> None:
    if (name, done) == ("ner", 5):
        raise Cut


@pytest.mark.slow
@pytest.mark.parametrize("fusion", ["mmib", "umt"])
def test_a_broken_run_ends_as_an_unbroken_one(fusion: str, tiny_world: Path, tiny_models: Path, tmp_path: Path) -> None:
    """One fusion that samples noise, and one with a task of its own beside the model's."""
    finetune(recipe_of(fusion, tiny_world, tiny_models / "ner", tmp_path / "unbroken"))
    broken = recipe_of(fusion, tiny_world, tiny_models / "ner", tmp_path / "broken")
    with pytest.raises(Cut), progress.shown(cut_at_step_five):
        finetune(broken)
    finetune(broken)
    assert same_log(tmp_path / "unbroken", tmp_path / "broken")
