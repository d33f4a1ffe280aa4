"""An entity model and a relation model in one folder: opened as one, checked against each other, whole or not there."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

import promu
from promu.cli import main
from promu.errors import InputError
from promu.extraction.extractor import Extractor


def test_two_models_become_one_folder(tiny_models: Path, tmp_path: Path) -> None:
    result = promu.bundle(tmp_path / "both", ner=tiny_models / "ner", re=tiny_models)
    assert result.entity_types == ["LOC", "MISC", "ORG", "PER"] and "/per/per/peer" in result.relations
    assert not result.warnings and "None" not in result.relations
    one, other = Extractor.from_pretrained(tmp_path / "both", device="cpu"), Extractor.from_pretrained(tiny_models)
    assert one("Ann Lee met Bob in Rome").to_dict() == other("Ann Lee met Bob in Rome").to_dict()


def test_types_are_stored_with_the_relation_model(tiny_models: Path, tmp_path: Path) -> None:
    promu.bundle(tmp_path / "both", ner=tiny_models / "ner", re=tiny_models / "re", types={"ORG": "per"})
    config = json.loads((tmp_path / "both" / "re" / "config.json").read_text(encoding="utf-8"))
    assert config["types"] == {"ORG": "per"}
    assert "types" not in (tiny_models / "re" / "config.json").read_text(encoding="utf-8") or not json.loads(
        (tiny_models / "re" / "config.json").read_text(encoding="utf-8")
    ).get("types")
    with pytest.raises(InputError, match="types names 'PERSON', which the entity model does not find"):
        promu.bundle(tmp_path / "no", ner=tiny_models / "ner", re=tiny_models / "re", types={"PERSON": "per"})
    assert not (tmp_path / "no").exists()


def test_what_does_not_go_together_is_refused(tiny_models: Path, tmp_path: Path) -> None:
    with pytest.raises(InputError, match="this holds a model for the task 're'; name one for 'ner'"):
        promu.bundle(tmp_path / "both", ner=tiny_models / "re", re=tiny_models / "re")
    (tmp_path / "full").mkdir()
    (tmp_path / "full" / "a").touch()
    with pytest.raises(InputError, match="this is there already and not empty"):
        promu.bundle(tmp_path / "full", ner=tiny_models / "ner", re=tiny_models / "re")
    assert sorted(path.name for path in tmp_path.rglob("*")) == ["a", "full"]


def test_the_command(tiny_models: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    models = ["--ner", str(tiny_models / "ner"), "--re", str(tiny_models / "re")]
    assert main(["bundle", *models, "--out", str(tmp_path / "both")]) == 0
    out = capsys.readouterr().out
    assert "finds LOC, MISC, ORG, PER and 5 relations" in out and f"promu extract --model {tmp_path / 'both'}" in out
    assert main(["bundle", *models, "--out", str(tmp_path / "again"), "--types", "ORG=per", "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["types"] == {"ORG": "per"}
    assert main(["bundle", *models, "--out", str(tmp_path / "third"), "--types", "ORG"]) == 2
    assert "--types 'ORG' is not of the form ENTITY=RELATION" in capsys.readouterr().err
