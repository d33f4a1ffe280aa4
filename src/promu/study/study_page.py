"""Writes the results of a study as Markdown, LaTeX, CSV, JSON and SVG files, and as one HTML page."""

from __future__ import annotations

import base64
import csv
import io
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from promu.errors import counted
from promu.evaluation.counts import Summary
from promu.files import write_json, write_text
from promu.report.html import duration, page_templates
from promu.study.exhibit import Measurement, Section, Table, figure


@dataclass(frozen=True)
class Study:
    """What the page says about the whole study: `name` is that of the recipe, `note` what it says about its size."""

    name: str
    command: str
    note: str
    seeds: int
    jobs: int
    cpu_seconds: float

    @property
    def facts(self) -> str:
        """Seeds, jobs and time in a sentence."""
        time = f"{duration(self.cpu_seconds)} of processor time"
        return f"{counted(self.seeds, 'seed')}; {counted(self.jobs, 'job')}, {time} in all."


def write_study(out: Path, study: Study, sections: Sequence[Section]) -> Path:
    """Write `study.md`, `study.html`, `study.json`, and each table under `tables/` and figure under `figures/`.

    Returns:
        The page.

    Raises:
        InputError: A file cannot be written.
    """
    for name in ("tables", "figures"):
        (out / name).mkdir(parents=True, exist_ok=True)
    for section in sections:
        for table in section.tables:
            write_text(out / "tables" / f"{table.name}.csv", [to_csv(table)])
            write_text(out / "tables" / f"{table.name}.tex", [to_latex(table)])
        for drawing in section.figures:
            write_text(out / "figures" / f"{drawing.name}.svg", [drawing.svg])
    write_text(out / "study.md", [_markdown(study, sections)])
    write_json(out / "study.json", {"study": vars(study), "exhibits": [_json(section) for section in sections]})
    environment = page_templates()
    environment.filters["uri"] = _uri
    page = environment.get_template("study.html.j2").render(study=study, sections=sections)
    write_text(out / "study.html", [page])
    return out / "study.html"


def _uri(svg: str) -> str:
    return f"data:image/svg+xml;base64,{base64.b64encode(svg.encode()).decode('ascii')}"


def _markdown(study: Study, sections: Sequence[Section]) -> str:
    """The study as Markdown; figures are links to `figures/`."""
    parts = [f"Made by `{study.command}`: {study.facts}\n"]
    if study.note:
        parts.append(f"{study.note}\n")
    for section in sections:
        parts.append(f"## {section.title}\n")
        parts += [f"{note}\n" for note in section.notes]
        parts += [to_markdown(table) for table in section.tables]
        parts += [f"![{one.title}](figures/{one.name}.svg)\n\n{one.title}\n" for one in section.figures]
        if section.failures:
            parts.append("Not measured:\n")
            parts.append("\n".join(f"- {sentence}" for sentence in section.failures) + "\n")
    return "\n".join(parts)


def _json(section: Section) -> dict[str, Any]:
    return {
        "name": section.name,
        "title": section.title,
        "notes": list(section.notes),
        "tables": [to_json(table) for table in section.tables],
        "figures": [drawing.name for drawing in section.figures],
        "runs": [_run(one) for one in section.measurements],
        "failures": section.failures,
    }


def _run(one: Measurement) -> dict[str, Any]:
    """F1 on test, null if the run failed or measures something else; F1 on dev of each setting that dev chose among."""
    run = {"row": list(one.row), "task": one.task, "seed": one.seed, "f1": figure(one.result, "test", "f1")}
    grid = (one.result or {}).get("grid")
    return {**run, "grid": grid} if grid else run


def to_markdown(table: Table) -> str:
    """A pipe table under its title."""
    texts = [[place.replace("|", "\\|") for place in row] for row in table.texts()]
    rule = ["---"] * table.keys + ["---:"] * (len(table.columns) - table.keys)
    lines = [list(table.columns), rule, *texts]
    return f"**{table.title}**\n\n" + "\n".join(f"| {' | '.join(places)} |" for places in lines) + "\n"


_LATEX = str.maketrans({
    "\\": r"\textbackslash{}", "&": r"\&", "%": r"\%", "$": r"\$", "#": r"\#", "_": r"\_", "{": r"\{", "}": r"\}",
    "±": r"$\pm$", "–": "--", "−": "$-$", "τ": r"$\tau$", "→": r"$\rightarrow$", "·": r"$\cdot$", "↓": r"$\downarrow$",
    "~": r"\textasciitilde{}", "^": r"\textasciicircum{}",
})  # fmt: skip


def to_latex(table: Table) -> str:
    """A booktabs table."""
    head, *body = (
        " & ".join(place.translate(_LATEX) for place in row) + r" \\" for row in (table.columns, *table.texts())
    )
    lines = [
        r"\begin{table}",
        r"\centering",
        rf"\caption{{{table.title.translate(_LATEX)}}}",
        rf"\label{{tab:{table.name}}}",
        rf"\begin{{tabular}}{{{'l' * table.keys}{'r' * (len(table.columns) - table.keys)}}}",
        *(r"\toprule", head, r"\midrule", *body, r"\bottomrule"),
        *(r"\end{tabular}", r"\end{table}", ""),
    ]
    return "\n".join(lines)


def to_csv(table: Table) -> str:
    """Unrounded values: of a figure the mean, the standard deviation and the number of seeds, each in a column."""
    numeric = [any(isinstance(row[index], Summary) for row in table.rows) for index in range(len(table.columns))]
    buffer = io.StringIO()
    writer = csv.writer(buffer, lineterminator="\n")
    head: list[str] = []
    for name, is_number in zip(table.columns, numeric, strict=True):
        head += [f"{name} mean", f"{name} std", f"{name} seeds"] if is_number else [name]
    writer.writerow(head)
    for row in table.rows:
        places: list[Any] = []
        for content, is_number in zip(row, numeric, strict=True):
            if isinstance(content, Summary):
                places += [content.mean, content.std, content.n]
            else:
                places += [content, None, None] if is_number else [content]
        writer.writerow(places)
    return buffer.getvalue()


def to_json(table: Table) -> dict[str, Any]:
    """The table as JSON data, figures unrounded."""
    rows = [[content.to_dict() if isinstance(content, Summary) else content for content in row] for row in table.rows]
    named = [dict(zip(table.columns, row, strict=True)) for row in rows]
    return {"name": table.name, "title": table.title, "rows": named}
