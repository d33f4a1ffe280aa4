"""Sums and maxima over the paths of a linear chain, in NumPy: what the CRF computes on the CPU, and its decoder.

The arrays are small and the words follow one another, so that time goes into calls rather than arithmetic, and a call
of NumPy costs a fraction of one of torch. Sums are made of weights, the exponentials of the scores: one pass over the
words carries the forward and the backward messages of all rows, a small matrix product a word.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple, Self

import numpy as np
from numpy.typing import NDArray

from promu.errors import InputError

FORBIDDEN = -1e4
"""Score of an illegal transition: far below any legal path, yet finite, so that gradients stay clean."""
SCALED_EVERY = 4
"""Words after which messages are scaled again."""

Doubles = NDArray[np.float64]
Integers = NDArray[np.int64]
Booleans = NDArray[np.bool_]


class Chain(NamedTuple):
    """The scores of every path: emissions (B, W, C), zeros for padding, and of starting, moving and ending.

    `start` is (C,), `moves` (C, C) from the first label to the second, `end` (C,); illegal ones are `FORBIDDEN`.
    """

    emissions: Doubles
    start: Doubles
    moves: Doubles
    end: Doubles


def bio_labels(types: Sequence[str]) -> list[str]:
    """O, then B- and I- of each type."""
    return ["O", *(f"{prefix}-{kind}" for kind in types for prefix in ("B", "I"))]


def legal_transitions(labels: Sequence[str]) -> tuple[Booleans, Booleans]:
    """Which labels may start a sequence (C,) and which may follow which (C, C).

    I-x may only follow B-x or I-x.

    Raises:
        InputError: A label is not O, B-x or I-x.
    """
    for label in labels:
        if label != "O" and label[:2] not in ("B-", "I-"):
            raise InputError(f"label {label!r} is not in BIO form; use O, B-<type> and I-<type>")
    start = [not label.startswith("I-") for label in labels]
    follows = [[not b.startswith("I-") or (a != "O" and a[2:] == b[2:]) for b in labels] for a in labels]
    return np.array(start), np.array(follows)


def span_probability(marginals: NDArray[Any], start: int, labels: Sequence[int]) -> float:
    """The smallest of the marginal probabilities (W, C) of a span's labels, of which the first is at word `start`."""
    # a marginal comes out of a sum of exponentials and may exceed 1 by the last bit
    return min(float(marginals[np.arange(start, start + len(labels)), list(labels)].min()), 1.0)


class Crf(NamedTuple):
    """The weights of a CRF, which decodes emissions of whatever computes them (`LinearChainCrf.weights`).

    `start` and `end` are (C,), `transitions` (C, C) from the first label to the second; the `legal_` ones say which of
    them count.

    Example:
        ```python
        import numpy as np
        from promu.modeling.chain import Crf

        weights = {"start": np.zeros(3), "end": np.zeros(3), "transitions": np.zeros((3, 3))}
        crf = Crf.of(["O", "B-PER", "I-PER"], weights)
        emissions, mask = np.array([[[0.0, 1.0, 3.0], [0.0, 1.0, 3.0]]]), np.ones((1, 2), int)
        assert crf.decode(emissions, mask) == [[1, 2]]  # I-PER may not come first
        ```
    """

    start: NDArray[Any]
    transitions: NDArray[Any]
    end: NDArray[Any]
    legal_start: Booleans
    legal_transitions: Booleans

    @classmethod
    def of(cls, labels: Sequence[str], weights: Mapping[str, NDArray[Any]]) -> Self:
        """The decoder over these labels, by the names of its weights.

        Raises:
            InputError: A label is not in BIO form.
        """
        return cls(weights["start"], weights["transitions"], weights["end"], *legal_transitions(labels))

    def scores(self, emissions: NDArray[Any], mask: NDArray[Any], temperature: float = 1.0) -> Chain:
        """The scores of every path by emissions (B, W, C) and mask (B, W), divided by the temperature, as doubles."""
        start, moves, end, emitted = (
            values.astype(np.float64) / temperature for values in (self.start, self.transitions, self.end, emissions)
        )
        return Chain(
            np.where(mask[..., None] > 0, emitted, 0.0),
            np.where(self.legal_start, start, FORBIDDEN),
            np.where(self.legal_transitions, moves, FORBIDDEN),
            end,
        )

    def decode(self, emissions: NDArray[Any], mask: NDArray[Any]) -> list[list[int]]:
        """The best legal label sequence of each row (Viterbi), as long as its mask says.

        Args:
            emissions: (B, W, C).
            mask: (B, W), 1 for the words of the sequence, which come first.
        """
        return viterbi(self.scores(emissions, mask), (mask > 0).sum(1))

    def marginals(self, emissions: NDArray[Any], mask: NDArray[Any], temperature: float = 1.0) -> NDArray[np.float32]:
        """p(y_w = c | e) of every word: (B, W, C), zeros where the mask is 0 (forward-backward).

        The score of every path is divided by the temperature: above 1 makes the model less sure.
        """
        inside = mask > 0
        scores = self.scores(emissions, inside, temperature)
        weights = to_weights(scores)
        found = log_space_marginals(scores, inside) if weights is None else forward_backward(weights, inside).marginals
        return found.transpose(1, 0, 2).astype(np.float32)


class Weights(NamedTuple):
    """Emissions and scores, in the shapes of `Chain`, as weights of at most 1, 0 for what is illegal.

    `log_emitted` and `log_scores` are logs of what the weight of an emission and of any other score was divided by.
    """

    emitted: Doubles
    start: Doubles
    moves: Doubles
    end: Doubles
    log_emitted: float
    log_scores: float


class Expectations(NamedTuple):
    """What `forward_backward` finds out, words first.

    Attributes:
        log_partition: (B,) log of the summed weight of all paths; meaningless for a row without words.
        marginals: (W, B, C) p(y_w = c), zeros for padding.
        before, after: (W-1, B, C) factors of the moves' probabilities: that of moving from i at word w to j at word
            w + 1 is `before[w, i] * moves[i, j] * after[w, j]`; zeros of `after` for padding.
    """

    log_partition: Doubles
    marginals: Doubles
    before: Doubles
    after: Doubles


def to_weights(chain: Chain) -> Weights | None:
    """The weights of a chain; None where its scores range too widely for `forward_backward`.

    Let r be the range of the emissions plus that of the legal scores. A message scaled to sum to 1 has no entry for a
    legal label below about exp(-2 r), and each word more without scaling lowers it by exp(-r) at most: no product of
    two messages and no quotient by one goes beyond exp(±(2 k + 1) r), k being `SCALED_EVERY`.
    """
    emissions, start, moves, end = chain
    scores = np.concatenate([start, moves.ravel(), end])
    legal = scores[scores > FORBIDDEN / 2]
    highest, top = float(emissions.max(initial=-math.inf)), float(legal.max(initial=FORBIDDEN))
    reach = highest - float(emissions.min(initial=math.inf)) + top - float(legal.min(initial=0.0))
    # written so that a score that is not a number counts as too wide
    if not (2 * SCALED_EVERY + 1) * reach < -math.log(np.finfo(np.float64).tiny):
        return None
    scores = np.exp(scores - top)
    kinds = len(start)
    moves = scores[kinds:-kinds].reshape(kinds, kinds)
    return Weights(np.exp(emissions - highest), scores[:kinds], moves, scores[-kinds:], highest, top)


def forward_backward(weights: Weights, mask: Booleans) -> Expectations:
    """Both messages of every word in one pass, scaled now and then to sum to 1.

    The backward messages are made as the forward ones are, with the words and the moves turned round: they include the
    emission of their own word. What a row begins with comes in from the edge: at the first word for the forward
    messages, at the row's last word for the backward ones, which are 0 before that.

    The mask is (B, W), the words of a row first.
    """
    rows, words, kinds = weights.emitted.shape
    lengths = mask.sum(1)
    edges = np.zeros((words, 2, rows, kinds))
    emitted, messages = np.empty_like(edges), np.empty_like(edges)
    edges[0, 0] = weights.start
    full = np.flatnonzero(lengths)
    edges[words - lengths[full], 1, full] = weights.end
    emitted[:, 0] = weights.emitted.transpose(1, 0, 2)
    emitted[:, 1] = emitted[::-1, 0]
    steps = np.stack([weights.moves, weights.moves.T])
    log_partition = weights.log_emitted * lengths + weights.log_scores * (lengths + 1)
    now = np.zeros((2, rows, kinds))
    for word in range(words):
        now = np.matmul(now, steps, out=messages[word])
        now += edges[word]
        now *= emitted[word]
        if (word + 1) % SCALED_EVERY == 0 and word + 1 < words:
            total = now.sum(-1, keepdims=True)
            total[total == 0.0] = 1.0
            log_partition += np.log(total[1, :, 0])
            now /= total

    forward, after = messages[:, 0], messages[::-1, 1][1:]
    backward = edges[::-1, 1].copy()
    backward[:-1] += after @ weights.moves.T
    total = (forward * backward).sum(-1, keepdims=True)
    total[~mask.T] = 1.0
    log_partition += np.log(total[0, :, 0])
    before = forward / total
    return Expectations(log_partition, before * backward, before[:-1], after)


def log_space_marginals(chain: Chain, mask: Booleans) -> Doubles:
    """The marginals of `forward_backward`, whatever the range of the scores, by sums in log space."""
    emissions = chain.emissions.transpose(1, 0, 2)
    inside = mask.T[..., None]
    forward = np.empty_like(emissions)
    backward = np.empty_like(emissions)
    forward[0] = chain.start + emissions[0]
    for word in range(1, len(emissions)):
        reached = np.logaddexp.reduce(forward[word - 1][..., None] + chain.moves, axis=1) + emissions[word]
        forward[word] = np.where(inside[word], reached, forward[word - 1])
    backward[-1] = chain.end
    for word in range(len(emissions) - 1, 0, -1):
        ahead = np.logaddexp.reduce(chain.moves + (emissions[word] + backward[word])[:, None], axis=2)
        backward[word - 1] = np.where(inside[word], ahead, backward[word])
    total = np.logaddexp.reduce(forward[-1] + chain.end, axis=1)
    marginals: Doubles = np.exp(forward + backward - total[:, None]) * inside
    return marginals


def path_scores(chain: Chain, labels: Integers, mask: Booleans) -> Doubles:
    """Score (B,) of the paths `labels` (B, W): emissions, moves, start and end; mask as in `forward_backward`."""
    every = np.arange(len(labels))
    emitted = chain.emissions[every[:, None], np.arange(labels.shape[1]), labels].sum(1)
    moved = (chain.moves[labels[:, :-1], labels[:, 1:]] * mask[:, 1:]).sum(1)
    scores: Doubles = chain.start[labels[:, 0]] + emitted + moved + chain.end[labels[every, mask.sum(1) - 1]]
    return scores


def surplus_counts(
    found: Expectations, weights: Weights, labels: Integers, mask: Booleans, rows: Doubles
) -> tuple[Doubles, Doubles, Doubles, Doubles]:
    """How much oftener each emission, start, move and end is expected than it occurs in the paths `labels` (B, W).

    This is the gradient of log Z less the paths' scores: (B, W, C), (C,), (C, C), (C,). What is illegal counts 0.
    `found` is what `forward_backward` returned of `weights`, `rows` (B,) what a row counts.
    """
    kinds = len(weights.end)
    every = np.arange(len(labels))
    emitted = found.marginals.copy()
    emitted[np.arange(labels.shape[1])[:, None], every, labels.T] -= mask.T
    emitted *= rows[:, None]
    expected = (found.before * rows[:, None]).reshape(-1, kinds).T @ found.after.reshape(-1, kinds)
    moves = (labels[:, :-1] * kinds + labels[:, 1:]).ravel()
    observed = np.bincount(moves, (mask[:, 1:] * rows[:, None]).ravel(), minlength=kinds * kinds)
    return (
        emitted.transpose(1, 0, 2),
        emitted[0].sum(0) * (weights.start > 0),
        (weights.moves * expected - observed.reshape(kinds, kinds)) * (weights.moves > 0),
        emitted[mask.sum(1) - 1, every].sum(0),
    )


def viterbi(chain: Chain, lengths: Integers) -> list[list[int]]:
    """The best path of each row, as long as `lengths` (B,) says."""
    emissions, start, moves, end = chain
    # labels before rows: NumPy is fastest at a maximum over the leading dimension
    steps = np.ascontiguousarray(emissions.transpose(1, 2, 0))
    words, kinds, rows = steps.shape
    best, candidates = np.empty_like(steps), np.empty((kinds, kinds, rows))
    spread = np.repeat(moves[:, :, None], rows, 2)
    now = np.add(steps[0], start[:, None], out=best[0])
    for word in range(1, words):
        np.add(now[:, None], spread, out=candidates)
        now = np.maximum.reduce(candidates, axis=0, out=best[word])
        now += steps[word]
    # back from each row's end, which is a label more that every label may move to
    leaving = np.concatenate([moves.T, end[None]])
    ended = np.arange(words)[:, None] >= lengths - 1
    paths = np.empty((words, rows), dtype=np.int64)
    label = np.full(rows, kinds)
    for word in range(words - 1, -1, -1):
        arriving = leaving[np.where(ended[word], kinds, label)]
        label = np.argmax(best[word].T + arriving, axis=1, out=paths[word])
    return [path[:length] for path, length in zip(paths.T.tolist(), lengths.tolist(), strict=True)]
