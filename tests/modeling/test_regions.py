"""The geometry of Eq 7: which patches lie under a box."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from promu.modeling.losses import patch_coverage, pool_regions


def test_coverage_by_hand() -> None:
    # 2 x 2 patches; the box spans x 0.25..1 and y 0..0.5: half of the first patch, all of the second, none below
    coverage = patch_coverage(torch.tensor([[[0.25, 0.0, 1.0, 0.5]]]), grid=2)
    assert coverage.tolist() == [[[0.5, 1.0, 0.0, 0.0]]]
    # a quarter of every patch
    centre = patch_coverage(torch.tensor([[[0.25, 0.25, 0.75, 0.75]]]), grid=2)
    assert centre.tolist() == [[[0.25, 0.25, 0.25, 0.25]]]


def test_patches_are_row_major_like_the_encoders() -> None:
    below_left = patch_coverage(torch.tensor([[[0.0, 0.5, 0.5, 1.0]]]), grid=2)
    assert below_left.tolist() == [[[0.0, 0.0, 1.0, 0.0]]]


corner = st.floats(0, 1, width=32)


@given(x=st.tuples(corner, corner), y=st.tuples(corner, corner), grid=st.integers(1, 14))
def test_coverage_sums_to_the_area(x: tuple[float, float], y: tuple[float, float], grid: int) -> None:
    box = [min(x), min(y), max(x), max(y)]
    coverage = patch_coverage(torch.tensor([[box]]), grid)
    area = (box[2] - box[0]) * (box[3] - box[1])
    assert float(coverage.sum()) / grid**2 == pytest.approx(area, abs=1e-4)
    assert float(coverage.min()) >= 0 and float(coverage.max()) <= 1 + 1e-4


def test_parts_of_a_box_outside_the_image_do_not_count() -> None:
    inside = patch_coverage(torch.tensor([[[0.0, 0.0, 0.5, 1.0]]]), grid=4)
    over = patch_coverage(torch.tensor([[[-3.0, -0.5, 0.5, 2.0]]]), grid=4)
    torch.testing.assert_close(inside, over)


def test_pooling_is_the_coverage_weighted_mean() -> None:
    patches = torch.tensor([[[1.0, 10.0], [2.0, 20.0], [3.0, 30.0], [4.0, 40.0]]])
    boxes = torch.tensor([[[0.25, 0.0, 1.0, 0.5], [0.0, 0.0, 1.0, 1.0]]])
    # (0.5 * 1 + 1 * 2) / 1.5
    torch.testing.assert_close(
        pool_regions(patches, patch_coverage(boxes, 2)), torch.tensor([[[5 / 3, 50 / 3], [2.5, 25.0]]])
    )


@given(x=st.tuples(corner, corner), y=st.tuples(corner, corner))
def test_constant_patches_pool_to_their_constant(x: tuple[float, float], y: tuple[float, float]) -> None:
    if abs(x[0] - x[1]) < 0.01 or abs(y[0] - y[1]) < 0.01:
        return
    boxes = torch.tensor([[[min(x), min(y), max(x), max(y)]]])
    pooled = pool_regions(torch.full((1, 49, 3), 7.0), patch_coverage(boxes, 7))
    torch.testing.assert_close(pooled, torch.full((1, 1, 3), 7.0))


@pytest.mark.parametrize("box", [(1.2, 0.1, 1.9, 0.4), (0.3, 0.3, 0.3, 0.9), (0.0, 0.0, 0.0, 0.0)])
def test_a_box_that_covers_nothing_gives_zeros(box: tuple[float, float, float, float]) -> None:
    pooled = pool_regions(torch.randn(1, 16, 5), patch_coverage(torch.tensor([[box]]), 4))
    assert not pooled.any() and pooled.isfinite().all()


def test_every_image_is_pooled_with_its_own_boxes() -> None:
    patches = torch.stack([torch.full((4, 1), 1.0), torch.full((4, 1), 2.0)])
    boxes = torch.tensor([[[0.0, 0.0, 0.5, 0.5]] * 2, [[0.5, 0.5, 1.0, 1.0]] * 2])
    assert pool_regions(patches, patch_coverage(boxes, 2)).squeeze(-1).tolist() == [[1.0, 1.0], [2.0, 2.0]]
