"""The demo end to end, small: what it leaves behind, and that it goes on where it stopped."""

from __future__ import annotations

import html
import json
import re
import shlex
from pathlib import Path
from typing import Literal

import pytest

from promu import score
from promu.cli import app, main
from promu.errors import InputError
from promu.extraction.extractor import Extractor
from promu.newsreel import NewsreelSettings
from promu.service.examples import read_examples
from promu.study.demo_study import STUDY, run_demo
from promu.study.study_recipe import GridPoint

pytestmark = pytest.mark.slow

SMALL = ("hidden_size=32", "num_attention_heads=2", "intermediate_size=32")
TINY = STUDY.model_copy(
    update={
        "world": NewsreelSettings(pairs=120, ner_posts=(24, 8, 12), re_posts=(150, 16, 24)),
        "pretrain_set": (
            "data.corpus.dev=8",
            "training.epochs=1",
            "teacher.training.epochs=1",
            *(
                f"{model}.{side}.{value}"
                for model in ("teacher", "model")
                for side in ("text", "vision")
                for value in SMALL
            ),
        ),
        "finetune_set": ("training.epochs=1",),
        "grid": (GridPoint(), GridPoint(lr=2e-3)),
    }
)


@pytest.fixture(scope="module")
def demo_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("demo") / "run"
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("promu.study.demo_study.usable_cores", lambda: 1)  # other tests have the others
        data = run_demo(out, 0, TINY)
    assert [system.name for system in data.systems] == ["text-only", "from-scratch", "promu"]
    return out


def test_the_demo_leaves_report_figures_and_a_model_that_extracts(demo_folder: Path) -> None:
    report = json.loads((demo_folder / "report.json").read_text(encoding="utf-8"))
    assert set(report) >= {"seed", "seconds", "systems"}
    assert [system["name"] for system in report["systems"]] == ["text-only", "from-scratch", "promu"]
    gold: dict[Literal["ner", "re"], Path] = {
        "ner": demo_folder / "corpus" / "ner" / "test.txt",
        "re": demo_folder / "corpus" / "re" / "mnre_test.txt",
    }
    figures = {
        task: [score(task, path, found).f1.mean for found in demo_folder.glob(f"jobs/finetune-*/run/*/{path.name}")]
        for task, path in gold.items()
    }
    assert {task: len(runs) for task, runs in figures.items()} == {"ner": 3, "re": 3}
    for system in report["systems"]:
        for task in ("ner", "re"):
            assert system[task]["f1"] in figures[task], "the report shows what the written predictions score"
    for system in report["systems"]:
        for task in ("ner", "re"):
            assert system[task]["chosen"]["lr"] in (5e-4, 2e-3) and system[task]["chosen"]["epochs"] == 1
    page = (demo_folder / "report.html").read_text(encoding="utf-8")
    assert "chosen on dev from the same settings for every system: text-only 0.00" in page
    elsewhere = page.replace("http://www.w3.org", "").replace("http://t.co/x7Qa2", "")
    assert "<svg" in page and "http://" not in elsewhere
    result = Extractor.from_pretrained(demo_folder / "model")("Zorva and Kelmo tonight")
    assert list(result.tokens) == ["Zorva", "and", "Kelmo", "tonight"]
    assert len(list((demo_folder / "corpus" / "re" / "images").iterdir())) == 190


def test_only_a_run_that_is_not_finished_is_said_to_take_long(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def stop(*given: object) -> None:
        raise InputError("it would run here")

    monkeypatch.setattr("promu.study.demo_study.run_demo", stop)
    assert main(["demo", "--out", str(tmp_path)]) == 2
    assert "twelve minutes" in capsys.readouterr().err
    (tmp_path / "report.json").touch()
    assert main(["demo", "--out", str(tmp_path)]) == 2
    assert "minutes" not in capsys.readouterr().err


def test_the_report_says_what_to_do_next_in_commands_that_work(demo_folder: Path) -> None:
    page = (demo_folder / "report.html").read_text(encoding="utf-8")
    commands = re.findall(r"<pre[^>]*>([^<]*)</pre>", page[page.index('id="next"') : page.index("</main>")])
    words = [shlex.split(line) for command in commands for line in html.unescape(command).splitlines()]
    assert [line[1] for line in words if line[0] == "promu"][:2] == ["serve", "extract"]
    for first, *rest in words:
        if first == "promu":
            app.parse_args(rest, exit_on_error=False, print_error=False)
        else:
            assert (first, rest[0]) == ("pip", "install") or (first == "open" and Path(rest[0]).is_file())


def test_the_models_page_has_examples_of_the_corpus(demo_folder: Path) -> None:
    examples = read_examples(demo_folder / "model")
    assert 3 <= len(examples) <= 5 and len({one.text for one in examples[:3]}) == 1
    assert len({one.image for one in examples[:3]}) == 3 and examples[-1].image is None


def test_each_job_is_run_once_and_text_only_reads_no_image(demo_folder: Path) -> None:
    results = [json.loads(path.read_text(encoding="utf-8")) for path in demo_folder.glob("jobs/*/job.json")]
    assert len(results) == 11, "a corpus drawn and built, teacher, labels, pre-training, two tasks of three systems"
    read = {one["label"]: one["result"]["images"]["test"]["with image"] for one in results if "images" in one["result"]}
    assert read == {
        **{f"seed 0 · text-only · {task}": 0 for task in ("entities", "relations")},
        **{f"seed 0 · {system} · entities": 12 for system in ("without pre-training", "promu")},
        **{f"seed 0 · {system} · relations": 24 for system in ("without pre-training", "promu")},
    }


def test_a_finished_demo_is_not_repeated_and_another_seed_is_refused(demo_folder: Path) -> None:
    before = {path: path.stat().st_mtime_ns for path in demo_folder.glob("jobs/*/job.json")}
    run_demo(demo_folder, 0, TINY)
    assert {path: path.stat().st_mtime_ns for path in before} == before
    with pytest.raises(InputError, match="other settings"):
        run_demo(demo_folder, 1, TINY)
