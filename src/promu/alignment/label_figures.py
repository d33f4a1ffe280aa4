"""Figures of soft pseudo-labels, summed up batch by batch: how sharp, how varied, and who agrees with them."""

from __future__ import annotations

import math
import random
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass

import torch

from promu.alignment.label_store import SparseLabels

SHUFFLES = 5
"""Shuffles that agreement by chance is the mean of."""
OFTEN = 0.2
"""Share of labels above which a candidate counts as often first."""


@dataclass(frozen=True)
class SideHealth:
    """One side of the labels: regions' nouns, or pictures' relations.

    Attributes:
        labels: How many there are.
        candidates: M or L.
        entropy: Mean entropy in nats.
        entropy_share: The same as a share of its largest value, log M.
        top_probability: Mean probability of a label's first candidate.
        effective: exp of the entropy of the mean label: how many candidates are in use, by weight.
        information: How much a label tells that the mean label does not: of the mean label's entropy, the share that
            is gone once the region or picture is known. 0 where all labels are the same, 1 where each is certain.
        top: The candidates that are first most often, each with its share of the labels, at most ten.
        often: Candidates that are first in more than `OFTEN` of the labels.
        never: Candidates that are first in none.
    """

    labels: int
    candidates: int
    entropy: float
    entropy_share: float
    top_probability: float
    effective: float
    information: float
    top: tuple[tuple[str, float], ...]
    often: tuple[str, ...]
    never: tuple[str, ...]


@dataclass(frozen=True)
class Agreement:
    """How often another source says the first noun of a region, or one of its first five.

    Only regions of which it says a candidate at all are counted. `chance1` and `chance5` are the same with what it says
    of others.
    """

    regions: int
    top1: float
    top5: float
    chance1: float
    chance5: float

    @property
    def gain1(self) -> float:
        """How much of the way from chance to certainty the first noun goes."""
        return _gain(self.top1, self.chance1)

    @property
    def gain5(self) -> float:
        """The same of the first five."""
        return _gain(self.top5, self.chance5)


def _gain(found: float, chance: float) -> float:
    return (found - chance) / (1.0 - chance) if chance < 1.0 else 0.0


class SideTally:
    """Sums over labels of one side."""

    def __init__(self, candidates: Sequence[str]) -> None:
        self.candidates = candidates
        self.rows = 0
        self.entropy = self.top = 0.0
        self.mean = torch.zeros(len(candidates), dtype=torch.float64)
        self.first = torch.zeros(len(candidates), dtype=torch.long)

    def add(self, labels: SparseLabels) -> None:
        """Add the labels of a batch."""
        dense = labels.dense(len(self.candidates))
        self.rows += len(dense)
        self.entropy += float(entropy(dense).sum())
        self.mean += dense.double().sum(0)
        if len(dense):
            top = dense.max(-1)
            self.top += float(top.values.sum())
            self.first += torch.bincount(top.indices, minlength=len(self.candidates))

    def result(self) -> SideHealth | None:
        """The figures; None where there was no label."""
        if not self.rows:
            return None
        shares = (self.first / self.rows).tolist()
        order = sorted(range(len(shares)), key=lambda index: (-shares[index], index))
        nats, in_all = self.entropy / self.rows, float(entropy(self.mean / self.rows))
        return SideHealth(
            labels=self.rows,
            candidates=len(shares),
            entropy=nats,
            entropy_share=nats / math.log(len(shares)) if len(shares) > 1 else 0.0,
            top_probability=self.top / self.rows,
            effective=math.exp(in_all),
            information=max(0.0, 1.0 - nats / in_all) if in_all > 0.0 else 0.0,
            top=tuple((self.candidates[index], shares[index]) for index in order[:10] if shares[index]),
            often=tuple(self.candidates[index] for index in order if shares[index] > OFTEN),
            never=tuple(name for name, share in zip(self.candidates, shares, strict=True) if not share),
        )


def entropy(labels: torch.Tensor) -> torch.Tensor:
    """Entropy in nats of distributions (..., M)."""
    return -torch.special.xlogy(labels, labels).sum(-1)


class AgreementTally:
    """What another source says, such as a caption of its picture, and the regions that it says it of."""

    def __init__(self) -> None:
        self.said: list[frozenset[int]] = []  # candidates, as indices
        self.regions: list[tuple[int, torch.Tensor]] = []  # place in `said`, first five of each region (R, 5)

    def add(self, said: Iterable[int], labels: SparseLabels) -> None:
        """Add candidates that are said at once, and the labels of the regions that they are said of."""
        if known := frozenset(said):
            if len(labels.ids):
                self.regions.append((len(self.said), labels.ids[:, :5]))
            self.said.append(known)

    def result(self) -> Agreement | None:
        """The figures; None without a region, or where candidates were said less than twice."""
        if not self.regions or len(self.said) < 2:
            return None
        own = self._share(range(len(self.said)))
        chance = [self._share(others) for others in self._shuffles()]
        return Agreement(
            regions=sum(len(firsts) for _, firsts in self.regions),
            top1=own[0],
            top5=own[1],
            chance1=sum(one for one, _ in chance) / SHUFFLES,
            chance5=sum(five for _, five in chance) / SHUFFLES,
        )

    def _shuffles(self) -> Iterator[list[int]]:
        """For each place another one, never itself: its successor in a random ring."""
        ring = list(range(len(self.said)))
        for seed in range(SHUFFLES):
            random.Random(seed).shuffle(ring)
            others = [0] * len(ring)
            for place, after in zip(ring, ring[1:] + ring[:1], strict=True):
                others[place] = after
            yield others

    def _share(self, others: Sequence[int]) -> tuple[float, float]:
        """Agreement in the first noun and the first five, at each place with what is said at its place in `others`."""
        total = one = five = 0
        for place, firsts in self.regions:
            said = self.said[others[place]]
            for first in firsts.tolist():
                total += 1
                one += first[0] in said
                five += not said.isdisjoint(first)
        return one / total, five / total
