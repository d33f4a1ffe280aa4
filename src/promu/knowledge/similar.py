"""Which exemplars are most like a post: cosine similarity of sentence vectors, by matrix products."""

from __future__ import annotations

from collections.abc import Sequence

import torch

from promu.errors import InputError

_ROWS = 4096


def nearest(queries: torch.Tensor, pool: torch.Tensor, count: int, barred: Sequence[Sequence[int]]) -> list[list[int]]:
    """The `count` rows of `pool` most like each query, the most similar first.

    Args:
        queries: (N, d) unit vectors.
        pool: (P, d) unit vectors.
        count: How many for each query.
        barred: Rows of `pool` that a query may not have, for each query: the post itself.

    Raises:
        InputError: The pool has too few rows left for some query.
    """
    fewest = len(pool) - max((len(rows) for rows in barred), default=0)
    if count > fewest:
        raise InputError(
            f"{count} exemplars a post are asked for, but the pool of {len(pool)} has only {max(0, fewest)} of another "
            "text for some post; add exemplars or ask for fewer"
        )
    if not count:
        return [[] for _ in range(len(queries))]
    chosen: list[list[int]] = []
    for start in range(0, len(queries), _ROWS):
        scores = queries[start : start + _ROWS] @ pool.T
        for row, columns in enumerate(barred[start : start + _ROWS]):
            if columns:
                scores[row, list(columns)] = -torch.inf
        chosen += scores.topk(count, dim=1).indices.tolist()
    return chosen
