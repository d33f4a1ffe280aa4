"""What a check found, as data, as JSON and as lines of text."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from promu.corpora.overlap import Overlap
from promu.errors import InputError

MAX_SHOWN = 20
"""Broken and missing pictures named a file; all are counted."""

STAND_IN = "17_06_4705.jpg"
"""The picture of Twitter-2017 that the field's code shows in the place of a missing one."""


@dataclass(slots=True)
class PictureReport:
    """The pictures a file names.

    Attributes:
        named: Distinct picture names.
        shared: Names that more than one post or pair uses.
        checked: Whether a folder of pictures was given; the rest is 0 and empty otherwise.
        missing: Names without a file.
        broken: Files that cannot be decoded.
        same_content: Files beyond the first of each group with identical bytes under different names.
        stand_ins: Files with the bytes of `STAND_IN`, which the field puts in the place of pictures that are missing.
        missing_names: The first `MAX_SHOWN` missing names.
        broken_reasons: The first `MAX_SHOWN` broken names, each with its reason.
    """

    named: int = 0
    shared: int = 0
    checked: bool = False
    missing: int = 0
    broken: int = 0
    same_content: int = 0
    stand_ins: int = 0
    missing_names: list[str] = field(default_factory=list)
    broken_reasons: list[tuple[str, str]] = field(default_factory=list)


@dataclass(slots=True)
class FileReport:
    """One file. `records` counts posts, pairs or pictures with regions; what a format lacks stays 0 or empty.

    `label_map` has the papers' name of each entity type by the file's name, which is the one that readers keep.
    """

    path: Path
    split: str | None
    release: str
    records: int = 0
    tokens: int = 0
    entities: dict[str, int] = field(default_factory=dict)
    label_map: dict[str, str] = field(default_factory=dict)
    relations: dict[str, int] = field(default_factory=dict)
    regions: dict[str, int] = field(default_factory=dict)
    matched: int = 0
    duplicates: int = 0
    pictures: PictureReport = field(default_factory=PictureReport)
    notes: list[str] = field(default_factory=list)
    problems: list[InputError] = field(default_factory=list)

    @property
    def ok(self) -> bool:
        """No malformed record, and no picture missing or broken."""
        return not self.problems and not self.pictures.missing and not self.pictures.broken


@dataclass(slots=True)
class CheckReport:
    """What `check` found, file by file and between splits; what splits share is no fault of a file."""

    path: Path
    format: str
    kind: str
    files: list[FileReport]
    overlaps: list[Overlap] = field(default_factory=list)

    @property
    def ok(self) -> bool:
        """Whether every file is."""
        return all(file.ok for file in self.files)

    def to_dict(self) -> dict[str, Any]:
        """The whole report as JSON-ready data."""
        return {
            "path": str(self.path),
            "format": self.format,
            "ok": self.ok,
            "files": [_file_dict(file, self.kind) for file in self.files],
            "overlaps": [overlap.to_dict() for overlap in self.overlaps],
        }

    def lines(self) -> list[str]:
        """The report as plain text, the problems last as `file:line: reason`."""
        text = [line for file in self.files for line in _file_lines(file, self.kind)]
        text += [line for overlap in self.overlaps for line in overlap.lines()]
        return text + [str(problem) for file in self.files for problem in file.problems]


def _file_dict(file: FileReport, kind: str) -> dict[str, Any]:
    pictures = file.pictures
    record: dict[str, Any] = {
        "path": str(file.path),
        "split": file.split,
        "release": file.release,
        "ok": file.ok,
        "posts" if kind == "posts" else "pairs" if kind == "pairs" else "pictures_with_regions": file.records,
    }
    if kind == "posts":
        record |= {
            "tokens": file.tokens,
            "entities": file.entities,
            "label_map": file.label_map,
            "relations": file.relations,
        }
    elif kind == "pairs":
        record |= {"matched": file.matched, "mismatched": file.records - file.matched}
    else:
        record |= {"regions": file.regions}
    record["duplicates"] = file.duplicates
    record["pictures"] = {"named": pictures.named, "shared": pictures.shared, "checked": pictures.checked}
    if pictures.checked:
        record["pictures"] |= {
            "missing": pictures.missing,
            "broken": pictures.broken,
            "same_content": pictures.same_content,
            "stand_ins": pictures.stand_ins,
            "missing_names": pictures.missing_names,
            "broken_reasons": [{"image": name, "reason": reason} for name, reason in pictures.broken_reasons],
        }
    record["notes"] = file.notes
    record["problems"] = [
        {"path": problem.path, "line": problem.line, "reason": problem.reason} for problem in file.problems
    ]
    return record


def _file_lines(file: FileReport, kind: str) -> list[str]:
    pictures = file.pictures
    noun = {"posts": "posts", "pairs": "caption pairs", "regions": "pictures"}[kind]
    head = f"{file.path}: " + (f"{file.split}, " if file.split else "") + f"{file.records:,} {noun}"
    lines = [head, f"  release: {file.release}"]
    if kind == "posts":
        lines.append(f"  tokens: {file.tokens:,}")
        lines.append(f"  entities: {_table(file.entities)}")
        if file.label_map:
            lines.append("  labels, as read and in the papers: " + _label_lines(file.label_map))
        lines.append(f"  relations: {_table(file.relations)}")
    elif kind == "pairs":
        lines.append(f"  matched: {file.matched:,}, mismatched: {file.records - file.matched:,}")
    else:
        lines.append(f"  regions: {_table(file.regions)}")
    if kind != "regions":
        lines.append(f"  duplicates: {file.duplicates:,}")
    named = f"  pictures: {pictures.named:,} named, {pictures.shared:,} of them more than once"
    if pictures.checked:
        named += (
            f"; {pictures.missing:,} missing, {pictures.broken:,} broken, "
            f"{pictures.same_content:,} repeat another under a new name, "
            f"{pictures.stand_ins:,} stand in for one that was missing"
        )
    lines.append(named + ("" if pictures.checked else "; no folder of pictures given, none opened"))
    lines += [f"    missing: {name}" for name in pictures.missing_names]
    lines += _more(pictures.missing, len(pictures.missing_names))
    lines += [f"    broken: {name}: {reason}" for name, reason in pictures.broken_reasons]
    lines += _more(pictures.broken, len(pictures.broken_reasons))
    lines += [f"  note: {note}" for note in file.notes]
    lines.append(f"  malformed: {len(file.problems):,}")
    return lines


def _label_lines(names: dict[str, str]) -> str:
    return ", ".join(name if name == paper else f"{name} = {paper}" for name, paper in names.items())


def _more(count: int, shown: int) -> list[str]:
    return [f"    … and {count - shown:,} more"] if count > shown else []


def _table(counts: dict[str, int]) -> str:
    if not counts:
        return "none"
    return f"{sum(counts.values()):,} (" + ", ".join(f"{name} {count:,}" for name, count in counts.items()) + ")"
