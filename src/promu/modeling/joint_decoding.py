"""The best legal answer of a joint model: entities and relations chosen together.

An answer is a set of typed spans that do not overlap, and relations between them: at most one a pair, in either
direction, and only where types and relation go together. Its score is what the CRF's path with these entities gains
over the path without any, less what has to be given up at each ordered pair of them: how far the log probability of
what is said of it, `None` included, falls short of the most probable choice. So types and relations that contradict
each other cost, while doubt about a relation alone does not count against its entities. The path's score is a sum over
entities but for one transition where two of them touch.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple, Self

import numpy as np
import numpy.typing as npt

from promu.modeling.inventory import Inventory

Floats = npt.NDArray[np.float64]
Integers = npt.NDArray[np.int64]
WIDTH = 1024
"""Partial answers that the search keeps at most; where that suffices, which it nearly always does, it is exact."""


@dataclass(frozen=True, slots=True)
class Decoded:
    """An answer.

    Attributes:
        entities: (candidate, type id), by candidate.
        relations: (head candidate, tail candidate, relation id), by the lower and then the higher candidate.
        score: What the answer gains over the one without entities.
        exact: Whether no legal answer can have a higher score.
    """

    entities: tuple[tuple[int, int], ...]
    relations: tuple[tuple[int, int, int], ...]
    score: float
    exact: bool


@dataclass(frozen=True, slots=True)
class Problem:
    """What there is to choose from.

    Attributes:
        entities: (K, T) what candidate i gains as an entity of type a.
        links: (K, K, T, T) what i and j gain or lose together where they have types a and b, by the best that can be
            said of them and by touching. Symmetric: `links[i, j, a, b] == links[j, i, b, a]`.
        spans: (K, 2) words, end exclusive.
    """

    entities: Floats
    links: Floats
    spans: Integers

    def apart(self) -> npt.NDArray[np.bool_]:
        """(K, K) whether two candidates do not overlap; False for a candidate and itself."""
        before = self.spans[:, None, 1] <= self.spans[None, :, 0]
        return before | before.T


def decode(
    spans: Sequence[tuple[int, int]],
    entity_gains: Floats,
    touching: Floats,
    relation_scores: Floats,
    inventory: Inventory,
    width: int = WIDTH,
) -> Decoded:
    """The answer with the highest score.

    Args:
        spans: K candidates, end exclusive, no two equal.
        entity_gains: (K, T) what each gains as the only entity, types in the order of `inventory.types`.
        touching: (2, T, T) what two entities gain or lose where the second begins as the first ends, by the types of
            first and second; row 0 is for a first one of a single word, row 1 for a longer one.
        relation_scores: (K, K, 1 + R) of `None` and of each relation from head to tail, relations in the order of
            `inventory.relations`: log p less that of the most probable choice.
        inventory: Which types and relations go together.
        width: Partial answers to keep; a beam search where more than these are worth following.
    """
    types, names = inventory.types, inventory.relations
    fitting = {  # ids of relations by the type ids of head and tail
        (types.index(head), types.index(tail)): [1 + names.index(name) for name in between]
        for (head, tail), between in inventory.between.items()
    }
    none = relation_scores[..., 0]
    # the best relation from i to j that goes with types a and b; -inf where none does
    directed = np.full((*none.shape, len(types), len(types)), -np.inf)
    for (a, b), relations in fitting.items():
        directed[:, :, a, b] = relation_scores[:, :, relations].max(-1) + none.T
    either = np.maximum(directed, directed.transpose(1, 0, 3, 2))
    unrelated = (none + none.T)[:, :, None, None]
    bounds = np.array(spans, dtype=np.int64).reshape(-1, 2)
    touch = touching[(bounds[:, 1] - bounds[:, 0] > 1).astype(int)][:, None]
    touch = touch * (bounds[:, None, 1] == bounds[None, :, 0])[:, :, None, None]
    links = np.maximum(either, unrelated) + touch + touch.transpose(1, 0, 3, 2)
    chosen, score, exact = best_types(Problem(entity_gains, links, bounds), width)
    entities = tuple((i, a) for i, a in enumerate(chosen) if a >= 0)
    related = []
    for place, (i, a) in enumerate(entities):
        for j, b in entities[place + 1 :]:
            if either[i, j, a, b] > unrelated[i, j, 0, 0]:
                forward = directed[i, j, a, b] >= directed[j, i, b, a]
                head, tail, relations = (i, j, fitting[a, b]) if forward else (j, i, fitting[b, a])
                related.append((head, tail, relations[int(relation_scores[head, tail, relations].argmax())] - 1))
    return Decoded(entities, tuple(related), score, exact)


def best_types(problem: Problem, width: int = WIDTH) -> tuple[list[int], float, bool]:
    """The type id of each candidate, -1 for none, in the best answer; its score; and whether it is surely the best.

    Candidates are decided one after another. All partial answers that may still beat the best one known are kept, by a
    bound on what the undecided ones can add: branch and bound, breadth first. Where these are more than `width`, those
    with the highest bounds are kept.
    """
    order = hopeful(problem)
    some = Problem(problem.entities[order], problem.links[np.ix_(order, order)], problem.spans[order])
    apart = some.apart()
    best, best_score = _greedy(some, apart)
    strongest = some.links.max(3, initial=0.0) * apart[:, :, None]
    partial = _Partial(np.full((1, len(order)), -1), np.zeros(1), some.entities[None])
    exact = True
    for i in range(len(order)):
        partial = _decide(partial, i, some.links, apart)
        top = int(partial.scores.argmax())
        if partial.scores[top] > best_score:
            best, best_score = partial.types[top], float(partial.scores[top])
        rest = np.triu(strongest[i + 1 :, i + 1 :].transpose(2, 0, 1), 1).sum(2).T
        hopes = (partial.gains[:, i + 1 :] + rest).max(2, initial=0.0)
        kept = np.flatnonzero(partial.scores + hopes.sum(1) > best_score)
        bounds = partial.scores[kept] + heaviest(hopes[kept], some.spans[i + 1 :])
        kept, bounds = kept[bounds > best_score], bounds[bounds > best_score]
        if len(kept) > width:
            kept, exact = kept[np.argsort(-bounds, kind="stable")[:width]], False
        if not len(kept):
            break
        partial = partial.rows(kept)
    found = np.full(len(problem.entities), -1)
    found[order] = best
    return found.tolist(), best_score, exact


def heaviest(weights: Floats, spans: Integers) -> Floats:
    """The weight (P,) of the heaviest set of spans (R, 2) that do not overlap, by each weighting (P, R), all >= 0."""
    order = np.argsort(spans[:, 1], kind="stable")
    before = np.searchsorted(spans[order, 1], spans[order, 0], side="right")
    best = [np.zeros(len(weights))]  # of the first so many spans by their ends
    for place, fitting in zip(order, before, strict=True):
        best.append(np.maximum(best[-1], best[fitting] + weights[:, place]))
    return best[-1]


class _Partial(NamedTuple):
    """Answers in which some of K candidates are decided.

    Attributes:
        types: (P, K) type ids, -1 for none and for those not decided.
        scores: (P,) what is decided gains.
        gains: (P, K, T) what each other candidate would add; -inf where it overlaps a chosen one.
    """

    types: npt.NDArray[np.intp]
    scores: Floats
    gains: Floats

    def rows(self, rows: npt.NDArray[np.intp]) -> Self:
        """Some of the answers, in this order."""
        return type(self)(*(column[rows] for column in self))  # type: ignore[arg-type]


def _decide(partial: _Partial, i: int, links: Floats, apart: npt.NDArray[np.bool_]) -> _Partial:
    """Every way to go on with candidate i."""
    parents, kinds = np.nonzero(partial.gains[:, i] > -np.inf)
    chosen = partial.rows(parents)
    chosen.types[:, i] = kinds
    chosen.scores[:] += chosen.gains[np.arange(len(kinds)), i, kinds]
    chosen.gains[:] += links[:, i].transpose(2, 0, 1)[kinds]
    chosen.gains[:, ~apart[i]] = -np.inf
    return _Partial(*map(np.concatenate, zip(chosen, partial, strict=True)))  # type: ignore[arg-type]


def hopeful(problem: Problem) -> list[int]:
    """The candidates that can be in a best answer, those that gain most first.

    One that gains nothing even with the best link to every other one can be left out of any answer at no loss.
    """
    strongest = problem.links.max(3, initial=0.0) * problem.apart()[:, :, None]
    kept = np.ones(len(problem.entities), dtype=bool)
    while True:
        hope = (problem.entities + strongest[:, kept].sum(1)).max(1, initial=-np.inf)
        better = kept & (hope > 0)
        if (better == kept).all():
            return sorted(np.flatnonzero(kept).tolist(), key=lambda i: (-hope[i], i))
        kept = better


def _greedy(problem: Problem, apart: npt.NDArray[np.bool_]) -> tuple[npt.NDArray[np.intp], float]:
    """A good answer to begin with: what gains most, again and again, as long as something gains."""
    types, score = np.full(len(apart), -1), 0.0
    gains = problem.entities.copy()
    while len(apart):
        i, a = np.unravel_index(int(gains.argmax()), gains.shape)
        if not gains[i, a] > 0:
            break
        types[i] = a
        score += float(gains[i, a])
        gains += problem.links[:, i, :, a]
        gains[~apart[i]] = -np.inf
    return types, score
