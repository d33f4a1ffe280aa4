"""The page of a run: whole, self-contained, true to the files it is made of."""

from __future__ import annotations

import json
import math
from pathlib import Path
from typing import Any

import pytest
from tests.factories import COLOURS, image_bytes
from tests.report.test_report import EVIL, Page
from tests.report.test_run_log import RECALL, run

from promu.errors import InputError
from promu.report.run_report import POINTS, thinned, write_evaluation_report, write_run_report

SAMPLES = [
    {
        "image": "red.png",
        "name": "red.png",
        "caption": f"a red square {EVIL}",
        "regions": [
            {
                "box": [0.1, 0.2, 0.5, 0.9],
                "teacher": [["square", 0.61], ["dog", 0.2]],
                "before": [["cat", 0.31]],
                "after": [["square", 0.52]],
            }
        ],
        "relations": {"teacher": [["part of", 0.4]], "after": [["spouse", 0.7]]},
    }
]


@pytest.fixture()
def out(tmp_path: Path) -> Path:
    return write_run(tmp_path)


def write_run(folder: Path) -> Path:
    """The folder of a finished run, with all that its report reads."""
    folder.mkdir(exist_ok=True)
    log = run(
        {"cit": (4.0, 1.0), "itm": (0.69, 0.5), "loss": (5.0, 2.0)},
        {**dict.fromkeys(RECALL, (20.0, 15.0)), "eval_itm_auc_falsified": (0.6, 0.8), "eval_loss_cit": (3.0, 4.0)},
    )
    for line in log:
        if "cit" in line:
            line |= {"lr": 1e-4, "seconds": line["step"] * 0.5, "samples": line["step"] * 64, "temperature": 0.07}
    write_log(folder, log)
    (folder / "recipe.json").write_text(json.dumps({"seed": 3, "training": {"batch_size": 64}, "note": EVIL}))
    (folder / "result.json").write_text(json.dumps({"pairs": 12800, "images": 2560, "seconds": 125.0}))
    (folder / "red.png").write_bytes(image_bytes(COLOURS["red"]))
    (folder / "samples.json").write_text(json.dumps(SAMPLES))
    return folder


def write_log(folder: Path, log: list[dict[str, Any]]) -> None:
    (folder / "log.jsonl").write_text("".join(json.dumps(line) + "\n" for line in log))


def page_of(folder: Path) -> tuple[str, Page]:
    html = write_run_report(folder).read_text(encoding="utf-8")
    return html, Page(html)


def test_the_page_is_whole_and_needs_nothing_beside_it(out: Path) -> None:
    html, page = page_of(out)
    assert html.lstrip().startswith("<!DOCTYPE html>") and page.unbalanced == []
    assert not page.of("script") and EVIL not in html
    for attributes in (attributes for _, attributes in page.tags):
        for name in ("src", "href"):
            assert attributes.get(name, "#").startswith(("#", "data:"))
    assert {image["src"].partition(",")[0] for image in page.of("img")} == {"data:image/png;base64"}


def test_the_page_tells_what_the_files_say(out: Path) -> None:
    _, page = page_of(out)
    words = page.words
    assert "200steps" in words and "12,800" in words and "2 min 5 s" in words
    assert "128/s" in words  # 64 pairs in half a second
    assert "recall@10 on dev went from 20.0 to 15.0" in words
    assert "training.batch_size" in words and "seed 3" in words
    for name in ("CIT", "R@10", "ITM / falsified", "Throughput", "Learning rate", "Temperature", "Losses on dev"):
        assert name in words
    assert "caption to image r10" in words and "eval_" not in words


def test_a_fine_tuning_run_shows_precision_and_recall(tmp_path: Path) -> None:
    write_log(tmp_path, [{"step": 1, "loss": 2.0}, {"step": 2, "eval_f1": 40.0}, {"step": 4, "eval_f1": 60.0}])
    (tmp_path / "recipe.json").write_text(json.dumps({"task": "ner", "seed": 1}))
    curve = [[0.9, 100.0, 25.0, 40.0], [0.4, 75.0, 50.0, 60.0], [0.1, 50.0, 50.0, 50.0]]
    thresholds = {"entity_threshold": 0.25, "dev": {"f1": 60.0}, "curve": curve}
    (tmp_path / "result.json").write_text(json.dumps({"thresholds": thresholds}))
    html, page = page_of(tmp_path)
    assert page.unbalanced == [] and "<title>Fine-tuning run" in html
    for name in ("Precision and recall", "By threshold", "F1 on dev", "leaves out answers below 0.250"):
        assert name in page.words
    assert (
        "thresholds.dev.f1" in page.words and "thresholds.curve" not in page.words and "sample labels" not in page.words
    )
    labels = [one["aria-label"] for one in page.of("svg")]
    assert any("F1 from 40 to 50" in label for label in labels) and any(
        "precision from 100 to 50" in one for one in labels
    )


def test_an_evaluation_has_a_page(tmp_path: Path) -> None:
    points = [[0.9, 100.0, 25.0, 40.0], [0.1, 50.0, 50.0, 50.0]]
    write_evaluation_report(tmp_path / "page.html", f"model on {EVIL}", [("50.0", "f1")], points)
    html = (tmp_path / "page.html").read_text(encoding="utf-8")
    page = Page(html)
    assert page.unbalanced == [] and EVIL not in html and "By threshold" in page.words and "50.0" in page.words
    write_evaluation_report(tmp_path / "page.html", "model", [], [])
    assert "no answer with a score" in (tmp_path / "page.html").read_text(encoding="utf-8")


def test_samples_show_teacher_before_and_after(out: Path) -> None:
    _, page = page_of(out)
    words = page.words
    assert "a red square" in words and "region 1" in words
    for shown in ("square", "61 %", "cat", "31 %", "student before", "student after", "spouse"):
        assert shown in words


def test_a_run_that_has_only_begun(tmp_path: Path) -> None:
    write_log(tmp_path, [{"step": 1, "loss": 2.0, "cit": 2.0}])
    _, page = page_of(tmp_path)
    assert (
        "not finished" in page.words
        and "was not validated" in page.words
        and "data.corpus.dev: 200" in page.words
        and "no sample labels" in page.words
    )
    assert page.unbalanced == []


def test_a_run_that_diverged(tmp_path: Path) -> None:
    write_log(tmp_path, [{"step": 1, "loss": 2.0, "cit": 2.0}, {"step": 2, "loss": math.nan, "cit": math.nan}])
    _, page = page_of(tmp_path)
    assert "no number at step 2" in page.words


def test_long_curves_are_thinned_to_means() -> None:
    points = [(float(step), float(step % 7)) for step in range(1, 1001)]
    found = thinned(points)
    assert len(found) == POINTS and found[-1][0] == 1000
    assert found[0][0] == 5.0 and found[0][1] == pytest.approx(sum(step % 7 for step in range(1, 6)) / 5)
    assert thinned(points[:9]) == points[:9] and thinned([]) == []


@pytest.mark.parametrize(
    ("name", "content", "said"),
    [
        ("samples.json", '[{"image": "red.png"}]', "samples.json: not the samples of a run"),
        ("samples.json", "[3]", "samples.json: not the samples of a run"),
        (
            "samples.json",
            '[{"image": "data:image/png;base64,?", "caption": "", "regions": [], "relations": {}}]',
            "an image is not base64",
        ),
        (
            "samples.json",
            '[{"image": "gone.png", "caption": "", "regions": [], "relations": {}}]',
            "gone.png: no such image",
        ),
        ("recipe.json", "[]", "recipe.json: a JSON object is expected"),
        ("result.json", "{", "result.json:1: not JSON"),
    ],
)
def test_damaged_files_are_named(name: str, content: str, said: str, out: Path) -> None:
    (out / name).write_text(content)
    with pytest.raises(InputError, match=said.replace(".", r"\.")):
        write_run_report(out)
    assert not (out / "report.html").exists()


def test_a_folder_without_a_log(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"log\.jsonl: no such file"):
        write_run_report(tmp_path)
