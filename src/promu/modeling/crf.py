"""A linear-chain CRF over BIO labels (Eq 12, 13) that can neither learn nor emit an illegal transition."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import nn
from transformers import initialization as init

from promu.errors import InputError

FORBIDDEN = -1e4
"""Score of an illegal transition: far below any legal path, yet finite, so that gradients stay clean."""


def bio_labels(types: Sequence[str]) -> list[str]:
    """O, then B- and I- of each type."""
    return ["O", *(f"{prefix}-{kind}" for kind in types for prefix in ("B", "I"))]


def legal_transitions(labels: Sequence[str]) -> tuple[torch.Tensor, torch.Tensor]:
    """Which labels may start a sequence (C,) and which may follow which (C, C), as booleans.

    I-x may only follow B-x or I-x.

    Raises:
        InputError: A label is not O, B-x or I-x.
    """
    for label in labels:
        if label != "O" and label[:2] not in ("B-", "I-"):
            raise InputError(f"label {label!r} is not in BIO form; use O, B-<type> and I-<type>")
    start = torch.tensor([not label.startswith("I-") for label in labels])
    follows = torch.tensor(
        [
            [not after.startswith("I-") or (before != "O" and before[2:] == after[2:]) for after in labels]
            for before in labels
        ]
    )
    return start, follows


class LinearChainCrf(nn.Module):
    """Linear-chain CRF with start and end scores; BIO-invalid transitions masked in training and in decoding.

    All sums are in fp32, also inside autocast.

    Args:
        labels: Label names, in the order of the emissions' last dimension.
    """

    legal_start: torch.Tensor
    legal_transitions: torch.Tensor

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

    def _scores(self) -> tuple[torch.Tensor, torch.Tensor]:
        start = self.start.float().masked_fill(~self.legal_start, FORBIDDEN)
        transitions = self.transitions.float().masked_fill(~self.legal_transitions, FORBIDDEN)
        return start, transitions

    def forward(self, emissions: torch.Tensor, labels: torch.Tensor, mask: torch.Tensor) -> torch.Tensor:
        """-log p(Y | e) of each sequence (Eq 12, 13).

        Args:
            emissions: (B, W, C).
            labels: (B, W) label ids; what stands where the mask is 0 does not matter.
            mask: (B, W), 1 for the words of the sequence, which come first.

        Returns:
            (B,); 0 for a sequence without words.
        """
        with torch.autocast(emissions.device.type, enabled=False):
            emissions = emissions.float()
            mask = mask.bool()
            labels = labels.masked_fill(~mask, 0)
            score = self._path_score(emissions, labels, mask) - self._log_partition(emissions, mask)
            return torch.where(mask.any(1), -score, torch.zeros_like(score))

    def _path_score(self, emissions: torch.Tensor, labels: torch.Tensor, mask: torch.Tensor) -> torch.Tensor:
        start, transitions = self._scores()
        weights = mask.float()
        emitted = (emissions.gather(2, labels[..., None]).squeeze(2) * weights).sum(1)
        moved = (transitions[labels[:, :-1], labels[:, 1:]] * weights[:, 1:]).sum(1)
        last = labels.gather(1, (mask.sum(1) - 1).clamp(min=0)[:, None]).squeeze(1)
        return start[labels[:, 0]] + emitted + moved + self.end.float()[last]

    def _log_partition(self, emissions: torch.Tensor, mask: torch.Tensor) -> torch.Tensor:
        start, transitions = self._scores()
        alpha = start + emissions[:, 0]
        for step in range(1, emissions.shape[1]):
            after = torch.logsumexp(alpha[:, :, None] + transitions, dim=1) + emissions[:, step]
            alpha = torch.where(mask[:, step, None], after, alpha)
        return torch.logsumexp(alpha + self.end.float(), dim=1)

    @torch.no_grad()
    def decode(self, emissions: torch.Tensor, mask: torch.Tensor) -> list[list[int]]:
        """The best legal label sequence of each row (Viterbi), as long as its mask.

        Args:
            emissions: (B, W, C).
            mask: (B, W), 1 for the words of the sequence, which come first.
        """
        start, transitions = self._scores()
        emissions = emissions.float()
        mask = mask.bool()
        best = start + emissions[:, 0]
        pointers = []
        for step in range(1, emissions.shape[1]):
            score, pointer = (best[:, :, None] + transitions).max(dim=1)
            best = torch.where(mask[:, step, None], score + emissions[:, step], best)
            pointers.append(pointer)
        lengths = mask.sum(1).tolist()
        last = (best + self.end.float()).argmax(1).tolist()
        history = torch.stack(pointers, 1).tolist() if pointers else [[] for _ in lengths]
        paths = []
        for row, length in enumerate(lengths):
            path = [last[row]] if length else []
            for step in range(length - 2, -1, -1):
                path.append(history[row][step][path[-1]])
            paths.append(path[::-1])
        return paths

    @torch.no_grad()
    def marginals(self, emissions: torch.Tensor, mask: torch.Tensor) -> torch.Tensor:
        """p(y_w = c | e) of every word: (B, W, C), zeros where the mask is 0 (forward-backward)."""
        start, transitions = self._scores()
        emissions = emissions.float()
        mask = mask.bool()
        forward = [start + emissions[:, 0]]
        for step in range(1, emissions.shape[1]):
            after = torch.logsumexp(forward[-1][:, :, None] + transitions, dim=1) + emissions[:, step]
            forward.append(torch.where(mask[:, step, None], after, forward[-1]))
        beta = self.end.float().expand_as(forward[0])
        backward = [beta]
        for step in range(emissions.shape[1] - 1, 0, -1):
            before = torch.logsumexp(transitions + (emissions[:, step] + beta)[:, None, :], dim=2)
            beta = torch.where(mask[:, step, None], before, beta)
            backward.append(beta)
        total = torch.logsumexp(forward[-1] + self.end.float(), dim=1)
        scores = torch.stack(forward, 1) + torch.stack(backward[::-1], 1) - total[:, None, None]
        return scores.exp() * mask[..., None]
