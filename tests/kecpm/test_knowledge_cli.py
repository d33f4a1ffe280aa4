"""`promu knowledge` from files of posts to files of knowledge, through an endpoint that also fails."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import torch
import yaml
from tests.llm.llm_server import LlmServer, said

from promu.alignment import falsify
from promu.cli import main
from promu.config import load_recipe
from promu.corpora.jmere import read_jmere, write_jmere
from promu.kecpm.kecpm_recipe import KnowledgeRecipe
from promu.kecpm.post_knowledge import knowledge_for
from promu.llm.exemplars import read_pool
from promu.schema import Entity, Post, Relation

NAMES = ("Ann", "Bob", "Cid", "Dee", "Eve", "Fay", "Gus", "Hal")
SECRET = "secretly_related"


class LetterVectors:
    """Sentence vectors that count letters; no model is needed to see who is chosen."""

    def __init__(self, name: str) -> None:
        pass

    def __call__(self, texts: list[str]) -> torch.Tensor:
        counts = [[text.casefold().count(chr(97 + letter)) + 0.01 for letter in range(26)] for text in texts]
        return torch.nn.functional.normalize(torch.tensor(counts), dim=1)


def post_of(name: str, other: str, label: str) -> Post:
    entities = (Entity(0, 1, "per"), Entity(2, 3, "per"))
    return Post(f"{name}{other}", (name, "meets", other), f"{name}{other}.jpg", entities, (Relation(0, 1, label),))


@pytest.fixture
def folder(tmp_path: Path, server: LlmServer, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Posts to train and test on, with captions, and a recipe."""
    monkeypatch.setattr(falsify, "SentenceVectors", LetterVectors)
    train = [post_of(name, "Zoe", "peer") for name in NAMES]
    test = [post_of(name, "Zoe" if name == "Ann" else "Yul", SECRET) for name in NAMES]
    for split, posts in (("train", train), ("test", test)):
        write_jmere(tmp_path / f"{split}.json", posts)
        records = json.loads((tmp_path / f"{split}.json").read_text())
        for record in records:
            record["image_caption"] = [f"image of {record['token'][0]}"]
        (tmp_path / f"{split}.json").write_text(json.dumps(records))
    recipe = {
        "data": {"posts": [str(tmp_path / "test.json"), str(tmp_path / "train.json")]},
        "exemplars": {"train": str(tmp_path / "train.json"), "encoder": "letters", "count": 2},
        "provider": {"url": server.url, "model": "m", "patience": 10},
        "out": str(tmp_path / "out"),
    }
    (tmp_path / "recipe.yaml").write_text(yaml.safe_dump(recipe))
    server.reply = knows
    return tmp_path


def knows(body: dict[str, Any]) -> str:
    """A fact about the post's first word, better after reflection."""
    texts = [message["content"] for message in body["messages"] if message["role"] == "user"]
    name = texts[0].rpartition("Text: ")[2].split()[0]
    checked = any(text.startswith("Check your answer") for text in texts)
    fact = {"about": name, "sentence": f"{name} is {'surely' if checked else 'maybe'} a person."}
    return json.dumps({"knowledge": [fact]})


def run(folder: Path, *more: str) -> int:
    return main(["knowledge", "generate", str(folder / "recipe.yaml"), *more])


def test_from_posts_to_knowledge(server: LlmServer, folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    server.faults = [500, (429, "0.01"), "drop", said("{"), said(None, refusal="no"), said("", finish_reason="length")]
    assert run(folder, "--yes", "--json") == 0
    result = json.loads(capsys.readouterr().out)
    assert result == json.loads((folder / "out" / "result.json").read_text())
    assert result["states"] == {"answered": 16}
    # a fault counts for each post whose question it was, and the post in both files is asked about once
    assert result["faults"].keys() == {"broken JSON", "refusal", "truncated"}
    assert result["requests"]["answers paid for"] == 2 * 15 + 3  # one post is in both files
    assert result["sentences"]["first answers that reflection changed"] == 16
    for split in ("test", "train"):
        found = knowledge_for(read_jmere(folder / f"{split}.json"), folder / "out" / f"{split}.jsonl")
        assert [each.knowledge[0] for each in found if each] == [f"{name} is surely a person." for name in NAMES]
        assert [each.captions[0] for each in found if each] == [f"image of {name}" for name in NAMES]
    # the pool is of training posts, and neither a post itself nor its label is in its prompts
    assert [exemplar.id for exemplar in read_pool(folder / "out" / "pool.jsonl")] == [f"{name}Zoe" for name in NAMES]
    assert SECRET not in json.dumps(server.seen)
    for line in map(json.loads, (folder / "out" / "train.jsonl").read_text().splitlines()):
        assert len(line["exemplars"]) == 2 and line["id"] not in line["exemplars"]
    # nothing is asked again, whether or not it may be
    server.seen.clear()
    assert run(folder, "--json") == 0
    assert json.loads(capsys.readouterr().out)["states"] == {"answered": 16}
    assert not server.seen


@pytest.mark.slow
def test_an_endpoint_that_goes_down_in_the_middle(
    server: LlmServer, folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    answered = []

    def reply(body: dict[str, Any]) -> str:
        answered.append(body)
        server.down = len(answered) >= 11
        return knows(body)

    server.reply = reply
    assert run(folder, "--yes", "--set", "provider.concurrency=2", "--set", "provider.patience=0.3") == 2
    assert "run the same again when it is well" in capsys.readouterr().err
    assert not (folder / "out" / "test.jsonl").exists()
    server.down, server.reply = False, knows
    server.seen.clear()
    assert run(folder, "--yes", "--json") == 0
    result = json.loads(capsys.readouterr().out)
    assert result["states"] == {"answered": 16}
    assert len(server.seen) == 30 - len(answered)


def test_a_post_that_fails_is_said_and_written(
    server: LlmServer, folder: Path, caplog: pytest.LogCaptureFixture
) -> None:
    server.reply = lambda body: "no, Gus" if "Text: Gus meets Yul" in str(body) else knows(body)
    assert run(folder, "--yes") == 0
    assert "1 of 16 posts without a usable answer" in caplog.text
    line = [json.loads(line) for line in (folder / "out" / "test.jsonl").read_text().splitlines()][6]
    assert (line["state"], line["knowledge"]) == ("failed", []) and line["reason"].startswith("refusal: ")


def test_a_shared_store_needs_no_endpoint(
    server: LlmServer, folder: Path, capsys: pytest.CaptureFixture[str], caplog: pytest.LogCaptureFixture
) -> None:
    assert run(folder, "--yes", "--json") == 0
    capsys.readouterr()
    server.seen.clear()
    (folder / "out" / "llm.sqlite").rename(folder / "shared.sqlite")
    before = (folder / "shared.sqlite").read_bytes()
    shared = ["--set", "provider.source=store", "--set", f"provider.store={folder / 'shared.sqlite'}"]
    assert run(folder, "--json", *shared) == 0
    assert json.loads(capsys.readouterr().out)["states"] == {"answered": 16}
    assert run(folder, "--json", *shared, "--set", "provider.temperature=1") == 0
    assert json.loads(capsys.readouterr().out)["states"] == {"not recorded": 16}
    assert "16 of 16 posts not recorded" in caplog.text
    assert not server.seen and (folder / "shared.sqlite").read_bytes() == before


def test_recorded_files_need_no_endpoint(server: LlmServer, folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(folder, "--yes") == 0
    capsys.readouterr()
    files = f'provider.files=["{folder}/kept/test.jsonl", "{folder}/kept/train.jsonl"]'
    (folder / "out").rename(folder / "kept")
    server.seen.clear()
    assert run(folder, "--json", "--set", "provider.source=file", "--set", files) == 0
    assert json.loads(capsys.readouterr().out)["states"] == {"answered": 16}
    before, after = ((folder / out / "test.jsonl").read_text() for out in ("kept", "out"))
    knowledge = [[json.loads(line)["knowledge"] for line in text.splitlines()] for text in (before, after)]
    assert knowledge[0] == knowledge[1] and not server.seen


def test_a_dry_run_shows_prompts_and_cost(server: LlmServer, folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(folder) == 2
    assert "this would send 30 requests (complete in the store: 0 of 16 posts)" in capsys.readouterr().err
    prices = ["--set", "provider.price_prompt=1", "--set", "provider.price_answer=2"]
    assert run(folder, "--dry-run", *prices) == 0
    shown = capsys.readouterr().out
    assert "Reasoning: " in shown and "Check your answer" in shown and "30 requests" in shown
    assert run(folder, "--set", "provider.max_cost=0.00001", *prices) == 2
    assert "is less than the prompts alone" in capsys.readouterr().err
    assert not server.seen


@pytest.mark.parametrize(
    ("setting", "sentence"),
    [
        ("provider.url=null", "source: endpoint needs its url"),
        ("provider.url=host", "'host' is no web address"),
        ("provider.model=null", "the model's name is missing"),
        ("provider.max_cost=1", "max_cost needs price_prompt and price_answer"),
        ("provider.price_prompt=1", "give both price_prompt and price_answer"),
        ("provider.source=store", "source: store needs the store"),
        ("provider.source=file", "source: file needs files"),
        ('provider={"source": "file", "files": ["a"]}', "one file for each of data.posts"),
        ("exemplars.pool=p.jsonl", "set either train"),
        ("exemplars.count=9", "the pool of 8 has only 7 of another text"),
        ("captions.source=model", "source: model needs the model"),
        ('captions={"source": "promu", "model": "m"}', "captions made from images need data.images"),
        ('data.posts=["a/x.json", "b/x.json"]', "two files of one name"),
        ("provider.url=http://me:secret@host/v1", "a key or a question mark in it"),
        (
            'provider={"source": "file", "files": ["a", "b"], "url": "http://h/v1?key=1"}',
            "a question mark in it",
        ),
        ('{"data.posts": ["o/a.jsonl"], "out": "o"}', "knowledge would be written over o/a.jsonl"),
        ('{"data.posts": ["pool.json"], "out": "o"}', "knowledge would be written over o/pool.jsonl"),
        ('data.posts=["absent.json"]', "absent.json: no such file"),
        ("provider.templates=absent", "absent: no such folder of templates"),
        ("provider.tokens=3", "unknown recipe key 'provider.tokens'"),
    ],
)
def test_bad_recipes_are_one_sentence(
    server: LlmServer, folder: Path, capsys: pytest.CaptureFixture[str], setting: str, sentence: str
) -> None:
    settings = json.loads(setting) if setting.startswith("{") else None
    words = [f"{key}={json.dumps(value)}" for key, value in settings.items()] if settings else [setting]
    assert run(folder, "--yes", *(word for each in words for word in ("--set", each))) == 2
    told = capsys.readouterr().err
    assert sentence in told and "Traceback" not in told and "secret" not in told
    assert not server.seen


def test_a_pool_to_edit_by_hand(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["knowledge", "pool", str(folder / "train.json"), "--out", str(folder / "pool.jsonl")]) == 0
    assert "8 exemplars" in capsys.readouterr().out
    assert read_pool(folder / "pool.jsonl")[0].quintuples[0].relation == "peer"


def test_the_recipe_of_the_documentation_is_one(
    published: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PROMU_DATA", str(published))
    page = (Path(__file__).parents[2] / "docs" / "knowledge.md").read_text(encoding="utf-8")
    (tmp_path / "knowledge.yaml").write_text(page.split("```yaml\n")[1].split("```")[0])
    recipe = load_recipe(tmp_path / "knowledge.yaml", KnowledgeRecipe)
    assert recipe.exemplars.train is not None
    assert all(Path(path).is_file() for path in [*recipe.data.posts, recipe.exemplars.train])
