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

from promu.modeling import chain

ROLES = ("O", "B-type", "I-type")
"""The labels of a CRF that knows no types."""


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
        start, follows = map(torch.from_numpy, chain.legal_transitions(labels))
        self.start = nn.Parameter(torch.zeros(len(labels)))
        self.end = nn.Parameter(torch.zeros(len(labels)))
        self.transitions = nn.Parameter(torch.zeros(len(labels), len(labels)))
        self.register_buffer("legal_start", start)
        self.register_buffer("legal_transitions", follows)

    def start_weights(self) -> None:
        """Zero scores and the legal moves, where no checkpoint holds them."""
        start, follows = map(torch.from_numpy, chain.legal_transitions(self.labels))
        init.copy_(self.legal_start, start)
        init.copy_(self.legal_transitions, follows)
        for parameter in (self.start, self.end, self.transitions):
            init.zeros_(parameter)

    def parts(self, labels: int) -> tuple[Tensor, Tensor, Tensor, Tensor, Tensor]:
        """Scores of starting (C,), of moving (C, C) and of ending (C,); which starts and moves are legal."""
        return self.start, self.transitions, self.end, self.legal_start, self.legal_transitions

    def weights(self, labels: int | None = None) -> chain.Crf:
        """Its weights as they are now, as arrays: what decodes; over so many labels, by default its own."""
        start, moves, end, *legal = self.parts(labels or len(self.labels))
        scores = (values.detach().to("cpu", torch.float64).numpy() for values in (start, moves, end))
        return chain.Crf(*scores, *(one.cpu().numpy() for one in legal))

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
        count = emissions.shape[-1]
        if emissions.device.type == "cpu":
            scores = self.weights(count).scores(emissions.detach().double().numpy(), mask.numpy())
            if (weights := chain.to_weights(scores)) is not None:
                given = (emissions, *self.parts(count)[:3])
                return _NegativeLogLikelihood.apply(*given, scores, weights, labels.numpy(), mask.numpy())
        with torch.autocast(emissions.device.type, enabled=False):
            return self._in_log_space(emissions, labels, mask)

    def _in_log_space(self, emissions: Tensor, labels: Tensor, mask: Tensor) -> Tensor:
        """As `forward`, by torch and word by word."""
        dtype = torch.float64 if emissions.device.type == "cpu" else torch.float32
        start, transitions, end, legal_start, legal_transitions = self.parts(emissions.shape[-1])
        start = start.to(dtype).masked_fill(~legal_start, chain.FORBIDDEN)
        transitions = transitions.to(dtype).masked_fill(~legal_transitions, chain.FORBIDDEN)
        end, emissions, weights = end.to(dtype), emissions.to(dtype), mask.to(dtype)
        alpha = start + emissions[:, 0]
        for word in range(1, emissions.shape[1]):
            after = torch.logsumexp(alpha[:, :, None] + transitions, dim=1) + emissions[:, word]
            alpha = torch.where(mask[:, word, None], after, alpha)
        emitted = (emissions.gather(2, labels[..., None]).squeeze(2) * weights).sum(1)
        moved = (transitions[labels[:, :-1], labels[:, 1:]] * weights[:, 1:]).sum(1)
        last = labels.gather(1, (mask.sum(1) - 1).clamp(min=0)[:, None]).squeeze(1)
        loss = torch.logsumexp(alpha + end, dim=1) - (start[labels[:, 0]] + emitted + moved + end[last])
        return torch.where(mask.any(1), loss, torch.zeros_like(loss)).float()


class RoleCrf(LinearChainCrf):
    """A CRF over O, and B and I of any number of types, whose scores depend on these roles alone.

    I may only follow B or I of its own type.

    Example:
        ```python
        from promu.modeling.crf import RoleCrf

        crf = RoleCrf()
        assert crf.weights(1 + 2 * 5).transitions.shape == (11, 11)
        ```
    """

    def __init__(self) -> None:
        super().__init__(ROLES)

    def parts(self, labels: int) -> tuple[Tensor, Tensor, Tensor, Tensor, Tensor]:
        """As of `LinearChainCrf`, each label with the scores of its role: O first, then B and I of each type."""
        place = torch.arange(labels, device=self.start.device)
        roles = torch.where(place == 0, 0, 1 + (place - 1) % 2)
        types = (place + 1) // 2  # of O that is 0
        same = (roles[None, :] != 2) | (types[:, None] == types[None, :])
        legal = self.legal_transitions[roles[:, None], roles[None, :]] & same
        moves = self.transitions[roles[:, None], roles[None, :]]
        return self.start[roles], moves, self.end[roles], self.legal_start[roles], legal


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
