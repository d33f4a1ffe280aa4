"""Versions of training posts in which names have changed places."""

from __future__ import annotations

from pathlib import Path

from promu.corpora.jmere import Background
from promu.kecpm.prompts import Split, exchange_names, read_split
from promu.newsreel.joint_world import write_joint
from promu.newsreel.settings import JointSettings
from promu.schema import Entity, Post, Relation

ENDS = (Entity(0, 2, "per"), Entity(4, 5, "org"))
POST = Post("1", ("Ann", "Lee", "sings", "for", "Lee", "!"), "1.jpg", ENDS, (Relation(0, 1, "member_of"),))
OTHER = Post("2", ("the", "Bob", "of", "The", "Sea"), "2.jpg", (Entity(1, 2, "per"), Entity(2, 5, "loc")), ())


def test_words_of_names_are_exchanged_wherever_they_stand() -> None:
    known = [Background(("a woman",), ("Ann Lee, a singer, knows Lee.",)), Background((), ("Gus is old.",))]
    found = exchange_names(Split([POST, OTHER], known), 3)
    new = dict(zip((*POST.tokens, *OTHER.tokens), (t for post in found.posts for t in post.tokens), strict=True))
    assert {new[word] for word in ("Ann", "Lee", "Bob", "The", "Sea", "of")} == {
        "Ann",
        "Lee",
        "Bob",
        "The",
        "Sea",
        "of",
    }
    assert all(new[word] == word for word in ("sings", "for", "the", "!")) and new["Ann"] != "Ann"
    assert found.posts[0].tokens[1] == found.posts[0].tokens[4], "the same word becomes the same"
    assert found.background[0].knowledge == (f"{new['Ann']} {new['Lee']}, a singer, knows {new['Lee']}.",)
    assert (found.background[0].captions, found.background[1].knowledge) == (("a woman",), ("Gus is old.",))
    assert [(post.entities, post.relations) for post in found.posts] == [
        (post.entities, post.relations) for post in (POST, OTHER)
    ]


def test_words_that_stand_outside_of_names_too_stay() -> None:
    posts = [POST, Post("3", ("Lee", "!"), "3.jpg")]
    found = exchange_names(Split(posts, [Background((), ())] * 2), 0)
    assert [post.tokens for post in found.posts] == [post.tokens for post in posts], "nobody for Ann to change with"


def test_what_was_decided_stays_decided(tmp_path: Path) -> None:
    """In drawn posts a sentence about a name is about it after the exchange, too."""
    write_joint(tmp_path / "set", JointSettings(size=32, posts=(40, 1, 1)))
    before = read_split(tmp_path / "set" / "train.json")
    after = exchange_names(before, 1)
    changed = 0
    for old, new, was, now in zip(before.posts, after.posts, before.background, after.background, strict=True):
        for entity in old.entities:
            name, other = old.words(entity), new.words(entity)
            assert sum(line.startswith(f"{name} ") for line in was.knowledge) == sum(
                line.startswith(f"{other} ") for line in now.knowledge
            )
            changed += name != other
    assert changed > 50
