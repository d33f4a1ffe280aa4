"""Which Wikidata property a relation is: a table that can be read and replaced."""

from __future__ import annotations

import re
from importlib import resources
from pathlib import Path

from promu.errors import InputError
from promu.files import is_blank, read_lines, shorten

_PROPERTY = re.compile(r"P[1-9]\d*")


def read_relation_properties(path: Path | None = None) -> dict[str, str]:
    """Relation label -> Wikidata property (`P26`), out of lines of label, tab, property; None is promu's own table.

    What follows a second tab is for the reader, and a line that starts with # is a comment.

    Raises:
        InputError: The file is missing or empty, or a line is something else, or a label stands twice.
    """
    if path is None:
        with resources.as_file(resources.files("promu.extraction.graph") / "data" / "wikidata_relations.tsv") as own:
            return read_relation_properties(own)
    properties: dict[str, str] = {}
    for number, line in read_lines(path, None):
        if line is None or is_blank(line) or line.startswith("#"):
            continue
        label, _, rest = line.partition("\t")
        identifier = rest.split("\t")[0].strip()
        if not label.strip() or not _PROPERTY.fullmatch(identifier):
            raise InputError(f"a line is relation, tab, property such as P26; found {shorten(line)}", path, number)
        if label in properties:
            raise InputError(f"the relation {shorten(label)} stands twice; remove one of the lines", path, number)
        properties[label] = identifier
    return properties
