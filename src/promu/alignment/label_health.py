"""Whether soft pseudo-labels are any good: what is measured of them, and what it says to turn."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from promu.alignment.label_figures import Agreement, AgreementTally, SideHealth, SideTally
from promu.alignment.label_store import LabelStore, SparseLabels
from promu.corpora.shards import CaptionedPicture, PairShards

BATCH = 1024
"""Pictures measured at once."""

FLAT = 0.85
"""Mean entropy, as a share of log M, above which labels say next to nothing."""
SHARP = 0.9
"""Mean probability of the first candidate above which labels are one-hot in effect."""
DOMINANT = 0.5
"""Share of labels with the same first candidate above which that candidate dominates."""
UNUSED = 0.75
"""Share of candidates that are never first above which the list is too long, given ten labels a candidate."""
AGREEMENT = 0.05
"""How much of the way from chance to certainty the agreement with captions must go at least."""


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
    entities, relations = SideTally(header.nouns), SideTally(header.relations)
    agreement = AgreementTally(header.nouns)
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


def _batches(corpus: PairShards) -> Iterator[list[CaptionedPicture]]:
    batch: list[CaptionedPicture] = []
    for picture in corpus.captions():
        batch.append(picture)
        if len(batch) == BATCH:
            yield batch
            batch = []
    if batch:
        yield batch
