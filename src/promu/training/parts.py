"""A step on a batch that does not fit into memory: read in parts, contrasted as a whole."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from contextlib import AbstractContextManager, nullcontext
from typing import Any

import torch
from torch import distributed

from promu.modeling.contrastive import ContrastFeatures
from promu.modeling.distributed import processes
from promu.modeling.pretraining import loss_totals

Batch = Mapping[str, torch.Tensor]


def step_in_parts(
    model: Any, batch: Batch, rows: int, accelerator: Any, autocast: Callable[[], AbstractContextManager[Any]]
) -> tuple[torch.Tensor, dict[str, torch.Tensor]]:
    """Forward and backward of a batch, `rows` rows at a time, with the gradients of one pass over all of them.

    Ordinary losses are sums over rows. L_CIT is not, since each pair is contrasted with every other: what it compares
    is computed for all parts first, without gradient, and put beside each part's own. A part's second pass repeats the
    dropout of its first.

    Args:
        model: `PromuForPreTraining` or `PromuDualEncoder`, wrapped or not.
        batch: This process's part of the batch, every tensor (B, ...).
        rows: Rows a part, at most.
        accelerator: accelerate's, which runs the backward passes.
        autocast: Makes the context of a forward pass.

    Returns:
        The loss and its parts, detached.
    """
    parts = split(batch, rows)
    totals = _totals(batch)
    states: list[Callable[[], None]] = []
    features: list[ContrastFeatures] = []
    for part in parts:
        states.append(_remembered_chance(part))
        with torch.no_grad(), autocast():
            features.append(model(**part, features_only=True).features)
    losses: list[torch.Tensor] = []
    figures: list[Mapping[str, torch.Tensor]] = []
    for number, (part, whole) in enumerate(zip(parts, ContrastFeatures.whole(features), strict=True)):
        states[number]()
        last = number + 1 == len(parts)
        with nullcontext() if last else accelerator.no_sync(model):
            with autocast():
                output = model(**part, **totals, batch_features=whole)
            accelerator.backward(output.loss)
        losses.append(output.loss.detach())
        figures.append(getattr(output, "parts", None) or {})
    return _sum_up(losses, figures, model)


def split(batch: Batch, rows: int) -> list[dict[str, torch.Tensor]]:
    """A batch in parts of `rows` rows at most, as many parts in each process.

    A process with fewer rows than there are parts repeats its last one, not to be counted.
    """
    own = len(batch["input_ids"])
    most = torch.tensor([own], device=batch["input_ids"].device)
    if processes() > 1:
        distributed.all_reduce(most, distributed.ReduceOp.MAX)
    count = math.ceil(int(most) / rows)
    chosen = torch.arange(max(own, count), device=most.device).clamp(max=own - 1)
    filled = {name: value[chosen] for name, value in batch.items()}
    filled["row_mask"] = filled.get("row_mask", torch.ones_like(chosen)) * (
        torch.arange(len(chosen), device=most.device) < own
    )
    pieces = {name: value.tensor_split(count) for name, value in filled.items()}
    return [{name: values[number] for name, values in pieces.items()} for number in range(count)]


def _totals(batch: Batch) -> dict[str, Any]:
    if "matched" not in batch:  # the dual encoder has no loss but L_CIT
        return {}
    names = ("row_mask", "box_mask", "relation_mask", "mlm_labels", "matched")
    return {"totals": loss_totals(**{name: batch[name] for name in names if name in batch})}


def _remembered_chance(batch: Batch) -> Callable[[], None]:
    """A function that brings the dice back to where they lie now."""
    device = batch["input_ids"].device
    host = torch.get_rng_state()
    there = torch.cuda.get_rng_state(device) if device.type == "cuda" else None

    def restore() -> None:
        torch.set_rng_state(host)
        if there is not None:
            torch.cuda.set_rng_state(there, device)

    return restore


def _sum_up(
    losses: list[torch.Tensor], figures: list[Mapping[str, torch.Tensor]], model: Any
) -> tuple[torch.Tensor, dict[str, torch.Tensor]]:
    """Sums over the parts, but the mean of L_CIT, which every part computes for the whole batch."""
    count = len(losses)
    names = figures[0]
    if not names:
        return torch.stack(losses).mean(), {}
    parts = {name: torch.stack([figure[name] for figure in figures]).sum() for name in names}
    if "cit" in parts:
        parts["cit"] = parts["cit"] / count
    weights = getattr(model, "module", model).weights
    return torch.stack([weights[name] * part for name, part in parts.items()]).sum(), parts
