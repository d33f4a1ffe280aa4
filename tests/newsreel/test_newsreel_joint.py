"""Joint posts of the drawn world: legal, reproducible, and with knowledge that is true."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path
from typing import Any

import pytest

from promu.cli import main
from promu.corpora.coco import read_coco
from promu.corpora.jmere import read_jmere, read_jmere_background
from promu.errors import InputError
from promu.newsreel import WORLD
from promu.newsreel.joint_world import DECIDERS, deciders, joint_posts, write_joint
from promu.newsreel.settings import JointSettings
from promu.schema import quintuples

SMALL = JointSettings(seed=5, size=32, posts=(30, 10, 20))


def test_what_is_written_is_what_the_published_readers_read(tmp_path: Path) -> None:
    report = write_joint(tmp_path / "world", SMALL)
    counts = report.counts
    card = json.loads((tmp_path / "world" / "newsreel.json").read_text())
    assert card["counts"] == counts and card["upper_bounds"] == report.upper_bounds
    text, image, knowledge, every = report.upper_bounds.values()
    assert 30 < text < min(image, knowledge) and max(image, knowledge) <= every > 90
    assert list(report.upper_bounds) == ["text", "text + image", "text + knowledge", "text + image + knowledge"]
    assert [counts[split] for split in ("train", "val", "test")] == [30, 10, 20]
    groups = json.loads((tmp_path / "world" / "groups.json").read_text())
    regions = read_coco(tmp_path / "world" / "regions.json")
    for split in ("train", "val", "test"):
        file = tmp_path / "world" / f"{split}.json"
        posts, background = read_jmere(file), read_jmere_background(file)
        expected = joint_posts(split, len(posts), SMALL)
        assert [one.post for one in expected] == posts and [one.background for one in expected] == background
        assert counts[f"{split}, text"] == round(0.4 * len(posts))
        for post in posts:
            assert (tmp_path / "world" / "images" / str(post.image)).is_file() and post.image in regions
            assert groups[post.id] in DECIDERS
    assert (
        main(["check", str(tmp_path / "world"), "--format", "jmere", "--images", str(tmp_path / "world/images")]) == 0
    )
    with pytest.raises(InputError, match="already and not empty"):
        write_joint(tmp_path / "world", SMALL)


def test_the_settings_decide_every_byte(tmp_path: Path) -> None:
    def digest(seed: int, name: str) -> list[str]:
        write_joint(tmp_path / name, JointSettings(seed=seed, size=32, posts=(6, 2, 2)))
        files = sorted(path for path in (tmp_path / name).rglob("*") if path.is_file())
        return [hashlib.sha256(path.read_bytes()).hexdigest() for path in files]

    assert digest(1, "a") == digest(1, "b") != digest(2, "c")


def test_knowledge_is_true_of_the_scene() -> None:
    posts = joint_posts("train", 200, SMALL)
    kinds = {noun: kind for kind in WORLD.kinds for noun in kind.nouns}
    phrases = {rule.label.rpartition("/")[2]: rule.phrases for rule in WORLD.relations}
    second = 0
    for one in posts:
        found = quintuples(one.post)
        second += len(found) > 1
        names = {" ".join(one.post.tokens[slice(*item.head)]): item.head_type for item in found}
        names |= {" ".join(one.post.tokens[slice(*item.tail)]): item.tail_type for item in found}
        facts = one.background.knowledge
        for fact in facts:
            name, _, rest = fact.rstrip(".").partition(" is a")
            if name in names and rest.split()[-1] in kinds:
                assert kinds[rest.split()[-1]].type.lower() == names[name]
        head, tail = (" ".join(one.post.tokens[slice(*span)]) for span in (found[0].head, found[0].tail))
        told = any(f"{head} {phrase} {tail}." in facts for phrase in phrases[found[0].relation])
        assert told == (one.question.seen["knowledge"] == one.question.answer)
    assert 0.1 < second / len(posts) < 0.3


def test_where_only_one_source_decides_no_other_tells_the_relation() -> None:
    """Proven against the sentences and scenes themselves: what the marks leave out leaves several relations open."""
    posts = joint_posts("test", 1500, SMALL)
    marks = deciders(posts, SMALL)
    assert {"text", "image", "knowledge", "image or knowledge"} <= set(marks)
    by_image: dict[object, set[str]] = {}
    by_knowledge: dict[object, set[str]] = {}
    for one, mark in zip(posts, marks, strict=True):
        if mark != "text":
            assert one.question.seen["text"] in WORLD.open_pair
            by_image.setdefault(one.question.seen["image"], set()).add(one.question.answer)
            by_knowledge.setdefault(one.question.seen["knowledge"], set()).add(one.question.answer)
    alone = {
        "image": [
            by_knowledge[one.question.seen["knowledge"]]
            for one, mark in zip(posts, marks, strict=True)
            if mark == "image"
        ],
        "knowledge": [
            by_image[one.question.seen["image"]] for one, mark in zip(posts, marks, strict=True) if mark == "knowledge"
        ],
    }
    for mark, answers in alone.items():
        assert sum(len(found) > 1 for found in answers) > 0.6 * len(answers) > 60, mark
    for one, mark in zip(posts, marks, strict=True):
        head, tail = one.scene.main
        shown = WORLD.shown(head, tail, str(one.scene.arrangement))
        if mark == "image":
            assert shown == one.question.answer
        elif mark == "knowledge":
            assert one.scene.arrangement == "apart" and one.question.seen["knowledge"] == one.question.answer


def test_no_name_is_in_two_splits() -> None:
    words = []
    for split in ("train", "val", "test"):
        posts = [one.post for one in joint_posts(split, 60, SMALL)]
        words.append({word for post in posts for entity in post.entities for word in post.words(entity).split()})
    assert not words[0] & words[1] and not words[0] & words[2] and not words[1] & words[2]


@pytest.mark.parametrize(
    ("settings", "sentence"),
    [
        ({"ambiguous": 1.2}, "ambiguous should be less than or equal to 1, found 1.2"),
        ({"posts": (0, 1, 1)}, "posts.0 should be greater than or equal to 1, found 0"),
        ({"size": 9}, "size should be greater than or equal to 32, found 9"),
    ],
)
def test_bad_settings(settings: dict[str, Any], sentence: str) -> None:
    with pytest.raises(InputError, match=sentence):
        JointSettings(**settings)


def test_the_command(tmp_path: Path, capsys: Any) -> None:
    assert main(["fewshot", "draw", str(tmp_path / "w"), "--posts", "4", "2", "2", "--size", "32", "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["counts"]["test"] == 2
