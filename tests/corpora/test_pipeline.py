"""A joint set as the two sets of a pipeline."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from promu.cli import main
from promu.corpora.conll import read_conll
from promu.corpora.jmere import write_jmere
from promu.corpora.joint_sets import entity_post, group_pairs, pair_post, write_pipeline_sets
from promu.corpora.mnre import read_mnre
from promu.errors import InputError
from promu.schema import Post, Quintuple, quintuples, with_quintuples

WORDS = ("Ann", "of", "Big", "Club", "met", "Bob", "in", "Rome")
ANN, CLUB, BOB, ROME = ((0, 1), "per"), ((2, 4), "org"), ((5, 6), "per"), ((7, 8), "loc")


def post(*found: Quintuple, id: str = "1") -> Post:
    return with_quintuples(Post(id, WORDS, f"{id}.jpg"), found)


def test_a_post_by_hand() -> None:
    one = post(Quintuple(*BOB, *ANN, "peer"), Quintuple(*ANN, *CLUB, "member_of"))
    assert [(e.start, e.end, e.type) for e in entity_post(one).entities] == [
        (0, 1, "per"),
        (2, 4, "org"),
        (5, 6, "per"),
    ]
    named = {(r.head, r.tail): r.type for r in pair_post(one).relations}  # entities in order of mention: Bob, Ann, Club
    assert named == {
        (0, 1): "/per/per/peer",
        (1, 2): "/per/org/member_of",
        **dict.fromkeys([(1, 0), (2, 1), (0, 2), (2, 0)], "None"),
    }


@given(st.lists(st.permutations([ANN, CLUB, BOB, ROME]), max_size=4))
def test_the_pairs_say_what_the_joint_set_says(ends: list[Any]) -> None:
    found = [Quintuple(head[0], head[1], tail[0], tail[1], "near") for head, tail, *_ in ends]
    one = post(*dict.fromkeys(found))
    lines = [
        Post("1", WORDS, "1.jpg", pairs.entities, (relation,))
        for pairs in [pair_post(one)]
        for relation in pairs.relations
    ]
    assert len(lines) == len(one.entities) * (len(one.entities) - 1)
    assert {item for back in group_pairs(lines) for item in quintuples(back)} == set(quintuples(one))


def test_files(tmp_path: Path, capsys: Any) -> None:
    overlapping = post(Quintuple(*ANN, *CLUB, "member_of"), Quintuple(*ANN, (3, 4), "org", "member_of"), id="2")
    write_jmere(tmp_path / "some.json", [post(Quintuple(*ANN, *BOB, "peer")), overlapping])
    names = [str(tmp_path / "some.json")] * 3
    assert main(["fewshot", "pipeline", *names, str(tmp_path / "sets")]) == 0
    assert "train: 1 entity overlaps others and is not in the CoNLL file" in capsys.readouterr().err
    assert [len(p.entities) for p in read_conll(tmp_path / "sets" / "ner" / "valid.txt")] == [2, 2]
    found = read_mnre(tmp_path / "sets" / "re" / "mnre_test.txt")
    assert [p.relations[0].type for p in found].count("None") == 1 + 4 and len(found) == 2 + 6
    assert main(["fewshot", "pipeline", *names, str(tmp_path / "more"), "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["sets"]["train"] == {
        "posts": 2, "entities": 4, "relations": 3, "none_pairs": 5, "overlapping_entities": 1,
    }  # fmt: skip
    assert main(["fewshot", "pipeline", *names, str(tmp_path / "more")]) == 2
    assert "this is there already" in capsys.readouterr().err


def test_what_lies_beside_is_left_alone(tmp_path: Path) -> None:
    write_jmere(tmp_path / "some.json", [post(Quintuple(*ANN, *BOB, "peer"))])
    (tmp_path / "sets.tmp").mkdir()
    (tmp_path / "sets.tmp" / "notes").write_text("a user's own")
    write_pipeline_sets({"train": tmp_path / "some.json"}, tmp_path / "sets")
    assert sorted(path.name for path in tmp_path.iterdir()) == ["sets", "sets.tmp", "some.json"]
    assert (tmp_path / "sets.tmp" / "notes").read_text() == "a user's own"


def test_nothing_is_half_written(tmp_path: Path) -> None:
    write_jmere(tmp_path / "good.json", [post(Quintuple(*ANN, *BOB, "peer"))])
    png = with_quintuples(Post("1", WORDS, "1.png"), [Quintuple(*ANN, *BOB, "peer")])
    write_jmere(tmp_path / "png.json", [png])
    with pytest.raises(InputError, match=r"png.json: .*its image must be named 1.jpg"):
        write_pipeline_sets({"train": tmp_path / "good.json", "test": tmp_path / "png.json"}, tmp_path / "sets")
    assert sorted(path.name for path in tmp_path.iterdir()) == ["good.json", "png.json"]
