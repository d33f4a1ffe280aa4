"""The objectives of other methods, from a recipe to a model that fine-tuning starts from."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch
from tests.training.test_resume import finetune_recipe, pretrain_recipe, training

from promu.config import load_recipe
from promu.errors import InputError
from promu.evaluation.pretrained import open_pair_model
from promu.modeling.loading import save_folder
from promu.training.finetune import finetune
from promu.training.pretrain import pretrain
from promu.training.recipe import PretrainRecipe


@pytest.mark.slow
def test_blip_filters_and_oscar_and_u_visualbert_read_tags(tiny_world: Path, tmp_path: Path) -> None:
    raw = pretrain_recipe(tiny_world, tmp_path / "blip")
    raw |= {"losses": "blip", "training": training(1)}
    raw["teacher"]["training"] = training(1)
    first = pretrain(raw)
    assert {"itm", "cit", "lm"} <= first["last"].keys() and "coe" not in first["last"]
    raw["teacher"] = {"init": str(tmp_path / "blip" / "teacher" / "model")}
    raw["tokenizer"] = str(tmp_path / "blip" / "tokenizer")
    judge, encoder = open_pair_model(tmp_path / "blip" / "model")
    with torch.no_grad():
        dict(judge.named_parameters())["itm_head.bias"][1] += 9.0  # after one epoch it holds every caption for wrong
    save_folder(tmp_path / "judge", judge, encoder.tokenizer)
    data = {**raw["data"], "filter": str(tmp_path / "judge")}
    second = pretrain({**raw, "data": data, "out": str(tmp_path / "filtered")})
    header = json.loads((tmp_path / "filtered" / "filtered" / "corpus.json").read_text())
    assert second["matched"] == header["matched"] == header["filtered"]["kept"] + header["filtered"]["made"]
    assert second["matched"] > first["matched"], "captions were written"
    oscar = pretrain({**raw, "losses": "oscar", "out": str(tmp_path / "oscar")})
    assert {"mlm", "tag"} <= oscar["last"].keys() and "cit" not in oscar["last"]
    unpaired = pretrain({**raw, "losses": "u-visualbert", "out": str(tmp_path / "unpaired")})
    assert "mlm" in unpaired["last"] and not {"itm", "cit", "tag"} & unpaired["last"].keys()
    tuned = finetune_recipe(tiny_world, Path(raw["tokenizer"]), tmp_path / "ner")
    for name in ("filtered", "oscar", "unpaired"):
        model = {"init": str(tmp_path / name / "model")}
        found = finetune({**tuned, "model": model, "training": training(1), "out": str(tmp_path / f"ner-{name}")})
        assert found["posts"]["train"] > 0


def test_what_has_learned_from_pairs_is_no_start_without_pairs(tiny_world: Path, tmp_path: Path) -> None:
    raw = pretrain_recipe(tiny_world, tmp_path) | {"losses": "u-visualbert", "warm_start": True}
    with pytest.raises(InputError, match="warm_start begins with a teacher that has learned from pairs"):
        load_recipe(raw, PretrainRecipe)
