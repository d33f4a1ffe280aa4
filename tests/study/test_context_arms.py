"""The study of contexts: its jobs, its controls, and what its tables say of made-up results."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from tests.factories import TINY_TEXT

from promu import Entity, Post, Relation
from promu.config import load_recipe
from promu.corpora.context_files import read_contexts
from promu.errors import InputError
from promu.study.context_arms import CHOSEN, CONTEXT_EXHIBITS, CONTEXTS, PIXELS, ContextFactory
from promu.study.context_jobs import ALL, SEEN, UNSEEN, choose_contexts, control_contexts, group_counts
from promu.study.exhibit import Measurement
from promu.study.job import with_inputs
from promu.study.run_study import build_sections, request_all, run_study
from promu.study.study_recipe import ContextStudyRecipe

POST = "IMGID:{}\nAnn\tB-PER\nmet\tO\nBob\tB-PER\nin\tO\nRome\tB-LOC\n\n"


@pytest.fixture
def recipe(tmp_path: Path, tiny_models: Path) -> dict[str, Any]:
    for split, first in (("train", 0), ("dev", 20), ("test", 30)):
        (tmp_path / split).mkdir()  # files of one name, as sets have them
        file = tmp_path / split / "posts.txt"
        file.write_text("".join(POST.format(first + number) for number in range(10)))
    for name in ("short", "long"):
        lines = (json.dumps({"image": f"{number}.jpg", "text": f"{name} {number}"}) + "\n" for number in range(40))
        (tmp_path / f"{name}.jsonl").write_text("".join(lines))
    finetune = {
        "task": "ner",
        "data": {split: str(tmp_path / split / "posts.txt") for split in ("train", "dev", "test")},
        "images": "none",
        "model": {"text": TINY_TEXT, "tokenizer": str(tiny_models / "ner"), "config": {"max_length": 40}},
        "training": {"epochs": 1, "batch_size": 8, "lr": 1e-3, "precision": "fp32"},
        "out": "unused",
    }
    (tmp_path / "finetune.yaml").write_text(json.dumps(finetune))
    files = {name: str(tmp_path / f"{name}.jsonl") for name in ("short", "long")}
    return {
        "sets": {"tweets": {"recipe": str(tmp_path / "finetune.yaml"), "descriptions": files}},
        "finetune_set": ["model.config.context_budget=16"],
        "shares": {0.5: 2, 1: 1},
        "workers": 1,
    }


def test_work_is_shared_and_cut_down_by_settings(recipe: dict[str, Any]) -> None:
    study = load_recipe(recipe, ContextStudyRecipe)
    requests = list(request_all(study, ContextFactory.of(study), CONTEXT_EXHIBITS, 2))
    jobs = with_inputs(request.job for request in requests)
    kinds = [job.kind for job in jobs.values()]
    # 2 seeds x 2 shares x 4 arms and two candidates; 2 subsets; shuffled differs by seed, and so does empty
    assert {kind: kinds.count(kind) for kind in set(kinds)} == {
        "context-arm": 18, "subset": 2, "choose-contexts": 1, "control-contexts": 4,
    }  # fmt: skip
    half = next(job for job in jobs.values() if job.label == "seed 0 · tweets · true · 50 %")
    assert half.settings["training"]["epochs"] == 2 and half.settings["data"]["train"].startswith("job:subset/")
    few = load_recipe(recipe, ContextStudyRecipe, ["arms=[none, true]", "shares={1: 1}"])
    assert few.arms == ("none", "true")
    assert {one.row for one in request_all(few, ContextFactory.of(few), CONTEXT_EXHIBITS, 1)} == {
        (CHOSEN, ""), ("none", "100"), ("true", "100"),
    }  # fmt: skip
    with pytest.raises(InputError, match="only names 'mnre', and the sets are tweets"):
        load_recipe(recipe, ContextStudyRecipe, ["only=[mnre]"])
    untested = load_recipe(recipe, ContextStudyRecipe, ["finetune_set=[data.test=null]"])
    with pytest.raises(InputError, match=r"set data\.test in the recipe that 'tweets' names"):
        ContextFactory.of(untested)


def test_shuffled_descriptions_stay_within_the_split_and_are_never_ones_own(
    recipe: dict[str, Any], tmp_path: Path
) -> None:
    splits = [str(tmp_path / split / "posts.txt") for split in ("train", "dev", "test")]
    settings = {"file": str(tmp_path / "long.jsonl"), "arm": "shuffled", "seed": 1, "task": "ner", "splits": splits}
    settings |= {"format": None, "scheme": "auto"}
    assert control_contexts(settings, tmp_path / "a") == {"images": 30}
    texts = {key[1]: text for key, text in read_contexts(tmp_path / "a" / "texts.jsonl").texts.items()}
    numbers = {int(image.removesuffix(".jpg")): int(text.split()[1]) for image, text in texts.items()}
    assert all(number != other and number // 10 == other // 10 for number, other in numbers.items())
    assert sorted(numbers) == sorted(numbers.values())
    assert control_contexts({**settings, "arm": "empty"}, tmp_path / "b") == {"images": 30}
    assert read_contexts(tmp_path / "b" / "texts.jsonl").empty == 30
    (tmp_path / "one.jsonl").write_text('{"image": "7.jpg", "text": "of 7"}\n')
    control_contexts({**settings, "file": str(tmp_path / "one.jsonl")}, tmp_path / "d")
    assert read_contexts(tmp_path / "d" / "texts.jsonl").empty == 1, "no other image could give it a description"
    (tmp_path / "ids.jsonl").write_text('{"id": "1", "text": "a"}\n')
    with pytest.raises(InputError, match="no line here has an image"):
        control_contexts({**settings, "file": str(tmp_path / "ids.jsonl")}, tmp_path / "c")


def test_dev_chooses_the_descriptions(recipe: dict[str, Any], tmp_path: Path) -> None:
    candidates: dict[str, Any] = {}
    for name, f1 in (("short", 40.0), ("long", 41.0)):
        (tmp_path / f"run-{name}").mkdir()
        (tmp_path / f"run-{name}" / "result.json").write_text(json.dumps({"dev": {"f1": f1}}))
        candidates[name] = {"file": str(tmp_path / f"{name}.jsonl"), "run": str(tmp_path / f"run-{name}")}
    found = choose_contexts({"candidates": candidates}, tmp_path / "out")
    assert found == {"chosen": "long", "dev": {"short": 40.0, "long": 41.0}}
    assert (tmp_path / "out" / "texts.jsonl").read_text() == (tmp_path / "long.jsonl").read_text()
    alone = {"short": {**candidates["short"], "run": None}}
    assert choose_contexts({"candidates": alone}, tmp_path / "out")["chosen"] == "short"


def test_answers_are_counted_by_label_and_by_seen_names() -> None:
    def entities(*found: Entity) -> Post:
        return Post("1", ("Ann", "met", "Bob"), entities=found)

    train = [Post("0", ("ann",), entities=(Entity(0, 1, "PER"),))]
    gold, answer = (
        entities(Entity(0, 1, "PER"), Entity(2, 3, "LOC")),
        entities(Entity(0, 1, "PER"), Entity(2, 3, "PER")),
    )
    counts = group_counts([gold], [answer], train, relations=False)
    assert counts == {ALL: [[1, 2, 2]], SEEN: [[1, 1, 1]], UNSEEN: [[0, 1, 1]], "LOC": [[0, 0, 1]], "PER": [[1, 2, 1]]}
    pair = Post("1", gold.tokens, entities=gold.entities, relations=(Relation(0, 1, "x"),))
    none = Post("1", gold.tokens, entities=gold.entities, relations=(Relation(0, 1, "None"),))
    counts = group_counts([pair, none], [pair, pair], train, relations=True)
    assert counts[ALL] == counts[UNSEEN] == [[1, 1, 1], [0, 1, 0]] and counts[SEEN] == [[0, 0, 0]] * 2


def result(right: int) -> dict[str, Any]:
    """Of 40 posts with an entity each, of which so many are found."""
    rows = [[int(post < right), 1, 1] for post in range(40)]
    test = {"precision": 2.5 * right, "recall": 2.5 * right, "f1": 2.5 * right}
    names = {"names": 40, "in_contexts": 4, "percent": 10.0}
    return {
        "test": test,
        "post_counts": rows,
        "counts": {ALL: rows, SEEN: rows[:20], UNSEEN: rows, "PER": rows},
        "names": names,
    }


def test_the_tables_say_what_descriptions_add() -> None:
    chosen = {"chosen": "long", "dev": {"short": 40.0, "long": 41.0}}
    measured = [Measurement(CONTEXTS, (CHOSEN, ""), "tweets", seed, chosen) for seed in (0, 1)]
    for arm, right in (("none", 20), ("true", 30), ("shuffled", 18), ("empty", 20)):
        for share, less in (("5", 8), ("100", 0)):
            measured += [
                Measurement(CONTEXTS, (arm, share), "tweets", seed, result(right - less + seed)) for seed in (0, 1)
            ]
    exhibits = {one.name: one for one in CONTEXT_EXHIBITS}
    (section,) = build_sections(measured, {"tweets": "ner"}, True, exhibits)
    tables = {table.name: table.texts() for table in section.tables}
    assert PIXELS in section.notes and not section.failures
    assert tables["contexts"][0] == ["none", *["51.2 ± 1.8"] * 3]
    gains = {tuple(row[:2]): row[2:] for row in tables["contexts-gains"]}
    assert gains["true − none", "100"][0] == "25.0 ± 0.0" and gains["true − shuffled", "5"][0] == "30.0 ± 0.0"
    assert float(gains["true − none", "100"][2].lstrip("< ")) < 0.05
    assert [row[:2] for row in tables["contexts-groups"]] == [
        ["tweets", "seen names (20)"], ["tweets", "unseen names (40)"], ["tweets", "PER (40)"],
    ]  # fmt: skip
    assert tables["contexts-curve"][0][:2] == ["none", "5"]
    assert tables["contexts-chosen"] == [
        ["tweets", "short", "40.0", "", ""],
        ["tweets", "long", "41.0", "chosen", "10.0"],
    ]
    assert "% of the labels" in section.figures[0].svg


@pytest.mark.slow
def test_the_study_runs_small(recipe: dict[str, Any], tmp_path: Path) -> None:
    recipe["sets"]["tweets"]["descriptions"].pop("long")
    done = run_study("contexts", recipe, 1, tmp_path / "out", ["shares={1: 1}", "arms=[none, shuffled, empty]"])
    assert not done.failures and PIXELS in (tmp_path / "out" / "study.md").read_text()
    assert not list((tmp_path / "out" / "jobs").glob("*/run/model"))
