"""One geometric transform for a picture and its boxes together."""

from __future__ import annotations

import torch
from torch.nn import functional

LEFT_THE_VIEW = 0.25
"""A box of which a smaller share is still in view no longer shows its thing."""

ASPECT_JITTER = (-0.2877, 0.2877)
"""Range of the log of a view's width over height before it is squeezed to a square: 3/4 to 4/3."""


def random_views(
    pixels: torch.Tensor, boxes: torch.Tensor, box_mask: torch.Tensor, smallest: float
) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """A random resized crop and flip of each picture, with its boxes moved along.

    Args:
        pixels: (B, 3, S, S) in 0..255.
        boxes: (B, R, 4) in 0..1 of the picture.
        box_mask: (B, R), 1 where there is a box.
        smallest: Smallest share of the area that a view keeps; 1 gives the picture back unchanged.

    Returns:
        Float pixels (B, 3, S, S), boxes in 0..1 of the view, and the mask without the boxes that have left it.
    """
    if smallest >= 1.0:
        return pixels.float(), boxes, box_mask
    rows = len(pixels)
    area = torch.empty(rows).uniform_(smallest, 1.0)
    ratio = torch.empty(rows).uniform_(*ASPECT_JITTER).exp()
    size = torch.stack([(area * ratio).sqrt(), (area / ratio).sqrt()], -1).clamp(max=1.0)
    origin = torch.rand(rows, 2) * (1 - size)
    flip = torch.rand(rows) < 0.5
    pixels = _resample(pixels.float(), origin, size, flip)
    boxes, box_mask = move_boxes(boxes, box_mask, origin, size, flip)
    return pixels, boxes, box_mask


def move_boxes(
    boxes: torch.Tensor, box_mask: torch.Tensor, origin: torch.Tensor, size: torch.Tensor, flip: torch.Tensor
) -> tuple[torch.Tensor, torch.Tensor]:
    """Boxes (B, R, 4) of the picture as boxes of the view.

    Args:
        boxes, box_mask: As in `random_views`.
        origin, size: (B, 2) left and top, width and height of the view in 0..1 of the picture.
        flip: (B,) whether the view is mirrored.
    """
    moved = (boxes - origin.repeat(1, 2)[:, None]) / size.repeat(1, 2)[:, None]
    mirrored = torch.stack([1 - moved[..., 2], moved[..., 1], 1 - moved[..., 0], moved[..., 3]], -1)
    moved = torch.where(flip[:, None, None], mirrored, moved)
    clipped = moved.clamp(0.0, 1.0)
    kept = _area(clipped) / _area(moved).clamp(min=1e-9) >= LEFT_THE_VIEW
    return clipped, box_mask * kept.to(box_mask.dtype)


def _area(boxes: torch.Tensor) -> torch.Tensor:
    return (boxes[..., 2] - boxes[..., 0]).clamp(min=0) * (boxes[..., 3] - boxes[..., 1]).clamp(min=0)


def _resample(pixels: torch.Tensor, origin: torch.Tensor, size: torch.Tensor, flip: torch.Tensor) -> torch.Tensor:
    # affine_grid speaks of -1..1: the view's centre and half-width in that frame
    theta = torch.zeros(len(pixels), 2, 3)
    theta[:, 0, 0] = torch.where(flip, -size[:, 0], size[:, 0])
    theta[:, 1, 1] = size[:, 1]
    theta[:, :, 2] = 2 * origin + size - 1
    grid = functional.affine_grid(theta, list(pixels.shape), align_corners=False)
    return functional.grid_sample(pixels, grid, align_corners=False, padding_mode="border")
