"""The losses of pre-training (Eq 3-10), each a function of tensors alone."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Self

import torch
from torch import nn
from torch.nn import functional
from transformers import initialization as init

from promu.modeling.configuration import PromuConfig
from promu.modeling.distributed import gather_rows, group_mean


def image_text_matching_loss(
    logits: torch.Tensor, matched: torch.Tensor, weights: torch.Tensor | None = None, total: torch.Tensor | None = None
) -> torch.Tensor:
    """L_ITM (Eq 3): two-way cross-entropy over all pairs of the batch.

    Args:
        logits: (B, 2), the second column for "the caption belongs to the image".
        matched: (B,) of 0 and 1.
        weights: (B,), 0 for a row that is padding; None counts every row.
        total: Scalar, how many pairs the mean is over, where this is a part of a larger batch; None counts these.
    """
    losses = functional.cross_entropy(logits.float(), matched.long(), reduction="none")
    weights = torch.ones_like(losses) if weights is None else weights.float()
    return group_mean((losses * weights).sum(), weights.sum() if total is None else total)


def contrastive_image_text_loss(
    visual: torch.Tensor,
    text: torch.Tensor,
    temperature: torch.Tensor,
    image_ids: torch.Tensor | None = None,
    caption_ids: torch.Tensor | None = None,
) -> torch.Tensor:
    """L_CIT (Eq 4, 5): symmetric cross-entropy over the matched pairs, mean over N_m and over both directions.

    Pairs that share an image or a caption are never each other's negatives. No matched pair gives 0.

    Args:
        visual: (N_m, D) projected, L2-normalised image vectors of the matched pairs.
        text: (N_m, D) the same of their captions.
        temperature: Scalar.
        image_ids: (N_m,) equal where the image is the same.
        caption_ids: (N_m,) equal where the caption is the same.
    """
    if visual.shape[0] == 0:
        return visual.sum() * 0.0 + temperature * 0.0
    with torch.autocast(visual.device.type, enabled=False):
        similarity = visual.float() @ text.float().T / temperature.float()
        same = torch.zeros_like(similarity, dtype=torch.bool)
        for ids in (image_ids, caption_ids):
            if ids is not None:
                same |= ids[:, None] == ids[None, :]
        same.fill_diagonal_(False)
        similarity = similarity.masked_fill(same, float("-inf"))
        target = torch.arange(len(similarity), device=similarity.device)
        to_text = functional.cross_entropy(similarity, target)
        to_image = functional.cross_entropy(similarity.T, target)
    return (to_text + to_image) / 2


def soft_label_loss(
    logits: torch.Tensor, labels: torch.Tensor, weights: torch.Tensor, total: torch.Tensor | None = None
) -> torch.Tensor:
    """L_COE (Eq 8) and L_CIR (Eq 10): cross-entropy against soft pseudo-labels, mean over what has weight.

    The sum runs over the candidates (the paper's N_r in Eq 10 is a slip). Nothing with weight gives 0.

    Args:
        logits: (..., M) over candidates.
        labels: (..., M) distributions over the same candidates.
        weights: (...), 1 where the row counts, 0 where it is padding or has left the view.
        total: Scalar, as in `image_text_matching_loss`.
    """
    losses = -(labels.float() * functional.log_softmax(logits.float(), dim=-1)).sum(-1)
    weights = weights.float()
    return group_mean((losses * weights).sum(), weights.sum() if total is None else total)


def masked_language_loss(logits: torch.Tensor, labels: torch.Tensor, total: torch.Tensor | None = None) -> torch.Tensor:
    """Cross-entropy of masked word pieces (beyond the paper, off by default).

    Args:
        logits: (B, N, V).
        labels: (B, N), the masked pieces' ids and -100 elsewhere; none masked gives 0.
        total: Scalar, as in `image_text_matching_loss`.
    """
    summed = functional.cross_entropy(
        logits.float().flatten(0, 1), labels.flatten(), ignore_index=-100, reduction="sum"
    )
    return group_mean(summed, (labels != -100).sum().float() if total is None else total)


TEMPERATURE_RANGE = (0.001, 0.5)


@dataclass(frozen=True)
class ContrastFeatures:
    """Projected vectors of the matched pairs of a batch, before normalisation.

    A batch that does not fit into memory is read twice: once without gradient, for these vectors of all its parts;
    then part by part, each with its own vectors in their place, so that every part is contrasted with the whole batch.

    Attributes:
        visual, text: (N_m, D).
        image_ids, caption_ids: (N_m,) equal where image or caption is the same.
        start, stop: The rows that belong to the part at hand.
        learns: Whether this part's pass teaches what all parts share (temperature, normalisation); one of them does.
    """

    visual: torch.Tensor
    text: torch.Tensor
    image_ids: torch.Tensor
    caption_ids: torch.Tensor
    start: int = 0
    stop: int = 0
    learns: bool = True

    @classmethod
    def whole(cls, parts: Sequence[ContrastFeatures]) -> list[Self]:
        """For each part, the features of the whole batch with the place of that part in them."""
        joined = cls(
            visual=torch.cat([part.visual for part in parts]),
            text=torch.cat([part.text for part in parts]),
            image_ids=torch.cat([part.image_ids for part in parts]),
            caption_ids=torch.cat([part.caption_ids for part in parts]),
        )
        found, start = [], 0
        for number, part in enumerate(parts):
            stop = start + len(part.visual)
            found.append(replace(joined, start=start, stop=stop, learns=number == 0))
            start = stop
        return found

    def around(self, own: ContrastFeatures) -> ContrastFeatures:
        """The whole batch with `own`, which carry gradients, in their place."""

        def put(whole: torch.Tensor, part: torch.Tensor) -> torch.Tensor:
            return torch.cat([whole[: self.start], part, whole[self.stop :]])

        return replace(self, visual=put(self.visual, own.visual), text=put(self.text, own.text))


class SharedSpace(nn.Module):
    """proj_v and proj_t of Eq 4 with a learned temperature.

    The projections are L2-normalised (without it the temperature has no scale).
    """

    def __init__(self, config: PromuConfig) -> None:
        super().__init__()
        self.initial_temperature = config.temperature
        visual_width = config.hidden_size if config.vision_config is None else config.vision_config.hidden_size  # type: ignore[union-attr]
        self.visual = nn.Linear(visual_width, config.projection_dim, bias=False)
        self.text = nn.Linear(config.hidden_size, config.projection_dim, bias=False)
        normalised = config.projection_norm
        self.visual_norm = nn.BatchNorm1d(config.projection_dim) if normalised else None
        self.text_norm = nn.BatchNorm1d(config.projection_dim) if normalised else None
        self.log_temperature = nn.Parameter(torch.tensor([math.log(config.temperature)]))

    def start_weights(self) -> None:
        """The temperature's start, where no checkpoint holds it."""
        init.constant_(self.log_temperature, math.log(self.initial_temperature))

    @property
    def temperature(self) -> torch.Tensor:
        """The temperature, a scalar, clamped to [0.001, 0.5]."""
        return temperature_of(self.log_temperature)

    def project_visual(self, pooled: torch.Tensor) -> torch.Tensor:
        """(B, d_v) to unit vectors (B, D)."""
        return _unit(self.visual(pooled), self.visual_norm)

    def project_text(self, pooled: torch.Tensor) -> torch.Tensor:
        """(B, d) to unit vectors (B, D)."""
        return _unit(self.text(pooled), self.text_norm)

    def features(
        self,
        visual: torch.Tensor,
        text: torch.Tensor,
        matched: torch.Tensor,
        image_ids: torch.Tensor | None,
        caption_ids: torch.Tensor | None,
    ) -> ContrastFeatures:
        """What L_CIT compares: the matched pairs' projections.

        Args:
            visual: (B, d_v) pooled images.
            text: (B, d) pooled captions.
            matched: (B,) booleans.
            image_ids, caption_ids: (B,) equal where image or caption is the same; None where none are.
        """
        rows = torch.arange(len(matched), device=matched.device)
        return ContrastFeatures(
            self.visual(visual[matched]),
            self.text(text[matched]),
            (rows if image_ids is None else image_ids)[matched],
            (rows if caption_ids is None else caption_ids)[matched],
        )

    def loss(self, own: ContrastFeatures, batch: ContrastFeatures | None = None) -> torch.Tensor:
        """L_CIT (Eq 4, 5) over the matched pairs of all processes.

        Args:
            own: Of this pass.
            batch: Of the whole batch, where this pass reads a part of it.
        """
        features = own if batch is None else batch.around(own)
        visual, text = gather_rows(features.visual), gather_rows(features.text)
        images, captions = gather_rows(features.image_ids), gather_rows(features.caption_ids)
        nothing = visual.sum() * 0.0 + text.sum() * 0.0
        for parameter in self.parameters():  # each has a gradient in every step, as data-parallel training expects
            nothing = nothing + parameter.sum() * 0.0
        needed = 2 if self.training and self.visual_norm is not None else 1  # batch statistics need two rows
        if len(visual) < needed:
            return nothing
        temperature = self.temperature if features.learns else self.temperature.detach()
        return nothing + contrastive_image_text_loss(
            _unit(visual, self.visual_norm, features.learns),
            _unit(text, self.text_norm, features.learns),
            temperature,
            images,
            captions,
        )


def temperature_of(logarithm: torch.Tensor) -> torch.Tensor:
    """What is learned, (1,), as the temperature, a scalar."""
    return logarithm.exp().clamp(*TEMPERATURE_RANGE).squeeze()


def _unit(rows: torch.Tensor, norm: nn.BatchNorm1d | None, learns: bool = True) -> torch.Tensor:
    """Unit vectors; in training with the batch's statistics, which only a pass that learns keeps."""
    if norm is not None:
        if learns or not norm.training:
            rows = norm(rows)
        else:
            assert norm.weight is not None and norm.bias is not None
            rows = functional.batch_norm(
                rows, None, None, norm.weight.detach(), norm.bias.detach(), training=True, eps=norm.eps
            )
    return functional.normalize(rows.float(), dim=-1)


def patch_coverage(boxes: torch.Tensor, grid: int) -> torch.Tensor:
    """Share of each patch that each box covers.

    Args:
        boxes: (B, R, 4) as (x0, y0, x1, y1) in 0..1 of the image's width and height; parts outside are ignored.
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
