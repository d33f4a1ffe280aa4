"""Own data as JSON lines: what promu writes, it learns from, evaluates and scores, for entities and for relations."""

from __future__ import annotations

import json
import re
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import yaml
from tests.factories import TINY_TEXT

import promu
from promu.cli import main
from promu.cli.train import print_task
from promu.config import find_recipe, load_recipe
from promu.corpora.conll import write_conll
from promu.corpora.gmner import write_gmner
from promu.corpora.labelled import read_labelled
from promu.schema import Entity, Post, Region, Scheme
from promu.training.finetune import finetune
from promu.training.recipe import FinetuneRecipe

pytestmark = pytest.mark.slow

PEOPLE = ("Ann", "Bob", "Cleo", "Dora")


def write_posts(path: Path) -> Path:
    """Twelve posts: who works for whom, with whole texts, offsets and scores as extraction writes them."""
    posts = []
    for number, (person, company) in enumerate((person, f"Ac{end}") for person in PEOPLE for end in ("me", "ta", "ro")):
        text = f"{person} works for {company} now"
        at = text.index(company)
        ends = [
            {"start": 0, "end": 1, "text": person, "type": "PER", "score": 0.9},
            {"start": 3, "end": 4, "text": company, "type": "ORG", "char_start": at, "char_end": at + len(company)},
        ]
        relations = [{"head": 0, "tail": 1, "type": "works for", "score": 0.5}]
        posts.append({"id": str(number), "text": text, "entities": ends, "relations": relations})
    path.write_text("".join(json.dumps(post) + "\n" for post in posts), encoding="utf-8")
    return path


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("own")


@pytest.fixture(scope="module")
def runs(folder: Path, tiny_models: Path) -> dict[str, Any]:
    """A model of each task, learned by heart from one file of posts."""
    data = str(write_posts(folder / "posts.jsonl"))
    results = {}
    for task in ("ner", "re"):
        recipe = {
            "task": task,
            "data": {"train": data, "dev": data, "test": data},
            "images": "none",
            "model": {"text": TINY_TEXT, "tokenizer": str(tiny_models / "ner")},
            "training": {"epochs": 15, "batch_size": 4, "lr": 3e-3, "precision": "fp32"},
            "out": str(folder / task),
        }
        results[task] = finetune(recipe)
    return results


def test_both_tasks_learn_from_one_file_of_posts(runs: dict[str, Any]) -> None:
    assert runs["ner"]["posts"]["train"] == 12 and runs["re"]["posts"]["train"] == 24, "two ordered pairs a post"
    assert runs["ner"]["test"]["f1"] == 100 and runs["re"]["test"]["f1"] == 100


def test_what_was_read_is_counted_in_the_rows_of_the_task(runs: dict[str, Any], capsys: pytest.CaptureFixture) -> None:
    for task, row, other in (("ner", "post", "pair"), ("re", "pair", "post")):
        print_task(task, "seed 0", runs[task])
        told = capsys.readouterr().out
        count = runs[task]["posts"]["dev"]
        assert f"dev: {count} {row}s were read as text" in told and f" {row}s " in told and other not in told


def test_the_pages_lines_for_both_tasks_complete_the_template(tmp_path: Path) -> None:
    page = (Path(__file__).parents[2] / "docs" / "own-data.md").read_text(encoding="utf-8")
    lines = re.search(r"^```yaml\n(task: \[.*?)^```", page, flags=re.MULTILINE | re.DOTALL)
    assert lines is not None
    template = yaml.safe_load(find_recipe("own-ner").read_text(encoding="utf-8"))
    (tmp_path / "both.yaml").write_text(yaml.safe_dump(template | yaml.safe_load(lines[1])), encoding="utf-8")
    recipe = load_recipe(tmp_path / "both.yaml", FinetuneRecipe)
    assert list(recipe.task) == ["ner", "re"] and recipe.out == "runs/own-ner"


@pytest.mark.parametrize(
    ("format", "types"), [("fmnerg", {"actor", "company"}), ("fmnerg-coarse", {"person", "organization"})]
)
def test_entities_of_grounded_sets_are_learned(
    format: str, types: set[str], folder: Path, tiny_models: Path, tmp_path: Path
) -> None:
    shown = (Region((1.0, 2.0, 30.0, 40.0)),)
    names = {"PER": "actor", "ORG": "company"}
    posts = [
        replace(
            post,
            image=f"{post.id}.jpg",
            relations=(),
            entities=tuple(replace(one, type=names[str(one.type)], score=None, regions=shown) for one in post.entities),
        )
        for post in read_labelled("ner", write_posts(folder / "posts.jsonl"))
    ]
    data = tmp_path / "set" / "txt" / "train.txt"
    write_gmner(data, posts, types="fine")
    recipe = {
        "task": "ner",
        "data": {"train": str(data), "dev": str(data), "test": str(data), "format": format},
        "images": "none",
        "model": {"text": TINY_TEXT, "tokenizer": str(tiny_models / "ner")},
        "training": {"epochs": 8, "batch_size": 4, "lr": 3e-3, "precision": "fp32"},
        "out": str(tmp_path / "run"),
    }
    result = finetune(recipe)
    found = read_labelled("ner", tmp_path / "run" / "predictions" / "train.txt", format)
    assert result["test"]["f1"] > 50 and {one.type for post in found for one in post.entities} <= types
    assert all(one.regions is None for post in found for one in post.entities), "the model says nothing about regions"


@pytest.mark.parametrize("task", ["ner", "re"])
def test_predictions_are_posts_that_evaluate_and_score_read(
    task: str, runs: dict[str, Any], folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    predictions, gold = folder / task / "predictions" / "posts.jsonl", folder / "posts.jsonl"
    assert promu.score(task, gold, predictions).f1.mean == runs[task]["test"]["f1"]  # type: ignore[arg-type]
    result = promu.evaluate(folder / task / "model", gold, task)
    assert result.scores.micro.f1 == 100 and len(result.predictions) == runs[task]["posts"]["test"]
    words = ["evaluate", task, str(folder / task / "model"), "--data", str(gold), "--format", "posts", "--json"]
    assert main([*words, "--predictions", str(folder / "again.jsonl")]) == 0
    assert json.loads(capsys.readouterr().out)["f1"] == 100
    words = ["score", task, "--gold", str(gold), "--predictions", str(folder / "again.jsonl"), "--json"]
    assert main(words) == 0
    assert json.loads(capsys.readouterr().out)["f1"] == 100


def test_what_extraction_writes_is_learned_from(runs: dict[str, Any], folder: Path) -> None:
    from promu.corpora.posts import write_posts_jsonl
    from promu.tasks.model_folder import open_predictor

    extractor = promu.Extractor(*(open_predictor(task, folder / task / "model", "cpu") for task in ("ner", "re")))
    found = list(extractor.pipe(["Bob works for Acta now", "Ann works for Acme now"]))
    assert [tuple(triple) for one in found for triple in one.triples()] == [
        ("Bob", "works for", "Acta"),
        ("Ann", "works for", "Acme"),
    ]
    lines = "".join(json.dumps(one.to_dict()) + "\n" for one in found)
    (folder / "extracted.jsonl").write_text(lines, encoding="utf-8")
    entities = read_labelled("ner", folder / "extracted.jsonl")
    spans = [[(one.start, one.end, one.type) for one in post.entities] for post in entities]
    assert spans == [[(one.start, one.end, one.type) for one in of.entities] for of in found]
    pairs = read_labelled("re", folder / "extracted.jsonl")
    assert [pair.relations[0].type for pair in pairs] == ["works for", "None"] * 2
    write_posts_jsonl(folder / "again.jsonl", entities)
    assert read_labelled("ner", folder / "again.jsonl") == entities


@pytest.mark.parametrize("scheme", ["iob1", "bioes"])
def test_the_scheme_of_tags_is_one_setting_everywhere(
    scheme: Scheme, folder: Path, tiny_models: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Tags in another scheme than IOB2, CRLF and no IMGID lines, from check to score, found out and named."""
    gold = folder / f"{scheme}.txt"
    posts = [replace(post, id=str(number), image=None) for number, post in enumerate(read_posts(folder), start=1)]
    write_conll(gold, posts, scheme)
    gold.write_bytes(gold.read_bytes().replace(b"\n", b"\r\n"))
    for options in ([], ["--scheme", scheme]):
        assert main(["check", str(gold), "--format", "conll", *options]) == 0
    recipe = {
        "task": "ner",
        "data": {"train": str(gold), "dev": str(gold), "test": str(gold), "scheme": scheme},
        "images": "none",
        "model": {"text": TINY_TEXT, "tokenizer": str(tiny_models / "ner")},
        "training": {"epochs": 12, "batch_size": 4, "lr": 3e-3, "precision": "fp32"},
        "out": str(folder / scheme),
    }
    assert finetune(recipe)["test"]["f1"] == 100
    model, found = str(folder / scheme / "model"), str(folder / scheme / "predictions" / gold.name)
    for options in ([], ["--scheme", scheme]):
        for words in (["evaluate", "ner", model, "--data", str(gold)], ["score", "ner", "--gold", str(gold)]):
            capsys.readouterr()
            predictions = ["--predictions", found] if words[0] == "score" else []
            assert main([*words, *predictions, *options, "--json"]) == 0
            assert json.loads(capsys.readouterr().out)["f1"] == 100


def read_posts(folder: Path) -> list[Post]:
    """Posts with entities of two words, and two that touch."""
    words = [post.tokens for post in read_labelled("ner", write_posts(folder / "posts.jsonl"))]
    spans = (Entity(0, 1, "PER"), Entity(3, 4, "ORG"), Entity(4, 6, "ORG"))
    return [Post("1", (*tokens[:4], "New", "York"), None, spans) for tokens in words]
