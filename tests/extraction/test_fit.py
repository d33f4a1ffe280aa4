"""Which relations may hold between which entities."""

from __future__ import annotations

import pytest

from promu.extraction.passes import fitting_labels, fitting_pairs, label_types
from promu.schema import Entity

LABELS = ["None", "/per/misc/awarded", "/per/per/peer", "/loc/loc/contain"]


def entities(*types: str | None) -> list[Entity]:
    return [Entity(index, index + 1, kind) for index, kind in enumerate(types)]


@pytest.mark.parametrize(
    ("label", "types"),
    [
        ("/per/misc/awarded", ("per", "misc")),
        ("/PER/Other/awarded", ("per", "misc")),
        ("None", None),
        ("friend of", None),
        ("per/misc/awarded", None),
        ("/per/awarded", None),
    ],
)
def test_types_that_a_label_states(label: str, types: tuple[str, str] | None) -> None:
    assert label_types(label) == types


@pytest.mark.parametrize(
    ("head", "tail", "fits"),
    [
        ("PER", "MISC", [True, True, False, False]),
        ("per", "OTHER", [True, True, False, False]),
        ("MISC", "PER", [True, False, False, False]),
        ("PER", "PER", [True, False, True, False]),
        ("ORG", "ORG", [True, False, False, False]),
        (None, "MISC", [True, True, False, False]),
        (None, None, [True, True, True, True]),
    ],
)
def test_labels_that_fit_a_pair(head: str | None, tail: str | None, fits: list[bool]) -> None:
    first, second = entities(head, tail)
    assert fitting_labels(first, second, LABELS) == fits


def test_only_pairs_with_a_fitting_relation_are_asked_about() -> None:
    found = fitting_pairs(entities("PER", "OTHER", "PER", "ORG"), LABELS)
    assert sorted(found) == [(0, 1), (0, 2), (2, 0), (2, 1)]


def test_a_label_without_types_fits_every_pair() -> None:
    assert len(fitting_pairs(entities("PER", "ORG", None), ["None", "friend of"])) == 6
    assert fitting_pairs(entities("PER", "ORG"), ["None"]) == []
