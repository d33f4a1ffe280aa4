"""Learning to restore texts before any label is seen."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from promu.errors import InputError
from promu.kecpm.kecpm_recipe import KecpmRecipe, Seq2SeqSettings
from promu.kecpm.train_kecpm import train_denoiser, train_seed
from promu.newsreel.joint_world import write_joint
from promu.newsreel.settings import JointSettings
from promu.training.recipe import TokenizerSettings, TrainingSettings

pytestmark = pytest.mark.slow

SMALL = {"model_type": "t5", "d_model": 32, "d_kv": 16, "d_ff": 64, "num_layers": 1, "num_decoder_layers": 1}
MODEL = Seq2SeqSettings(name={**SMALL, "num_heads": 2, "dropout_rate": 0.0}, tokenizer=TokenizerSettings(size=420))
TEXTS = [f"a {noun} by the {place}" for noun in ("dog", "cat", "owl", "hen") for place in ("sea", "road", "wood")]


def training(epochs: int) -> TrainingSettings:
    return TrainingSettings(epochs=epochs, batch_size=12, lr=1e-2, precision="fp32")


@pytest.fixture(scope="module")
def read(tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("read") / "run"
    first = train_denoiser(TEXTS, MODEL, training(1), 0, out.with_name("one"))
    result = train_denoiser(TEXTS, MODEL, training(80), 0, out)
    assert result["texts"] == 12 and result["loss"] < first["loss"] / 3
    return out


def test_a_model_starts_from_what_was_saved(read: Path, tmp_path: Path) -> None:
    write_joint(tmp_path / "set", JointSettings(size=32, posts=(8, 2, 2)))
    files = {
        split: f"{tmp_path}/set/{name}.json" for split, name in (("train", "train"), ("dev", "val"), ("test", "test"))
    }
    recipe = KecpmRecipe.model_validate(
        {
            "data": files,
            "model": {"name": str(read / "model")},
            "training": {"epochs": 1, "precision": "fp32"},
            "decoding": {"limit": 200},
            "out": str(tmp_path / "run"),
        }
    )
    assert train_seed(recipe, 0)["test"]["parsed"] == 1.0
    config = json.loads((tmp_path / "run/seed-0/model/config.json").read_text())
    assert config["d_model"] == 32


def test_a_finished_run_is_not_repeated(read: Path) -> None:
    before = (read / "model" / "model.safetensors").stat().st_mtime_ns
    assert train_denoiser(TEXTS, MODEL, training(80), 0, read)["texts"] == 12
    assert (read / "model" / "model.safetensors").stat().st_mtime_ns == before


def test_a_model_that_exists_is_not_made_to_read(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="starts from random weights"):
        train_denoiser(TEXTS, Seq2SeqSettings(name="google-t5/t5-small"), training(1), 0, tmp_path / "run")
