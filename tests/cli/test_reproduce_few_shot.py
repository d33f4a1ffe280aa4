"""`promu reproduce kecpm` at tiny size: every system, every exhibit, in every form; resumed; from files too."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import yaml
from tests.factories import TINY_TEXT, TINY_VISION

from promu.cli import main
from promu.newsreel.joint_world import write_joint
from promu.newsreel.settings import JointSettings

pytestmark = pytest.mark.slow

QUICK = {"epochs": 1, "batch_size": 16, "lr": 1e-3, "precision": "fp32"}
WRITER = {
    "model": {
        "name": {
            "model_type": "t5",
            "d_model": 16,
            "d_kv": 8,
            "d_ff": 32,
            "num_layers": 1,
            "num_decoder_layers": 1,
            "num_heads": 2,
        },
        "tokenizer": {"size": 500},
    },
    "prompt": {"budget": 120},
    "training": {**QUICK, "patience": 1},
    "decoding": {"limit": 64},
}


def recipes(folder: Path) -> dict[str, Any]:
    """The recipes that a study varies, at tiny size, by name in the folder."""
    files = {"train": "train", "dev": "dev", "test": "test"}
    model = {"text": TINY_TEXT, "vision": TINY_VISION, "config": {"projection_dim": 16}}
    tuned = {"data": {**files, "images": "images"}, "model": model, "training": QUICK, "out": "out"}
    corpus = {"captions": "captions", "images": "images", "detector": "coco", "regions": "regions"}
    return {
        "joint": {"task": "joint", **tuned},
        "ner": {"task": "ner", **tuned},
        "re": {"task": "re", **tuned},
        "writer": {"data": files, **WRITER, "out": "out"},
        "pretrain": {
            "data": {"corpus": corpus, "nouns": "nouns", "relations": "relations"},
            "tokenizer": {"size": 400},
            "teacher": {**model, "training": QUICK},
            "labels": {"num_nouns": 20, "num_relations": 10},
            "model": model,
            "training": QUICK,
            "out": "out",
        },
    }


def study(folder: Path, **changes: Any) -> Path:
    for name, recipe in recipes(folder).items():
        (folder / f"{name}.yaml").write_text(yaml.safe_dump(recipe))
    settings = {
        "joint": f"{folder}/joint.yaml",
        "pipeline": {"entities": f"{folder}/ner.yaml", "relations": f"{folder}/re.yaml"},
        "writer": f"{folder}/writer.yaml",
        "pretrain": f"{folder}/pretrain.yaml",
        "reading": QUICK,
        "world": {"size": 32, "posts": [40, 6, 8]},
        "captions": {"size": 32, "pairs": 40, "ner_posts": [8, 1, 1], "re_posts": [8, 1, 1]},
        "grid": [{}, {"lr": 5e-3}],
        "posts": [30],
        "compared_at": 30,
        "workers": 1,
        **changes,
    }
    path = folder / "study.yaml"
    path.write_text(yaml.safe_dump({name: value for name, value in settings.items() if value is not None}))
    return path


def words(recipe: Path, out: Path) -> list[str]:
    return ["reproduce", "kecpm", "--recipe", str(recipe), "--seeds", "1", "--out", str(out)]


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("few-shot")
    assert main(words(study(folder), folder / "out")) == 0
    return folder / "out"


def exhibits(out: Path) -> dict[str, Any]:
    found = json.loads((out / "study.json").read_text(encoding="utf-8"))["exhibits"]
    return {exhibit["name"]: exhibit for exhibit in found}


def test_every_exhibit_is_there_in_every_form(whole: Path) -> None:
    found = exhibits(whole)
    assert list(found) == ["few-shot-curve", "few-shot-systems", "few-shot-knowledge", "few-shot-decoding"]
    assert not any(exhibit["failures"] for exhibit in found.values())
    systems = [row["system"] for row in found["few-shot-systems"]["tables"][0]["rows"]]
    assert systems == [
        "joint model", "pipeline", "writer", "writer with knowledge", "joint model, without pre-training"
    ]  # fmt: skip
    chosen = {row["system"]: row["quintuples"] for row in found["few-shot-systems"]["tables"][-1]["rows"]}
    assert set(chosen) == {"joint model", "joint model, without pre-training"}
    assert set(chosen.values()) <= {"0.001 × 1", "0.005 × 1"}
    assert (whole / "figures" / "few-shot-curve.svg").read_text(encoding="utf-8").startswith("<svg")
    for name in ("few-shot-curve.tex", "few-shot-systems-gains.csv", "few-shot-knowledge.csv"):
        assert (whole / "tables" / name).is_file()
    markdown = (whole / "study.md").read_text(encoding="utf-8")
    assert "## Knowledge and self-reflection" in markdown and "decides" in markdown
    assert "promu reproduce kecpm" in (whole / "study.html").read_text(encoding="utf-8")


def test_with_the_grammar_everything_parses_and_reflection_leaves_fewer_errors(whole: Path) -> None:
    found = exhibits(whole)
    for row in found["few-shot-decoding"]["tables"][0]["rows"]:
        if row["decoding"] == "with the grammar":
            assert row["parsed, %"]["mean"] == 100.0
    wrong = {row["knowledge"]: row["wrong, %"] for row in found["few-shot-knowledge"]["tables"][0]["rows"]}
    assert wrong["none"] is None and wrong["given in the set"] is None
    first, checked = (wrong[f"mock LLM, {name}"]["mean"] for name in ("first answers", "after self-reflection"))
    assert 0 < checked < first


def test_it_is_not_done_twice(whole: Path, capsys: pytest.CaptureFixture[str]) -> None:
    before = {path: path.stat().st_mtime_ns for path in whole.glob("jobs/*/job.json")}
    assert main(words(whole.parent / "study.yaml", whole)) == 0
    assert {path: path.stat().st_mtime_ns for path in whole.glob("jobs/*/job.json")} == before
    assert "Learning curve" in (whole / "study.md").read_text(encoding="utf-8") and capsys.readouterr().out


def test_joint_sets_of_ones_own_without_a_writer(tmp_path: Path, tiny_models: Path) -> None:
    write_joint(tmp_path / "set", JointSettings(size=32, posts=(40, 6, 8)))
    files = {
        split: f"{tmp_path}/set/{name}.json" for split, name in (("train", "train"), ("dev", "val"), ("test", "test"))
    }
    changes = {"world": None, "captions": None, "pretrain": None, "reading": None, "writer": None}
    recipe = study(tmp_path, **changes, sets=[files])
    for name in ("joint", "ner", "re"):
        path = tmp_path / f"{name}.yaml"
        settings = yaml.safe_load(path.read_text())
        settings |= {"images": "none", "model": {"text": TINY_TEXT, "tokenizer": str(tiny_models / "ner")}}
        path.write_text(yaml.safe_dump(settings))
    assert main(words(recipe, tmp_path / "out")) == 0
    assert list(exhibits(tmp_path / "out")) == ["few-shot-curve", "few-shot-systems"]


@pytest.mark.parametrize(
    ("changes", "sentence"),
    [
        ({"sets": [{"train": "a", "dev": "b", "test": "c"}]}, "set either world (a drawn joint set) or sets (files)"),
        ({"compared_at": 40}, "posts must rise, and compared_at (40) be one of them"),
        ({"writer": None}, "reading is the writer's; name its recipe, or set reading to null"),
        (
            {"joint": "newsreel-ner"},
            "the study needs a recipe of the task joint here, and 'newsreel-ner' is one of ner",
        ),
        ({"world": {"colour": 1}}, "unknown recipe key 'world.colour'; allowed here"),
    ],
)
def test_what_cannot_be_studied_is_refused(
    changes: dict[str, Any], sentence: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(words(study(tmp_path, **changes), tmp_path / "out")) == 2
    assert sentence in capsys.readouterr().err
    assert not (tmp_path / "out").exists()
