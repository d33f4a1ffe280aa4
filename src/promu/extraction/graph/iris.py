"""Names for the things of a graph that are unique in the world: IRIs under a base that the user sets.

They are made of a thing's own words, not of counters, so that graphs of different runs speak of the same entity by the
same IRI. All are plain ASCII: whatever else stands in a name is percent-encoded.
"""

from __future__ import annotations

import hashlib
import re
from urllib.parse import quote

from promu.errors import InputError
from promu.files import shorten

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
