"""The CRF against pytorch-crf: forward and backward, and decoding, at fine-tuning's sizes."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from benchmarks.measure import Row, alternate
from torchcrf import CRF

from promu.modeling.chain import bio_labels, legal_transitions
from promu.modeling.crf import LinearChainCrf

LABELS = bio_labels(["PER", "LOC", "ORG", "OTHER"])
ILLEGAL = -1e4


def _pair() -> tuple[LinearChainCrf, CRF]:
    """The two with equal scores."""
    torch.manual_seed(0)
    ours, theirs = LinearChainCrf(LABELS), CRF(len(LABELS), batch_first=True)
    start, follows = map(torch.from_numpy, legal_transitions(LABELS))
    with torch.no_grad():
        for parameter in ours.parameters():
            parameter.normal_()
        theirs.start_transitions.copy_(ours.start.masked_fill(~start, ILLEGAL))
        theirs.transitions.copy_(ours.transitions.masked_fill(~follows, ILLEGAL))
        theirs.end_transitions.copy_(ours.end)
    return ours, theirs


def contenders(length: int, ragged: bool, batch: int) -> dict[str, Callable[[], object]]:
    """Forward and backward, and decoding, of the two on equal emissions and labels."""
    ours, theirs = _pair()
    emissions = (torch.randn(batch, length, len(LABELS)) * 2).requires_grad_()
    lengths = torch.randint(1, length + 1, (batch,)) if ragged else torch.full((batch,), length)
    lengths[0] = length
    mask = torch.arange(length)[None] < lengths[:, None]
    gold = torch.zeros(batch, length, dtype=torch.long)

    def clear() -> None:
        emissions.grad = None

    def our_loss() -> None:
        clear()
        ours(emissions, gold, mask).mean().backward()

    def their_loss() -> None:
        clear()
        (-theirs(emissions, gold, mask, reduction="mean")).backward()

    return {
        "loss ours": our_loss,
        "loss theirs": their_loss,
        "decode ours": lambda: ours.weights().decode(emissions.detach().numpy(), mask.numpy()),
        "decode theirs": lambda: theirs.decode(emissions, mask),
    }


def run(quick: bool) -> tuple[dict[str, Any], list[Row]]:
    """Both lengths, full and ragged."""
    result: dict[str, Any] = {}
    rows = []
    for length in (3,) if quick else (20, 80):
        for ragged in (False, True):
            times = alternate(contenders(length, ragged, 4 if quick else 32), 3 if quick else 40, 1 if quick else 5)
            name = f"{length} words{', ragged' if ragged else ''}"
            result[name] = {key: timing.as_dict() for key, timing in times.items()}
            for kind, title, goal in (("loss", "forward and backward", "4"), ("decode", "decode", "3")):
                ours, theirs = times[f"{kind} ours"], times[f"{kind} theirs"]
                rows.append(
                    Row(
                        "crf",
                        f"{title}, {name}",
                        f"{1e3 * ours.seconds:.2f} ms",
                        f"{1e3 * theirs.seconds:.2f} ms",
                        theirs.seconds / ours.seconds,
                        theirs.core_seconds / max(ours.core_seconds, 1e-9),
                        goal,
                    )
                )
    return result, rows
