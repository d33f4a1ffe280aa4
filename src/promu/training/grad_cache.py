"""Micro-batches with the whole contrast: a batch is read in parts, with the gradients of one pass over all of it.

Most losses are sums over rows. L_CIT is not, since each pair is contrasted with every other. So the batch is read
twice: once without gradient, for the projections of all parts; then part by part, each contrasted with all
(`CachedCITLoss`). The second pass of a part repeats the dropout of its first.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from contextlib import nullcontext
from typing import Any

import torch
from torch import Tensor, distributed

from promu.modeling.contrastive import CachedCITLoss, MatchedPairs
from promu.modeling.distributed import processes
from promu.modeling.losses import Batch, JointLoss


def backward_in_parts(
    model: Any, loss: JointLoss, batch: Batch, rows: int, accelerator: Any
) -> tuple[Tensor, dict[str, Tensor]]:
    """Forward and backward of this process's batch, `rows` rows at a time, by accelerate's `accelerator`.

    The model may be wrapped for several processes.

    Returns:
        The loss of the whole batch and the unweighted losses by name, detached.
    """
    parts = split(batch, rows)
    totals = loss.totals(batch)
    rewinds: list[Callable[[], None]] = []
    pairs: list[MatchedPairs] = []
    for part in parts:
        rewinds.append(_rng_rewind(part["input_ids"].device))
        if loss.cit is not None:
            with torch.no_grad():
                pairs.append(loss.pairs(model(**loss.inputs(part, fuse=False)), part))
    sums: dict[str, Tensor] = {}
    for number, (part, rewind) in enumerate(zip(parts, rewinds, strict=True)):
        rewind()
        cit = None if loss.cit is None else CachedCITLoss(loss.cit.space, pairs, number)
        with nullcontext() if number + 1 == len(parts) else accelerator.no_sync(model):
            value, losses = loss.of_batch(model, part, totals, cit)
            accelerator.backward(value)
        for name, each in losses.items():
            share = each / len(parts) if name == "cit" else each  # every part computes L_CIT of the whole batch
            sums[name] = sums.get(name, 0.0) + share
    return loss.weighted_sum(sums), sums


def split(batch: Batch, rows: int) -> list[dict[str, Tensor]]:
    """A batch in parts of `rows` rows at most, as many parts in each process.

    A process with fewer rows than there are parts repeats its last one, not to be counted.
    """
    count = len(batch["input_ids"])
    most = torch.tensor([count], device=batch["input_ids"].device)
    if processes() > 1:
        distributed.all_reduce(most, distributed.ReduceOp.MAX)
    parts = math.ceil(int(most) / rows)
    chosen = torch.arange(max(count, parts), device=most.device).clamp(max=count - 1)
    filled = {name: value[chosen] for name, value in batch.items()}
    first = torch.arange(len(chosen), device=most.device) < count
    filled["row_mask"] = filled.get("row_mask", torch.ones_like(chosen)) * first
    columns = {name: value.tensor_split(parts) for name, value in filled.items()}
    return [{name: values[number] for name, values in columns.items()} for number in range(parts)]


def _rng_rewind(device: torch.device) -> Callable[[], None]:
    """A function that brings the random numbers back to where they are now."""
    host = torch.get_rng_state()
    accelerator = torch.cuda.get_rng_state(device) if device.type == "cuda" else None

    def rewind() -> None:
        torch.set_rng_state(host)
        if accelerator is not None:
            torch.cuda.set_rng_state(accelerator, device)

    return rewind
