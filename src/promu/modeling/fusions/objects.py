"""What of an image stands for its objects: a detector's regions, or the image's quarters where there is none."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from promu.modeling.fusions.base import VisualFeatures
from promu.modeling.losses import patch_coverage

QUARTERS = ((0.0, 0.0, 0.5, 0.5), (0.5, 0.0, 1.0, 0.5), (0.0, 0.5, 0.5, 1.0), (0.5, 0.5, 1.0, 1.0))


@dataclass
class Objects:
    """The objects of a batch of images.

    Attributes:
        boxes: (B, R, 4) in 0..1 of the image.
        mask: (B, R), 1 where there is an object; 0 throughout where there is no image.
        shares: (B, R, K+1) what an object is made of: the share of each visual token in the mean of its patches.
    """

    boxes: Tensor
    mask: Tensor
    shares: Tensor

    @classmethod
    def of(cls, images: VisualFeatures, grid: int) -> Objects:
        """The regions of each image with grid x grid patches; of one without regions its quarters.

        A region that covers no patch is none.
        """
        boxes, tokens = quarters(images.tokens), images.tokens.shape[-2]
        stand_ins = boxes.shape[1]
        if images.boxes is not None:
            boxes = torch.cat([boxes, images.boxes.float()], dim=1)
        shares = box_shares(boxes, grid, tokens)
        shown = (shares.sum(-1) > 0) & images.present()[:, None]
        named = shown[:, stand_ins:]
        mask = torch.cat([shown[:, :stand_ins] & ~named.any(1, keepdim=True), named], dim=1)
        return cls(boxes, mask, shares)

    def vectors(self, tokens: Tensor) -> Tensor:
        """The mean of each object's tokens, (B, R, d) of (B, K+1, d)."""
        return self.shares.to(tokens.dtype) @ tokens


def quarters(tokens: Tensor) -> Tensor:
    """The four quarters of each image, (B, 4, 4), on the device of its visual tokens (B, ...)."""
    return torch.tensor(QUARTERS, device=tokens.device).expand(len(tokens), -1, -1)


def box_shares(boxes: Tensor, grid: int, tokens: int) -> Tensor:
    """The share of each visual token in the mean of the patches under a box, (B, R, tokens).

    Args:
        boxes: (B, R, 4) in 0..1 of the image. The shares of a box that covers no patch are 0.
        grid: Patches along one side; they are the last of the tokens.
        tokens: Visual tokens, those before the patches included.
    """
    coverage = patch_coverage(boxes, grid)
    means = coverage / coverage.sum(-1, keepdim=True).clamp(min=1e-6)
    return torch.nn.functional.pad(means, (tokens - coverage.shape[-1], 0))
