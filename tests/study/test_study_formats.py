"""Tables of a study in each of their forms."""

from __future__ import annotations

import csv
import io

from promu.evaluation.counts import summarise
from promu.study.exhibit import Table
from promu.study.study_page import to_csv, to_json, to_latex, to_markdown

TABLE = Table(
    "t1",
    "Scores: 50 % of it_all",
    ("system", "F1", "p"),
    (
        ("promu", summarise([70.0, 72.0, 74.0]), None),
        ("a | b", summarise([61.25]), "< .001"),
        ("half-failed", summarise([50.0, None, 52.0]), "0.5"),
        ("failed", None, None),
        ("worse", summarise([-1.5, -2.5]), None),
    ),
)


def test_markdown_holds_mean_and_spread_and_marks_what_is_missing() -> None:
    assert to_markdown(TABLE).splitlines() == [
        "**Scores: 50 % of it_all**",
        "",
        "| system | F1 | p |",
        "| --- | ---: | ---: |",
        "| promu | 72.0 ± 2.0 | – |",
        "| a \\| b | 61.2 | < .001 |",
        "| half-failed | 51.0 ± 1.4 (2 of 3 runs) | 0.5 |",
        "| failed | – | – |",
        "| worse | −2.0 ± 0.7 | – |",
    ]


def test_latex_escapes_what_latex_reads_otherwise() -> None:
    text = to_latex(TABLE)
    assert r"\caption{Scores: 50 \% of it\_all}" in text
    assert r"\begin{tabular}{lrr}" in text and r"promu & 72.0 $\pm$ 2.0 & -- \\" in text
    assert text.count(r"\\") == 6 and text.index(r"\toprule") < text.index(r"\midrule") < text.index(r"\bottomrule")


def test_csv_is_unrounded_and_counts_the_seeds() -> None:
    rows = list(csv.reader(io.StringIO(to_csv(TABLE))))
    assert rows[0] == ["system", "F1 mean", "F1 std", "F1 seeds", "p"]
    assert rows[1] == ["promu", "72.0", "2.0", "3", ""]
    assert rows[2] == ["a | b", "61.25", "", "1", "< .001"]
    assert rows[4] == ["failed", "", "", "", ""]


def test_json_names_every_place() -> None:
    data = to_json(TABLE)
    assert data["rows"][0] == {"system": "promu", "F1": {"mean": 72.0, "std": 2.0, "n": 3, "failed": 0}, "p": None}
    assert data["rows"][3]["F1"] is None
