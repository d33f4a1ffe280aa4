"""Where a box lies on the grid of patches: the geometry of Eq 7."""

from __future__ import annotations

import torch


def patch_coverage(boxes: torch.Tensor, grid: int, kept: torch.Tensor | None = None) -> torch.Tensor:
    """Share of each patch that each box covers.

    Args:
        boxes: (B, R, 4) as (x0, y0, x1, y1) in 0..1 of the picture's width and height; parts outside are ignored.
        grid: Patches along a side.
        kept: (B, k) the patches that were not dropped; None means all.

    Returns:
        (B, R, grid * grid), row-major like the encoder's patches, in 0..1; (B, R, k) where patches were dropped.
    """
    edges = torch.arange(grid + 1, device=boxes.device, dtype=torch.float32) / grid

    def overlap(low: torch.Tensor, high: torch.Tensor) -> torch.Tensor:
        inside = torch.minimum(high[..., None], edges[1:]) - torch.maximum(low[..., None], edges[:-1])
        return inside.clamp(min=0.0) * grid

    boxes = boxes.float()
    across = overlap(boxes[..., 0], boxes[..., 2])
    down = overlap(boxes[..., 1], boxes[..., 3])
    coverage = (down[..., :, None] * across[..., None, :]).flatten(-2)
    return coverage if kept is None else coverage.gather(2, kept[:, None].expand(-1, coverage.shape[1], -1))


def pool_regions(patches: torch.Tensor, coverage: torch.Tensor) -> torch.Tensor:
    """e_obj of Eq 7: the coverage-weighted mean of the fused patch vectors under each box.

    Args:
        patches: (B, K, d) fused patch vectors.
        coverage: (B, R, K) of `patch_coverage`.

    Returns:
        (B, R, d); zeros for a box that covers nothing.
    """
    weights = coverage / coverage.sum(-1, keepdim=True).clamp(min=1e-6)
    return weights.to(patches.dtype) @ patches
