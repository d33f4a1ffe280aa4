"""The rarest labels, by hand."""

from __future__ import annotations

import pytest

from promu.evaluation.counts import Counts, rarest, score_tail


def test_the_rarest_come_first_and_equals_by_name() -> None:
    assert rarest({"c": 5, "b": 2, "a": 5, "d": 9}, 3) == ["b", "a", "c"]
    assert rarest({"a": 1}, 8) == ["a"]


def test_figures_of_the_tail_by_hand() -> None:
    per_label = {"big": Counts(90, 100, 100), "small": Counts(1, 2, 2), "tiny": Counts(0, 1, 0), "new": Counts(5, 5, 5)}
    tail = score_tail(per_label, {"big": 500, "small": 6, "tiny": 2, "unseen": 1}, 3)
    assert tail.labels == {"unseen": Counts(0, 0, 0), "tiny": Counts(0, 1, 0), "small": Counts(1, 2, 2)}
    assert tail.frequency == {"unseen": 1, "tiny": 2, "small": 6}
    assert tail.micro == Counts(1, 3, 2)
    assert tail.macro_f1 == pytest.approx(50.0)  # of small alone: the two others never occur in the gold
    figures = tail.to_dict()
    assert figures["f1"] == pytest.approx(40.0) and figures["labels"]["tiny"]["frequency"] == 2
