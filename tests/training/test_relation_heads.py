"""Relation heads other than markers: they learn, are saved and opened again, and start from models of another head."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from tests.training.test_multi_task import FILES, multi_recipe
from tests.training.test_resume import log_of

from promu import Extractor
from promu.cli import main
from promu.modeling.classification import PromuForRelationClassification
from promu.modeling.initial_model import start_from
from promu.training.finetune import finetune

pytestmark = pytest.mark.slow


@pytest.mark.parametrize("head", ["spans", "levitated"])
def test_a_run_learns_and_its_model_gives_the_same_figures(
    head: str, tiny_world: Path, tiny_models: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    recipe = multi_recipe(tiny_world, tiny_models / "ner", tmp_path / "run")
    result = finetune(recipe, [f"model.config.relation_head={head}", "training.epochs=1"])["tasks"]["re"]
    losses = [line["loss"] for line in log_of(tmp_path / "run") if "loss" in line]
    assert losses[-1] < losses[0]
    capsys.readouterr()
    words = ["evaluate", "re", str(tmp_path / "run" / "model"), "--data", str(tiny_world / "re" / FILES["re"]["test"])]
    assert main([*words, "--images", str(tiny_world / "re" / "images"), "--json"]) == 0
    figures = json.loads(capsys.readouterr().out)
    assert (figures["f1"], figures["precision"]) == (result["test"]["f1"], result["test"]["precision"])
    extractor = Extractor.from_pretrained(tmp_path / "run" / "model", "cpu")
    assert extractor._one_pass == (head == "spans")


def test_a_head_starts_fresh_on_the_backbone_of_a_model_with_another(tiny_models: Path) -> None:
    model = start_from(PromuForRelationClassification, tiny_models / "re", relation_head="spans")
    old = PromuForRelationClassification.from_pretrained(tiny_models / "re")
    assert model.promu.state_dict().keys() == old.promu.state_dict().keys()
    assert all((model.promu.state_dict()[name] == value).all() for name, value in old.promu.state_dict().items())
    assert model.config.labels == old.config.labels and not hasattr(model, "classifier")
