"""The likely entities of a text by the scores of a CRF, in NumPy: what a joint model relates and chooses from.

A span's gain is what the score of the path without entities gains by it, its margin the score of the best path that has
it. Both are sums of what is paid at the span's first word, within it and after its last word.
"""

from __future__ import annotations

import math
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from promu.modeling.chain import FORBIDDEN, Crf

LONGEST = 12
"""Words of an entity at most."""
FEWEST = 6
"""Candidates of a text at least, as far as it has spans; above that there is one for every two words."""
ALIKE = 1e-3
"""Paths whose scores differ by less are equally good."""

Doubles = NDArray[np.float64]
Integers = NDArray[np.int64]


class Candidates(NamedTuple):
    """What the answer is chosen from: the likeliest spans of each text.

    Attributes:
        spans: (B, K, 2) words, end exclusive, by position.
        mask: (B, K), 1 for candidates, 0 for padding.
        gains: (B, K, T) what each gains as an entity of each type (`span_gains`).
        relations: (B, K, K, 1 + R) logits of `None` and of each relation, from head to tail.
        emissions: (B, W, 1 + 2 T) of the words' labels: O, then B- and I- of each type.
    """

    spans: Integers
    mask: Integers
    gains: Doubles
    relations: NDArray[Any]
    emissions: NDArray[Any]


def propose(emissions: NDArray[Any], crf: Crf, word_mask: NDArray[Any]) -> tuple[Integers, Integers, Doubles]:
    """The spans, mask and gains of `Candidates` by emissions (B, W, 1 + 2 T); word_mask (B, W) is 1 for words."""
    spans, mask = choose_candidates(span_margins(emissions, crf, word_mask), word_mask)
    places = spans[..., 0], spans[..., 1] - spans[..., 0] - 1
    return spans, mask, span_gains(emissions, crf, word_mask)[np.arange(len(spans))[:, None], *places]


def span_gains(emissions: NDArray[Any], crf: Crf, word_mask: NDArray[Any]) -> Doubles:
    """What the score of the CRF's path gains by one entity over none at all.

    Args:
        emissions: (B, W, 1 + 2 T).
        crf: Over O, then B- and I- of each type.
        word_mask: (B, W), 1 for words.

    Returns:
        (B, W, L, T) for the span of l + 1 words from word w; -inf for one that does not end within the text.
    """
    places = np.arange(emissions.shape[1])
    moves = crf.transitions - crf.transitions[0, 0]
    over_none = emissions.astype(np.float64) - emissions[..., :1]
    enter = np.where(places[:, None] == 0, crf.start - crf.start[0], moves[0]) + over_none
    last = word_mask.sum(1, keepdims=True) - 1 == places
    leave = np.where(last[..., None], crf.end - crf.end[0], moves[:, 0])
    return _sum_over_spans(enter, over_none, moves, leave, word_mask)


def span_margins(emissions: NDArray[Any], crf: Crf, word_mask: NDArray[Any]) -> Doubles:
    """The score of the CRF's best path among those with an entity; arguments and result as of `span_gains`."""
    emissions = emissions.astype(np.float64)
    moves = np.where(crf.legal_transitions, crf.transitions, FORBIDDEN)
    rows, words, kinds = emissions.shape
    ends = word_mask.sum(1) - 1
    before = np.where(crf.legal_start, crf.start, FORBIDDEN)
    enter, leave = np.empty_like(emissions), np.empty_like(emissions)
    for word in range(words):  # the best that comes before a label, and the label
        enter[:, word] = before + emissions[:, word]
        before = (enter[:, word, :, None] + moves).max(1)
    outside = moves.copy()
    outside[:, 2::2] = FORBIDDEN  # an entity is over where no I- follows
    after = leave[:, -1] = np.broadcast_to(crf.end, (rows, kinds))
    for word in reversed(range(words - 1)):  # the best that comes after a label
        follows = (emissions[:, word + 1] + after)[:, None]
        stops = (ends == word)[:, None]
        leave[:, word] = np.where(stops, crf.end, (follows + outside).max(2))
        after = np.where(stops, crf.end, (follows + moves).max(2))
    return _sum_over_spans(enter, emissions, moves, leave, word_mask)


def _sum_over_spans(
    enter: Doubles, emissions: Doubles, moves: Doubles, leave: Doubles, word_mask: NDArray[Any]
) -> Doubles:
    """(B, W, L, T): what is paid at a span's first word, within it and after its last word; -inf past the text.

    By label (B, W, 1 + 2 T): `enter` for a first word, its emission included, `emissions` for the words after it,
    `leave` for a last word.
    """
    lengths = np.arange(LONGEST)[:, None]
    # (B, W + L, T) of what comes before
    sums = _windows(np.pad(emissions[..., 2::2].cumsum(1), ((0, 0), (1, LONGEST - 1), (0, 0))))[:, 1:]
    begun, longer = moves.diagonal(1)[1::2], moves.diagonal()[2::2]
    within = sums - sums[:, :, :1] + (lengths > 0) * begun + np.maximum(lengths - 1, 0) * longer
    leave = np.pad(leave, ((0, 0), (0, LONGEST - 1), (0, 0)))
    left = np.where(lengths == 0, _windows(leave[..., 1::2]), _windows(leave[..., 2::2]))
    scores = enter[..., 1::2][:, :, None] + within + left
    ends = np.arange(emissions.shape[1])[:, None] + lengths[:, 0] + 1
    return np.where((ends > word_mask.sum(1)[:, None, None])[..., None], -math.inf, scores)


def _windows(values: Doubles) -> Doubles:
    """(B, N, T) to (B, N - L + 1, L, T): from each place the next `LONGEST`."""
    return np.lib.stride_tricks.sliding_window_view(values, LONGEST, axis=1).swapaxes(2, 3)


def touching_gains(crf: Crf) -> Doubles:
    """What two entities that touch gain beside `span_gains` of both, (2, T, T): see `joint_decoding.decode`.

    The path moves from the last label of one to the first of the other, where the two spans' gains count a move to O
    and one from O.
    """
    moves = crf.transitions - crf.transitions[0, 0]
    last = np.stack([moves[1::2], moves[2::2]])
    gains: Doubles = last[..., 1::2] - last[..., :1] - moves[0, 1::2]
    return gains


def choose_candidates(margins: Doubles, word_mask: NDArray[Any]) -> tuple[Integers, Integers]:
    """The spans of each text that, by `margins` (B, W, L, T), the best paths have as an entity of some type.

    There is one for every two words of the text, whatever the batch, and all entities of the best path are among them,
    however many they are.

    Returns:
        (B, K, 2) words, end exclusive, and (B, K) 1 for candidates, 0 for padding.
    """
    best = margins.max(-1).reshape(len(margins), -1)
    within = np.isfinite(best)
    top = np.max(best, axis=1, keepdims=True, where=within, initial=-math.inf)
    best = np.where(within, np.subtract(best, top, where=within, out=np.zeros_like(best)), -math.inf)
    counts = np.maximum((word_mask.sum(1) + 1) // 2, FEWEST)
    on_best = best > -ALIKE
    counts = np.minimum(np.maximum(counts, on_best.sum(1)), within.sum(1))
    # spans of one path are equally likely, but for rounding: the earlier ones come first
    best = np.where(on_best, 1.0, best) - np.arange(best.shape[1]) * (ALIKE / 10)
    likeliest = np.argsort(-best, axis=1, kind="stable")[:, : max(1, int(counts.max()))]
    shown = np.arange(likeliest.shape[1]) < counts[:, None]
    places = np.sort(np.where(shown, likeliest, best.shape[1]), axis=1)
    mask = (places < best.shape[1]).astype(np.int64)
    start = places // LONGEST * mask
    return np.stack([start, start + places % LONGEST * mask + 1], axis=-1), mask
