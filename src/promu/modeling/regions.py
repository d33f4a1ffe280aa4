"""Where a box lies on the grid of patches: the geometry of Eq 7."""

from __future__ import annotations

import torch


def patch_coverage(boxes: torch.Tensor, grid: int) -> torch.Tensor:
    """Share of each patch that each box covers.

    Args:
        boxes: (B, R, 4) as (x0, y0, x1, y1) in 0..1 of the picture's width and height; parts outside are ignored.
        grid: Patches along a side.

    Returns:
        (B, R, grid * grid), row-major like the encoder's patches, in 0..1.
    """
    edges = torch.arange(grid + 1, device=boxes.device, dtype=torch.float32) / grid

    def overlap(low: torch.Tensor, high: torch.Tensor) -> torch.Tensor:
        inside = torch.minimum(high[..., None], edges[1:]) - torch.maximum(low[..., None], edges[:-1])
        return inside.clamp(min=0.0) * grid

    boxes = boxes.float()
    across = overlap(boxes[..., 0], boxes[..., 2])
    down = overlap(boxes[..., 1], boxes[..., 3])
    return (down[..., :, None] * across[..., None, :]).flatten(-2)


def pool_regions(patches: torch.Tensor, boxes: torch.Tensor, grid: int) -> torch.Tensor:
    """e_obj of Eq 7: the coverage-weighted mean of the fused patch vectors under each box.

    Args:
        patches: (B, K, d) fused patch vectors, K = grid * grid.
        boxes: (B, R, 4) in 0..1.
        grid: Patches along a side.

    Returns:
        (B, R, d); zeros for a box that covers nothing.
    """
    weights = patch_coverage(boxes, grid).to(patches.dtype)
    weights = weights / weights.sum(-1, keepdim=True).clamp(min=1e-6)
    return weights @ patches
