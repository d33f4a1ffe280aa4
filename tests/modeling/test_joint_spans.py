"""Spans as entities under the CRF, against paths counted one by one."""

from __future__ import annotations

import itertools
import math
from collections.abc import Sequence
from itertools import pairwise

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from promu.modeling.chain import bio_labels
from promu.modeling.crf import LinearChainCrf
from promu.modeling.inventory import Inventory
from promu.modeling.joint_decoding import decode
from promu.modeling.joint_model import gold_labels
from promu.modeling.span_candidates import (
    ALIKE,
    FEWEST,
    LONGEST,
    choose_candidates,
    span_gains,
    span_margins,
    touching_gains,
)


def word_mask(*lengths: int) -> np.ndarray:
    """Texts of so many words, one column at least."""
    return (np.arange(max(1, *lengths)) < np.array(lengths)[:, None]).astype(np.int64)


def normal(*shape: int, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).normal(size=shape)


def crf_of(types: int, seed: int) -> LinearChainCrf:
    crf = LinearChainCrf(bio_labels([f"t{number}" for number in range(types)]))
    generator = torch.Generator().manual_seed(seed)
    for weights in crf.parameters():
        weights.data = torch.randn(weights.shape, generator=generator)
    return crf


@torch.no_grad()
def path_score(crf: LinearChainCrf, emissions: np.ndarray, labels: list[int]) -> float:
    moves = sum(float(crf.transitions[one, other]) for one, other in pairwise(labels))
    emitted = sum(float(emissions[word, label]) for word, label in enumerate(labels))
    return float(crf.start[labels[0]]) + moves + emitted + float(crf.end[labels[-1]])


def path_of(entities: list[tuple[int, int, int]], words: int) -> list[int]:
    labels = [0] * words
    for start, end, kind in entities:
        labels[start:end] = [2 * kind + 1, *[2 * kind + 2] * (end - start - 1)]
    return labels


def test_what_an_entity_gains_is_the_difference_of_two_paths() -> None:
    crf, mask = crf_of(2, 1), word_mask(7, 4)
    emissions = normal(2, 7, 5)
    grid = span_gains(emissions, crf.weights(), mask)
    assert grid.shape == (2, 7, LONGEST, 2)
    for row, words in enumerate((7, 4)):
        nothing = path_score(crf, emissions[row], [0] * words)
        for start, end, kind in itertools.product(range(7), range(1, 8), range(2)):
            if start < end <= words:
                alone = path_score(crf, emissions[row], path_of([(start, end, kind)], words))
                assert float(grid[row, start, end - start - 1, kind]) == pytest.approx(alone - nothing, abs=1e-4)
            elif start < end:
                assert grid[row, start, end - start - 1, kind] == -math.inf


@settings(max_examples=40)
@given(seed=st.integers(0, 10_000), words=st.integers(1, 5), types=st.integers(1, 3))
def test_without_relations_the_best_answer_is_the_crfs_path(seed: int, words: int, types: int) -> None:
    """Spans' gains and those of spans that touch make up the score of every path."""
    crf, mask = crf_of(types, seed), word_mask(words)
    emissions = normal(1, words, 1 + 2 * types, seed=seed) * 2
    grid = span_gains(emissions, crf.weights(), mask)[0]
    spans = [(start, end) for start in range(words) for end in range(start + 1, words + 1)]
    gains = np.array([grid[start, end - start - 1].tolist() for start, end in spans])
    names = [f"t{number}" for number in range(types)]
    inventory = Inventory(tuple((name, "none", name) for name in names))
    unrelated = np.tile([0.0, -1.0], (len(spans), len(spans), 1))
    found = decode(spans, gains, touching_gains(crf.weights()), unrelated, inventory)
    path = path_of([(*spans[candidate], kind) for candidate, kind in found.entities], words)
    assert found.exact and path == crf.weights().decode(emissions, mask)[0]
    over_nothing = path_score(crf, emissions[0], path) - path_score(crf, emissions[0], [0] * words)
    assert found.score == pytest.approx(over_nothing, abs=1e-3)


@settings(max_examples=25)
@given(seed=st.integers(0, 10_000), lengths=st.lists(st.integers(1, 4), min_size=1, max_size=3))
def test_the_best_path_with_an_entity(seed: int, lengths: list[int]) -> None:
    crf, mask = crf_of(2, seed), word_mask(*lengths)
    emissions = normal(*mask.shape, 5, seed=seed)
    margins = span_margins(emissions, crf.weights(), mask)
    for row, words in enumerate(lengths):
        best: dict[tuple[int, int, int], float] = {}
        for labels in itertools.product(range(5), repeat=words):
            entities = entities_of(labels)
            if entities is not None:
                score = path_score(crf, emissions[row], list(labels))
                for entity in entities:
                    best[entity] = max(score, best.get(entity, -math.inf))
        for (start, end, kind), score in best.items():
            assert float(margins[row, start, end - start - 1, kind]) == pytest.approx(score, abs=1e-4)
        assert int(np.isfinite(margins[row]).sum()) == len(best)


def entities_of(labels: Sequence[int]) -> list[tuple[int, int, int]] | None:
    """The entities of a path; None where an I- continues none."""
    found: list[tuple[int, int, int]] = []
    for word, label in enumerate(labels):
        if label and label % 2 == 0:
            if not found or found[-1][1:] != (word, label // 2 - 1):
                return None
            found[-1] = (found[-1][0], word + 1, label // 2 - 1)
        elif label:
            found.append((word, word + 1, label // 2))
    return found


def test_gold_as_labels_of_words() -> None:
    gold = torch.tensor([[[0, 2, 1], [3, 4, 0]], [[1, 2, 0], [-1, -1, -1]]])
    assert gold_labels(gold, 5).tolist() == [[3, 4, 0, 1, 0], [0, 1, 0, 0, 0]]
    assert gold_labels(torch.full((1, 1, 3), -1), 2).tolist() == [[0, 0]]


@settings(max_examples=30)
@given(lengths=st.lists(st.integers(0, 30), min_size=1, max_size=4), seed=st.integers(0, 1000))
def test_candidates_are_the_likeliest_spans(lengths: list[int], seed: int) -> None:
    mask = word_mask(*lengths)
    grid = span_margins(normal(*mask.shape, 5, seed=seed), crf_of(2, seed).weights(), mask)
    spans, kept = choose_candidates(grid, mask)
    for row, length in enumerate(lengths):
        possible = [
            (start, start + size + 1) for start in range(length) for size in range(min(LONGEST, length - start))
        ]
        margins = {span: float(grid[row, span[0], span[1] - span[0] - 1].max()) for span in possible}
        found = [tuple(span) for span in spans[row, kept[row] > 0].tolist()]
        top = max(margins.values(), default=0)
        on_best = {span for span in possible if margins[span] > top - ALIKE}
        wanted = max(FEWEST, math.ceil(length / 2), len(on_best))
        assert found == sorted(set(found)) and len(found) == min(len(possible), wanted) and on_best <= set(found)
        # the spans of one path are equally likely, the earlier being taken first
        others = [margin for span, margin in margins.items() if span not in found]
        assert min((margins[span] for span in found), default=0) >= max(others, default=-math.inf) - 0.05  # type: ignore[index]
