"""Every system tries the same settings of fine-tuning; dev chooses, and test is scored once."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from tests.factories import TEXTS, TINY_TEXT, TINY_VISION

from promu import score
from promu.config import load_recipe
from promu.errors import InputError
from promu.files import checksum
from promu.study.demo_study import STUDY as DEMO
from promu.study.exhibit import Measurement, Sheet, chosen_table
from promu.study.job import Job, with_inputs
from promu.study.job_factory import JobFactory, tried
from promu.study.job_kinds import fine_tune
from promu.study.paper_exhibits import PROMU, SCRATCH, TEXT_ONLY, finetuned
from promu.study.run_study import plan
from promu.study.study_recipe import FewShotStudyRecipe, GridPoint, StudyRecipe
from promu.tasks.model_folder import open_predictor
from promu.training.tokenizers import train_wordpiece

from .made_up import scored

TRAINING = {"batch_size": 8, "precision": "fp32"}
GRID = [{**TRAINING, "lr": 1e-7, "epochs": 1}, {**TRAINING, "lr": 5e-3, "epochs": 25, "validate_every": 75}]


@pytest.fixture(scope="module")
def settings(tiny_world: Path, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    folder = tmp_path_factory.mktemp("tokenizer")
    texts = (tiny_world / "texts.txt").read_text(encoding="utf-8").splitlines()
    train_wordpiece([*TEXTS, *texts], 400, min_frequency=1).save_pretrained(folder)
    ner = tiny_world / "ner"
    return {
        "task": "ner",
        "data": {
            **{
                split: str(ner / f"{name}.txt")
                for split, name in (("train", "train"), ("dev", "train"), ("test", "test"))
            },
            "images": str(ner / "images"),
            "groups": str(ner / "groups.json"),
        },
        "model": {"text": TINY_TEXT, "vision": TINY_VISION, "tokenizer": str(folder)},
        "training": GRID[0],
        "grid": GRID,
    }


@pytest.fixture(scope="module")
def done(settings: dict[str, Any], tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, dict[str, Any]]:
    out = tmp_path_factory.mktemp("grid") / "run"
    return out, fine_tune(settings, out)


@pytest.mark.slow
def test_dev_chooses_and_the_result_says_what_and_from_what(done: tuple[Path, dict[str, Any]]) -> None:
    _, result = done
    assert [(one["lr"], one["epochs"]) for one in result["grid"]] == [(1e-7, 1), (5e-3, 25)]
    on_dev = [one["dev_f1"] for one in result["grid"]]
    assert on_dev[1] > on_dev[0] and result["dev_f1"] == on_dev[1]
    assert result["chosen"] == {"lr": 5e-3, "epochs": 25}


@pytest.mark.slow
def test_test_is_scored_once_and_with_the_chosen_weights_alone(
    settings: dict[str, Any], done: tuple[Path, dict[str, Any]]
) -> None:
    out, result = done
    test = Path(settings["data"]["test"])
    scored_files = [
        [json.loads(line)["sha256"] for line in path.read_text(encoding="utf-8").splitlines()]
        for path in sorted(out.glob("tried/*/evaluations.jsonl"))
    ]
    assert [files.count(checksum(test)) for files in scored_files] == [0, 1]
    written = score("ner", test, out / "predictions" / test.name, groups=settings["data"]["groups"])
    assert written.f1.mean == result["test"]["f1"]
    assert {name: counts.f1 for name, counts in written.runs[0].per_group.items()} == {
        name: figures["f1"] for name, figures in result["test"]["per_group"].items()
    }
    assert [sum(column) for column in zip(*result["post_counts"], strict=True)] == [
        result["test"][name] for name in ("correct", "predicted", "gold")
    ]
    assert result["images"]["test"]["with image"] == result["posts"]["test"] == 8


@pytest.mark.slow
def test_the_chosen_model_is_the_jobs_and_what_is_done_is_not_done_again(
    settings: dict[str, Any], done: tuple[Path, dict[str, Any]], tmp_path: Path
) -> None:
    out, result = done
    assert [path.parent.name for path in out.glob("tried/*/model")] == ["1"]
    moved = tmp_path / "moved"
    out.rename(moved)
    assert open_predictor("ner", moved / "model").config.image_size == 32
    assert json.loads((moved / "log.jsonl").read_text(encoding="utf-8").splitlines()[-1])
    moved.rename(out)
    before = {path: path.stat().st_mtime_ns for path in out.glob("tried/*/result.json")}
    assert fine_tune(settings, out)["test"] == result["test"]
    assert {path: path.stat().st_mtime_ns for path in before} == before


def test_a_job_without_test_posts_is_refused(settings: dict[str, Any], tmp_path: Path) -> None:
    data = {**settings["data"], "test": None}
    with pytest.raises(InputError, match=r"set data\.test"):
        fine_tune({**settings, "data": data}, tmp_path / "run")


@pytest.mark.parametrize("task", ["entities", "relations"])
def test_every_system_of_the_demo_tries_the_same_settings(task: str) -> None:
    factory = JobFactory.of(DEMO)
    grids = [finetuned(factory, system, task).settings["grid"] for system in (TEXT_ONLY, SCRATCH, PROMU)]
    assert grids[0] == grids[1] == grids[2]
    assert len({one["lr"] for one in grids[0]}) > 1 and len({one["epochs"] for one in grids[0]}) > 1


def fine_tunings(study: StudyRecipe) -> list[Job]:
    jobs = with_inputs(request.job for request in plan(study, ["table1", "table2"], 1)).values()
    return [job for job in jobs if job.kind == "finetune"]


def test_so_does_every_row_of_a_study() -> None:
    study = load_recipe("newsreel-study", StudyRecipe)
    trainings = {
        json.dumps([{**one, "validate_every": None} for one in job.settings["grid"]]) for job in fine_tunings(study)
    }
    assert len(trainings) == 1 and study.grid
    alone = study.model_copy(update={"grid": ()})
    assert not any("grid" in job.settings for job in fine_tunings(alone))
    assert {job.key for job in fine_tunings(study)}.isdisjoint(job.key for job in fine_tunings(alone))


def test_one_setting_is_no_choice_and_few_posts_get_as_many_steps_in_each() -> None:
    training = {"lr": 1e-4, "epochs": 10, "batch_size": 16}
    assert tried(training, []) == {"training": training}
    assert tried(training, [GridPoint(lr=1e-3)]) == {"training": {**training, "lr": 1e-3}}
    both = tried(training, [GridPoint(), GridPoint(lr=1e-3, epochs=4)], (50, 400))
    # 25 steps an epoch of 400 posts, 4 of 50
    assert [one["epochs"] for one in both["grid"]] == [10 * 25 / 4, 4 * 25 / 4]
    assert both["training"] == both["grid"][0] and {one["validate_every"] for one in both["grid"]} == {25}


def test_a_grid_is_checked() -> None:
    with pytest.raises(InputError, match="lr"):
        GridPoint(lr=-1.0)
    assert "grid" in FewShotStudyRecipe.model_fields


def test_the_table_counts_what_dev_chose() -> None:
    chosen = [{"lr": 5e-4, "epochs": 20.0}, {"lr": 1e-3, "epochs": 8.0}, {"lr": 5e-4, "epochs": 20.0}]
    found = [
        Measurement("table1", ("promu",), "entities", seed, {**scored(50.0), "chosen": one})
        for seed, one in enumerate(chosen)
    ]
    plain = Measurement("table1", ("text-only",), "entities", 0, scored(40.0))
    table = chosen_table(Sheet([plain, *found], {"entities": "ner"}, False), "table1-chosen")
    assert table is not None and table.texts() == [["promu", "0.0005 × 20 (2), 0.001 × 8 (1)"]]
    assert chosen_table(Sheet([plain], {"entities": "ner"}, False), "x") is None
