"""`promu.score` of posts and of files: the same figures, and what is said of labels that the gold never has."""

from __future__ import annotations

from pathlib import Path

import pytest

from promu import Entity, InputError, Post, Relation, score
from promu.corpora.conll import write_conll
from promu.corpora.mnre import write_mnre
from promu.evaluation.scoring import Source

WORDS = ("Ann", "in", "Rome")


def post(number: int, *entities: Entity) -> Post:
    return Post(str(number), WORDS, entities=entities)


GOLD = [post(1, Entity(0, 1, "PER"), Entity(2, 3, "LOC")), post(2, Entity(0, 1, "PER"))]
FOUND = [post(1, Entity(0, 1, "PER"), Entity(2, 3, "DOG")), post(2)]


def test_posts_and_files_give_the_same_figures(tmp_path: Path) -> None:
    for name, posts in (("gold.txt", GOLD), ("found.txt", FOUND)):
        write_conll(tmp_path / name, posts)
    report = score("ner", gold=GOLD, predictions=[FOUND, GOLD], against=GOLD, samples=100)
    runs: list[Source] = [tmp_path / "found.txt", GOLD]
    files = score("ner", tmp_path / "gold.txt", runs, against=GOLD, samples=100)
    assert report.runs == files.runs and report.comparison == files.comparison
    assert [run.micro.f1 for run in report.runs] == [40.0, 100.0]
    assert (report.f1.mean, report.precision.mean) == (70.0, 75.0)
    assert report.recall.mean == pytest.approx(200 / 3)
    assert report.unknown_labels() == {"DOG": 1} and report.mode is None
    assert files.to_dict()["runs"][0]["predictions"] == str(tmp_path / "found.txt")
    with pytest.raises(InputError, match="there are no predictions to score"):
        score("ner", gold=GOLD, predictions=[])
    with pytest.raises(InputError, match="the predictions hold 1 post and the gold holds 2"):
        score("ner", gold=GOLD, predictions=FOUND[:1])


def test_relations_and_quintuples(tmp_path: Path) -> None:
    ends = (Entity(0, 1, "PER"), Entity(2, 3, "LOC"))
    gold = [Post("1", WORDS, "1.jpg", ends, relations=(Relation(0, 1, "/per/loc/place_of_residence"),))]
    none = [Post("1", WORDS, "1.jpg", ends, relations=(Relation(0, 1, "None"),))]
    write_mnre(tmp_path / "gold.txt", gold)
    report = score("re", tmp_path / "gold.txt", [gold, none])
    assert report.f1.mean == 50.0 and report.to_dict()["mean_accuracy"]["mean"] == 50.0
    joint = score("joint", gold, none, groups={"1": "text"})
    assert joint.f1.mean == 0.0 and joint.to_dict()["per_group"]["text"]["gold"] == 1
    assert joint.to_dict() == joint.runs[0].to_dict()
    with pytest.raises(InputError, match="no post of the gold has a relation"):
        score("joint", [post(1)], [post(1)])
