"""The settings of a corpus, and what a pass over its captions alone finds: counts, and which pictures are held out."""

from __future__ import annotations

import hashlib
import heapq
import json
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

from promu.corpora.captioned import FORMATS, NamedPicture, Policy, Skipped, iterate_named_pictures
from promu.errors import InputError

Falsify = Literal["keep", "none", "similar", "uniform"]
Progress = Callable[[str, int, int], None]
"""Called with what is going on, steps done and steps in all."""


@dataclass(frozen=True, slots=True)
class CorpusSettings:
    """What a corpus is made of.

    Attributes:
        captions: CSV or JSON lines of captions, NewsCLIPpings annotations, or a folder of pictures and text files.
        images: The folder of pictures.
        format: One of `captioned.FORMATS`, or "auto" to see for itself.
        detector: A name in `regions.DETECTORS`.
        regions: The file or model that the detector runs on.
        confidence: Regions with a lower score are left out.
        max_regions: Regions a picture at most.
        class_names: A file of class names, for a YOLO file without its own.
        missing: Whether a pair that cannot be used stops the build ("require") or is counted ("skip").
        falsify: Falsified pairs as the set has them ("keep"), left out ("none"), or made: of captions near in meaning
            ("similar") or of any ("uniform"). Made ones need a set of true pairs only.
        share: Share of all pairs that made ones are to be.
        text_encoder: A Hugging Face text encoder that says which captions are near; None compares their words.
        side: Longest side in pixels of the stored pictures; None keeps the files as they are.
        dev: Pictures held out, chosen by chance: the corpus is then `train` and `dev` in the folder. 0 holds out none.
        shard: Pictures a shard at most.
        seed: Seed of the pictures held out and of the falsified pairs.
    """

    captions: Path
    images: Path
    format: str = "auto"
    detector: str = "none"
    regions: str | None = None
    confidence: float = 0.3
    max_regions: int = 10
    class_names: Path | None = None
    missing: Policy = "require"
    falsify: Falsify = "keep"
    share: float = 0.5
    text_encoder: str | None = None
    side: int | None = None
    dev: int = 0
    shard: int = 4096
    seed: int = 0

    def __post_init__(self) -> None:
        for name, allowed in (
            ("format", ("auto", *FORMATS)),
            ("missing", ("require", "skip")),
            ("falsify", ("keep", "none", "similar", "uniform")),
        ):
            if getattr(self, name) not in allowed:
                raise InputError(f"{name} must be one of {', '.join(allowed)}, found {getattr(self, name)!r}")
        if not 0.0 < self.share <= 0.9:
            raise InputError(f"share must be above 0 and at most 0.9 of all pairs, found {self.share:g}")
        for name, least in (("side", 1), ("dev", 0), ("shard", 1), ("seed", 0)):
            if getattr(self, name) is not None and getattr(self, name) < least:
                raise InputError(f"{name} must be {least} or more, found {getattr(self, name)}")
        if self.text_encoder is not None and self.falsify != "similar":
            raise InputError("a text encoder serves falsify 'similar' only; set that, or leave the encoder out")

    @property
    def made(self) -> bool:
        """Whether falsified pairs are made."""
        return self.falsify in ("similar", "uniform")


@dataclass(slots=True)
class Survey:
    """What a pass over the captions alone finds.

    Attributes:
        digest: Checksum of the pairs that can be used.
        read: Pairs read, those that cannot be used too.
        pictures: Pictures named, by part: "train" and "dev".
        skipped: Pairs that cannot be used, whatever their picture is.
        held: The lots of the pictures held out.
    """

    digest: str = ""
    read: int = 0
    pictures: Counter[str] = field(default_factory=Counter)
    skipped: Skipped = field(default_factory=Skipped)
    held: frozenset[int] = frozenset()

    def part(self, seed: int, image: str) -> str:
        """Whether a picture goes to "train" or "dev"."""
        return "dev" if _lot(seed, image) in self.held else "train"


def survey_captions(settings: CorpusSettings, progress: Progress = lambda name, done, total: None) -> Survey:
    """Count what the captions name, and choose the pictures to hold out: those with the smallest lots."""
    survey = Survey()
    digest = hashlib.sha256()
    held: dict[int, int] = {}  # lot -> how often the picture comes
    largest: list[int] = []
    lines = _count_lines(settings)
    for named in named_pictures(settings, survey.skipped):
        if lines > 1 and not survey.pictures["train"] % 1000:
            progress("reading captions", named.line or 0, lines)
        digest.update(json.dumps([named.image, named.captions]).encode())
        survey.read += len(named.captions)
        survey.pictures["train"] += 1
        if settings.made and not all(matched for _, matched in named.captions):
            raise InputError(
                f"this set has falsified pairs of its own (of picture {named.image!r}), so that none are made; "
                "take --falsify keep, or none to leave them out",
                named.path,
                named.line,
            )
        if settings.dev:
            lot = _lot(settings.seed, named.image)
            if lot in held:
                held[lot] += 1
            elif len(held) < settings.dev or lot < -largest[0]:
                held[lot] = 1
                heapq.heappush(largest, -lot)
                if len(held) > settings.dev:
                    del held[-heapq.heappop(largest)]
    progress("reading captions", lines, lines)
    survey.read += sum(survey.skipped.pairs.values())
    survey.digest = digest.hexdigest()[:16]
    survey.held = frozenset(held)
    survey.pictures["dev"] = sum(held.values())
    survey.pictures["train"] -= survey.pictures["dev"]
    if not survey.pictures["train"]:
        found = survey.pictures["dev"]
        raise InputError(
            f"the captions name {found:,} pictures, and {settings.dev:,} are to be held out; hold out fewer"
            if found
            else "no pair of these captions can be used; see what `promu check` says",
            settings.captions,
        )
    return survey


def named_pictures(settings: CorpusSettings, skipped: Skipped) -> Iterator[NamedPicture]:
    """The pictures that the captions name, as `iterate_named_pictures` with these settings."""
    keep = settings.falsify != "none"
    return iterate_named_pictures(settings.captions, settings.format, settings.missing, keep, skipped)


def _count_lines(settings: CorpusSettings) -> int:
    """Lines of a file of captions; 1 for what is not read by lines, so that its progress is none or all."""
    if settings.format != "captions" or not settings.captions.is_file():
        return 1
    with settings.captions.open("rb") as file:
        return sum(chunk.count(b"\n") for chunk in iter(lambda: file.read(1 << 20), b"")) or 1


def _lot(seed: int, image: str) -> int:
    """A number that decides by chance, always the same for a picture, whether it is held out."""
    return int.from_bytes(hashlib.blake2b(f"{seed}\0{image}".encode(), digest_size=8).digest())
