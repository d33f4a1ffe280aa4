"""The detector of the drawn world errs as often as it says."""

from __future__ import annotations

import pytest

from promu.newsreel import WORLD
from promu.newsreel.drawing import DrawnThing
from promu.newsreel.lexicon import generator
from promu.newsreel.noisy_detector import FALSE_BOXES, MISSED, PART, WRONG_KIND, detect, gold, held

SIZE = 100


def test_it_misses_misnames_and_invents_at_its_rates() -> None:
    rng, images = generator(0, "detector"), 4000
    thing = DrawnThing("dog", (20, 20, 60, 40))
    found = [detect([thing], WORLD, rng, SIZE) for _ in range(images)]
    held_it = [[one for one in boxes if overlap(one.box, thing.box) >= 0.5] for boxes in found]
    missed = next(rate for limit, rate in MISSED if limit >= 0.6)
    assert sum(bool(boxes) for boxes in held_it) / images == pytest.approx(1 - missed, abs=0.04)
    best = [max(boxes, key=lambda one: overlap(one.box, thing.box)) for boxes in held_it if boxes]
    assert sum(one.kind != "dog" for one in best) / len(best) == pytest.approx(WRONG_KIND, abs=0.02)
    boxes = sum(map(len, found)) / images
    assert boxes == pytest.approx(1 - missed + FALSE_BOXES + PART, abs=0.04)
    for of_image in found:
        assert [one.score for one in of_image] == sorted((one.score for one in of_image), reverse=True)
        for x, y, width, height in (one.box for one in of_image):
            assert 0 <= x < x + width <= SIZE and 0 <= y < y + height <= SIZE


def test_small_things_are_missed_more_often_than_large_ones() -> None:
    def share(side: int) -> float:
        rng, thing = generator(1, str(side)), DrawnThing("dog", (5, 5, side, side))
        return (
            sum(any(overlap(one.box, thing.box) > 0.5 for one in detect([thing], WORLD, rng, SIZE)) for _ in range(800))
            / 800
        )

    assert share(12) < share(25) < share(45) < share(70) < share(90)


def test_a_perfect_detector_finds_what_was_drawn() -> None:
    (one,) = gold([DrawnThing("dog", (1, 2, 3, 4))])
    assert (one.kind, one.box, one.score) == ("dog", (1, 2, 3, 4), 1.0)


def test_a_box_holds_the_thing_that_it_overlaps_by_half() -> None:
    things = [("dog", (0, 0, 10, 10)), ("cat", (10, 0, 20, 10))]
    assert held((0, 0, 10, 9), things) == "dog" and held((11, 0, 20, 10), things) == "cat"
    assert held((5, 0, 15, 10), things) is None and held((0, 0, 1, 1), []) is None


def overlap(first: tuple[int, ...], second: tuple[int, ...]) -> float:
    width = min(first[0] + first[2], second[0] + second[2]) - max(first[0], second[0])
    height = min(first[1] + first[3], second[1] + second[3]) - max(first[1], second[1])
    inner = max(width, 0) * max(height, 0)
    return inner / (first[2] * first[3] + second[2] * second[3] - inner)
