"""`promu reproduce` end to end on a tiny study: what it leaves, that it goes on after a kill, what it refuses."""

from __future__ import annotations

import json
import re
import time
from pathlib import Path

import pytest
from tests import processes

from promu import score
from promu.cli import main
from promu.study.run_study import EXHIBITS

pytestmark = pytest.mark.slow

TINY_ENCODER = ("hidden_size=32", "intermediate_size=32", "num_attention_heads=2")
TINY = [
    "teacher.training.epochs=1",
    "training.epochs=1",
    *(
        f"{whose}.{side}.{setting}"
        for whose in ("teacher", "model")
        for side in ("text", "vision")
        for setting in TINY_ENCODER
    ),
]
TABLES = ("tables/table2.csv", "tables/table2.tex", "study.json")


@pytest.fixture(scope="module")
def recipe(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("recipe") / "tiny-study.yaml"
    text = {
        "pretrain": "newsreel-pretrain",
        "finetune": {"entities": "newsreel-ner"},
        "pretrain_set": TINY,
        "finetune_set": ["training.epochs=2"],
        "world": {"pairs": 80, "ner_posts": [40, 8, 12], "re_posts": [1, 1, 1]},
        "fusions": ["concat"],
        "workers": 1,
        "note": "Tiny.",
    }
    path.write_text(json.dumps(text), encoding="utf-8")  # JSON is YAML
    return path


def words(recipe: Path, out: Path, exhibit: str = "table2", seeds: int = 1) -> list[str]:
    return ["reproduce", exhibit, "--recipe", str(recipe), "--seeds", str(seeds), "--out", str(out)]


@pytest.fixture(scope="module")
def whole(recipe: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A study that was never interrupted."""
    out = tmp_path_factory.mktemp("whole") / "study"
    assert main(words(recipe, out)) == 0
    return out


def done(out: Path) -> dict[str, int]:
    return {path.parent.name: path.stat().st_mtime_ns for path in (out / "jobs").glob("*/job.json")}


def test_it_leaves_the_table_in_every_form_and_each_job_once(whole: Path) -> None:
    kinds = sorted(name.partition("-")[0] for name in done(whole))
    assert kinds == ["corpus", "draw", "finetune", "finetune", "labels", "pretrain", "teacher"]
    log = (whole / "log.jsonl").read_text(encoding="utf-8").splitlines()
    assert len(log) == len(kinds) and all({"job", "label", "seconds"} <= json.loads(line).keys() for line in log)
    row = json.loads((whole / "study.json").read_text(encoding="utf-8"))["exhibits"][0]["tables"][0]["rows"][0]
    gold = next((whole / "jobs").glob("draw-*/run/**/ner/test.txt"))
    written = whole.glob("jobs/finetune-*/run/predictions/test.txt")
    scores = {path.parents[1]: score("ner", gold, path).f1.mean for path in written}
    assert len(scores) == 2
    for run, figure in scores.items():
        assert json.loads((run / "result.json").read_text(encoding="utf-8"))["test"]["f1"] == figure
    shown = {row["entities, pre-trained"]["mean"], row["entities, without"]["mean"]}
    assert row["fusion"] == "concat" and shown == set(scores.values())
    for name in ("study.html", "study.md", *TABLES):
        assert "concat" in (whole / name).read_text(encoding="utf-8"), name
    assert "Tiny." in (whole / "study.html").read_text(encoding="utf-8")


def test_pre_training_took_over_the_teacher_and_the_labels_of_their_own_jobs(whole: Path) -> None:
    jobs = {name.partition("-")[0]: whole / "jobs" / name / "run" for name in done(whole)}
    assert not (jobs["pretrain"] / "teacher").exists() and not (jobs["pretrain"] / "corpus").exists()
    ours, theirs = (next((jobs[kind] / "labels").glob("labels-*")) for kind in ("pretrain", "labels"))
    assert ours.samefile(theirs)


def test_killed_and_started_again_it_gives_the_same_tables(recipe: Path, whole: Path, tmp_path: Path) -> None:
    out = tmp_path / "study"
    call = processes.start("import sys; from promu.cli import main; main(sys.argv[1:])", *words(recipe, out))
    until = time.monotonic() + 240
    while not any(name.startswith("labels") for name in done(out)):
        assert call.is_alive() and time.monotonic() < until, "it ended before it could be killed"
        time.sleep(0.05)
    call.kill()
    call.join()
    before = done(out)
    assert 0 < len(before) < 7
    assert main(words(recipe, out)) == 0
    assert {name: done(out)[name] for name in before} == before, "what was done is not done again"
    for name in TABLES:
        texts = [re.sub(r'"(command|cpu_seconds)": .*', "", (one / name).read_text("utf-8")) for one in (out, whole)]
        assert texts[0] == texts[1], name


def test_a_failed_job_is_said_and_the_rest_is_written_from_what_another_exhibit_has_made(
    recipe: Path, whole: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    changed = json.loads(recipe.read_text(encoding="utf-8"))
    changed["posts"] = [41]
    path = recipe.with_name("too-many.yaml")
    path.write_text(json.dumps(changed), encoding="utf-8")
    before = done(whole)
    assert main(words(path, whole, "learning-curve")) == 1
    assert done(whole) == before
    said = capsys.readouterr()
    assert "error: not measured: promu · 41 · entities, seed 0: needs" in said.err
    assert "training posts: 41 asked for, 40 there" in said.err
    assert "Test F1 by the number of labelled posts" in said.out
    text = (whole / "study.md").read_text(encoding="utf-8")
    assert "Not measured:" in text and "| promu | 40 |" in text


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        (["table9"], "'table9' is no table or figure; choose one of table1"),
        ([], "no table or figure is named; choose some of table1"),
        (["table1", "kecpm"], "'kecpm' is a study of its own; run it alone"),
        (["table2", "--seeds", "0"], "--seeds is 0; at least 1 is needed"),
        (["transfer"], "transfer needs a second domain"),
        (["table2", "--out", "{file}"], "this is a file; choose another --out"),
    ],
)
def test_what_cannot_be_done_is_one_sentence(
    arguments: list[str], sentence: str, recipe: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "file").write_text("x", encoding="utf-8")
    given = [word.replace("{file}", str(tmp_path / "file")) for word in arguments]
    out = [] if "--out" in given else ["--out", str(tmp_path / "out")]
    assert main(["reproduce", *given, "--recipe", str(recipe), *out]) == 2
    said = capsys.readouterr().err
    assert sentence in said and said.startswith("error: ") and said.count("\n") == 1
    assert not (tmp_path / "out").exists()


def test_help_names_every_exhibit(capsys: pytest.CaptureFixture[str]) -> None:
    main(["reproduce", "--help"])
    said = capsys.readouterr().out
    assert all(name in said for name in (*EXHIBITS, "all"))
