"""The card of a model says what is known of it, and goes where the model goes."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import yaml
from huggingface_hub import ModelCard
from tests.factories import save_tiny_model

from promu.modeling.backbone import model_card
from promu.tasks.torch_predictor import open_model

TRAINED: dict[str, Any] = {
    "recipe": {
        "data": {"train": "ner/train.txt", "dev": "ner/valid.txt", "images": None},
        "seed": 3,
        "model": {"init": "runs/pre", "text": None, "config": {}},
        "training": {"lr": 0.001, "epochs": 2.0},
    },
    "posts": {"train": 24, "dev": 8},
    "dev": {"posts": 8, "precision": 50.0, "recall": 25.0, "f1": 33.333},
    "test": None,
    "calibration": {
        "temperature": 1.5,
        "dev": {"answers": 12, "ece_before": 0.2, "ece_after": 0.05},
    },
}


def test_what_is_known_is_said(tiny_models: Path, tmp_path: Path) -> None:
    model, _ = open_model("ner", tiny_models / "ner", "cpu")
    model.config.promu_training = TRAINED
    model.save_pretrained(tmp_path / "saved")
    card = (tmp_path / "saved" / "README.md").read_text(encoding="utf-8")
    for line in (
        "# PromuForTokenClassification",
        "- train: `ner/train.txt`, 24 posts",
        "| seed | 3 |",
        "| training.lr | `0.001` |",
        "| dev | 8 | 50.00 | 25.00 | 33.33 |",
        "Scores are at temperature 1.500, fitted on dev. Expected calibration error:",
        "- dev: 0.200 before, 0.050 after (12 answers)",
        "- Texts are read up to 96 word pieces; what comes after is not seen.",
    ):
        assert line in card.splitlines()
    assert "`B-LOC`" in card and "images" not in card and "an image of 32 pixels" in card
    head: Any = ModelCard(card).data
    assert head.library_name == "promu" and "relation-extraction" in head.tags


def test_what_is_not_known_is_not_made_up(tmp_path: Path) -> None:
    model, _ = open_model("re", save_tiny_model(tmp_path / "model", "re", images=False), "cpu")
    card = model_card("PromuForRelationClassification", model.config)
    assert card.count("Not recorded.") == 2 and "Nothing that is recorded here." in card
    assert "It reads text alone, through a bert encoder." in card and "squeezed" not in card
    assert yaml.safe_load(card.split("---")[1])["library_name"] == "promu"


def test_a_model_is_pushed_by_hugging_face_s_own_means(
    tiny_models: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The library's `push_to_hub`, as far as the network: what would be uploaded."""
    sent: dict[str, list[str]] = {}

    class Repository:
        repo_id = "someone/something"

    class Api:
        def __getattr__(self, name: str) -> Any:
            return lambda *args, **settings: Repository()

    def uploaded(self: Any, folder: str, repository: str, *args: Any, **settings: Any) -> None:
        sent[repository] = sorted(path.name for path in Path(folder).iterdir())

    monkeypatch.setattr("transformers.utils.hub.hf_api", Api)
    monkeypatch.setattr("transformers.utils.hub.PushToHubMixin._upload_modified_files", uploaded)
    monkeypatch.setattr("transformers.utils.hub.create_and_tag_model_card", lambda *args, **settings: ModelCard("# x"))
    model: Any = open_model("ner", tiny_models / "ner", "cpu")[0]
    model.push_to_hub("someone/something")
    assert sent == {"someone/something": ["README.md", "config.json", "model.safetensors"]}
