"""Views: a box must enclose the same pixels before and after, whatever the crop and the flip."""

from __future__ import annotations

import pytest
import torch

from promu.training.views import LEFT_THE_VIEW, move_boxes, random_views

SIZE = 64


def painted(boxes: torch.Tensor) -> torch.Tensor:
    """Black pictures with a white rectangle at each row's one box; box edges lie between pixels."""
    pixels = torch.zeros(len(boxes), 3, SIZE, SIZE, dtype=torch.uint8)
    for row, (x0, y0, x1, y1) in enumerate((boxes[:, 0] * SIZE).round().int().tolist()):
        pixels[row, :, y0:y1, x0:x1] = 255
    return pixels


def random_boxes(rows: int) -> torch.Tensor:
    start = torch.randint(0, SIZE - 20, (rows, 1, 2))
    return torch.cat([start, start + torch.randint(8, 20, (rows, 1, 2))], -1) / SIZE


def test_a_box_encloses_the_same_pixels_in_every_view() -> None:
    torch.manual_seed(0)
    boxes = random_boxes(200)
    mask = torch.ones(200, 1)
    pixels, moved, kept = random_views(painted(boxes), boxes, mask, smallest=0.3)
    assert pixels.shape == (200, 3, SIZE, SIZE)
    seen = 0
    for row in range(200):
        bright = pixels[row, 0] > 127
        if not kept[row, 0]:
            continue
        seen += 1
        rows, columns = torch.nonzero(bright, as_tuple=True)
        truth = [int(columns.min()), int(rows.min()), int(columns.max()) + 1, int(rows.max()) + 1]
        assert (moved[row, 0] * SIZE).tolist() == pytest.approx(truth, abs=1.01), f"row {row}"
    assert seen > 100
    # the views differ: where all were alike, nothing was tested
    assert (moved - boxes).abs().amax((1, 2)).gt(0.02).float().mean() > 0.9


def test_a_box_is_dropped_when_it_has_left_the_view() -> None:
    torch.manual_seed(1)
    boxes = random_boxes(300)
    before = painted(boxes)[:, 0].float().sum((1, 2)) / 255 / SIZE**2
    pixels, moved, kept = random_views(painted(boxes), boxes, torch.ones(300, 1), smallest=0.1)
    gone = pixels[:, 0].amax((1, 2)) < 127
    assert gone.any(), "no box left its view: nothing was tested"
    assert not kept[gone].any()
    area = (moved[:, 0, 2] - moved[:, 0, 0]) * (moved[:, 0, 3] - moved[:, 0, 1])
    # a view shows at most everything, so what is kept never covers less of the view than its share of the picture
    assert bool((area[kept[:, 0].bool()] >= LEFT_THE_VIEW * before[kept[:, 0].bool()] - 1e-6).all())


def move(
    box: tuple[float, ...], origin: tuple[float, float], size: tuple[float, float], flip: bool
) -> tuple[list[float], bool]:
    moved, kept = move_boxes(
        torch.tensor([[box]]), torch.ones(1, 1), torch.tensor([origin]), torch.tensor([size]), torch.tensor([flip])
    )
    return moved[0, 0].tolist(), bool(kept[0, 0])


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
    assert move((0.0, 0.2, 0.4, 0.6), (left, 0.0), (0.5, 1.0), flip=False)[1] is kept


def test_no_crop_gives_the_picture_back() -> None:
    boxes = random_boxes(3)
    mask = torch.tensor([[1], [0], [1]])
    before = painted(boxes)
    pixels, moved, kept = random_views(before, boxes, mask, smallest=1.0)
    assert torch.equal(pixels, before.float()) and torch.equal(moved, boxes) and torch.equal(kept, mask)


def test_padding_stays_padding() -> None:
    boxes = torch.cat([random_boxes(50), torch.zeros(50, 2, 4)], 1)
    mask = torch.tensor([[1, 0, 0]]).expand(50, -1)
    _, moved, kept = random_views(painted(boxes), boxes, mask, smallest=0.4)
    assert not kept[:, 1:].any() and moved.isfinite().all()
    assert kept.dtype == mask.dtype


def test_views_are_cut_and_flipped_as_often_as_they_should() -> None:
    torch.manual_seed(2)
    # a left half of white: in a flipped view the white is on the right
    whole = torch.tensor([[[0.0, 0.0, 0.5, 1.0]]]).expand(400, -1, -1)
    _, moved, _ = random_views(painted(whole), whole, torch.ones(400, 1), smallest=0.8)
    flipped = moved[:, 0, 2] > 0.999
    assert 0.4 < flipped.float().mean() < 0.6
    _, full, _ = random_views(
        painted(whole), torch.tensor([[[0.0, 0.0, 1.0, 1.0]]]).expand(400, -1, -1), torch.ones(400, 1), smallest=0.3
    )
    assert torch.equal(full, torch.tensor([[[0.0, 0.0, 1.0, 1.0]]]).expand(400, -1, -1))
