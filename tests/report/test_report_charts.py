"""Charts, graphs and boxes: what is drawn is true to its data, inside its frame, and does not hide anything else."""

from __future__ import annotations

import html
import math
import re

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from promu.errors import InputError
from promu.report.charts import Bars, Series, bar_chart, line_chart
from promu.report.html import OVERLAY, embed
from promu.report.palette import COLOURS
from promu.report.post_view import GraphEdge, lay_out


def texts(svg: str) -> list[str]:
    """The words of a chart."""
    return re.findall(r"<text [^>]*>([^<]*)</text>", svg)


def strokes(svg: str, colour: str) -> list[str]:
    """The paths that are drawn in a colour."""
    return re.findall(rf'<path d="([^"]*)"[^>]*stroke: var\(--{colour}\)', svg)


@given(st.lists(st.tuples(st.integers(0, 1000), st.floats(-10, 10) | st.just(math.nan)), max_size=8))
@settings(max_examples=15, deadline=None)
def test_a_line_chart_has_what_is_finite(points: list[tuple[int, float]]) -> None:
    chart = line_chart("Loss, by step", [Series("loss", "teal", points)])
    values = [y for _, y in points if math.isfinite(y)]
    if not values:
        assert chart is None
        return
    assert chart is not None
    assert f'aria-label="Loss, by step. loss from {values[0]:.3g} to {values[-1]:.3g}"' in chart
    assert "nan" not in chart and "loss" in texts(chart)


def test_a_gap_lifts_the_pen() -> None:
    chart = line_chart("a", [Series("a", "teal", [(0, 1.0), (1, 2.0), (2, math.nan), (3, 1.0), (4, 1.5)])])
    assert chart is not None
    assert sorted(path.count("M") for path in strokes(chart, "teal")) == [1, 2]  # the legend's and the line


def test_values_that_no_chart_can_place_leave_the_others() -> None:
    chart = line_chart("a", [Series("a", "teal", [(0, 1.0), (1, math.inf)]), Series("b", "blue", [(0, math.nan)])])
    assert chart is not None and "a" in texts(chart) and "b" not in texts(chart)
    assert line_chart("a", []) is None


def test_colours_are_the_pages_own_and_nothing_reaches_out() -> None:
    chart = line_chart("$x$ < 1", [Series("<b> & $y$", "purple", [(0, 1.0), (1, 2.0)])])
    assert chart is not None
    assert "<b> & $y$" in [html.unescape(text) for text in texts(chart)]
    assert "var(--purple)" in chart and not any(light in chart for light, _ in COLOURS.values())
    assert "<style" not in chart and "<metadata" not in chart and "http" not in chart
    assert chart.startswith('<svg class="chart" viewBox="0 0 ') and 'aria-label="$x$ &lt; 1. ' in chart


def test_bars_are_as_high_as_their_values() -> None:
    chart = bar_chart("F1", [Bars("all", [("a", "grey", 50.0), ("b", "amber", 100.0)], 48.0), Bars("few", [])])
    assert chart is not None

    def height(colour: str) -> float:
        (path,) = re.findall(rf'<path d="([^"]*)"[^>]*fill: var\(--{colour}\)', chart or "")
        places = [float(y) for _, y in re.findall(r"([\d.]+) ([\d.]+)", path)]
        return max(places) - min(places)

    assert height("amber") == pytest.approx(2 * height("grey"), abs=0.2)
    assert {"50.0", "100", "all", "few"} <= set(texts(chart))
    assert "stroke-dasharray" in chart
    assert bar_chart("F1", []) is None and bar_chart("F1", [Bars("all", [])]) is None


def test_no_figure_is_struck_by_the_limit() -> None:
    bars = [(str(value), "teal", value) for value in (40.0, 44.0, 48.0, 52.0)]
    chart = bar_chart("F1", [Bars("all", bars, 48.0)])
    assert chart is not None
    (limit,) = [float(y) for y in re.findall(r'd="M [\d.]+ ([\d.]+) *\n?L [^"]*"[^>]*stroke-dasharray', chart)]
    bases = [float(y) for y in re.findall(r'y="([\d.]+)"[^>]*>(?:40|44|48|52)\.0<', chart)]
    assert len(bases) == 4 and all(not base - 7 < limit < base + 1 for base in bases)


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


@pytest.mark.slow
def test_a_large_image_is_shrunk(tmp_path) -> None:
    Image.effect_noise((2000, 1000), 60).convert("RGB").save(tmp_path / "a.png")
    shown = embed(tmp_path / "a.png", "noise")
    assert (shown.width, shown.height) == (240, 120) and len(shown.uri) < 60_000


def test_a_broken_image_is_named(tmp_path) -> None:
    (tmp_path / "a.jpg").write_bytes(b"")
    with pytest.raises(InputError, match="0 bytes"):
        embed(tmp_path / "a.jpg", "nothing")
