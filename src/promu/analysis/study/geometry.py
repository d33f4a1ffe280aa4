"""How representations lie on the unit sphere: alignment, uniformity, nearest neighbours."""

from __future__ import annotations

import torch
from torch.nn import functional


def alignment(first: torch.Tensor, second: torch.Tensor) -> float:
    """Mean squared distance of positive pairs, E ||x - y||^2 (Wang & Isola 2020, alpha = 2); 0 is best, 2 is chance.

    Args:
        first, second: (N, D), row by row what belongs together; they are normalised here.
    """
    return float((_unit(first) - _unit(second)).square().sum(-1).mean())


def uniformity(vectors: torch.Tensor) -> float:
    """log E exp(-2 ||x - y||^2) over pairs of different rows (Wang & Isola 2020, t = 2); lower is more even.

    Args:
        vectors: (N, D) with at least two rows; they are normalised here.
    """
    return float(torch.pdist(_unit(vectors)).square().mul(-2).exp().mean().log())


def nearest_agreement(vectors: torch.Tensor, labels: torch.Tensor, neighbours: int = 5) -> float:
    """Mean share of a row's nearest other rows, by cosine, that have its label.

    Args:
        vectors: (N, D).
        labels: (N,).
        neighbours: How many of the others are looked at; all where there are fewer.
    """
    unit = _unit(vectors)
    similar = unit @ unit.T
    similar.fill_diagonal_(-torch.inf)
    nearest = similar.topk(min(neighbours, len(unit) - 1), dim=-1).indices
    return float((labels[nearest] == labels[:, None]).float().mean())


def nearest_is_own(vectors: torch.Tensor, prototypes: torch.Tensor, labels: torch.Tensor) -> float:
    """Share of the rows whose nearest prototype, by cosine, is that of their label.

    Args:
        vectors: (N, D).
        prototypes: (K, D), one a label.
        labels: (N,) in 0..K-1.
    """
    return float(((_unit(vectors) @ _unit(prototypes).T).argmax(-1) == labels).float().mean())


def _unit(vectors: torch.Tensor) -> torch.Tensor:
    return functional.normalize(vectors.float(), dim=-1)
