"""Figures of representations on the sphere, against numbers worked out by hand."""

from __future__ import annotations

import math

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from promu.study.embeddings import alignment, nearest_agreement, nearest_is_own, uniformity


def test_alignment_is_the_mean_squared_distance_of_pairs() -> None:
    first = torch.tensor([[2.0, 0.0], [0.0, 3.0]])
    second = torch.tensor([[1.0, 0.0], [5.0, 0.0]])  # the same direction; a right angle
    assert alignment(first, second) == pytest.approx((0.0 + 2.0) / 2)
    assert alignment(first, -first) == pytest.approx(4.0)


def test_uniformity_of_two_opposite_points_and_of_one_place() -> None:
    assert uniformity(torch.tensor([[1.0, 0.0], [-7.0, 0.0]])) == pytest.approx(-8.0)
    assert uniformity(torch.ones(5, 3)) == pytest.approx(0.0, abs=1e-6)
    right_angles = torch.eye(3)
    assert uniformity(right_angles) == pytest.approx(math.log(math.exp(-4.0)))


def test_neighbours_are_others_and_agree_by_label() -> None:
    vectors = torch.tensor([[1.0, 0.0], [1.0, 0.1], [0.0, 1.0], [0.1, 1.0]])
    labels = torch.tensor([0, 0, 1, 1])
    assert nearest_agreement(vectors, labels, neighbours=1) == 1.0
    assert nearest_agreement(vectors, torch.tensor([0, 1, 0, 1]), neighbours=1) == 0.0
    # of the three others one has the label, however many are asked for
    assert nearest_agreement(vectors, labels, neighbours=10) == pytest.approx(1 / 3)


def test_the_nearest_prototype() -> None:
    vectors = torch.tensor([[3.0, 0.1], [0.1, 1.0], [1.0, 0.2]])
    assert nearest_is_own(vectors, torch.eye(2), torch.tensor([0, 1, 1])) == pytest.approx(2 / 3)


@given(st.integers(2, 12), st.integers(0, 1000))
def test_length_of_vectors_says_nothing(rows: int, seed: int) -> None:
    chance = torch.Generator().manual_seed(seed)
    vectors, scale = torch.randn(rows, 4, generator=chance), torch.rand(rows, 1, generator=chance) + 0.5
    assert uniformity(vectors * scale) == pytest.approx(uniformity(vectors), abs=1e-4)
    assert 0.0 <= alignment(vectors, vectors.flip(0)) <= 4.0 + 1e-5
