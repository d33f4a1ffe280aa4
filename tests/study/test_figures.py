"""The study's figures as a reader of their SVG sees them."""

from __future__ import annotations

import itertools
import math
import re

import numpy as np
import pytest
from matplotlib.font_manager import FontProperties
from matplotlib.textpath import TextPath

from promu.evaluation.counts import Summary
from promu.report.palette import COLOURS, CYCLE, SYSTEMS, series_colour
from promu.study import few_shot, paper_exhibits
from promu.study.exhibit import Measurement, Sheet
from promu.study.figures import Line, Spread, bars, free_places, lines, plane
from promu.study.run_study import build_sections

from .made_up import TASKS, places

HALF, NOTHING = Summary(50.0, 2.0, 3), Summary(0.0, None, 1)


def drawn(*values: Summary | None) -> tuple[int, list[str]]:
    """How many bars the first of two series has, its patch in the legend included, and all words of the figure."""
    names = [f"label {number}" for number in range(len(values))]
    svg = bars({"re": {"promu": values, "text-only": [HALF] * len(values)}}, {"re": names})
    colour = COLOURS[SYSTEMS["promu"]][0]
    return svg.count(f'style="fill: {colour}"'), re.findall(r"<text[^>]*>([^<]*)</text>", svg)


def test_what_was_not_measured_is_a_dash_and_no_bar_of_0() -> None:
    whole, words = drawn(HALF, NOTHING)
    assert whole == 3 and "–" not in words and {"promu", "text-only", "label 0", "label 1", "F1"} <= set(words)
    fewer, words = drawn(HALF, None)
    assert fewer == 2 and words.count("–") == 1
    _, words = drawn(None, None)
    assert words.count("–") == 2 and "promu" in words


TOGETHER = {
    "table 1": paper_exhibits.SYSTEMS,
    "demo": ("text-only", "from-scratch", "promu"),
    "few posts": (few_shot.JOINT, few_shot.PIPELINE, few_shot.WRITER, few_shot.WITH_KNOWLEDGE, few_shot.SCRATCH),
    "robustness": ("soft", "hard"),
}


@pytest.mark.parametrize("systems", TOGETHER.values(), ids=TOGETHER)
def test_systems_that_are_shown_together_have_colours_of_their_own(systems: tuple[str, ...]) -> None:
    assert len({SYSTEMS[system] for system in systems}) == len(systems)


def test_a_system_has_its_colour_wherever_it_stands_and_other_series_that_of_their_place() -> None:
    assert {series_colour("promu", place) for place in range(20)} == {COLOURS["teal"][0]}
    assert [series_colour("entities", place) for place in range(len(CYCLE))] == list(CYCLE)
    points = [(1.0, Spread(40.0, 30.0, 50.0)), (2.0, Spread(60.0, 60.0, 60.0))]
    for order in itertools.permutations(("promu", "without pre-training")):
        svg = lines({"entities": [Line(name, points) for name in order]}, "posts", "test F1")
        for name in order:
            assert f"stroke: {COLOURS[SYSTEMS[name]][0]}" in svg


def ticks(svg: str) -> list[float]:
    return [float(text) for text in re.findall(r"<text[^>]*>(\d+)</text>", svg)]


def test_the_axis_of_f1_has_all_of_it_so_that_a_point_looks_like_a_point() -> None:
    near = [(0.1, Spread(66.0, 64.0, 68.0)), (0.2, Spread(67.0, 65.0, 69.0))]
    svg = lines({"entities": [Line("entities", near)]}, "τ", "test F1", log=True)
    assert {0.0, 100.0} <= set(ticks(svg))
    height = 2.9 * 72
    marks = [float(y) for y in re.findall(r'<use xlink:href="#[^"]*" x="[\d.]+" y="([\d.]+)" style="fill: #', svg)]
    assert len(marks) >= 2 and max(marks) - min(marks) < 0.2 * height


def test_a_single_seed_has_the_interval_over_its_posts_and_says_so() -> None:
    one = Sheet(places("temperature", {("labels", "0.1"): 60.0}, seeds=1), TASKS, False)
    spread = one.spread(("labels", "0.1"), "entities", "test", "f1")
    # six of ten posts are right: 60 ± 1.96 * 100 * sqrt(.6 * .4 / 9)
    reach = 196 * math.sqrt(0.24 / 9)
    assert spread is not None and list(spread) == pytest.approx([60.0, 60 - reach, 60 + reach])
    several = Sheet(places("temperature", {("labels", "0.1"): 60.0}), TASKS, False)
    assert several.spread(("labels", "0.1"), "entities", "test", "f1") == (61.0, 60.0, 62.0)
    found = places("robustness", {("boxes", "soft", "0"): 60.0, ("boxes", "soft", "0.3"): 50.0}, seeds=1)
    (section,) = build_sections(found, TASKS, False)
    # 50 ± 1.96 * 100 * sqrt(.5 * .5 / 9) is the widest
    assert "up to ± 32.7 points. Other seeds come on top." in section.notes[0]
    assert all("95 % interval over test posts, one seed" in one.title for one in section.figures)


def test_a_seed_without_counts_has_no_interval_and_says_so() -> None:
    found = [Measurement("transfer", ("promu",), "entities", 0, {"test": {"f1": 50.0}})]
    (section,) = build_sections(found, TASKS, False)
    assert section.notes[0] == "One seed: no standard deviation and no intervals."
    assert Sheet(found, TASKS, False).spread(("promu",), "entities", "test", "f1") == (50.0, 50.0, 50.0)


Box = tuple[float, float, float, float]


def words_of(svg: str, size: float = 6.5) -> dict[str, Box]:
    """The labels of a plane: (x0, y0, x1, y1) of each in points, measured with the font that the figure names."""
    found = {}
    for weight, x, y, word in re.findall(
        r'<text style="font-weight: (\d+); font-size: 6\.5px[^"]*" x="([\d.]+)" y="([\d.]+)"[^>]*>([^<]*)</text>', svg
    ):
        path = TextPath(
            (0, 0), word, size=size, prop=FontProperties(family="DejaVu Sans", weight=int(weight))
        ).get_extents()
        found[word] = (float(x) - path.width / 2, float(y) - path.y1, float(x) + path.width / 2, float(y) - path.y0)
    return found


def overlap(first: Box, second: Box) -> float:
    across = min(first[2], second[2]) - max(first[0], second[0])
    along = min(first[3], second[3]) - max(first[1], second[1])
    return max(across, 0.0) * max(along, 0.0)


NAMES = ("awarded", "contain", "couple", "held on", "located in", "member of", "neighbour", "owner", "parent", "peer",
         "performs", "place of residence", "subsidiary", "visited", "dog", "mountain", "medal", "kite")  # fmt: skip


@pytest.mark.parametrize("spread", [0.0, 0.01, 0.3, 3.0])
def test_labels_of_the_plane_do_not_overlap_however_near_their_points_are(spread: float) -> None:
    rng = np.random.default_rng(0)
    prompts = [[*(5 + spread * rng.normal(size=2)), name, True] for name in NAMES]
    things = [[*rng.normal(0, 4, 2), NAMES[index % len(NAMES)], False] for index in range(60)]
    svg = plane({"promu": [*things, *prompts]})
    found = words_of(svg)
    assert set(found) == set(NAMES)
    for (first, one), (second, other) in itertools.combinations(found.items(), 2):
        assert overlap(one, other) == 0, f"{first} and {second}"
    side = 72 * 3.6
    for word, (left, top, right, bottom) in found.items():
        assert left >= -0.5 and top >= -0.5 and right <= side + 0.5 and bottom <= side + 0.5, f"{word} is cut off"


def test_boxes_stay_where_they_are_wished_if_they_can_and_go_to_the_nearest_place_if_not() -> None:
    frame = (0.0, 0.0, 100.0, 100.0)
    assert free_places([(20, 20), (60, 60)], [(10, 4), (10, 4)], frame) == [(20, 20), (60, 60)]
    first, second = free_places([(20, 20), (20, 20)], [(10, 4), (10, 4)], frame)
    assert first == (20, 20) and 4 <= math.dist(first, second) <= 8
    assert free_places([(0, 0)], [(10, 4)], frame) == [(5, 2)], "moved into the frame"
