"""Whether soft pseudo-labels are any good, measured on a store and its corpus."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from promu.alignment.candidates import nouns_in
from promu.alignment.label_figures import Agreement, AgreementTally, SideHealth, SideTally
from promu.alignment.label_findings import findings
from promu.alignment.label_store import LabelStore, SparseLabels
from promu.alignment.synonyms import Synonyms, nouns_naming
from promu.corpora.shards import CaptionedPicture, PairShards

BATCH = 1024
"""Pictures measured at once."""


@dataclass(frozen=True)
class LabelHealth:
    """What `label_health` measures.

    Attributes:
        pictures: Pictures with labels.
        unlabelled: Pictures of the corpus that the store does not hold.
        without_regions: Pictures with labels but no region, which L_COE skips.
        entities: Regions' labels; None without regions.
        relations: Pictures' labels.
        captions: Agreement of regions' labels with the captions that belong to their pictures, plurals counting for
            their singular; None where it cannot be measured.
        detector: Agreement of regions' labels with what the detector called the region; None where it called none by a
            candidate.
        detector_weight: How far that word is part of the labels, from the store's header. The agreement is the
            teacher's own where it is 0.
    """

    pictures: int
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
        return findings(self)

    @property
    def healthy(self) -> bool:
        """Whether nothing was found."""
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
    """Measure the labels of a corpus, and say which failure they look like.

    Args:
        store: The labels.
        corpus: What they are labels of.
        synonyms: Which nouns name the detector's categories.

    Raises:
        InputError: A part of the store or a shard of the corpus is damaged.
    """
    header = store.header
    entities, relations = SideTally(header.nouns), SideTally(header.relations)
    places = {noun.lower(): place for place, noun in enumerate(header.nouns)}
    captions, detector = AgreementTally(), AgreementTally()
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
        for picture, label in zip(known, labels, strict=True):
            texts = (text for text, matched in picture.captions if matched)
            captions.add((places[noun] for text in texts for noun in nouns_in(text, places)), label.entities)
            for row, region in enumerate(picture.regions):
                named = nouns_naming(region.label, synonyms) & places.keys()
                detector.add((places[noun] for noun in named), label.entities[row : row + 1])
    return LabelHealth(
        pictures,
        unlabelled,
        without_regions,
        entities.result(),
        relations.result(),
        captions.result(),
        detector.result(),
        header.detector_weight,
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
