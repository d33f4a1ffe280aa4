"""What a build of a corpus counts: in each shard, over a part, over the whole; pairs that were read add up."""

from __future__ import annotations

import hashlib
import logging
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from promu.alignment.corpus_settings import CorpusSettings, Survey
from promu.corpora.captioned import Skipped
from promu.corpora.shards import CaptionedPicture, shard_counts, shard_images
from promu.errors import InputError

logger = logging.getLogger(__name__)


@dataclass(slots=True)
class Tally:
    """What is counted while a shard is made; kept in the shard, so that a build that goes on knows it."""

    skipped: Skipped = field(default_factory=Skipped)
    regions: Counter[str] = field(default_factory=Counter)
    pictures: int = 0
    pairs: int = 0  # of the set; those made are counted apart
    matched: int = 0
    wanted: int = 0
    made: int = 0
    similarity: float = 0.0  # summed over those made

    def add(self, picture: CaptionedPicture) -> None:
        """Count a picture that is kept."""
        self.pictures += 1
        self.pairs += len(picture.captions)
        self.matched += sum(matched for _, matched in picture.captions)

    def to_dict(self) -> dict[str, Any]:
        """As plain values, for `merge`."""
        return {
            "skipped": dict(self.skipped.pairs),
            "examples": self.skipped.examples,
            "regions": dict(self.regions),
            **{name: getattr(self, name) for name in ("pictures", "pairs", "matched", "wanted", "made", "similarity")},
        }

    def merge(self, counts: Mapping[str, Any]) -> None:
        """Add what another has counted, as `to_dict` gave it."""
        self.skipped.merge(Skipped(Counter(counts["skipped"]), list(counts["examples"])))
        self.regions.update(counts["regions"])
        for name in ("pictures", "pairs", "matched", "wanted", "made", "similarity"):
            setattr(self, name, getattr(self, name) + counts[name])


def part_header(part: str, paths: Sequence[Path], named: int, settings: CorpusSettings) -> dict[str, Any]:
    """What `corpus.json` says of a part, out of its shards.

    Raises:
        InputError: A shard is damaged, or none holds a picture.
    """
    tally = Tally()
    for path in paths:
        tally.merge(shard_counts(path))
    if not tally.pictures:
        first = f", the first: {tally.skipped.examples[0]}" if tally.skipped.examples else ""
        raise InputError(f"none of {named:,} pictures of this corpus ({part}) can be read{first}", settings.images)
    if tally.made < tally.wanted:
        logger.warning(
            "%s: %d falsified pairs of %d could be made; the captions of other pictures are too few, or too alike",
            part,
            tally.made,
            tally.wanted,
        )
    repeated = _repeated(paths)
    if repeated:
        logger.warning(
            "%s: %d times a picture comes again after others and is stored again; sort the captions by picture",
            part,
            repeated,
        )
    pairs = tally.pairs + tally.made
    similar = settings.falsify == "similar" and tally.made > 0
    return {
        "part": part,
        "pictures_named": named,
        "pictures": tally.pictures,
        "pictures_repeated": repeated,
        "pairs": pairs,
        "matched": tally.matched,
        "falsified": pairs - tally.matched,
        "made": {
            "pairs": tally.made,
            "wanted": tally.wanted,
            "share": tally.made / pairs,
            "mean_similarity": tally.similarity / tally.made if similar else None,
        },
        "regions": {name: tally.regions[name] for name in ("kept", "clipped", "dropped")},
        "skipped": tally.skipped.to_dict(),
        "shards": len(paths),
        "bytes": sum(path.stat().st_size for path in paths),
    }


def _repeated(paths: Sequence[Path]) -> int:
    """How many rows show a picture that an earlier one shows; costs eight bytes a picture."""
    digests = (
        int.from_bytes(hashlib.blake2b(image.encode(), digest_size=8).digest())
        for path in paths
        for image in shard_images(path)
    )
    found = np.fromiter(digests, dtype=np.uint64)
    return len(found) - len(np.unique(found))


def build_result(survey: Survey, headers: Mapping[str, Mapping[str, Any]], out: Path) -> dict[str, Any]:
    """The counts of the whole build.

    Raises:
        InputError: They do not add up.
    """
    skipped = Skipped()
    skipped.merge(survey.skipped)
    for header in headers.values():
        skipped.merge(Skipped(Counter(header["skipped"]["pairs"]), list(header["skipped"]["examples"])))
    kept = sum(header["pairs"] - header["made"]["pairs"] for header in headers.values())
    if survey.read != kept + skipped.pairs.total():
        raise InputError(
            f"{survey.read:,} pairs were read, {kept:,} kept and {skipped.pairs.total():,} skipped, which does not add "
            "up; did the captions change meanwhile? Delete the folder and build again",
            out,
        )
    return {
        "read": survey.read,
        "kept": kept,
        "skipped": skipped.to_dict(),
        "made": sum(header["made"]["pairs"] for header in headers.values()),
        "parts": dict(headers),
    }
