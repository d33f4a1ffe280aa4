"""Geometry: what is drawn lies inside its frame, in order, and does not lie on something else."""

from __future__ import annotations

import itertools
import math

import pytest
from hypothesis import example, given
from hypothesis import strategies as st
from PIL import Image

from promu.errors import InputError
from promu.report.demo_report import HEIGHT, WIDTH, GraphEdge, Series, bar_chart, lay_out, line_chart, spread, ticks
from promu.report.html import OVERLAY, embed

VALUES = st.floats(-1e6, 1e6, allow_nan=False)


@given(VALUES, VALUES)
@example(0.0, 5e-324)  # the smallest number that is not nought
def test_ticks_cover_the_values_and_are_few(one: float, other: float) -> None:
    low, high = min(one, other), max(one, other)
    found = ticks(low, high)
    slack = 1e-6 * max(1.0, abs(low), abs(high))
    assert found[0] <= low + slack and found[-1] >= high - slack
    assert 2 <= len(found) <= 7 and all(a < b for a, b in itertools.pairwise(found))


@given(st.lists(st.floats(0, 100), max_size=7))
def test_spread_labels_keep_their_order_and_distance(wanted: list[float]) -> None:
    placed = spread(wanted, 14, 0, 100)
    ordered = sorted(placed)
    assert all(b - a >= 13.9 for a, b in itertools.pairwise(ordered))
    assert not placed or (max(placed) <= 100 and min(placed) >= -0.1)


@given(st.lists(st.tuples(st.integers(0, 1000), st.floats(-10, 10) | st.just(math.nan)), max_size=8))
def test_a_line_chart_stays_in_its_frame(points: list[tuple[int, float]]) -> None:
    chart = line_chart([Series("loss", "teacher", points)])
    finite = [point for point in points if math.isfinite(point[1])]
    if not finite:
        assert chart is None
        return
    assert chart is not None
    assert "nan" not in chart.lines[0].path
    for x, y in (line.end for line in chart.lines):
        assert 0 <= x <= WIDTH and 0 <= y <= HEIGHT
    assert chart.lines[0].last == finite[-1][1]


def test_a_gap_lifts_the_pen() -> None:
    chart = line_chart([Series("a", "a", [(0, 1.0), (1, 2.0), (2, math.nan), (3, 1.0)])])
    assert chart is not None and chart.lines[0].path.count("M") == 2


def test_bars_are_as_high_as_their_values() -> None:
    chart = bar_chart([("all", [("a", "a", 50.0), ("b", "b", 100.0)], 48.0)], "limit")
    assert chart is not None
    (group,) = chart.groups
    assert group.bars[1].height == pytest.approx(2 * group.bars[0].height, abs=0.2)
    assert group.bars[1].text == "100" and group.limit_text == "limit 48.0"
    assert bar_chart([]) is None


def test_no_figure_is_struck_by_the_limit() -> None:
    chart = bar_chart([("all", [("a", "a", value) for value in (40.0, 44.0, 48.0, 52.0)], 48.0)])
    assert chart is not None
    limit = chart.groups[0].limit_y
    assert limit is not None
    assert all(not bar.text_y - 9 < limit < bar.text_y + 2 for bar in chart.groups[0].bars)


PEOPLE = [("Zorva", "PER", "per"), ("Kelmo", "LOC", "loc"), ("Dranit Industries", "ORG", "org")]


def test_arrows_point_from_head_to_tail() -> None:
    graph = lay_out(PEOPLE, [GraphEdge(0, 1, "lives in", "right"), GraphEdge(2, 1, "located in", "wrong")])
    assert graph is not None
    ends = [[float(part.split()[0]) for part in arrow.path[1:].split("L")] for arrow in graph.arrows]
    assert ends[0][0] < ends[0][1] and ends[1][0] > ends[1][1]


def test_nodes_lie_side_by_side_and_inside() -> None:
    edges = [GraphEdge(0, 2, "works for a company with a long name", "open"), GraphEdge(1, 0, "x", "open")]
    graph = lay_out(PEOPLE, [*edges, GraphEdge(0, 1, "y", "open")])
    assert graph is not None and len(graph.arrows) == 3
    for left, right in zip(graph.nodes, graph.nodes[1:], strict=False):
        assert left.x + left.width < right.x
    assert graph.nodes[-1].x + graph.nodes[-1].width <= graph.width
    for arrow in graph.arrows:
        assert arrow.label_x - arrow.label_width / 2 >= 0 and arrow.label_x + arrow.label_width / 2 <= graph.width
        assert 0 <= arrow.label_y <= graph.height


def test_arcs_at_one_node_keep_apart() -> None:
    edges = [GraphEdge(0, 2, "a", "open"), GraphEdge(2, 0, "b", "open"), GraphEdge(0, 1, "c", "open")]
    graph = lay_out(PEOPLE, [*edges, GraphEdge(1, 0, "d", "open")])
    assert graph is not None
    arcs = [arrow for arrow in graph.arrows if arrow.over]
    feet = [float(end.split()[0]) for arc in arcs for end in (arc.path[1:].split("L")[0], arc.path.split("L")[-1])]
    assert len(arcs) == 3 and len(set(feet)) == 6


def test_entities_without_relation_are_no_nodes() -> None:
    graph = lay_out(PEOPLE, [GraphEdge(0, 2, "x", "open")])
    assert graph is not None and [node.text for node in graph.nodes] == ["Zorva", "Dranit Industries"]
    assert lay_out(PEOPLE, []) is None


def test_boxes_and_labels_stay_on_the_image(tmp_path) -> None:
    Image.new("RGB", (48, 24), "teal").save(tmp_path / "a.png")
    boxes = [((-0.5, 0.0, 0.4, 0.9), "a very long label, longer than the image is wide"), ((0.9, 0.8, 1.4, 1.5), "b")]
    shown = embed(tmp_path / "a.png", "teal", boxes)
    assert (shown.width, shown.height, shown.view_height) == (48, 24, OVERLAY / 2)
    assert shown.uri.startswith("data:image/png;base64,")
    for tag in shown.tags:
        assert tag.x >= 0 and tag.x + tag.width <= OVERLAY and tag.tag_x >= 0
        assert tag.tag_x + tag.tag_width <= OVERLAY + 0.1
        assert tag.tag_y >= 0 and tag.tag_y + tag.tag_height <= shown.view_height


def test_a_large_image_is_shrunk(tmp_path) -> None:
    Image.effect_noise((2000, 1000), 60).convert("RGB").save(tmp_path / "a.png")
    shown = embed(tmp_path / "a.png", "noise")
    assert (shown.width, shown.height) == (240, 120) and len(shown.uri) < 60_000


def test_a_broken_image_is_named(tmp_path) -> None:
    (tmp_path / "a.jpg").write_bytes(b"")
    with pytest.raises(InputError, match="0 bytes"):
        embed(tmp_path / "a.jpg", "nothing")


def test_long_labels_of_the_y_axis_have_room() -> None:
    chart = line_chart([Series("lr", "a", ((0.0, 0.00025), (1.0, 0.001)))])
    assert chart is not None
    longest = max(len(tick.text) for tick in chart.y_ticks)
    assert longest >= 6 and chart.left >= 6 * longest
