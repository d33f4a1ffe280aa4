"""Views: a box must enclose the same pixels before and after, whatever the crop, the flip and the operations."""

from __future__ import annotations

from itertools import pairwise

import numpy as np
import pytest
import torch
from PIL import Image

from promu.training.views import GEOMETRIC, LEFT_THE_VIEW, OPERATIONS, WHOLE, View, move_boxes, random_view, show

SIZE = 64


def painted(box: np.ndarray) -> Image.Image:
    """A black image with a white rectangle; the box's edges lie between pixels."""
    pixels = np.zeros((SIZE, SIZE, 3), dtype=np.uint8)
    x0, y0, x1, y1 = (box * SIZE).round().astype(int)
    pixels[y0:y1, x0:x1] = 255
    return Image.fromarray(pixels)


def random_box(chance: np.random.Generator) -> np.ndarray:
    start = chance.integers(0, SIZE - 24, 2)
    return np.concatenate([start, start + chance.integers(12, 24, 2)]).astype(np.float32) / SIZE


def bounds(pixels: torch.Tensor) -> list[int]:
    rows, columns = torch.nonzero(pixels[1] > 180, as_tuple=True)
    return [int(columns.min()), int(rows.min()), int(columns.max()) + 1, int(rows.max()) + 1]


def test_a_box_encloses_the_same_pixels_in_every_view() -> None:
    seen, changed = 0, 0.0
    for seed in range(200):
        chance = np.random.default_rng(seed)
        box = random_box(chance)
        view = random_view(chance, smallest=0.3)
        pixels = show(painted(box), view, SIZE)
        assert pixels.shape == (3, SIZE, SIZE) and pixels.dtype == torch.uint8
        moved, kept = move_boxes(box[None], view)
        if not kept[0]:
            continue
        seen += 1
        changed += float(np.abs(moved[0] - box).max() > 0.02)
        assert (moved[0] * SIZE).tolist() == pytest.approx(bounds(pixels), abs=1.3), f"seed {seed}"
    assert seen > 100 and changed > 0.9 * seen


@pytest.mark.parametrize("name", GEOMETRIC)
@pytest.mark.parametrize("strength", [-0.5, 0.5])
def test_a_box_follows_each_geometric_operation(name: str, strength: float) -> None:
    view = View(operations=((name, strength),))
    for seed in range(20):
        box = np.array([0.35, 0.4, 0.6, 0.55], dtype=np.float32) + np.random.default_rng(seed).uniform(-0.1, 0.1)
        pixels = show(painted(box), view, SIZE)
        moved, kept = move_boxes(box[None], view)
        assert kept[0]
        # the upright box around what was turned: on each side at most a pixel or so of slack at its blunt corners
        assert (moved[0] * SIZE).tolist() == pytest.approx(bounds(pixels), abs=2.6)
        assert np.abs(moved[0] - box).max() > 0.01, "nothing moved: nothing was tested"


@pytest.mark.parametrize("name", sorted(set(OPERATIONS) - set(GEOMETRIC)))
def test_colours_change_and_boxes_stay(name: str) -> None:
    values = np.random.default_rng(0).integers(20, 200, (SIZE, SIZE, 3), dtype=np.uint8)
    view = View(operations=((name, 0.8),))
    pixels = show(Image.fromarray(values), view, SIZE)
    assert not torch.equal(pixels, show(Image.fromarray(values), WHOLE, SIZE))
    box = np.array([[0.2, 0.2, 0.6, 0.7]], dtype=np.float32)
    assert np.array_equal(move_boxes(box, view)[0], box)


def move(
    box: tuple[float, ...], origin: tuple[float, float], size: tuple[float, float], flip: bool
) -> tuple[list[float], bool]:
    moved, kept = move_boxes(np.array([box], dtype=np.float32), View(origin, size, flip))
    return moved[0].tolist(), bool(kept[0])


@pytest.mark.parametrize(
    ("origin", "size", "flip", "expected"),
    [
        ((0.0, 0.0), (1.0, 1.0), False, (0.2, 0.4, 0.6, 0.6)),
        ((0.0, 0.0), (1.0, 1.0), True, (0.4, 0.4, 0.8, 0.6)),
        ((0.2, 0.2), (0.8, 0.4), False, (0.0, 0.5, 0.5, 1.0)),
        ((0.2, 0.2), (0.8, 0.4), True, (0.5, 0.5, 1.0, 1.0)),
        ((0.4, 0.0), (0.5, 1.0), False, (0.0, 0.4, 0.4, 0.6)),  # its left half is cut off
        ((0.4, 0.0), (0.5, 1.0), True, (0.6, 0.4, 1.0, 0.6)),
    ],
)
def test_boxes_moved_by_hand(
    origin: tuple[float, float], size: tuple[float, float], flip: bool, expected: tuple[float, ...]
) -> None:
    moved, kept = move((0.2, 0.4, 0.6, 0.6), origin, size, flip)
    assert kept and moved == pytest.approx(expected, abs=1e-6)


@pytest.mark.parametrize(("left", "kept"), [(0.29, True), (0.31, False), (0.4, False), (0.5, False)])
def test_a_box_counts_as_gone_below_a_quarter(left: float, kept: bool) -> None:
    # the box spans x 0..0.4; a view from 0.29 on still shows 0.11 of it, more than a quarter
    assert LEFT_THE_VIEW == 0.25
    assert move((0.0, 0.2, 0.4, 0.6), (left, 0.0), (0.5, 1.0), flip=False)[1] is kept


def test_no_crop_gives_the_image_back() -> None:
    box = random_box(np.random.default_rng(3))
    view = random_view(np.random.default_rng(0), smallest=1.0)
    assert view == WHOLE
    assert torch.equal(show(painted(box), view, SIZE), torch.from_numpy(np.array(painted(box))).permute(2, 0, 1))
    moved, kept = move_boxes(box[None], view)
    assert np.array_equal(moved[0], box) and kept.all()


def test_a_image_without_boxes_has_none_in_its_view() -> None:
    moved, kept = move_boxes(np.zeros((0, 4), dtype=np.float32), View((0.1, 0.1), (0.5, 0.5), True, (("rotate", 0.5),)))
    assert moved.shape == (0, 4) and kept.shape == (0,)


def test_views_are_cut_and_flipped_as_often_as_they_should() -> None:
    views = [random_view(np.random.default_rng(seed), smallest=0.3) for seed in range(400)]
    assert 0.4 < np.mean([view.flip for view in views]) < 0.6
    areas = sorted(view.size[0] * view.size[1] for view in views)
    assert areas[0] >= 0.3 * 0.8 and areas[-1] > 0.95, "clamping to the image cuts a little off"
    assert max(b - a for a, b in pairwise(areas)) < 0.05
    assert all(o >= 0 and o + s <= 1 + 1e-9 for view in views for o, s in zip(view.origin, view.size, strict=True))


def test_operations_are_as_many_as_asked_for_and_of_both_signs() -> None:
    views = [random_view(np.random.default_rng(seed), 0.5, operations=2, magnitude=0.4) for seed in range(200)]
    assert all(len(view.operations) == 2 for view in views)
    assert {name for view in views for name, _ in view.operations} == set(OPERATIONS)
    assert {strength for view in views for _, strength in view.operations} == {-0.4, 0.4}
    for view in views[:20]:
        assert show(painted(random_box(np.random.default_rng(0))), view, 32).shape == (3, 32, 32)


def test_a_large_image_is_averaged_not_sampled() -> None:
    """Stripes finer than the view turn grey; sampled they would stay black and white."""
    stripes = np.zeros((256, 256, 3), dtype=np.uint8)
    stripes[:, ::2] = 255
    pixels = show(Image.fromarray(stripes), View((0.0, 0.0), (0.9, 0.9)), 32)
    assert int(pixels.min()) > 90 and int(pixels.max()) < 165
