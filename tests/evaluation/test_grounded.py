"""Scores of grounded entities, against a slow count that shares no code with them."""

from __future__ import annotations

import itertools
import json
from collections.abc import Iterable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from promu import Entity, InputError, Post, Region, score
from promu.cli import main
from promu.corpora.gmner import COARSE_TYPES, write_gmner
from promu.corpora.posts import write_posts_jsonl
from promu.evaluation.counts import Counts
from promu.evaluation.grounded_scores import grounded_counts, score_grounded

WORDS = ("Ann", "in", "Rome")
TYPES = ["actor", "coach", "city"]
BOXES = [
    Region((float(x), float(y), float(x + w), float(y + h)))
    for x, y, w, h in itertools.product((0, 2), (0, 1), (2, 4), (2, 4))
]


def entity(start: int, type: str, *boxes: Region, width: int = 1) -> Entity:
    return Entity(start, start + width, type, regions=boxes)


def pixels(region: Region) -> set[tuple[int, int]]:
    x0, y0, x1, y1 = map(int, region.box)
    return {(x, y) for x in range(x0, x1) for y in range(y0, y1)}


def same_place(gold: Entity, found: Entity) -> bool:
    """By counting pixels."""
    assert gold.regions is not None and found.regions is not None
    if not gold.regions or not found.regions:
        return len(gold.regions) == len(found.regions) == 0
    ours = pixels(found.regions[0])
    return any(2 * len(ours & pixels(one)) >= len(ours | pixels(one)) for one in gold.regions)


def oracle(gold: Sequence[Post], found: Sequence[Post], typed: bool, placed: bool, coarse: bool = False) -> Counts:
    """Every way of giving predictions to gold entities is tried."""
    correct = predicted = total = 0
    for expected, actual in zip(gold, found, strict=True):
        sides: list[list[Entity]] = []
        for post in (expected, actual):
            kept: dict[Any, Entity] = {}
            for one in post.entities:
                kind = COARSE_TYPES[str(one.type)] if coarse else one.type
                key = (one.start, one.end, kind if typed else "", frozenset(one.regions or ()) if placed else None)
                kept.setdefault(key, replace(one, type=kind))
            sides.append(list(kept.values()))
        golds, founds = sides
        total, predicted = total + len(golds), predicted + len(founds)
        best = 0
        short, long = sorted((golds, founds), key=len)
        for order in itertools.permutations(long, len(short)):
            pairs = zip(short, order, strict=True) if short is golds else zip(order, short, strict=True)
            best = max(
                best,
                sum(
                    (one.start, one.end) == (other.start, other.end)
                    and (not typed or one.type == other.type)
                    and (not placed or same_place(one, other))
                    for one, other in pairs
                ),
            )
        correct += best
    return Counts(correct, predicted, total)


GOLD = st.builds(entity, st.integers(0, 1), st.sampled_from(TYPES), width=st.integers(1, 2)).flatmap(
    lambda one: st.lists(st.sampled_from(BOXES), max_size=2).map(lambda boxes: replace(one, regions=tuple(boxes)))
)
FOUND = GOLD.map(lambda one: replace(one, regions=(one.regions or ())[:1]))


def post(entities: Iterable[Entity]) -> Post:
    return Post("1", WORDS, "1.jpg", tuple(entities))


@settings(max_examples=150)
@given(st.lists(st.tuples(st.lists(GOLD, max_size=4), st.lists(FOUND, max_size=4)), min_size=1, max_size=3))
def test_scores_are_those_of_the_slow_count(sides: list[tuple[list[Entity], list[Entity]]]) -> None:
    gold, found = ([post(pair[side]) for pair in sides] for side in range(2))
    scores = score_grounded(gold, found)
    assert scores.micro == oracle(gold, found, typed=True, placed=True)
    assert scores.eeg == oracle(gold, found, typed=False, placed=True)
    assert scores.mner == oracle(gold, found, typed=True, placed=False)
    if any(one.entities for one in gold):
        assert scores.coarse == {
            "GMNER": oracle(gold, found, typed=True, placed=True, coarse=True),
            "MNER": oracle(gold, found, typed=True, placed=False, coarse=True),
        }
    assert Counts(*grounded_counts(gold, found).sum(0).tolist()) == scores.micro
    parts = [(one.correct, one.predicted, one.gold) for one in scores.per_type.values()]
    assert tuple(map(sum, zip(*parts, strict=True))) in (
        (scores.micro.correct, scores.micro.predicted, scores.micro.gold),
        (),
    )
    alone = [post({(one.start, one.end): one for one in of.entities}.values()) for of in gold]
    itself = score_grounded(alone, alone).micro
    assert itself.correct == itself.predicted == itself.gold


@settings(max_examples=60)
@given(st.sampled_from(BOXES), st.sampled_from(BOXES))
def test_overlap_is_that_of_pixels(first: Region, second: Region) -> None:
    shared, all_of_it = len(pixels(first) & pixels(second)), len(pixels(first) | pixels(second))
    assert first.iou(second) == second.iou(first) == pytest.approx(shared / all_of_it)
    assert first.iou(first) == 1.0


def test_by_hand() -> None:
    box, half, less = Region((0, 0, 10, 10)), Region((0, 0, 10, 5)), Region((0, 0, 10, 4.9))
    far = Region((50, 50, 60, 60))
    gold = [post([entity(0, "PER", box, far), entity(2, "LOC")])]

    def f1(*found: Entity) -> tuple[float, float, float]:
        scores = score_grounded(gold, [post(found)])
        return scores.micro.f1, scores.mner.f1, scores.eeg.f1

    assert f1(entity(0, "PER", half), entity(2, "LOC")) == (100.0, 100.0, 100.0), "IoU of exactly .5 is right"
    assert f1(entity(0, "PER", less), entity(2, "LOC")) == (50.0, 100.0, 50.0)
    assert f1(entity(0, "ORG", far), entity(2, "LOC")) == (50.0, 50.0, 100.0), "any gold box of the name"
    assert f1(entity(0, "PER"), entity(2, "LOC", box)) == (0.0, 100.0, 0.0), "none is wrong where something is shown"
    scored = (replace(far, score=0.2), replace(box, score=0.9), replace(less, score=0.1))
    assert f1(Entity(0, 1, "PER", regions=scored[1:]), entity(2, "LOC"))[0] == 100.0, "the best region counts"
    scores = score_grounded(gold, [post([entity(0, "PER", less), entity(2, "LOC", box)])])
    assert scores.shown == Counts(1, 2, 1) and not scores.coarse
    assert scores.per_type == {"LOC": Counts(0, 1, 1), "PER": Counts(0, 1, 1)}
    assert score_grounded(gold, gold, {"1": "image"}).per_group == {"image": Counts(2, 2, 2)}
    for bad, sentence in {
        Entity(0, 1, "PER"): "post '1': the predicted entity 'Ann' says nothing about regions; give them",
        Entity(0, 1, None, regions=()): "the predicted entity 'Ann' has no type",
    }.items():
        with pytest.raises(InputError, match=sentence):
            score_grounded(gold, [post([bad])])
    with pytest.raises(InputError, match="the gold entity 'Ann' says nothing about regions"):
        score_grounded([post([Entity(0, 1, "PER")])], gold)


def test_files_and_the_command(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    box, near, far = Region((0, 0, 10, 10)), Region((1, 0, 11, 10), "face", 0.8), Region((30, 30, 50, 50))
    gold = [post([entity(0, "actor", box), entity(2, "city")])]
    found = [post([entity(0, "coach", near), entity(2, "city", far)])]
    write_gmner(tmp_path / "gold" / "test.txt", gold, types="fine")
    write_posts_jsonl(tmp_path / "found.jsonl", found)
    report = score("gmner", tmp_path / "gold" / "test.txt", [tmp_path / "found.jsonl"], format="fmnerg")
    assert report.runs == score("gmner", gold, found).runs and report.f1.mean == 0.0
    words = ["score", "gmner", "--gold", str(tmp_path / "gold" / "test.txt"), "--format", "fmnerg", "--predictions"]
    assert main([*words, str(tmp_path / "found.jsonl")]) == 0
    shown = " ".join(capsys.readouterr().out.split())
    assert "grounded entities, 1 post" in shown
    rows = ["GMNER 0.00 0.00 0.00 0 2 2", "MNER 50.00 50.00 50.00 1 2 2", "EEG 50.00 50.00 50.00 1 2 2"]
    rows += ["GMNER, coarse types 50.00 50.00 50.00 1 2 2", "MNER, coarse types 100.00 100.00 100.00 2 2 2"]
    for row in rows:
        assert row in shown
    assert main([*words, str(tmp_path / "found.jsonl"), str(tmp_path / "gold" / "test.txt"), "--json"]) == 0
    record = json.loads(capsys.readouterr().out)
    assert record["mean"]["GMNER"]["f1"]["mean"] == 50.0 and record["runs"][0]["eeg"]["f1"] == 50.0
    write_gmner(
        tmp_path / "gold" / "found.txt", [post([replace(one, regions=None) for one in gold[0].entities])], types="fine"
    )
    assert main([*words, str(tmp_path / "gold" / "found.txt")]) == 2
    assert "its boxes would be those of the gold, in" in capsys.readouterr().err
    against = [post([entity(0, "actor", box)])]
    assert score("gmner", gold, found, against=against, samples=50).comparison is not None
    with pytest.raises(InputError, match="the predictions say MISC where the gold says OTHER"):
        score("gmner", [post([entity(0, "OTHER")])], [post([entity(0, "MISC")])])
    assert (
        score("gmner", [post([entity(0, "OTHER")])], [post([entity(0, "MISC")])], rename={"MISC": "OTHER"}).f1.mean
        == 100.0
    )
