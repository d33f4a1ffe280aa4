"""The files of a study."""

from __future__ import annotations

import json
import re
from dataclasses import replace
from pathlib import Path

import pytest

from promu.study.run_study import build_sections
from promu.study.study_page import Study, write_study

from .made_up import TASKS, everything, places

STUDY = Study("tiny", "promu reproduce all --recipe tiny", "Smaller than <life>.", 3, 12, 3700.0)


@pytest.mark.slow
def test_every_form_is_written_and_the_page_needs_nothing_beside_it(tmp_path: Path) -> None:
    sections = build_sections(everything(), TASKS, False)
    page = write_study(tmp_path, STUDY, sections).read_text(encoding="utf-8")
    tables = [table.name for section in sections for table in section.tables]
    figures = [drawn.name for section in sections for drawn in section.figures]
    assert sorted(path.name for path in (tmp_path / "tables").iterdir()) == sorted(
        f"{name}.{kind}" for name in tables for kind in ("csv", "tex")
    )
    assert sorted(path.stem for path in (tmp_path / "figures").iterdir()) == sorted(figures)
    assert page.count("data:image/svg+xml;base64,") == len(figures)
    assert not re.search(r"<script|(src|href)=\"(?!data:|#)", page), "it loads nothing"
    assert "Smaller than &lt;life&gt;." in page and "3 seeds; 12 jobs, 1 h 1 min of processor time" in page
    told = json.loads((tmp_path / "study.json").read_text(encoding="utf-8"))
    assert [one["name"] for one in told["exhibits"]] == [section.name for section in sections]


@pytest.mark.slow
def test_markdown_links_to_the_figures_that_are_there(tmp_path: Path) -> None:
    write_study(tmp_path, STUDY, build_sections(everything(), TASKS, False))
    text = (tmp_path / "study.md").read_text(encoding="utf-8")
    links = re.findall(r"\]\((.*?)\)", text)
    assert len(links) == len(list((tmp_path / "figures").iterdir())) and all(
        (tmp_path / link).is_file() for link in links
    )
    assert "| promu | 72.0 ± 1.0 |" in text


def test_what_was_not_measured_is_listed(tmp_path: Path) -> None:
    found = [
        replace(place, result=None, failure="no room <on> disk") for place in places("transfer", {("promu",): 1.0}, 1)
    ]
    page = write_study(tmp_path, STUDY, build_sections(found, TASKS, False)).read_text(encoding="utf-8")
    assert "promu · entities, seed 0: no room &lt;on&gt; disk" in page
    text = (tmp_path / "study.md").read_text(encoding="utf-8")
    assert "- promu · relations, seed 0: no room <on> disk" in text
    [exhibit] = json.loads((tmp_path / "study.json").read_text(encoding="utf-8"))["exhibits"]
    assert exhibit["runs"][0] == {"row": ["promu"], "task": "entities", "seed": 0, "f1": None}


def test_what_dev_chose_among_is_kept_with_each_run(tmp_path: Path) -> None:
    grid = [{"lr": lr, "epochs": 6.0, "dev_f1": f1} for lr, f1 in ((1e-3, 40.0), (2e-3, 41.5))]
    [first, *others] = places("transfer", {("promu",): 1.0}, 1)
    chosen = replace(first, result={**(first.result or {}), "grid": grid})
    write_study(tmp_path, STUDY, build_sections([chosen, *others], TASKS, False))
    [exhibit] = json.loads((tmp_path / "study.json").read_text(encoding="utf-8"))["exhibits"]
    assert [run.get("grid") for run in exhibit["runs"]] == [grid, *[None] * len(others)]
