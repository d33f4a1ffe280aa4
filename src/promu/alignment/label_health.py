"""Whether soft pseudo-labels are any good: what is measured of them, and what it says to turn."""

from __future__ import annotations

import math
import random
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import torch

from promu.alignment.candidates import nouns_in
from promu.alignment.label_store import LabelStore, PictureLabels, SparseLabels
from promu.corpora.shards import CaptionedPicture, PairShards

BATCH = 1024
"""Pictures measured at once."""
SHUFFLES = 5
"""Shuffles of the captions that agreement by chance is the mean of."""

FLAT = 0.85
"""Mean entropy, as a share of log M, above which labels say next to nothing."""
SHARP = 0.9
"""Mean probability of the first candidate above which labels are one-hot in effect."""
DOMINANT = 0.5
"""Share of labels with the same first candidate above which that candidate dominates."""
OFTEN = 0.2
"""Share of labels above which a candidate counts as often first."""
UNUSED = 0.75
"""Share of candidates that are never first above which the list is too long, given ten labels a candidate."""
AGREEMENT = 0.05
"""How much of the way from chance to certainty the agreement with captions must go at least."""


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
    top: tuple[tuple[str, float], ...]
    often: tuple[str, ...]
    never: tuple[str, ...]


@dataclass(frozen=True)
class Agreement:
    """How often the first noun of a region, or one of its first five, occurs in a caption of its picture.

    Only regions of pictures whose matched captions hold a candidate at all are counted; plurals count for their
    singular. `chance1` and `chance5` are the same with the captions of other pictures.
    """

    regions: int
    top1: float
    top5: float
    chance1: float
    chance5: float


@dataclass(frozen=True)
class LabelHealth:
    """What `label_health` measures.

    Attributes:
        pictures: Pictures with labels.
        unlabelled: Pictures of the corpus that the store does not hold.
        without_regions: Pictures with labels but no region, which L_COE skips.
        entities: Regions' labels; None without regions.
        relations: Pictures' labels.
        agreement: Of regions' labels with captions; None where it cannot be measured.
        findings: A sentence for each failure that the figures look like, with what to turn.
    """

    pictures: int
    unlabelled: int
    without_regions: int
    entities: SideHealth | None
    relations: SideHealth | None
    agreement: Agreement | None
    findings: tuple[str, ...]

    @property
    def healthy(self) -> bool:
        """Whether nothing was found."""
        return not self.findings

    def to_dict(self) -> dict[str, Any]:
        """As plain values, with `healthy`; candidates that are never first are counted, not listed."""
        sides = {}
        for name, side in (("entities", self.entities), ("relations", self.relations)):
            values = None if side is None else {**vars(side), "top": dict(side.top), "never": len(side.never)}
            sides[name] = values
        agreement = None if self.agreement is None else vars(self.agreement)
        return {**vars(self), **sides, "agreement": agreement, "healthy": self.healthy}


def label_health(store: LabelStore, corpus: PairShards) -> LabelHealth:
    """Measure the labels of a corpus, and say which failure they look like.

    Raises:
        InputError: A part of the store or a shard of the corpus is damaged.
    """
    header = store.header
    entities, relations = _Tally(header.nouns), _Tally(header.relations)
    agreement = _AgreementTally(header.nouns)
    pictures = unlabelled = without_regions = 0
    for batch in _batches(corpus):
        known = [picture for picture in batch if picture.image in store]
        unlabelled += len(batch) - len(known)
        if not known:
            continue
        labels = [store[picture.image] for picture in known]
        pictures += len(known)
        without_regions += sum(not len(label.boxes) for label in labels)
        entities.add(SparseLabels.cat([label.entities for label in labels]))
        relations.add(SparseLabels.cat([label.relation for label in labels]))
        agreement.add(known, labels)
    entity_side, relation_side, agreed = entities.result(), relations.result(), agreement.result()
    findings = diagnose(pictures, unlabelled, without_regions, entity_side, relation_side, agreed)
    return LabelHealth(pictures, unlabelled, without_regions, entity_side, relation_side, agreed, findings)


def diagnose(
    pictures: int,
    unlabelled: int,
    without_regions: int,
    entities: SideHealth | None,
    relations: SideHealth | None,
    agreement: Agreement | None,
) -> tuple[str, ...]:
    """A sentence for each failure that the figures (as in `LabelHealth`) look like, with what to turn."""
    findings = []
    if not pictures:
        return ("no picture of this corpus has labels: the store was made for another corpus, or labelling never ran",)
    if unlabelled:
        findings.append(f"{unlabelled} pictures have no labels: run `promu label` again, it goes on where it stopped")
    if entities is None:
        findings.append("no picture has a region, so L_COE would learn nothing: build the corpus with a detector")
    elif without_regions > pictures / 2:
        findings.append(
            f"{without_regions} of {pictures} pictures have no region, and L_COE skips them: lower the detector's "
            "threshold, or use one that knows the corpus's things"
        )
    if entities is not None:
        findings += _side_findings("regions' nouns", entities)
    if relations is not None:
        findings += _side_findings("pictures' relations", relations)
    if agreement is not None and _near_chance(agreement):
        findings.append(
            f"regions' nouns agree with captions in {agreement.top1:.0%} of regions and by chance in "
            f"{agreement.chance1:.0%}: the teacher has not learned, or the regions are wrong; train the teacher longer "
            "or take one off the shelf, and look at the boxes with `promu label --show 12`"
        )
    return tuple(findings)


def _side_findings(what: str, side: SideHealth) -> Iterator[str]:
    if side.candidates < 2:
        yield f"{what} have one candidate, so every label is certain and teaches nothing: name more candidates"
        return
    if side.entropy_share > FLAT:
        yield (
            f"{what} are too flat (mean entropy {side.entropy_share:.0%} of its largest value): lower "
            "labels.temperature, or train the teacher longer"
        )
    elif side.top_probability > SHARP:
        yield (
            f"{what} are one-hot in effect (first candidate at {side.top_probability:.2f} on average): raise "
            "labels.temperature, or soft labels are no better than hard ones"
        )
    name, share = side.top[0]
    if share > DOMINANT:
        yield (
            f"{what} are dominated by {name!r}, first in {share:.0%} of the labels: put it on the stop list if it "
            "is no good candidate; if other words then take its place, the teacher has collapsed and must be trained "
            "anew"
        )
    elif len(side.never) > UNUSED * side.candidates and side.labels >= 10 * side.candidates:
        yield (
            f"{len(side.never)} of {side.candidates} candidates of {what} are never first: the list is too long for "
            "this corpus or holds what its pictures do not show; keep fewer"
        )


def _near_chance(agreement: Agreement) -> bool:
    """Whether neither the first noun nor the first five go `AGREEMENT` of the way from chance to certainty."""
    return all(
        found - chance < AGREEMENT * (1.0 - chance)
        for found, chance in ((agreement.top1, agreement.chance1), (agreement.top5, agreement.chance5))
    )


class _Tally:
    """Sums over labels of one side."""

    def __init__(self, candidates: Sequence[str]) -> None:
        self.candidates = candidates
        self.rows = 0
        self.entropy = self.top = 0.0
        self.mean = torch.zeros(len(candidates), dtype=torch.float64)
        self.first = torch.zeros(len(candidates), dtype=torch.long)

    def add(self, labels: SparseLabels) -> None:
        dense = labels.dense(len(self.candidates))
        self.rows += len(dense)
        self.entropy += float(entropy(dense).sum())
        self.mean += dense.double().sum(0)
        if len(dense):
            top = dense.max(-1)
            self.top += float(top.values.sum())
            self.first += torch.bincount(top.indices, minlength=len(self.candidates))

    def result(self) -> SideHealth | None:
        if not self.rows:
            return None
        shares = (self.first / self.rows).tolist()
        order = sorted(range(len(shares)), key=lambda index: (-shares[index], index))
        return SideHealth(
            labels=self.rows,
            candidates=len(shares),
            entropy=self.entropy / self.rows,
            entropy_share=self.entropy / self.rows / math.log(len(shares)) if len(shares) > 1 else 0.0,
            top_probability=self.top / self.rows,
            effective=float(entropy(self.mean / self.rows).exp()),
            top=tuple((self.candidates[index], shares[index]) for index in order[:10] if shares[index]),
            often=tuple(self.candidates[index] for index in order if shares[index] > OFTEN),
            never=tuple(name for name, share in zip(self.candidates, shares, strict=True) if not share),
        )


def entropy(labels: torch.Tensor) -> torch.Tensor:
    """Entropy in nats of distributions (..., M)."""
    return -torch.special.xlogy(labels, labels).sum(-1)


class _AgreementTally:
    """The candidates that captions hold, and those that regions are labelled with, as indices."""

    def __init__(self, nouns: Sequence[str]) -> None:
        self.index = {noun: number for number, noun in enumerate(nouns)}
        self.said: list[frozenset[int]] = []  # of each picture that counts
        self.regions: list[tuple[int, torch.Tensor]] = []  # its place in `said`, first five of each region (R, 5)

    def add(self, pictures: Sequence[CaptionedPicture], labels: Sequence[PictureLabels]) -> None:
        for picture, label in zip(pictures, labels, strict=True):
            captions = (caption for caption, matched in picture.captions if matched)
            said = frozenset(self.index[noun] for caption in captions for noun in nouns_in(caption, self.index))
            if said:
                if len(label.boxes):
                    self.regions.append((len(self.said), label.entities.ids[:, :5]))
                self.said.append(said)

    def result(self) -> Agreement | None:
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
        """For each picture another one, never itself: its successor in a random ring."""
        ring = list(range(len(self.said)))
        for seed in range(SHUFFLES):
            random.Random(seed).shuffle(ring)
            others = [0] * len(ring)
            for place, after in zip(ring, ring[1:] + ring[:1], strict=True):
                others[place] = after
            yield others

    def _share(self, others: Sequence[int]) -> tuple[float, float]:
        """Agreement in the first noun and the first five, each picture with the captions of `others` at its place."""
        total = one = five = 0
        for place, firsts in self.regions:
            said = self.said[others[place]]
            for first in firsts.tolist():
                total += 1
                one += first[0] in said
                five += not said.isdisjoint(first)
        return one / total, five / total


def _batches(corpus: PairShards) -> Iterator[list[CaptionedPicture]]:
    batch: list[CaptionedPicture] = []
    for picture in corpus.captions():
        batch.append(picture)
        if len(batch) == BATCH:
            yield batch
            batch = []
    if batch:
        yield batch
