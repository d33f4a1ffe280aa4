"""Names in a graph: keys by which entities are merged, IRIs under a base that the user sets, Wikidata properties.

IRIs are made of names, not of counters, so that graphs of different runs have the same IRI for the same entity. All are
ASCII: other characters are percent-encoded.
"""

from __future__ import annotations

import hashlib
import re
import unicodedata
from importlib import resources
from pathlib import Path
from urllib.parse import quote

from promu.errors import InputError
from promu.files import is_blank, read_lines, shorten

BASE = "https://promu.example/"
"""The default base: a host that is reserved for examples and belongs to nobody."""
WIKIDATA = "http://www.wikidata.org/prop/direct/"
"""Namespace of Wikidata's properties as predicates between two items (`wdt:`)."""

_BASE = re.compile(
    r"(https?://[\w.-]+(:\d+)?/|urn:[a-z0-9][a-z0-9-]+:)([\w.~:/?@!$&'()*+,;=-]|%[0-9A-Fa-f]{2})*#?", re.A
)
_PATH = re.compile(r"(/[^/]+){2,}")


def check_base(base: str) -> str:
    """The base, if names can be added to it.

    Raises:
        InputError: It is no http, https or urn IRI in ASCII, or does not end in /, # or :.
    """
    if _BASE.fullmatch(base) and base[-1] in "/#:":
        return base
    raise InputError(
        f"the base {shorten(base)} cannot carry names; give one like https://example.org/graph/, ending in / or #"
    )


def entity_iri(base: str, key: str, type: str | None) -> str:
    """`{base}entity/{type}/{key}`; without a type `{base}entity/{key}`."""
    return f"{base}entity/{_segment(key)}" if type is None else f"{base}entity/{_segment(type)}/{_segment(key)}"


def type_iri(base: str, type: str) -> str:
    """`{base}type/{type}`."""
    return f"{base}type/{_segment(type)}"


def form_iri(entity: str, form: str) -> str:
    """A written form of an entity: `{entity}?form={form}`."""
    return f"{entity}?form={quote(form, safe='')}"


def relation_iri(base: str, label: str) -> str:
    """`{base}relation/{label}`; a label that is a path, as in MNRE, stays a path."""
    parts = label[1:].split("/") if _PATH.fullmatch(label) else [label]
    return f"{base}relation/{'/'.join(map(_segment, parts))}"


def statement_iri(base: str, head: str, label: str, tail: str) -> str:
    """The statement of a relation between two entities; `head` and `tail` are their IRIs."""
    digest = hashlib.sha256("\n".join((head, relation_iri(base, label), tail)).encode("ascii")).hexdigest()
    return f"{base}statement/{digest[:32]}"


def evidence_iri(statement: str, post: str, spans: tuple[int, int, int, int]) -> str:
    """One piece of evidence; `spans` are head's and tail's words."""
    return f"{statement}?post={quote(post, safe='')}&words={'-'.join(map(str, spans))}"


def _segment(text: str) -> str:
    """One segment of a path; a segment of dots is encoded, since `.` and `..` mean folders."""
    segment = quote(text, safe="")
    return segment.replace(".", "%2E") if not segment.strip(".") else segment


_INVISIBLE = dict.fromkeys(
    [0xAD, 0x200B, 0x200E, 0x200F, *range(0x202A, 0x202F), 0x2060, *range(0x2066, 0x206A), 0xFEFF]
)
"""Characters without a shape: soft hyphen, zero-width space, word joiner, direction marks.

The zero-width joiners stay: emoji and Persian words need them.
"""
_BLANKS = re.compile(r"[\s\x00-\x1f\x7f-\x9f]+")
_LEADING = re.compile(r"[@#] ?|the ")


def normalise_name(text: str) -> str:
    """The key of a name: names with equal keys (and equal types) are one entity.

    1. Unicode NFKC and full case folding, without invisible characters: `ＮＡＳＡ` and `Nasa` are one.
    2. Every run of white space is one blank, none at the ends.
    3. Leading `@`, `#` and `the` are left out, as often as they come: `@NASA`, `#nasa` and `the NASA` are one too.

    Nothing else is done: no nicknames, no plurals, no splitting of hashtags. A step that would leave nothing is skipped
    (`#` is `#`), so that the key is empty only if `text` is blank. The key of a key is the key.
    """
    # folding may undo NFKC and the other way round: a few characters need a second round
    folded = text
    while (once := unicodedata.normalize("NFKC", folded.translate(_INVISIBLE)).casefold()) != folded:
        folded = once
    name = _BLANKS.sub(" ", folded or text).strip()
    while (found := _LEADING.match(name)) and found.end() < len(name):
        name = name[found.end() :]
    return name


_PROPERTY = re.compile(r"P[1-9]\d*")


def read_relation_properties(path: Path | None = None) -> dict[str, str]:
    """Relation label -> Wikidata property (`P26`), from lines of label, tab, property; None is promu's own table.

    Text after a second tab is a note, a line that starts with # a comment.

    Raises:
        InputError: The file is missing or empty, a line is malformed, or a label occurs twice.
    """
    if path is None:
        with resources.as_file(resources.files("promu.graph") / "data" / "wikidata_relations.tsv") as table:
            return read_relation_properties(table)
    properties: dict[str, str] = {}
    for number, line in read_lines(path, None):
        if line is None or is_blank(line) or line.startswith("#"):
            continue
        label, _, rest = line.partition("\t")
        identifier = rest.split("\t")[0].strip()
        if not label.strip() or not _PROPERTY.fullmatch(identifier):
            raise InputError(f"a line is relation, tab, property such as P26; found {shorten(line)}", path, number)
        if label in properties:
            raise InputError(f"the relation {shorten(label)} occurs twice; remove one of the lines", path, number)
        properties[label] = identifier
    return properties
