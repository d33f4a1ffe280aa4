"""The table of Wikidata properties: promu's own and a user's."""

from __future__ import annotations

import csv
from pathlib import Path

import pytest

from promu.errors import InputError
from promu.graph.names import read_relation_properties


def test_own_table_names_items_of_wikidata_by_their_labels(shared: Path) -> None:
    with (shared / "data" / "wikidata" / "properties.csv").open(encoding="utf-8", newline="") as file:
        known = {row["ID"]: row for row in csv.DictReader(file)}
    for label, identifier in read_relation_properties().items():
        assert known[identifier]["Data type"] == "WikibaseItem", label


def test_own_table_covers_the_drawn_corpus_and_says_the_same_of_short_labels() -> None:
    table = read_relation_properties()
    assert (
        table["/per/per/couple"] == "P26"
        and table["/org/org/subsidiary"] == "P355"
        and table["/loc/loc/contain"] == "P150"
    )
    assert "/per/per/peer" not in table and "None" not in table
    for label, identifier in table.items():
        assert table.get(label.rpartition("/")[2], identifier) == identifier


def test_a_users_table(tmp_path: Path) -> None:
    path = tmp_path / "own.tsv"
    path.write_text("# mine\n\nbought by\tP127\towned by\nmember_of\tP463\n", encoding="utf-8")
    assert read_relation_properties(path) == {"bought by": "P127", "member_of": "P463"}


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("a\tP1\nb P2\n", "own.tsv:2: a line is relation, tab, property such as P26; found 'b P2'"),
        ("a\tQ5\n", "own.tsv:1: a line is relation"),
        ("\tP5\n", "own.tsv:1: a line is relation"),
        ("a\tP1\na\tP2\n", "own.tsv:2: the relation 'a' occurs twice; remove one"),
    ],
)
def test_a_broken_table_is_named_with_its_line(tmp_path: Path, text: str, reason: str) -> None:
    path = tmp_path / "own.tsv"
    path.write_text(text, encoding="utf-8")
    with pytest.raises(InputError, match=reason):
        read_relation_properties(path)
