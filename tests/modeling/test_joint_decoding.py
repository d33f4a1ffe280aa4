"""The best legal answer of a joint model, against all answers there are."""

from __future__ import annotations

import itertools
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from promu.modeling.inventory import Inventory
from promu.modeling.joint_decoding import Decoded, heaviest
from promu.modeling.joint_decoding import decode as decode_touching

INVENTORY = Inventory((("org", "part_of", "org"), ("per", "member_of", "org"), ("per", "peer", "per")))
ORG, PER = 0, 1
MEMBER, PART, PEER = 0, 1, 2
FITS = {(PER, MEMBER, ORG), (ORG, PART, ORG), (PER, PEER, PER)}


ALIKE = np.zeros((2, 2, 2))
"""Entities that touch are worth as much as others."""


def decode(spans: Any, entities: Any, relations: Any, inventory: Inventory, width: int = 1024) -> Decoded:
    return decode_touching(spans, entities, ALIKE, over_none(relations), inventory, width)


def over_none(relations: Any) -> Any:
    """Scores where `None` has 0."""
    return np.concatenate([np.zeros((*relations.shape[:2], 1)), relations], axis=2)


def gains(entities: list[list[float]], relations: dict[tuple[int, int, int], float]) -> tuple[Any, Any]:
    """Gains of entities, and of the relations named (head, tail, relation); the others lose."""
    found = np.full((len(entities), len(entities), 3), -5.0)
    for place, gain in relations.items():
        found[place] = gain
    return np.array(entities, dtype=float), found


def touch(spans: list[tuple[int, int]], types: Any, touching: Any) -> float:
    """What the entities that touch gain or lose by it."""
    return sum(
        touching[int(spans[i][1] - spans[i][0] > 1), types[i], types[j]]
        for i, j in itertools.permutations([i for i in range(len(spans)) if types[i] >= 0], 2)
        if spans[i][1] == spans[j][0]
    )


def said(chosen: Any, named: Any, scores: Any) -> float:
    """The scores of what is said of all ordered pairs of entities."""
    relation = {(head, tail): 1 + name for head, tail, name in named}
    return sum(scores[i, j, relation.get((i, j), 0)] for i, j in itertools.permutations(chosen, 2))


def every_answer(spans: list[tuple[int, int]], entities: Any, touching: Any, relations: Any) -> Any:
    """All legal answers with their scores, one by one: (types, relations by pair, score)."""
    count = len(spans)
    for types in itertools.product((-1, ORG, PER), repeat=count):
        chosen = [i for i in range(count) if types[i] >= 0]
        pairs = list(itertools.combinations(chosen, 2))
        if any(spans[i][0] < spans[j][1] and spans[j][0] < spans[i][1] for i, j in pairs):
            continue
        choices = []
        for i, j in pairs:
            both = [(i, j, r) for r in range(3)] + [(j, i, r) for r in range(3)]
            choices.append([None, *(one for one in both if (types[one[0]], one[2], types[one[1]]) in FITS)])
        for picked in itertools.product(*choices):
            named = [one for one in picked if one is not None]
            score = sum(entities[i, types[i]] for i in chosen) + said(chosen, named, relations)
            yield types, named, score + touch(spans, types, touching)


def test_the_example_that_a_reader_can_follow() -> None:
    # "Ann" is surely a person; "Reds" is rather no entity, but an organization that Ann is a member of gains 2 - 1
    entities, relations = gains([[-3, 4], [-1, -2]], {(0, 1, MEMBER): 2.0, (1, 0, PEER): 3.5})
    found = decode([(0, 1), (2, 3)], entities, relations, INVENTORY)
    # ... and as a person whose peer is Ann it gains 3.5 - 2
    assert found.entities == ((0, PER), (1, PER)) and found.relations == ((1, 0, PEER),)
    assert found.score == pytest.approx(4 - 2 + 3.5) and found.exact


def test_a_relation_that_fits_no_types_is_not_chosen_however_sure() -> None:
    entities, relations = gains([[5, -9], [5, -9]], {(0, 1, MEMBER): 6.0, (1, 0, PEER): 6.0})
    found = decode([(0, 1), (1, 2)], entities, relations, INVENTORY)
    assert found.entities == ((0, ORG), (1, ORG)) and found.relations == ()


def test_types_that_forbid_the_likelier_relation_cost_what_it_is_worth() -> None:
    # "Reds" is rather an organization (2 against 1), but as one it cannot be Ann's peer: that would cost 3
    entities, scores = np.array([[-9.0, 5.0], [2.0, 1.0]]), np.full((2, 2, 4), -9.0)
    scores[0, 1, 1 + PEER], scores[0, 1, 0], scores[1, 0, 0] = 0.0, -3.0, 0.0
    found = decode_touching([(0, 1), (2, 3)], entities, ALIKE, scores, INVENTORY)
    assert found.entities == ((0, PER), (1, PER)) and found.relations == ((0, 1, PEER),)
    assert found.score == pytest.approx(5 + 1)
    scores[0, 1, 0] = -0.5
    found = decode_touching([(0, 1), (2, 3)], entities, ALIKE, scores, INVENTORY)
    assert (
        found.entities == ((0, PER), (1, ORG)) and found.relations == () and found.score == pytest.approx(5 + 2 - 0.5)
    )


def test_of_names_that_overlap_the_one_whose_relations_are_worth_more() -> None:
    entities, relations = gains([[3, -9], [2, -9], [-9, 1]], {(2, 1, MEMBER): 1.5, (2, 0, MEMBER): 0.1})
    found = decode([(0, 2), (1, 2), (4, 5)], entities, relations, INVENTORY)
    assert found.entities == ((1, ORG), (2, PER)) and found.relations == ((2, 1, MEMBER),)
    assert found.score == pytest.approx(4.5)


def test_one_relation_a_pair_in_the_better_direction() -> None:
    entities, relations = gains([[-9, 2], [-9, 2]], {(0, 1, PEER): 1.0, (1, 0, PEER): 1.25})
    assert decode([(0, 1), (1, 2)], entities, relations, INVENTORY).relations == ((1, 0, PEER),)


def test_names_that_touch() -> None:
    entities, relations = gains([[2, -9], [2, -9], [2, -9]], {})
    touching = np.zeros((2, 2, 2))
    touching[0, ORG, ORG] = -3  # after a name of one word
    spans = [(0, 1), (1, 3), (3, 4)]
    found = decode_touching(spans, entities, touching, over_none(relations), INVENTORY)
    assert found.entities in (((0, ORG), (2, ORG)), ((1, ORG), (2, ORG))) and found.score == pytest.approx(4)
    touching[1, ORG, ORG] = 1  # after a longer one
    found = decode_touching(spans, entities, touching, over_none(relations), INVENTORY)
    assert found.entities == ((1, ORG), (2, ORG)) and found.score == pytest.approx(5)


def test_nothing_to_find() -> None:
    for count in (0, 1, 3):
        entities, relations = gains([[-1.0, -2.0]] * count, {})
        spans = [(i, i + 1) for i in range(count)]
        found = decode(spans, entities.reshape(count, 2), relations, INVENTORY)
        assert found.entities == () and found.relations == () and found.score == 0 and found.exact


def drawn(seed: int, count: int, words: int) -> tuple[list[tuple[int, int]], Any, Any]:
    rng = np.random.default_rng(seed)
    possible = [(start, end) for start in range(words) for end in range(start + 1, min(words, start + 3) + 1)]
    places = rng.permutation(len(possible))[:count]
    spans = [possible[place] for place in places]
    return spans, rng.normal(-0.5, 2, (len(spans), 2)), rng.normal(-1.0, 2, (len(spans), len(spans), 4))


@settings(max_examples=60)
@given(seed=st.integers(0, 2**32 - 1), count=st.integers(1, 4), words=st.integers(2, 7))
def test_no_legal_answer_is_better(seed: int, count: int, words: int) -> None:
    spans, entities, relations = drawn(seed, count, words)
    touching = np.random.default_rng(seed).normal(0, 2, (2, 2, 2))
    found = decode_touching(spans, entities, touching, relations, INVENTORY)
    best = max(every_answer(spans, entities, touching, relations), key=lambda answer: answer[2])
    assert found.exact and found.score == pytest.approx(best[2])
    types = [-1] * len(spans)
    for candidate, kind in found.entities:
        types[candidate] = kind
    assert tuple(types) == best[0] and set(found.relations) == set(best[1])


@settings(max_examples=60)
@given(
    seed=st.integers(0, 2**32 - 1), count=st.integers(1, 14), words=st.integers(1, 12), width=st.sampled_from([1, 1024])
)
def test_an_answer_obeys_the_rules_and_has_the_score_it_says(seed: int, count: int, words: int, width: int) -> None:
    spans, entities, relations = drawn(seed, count, words)
    touching = np.random.default_rng(seed).normal(0, 2, (2, 2, 2))
    found = decode_touching(spans, entities, touching, relations, INVENTORY, width)
    types = dict(found.entities)
    assert len(types) == len(found.entities)
    for i, j in itertools.combinations(types, 2):
        assert spans[i][1] <= spans[j][0] or spans[j][1] <= spans[i][0]
    assert all((types[head], name, types[tail]) in FITS for head, tail, name in found.relations)
    assert len({frozenset((head, tail)) for head, tail, _ in found.relations}) == len(found.relations)
    score = sum(entities[i, a] for i, a in found.entities) + said(types, found.relations, relations)
    score += touch(spans, [types.get(i, -1) for i in range(len(spans))], touching)
    assert found.score == pytest.approx(score) and found.score >= 0


@given(seed=st.integers(0, 10_000), count=st.integers(0, 7))
def test_the_heaviest_spans_that_do_not_overlap(seed: int, count: int) -> None:
    spans, _, _ = drawn(seed, count, 6)
    weights = np.abs(np.random.default_rng(seed).normal(size=(3, len(spans))))
    best = np.zeros(3)
    for size in range(1, len(spans) + 1):
        for chosen in itertools.combinations(range(len(spans)), size):
            if all(
                spans[i][1] <= spans[j][0] or spans[j][1] <= spans[i][0] for i, j in itertools.combinations(chosen, 2)
            ):
                best = np.maximum(best, weights[:, list(chosen)].sum(1))
    assert heaviest(weights, np.array(spans).reshape(-1, 2)) == pytest.approx(best)


def test_a_narrow_search_says_that_it_may_have_missed_something() -> None:
    wide, narrow = [], []
    for seed in range(60):
        spans, entities, relations = drawn(seed, 9, 24)
        wide.append(decode_touching(spans, entities, ALIKE, relations, INVENTORY))
        narrow.append(decode_touching(spans, entities, ALIKE, relations, INVENTORY, width=2))
    assert all(found.exact for found in wide)
    assert any(not found.exact for found in narrow)
    for one, other in zip(narrow, wide, strict=True):
        assert one.score <= other.score + 1e-9
        if one.exact:
            assert one.score == pytest.approx(other.score)
    assert any(one.score < other.score - 1e-6 for one, other in zip(narrow, wide, strict=True))
