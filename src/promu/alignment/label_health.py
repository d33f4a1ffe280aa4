"""The health of soft pseudo-labels: figures of a store and its corpus, and the failures that they look like."""

from __future__ import annotations

import math
import random
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from itertools import islice
from typing import Any

import torch

from promu.alignment.candidates import nouns_in
from promu.alignment.label_store import LabelStore, SparseLabels
from promu.alignment.synonyms import Synonyms, nouns_naming
from promu.corpora.shards import PairShards
from promu.errors import counted

BATCH = 1024  # images measured at once
SHUFFLES = 5  # shuffles that agreement by chance is the mean of
OFTEN = 0.2  # share of labels above which a candidate counts as often first

# Thresholds of the findings.
INFORMATION = 0.15  # information gain below which labels are nearly all the same
SHARP = 0.85  # mean probability of the first candidate above which labels are one-hot in effect
DOMINANT = 0.5  # share of labels with the same first candidate above which that candidate dominates
UNUSED = 0.75  # share of candidates that are never first above which the list is too long, given ten labels a candidate
CAPTIONS = 0.2  # agreement with captions over chance that there must be, by the first noun or by the first five
DETECTOR = 0.15  # the same of the first noun and the detector's category
FEW = 50  # labels below which neither information gain nor agreement is judged


@dataclass(frozen=True)
class SideHealth:
    """One side of the labels: regions' nouns, or images' relations.

    Attributes:
        labels, candidates: How many there are of each (M or L candidates).
        entropy, entropy_share: Mean entropy in nats, and as a share of its largest value, log M.
        top_probability: Mean probability of a label's first candidate.
        effective: exp of the entropy of the mean label: how many candidates are in use, by weight.
        information_gain: Of a label over the mean label, as a share of its maximum: how much of the mean label's
            entropy is gone once the region or image is given. 0 where all labels are the same, 1 where each is certain.
        top: The candidates that are first most often, each with its share of the labels, at most ten.
        often, never: Candidates that are first in more than `OFTEN` of the labels, and in none.
    """

    labels: int
    candidates: int
    entropy: float
    entropy_share: float
    top_probability: float
    effective: float
    information_gain: float
    top: tuple[tuple[str, float], ...]
    often: tuple[str, ...]
    never: tuple[str, ...]


@dataclass(frozen=True)
class Agreement:
    """Shares of regions whose first noun, or one of whose first five, another source names too.

    Only regions for which it names a candidate at all are counted. `chance1` and `chance5` are the shares with what it
    names for other regions instead.
    """

    regions: int
    top1: float
    top5: float
    chance1: float
    chance5: float

    @property
    def gain1(self) -> float:
        """Agreement of the first noun over chance, as a share of the most there can be over chance."""
        return _over_chance(self.top1, self.chance1)

    @property
    def gain5(self) -> float:
        """The same of the first five."""
        return _over_chance(self.top5, self.chance5)


def _over_chance(agreement: float, chance: float) -> float:
    return (agreement - chance) / (1.0 - chance) if chance < 1.0 else 0.0


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
        ranked = sorted(zip(self.candidates, shares, strict=True), key=lambda one: -one[1])
        mean_entropy, entropy_of_mean = self.entropy / self.rows, float(entropy(self.mean / self.rows))
        return SideHealth(
            labels=self.rows,
            candidates=len(shares),
            entropy=mean_entropy,
            entropy_share=mean_entropy / math.log(len(shares)) if len(shares) > 1 else 0.0,
            top_probability=self.top / self.rows,
            effective=math.exp(entropy_of_mean),
            information_gain=max(0.0, 1.0 - mean_entropy / entropy_of_mean) if entropy_of_mean > 0.0 else 0.0,
            top=tuple(one for one in ranked[:10] if one[1]),
            often=tuple(name for name, share in ranked if share > OFTEN),
            never=tuple(name for name, share in ranked if not share),
        )


def entropy(labels: torch.Tensor) -> torch.Tensor:
    """Entropy in nats of distributions (..., M)."""
    return -torch.special.xlogy(labels, labels).sum(-1)


class AgreementTally:
    """The candidates that another source names, such as a caption of the image, and the regions it names them for."""

    def __init__(self) -> None:
        self.named: list[frozenset[int]] = []  # candidates, as indices
        self.regions: list[tuple[int, torch.Tensor]] = []  # place in `named`, first five of each region (R, 5)

    def add(self, candidates: Iterable[int], labels: SparseLabels) -> None:
        """Add candidates that are named together, and the labels of the regions that they are named for."""
        if named := frozenset(candidates):
            if len(labels.ids):
                self.regions.append((len(self.named), labels.ids[:, :5]))
            self.named.append(named)

    def result(self) -> Agreement | None:
        """The figures; None without a region, or where candidates were named less than twice."""
        if not self.regions or len(self.named) < 2:
            return None
        regions = sum(len(firsts) for _, firsts in self.regions)
        by_chance = zip(*map(self._agreement, self._shuffles()), strict=True)
        return Agreement(regions, *self._agreement(self.named), *(sum(shares) / SHUFFLES for shares in by_chance))

    def _shuffles(self) -> Iterator[list[frozenset[int]]]:
        """What is named at another place, never the same: at the successor in a random ring."""
        ring = list(range(len(self.named)))
        for seed in range(SHUFFLES):
            random.Random(seed).shuffle(ring)
            after = dict(zip(ring, ring[1:] + ring[:1], strict=True))
            yield [self.named[after[place]] for place in range(len(ring))]

    def _agreement(self, named: Sequence[frozenset[int]]) -> list[float]:
        """Shares of first nouns and of first fives that agree with what is named at their place."""
        hits = [
            (first[0] in named[place], not named[place].isdisjoint(first))
            for place, firsts in self.regions
            for first in firsts.tolist()
        ]
        return [sum(column) / len(hits) for column in zip(*hits, strict=True)]


@dataclass(frozen=True)
class LabelHealth:
    """What `label_health` measures.

    Attributes:
        images: Images with labels; `without_regions` of them have no region, which L_COE skips.
        unlabelled: Images of the corpus that the store does not hold.
        entities, relations: Regions' labels (None without regions), and images' labels.
        captions: Agreement of regions' labels with the captions that belong to their images, plurals counting for
            their singular; None where it cannot be measured.
        detector: Agreement of regions' labels with the detector's category; None where no candidate names one. Where
            `detector_weight`, how far that category is part of the labels, is 0, it is the teacher's alone.
    """

    images: int
    unlabelled: int
    without_regions: int
    entities: SideHealth | None
    relations: SideHealth | None
    captions: Agreement | None
    detector: Agreement | None
    detector_weight: float

    @property
    def findings(self) -> tuple[str, ...]:
        """A sentence for each failure that the figures look like, with what to turn."""
        return tuple(_findings(self))

    @property
    def healthy(self) -> bool:
        return not self.findings

    def to_dict(self) -> dict[str, Any]:
        """As plain values, with `findings` and `healthy`; candidates that are never first are counted, not listed."""
        values = {**vars(self), "findings": self.findings, "healthy": self.healthy}
        for name in ("entities", "relations"):
            side = values[name]
            values[name] = side and {**vars(side), "top": dict(side.top), "never": len(side.never)}
        for name in ("captions", "detector"):
            values[name] = values[name] and vars(values[name])
        return values


def label_health(store: LabelStore, corpus: PairShards, synonyms: Synonyms) -> LabelHealth:
    """Measure the labels of a corpus, and say which failure they look like; `synonyms` name detectors' categories."""
    header = store.header
    entities, relations = SideTally(header.nouns), SideTally(header.relations)
    places = {noun.lower(): place for place, noun in enumerate(header.nouns)}
    captions, detector = AgreementTally(), AgreementTally()
    images = unlabelled = without_regions = 0
    every = corpus.captions()
    while batch := list(islice(every, BATCH)):
        labelled = [image for image in batch if image.image in store]
        images += len(labelled)
        unlabelled += len(batch) - len(labelled)
        if not labelled:
            continue
        labels = [store[image.image] for image in labelled]
        without_regions += sum(not len(label.boxes) for label in labels)
        entities.add(SparseLabels.cat([label.entities for label in labels]))
        relations.add(SparseLabels.cat([label.relation for label in labels]))
        for image, label in zip(labelled, labels, strict=True):
            texts = (text for text, matched in image.captions if matched)
            captions.add((places[noun] for text in texts for noun in nouns_in(text, places)), label.entities)
            for row, region in enumerate(image.regions):
                named = nouns_naming(region.label, synonyms) & places.keys()
                detector.add((places[noun] for noun in named), label.entities[row : row + 1])
    sides, agreements = (entities.result(), relations.result()), (captions.result(), detector.result())
    return LabelHealth(images, unlabelled, without_regions, *sides, *agreements, header.detector_weight)


def _findings(health: LabelHealth) -> Iterator[str]:
    if not health.images:
        yield "no image of this corpus has labels: the store was made for another corpus, or labelling never ran"
        return
    if health.unlabelled:
        images = counted(health.unlabelled, "image has", "images have")
        yield f"{images} no labels: run `promu label` again, it goes on where it stopped"
    if health.entities is None:
        yield "no image has a region, so L_COE would learn nothing: build the corpus with a detector"
    elif health.without_regions > health.images / 2:
        yield (
            f"{health.without_regions} of {health.images} images have no region, and L_COE skips them: lower the "
            "detector's threshold, or use one that knows the corpus's things"
        )
    if health.entities is not None:
        yield from _side("regions' nouns", health.entities, health.captions)
        # Where the labels are the teacher's alone, they are judged by the detector's categories of the same regions.
        detector = health.detector if not health.detector_weight else None
        sound = _agrees(health.captions) is not False and health.entities.top[0][1] <= DOMINANT
        if sound and detector is not None and detector.regions >= FEW and detector.gain1 < DETECTOR:
            yield (
                f"the first noun names the detector's category in {detector.top1:.0%} of regions, by chance in "
                f"{detector.chance1:.0%}: the teacher knows whole scenes, not what is cut out of them, or boxes are "
                "wrong; mix the detector's category in (labels.detector_weight), or take another teacher"
            )
    if health.relations is not None:
        yield from _side("images' relations", health.relations, None)


def _side(what: str, side: SideHealth, captions: Agreement | None) -> Iterator[str]:
    if side.candidates < 2:
        yield f"{what} have one candidate, so every label is certain and teaches nothing: name more candidates"
        return
    name, share = side.top[0]
    alike = side.labels >= FEW and side.information_gain < INFORMATION
    agrees, dominated = _agrees(captions), share > DOMINANT
    gain = f"information gain {side.information_gain:.0%} of its maximum"
    named = ""
    if captions is not None:
        named = f"; a caption names one of the first five in {captions.top5:.0%}, by chance in {captions.chance5:.0%}"
    if alike and (agrees is False or (dominated and agrees is None)):
        yield (
            f"{what} are nearly all the same ({gain}; {name!r} first in {share:.0%}{named}): the teacher has not "
            "learned or has collapsed; train it longer or anew, or take one off the shelf"
        )
        return
    if alike:
        yield (
            f"{what} are too flat (mean entropy {side.entropy_share:.0%} of its largest, {gain}{named}): lower "
            "labels.temperature"
        )
    elif agrees is False:
        yield (
            f"{what} differ, but hardly by what is shown ({gain}{named}): the labels or boxes are of other images, "
            "the teacher does not know these things, or captions are about others; look at them with `promu label "
            "--show 12`, then build the corpus anew or take another teacher"
        )
    if side.top_probability > SHARP:
        yield (
            f"{what} are one-hot in effect (first candidate at {side.top_probability:.2f} on average): raise "
            "labels.temperature, or soft labels are no better than hard ones"
        )
    if dominated:
        yield (
            f"{what} are dominated by {name!r}, first in {share:.0%} of the labels: put it on the stop list, unless "
            "the corpus shows little else"
        )
    elif len(side.never) > UNUSED * side.candidates and side.labels >= 10 * side.candidates:
        yield (
            f"{len(side.never)} of {side.candidates} candidates of {what} are never first: the list is too long for "
            "this corpus or holds what its images do not show; keep fewer"
        )


def _agrees(captions: Agreement | None) -> bool | None:
    """Whether captions agree with the labels well over chance; None where there are too few regions to judge."""
    if captions is None or captions.regions < FEW:
        return None
    return max(captions.gain1, captions.gain5) >= CAPTIONS
