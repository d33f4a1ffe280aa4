"""What the tables and figures say, out of made-up results."""

from __future__ import annotations

import math
import xml.etree.ElementTree as ElementTree
from dataclasses import replace

import pytest
from scipy import stats

from promu.evaluation.counts import Summary
from promu.study.exhibit import Measurement, Section
from promu.study.run_study import EXHIBITS, build_sections

from .made_up import TASKS, everything, places


def built(found: list[Measurement], one_test: bool = False) -> dict[str, Section]:
    return {section.name: section for section in build_sections(found, TASKS, one_test)}


def f1(section: Section, table: str, row: int, column: str) -> float:
    found = next(one for one in section.tables if one.name == table)
    value = found.rows[row][found.columns.index(column)]
    assert isinstance(value, Summary)
    return value.mean


@pytest.mark.slow
def test_every_exhibit_has_a_section_with_a_table_and_well_formed_figures() -> None:
    sections = built(everything())
    assert list(sections) == list(dict.fromkeys(place.exhibit for place in everything()))
    assert set(sections) == set(EXHIBITS)
    names = [table.name for section in sections.values() for table in section.tables]
    assert len(names) == len(set(names)), "each is a file of its own"
    for section in sections.values():
        assert section.tables and not section.failures
        for table in section.tables:
            assert all(len(row) == len(table.columns) for row in table.rows) and table.rows
        for drawn in section.figures:
            ElementTree.fromstring(drawn.svg)
    with_figures = {name for name, section in sections.items() if section.figures}
    assert with_figures == {"figure3", "figure4", "figure5", "learning-curve", "temperature", "robustness"}


def test_table1_has_precision_recall_f1_the_groups_and_the_gains() -> None:
    section = built(places("table1", {("text-only",): 40.0, ("promu",): 70.0}))["table1"]
    assert f1(section, "table1", 1, "entities F1") == 71.0
    assert f1(section, "table1", 1, "entities P") == 72.0 and f1(section, "table1", 1, "relations R") == 70.0
    assert f1(section, "table1-groups", 0, "relations, image decides") == 36.0
    gains = next(table for table in section.tables if table.name == "table1-gains")
    assert [row[0] for row in gains.rows] == ["text-only"]
    assert f1(section, "table1-gains", 0, "entities: gain") == 30.0
    # ten posts a seed, of which three are right in promu alone: the gain is the same in each seed, so that the error is
    # that over posts, 100 * sqrt(.3 * .7 / 9) a seed, and t = 30 / (15.28 / sqrt(3)) = 3.40 with 27 degrees of freedom
    assert gains.rows[0][2:4] == ("+11.9 to +48.1", "0.002")
    assert len(set(gains.columns)) == len(gains.columns), "JSON names places by column"


def test_table1_shows_published_figures_beside() -> None:
    found = places("table1", {("text-only",): 40.0, ("promu",): 70.0})
    published = {"promu": {"entities": 73.25}, "another": {"entities": 1.0}}
    section = build_sections(found, TASKS, True, published=published)[0]
    table = next(table for table in section.tables if table.name == "table1-published")
    columns = ("entities", "entities, published", "entities: difference")
    assert table.columns[:4] == ("system", *columns)
    assert table.texts() == [["promu", "71.0 ± 1.0", "73.25", "−2.2", "71.0 ± 1.0", "–", "–"]]
    assert not any(table.name == "table1-published" for table in built(found)["table1"].tables)


def test_seeds_that_share_their_test_posts_do_not_count_them_twice() -> None:
    found = places("table1", {("text-only",): 40.0, ("promu",): 70.0})
    table = {one_test: built(found, one_test)["table1"].tables[-1] for one_test in (True, False)}
    # the posts that the seeds share say as much as those of one seed
    low, high = (float(end) for end in str(table[True].rows[0][2]).replace("−", "-").split(" to "))
    assert (high - low) / 2 == pytest.approx(stats.t.ppf(0.975, 9) * 100 * math.sqrt(0.3 * 0.7 / 9), abs=0.1)
    assert "that they share" in built(found, True)["table1"].notes[1]
    assert "each with its own test posts" in built(found, False)["table1"].notes[1]


def test_one_seed_says_that_others_may_differ() -> None:
    found = places("table1", {("text-only",): 40.0, ("promu",): 70.0}, seeds=1)
    assert "Other seeds may differ" in built(found)["table1"].notes[1]


def test_a_failed_seed_is_marked_and_the_mean_is_over_the_others() -> None:
    found = places("table1", {("text-only",): 40.0, ("promu",): 70.0})
    failed = [
        replace(place, result=None, failure="memory ran out")
        if (place.row, place.task, place.seed) == (("promu",), "entities", 2)
        else place
        for place in found
    ]
    section = built(failed)["table1"]
    table = section.tables[0]
    assert table.texts()[1][3] == "70.5 ± 0.7 (2 of 3 runs)" and table.texts()[1][6] == "71.0 ± 1.0"
    assert section.failures == ["promu · entities, seed 2: memory ran out"]
    # the gain is that of the seeds that both systems have
    assert section.tables[-1].texts()[0][1] == "30.0 ± 0.0 (2 of 3 runs)"


def test_a_system_without_any_result_has_dashes() -> None:
    found = [replace(place, result=None, failure="no") for place in places("table1", {("promu",): 1.0})]
    assert built(found)["table1"].tables[0].texts() == [["promu", "–", "–", "–", "–", "–", "–"]]


def test_table2_gives_the_gain_seed_by_seed() -> None:
    found = places("table2", {("mmib", "without pre-training"): 50.0, ("mmib", "promu"): 58.5})
    section = built(found)["table2"]
    assert section.tables[0].texts() == [
        ["mmib", "51.0 ± 1.0", "59.5 ± 1.0", "8.5 ± 0.0", "0.095", "51.0 ± 1.0", "59.5 ± 1.0", "8.5 ± 0.0", "0.095"]
    ]


def test_table2_has_a_row_for_each_fusion_and_pre_training() -> None:
    rows: dict[tuple[str, ...], float] = {
        ("mmib", "without pre-training"): 50.0,
        ("mmib", "BLIP"): 52.0,
        ("mmib", "promu"): 58.5,
    }
    found = built(places("table2", rows))["table2"].tables[0].texts()
    assert [row[:4] for row in found] == [
        ["mmib · BLIP", "51.0 ± 1.0", "53.0 ± 1.0", "2.0 ± 0.0"],
        ["mmib · promu", "51.0 ± 1.0", "59.5 ± 1.0", "8.5 ± 0.0"],
    ]


def test_figure4_shows_the_rarest_in_training_first() -> None:
    section = built(places("figure4", {("promu",): 60.0}))["figure4"]
    entities, relations = section.tables
    assert entities.columns == ("system", "C (1)", "B (2)")
    assert relations.columns == ("system", "C (1)", "B (2)", "A (9)")
    assert not any("no real tail" in note for note in section.notes)


def test_a_single_seed_is_said_to_have_no_spread() -> None:
    assert "One seed" in built(places("transfer", {("promu",): 1.0}, seeds=1))["transfer"].notes[0]
    assert "over 3 seeds" in built(places("transfer", {("promu",): 1.0}))["transfer"].notes[0]


@pytest.mark.parametrize("name", ["learning-curve", "robustness", "temperature"])
@pytest.mark.slow
def test_figures_of_equal_data_are_equal(name: str) -> None:
    first, second = (built([p for p in everything() if p.exhibit == name])[name] for _ in range(2))
    assert [drawn.svg for drawn in first.figures] == [drawn.svg for drawn in second.figures]
