"""Several processes as one: rows gathered with their gradient, means over the rows of all, and work done in turn.

The convention is that of data-parallel training, which takes the mean of the processes' gradients. A loss computed
from gathered rows is the same in each process, and `gather_rows` sums the gradients that come back, so that their mean
is the gradient of one process with all rows. A loss computed from a process's own rows is scaled by `group_mean` to
the same effect. With one process everything here is the identity.
"""

from __future__ import annotations

import logging
import os
import signal
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import timedelta
from types import FrameType
from typing import Any

import torch
from torch import Tensor, distributed

from promu.errors import InputError

logger = logging.getLogger(__name__)


def processes() -> int:
    """How many processes train together."""
    return distributed.get_world_size() if distributed.is_available() and distributed.is_initialized() else 1


def process_number() -> int:
    """Which of them this one is, from 0."""
    return distributed.get_rank() if processes() > 1 else 0


def group_sum(count: Tensor) -> Tensor:
    """The sum over the processes of a tensor of one shape, without gradient."""
    total = count.detach().clone()
    if processes() > 1:
        distributed.all_reduce(total)
    return total


def group_mean(own_sum: Tensor, count: Tensor) -> Tensor:
    """A mean over the `count` rows of all processes, to be averaged over the processes; 0 rows give 0.

    `own_sum` is the sum over this process's rows, a scalar as `count` is.
    """
    return own_sum * processes() / count.clamp(min=1.0)


def gather_rows(rows: Tensor) -> Tensor:
    """The rows (N, ...) of all processes, in their order, with gradient; each may bring another number (n, ...)."""
    if processes() == 1:
        return rows
    counts = [torch.zeros(1, dtype=torch.long, device=rows.device) for _ in range(processes())]
    distributed.all_gather(counts, torch.tensor([len(rows)], device=rows.device))
    gathered: Tensor = _GatherRows.apply(rows, [int(count) for count in counts])  # type: ignore[no-untyped-call]
    return gathered


class _GatherRows(torch.autograd.Function):
    """All-gather of ragged rows; backward sums the processes' gradients and keeps this process's part."""

    @staticmethod
    def forward(ctx: Any, rows: Tensor, counts: list[int]) -> Tensor:
        ctx.start = sum(counts[: process_number()])
        ctx.rows = len(rows)
        padded = rows.new_zeros((max(counts), *rows.shape[1:]))
        padded[: len(rows)] = rows
        parts = [torch.empty_like(padded) for _ in counts]
        distributed.all_gather(parts, padded)
        return torch.cat([part[:count] for part, count in zip(parts, counts, strict=True)])

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor, None]:
        gradient = gradients[0].contiguous().clone()
        distributed.all_reduce(gradient)
        return gradient[ctx.start : ctx.start + ctx.rows], None


_AGAIN = "start the command again, the run resumes from its last checkpoint"
_DEAD_PEER = ("connection closed by peer", "connection reset by peer", "timed out", "heartbeat", "broken pipe")


@contextmanager
def peer_faults() -> Iterator[None]:
    """Raise an `InputError` where another process of the group has died or does not answer."""
    try:
        yield
    except (distributed.DistError, RuntimeError) as error:
        reason = str(error).lower()
        if processes() == 1 or not any(sign in reason for sign in _DEAD_PEER):
            raise
        raise InputError(f"another process of the group has died or no longer answers; {_AGAIN}") from error


@contextmanager
def in_order() -> Iterator[bool]:
    """Let the first process, which alone is given True, do some work, and the others in turn find it done."""
    for _ in range(process_number()):
        wait_for_all()
    yield process_number() == 0
    for _ in range(process_number(), processes()):
        wait_for_all()


def wait_for_all() -> None:
    """Return when every process has come here."""
    if processes() > 1:
        distributed.barrier()


def join_group() -> None:
    """Join the processes that `torchrun` has started, if it has started any.

    When one dies `torchrun` terminates the others, which say so and exit with status 143.
    """
    if int(os.environ.get("WORLD_SIZE", "1")) > 1 and not distributed.is_initialized():
        # a process may be busy for hours with what the others wait for; that one died shows at once in any case
        distributed.init_process_group("nccl" if torch.cuda.is_available() else "gloo", timeout=timedelta(days=2))
        signal.signal(signal.SIGTERM, _terminated)


def _terminated(number: int, frame: FrameType | None) -> None:
    logger.error("stopped, since another process of the group died or the machine asked for it; %s", _AGAIN)
    raise SystemExit(128 + number)
