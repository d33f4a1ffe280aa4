"""Joint sets out of pairs, and what is left out of them."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from promu.corpora.jmere import read_jmere
from promu.corpora.joint_sets import read_joint
from promu.errors import InputError
from promu.schema import Entity, Post, Quintuple, Relation, quintuples, with_quintuples

WORDS = ["Ann", "Lee", "met", "Bob", "in", "Rome"]
ANN, BOB, ROME = (0, 2), (3, 4), (5, 6)


def line(head: tuple[int, int], tail: tuple[int, int], label: str, image: str = "a.jpg") -> str:
    ends: Any = [{"name": " ".join(WORDS[slice(*span)]), "pos": list(span)} for span in (head, tail)]
    return f"{ {'token': WORDS, 'h': ends[0], 't': ends[1], 'img_id': image, 'relation': label} }\n"


def mnre(path: Path, *lines: str) -> Path:
    path.write_text("".join(lines), encoding="utf-8")
    return path


def test_pairs_of_one_post_are_grouped_and_none_is_dropped(tmp_path: Path) -> None:
    path = mnre(
        tmp_path / "mnre.txt",
        line(ANN, BOB, "/per/per/peer"),
        line(BOB, ANN, "None", "b.jpg"),
        line(BOB, ROME, "None"),
        line(ANN, ROME, "/per/loc/place_of_birth"),
        line(ANN, BOB, "/per/per/peer"),
        line(ANN, BOB, "/per/per/couple"),
        line(BOB, ROME, "/misc/loc/held_on", "c.jpg"),
        line(ROME, BOB, "/loc/per/contain", "c.jpg"),
    )
    joint = read_joint(path, "mnre")
    assert [post.id for post in joint.posts] == ["a", "c"]
    assert quintuples(joint.posts[0]) == [
        Quintuple(ANN, "per", BOB, "per", "peer"),
        Quintuple(ANN, "per", ROME, "loc", "place_of_birth"),
        Quintuple(ANN, "per", BOB, "per", "couple"),
    ]
    assert joint.posts[0].entities == (Entity(0, 2, "per"), Entity(3, 4, "per"), Entity(5, 6, "loc"))
    assert joint.left_out == {
        "pairs without a relation, left out": 2,
        "posts without any relation, left out": 1,
        "repeated quintuples, left out": 1,
        "spans with two types, kept": 1,
        "pairs with several relations, kept": 1,
    }


def test_a_post_is_rebuilt_from_its_quintuples() -> None:
    post = Post("a", tuple(WORDS), "a.jpg", (Entity(5, 6, "loc"), Entity(0, 2, "per")), (Relation(1, 0, "born"),))
    found = quintuples(post)
    assert found == [Quintuple((0, 2), "per", (5, 6), "loc", "born")]
    rebuilt = with_quintuples(post, found)
    assert quintuples(rebuilt) == found and rebuilt.entities == (Entity(0, 2, "per"), Entity(5, 6, "loc"))


def test_a_set_without_relations_is_refused(tmp_path: Path) -> None:
    path = mnre(tmp_path / "mnre.txt", line(ANN, BOB, "None"))
    with pytest.raises(InputError, match="no post has a relation, of 1 post; is this a joint set"):
        read_joint(path, "mnre")
    with pytest.raises(InputError, match="holds pairs, but posts are needed"):
        read_joint(path, "captions")


def test_published_sets(shared: Path) -> None:
    folder = shared / "data" / "jmere_fewshot" / "seed_17"
    joint = read_joint(folder / "test_ofa_knowledge.json")
    assert joint.posts == read_jmere(folder / "test.json") and not joint.left_out
    assert sum(bool(known.knowledge) for known in joint.background) >= 473
    # MNRE's pairs that are no None, by the label counts of its own file
    pairs = read_joint(shared / "data" / "mnre" / "mnre_test.txt", "mnre")
    lines = (shared / "data" / "mnre" / "mnre_test.txt").read_text(encoding="utf-8").splitlines()
    assert sum(map(len, map(quintuples, pairs.posts))) + pairs.left_out["repeated quintuples, left out"] == sum(
        "'relation': 'None'" not in text for text in lines if text.strip()
    )
