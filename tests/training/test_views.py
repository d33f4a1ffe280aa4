"""Views: a box must enclose the same pixels before and after, whatever the crop, the flip and the colours."""

from __future__ import annotations

from dataclasses import replace
from itertools import pairwise

import numpy as np
import pytest
import torch
from PIL import Image

from promu.training.recipe import ViewSettings
from promu.training.views import LEFT_THE_VIEW, WHOLE, View, move_boxes, random_view, show

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
        view = random_view(chance, ViewSettings(crop=0.3))
        pixels = show(painted(box), view, SIZE)
        assert pixels.shape == (3, SIZE, SIZE) and pixels.dtype == torch.uint8
        moved, kept = move_boxes(box[None], view)
        if not kept[0]:
            continue
        seen += 1
        changed += float(np.abs(moved[0] - box).max() > 0.02)
        assert (moved[0] * SIZE).tolist() == pytest.approx(bounds(pixels), abs=1.3), f"seed {seed}"
    assert seen > 100 and changed > 0.9 * seen


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


@pytest.mark.parametrize(
    ("flip", "expected"),
    [(False, (0.0, 0.0, 0.5, 1.0)), (True, (0.5, 0.0, 1.0, 1.0))],
)
def test_a_box_is_clipped_to_the_crop_before_it_is_scaled_and_mirrored(flip: bool, expected: tuple[float, ...]) -> None:
    """The view shows x .2 to .6 and y .5 to .7; of a box from 0 to .4 and .1 to .9 the part .2 to .4 is left."""
    moved, kept = move((0.0, 0.1, 0.4, 0.9), (0.2, 0.5), (0.4, 0.2), flip)
    assert moved == pytest.approx(expected, abs=1e-6)
    assert not kept, ".2 x .2 of .4 x .8 is an eighth of it"
    outside, kept = move((0.7, 0.1, 0.9, 0.4), (0.2, 0.5), (0.4, 0.2), flip)
    assert not kept and outside[0] == outside[2] and outside[1] == outside[3] == 0, "nothing of it lies in the view"


def test_no_crop_gives_the_image_back() -> None:
    box = random_box(np.random.default_rng(3))
    view = random_view(np.random.default_rng(0), ViewSettings(crop=1.0))
    assert view == WHOLE
    assert torch.equal(show(painted(box), view, SIZE), torch.from_numpy(np.array(painted(box))).permute(2, 0, 1))
    moved, kept = move_boxes(box[None], view)
    assert np.array_equal(moved[0], box) and kept.all()


def test_a_image_without_boxes_has_none_in_its_view() -> None:
    moved, kept = move_boxes(np.zeros((0, 4), dtype=np.float32), View((0.1, 0.1), (0.5, 0.5), True))
    assert moved.shape == (0, 4) and kept.shape == (0,)


def test_views_are_cut_and_flipped_as_often_as_they_should() -> None:
    views = [random_view(np.random.default_rng(seed), ViewSettings(crop=0.3)) for seed in range(400)]
    assert 0.4 < np.mean([view.flip for view in views]) < 0.6
    areas = sorted(view.size[0] * view.size[1] for view in views)
    assert areas[0] >= 0.3 * 0.8 and areas[-1] > 0.95, "clamping to the image cuts a little off"
    assert max(b - a for a, b in pairwise(areas)) < 0.05
    assert all(o >= 0 and o + s <= 1 + 1e-9 for view in views for o, s in zip(view.origin, view.size, strict=True))


def test_brightness_and_contrast_change_as_far_as_allowed_and_boxes_stay() -> None:
    views = [random_view(np.random.default_rng(seed), ViewSettings(crop=1.0, jitter=0.3)) for seed in range(200)]
    for name in ("brightness", "contrast"):
        factors = sorted(getattr(view, name) for view in views)
        assert 0.7 <= factors[0] < 0.72 and 1.28 < factors[-1] <= 1.3
    values = np.random.default_rng(0).integers(20, 200, (SIZE, SIZE, 3), dtype=np.uint8)
    plain = show(Image.fromarray(values), WHOLE, SIZE).float()
    brighter = show(Image.fromarray(values), View(brightness=1.25), SIZE).float()
    assert torch.allclose(brighter, plain * 1.25, atol=1)
    sharper = show(Image.fromarray(values), View(contrast=1.25), SIZE).float()
    assert float(sharper.std()) == pytest.approx(1.25 * float(plain.std()), rel=0.02)
    assert abs(float(sharper.mean() - plain.mean())) < 2
    box = np.array([[0.2, 0.2, 0.6, 0.7]], dtype=np.float32)
    assert np.array_equal(move_boxes(box, views[0])[0], box)


def test_jitter_changes_no_crop() -> None:
    plain, jittered = (random_view(np.random.default_rng(3), ViewSettings(jitter=jitter)) for jitter in (0.0, 0.2))
    assert replace(jittered, brightness=1.0, contrast=1.0) == plain != jittered


def test_a_large_image_is_averaged_not_sampled() -> None:
    """Stripes finer than the view turn grey; sampled they would stay black and white."""
    stripes = np.zeros((256, 256, 3), dtype=np.uint8)
    stripes[:, ::2] = 255
    pixels = show(Image.fromarray(stripes), View((0.0, 0.0), (0.9, 0.9)), 32)
    assert int(pixels.min()) > 90 and int(pixels.max()) < 165
