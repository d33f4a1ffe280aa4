"""Retrieval between captions and images: recall at k both ways, ROC-AUC, and recall after re-ranking.

A direction's rank of a query is pessimistic: whatever scores as high as its best right answer stands before it. A model
that gives every pair the same score thus finds nothing, and so does one whose scores are not numbers.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence

import numpy as np
import torch

from promu.errors import InputError

KS = (1, 5, 10)
BLOCK = 16_000_000
"""Similarities compared at a time: 64 MB of floats, and some masks of their size."""

Recall = dict[int, float]
"""Percent of the queries with a right answer among the first k, by k."""


def recall_at(
    similarity: torch.Tensor, image_of_caption: torch.Tensor | Sequence[int], ks: Sequence[int] = KS
) -> dict[str, Recall]:
    """Recall both ways from a whole matrix of similarities.

    Args:
        similarity: (C, P), every caption against every image.
        image_of_caption: (C,) the image that each caption belongs to; an image may have any number of captions.
        ks: How far down a hit counts.

    Returns:
        `caption_to_image` and `image_to_caption`, percent by k. An image is found by any of its captions; one
        without a caption is a distractor only.
    """
    images = torch.as_tensor(image_of_caption)
    truth = torch.stack([torch.arange(len(images)), images], -1)
    to_image, to_caption = ranks(lambda rows: similarity[rows], lambda columns: similarity[:, columns].T, truth)
    return {"caption_to_image": recall(to_image, ks), "image_to_caption": recall(to_caption, ks)}


def vector_ranks(
    captions: torch.Tensor, images: torch.Tensor, truth: torch.Tensor
) -> tuple[torch.Tensor, torch.Tensor]:
    """Ranks both ways from vectors, in the memory of a block of the matrix.

    Args:
        captions: (C, D).
        images: (P, D).
        truth: (N, 2) as in `ranks`.
    """
    return ranks(lambda rows: captions[rows] @ images.T, lambda rows: images[rows] @ captions.T, truth)


def ranks(
    caption_rows: Callable[[slice], torch.Tensor], image_rows: Callable[[slice], torch.Tensor], truth: torch.Tensor
) -> tuple[torch.Tensor, torch.Tensor]:
    """How many wrong answers stand before the best right one.

    Args:
        caption_rows: A slice of captions to their similarities (n, P) with every image.
        image_rows: A slice of images to their similarities (n, C) with every caption.
        truth: (N, 2) pairs of a caption and an image that belong together, each once; a caption may belong to several.

    Returns:
        Ranks from 0 of the captions that belong to an image, and of the images that have a caption, in order.
    """
    return _ranks(caption_rows, truth), _ranks(image_rows, truth.flip(-1))


def _ranks(similarities: Callable[[slice], torch.Tensor], truth: torch.Tensor) -> torch.Tensor:
    truth = truth[torch.argsort(truth[:, 0], stable=True)]
    queries = torch.unique_consecutive(truth[:, 0])
    if not len(queries):
        return queries
    width = similarities(slice(0, 1)).shape[1]
    step, blocks = max(1, BLOCK // max(width, 1)), []
    for start in range(0, int(queries[-1]) + 1, step):
        block = similarities(slice(start, start + step)).float()
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


def top_candidates(similarities: torch.Tensor, count: int) -> torch.Tensor:
    """The `count` best answers of each query, best first: (Q, A) to (Q, min(count, A))."""
    return similarities.float().topk(min(count, similarities.shape[1]), dim=-1).indices


def rerank(candidates: torch.Tensor, scores: torch.Tensor) -> torch.Tensor:
    """Candidates (Q, R) in the order of other scores (Q, R), largest first; equal scores keep their order."""
    order = torch.sort(scores, dim=-1, descending=True, stable=True).indices
    return candidates.gather(-1, order)


def recall_of_candidates(candidates: torch.Tensor, right: Sequence[frozenset[int]], ks: Sequence[int] = KS) -> Recall:
    """Recall of ordered answers (Q, R), R at least the largest k or all there are; `right` are each query's answers."""
    places = [
        next((place for place, answer in enumerate(row) if answer in answers), candidates.shape[1])
        for row, answers in zip(candidates.tolist(), right, strict=True)
    ]
    # a query whose answer is not among the candidates is missed at every k
    return recall(torch.tensor([place if place < candidates.shape[1] else max(ks) for place in places]), ks)


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
