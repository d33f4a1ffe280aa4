"""Several processes as one: rows gathered with their gradient, and means over the rows of all.

The convention is that of data-parallel training, which takes the mean of the processes' gradients. A loss computed
from gathered rows is the same in each process, and `gather_rows` sums the gradients that come back, so that their mean
is the gradient of one process with all rows. A loss computed from a process's own rows is scaled by `group_mean` to
the same effect. With one process everything here is the identity.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import distributed


def processes() -> int:
    """How many processes train together."""
    return distributed.get_world_size() if distributed.is_available() and distributed.is_initialized() else 1


def process_number() -> int:
    """Which of them this one is, from 0."""
    return distributed.get_rank() if processes() > 1 else 0


def group_sum(count: torch.Tensor) -> torch.Tensor:
    """The sum over the processes of a tensor of one shape, without gradient."""
    if processes() == 1:
        return count.detach()
    total = count.detach().clone()
    distributed.all_reduce(total)
    return total


def group_mean(own_sum: torch.Tensor, count: torch.Tensor) -> torch.Tensor:
    """A mean over the rows of all processes, to be averaged over the processes.

    Args:
        own_sum: Scalar, the sum over this process's rows.
        count: Scalar, how many rows count in all processes together; 0 gives 0.
    """
    return own_sum * processes() / count.clamp(min=1.0)


def gather_rows(rows: torch.Tensor) -> torch.Tensor:
    """The rows of all processes, in the order of the processes; each may bring another number, also none.

    Args:
        rows: (n, ...) this process's rows.

    Returns:
        (N, ...), through which the gradient flows back to each process's own rows.
    """
    if processes() == 1:
        return rows
    counts = [torch.zeros(1, dtype=torch.long, device=rows.device) for _ in range(processes())]
    distributed.all_gather(counts, torch.tensor([len(rows)], device=rows.device))
    gathered: torch.Tensor = _GatherRows.apply(rows, [int(count) for count in counts])  # type: ignore[no-untyped-call]
    return gathered


class _GatherRows(torch.autograd.Function):
    """All-gather of ragged rows; backward sums the processes' gradients and keeps this process's part."""

    @staticmethod
    def forward(ctx: Any, rows: torch.Tensor, counts: list[int]) -> torch.Tensor:
        """Pad to the longest, gather, cut the padding off."""
        ctx.start = sum(counts[: process_number()])
        ctx.rows = len(rows)
        padded = rows.new_zeros((max(counts), *rows.shape[1:]))
        padded[: len(rows)] = rows
        parts = [torch.empty_like(padded) for _ in counts]
        distributed.all_gather(parts, padded)
        return torch.cat([part[:count] for part, count in zip(parts, counts, strict=True)])

    @staticmethod
    def backward(ctx: Any, *gradients: torch.Tensor) -> tuple[torch.Tensor, None]:
        """Sum over the processes, this process's rows."""
        gradient = gradients[0].contiguous().clone()
        distributed.all_reduce(gradient)
        return gradient[ctx.start : ctx.start + ctx.rows], None
