"""The demo end to end, small: what it leaves behind, and that it goes on where it stopped."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from promu.cli.console import Clock
from promu.cli.demo import Job, jobs, run
from promu.errors import InputError
from promu.extraction.extractor import Extractor
from promu.newsreel import NewsreelSettings

TINY = {"hidden_size": 32, "num_attention_heads": 2, "intermediate_size": 32}


def tiny_jobs(out: Path) -> list[Job]:
    """The demo's own jobs with small encoders and an epoch or two."""
    found = []
    for job in jobs(out, 0):
        settings = json.loads(json.dumps(job.settings))
        settings["training"]["epochs"] = 1
        models = [settings["model"]]
        if job.kind == "pretrain":
            settings["teacher"]["training"]["epochs"] = 1
            models.append(settings["teacher"])
        for model in models:
            for side in ("text", "vision"):
                if isinstance(model.get(side), dict):
                    model[side].update(TINY)
        found.append(Job(job.name, job.kind, settings))
    return found


@pytest.fixture(scope="module")
def demo_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("demo") / "run"
    corpus = NewsreelSettings(seed=0, pairs=120, ner_posts=(24, 8, 12), re_posts=(150, 16, 24))
    systems = run(out, corpus, tiny_jobs(out))
    assert [system["name"] for system in systems] == ["text-only", "from-scratch", "promu"]
    return out


def test_the_demo_leaves_report_figures_and_a_model_that_extracts(demo_folder: Path) -> None:
    report = json.loads((demo_folder / "report.json").read_text(encoding="utf-8"))
    assert set(report) >= {"seed", "seconds", "systems"}
    for system in report["systems"]:
        for task in ("ner", "re"):
            assert {"precision", "recall", "f1"} <= set(system[task])
            assert 0 <= system[task]["f1"] <= 100
    page = (demo_folder / "report.html").read_text(encoding="utf-8")
    assert "<svg" in page and "http://" not in page.replace("http://www.w3.org", "")
    result = Extractor.from_pretrained(demo_folder / "model")("Zorva and Kelmo tonight")
    assert list(result.tokens) == ["Zorva", "and", "Kelmo", "tonight"]


def test_text_only_never_sees_a_image_and_the_others_do(demo_folder: Path) -> None:
    for system, seen in (("text-only", 0), ("from-scratch", 12), ("promu", 12)):
        result = json.loads((demo_folder / f"{system}-ner" / "result.json").read_text(encoding="utf-8"))
        assert result["images"]["test"]["with image"] == seen


def test_a_finished_demo_is_not_repeated_and_another_seed_is_refused(demo_folder: Path) -> None:
    before = (demo_folder / "pre-training" / "result.json").stat().st_mtime_ns
    corpus = NewsreelSettings(seed=0, pairs=120, ner_posts=(24, 8, 12), re_posts=(150, 16, 24))
    run(demo_folder, corpus, tiny_jobs(demo_folder))
    assert (demo_folder / "pre-training" / "result.json").stat().st_mtime_ns == before
    other = NewsreelSettings(seed=1, pairs=120, ner_posts=(24, 8, 12), re_posts=(150, 16, 24))
    with pytest.raises(InputError, match="other settings"):
        run(demo_folder, other, tiny_jobs(demo_folder))


def test_the_clock_never_runs_backwards_and_ends_at_one() -> None:
    clock = Clock(["pre-training", "promu · entities", "promu · relations"])
    seen = [clock.share]
    for job, stage, done in (
        ("drawing", "drawing", 5),
        ("drawing", "done", 1),
        ("pre-training", "teacher", 5),
        ("pre-training", "labels", 5),
        ("pre-training", "pre-training", 5),
        ("pre-training", "done", 1),
        ("promu · entities", "ner", 5),
        ("promu · entities", "done", 1),
        ("promu · relations", "done", 1),
    ):
        clock.move(job, stage, done, 10)
        seen.append(clock.share)
    assert seen == sorted(seen)
    assert seen[-1] == pytest.approx(1.0)
