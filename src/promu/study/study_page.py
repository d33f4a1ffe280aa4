"""A study's results as files: Markdown, LaTeX, CSV, JSON, SVG, and one HTML page with everything on it."""

from __future__ import annotations

import base64
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from promu.files import write_json, write_text
from promu.report.html import duration, page_templates
from promu.study.exhibits import Section
from promu.study.tables import Measured, figure, to_csv, to_json, to_latex, to_markdown


@dataclass(frozen=True)
class Study:
    """What the page says of the whole.

    Attributes:
        name: Of the recipe.
        command: That made it.
        note: What the recipe says of the study's size.
        seeds: How many.
        cells: How many jobs stand behind it.
        core_seconds: What they took on their processors.
    """

    name: str
    command: str
    note: str
    seeds: int
    cells: int
    core_seconds: float

    @property
    def facts(self) -> str:
        """Seeds, jobs and time in a sentence."""
        seeds = "1 seed" if self.seeds == 1 else f"{self.seeds} seeds"
        return f"{seeds}; {self.cells} jobs, {duration(self.core_seconds)} of processor time in all."


def write_study(out: Path, study: Study, sections: Sequence[Section]) -> Path:
    """Write `study.md`, `study.html`, `study.json`, and under `tables/` and `figures/` each on its own.

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
        for drawn in section.figures:
            write_text(out / "figures" / f"{drawn.name}.svg", [drawn.svg])
    write_text(out / "study.md", [markdown(study, sections)])
    write_json(out / "study.json", {"study": vars(study), "exhibits": [_json(section) for section in sections]})
    write_text(out / "study.html", [render(study, sections)])
    return out / "study.html"


def markdown(study: Study, sections: Sequence[Section]) -> str:
    """The study as Markdown, to be put into a page as it is; figures are links to `figures/`."""
    parts = [f"Made by `{study.command}`: {study.facts}\n"]
    if study.note:
        parts.append(f"{study.note}\n")
    for section in sections:
        parts.append(f"## {section.title}\n")
        parts += [f"{note}\n" for note in section.notes]
        parts += [to_markdown(table) for table in section.tables]
        parts += [f"![{drawn.title}](figures/{drawn.name}.svg)\n\n{drawn.title}\n" for drawn in section.figures]
        if section.failures:
            parts.append("Not measured:\n")
            parts.append("\n".join(f"- {sentence}" for sentence in failures(section)) + "\n")
    return "\n".join(parts)


def failures(section: Section) -> list[str]:
    """What is missing in a section, and why."""
    return [
        f"{' · '.join(part for part in (*place.row, place.task) if part)}, seed {place.seed}: {place.failure}"
        for place in section.failures
    ]


def _json(section: Section) -> dict[str, Any]:
    return {
        "name": section.name,
        "title": section.title,
        "notes": list(section.notes),
        "tables": [to_json(table) for table in section.tables],
        "figures": [drawn.name for drawn in section.figures],
        "runs": [_run(place) for place in section.places],
        "failures": failures(section),
    }


def _run(place: Measured) -> dict[str, Any]:
    """One place by itself: what the tables' means are over. F1 is null where it failed, and where it is no such run."""
    return {"row": list(place.row), "task": place.task, "seed": place.seed, "f1": figure(place.result, "test", "f1")}


def render(study: Study, sections: Sequence[Section]) -> str:
    """The study as one HTML document that loads nothing and runs no script."""
    environment = page_templates()
    environment.filters |= {"uri": _uri, "missing": failures}
    return environment.get_template("study.html.j2").render(study=study, sections=sections)


def _uri(svg: str) -> str:
    return f"data:image/svg+xml;base64,{base64.b64encode(svg.encode()).decode('ascii')}"
