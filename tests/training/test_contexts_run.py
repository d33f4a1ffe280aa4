"""A model with contexts from its recipe to an answer: trained, scored, exported, and what is said on the way."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from tests.factories import TINY_TEXT

import promu
from promu.cli import main
from promu.errors import InputError
from promu.extraction.bulk import extract_file
from promu.extraction.bulk_part import BulkSettings

POST = "IMGID:{}\nAnn\tB-PER\nmet\tO\nBob\tB-PER\nin\tO\nRome\tB-LOC\n\n"
SAID = "two people in Rome , so happy . " * 9


@pytest.fixture
def recipe(tmp_path: Path, tiny_models: Path) -> dict[str, Any]:
    (tmp_path / "gold.txt").write_text("".join(POST.format(number) for number in range(8)))
    (tmp_path / "said.jsonl").write_text(
        "".join(json.dumps({"image": f"{number}.jpg", "text": SAID}) + "\n" for number in range(7))
    )
    return {
        "task": "ner",
        "data": {
            "train": str(tmp_path / "gold.txt"),
            "dev": str(tmp_path / "gold.txt"),
            "test": str(tmp_path / "gold.txt"),
            "contexts": {"said": str(tmp_path / "said.jsonl")},
        },
        "images": "none",
        "model": {
            "text": TINY_TEXT,
            "tokenizer": str(tiny_models / "ner"),
            "config": {"max_length": 40, "context_budget": 32},
        },
        "training": {"epochs": 1, "batch_size": 8, "lr": 1e-3, "precision": "fp32"},
        "out": str(tmp_path / "run"),
    }


@pytest.mark.slow
def test_from_recipe_to_answer(
    recipe: dict[str, Any], tmp_path: Path, capsys: pytest.CaptureFixture[str], caplog: pytest.LogCaptureFixture
) -> None:
    result = promu.finetune(recipe)
    assert result["contexts"]["said"]["with_text"] == 21 and result["contexts"]["said"]["posts"] == 24
    assert result["contexts_cut"] == {"train": 7, "dev": 7, "test": 7}
    assert "without any of the contexts said that the model reads: 1 of 8 posts" in caplog.text
    assert "with contexts longer than the 32 tokens that are read (context_budget): 7 of 8 posts" in caplog.text
    model, said = str(tmp_path / "run" / "model"), str(tmp_path / "said.jsonl")
    assert "further texts about the post: said" in Path(model, "README.md").read_text()

    gold = str(tmp_path / "gold.txt")
    scored = promu.evaluate(model, gold, contexts={"said": said})
    assert scored.scores.micro.f1 == pytest.approx(result["test"]["f1"])
    assert main(["evaluate", "ner", model, "--data", gold, "--context", f"said={said}", "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["contexts"]["said"]["with_text"] == 7
    with pytest.raises(InputError, match="reads the contexts said, and not 'other'"):
        promu.evaluate(model, gold, contexts={"other": said})
    leaking = tmp_path / "leak.jsonl"
    leaking.write_text('{"image": "1.jpg", "text": "Ann is PER"}\n')
    words = ["evaluate", "ner", model, "--data", gold, "--context", f"said={leaking}"]
    assert main(words) == 2 and "say labels of the gold" in capsys.readouterr().err
    assert main([*words, "--allow-leaks"]) == 0

    capsys.readouterr()
    options = ["--entity-threshold", "0", "--context", f"said={SAID}"]
    assert main(["extract", "--model", model, "--text", "Ann met Bob", *options]) == 0
    alone = json.loads(capsys.readouterr().out)
    assert alone["contexts"] == {"said": SAID}
    (tmp_path / "posts.jsonl").write_text('{"id": "1", "text": "Ann met Bob", "image": "3.jpg"}\n')
    settings = BulkSettings(model, str(tmp_path), device="cpu", contexts={"said": said})
    assert extract_file(tmp_path / "posts.jsonl", tmp_path / "out.jsonl", settings).extracted == 1
    (line,) = (tmp_path / "out.jsonl").read_text().splitlines()
    assert json.loads(line)["contexts"] == {"said": SAID}
    caplog.clear()
    extractor = promu.Extractor.from_pretrained(model)
    extractor(["Ann met Bob", "So happy"])
    extractor({"text": "Ann", "contexts": {"said": "x", "unread": "x"}})
    assert [record.message for record in caplog.records if "context" in record.message] == [
        "the context 'said' is what this model was trained with, and posts come without it",
        "the context 'unread' is brought by posts, and this model does not read it",
    ]

    from promu.extraction.onnx_export import export_models

    (done,) = export_models(model)
    assert done.distance < 1e-4
    graphs = promu.Extractor.from_pretrained(model, backend="onnx", config=promu.ExtractionConfig(entity_threshold=0))
    answer = graphs({"text": "Ann met Bob", "contexts": {"said": SAID}})
    assert [one.score for one in answer.entities] == pytest.approx(
        [one["score"] for one in alone["entities"]], abs=1e-4
    )


@pytest.mark.parametrize(
    ("changes", "reason"),
    [
        ({"contexts": {"a b": "x.jsonl"}}, "'a b' is no name of contexts"),
        ({"contexts": {"own": None}}, "no post brings a text 'own'"),
        ({"contexts": {"said": "leak.jsonl"}}, "gold.txt say labels of the gold.*data.allow_leaks: true"),
    ],
)
def test_what_a_recipe_may_not_say(
    changes: dict[str, Any], reason: str, recipe: dict[str, Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    Path("leak.jsonl").write_text('{"image": "1.jpg", "text": "Ann is PER"}\n')
    recipe["data"] |= changes
    with pytest.raises(InputError, match=reason):
        promu.finetune(recipe)
    assert not (tmp_path / "run").exists()


def test_a_budget_that_the_encoder_has_no_room_for(recipe: dict[str, Any]) -> None:
    recipe["model"]["config"] = {"max_length": 80, "context_budget": 64}
    with pytest.raises(InputError, match="max_length and context_budget are 144 together"):
        promu.finetune(recipe)
