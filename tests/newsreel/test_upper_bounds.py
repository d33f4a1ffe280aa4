"""Upper bounds and what decides a post: lookup tables of what was seen, in small worlds counted by hand."""

from __future__ import annotations

from collections import Counter

import pytest

from promu.newsreel import WORLDS
from promu.newsreel.lexicon import generator
from promu.newsreel.texts import PostWriter, name_pools
from promu.newsreel.upper_bounds import (
    ARRANGEMENT,
    KINDS,
    NOTHING,
    TEXT,
    Question,
    Reader,
    decided_by,
    questions,
    readers,
    upper_bound,
    upper_bounds,
)


def question(answer: str, text: str, kinds: str = "", arrangement: str = "") -> Question:
    return Question("relation", answer, {TEXT: text, KINDS: kinds, ARRANGEMENT: arrangement})


def test_a_reader_of_the_text_gets_sure_texts_right_and_guesses_the_rest() -> None:
    read = [question("a", "open")] * 3 + [question("b", "open")] + [question("c", "sure")] * 3
    test = [question("c", "sure")] * 2 + [question("a", "open"), question("b", "open")]
    # Answering "a" twice: one right of two, beside two sure ones: P = R = 3/4.
    assert upper_bound(Reader((), read, []), test) == pytest.approx(75.0)
    assert upper_bound(Reader((), [], []), []) == 0.0


def test_it_answers_none_where_a_guess_would_cost_more_than_it_gives() -> None:
    many = [question(label, "open") for label in "abcdefghij"] + [question("z", "sure")] * 10
    # All 10 sure posts right, no answer elsewhere: P = 1, R = 1/2, F1 = 2/3.
    assert upper_bound(Reader((), many, []), many) == pytest.approx(200 / 3)


def test_none_is_no_hit_and_no_answer() -> None:
    read = [question("None", "nothing")] * 5 + [question("a", "sure")] * 5
    assert upper_bound(Reader((), read, []), read) == 100.0
    mixed = [question("None", "open")] * 4 + [question("a", "open")]
    # "a" everywhere: one of five predicted is right, F1 = 2 / 6; still better than no answer at all.
    assert upper_bound(Reader((), mixed, []), mixed) == pytest.approx(100 / 3)


@pytest.fixture(scope="module")
def small_world() -> tuple[Reader, ...]:
    posts = [question("a", "sure")] * 4 + [question(answer, "open") for answer in "aabb"]
    scenes = [question("a", "", "man dog", "held")] * 6 + [question("b", "", "man dog", "raised")] * 6
    scenes += [question("b", "", "man car", "held")] * 6 + [question("a", "", "rare", "held")]
    return tuple(Reader(sources, posts, scenes) for sources in ((), (KINDS,), (KINDS, ARRANGEMENT)))


@pytest.mark.parametrize(
    ("asked", "decided"),
    [
        (question("a", "sure", "man car", "held"), TEXT),  # whatever the image shows
        (question("b", "open", "man car", "held"), KINDS),
        (question("a", "open", "man dog", "held"), ARRANGEMENT),
        (question("b", "open", "man dog", "held"), NOTHING),  # it shows the other answer
        (question("a", "open", "rare", "held"), NOTHING),  # seen once: not enough to be sure
        (question("a", "unheard", "man dog", "held"), ARRANGEMENT),
    ],
)
def test_what_decides_is_the_least_that_leaves_one_answer(
    small_world: tuple[Reader, ...], asked: Question, decided: str
) -> None:
    assert decided_by(small_world, [asked]) == decided


def test_readers_that_see_more_score_more(small_world: tuple[Reader, ...]) -> None:
    test = [question("a", "sure", "man car", "held"), question("b", "open", "man car", "held")]
    test += [question("a", "open", "man dog", "held"), question("b", "open", "man dog", "raised")]
    bounds = upper_bounds(small_world, test)
    assert list(bounds) == ["text", "text + kinds", "text + kinds + arrangement"]
    assert list(bounds.values()) == [75.0, 75.0, 100.0]


@pytest.mark.parametrize("name", WORLDS)
def test_relations_need_the_arrangement_and_types_only_the_kinds(name: str) -> None:
    """On posts of another seed than the readers have read: kinds alone stay clearly below the top."""
    writer = PostWriter(WORLDS[name], generator(100, "bounds"), name_pools(100)["test"], 0.15)
    bounds, decided = {}, {}
    for task, write in (("ner", writer.ner_post), ("re", writer.re_post)):
        posts = [write(number % 5 >= 3) for number in range(1500)]
        every = readers(task, name, 0.6, 0.15, 0.0)
        bounds[task] = upper_bounds(every, [one for post in posts for one in questions(task, post)])
        marks = Counter((post.decided, decided_by(every, questions(task, post))) for post in posts)
        decided[task] = marks
        assert marks[True, TEXT] > 0.97 * 600 and marks[False, TEXT] == 0
        assert sum(count for (_, mark), count in marks.items() if mark == NOTHING) < 0.01 * 1500
    assert bounds["ner"]["text"] < 65 and bounds["ner"]["text + kinds"] > 99
    assert bounds["re"]["text"] < 65 < bounds["re"]["text + kinds"] < 82
    assert bounds["re"]["text + kinds + arrangement"] > 99
    assert decided["re"][False, ARRANGEMENT] > 0.9 * 900 and decided["ner"][False, KINDS] > 0.97 * 900


def test_an_image_that_contradicts_the_text_decides_nothing() -> None:
    """Texts that decide come with images of something else; the mark is by the text alone."""
    writer = PostWriter(WORLDS["news"], generator(1, "x"), name_pools(1)["train"], unrelated=1.0)
    every = readers("re", "news", 0.6, 0.15, 0.0)
    assert {decided_by(every, questions("re", writer.re_post(True))) for _ in range(60)} == {TEXT}
