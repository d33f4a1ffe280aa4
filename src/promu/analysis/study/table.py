"""A table of means over seeds, and the forms that it is written in."""

from __future__ import annotations

import csv
import io
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from promu.evaluation.summary import Summary

Content = str | Summary | None
"""What a place of a table holds: words, figures over seeds, or nothing that was measured."""

NOTHING = "–"


@dataclass(frozen=True)
class Table:
    """A table of one exhibit.

    Attributes:
        name: Also the name of its files.
        title: What it shows.
        columns: Their heads; the first `keys` of them say what a row is about.
        rows: As many places each as there are columns.
        keys: Columns that are no figures.
        digits: Of figures.
    """

    name: str
    title: str
    columns: tuple[str, ...]
    rows: tuple[tuple[Content, ...], ...]
    keys: int = 1
    digits: int = 1

    def text(self, content: Content) -> str:
        """A place in words."""
        if content is None:
            return NOTHING
        if isinstance(content, Summary):
            return format(content, f".{self.digits}f").replace("-", "−")
        return content

    def texts(self) -> list[list[str]]:
        """Every place in words."""
        return [[self.text(content) for content in row] for row in self.rows]


def to_markdown(table: Table) -> str:
    """A pipe table under its title."""
    texts = [[cell.replace("|", "\\|") for cell in row] for row in table.texts()]
    rule = ["---"] * table.keys + ["---:"] * (len(table.columns) - table.keys)
    lines = [list(table.columns), rule, *texts]
    return f"**{table.title}**\n\n" + "\n".join(f"| {' | '.join(cells)} |" for cells in lines) + "\n"


_LATEX = {
    "\\": r"\textbackslash{}", "&": r"\&", "%": r"\%", "$": r"\$", "#": r"\#", "_": r"\_", "{": r"\{", "}": r"\}",
    "±": r"$\pm$", "–": "--", "−": "$-$", "τ": r"$\tau$", "→": r"$\rightarrow$", "·": r"$\cdot$", "↓": r"$\downarrow$",
    "~": r"\textasciitilde{}", "^": r"\textasciicircum{}",
}  # fmt: skip


def to_latex(table: Table) -> str:
    """A booktabs table."""

    def line(cells: Sequence[str]) -> str:
        return " & ".join("".join(_LATEX.get(sign, sign) for sign in cell) for cell in cells) + r" \\"

    return "\n".join(
        [
            r"\begin{table}",
            r"\centering",
            rf"\caption{{{''.join(_LATEX.get(sign, sign) for sign in table.title)}}}",
            rf"\label{{tab:{table.name}}}",
            rf"\begin{{tabular}}{{{'l' * table.keys}{'r' * (len(table.columns) - table.keys)}}}",
            r"\toprule",
            line(table.columns),
            r"\midrule",
            *(line(row) for row in table.texts()),
            r"\bottomrule",
            r"\end{tabular}",
            r"\end{table}",
            "",
        ]
    )


def to_csv(table: Table) -> str:
    """Unrounded: of a figure the mean, the standard deviation and the number of seeds, each in a column."""
    numbers = [any(isinstance(row[index], Summary) for row in table.rows) for index in range(len(table.columns))]
    buffer = io.StringIO()
    writer = csv.writer(buffer, lineterminator="\n")
    head: list[str] = []
    for name, number in zip(table.columns, numbers, strict=True):
        head += [f"{name} mean", f"{name} std", f"{name} seeds"] if number else [name]
    writer.writerow(head)
    for row in table.rows:
        cells: list[Any] = []
        for content, number in zip(row, numbers, strict=True):
            if not number:
                cells.append("" if content is None else content)
            elif isinstance(content, Summary):
                cells += [content.mean, "" if content.std is None else content.std, content.n]
            else:
                cells += ["" if content is None else content, "", ""]
        writer.writerow(cells)
    return buffer.getvalue()


def to_json(table: Table) -> dict[str, Any]:
    """The table as JSON data, figures unrounded."""
    return {
        "name": table.name,
        "title": table.title,
        "rows": [
            {
                name: content.to_dict() if isinstance(content, Summary) else content
                for name, content in zip(table.columns, row, strict=True)
            }
            for row in table.rows
        ],
    }
