"""Retrieval between captions and images: recall at k both ways, ROC-AUC, and recall after re-ranking.

A direction's rank of a query is pessimistic: whatever scores as high as its best right answer stands before it. A model
that gives every pair the same score thus finds nothing, and so does one whose scores are not numbers.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from collections.abc import Set as AbstractSet

import numpy as np
import torch

from promu.errors import InputError

KS = (1, 5, 10)
BLOCK = 16_000_000
"""Similarities compared at a time: 64 MB of floats, and some masks of their size."""

Recall = dict[int, float]
"""Percent of the queries with a right answer among the first k, by k."""


def ranks(captions: torch.Tensor, images: torch.Tensor, truth: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """How many wrong answers stand before the best right one, both ways, in the memory of a block of the similarities.

    Args:
        captions, images: Vectors (C, D) and (P, D); the similarity of two is their product.
        truth: (N, 2) pairs of a caption and an image that belong together, each once; a caption may belong to several.

    Returns:
        Ranks from 0 of the captions that belong to an image, and of the images that have a caption, in order.
    """
    return _ranks(captions, images, truth), _ranks(images, captions, truth.flip(-1))


def _ranks(vectors: torch.Tensor, answers: torch.Tensor, truth: torch.Tensor) -> torch.Tensor:
    truth = truth[torch.argsort(truth[:, 0], stable=True)]
    queries = torch.unique_consecutive(truth[:, 0])
    if not len(queries):
        return queries
    step, blocks = max(1, BLOCK // max(len(answers), 1)), []
    for start in range(0, int(queries[-1]) + 1, step):
        block = (vectors[start : start + step] @ answers.T).float()
        inside = truth[(truth[:, 0] >= start) & (truth[:, 0] < start + step)]
        right = torch.zeros_like(block, dtype=torch.bool)
        right[inside[:, 0] - start, inside[:, 1]] = True
        best = block.masked_fill(~right, -math.inf).amax(-1, keepdim=True)
        # "not less" rather than "at least": what is no number then stands before, not behind
        before = (~(block < best) & ~right).sum(-1)
        blocks.append(before[torch.unique_consecutive(inside[:, 0]) - start])
    return torch.cat(blocks)


def recall(ranks: torch.Tensor, ks: Sequence[int] = KS) -> Recall:
    """Percent of ranks (N,) below each k.

    Raises:
        InputError: There is no rank.
    """
    if not len(ranks):
        raise InputError("recall needs at least one matched pair of a caption and an image; there is none")
    return {k: 100.0 * float((ranks < k).double().mean()) for k in ks}


def standard_error(percent: float, count: int) -> float:
    """Binomial standard error of a percentage over `count` independent cases, in points.

    Captions of one image are not independent: give the number of images for both directions.
    """
    share = percent / 100.0
    return 100.0 * math.sqrt(max(share * (1.0 - share), 0.0) / count)


def reranked_recall(
    candidates: torch.Tensor, scores: torch.Tensor, right: Sequence[AbstractSet[int]], ks: Sequence[int] = KS
) -> Recall:
    """Recall of the candidates of each query in the order of some scores; of equal scores the first stays first.

    A query whose answer is not among its candidates is missed at every k.

    Args:
        candidates: (Q, R) answers, R at least the largest k or all there are.
        scores: (Q, R).
        right: The right answers of each query.
        ks: How far down a hit counts.
    """
    order = torch.sort(scores, dim=-1, descending=True, stable=True).indices
    places = [
        next((place for place, answer in enumerate(row) if answer in answers), max(ks))
        for row, answers in zip(candidates.gather(-1, order).tolist(), right, strict=True)
    ]
    return recall(torch.tensor(places), ks)


def roc_auc(scores: Sequence[float] | torch.Tensor, labels: Sequence[int] | torch.Tensor) -> float:
    """Area under the ROC curve (Mann-Whitney): how often a positive scores higher than a negative, ties half.

    Args:
        scores: (N,), higher for what is thought positive.
        labels: (N,) of 1 and 0.

    Raises:
        InputError: Only one of the two kinds is there, or a score is no number.
    """
    values = np.asarray(scores, dtype=np.float64)
    positive = np.asarray(labels).astype(bool)
    many, few = int(positive.sum()), int((~positive).sum())
    if not many or not few:
        raise InputError(f"ROC-AUC needs pairs of both kinds; there are {many} matched and {few} falsified")
    if np.isnan(values).any():
        raise InputError(f"{int(np.isnan(values).sum())} of {len(values)} scores are no numbers; the model is broken")
    _, place, counts = np.unique(values, return_inverse=True, return_counts=True)
    middle = np.cumsum(counts) - (counts - 1) / 2.0  # mean 1-based rank of each distinct score
    return float((middle[place][positive].sum() - many * (many + 1) / 2.0) / (many * few))
