"""A linear-chain CRF over BIO labels (Eq 12, 13) that can neither learn nor emit an illegal transition.

On the CPU the loss and its gradient, which is expected counts less observed ones, come out of one forward-backward pass
(`promu.modeling.chain`), of which autograd records nothing. Elsewhere, and where the scores range too widely for that
pass, the sums are made word by word in log space.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from transformers import initialization as init

from promu.errors import InputError
from promu.modeling import chain


def span_probability(marginals: Tensor, start: int, labels: Sequence[int]) -> float:
    """The smallest of the marginal probabilities (W, C) of a span's labels, of which the first is at word `start`."""
    words = torch.arange(start, start + len(labels))
    # a marginal comes out of a sum of exponentials and may exceed 1 by the last bit
    return min(float(marginals[words, torch.tensor(labels)].min()), 1.0)


def bio_labels(types: Sequence[str]) -> list[str]:
    """O, then B- and I- of each type."""
    return ["O", *(f"{prefix}-{kind}" for kind in types for prefix in ("B", "I"))]


def legal_transitions(labels: Sequence[str]) -> tuple[Tensor, Tensor]:
    """Which labels may start a sequence (C,) and which may follow which (C, C), as booleans.

    I-x may only follow B-x or I-x.

    Raises:
        InputError: A label is not O, B-x or I-x.
    """
    for label in labels:
        if label != "O" and label[:2] not in ("B-", "I-"):
            raise InputError(f"label {label!r} is not in BIO form; use O, B-<type> and I-<type>")
    start = [not label.startswith("I-") for label in labels]
    follows = [[not b.startswith("I-") or (a != "O" and a[2:] == b[2:]) for b in labels] for a in labels]
    return torch.tensor(start), torch.tensor(follows)


class LinearChainCrf(nn.Module):
    """Linear-chain CRF with start and end scores; BIO-invalid transitions masked in training and in decoding.

    Sums are in double precision (fp32 off the CPU), also inside autocast. The names of the labels are in the order of
    the emissions' last dimension.
    """

    legal_start: Tensor
    legal_transitions: Tensor

    def __init__(self, labels: Sequence[str]) -> None:
        super().__init__()
        self.labels = tuple(labels)
        start, follows = legal_transitions(labels)
        self.start = nn.Parameter(torch.zeros(len(labels)))
        self.end = nn.Parameter(torch.zeros(len(labels)))
        self.transitions = nn.Parameter(torch.zeros(len(labels), len(labels)))
        self.register_buffer("legal_start", start)
        self.register_buffer("legal_transitions", follows)

    def start_weights(self) -> None:
        """Zero scores and the legal moves, where no checkpoint holds them."""
        start, follows = legal_transitions(self.labels)
        init.copy_(self.legal_start, start)
        init.copy_(self.legal_transitions, follows)
        for parameter in (self.start, self.end, self.transitions):
            init.zeros_(parameter)

    def _scores(self, emissions: Tensor, mask: Tensor, temperature: float = 1.0) -> chain.Chain:
        """The scores, divided by the temperature, as arrays of doubles."""
        start, moves, end, emitted = (
            values.detach().to("cpu", torch.float64).numpy() / temperature
            for values in (self.start, self.transitions, self.end, emissions)
        )
        return chain.Chain(
            np.where(mask.cpu().numpy()[..., None], emitted, 0.0),
            np.where(self.legal_start.cpu().numpy(), start, chain.FORBIDDEN),
            np.where(self.legal_transitions.cpu().numpy(), moves, chain.FORBIDDEN),
            end,
        )

    def forward(self, emissions: Tensor, labels: Tensor, mask: Tensor) -> Tensor:
        """-log p(Y | e) of each sequence (Eq 12, 13).

        Args:
            emissions: (B, W, C).
            labels: (B, W) label ids; what stands where the mask is 0 does not matter.
            mask: (B, W), 1 for the words of the sequence, which come first.

        Returns:
            (B,) in fp32; 0 for a sequence without words.
        """
        mask = mask.bool()
        labels = labels.masked_fill(~mask, 0)
        if emissions.device.type == "cpu":
            scores = self._scores(emissions, mask)
            if (weights := chain.to_weights(scores)) is not None:
                given = (emissions, self.start, self.transitions, self.end)
                return _NegativeLogLikelihood.apply(*given, scores, weights, labels.numpy(), mask.numpy())
        with torch.autocast(emissions.device.type, enabled=False):
            return self._in_log_space(emissions, labels, mask)

    def _in_log_space(self, emissions: Tensor, labels: Tensor, mask: Tensor) -> Tensor:
        """As `forward`, by torch and word by word."""
        dtype = torch.float64 if emissions.device.type == "cpu" else torch.float32
        start = self.start.to(dtype).masked_fill(~self.legal_start, chain.FORBIDDEN)
        transitions = self.transitions.to(dtype).masked_fill(~self.legal_transitions, chain.FORBIDDEN)
        end, emissions, weights = self.end.to(dtype), emissions.to(dtype), mask.to(dtype)
        alpha = start + emissions[:, 0]
        for word in range(1, emissions.shape[1]):
            after = torch.logsumexp(alpha[:, :, None] + transitions, dim=1) + emissions[:, word]
            alpha = torch.where(mask[:, word, None], after, alpha)
        emitted = (emissions.gather(2, labels[..., None]).squeeze(2) * weights).sum(1)
        moved = (transitions[labels[:, :-1], labels[:, 1:]] * weights[:, 1:]).sum(1)
        last = labels.gather(1, (mask.sum(1) - 1).clamp(min=0)[:, None]).squeeze(1)
        loss = torch.logsumexp(alpha + end, dim=1) - (start[labels[:, 0]] + emitted + moved + end[last])
        return torch.where(mask.any(1), loss, torch.zeros_like(loss)).float()

    @torch.no_grad()
    def decode(self, emissions: Tensor, mask: Tensor) -> list[list[int]]:
        """The best legal label sequence of each row (Viterbi), as long as its mask; arguments as in `forward`."""
        mask = mask.bool()
        return chain.viterbi(self._scores(emissions, mask), mask.sum(1).cpu().numpy())

    @torch.no_grad()
    def marginals(self, emissions: Tensor, mask: Tensor, temperature: float = 1.0) -> Tensor:
        """p(y_w = c | e) of every word: (B, W, C) in fp32, zeros where the mask is 0 (forward-backward).

        The score of every path is divided by the temperature: above 1 makes the model less sure.
        """
        mask = mask.bool()
        inside = mask.cpu().numpy()
        scores = self._scores(emissions, mask, temperature)
        weights = chain.to_weights(scores)
        found = (
            chain.log_space_marginals(scores, inside)
            if weights is None
            else chain.forward_backward(weights, inside).marginals
        )
        return torch.from_numpy(found).transpose(0, 1).to(emissions.device, torch.float32)


class _NegativeLogLikelihood(torch.autograd.Function):
    """log Z less the path's score; its gradient is the expected counts less the observed ones."""

    @staticmethod
    @np.errstate(all="ignore")  # a loss that is no number ends the training, with a sentence
    def forward(ctx: Any, *inputs: Any) -> Tensor:
        """Of emissions, start, transitions, end; then of what they are made to: chain, weights, labels and mask."""
        scores, weights, labels, mask = inputs[4:]
        found = chain.forward_backward(weights, mask)
        ctx.paths = (found, weights, labels, mask)
        ctx.dtypes = [given.dtype for given in inputs[:4]]
        loss = np.where(mask[:, 0], found.log_partition - chain.path_scores(scores, labels, mask), 0.0)
        return torch.from_numpy(loss).float()

    @staticmethod
    @np.errstate(all="ignore")
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor | None, ...]:
        found, weights, labels, mask = ctx.paths
        counts = chain.surplus_counts(found, weights, labels, mask, gradients[0].double().numpy())
        typed = (torch.from_numpy(count).to(dtype) for count, dtype in zip(counts, ctx.dtypes, strict=True))
        return *typed, None, None, None, None
