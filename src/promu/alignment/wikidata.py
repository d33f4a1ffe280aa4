"""Relations from a table of Wikidata's properties (METHOD: the candidates of L_CIR)."""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from importlib import resources
from pathlib import Path

from promu.corpora.csv_rows import csv_rows
from promu.errors import InputError
from promu.files import read_lines, shorten

ITEM = "WikibaseItem"
"""The data type of properties whose value is an item, so that they relate two things."""

_COLUMNS = ("ID", "label", "description", "Data type", "Count")
_ID = re.compile(r"P[1-9]\d*")
_RULE = re.compile(r"(?P<id>P[1-9]\d*)|(?P<field>label|description):\s*(?P<words>.+)")


@dataclass(frozen=True, slots=True)
class Property:
    """One property; `uses` is how many statements use it."""

    id: str
    label: str
    description: str
    data_type: str
    uses: int


@dataclass(frozen=True, slots=True)
class MetaRule:
    """What makes a property meta: `field` (`id`, `label` or `description`) is, or holds, `text`."""

    field: str
    text: str

    def takes_out(self, item: Property) -> bool:
        """Whether the rule takes the property out."""
        if self.field == "id":
            return item.id == self.text
        return self.text.lower() in getattr(item, self.field).lower()


def read_properties(path: Path) -> list[Property]:
    """Every property of a CSV table with the columns ID, label, description, Data type and Count; others are not read.

    Labels are kept in full (a relation cut at its first blank is another relation).

    Raises:
        InputError: The file is missing, empty or not CSV, or a column is; or a row is malformed, has an ID or label
            that stands above, or no label.
    """
    properties: list[Property] = []
    ids: dict[str, int] = {}
    labels: dict[str, int] = {}
    for number, row in csv_rows(path, _check_header, "fetch the table again"):
        assert row is not None, "a broken row has stopped the reading"
        item = _property(row, path, number)
        for what, value, seen in (("ID", item.id, ids), ("label", item.label, labels)):
            if value in seen:
                raise InputError(
                    f"{what} {value!r} already stands on line {seen[value]}; remove one of the rows", path, number
                )
            seen[value] = number
        properties.append(item)
    if not properties:
        raise InputError("the table holds no property; fetch it again", path)
    return properties


def read_meta_rules(path: Path | None = None) -> list[MetaRule]:
    """Rules that name meta properties, one a line; None is promu's own list.

    A line is a property's ID, or `label:` or `description:` and words; a # begins a comment.

    Raises:
        InputError: The file is missing or empty, or a line is something else.
    """
    if path is None:
        with resources.as_file(resources.files("promu.alignment") / "data" / "wikidata_meta.txt") as own:
            return read_meta_rules(own)
    rules = []
    for number, line in read_lines(path, None):
        text = (line or "").partition("#")[0].strip()
        if not text:
            continue
        match = _RULE.fullmatch(text)
        if match is None:
            raise InputError(
                f"a rule is a property's ID, or `label:` or `description:` and words, found {shorten(text)}",
                path,
                number,
            )
        rules.append(MetaRule(match["field"] or "id", match["words"] or match["id"]))
    return rules


def relations(properties: Iterable[Property], rules: Sequence[MetaRule], limit: int) -> list[Property]:
    """The L most used properties that relate two things and are not meta, most used first, ties by number."""
    kept = [item for item in properties if item.data_type == ITEM and not any(rule.takes_out(item) for rule in rules)]
    return sorted(kept, key=lambda item: (-item.uses, int(item.id[1:])))[:limit]


def _check_header(names: list[str]) -> None:
    if missing := [name for name in _COLUMNS if name not in names]:
        raise InputError(f"column {missing[0]!r} is missing; the first line must name {', '.join(_COLUMNS)}")


def _property(row: dict[str, str], path: Path, number: int) -> Property:
    item, label, uses = row["ID"].strip(), " ".join(row["label"].split()), row["Count"].strip()
    if not _ID.fullmatch(item):
        raise InputError(f"ID must be P and a number, found {shorten(item)}", path, number)
    if not label:
        raise InputError(f"property {item} has no label; remove the row", path, number)
    if not (uses.isascii() and uses.isdigit()):
        raise InputError(f"Count must be a whole number, found {shorten(uses)}", path, number)
    return Property(item, label, row["description"].strip(), row["Data type"].strip(), int(uses))
