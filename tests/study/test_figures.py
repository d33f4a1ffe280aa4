"""The study's figures as a reader of their SVG sees them."""

from __future__ import annotations

import re

from promu.evaluation.counts import Summary
from promu.report.palette import CYCLE
from promu.study.figures import bars

HALF, NOTHING = Summary(50.0, 2.0, 3), Summary(0.0, None, 1)


def drawn(*values: Summary | None) -> tuple[int, list[str]]:
    """How many bars the first of two series has, its patch in the legend included, and all words of the figure."""
    names = [f"label {number}" for number in range(len(values))]
    svg = bars({"re": {"promu": values, "text-only": [HALF] * len(values)}}, {"re": names})
    return svg.count(f'style="fill: {CYCLE[0]}"'), re.findall(r"<text[^>]*>([^<]*)</text>", svg)


def test_what_was_not_measured_is_a_dash_and_no_bar_of_0() -> None:
    whole, words = drawn(HALF, NOTHING)
    assert whole == 3 and "–" not in words and {"promu", "text-only", "label 0", "label 1", "F1"} <= set(words)
    fewer, words = drawn(HALF, None)
    assert fewer == 2 and words.count("–") == 1
    _, words = drawn(None, None)
    assert words.count("–") == 2 and "promu" in words
