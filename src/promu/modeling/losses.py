"""The losses of pre-training (Eq 3-10), each a function of tensors alone."""

from __future__ import annotations

import torch
from torch.nn import functional

from promu.modeling.distributed import group_mean


def image_text_matching_loss(
    logits: torch.Tensor, matched: torch.Tensor, weights: torch.Tensor | None = None, total: torch.Tensor | None = None
) -> torch.Tensor:
    """L_ITM (Eq 3): two-way cross-entropy over all pairs of the batch.

    Args:
        logits: (B, 2), the second column for "the caption belongs to the picture".
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
    picture_ids: torch.Tensor | None = None,
    caption_ids: torch.Tensor | None = None,
) -> torch.Tensor:
    """L_CIT (Eq 4, 5): symmetric cross-entropy over the matched pairs, mean over N_m and over both directions.

    Pairs that share a picture or a caption are never each other's negatives. No matched pair gives 0.

    Args:
        visual: (N_m, D) projected, L2-normalised picture vectors of the matched pairs.
        text: (N_m, D) the same of their captions.
        temperature: Scalar.
        picture_ids: (N_m,) equal where the picture is the same.
        caption_ids: (N_m,) equal where the caption is the same.
    """
    if visual.shape[0] == 0:
        return visual.sum() * 0.0 + temperature * 0.0
    with torch.autocast(visual.device.type, enabled=False):
        similarity = visual.float() @ text.float().T / temperature.float()
        same = torch.zeros_like(similarity, dtype=torch.bool)
        for ids in (picture_ids, caption_ids):
            if ids is not None:
                same |= ids[:, None] == ids[None, :]
        same.fill_diagonal_(False)
        similarity = similarity.masked_fill(same, float("-inf"))
        target = torch.arange(len(similarity), device=similarity.device)
        to_text = functional.cross_entropy(similarity, target)
        to_picture = functional.cross_entropy(similarity.T, target)
    return (to_text + to_picture) / 2


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
