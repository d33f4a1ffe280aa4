"""Names for the things of a graph that are unique in the world: IRIs under a base that the user sets.

They are made of a thing's own words, not of counters, so that graphs of different runs speak of the same entity by the
same IRI. All are plain ASCII: whatever else stands in a name is percent-encoded.
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
"""Where IRIs lie by default: a host that is reserved for examples and belongs to nobody."""
WIKIDATA = "http://www.wikidata.org/prop/direct/"
"""Namespace of Wikidata's properties as predicates between two items (`wdt:`)."""

_BASE = re.compile(
    r"(https?://[\w.-]+(:\d+)?/|urn:[a-z0-9][a-z0-9-]+:)([\w.~:/?@!$&'()*+,;=-]|%[0-9A-Fa-f]{2})*#?", re.A
)
_PATH = re.compile(r"(/[^/]+){2,}")


def check_base(base: str) -> str:
    """The base, where IRIs can lie under it.

    Raises:
        InputError: It is no http, https or urn IRI in ASCII, or does not end so that a name can follow.
    """
    if not _BASE.fullmatch(base) or base[-1] not in "/#:":
        raise InputError(
            f"the base {shorten(base)} cannot carry names; give one like https://example.org/graph/, ending in / or #"
        )
    return base


def entity_iri(base: str, key: str, type: str | None) -> str:
    """`{base}entity/{type}/{key}`, without the type where an entity has none."""
    return f"{base}entity/{_segment(key)}" if type is None else f"{base}entity/{_segment(type)}/{_segment(key)}"


def type_iri(base: str, type: str) -> str:
    """`{base}type/{type}`."""
    return f"{base}type/{_segment(type)}"


def form_iri(entity: str, form: str) -> str:
    """A written form of an entity: `{entity}?form={form}`."""
    return f"{entity}?form={quote(form, safe='')}"


def relation_iri(base: str, label: str) -> str:
    """`{base}relation/{label}`, where a label that is a path, as MNRE's are, stays one."""
    if _PATH.fullmatch(label):
        return f"{base}relation/{'/'.join(map(_segment, label[1:].split('/')))}"
    return f"{base}relation/{_segment(label)}"


def statement_iri(base: str, head: str, label: str, tail: str) -> str:
    """A relation between two entities as a thing that can be spoken of; `head` and `tail` are their IRIs."""
    digest = hashlib.sha256("\n".join((head, relation_iri(base, label), tail)).encode("ascii")).hexdigest()
    return f"{base}statement/{digest[:32]}"


def evidence_iri(statement: str, post: str, spans: tuple[int, int, int, int]) -> str:
    """One place where a statement was read; `spans` are head's and tail's words."""
    return f"{statement}?post={quote(post, safe='')}&words={'-'.join(map(str, spans))}"


def _segment(text: str) -> str:
    """One segment of a path; dots alone are encoded, since `.` and `..` mean folders there."""
    segment = quote(text, safe="")
    return segment.replace(".", "%2E") if not segment.strip(".") else segment


_UNSEEN = dict.fromkeys([0xAD, 0x200B, 0x200E, 0x200F, *range(0x202A, 0x202F), 0x2060, *range(0x2066, 0x206A), 0xFEFF])
"""Characters without a shape or a meaning of their own: soft hyphen, zero-width space, word joiner, marks of direction.

The zero-width joiners stay: families of emoji and Persian words are written with them.
"""
_BLANKS = re.compile(r"[\s\x00-\x1f\x7f-\x9f]+")
_LEADING = re.compile(r"[@#] ?|the ")


def normalise_name(text: str) -> str:
    """The key of a name: names with equal keys (and equal types) are one entity.

    1. Unicode NFKC and full case folding, characters that are not seen left out: `ＮＡＳＡ` and `Nasa` are one.
    2. Every run of white space is one blank, none at the ends.
    3. Leading `@`, `#` and `the` are left out, as often as they come: `@NASA`, `#nasa` and `the NASA` are one too.

    Nothing else is done: no nicknames, no plurals, no splitting of hashtags. A step that would leave nothing is not
    taken (`#` is `#`), so that the key is empty only where `text` is blank. Keys are their own keys.
    """
    # Folding may undo NFKC and the other way round, so that one round is not enough for a few characters.
    folded = text
    while (once := unicodedata.normalize("NFKC", folded.translate(_UNSEEN)).casefold()) != folded:
        folded = once
    name = _BLANKS.sub(" ", folded or text).strip()
    while (found := _LEADING.match(name)) and found.end() < len(name):
        name = name[found.end() :]
    return name


_PROPERTY = re.compile(r"P[1-9]\d*")


def read_relation_properties(path: Path | None = None) -> dict[str, str]:
    """Relation label -> Wikidata property (`P26`), out of lines of label, tab, property; None is promu's own table.

    What follows a second tab is for the reader, and a line that starts with # is a comment.

    Raises:
        InputError: The file is missing or empty, or a line is something else, or a label stands twice.
    """
    if path is None:
        with resources.as_file(resources.files("promu.graph") / "data" / "wikidata_relations.tsv") as own:
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
