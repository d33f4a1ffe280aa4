"""Windows over long texts: no word is left out, and what windows say is put together in one way only."""

from __future__ import annotations

import random
from collections.abc import Sequence
from itertools import pairwise

from hypothesis import given
from hypothesis import strategies as st

from promu.modeling.inputs import WordEncoder, add_entity_markers
from promu.schema import Entity, Post, Relation
from promu.tasks.windows import (
    Found,
    Home,
    Window,
    batches_of_windows,
    merge_answers,
    merge_entities,
    part_of,
    too_long,
    windows_of,
    windows_over,
)
from promu.training.tokenizers import train_wordpiece

SIZES = st.lists(st.integers(1, 12), min_size=1, max_size=60)


@given(sizes=SIZES, room=st.integers(1, 20), stride=st.floats(0.1, 1.0), data=st.data())
def test_every_word_is_in_a_window_that_the_model_takes(
    sizes: list[int], room: int, stride: float, data: st.DataObject
) -> None:
    starts = sorted(data.draw(st.sets(st.integers(1, len(sizes)))))
    windows = windows_over(sizes, room, stride, starts)
    assert windows[0].start == 0 and windows[-1].end == len(sizes)
    assert {word for one in windows for word in range(*one)} == set(range(len(sizes)))
    for one, following in pairwise(windows):
        assert one.start < following.start <= one.end < following.end
    for one in windows:
        assert sum(sizes[one.start : one.end]) <= room or one.end - one.start == 1, "a word longer than the window"
    if sum(sizes) <= room:
        assert windows == [(0, len(sizes))]


@given(count=st.integers(1, 300), room=st.integers(1, 40), stride=st.floats(0.1, 1.0))
def test_words_that_lie_no_further_apart_than_the_overlap_share_a_window(count: int, room: int, stride: float) -> None:
    windows = windows_over([1] * count, room, stride)
    shared = room - max(1, int(stride * room))
    for start in range(count):
        end = min(count, start + shared)
        assert any(one.holds(start, end) for one in windows) or end == start
    assert len(windows) <= 2 + count / max(1, int(stride * room)), "each moves on by a stride"


def test_windows_by_hand() -> None:
    assert windows_over([1] * 10, 4, 1.0) == [(0, 4), (4, 8), (6, 10)], "the last one is filled up"
    assert windows_over([1, 9, 1, 1], 4, 0.5) == [(0, 1), (1, 2), (2, 4)], "a word without room is alone"
    assert windows_over([9], 4, 0.5) == [(0, 1)]
    # a sentence begins at 7: nearer than the stride of 10 words, but not by half
    assert windows_over([1] * 60, 20, 0.5, starts=[3, 7])[:2] == [(0, 20), (7, 27)]
    assert windows_over([1] * 60, 20, 0.5, starts=[3])[:2] == [(0, 20), (10, 30)]


def test_pieces_fill_windows_and_a_window_begins_with_a_sentence() -> None:
    tokenizer = train_wordpiece(["a b c !"], 300, min_frequency=1)
    add_entity_markers(tokenizer)
    encoder = WordEncoder(tokenizer, 12)
    words = ("a", "b", "c", "!") * 6
    assert {len(encoder.pieces(word)) for word in words} == {1}
    assert windows_of(encoder, words, 0.5)[:3] == [(0, 10), (4, 14), (8, 18)]
    assert windows_of(encoder, words[:10], 0.5) == [(0, 10)]
    for window in windows_of(encoder, words, 0.5):
        assert len(encoder.words(words[window.start : window.end]).positions) == window.end - window.start
    assert too_long(encoder, ["a", "a" * 11, "b"]) == ["a" * 11]


def test_batches_hold_so_many_windows() -> None:
    assert list(batches_of_windows([5, 3, 4, 90, 80], [1, 1, 1, 9, 2], 4)) == [[1, 2, 0], [4], [3]]
    assert list(batches_of_windows([3, 1, 2], [1, 1, 1], 2)) == [[1, 2], [0]]
    assert list(batches_of_windows([], [], 2)) == []


ENTITIES = st.builds(
    lambda start, length, kind, score, cut, window, number: Found(
        Entity(start, start + length, kind, score), cut, window, number
    ),
    st.integers(0, 20),
    st.integers(1, 4),
    st.sampled_from(["PER", "LOC"]),
    st.sampled_from([0.2, 0.5, 0.9]),
    st.booleans(),
    st.integers(0, 3),
    st.integers(0, 3),
)


@given(found=st.lists(ENTITIES, max_size=25), chance=st.randoms(use_true_random=False))
def test_merging_asks_neither_the_order_nor_how_often(found: list[Found], chance: random.Random) -> None:
    merged = merge_entities(found)
    assert merge_entities(merged) == merged
    chance.shuffle(found)
    assert merge_entities(found) == merged
    for one, following in pairwise(merged):
        assert one.entity.end <= following.entity.start
    for one in found:  # what is left out overlaps something better
        better = [other for other in merged if other.rank() <= one.rank()]
        assert any(b.entity.start < one.entity.end and one.entity.start < b.entity.end for b in better)


def test_a_name_cut_at_an_edge_loses_against_the_whole_one() -> None:
    words = tuple("abcdefgh")
    post = Post("1", words, "a.png", contexts={"caption": "x"})
    windows = [Window(0, 5), Window(3, 8)]
    parts = [part_of(post, window) for window in windows]
    assert [part.tokens for part in parts] == [words[:5], words[3:]] and parts[1].contexts == {"caption": "x"}
    assert parts[1].image == "a.png" and part_of(post, Window(0, 8)) is post
    first = Post("1", words[:5], None, (Entity(0, 1, "PER", 0.6), Entity(4, 5, "LOC", 0.99)))
    second = Post("1", words[3:], None, (Entity(1, 3, "LOC", 0.4), Entity(4, 5, "PER", 0.7)))
    merged = merge_answers(post, windows, [first, second])
    assert merged.post.entities == (Entity(0, 1, "PER", 0.6), Entity(4, 6, "LOC", 0.4), Entity(7, 8, "PER", 0.7))
    assert merged.entities == [(0, 0), (1, 0), (1, 1)] and merged.post.relations == ()
    # where no window has more of it, what is cut stays
    alone = merge_answers(post, windows, [first, Post("1", words[3:])])
    assert alone.post.entities == (Entity(0, 1, "PER", 0.6), Entity(4, 5, "LOC", 0.99))


def test_a_relation_goes_with_its_ends() -> None:
    words, windows = tuple("abcdefgh"), [Window(0, 5), Window(3, 8)]
    post = Post("1", words)
    first = Post(
        "1",
        words[:5],
        None,
        (Entity(0, 1, "PER", 0.6), Entity(3, 4, "PER", 0.6), Entity(4, 5, "LOC", 0.9)),
        (Relation(0, 2, "in", 0.3), Relation(1, 2, "near", 0.2)),
    )

    def merged(second: Post) -> list[tuple[int, int, str, float | None]]:
        found = merge_answers(post, windows, [first, second])
        assert [(first, second)[window].relations[number].type for window, number in found.relations] == [
            one.type for one in found.post.relations
        ]
        return [(one.head, one.tail, one.type, one.score) for one in found.post.relations]

    longer = Entity(1, 3, "LOC", 0.4)
    assert merged(Post("1", words[3:], None, (longer,))) == [(0, 2, "in", 0.3), (1, 2, "near", 0.2)]
    other = Entity(1, 3, "ORG", 0.4)  # of another type: nothing is known of that
    assert merged(Post("1", words[3:], None, (other,))) == []
    surer = Post("1", words[3:], None, (Entity(0, 1, "PER", 0.5), longer), (Relation(1, 0, "home of", 0.8),))
    assert merged(surer) == [(0, 2, "in", 0.3), (2, 1, "home of", 0.8)]


def _margins(windows: Sequence[Window], start: int, end: int, count: int) -> list[int]:
    return [
        min(start - one.start if one.start else count, one.end - end if one.end < count else count)
        if one.holds(start, end)
        else -1
        for one in windows
    ]


@given(count=st.integers(2, 80), room=st.integers(2, 20), data=st.data())
def test_a_pair_is_asked_about_where_it_has_most_context(count: int, room: int, data: st.DataObject) -> None:
    windows = windows_over([1] * count, room, 0.5)
    start = data.draw(st.integers(0, count - 1))
    end = data.draw(st.integers(start + 1, count))
    margins = _margins(windows, start, end, count)
    place = Home(windows, count).of(start, end)
    assert place == (None if max(margins) < 0 else margins.index(max(margins)))
