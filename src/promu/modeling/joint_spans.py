"""Spans as entities under the CRF: what each is worth as one, and which are worth relating."""

from __future__ import annotations

import math

import torch
from torch.nn import functional

from promu.modeling.chain import FORBIDDEN
from promu.modeling.crf import LinearChainCrf

LONGEST = 12
"""Words of an entity at most."""
FEWEST = 6
"""Candidates of a text at least, as far as it has spans; above that there is one for every two words."""
ALIKE = 1e-3
"""Paths whose scores differ by less are equally good."""


def span_gains(emissions: torch.Tensor, crf: LinearChainCrf, word_mask: torch.Tensor) -> torch.Tensor:
    """What the score of the CRF's path gains by one entity over none at all.

    Args:
        emissions: (B, W, 1 + 2 T).
        crf: Over O, then B- and I- of each type.
        word_mask: (B, W), 1 for words.

    Returns:
        (B, W, L, T) for the span of l + 1 words from word w; -inf for one that does not end within the text.
    """
    moves = crf.transitions - crf.transitions[0, 0]
    over_none = emissions - emissions[..., :1]
    first = torch.arange(emissions.shape[1], device=emissions.device) == 0
    enter = torch.where(first[:, None], crf.start - crf.start[0], moves[0]) + over_none
    last = (word_mask.sum(1, keepdim=True) - 1) == torch.arange(emissions.shape[1], device=emissions.device)
    leave = torch.where(last[..., None], crf.end - crf.end[0], moves[:, 0])
    return _sum_over_spans(enter, over_none, moves, leave, word_mask)


def span_margins(emissions: torch.Tensor, crf: LinearChainCrf, word_mask: torch.Tensor) -> torch.Tensor:
    """The score of the CRF's best path among those with an entity; arguments and result as of `span_gains`."""
    moves = crf.transitions.masked_fill(~crf.legal_transitions, FORBIDDEN)
    words = emissions.shape[1]
    ends = word_mask.sum(1) - 1
    before = crf.start.masked_fill(~crf.legal_start, FORBIDDEN).expand(len(emissions), -1)
    enter = []
    for word in range(words):  # the best that comes before a label, and the label
        enter.append(before + emissions[:, word])
        before = (enter[-1][:, :, None] + moves).amax(1)
    leave = [crf.end.expand(len(emissions), -1)]
    outside = moves.clone()
    outside[:, 2::2] = FORBIDDEN  # an entity is over where no I- follows
    after = leave[0]
    for word in reversed(range(words - 1)):  # the best that comes after a label
        follows = (emissions[:, word + 1] + after)[:, None]
        stops = (ends == word)[:, None]
        leave.append(torch.where(stops, crf.end, (follows + outside).amax(2)))
        after = torch.where(stops, crf.end, (follows + moves).amax(2))
    leave.reverse()
    return _sum_over_spans(torch.stack(enter, 1), emissions, moves, torch.stack(leave, 1), word_mask)


def _sum_over_spans(
    enter: torch.Tensor, emissions: torch.Tensor, moves: torch.Tensor, leave: torch.Tensor, word_mask: torch.Tensor
) -> torch.Tensor:
    """(B, W, L, T): what is paid at a span's first word, within it and after its last word; -inf past the text.

    Args:
        enter: (B, W, 1 + 2 T) for a first word, its emission included, by its label.
        emissions: (B, W, 1 + 2 T) for the words after the first.
        moves: (1 + 2 T, 1 + 2 T) from label to label.
        leave: (B, W, 1 + 2 T) for a last word by its label.
        word_mask: (B, W).
    """
    lengths = torch.arange(LONGEST, device=emissions.device)[:, None]
    sums = functional.pad(emissions[..., 2::2].cumsum(1), (0, 0, 1, LONGEST - 1))  # (B, W + L, T) of what comes before
    sums = _windows(sums)[:, 1:]
    begun, longer = moves.diagonal(1)[1::2], moves.diagonal()[2::2]
    within = sums - sums[:, :, :1] + (lengths > 0) * begun + (lengths - 1).clamp(min=0) * longer
    leave = functional.pad(leave, (0, 0, 0, LONGEST - 1))
    left = torch.where(lengths == 0, _windows(leave[..., 1::2]), _windows(leave[..., 2::2]))
    scores = enter[..., 1::2][:, :, None] + within + left
    ends = torch.arange(emissions.shape[1], device=emissions.device)[:, None] + lengths[:, 0] + 1
    return scores.masked_fill((ends > word_mask.sum(1)[:, None, None])[..., None], -math.inf)


def _windows(values: torch.Tensor) -> torch.Tensor:
    """(B, N, T) to (B, N - L + 1, L, T): from each place the next `LONGEST`."""
    return values.unfold(1, LONGEST, 1).transpose(2, 3)


def touching_gains(crf: LinearChainCrf) -> torch.Tensor:
    """What two entities that touch gain beside `span_gains` of both, (2, T, T): see `joint_decoding.decode`.

    The path moves from the last label of one to the first of the other, where the two spans' gains count a move to O
    and one from O.
    """
    moves = crf.transitions - crf.transitions[0, 0]
    last = torch.stack([moves[1::2], moves[2::2]])
    return last[..., 1::2] - last[..., :1] - moves[0, 1::2]


def gold_labels(entities: torch.Tensor, words: int) -> torch.Tensor:
    """(B, W) BIO label ids of the entities, see `PromuForJointExtraction.forward`."""
    start, end, kind = (part[..., None] for part in entities.unbind(-1))
    place = torch.arange(words, device=entities.device)
    labels = (2 * kind + 1 + (place > start)) * ((place >= start) & (place < end) & (kind >= 0))
    return labels.sum(1)


def choose_candidates(margins: torch.Tensor, word_mask: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """The spans of each text that the best paths have as an entity of some type.

    There is one for every two words of the text, whatever the batch, and all entities of the best path are among them,
    however many they are.

    Args:
        margins: (B, W, L, T), see `span_margins`.
        word_mask: (B, W).

    Returns:
        (B, K, 2) words, end exclusive, and (B, K) 1 for candidates, 0 for padding.
    """
    best = margins.amax(-1).flatten(1)
    within = best.isfinite()
    best = (best - best.amax(1, keepdim=True)).masked_fill(~within, -math.inf)
    counts = (word_mask.sum(1) + 1).div(2, rounding_mode="floor").clamp(min=FEWEST)
    on_best = best > -ALIKE
    counts = counts.maximum(on_best.sum(1)).minimum(within.sum(1))
    # spans of one path are equally likely, but for rounding: the earlier ones come first
    best = best.masked_fill(on_best, 1.0) - torch.arange(best.shape[1], device=best.device) * (ALIKE / 10)
    likeliest = best.topk(max(1, int(counts.max())), dim=1).indices
    shown = torch.arange(likeliest.shape[1], device=best.device) < counts[:, None]
    places = likeliest.masked_fill(~shown, best.shape[1]).sort(1).values
    mask = (places < best.shape[1]).long()
    start = places.div(LONGEST, rounding_mode="floor") * mask
    end = start + places.remainder(LONGEST) * mask + 1
    return torch.stack([start, end], dim=-1), mask


def grid_place(spans: torch.Tensor) -> torch.Tensor:
    """Where spans (..., 2) stand in a grid (W, L) that is flattened."""
    return spans[..., 0] * LONGEST + spans[..., 1] - spans[..., 0] - 1
