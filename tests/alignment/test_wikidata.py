"""Relations from Wikidata's properties: what is kept, what is dropped, and what a broken table says."""

from __future__ import annotations

from pathlib import Path

import pytest

from promu.alignment.candidates import ITEM, MetaRule, read_meta_rules, read_properties, relations
from promu.errors import InputError

HEADER = ",ID,label,description,aliases,Data type,Count\n"
ROWS = (
    '0,P57,director,"director(s) of film, TV-series",,WikibaseItem,345713\n'
    "1,P10,video,relevant video,,CommonsMedia,9924\n"
    '2,P26,spouse,"the ""husband"" or\nwife",,WikibaseItem,747560\n'
    "3,P910,topic's main category,main Wikimedia category,,WikibaseItem,694134\n"
    "4,P1889,different from,another item,,WikibaseItem,835994\n"
    "5,P19,place of birth,where,,WikibaseItem,747560\n"
)


def table(folder: Path, rows: str = ROWS, header: str = HEADER) -> Path:
    path = folder / "properties.csv"
    path.write_text(header + rows, encoding="utf-8")
    return path


def test_item_valued_properties_by_use_without_meta(tmp_path: Path) -> None:
    kept = relations(read_properties(table(tmp_path)), read_meta_rules(), 10)
    # equal use: the lower number first
    assert [(item.id, item.label, item.uses) for item in kept] == [
        ("P19", "place of birth", 747560),
        ("P26", "spouse", 747560),
        ("P57", "director", 345713),
    ]
    assert [item.id for item in relations(read_properties(table(tmp_path)), read_meta_rules(), 2)] == ["P19", "P26"]


def test_rules_of_ones_own(tmp_path: Path) -> None:
    path = tmp_path / "meta.txt"
    path.write_text("# mine\n\nP26  # a private matter\nlabel: Main CATEGORY\ndescription: where\n")
    rules = read_meta_rules(path)
    assert rules == [MetaRule("id", "P26"), MetaRule("label", "Main CATEGORY"), MetaRule("description", "where")]
    kept = relations(read_properties(table(tmp_path)), rules, 10)
    assert [item.id for item in kept] == ["P1889", "P57"]


def test_a_rule_that_is_none(tmp_path: Path) -> None:
    path = tmp_path / "meta.txt"
    path.write_text("P26\nspouse\n")
    with pytest.raises(InputError, match=r"meta.txt:2: a rule is a property's ID, or .* found 'spouse'"):
        read_meta_rules(path)


@pytest.mark.parametrize(
    ("rows", "sentence"),
    [
        ("0,P57,director,x,,WikibaseItem\n", r":2: 6 columns where the first line names 7"),
        ("0,57,director,x,,WikibaseItem,1\n", r":2: ID must be P and a number, found '57'"),
        ("0,P57, ,x,,WikibaseItem,1\n", r":2: property P57 has no label"),
        ("0,P57,director,x,,WikibaseItem,many\n", r":2: Count must be a whole number, found 'many'"),
        ("0,P57,director,x,,WikibaseItem,-1\n", r":2: Count must be a whole number, found '-1'"),
        ('0,P2,a,"x\ny",,String,1\n1,P57,a,x,,WikibaseItem,1\n', r":4: label 'a' already stands on line 2"),
        ("0,P57,a,x,,String,1\n1,P57,b,x,,String,1\n", r":3: ID 'P57' already stands on line 2"),
        ('0,P57,"director,x,,WikibaseItem,1\n', r":2: not CSV"),
        ("", r"the table holds no property"),
    ],
)
def test_malformed_rows_are_named(tmp_path: Path, rows: str, sentence: str) -> None:
    with pytest.raises(InputError, match=sentence):
        read_properties(table(tmp_path, rows))


def test_a_table_of_other_columns(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r":1: column 'Count' is missing; the first line must name ID, label"):
        read_properties(table(tmp_path, header=",ID,label,description,Data type\n"))
    with pytest.raises(InputError, match="no such file"):
        read_properties(tmp_path / "nowhere.csv")


def test_the_real_table(shared: Path) -> None:
    properties = read_properties(shared / "data/wikidata/properties.csv")
    items = [item for item in properties if item.data_type == ITEM]
    assert (len(properties), len(items)) == (10366, 1567)
    rules = read_meta_rules()
    assert all(any(rule.takes_out(item) for item in items) for rule in rules), "a rule that takes nothing out"
    kept = relations(properties, rules, 100)
    labels = [item.label for item in kept]
    assert labels[:3] == ["cites work", "instance of", "published in"]
    assert {"spouse", "member of sports team", "located in the administrative territorial entity"} <= set(labels)
    meta = ("category", "wikimedia", "template", "copyright", "different from", "said to be")
    assert not [label for label in labels if any(word in label.lower() for word in meta)]
