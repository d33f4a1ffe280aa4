"""`promu corpus build`: captions, images and a detector become a corpus of Parquet shards.

The captions are read as a stream, several times; a shard is made of a fixed stretch of the images they name and takes
its name when it is whole. So a build costs the same memory whatever the size, and one that was killed goes on at the
first shard that is not there, with the result of one that never was. Every pair that is read is kept or counted.
Images are read once, shown to be sound, looked at by the detector, and shrunk where asked.
"""

from __future__ import annotations

import hashlib
import heapq
import io
import json
import logging
import shutil
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field, replace
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from promu.alignment.corpus_settings import CorpusSettings, Detector, DetectorSettings
from promu.alignment.detectors import build_detector
from promu.alignment.falsify import Encode, SentenceVectors, falsified_of, falsify, word_vectors
from promu.cores import usable_cores
from promu.corpora.captions import NamedImage, Skipped, guess_format, iterate_named_images
from promu.corpora.images import load_image, probe_image
from promu.corpora.newsclippings import find_base
from promu.corpora.shards import HEADER, CaptionedImage, ShardWriter, read_shard, shard_counts, shard_images, shard_path
from promu.errors import InputError, counted
from promu.files import make_folder, write_json
from promu.progress import mark_stored, report
from promu.runs import RunFolder
from promu.schema import Region

logger = logging.getLogger(__name__)

BUILD = "build.json"  # whose folder it is: the settings of the build, and its result once it is finished
DRAFT = "draft"
MAX_BYTES = 200_000_000  # a bigger file is not read: it is a film or a damaged file, not a photograph
BATCH = 16  # images that are decoded, and given to the detector, at once
QUALITY = 90  # JPEG quality of shrunk images


def build_corpus(settings: CorpusSettings, out: Path) -> dict[str, Any]:
    """Build a corpus in `out`, or go on with one that was stopped; a finished one of these settings is left alone.

    Returns:
        What `result.json` keeps: pairs "read", "kept" and "skipped" by reason (they add up), falsified
        pairs "made", and the headers of the "parts" "train" and (with `dev`) "dev".

    Raises:
        InputError: Something is wrong with the settings, the captions, an image that is required or the disk; or
            `out` holds something else.
    """
    settings = find_files(settings)
    survey = survey_captions(settings)
    kept = DetectorSettings(**{name: getattr(settings, name) for name in DetectorSettings.model_fields})
    detector = build_detector(settings.detector, settings.regions, kept)
    claim = {**settings.model_dump(mode="json"), "detector": detector.identity, "captions_read": survey.digest}
    run = RunFolder(out, "corpus", BUILD)
    if (finished := run.result(claim)) is not None:
        return finished
    run.claim(claim)
    build = _Build(settings, survey, None if detector.identity == "none" else detector)
    parts = {"train": out / "train", "dev": out / "dev"} if settings.dev else {"train": out}
    headers = {part: build.part(part, folder) for part, folder in parts.items()}
    result = _result(survey, headers, out)
    for part, folder in parts.items():
        write_json(folder / HEADER, {**headers[part], "settings": claim})
    run.finish(result)
    return result


def find_files(settings: CorpusSettings) -> CorpusSettings:
    """The settings with what they leave to be found: the format and, of NewsCLIPpings, its base and its images.

    Raises:
        InputError: A folder or file is missing, or has to be named.
    """
    if settings.format == "auto":
        settings = settings.model_copy(update={"format": guess_format(settings.captions)})
    if settings.format == "newsclippings":
        base = find_base(settings.captions, settings.base)
        settings = settings.model_copy(update={"base": base, "images": settings.images or base.parent})
    elif settings.base is not None:
        reason = f"a base is NewsCLIPpings' only, and these captions are of the format {settings.format}"
        raise InputError(f"{reason}; leave the base out", settings.captions)
    if settings.images is None and not settings.captions.is_dir():
        raise InputError(f"images= is missing: name the folder of the images that {settings.captions} is about")
    if not settings.image_folder.is_dir():
        raise InputError("no such folder of images; check the path", settings.image_folder)
    return settings


@dataclass(slots=True)
class Survey:
    """What a pass over the captions alone finds.

    Attributes:
        digest: Checksum of the pairs that can be used.
        read, skipped: All pairs, and those that cannot be used, whatever their image is.
        images: Images named, by part: "train" and "dev".
        held_out: The hashes of the images held out.
    """

    digest: str = ""
    read: int = 0
    images: Counter[str] = field(default_factory=Counter)
    skipped: Skipped = field(default_factory=Skipped)
    held_out: frozenset[int] = frozenset()

    def part(self, seed: int, image: str) -> str:
        """Whether an image goes to "train" or "dev"."""
        return "dev" if _hash(f"{seed}\0{image}") in self.held_out else "train"


def survey_captions(settings: CorpusSettings) -> Survey:
    """Count what the captions name, and choose the images to hold out: those with the smallest hashes."""
    survey = Survey()
    digest = hashlib.sha256()
    held_out: dict[int, int] = {}  # hash -> how often the image comes
    largest: list[int] = []
    lines = _count_lines(settings)
    for named in named_images(settings, survey.skipped):
        if lines > 1 and not survey.images["train"] % 1000:
            report("reading captions", named.line or 0, lines)
        digest.update(json.dumps([named.image, named.captions]).encode())
        survey.read += len(named.captions)
        survey.images["train"] += 1
        if settings.made and not all(matched for _, matched in named.captions):
            reason = f"this set has falsified pairs already (of image {named.image!r}), so that none are made"
            remedy = "take --falsify keep, or none to leave them out"
            raise InputError(f"{reason}; {remedy}", named.path, named.line)
        if settings.dev:
            key = _hash(f"{settings.seed}\0{named.image}")
            if key in held_out:
                held_out[key] += 1
            elif len(held_out) < settings.dev or key < -largest[0]:
                held_out[key] = 1
                heapq.heappush(largest, -key)
                if len(held_out) > settings.dev:
                    del held_out[-heapq.heappop(largest)]
    report("reading captions", lines, lines)
    survey.read += sum(survey.skipped.pairs.values())
    survey.digest = digest.hexdigest()[:16]
    survey.held_out = frozenset(held_out)
    survey.images["dev"] = sum(held_out.values())
    survey.images["train"] -= survey.images["dev"]
    if not survey.images["train"]:
        reason = "no pair of these captions can be used; see what `promu check` says"
        if images := survey.images["dev"]:
            reason = (
                f"the captions name {counted(images, 'image')}, and {settings.dev:,} are to be held out; hold out fewer"
            )
        raise InputError(reason, settings.captions)
    return survey


def named_images(settings: CorpusSettings, skipped: Skipped) -> Iterator[NamedImage]:
    """The images that the captions name, as `iterate_named_images` with these settings."""
    keep = settings.falsify != "none"
    captions, policy = settings.captions, settings.missing_images
    return iterate_named_images(captions, settings.format, policy, keep, skipped, settings.base)


def _count_lines(settings: CorpusSettings) -> int:
    """Lines of a file of captions; 1 for what is not read by lines, so that its progress is none or all."""
    if settings.format != "captions" or not settings.captions.is_file():
        return 1
    with settings.captions.open("rb") as file:
        return sum(chunk.count(b"\n") for chunk in iter(lambda: file.read(1 << 20), b"")) or 1


def _hash(text: str) -> int:
    """A number of eight bytes that is always the same for a text."""
    return int.from_bytes(hashlib.blake2b(text.encode(), digest_size=8).digest())


@dataclass(slots=True)
class Tally:
    """What is counted while a shard is made; kept in the shard, so that a build that goes on knows it.

    In `counts`, pairs are those of the set, and the similarity is summed over those made.
    """

    skipped: Skipped = field(default_factory=Skipped)
    regions: Counter[str] = field(default_factory=Counter)
    counts: dict[str, Any] = field(
        default_factory=lambda: dict.fromkeys(("images", "pairs", "matched", "wanted", "made", "similarity"), 0)
    )

    def to_dict(self) -> dict[str, Any]:
        """As plain values, for `merge`."""
        return {"skipped": self.skipped.to_dict(), "regions": dict(self.regions), "counts": self.counts}

    def merge(self, other: Mapping[str, Any]) -> None:
        """Add what another has counted, as its `to_dict` gave it."""
        self.skipped.merge(other["skipped"])
        self.regions.update(other["regions"])
        for name, count in other["counts"].items():
            self.counts[name] += count


def _header(part: str, paths: Sequence[Path], named: int, settings: CorpusSettings) -> dict[str, Any]:
    """What `corpus.json` says of a part, out of its shards; raises where none holds an image."""
    tally = Tally()
    for path in paths:
        tally.merge(shard_counts(path))
    counts = tally.counts
    if not counts["images"]:
        first = "".join(f", the first: {example}" for example in tally.skipped.examples[:1])
        raise InputError(
            f"none of {counted(named, 'image')} of this corpus ({part}) can be read{first}", settings.image_folder
        )
    made, wanted = counts["made"], counts["wanted"]
    if made < wanted:
        problem = "could be made; the captions of other images are too few, or too alike"
        logger.warning("%s: %d of %s %s", part, made, counted(wanted, "falsified pair"), problem)
    if repeated := _repeated(paths):
        problem = "comes again after others and is stored again; sort the captions by image"
        logger.warning("%s: %s %s", part, counted(repeated, "time an image", "times an image"), problem)
    pairs = counts["pairs"] + made
    similarity = counts["similarity"] / made if settings.falsify == "similar" and made else None
    return {
        "part": part,
        "images_named": named,
        "images": counts["images"],
        "images_repeated": repeated,
        "pairs": pairs,
        "matched": counts["matched"],
        "falsified": pairs - counts["matched"],
        "made": {"pairs": made, "wanted": wanted, "share": made / pairs, "mean_similarity": similarity},
        "regions": {name: tally.regions[name] for name in ("kept", "clipped", "dropped")},
        "skipped": tally.skipped.to_dict(),
        "shards": len(paths),
        "bytes": sum(path.stat().st_size for path in paths),
    }


def _repeated(paths: Sequence[Path]) -> int:
    """How many rows show an image that an earlier one shows; costs eight bytes an image."""
    rows = np.fromiter((_hash(image) for path in paths for image in shard_images(path)), dtype=np.uint64)
    return len(rows) - len(np.unique(rows))


def _result(survey: Survey, headers: Mapping[str, Mapping[str, Any]], out: Path) -> dict[str, Any]:
    """The counts of the whole build; raises where they do not add up."""
    skipped = Skipped()
    for counts in (survey.skipped.to_dict(), *(header["skipped"] for header in headers.values())):
        skipped.merge(counts)
    kept = sum(header["pairs"] - header["made"]["pairs"] for header in headers.values())
    if survey.read != kept + skipped.pairs.total():
        reason = f"read: {counted(survey.read, 'pair')}, kept: {kept:,}, skipped: {skipped.pairs.total():,}"
        remedy = "did the captions change meanwhile? Delete the folder and build again"
        raise InputError(f"{reason}, which does not add up; {remedy}", out)
    made = sum(header["made"]["pairs"] for header in headers.values())
    return {"read": survey.read, "kept": kept, "skipped": skipped.to_dict(), "made": made, "parts": dict(headers)}


class _Build:
    """The state that the shards of a build share."""

    def __init__(self, settings: CorpusSettings, survey: Survey, detector: Detector | None) -> None:
        self.settings = settings
        self.survey = survey
        self.detector = detector
        self.done = 0
        self.encoder: Encode | None = None

    def part(self, part: str, folder: Path) -> dict[str, Any]:
        """Make the shards of a part that are not there, and give its header."""
        make_folder(folder)
        for leftover in (*folder.glob("*.part"), *folder.glob(".*.part")):
            leftover.unlink()
        every, seed = named_images(self.settings, Skipped()), self.settings.seed
        named = (image for image in every if self.survey.part(seed, image.image) == part)
        paths = []
        images = self.survey.images[part]
        count = -(-images // self.settings.shard)  # of even size: in a small last one no caption would be near another
        for number in range(count):
            stretch = list(islice(named, images // count + (number < images % count)))
            paths.append(shard_path(folder, number))
            if paths[-1].exists():
                self._advance(len(stretch))
            else:
                self._shard(stretch, folder, number, int(part == "dev"))
        shutil.rmtree(folder / DRAFT, ignore_errors=True)
        return _header(part, paths, self.survey.images[part], self.settings)

    def _advance(self, images: int) -> None:
        self.done += images
        report("images", self.done, self.survey.images.total())

    def _shard(self, named: Sequence[NamedImage], folder: Path, number: int, part: int) -> None:
        tally = Tally()
        images = self._prepared(named, tally)
        if self.settings.made:
            images = self._with_falsified(images, tally, folder / DRAFT, (self.settings.seed, part, number))
        with ShardWriter(folder, number) as shard:
            for image in images:
                shard.add(image)
            shard.counts = tally.to_dict()
        mark_stored()

    def _with_falsified(
        self, images: Iterator[CaptionedImage], tally: Tally, folder: Path, seed: tuple[int, int, int]
    ) -> Iterator[CaptionedImage]:
        """The captions of a whole stretch are compared; its images wait on the disk for what comes of it."""
        make_folder(folder)
        waiting = []
        with ShardWriter(folder, seed[-1]) as draft:
            for image in images:
                draft.add(image)
                waiting.append(replace(image, data=b""))
        added = falsify(waiting, self.settings.share, self._encoder(), seed)
        tally.counts["wanted"] = falsified_of(tally.counts["pairs"], self.settings.share)
        tally.counts["made"] = sum(map(len, added))
        tally.counts["similarity"] = round(sum(other.similarity or 0.0 for others in added for other in others), 3)
        for image, others in zip(read_shard(draft.path), added, strict=True):
            yield replace(image, captions=image.captions + tuple((other.text, False) for other in others))
        draft.path.unlink()

    def _prepared(self, named: Sequence[NamedImage], tally: Tally) -> Iterator[CaptionedImage]:
        """The images of a stretch that can be read."""
        batches = prepare_images(named, self.settings, self.detector, tally.skipped, tally.regions)
        for number, batch in enumerate(batches):
            for image in batch:
                tally.counts["images"] += 1
                tally.counts["pairs"] += len(image.captions)
                tally.counts["matched"] += sum(matched for _, matched in image.captions)
                yield image
            self._advance(min(BATCH, len(named) - number * BATCH))

    def _encoder(self) -> Encode | None:
        if self.settings.falsify == "uniform":
            return None
        if self.encoder is None:  # not before it is needed: a build that goes on may need it no more
            name = self.settings.text_encoder
            self.encoder = word_vectors if name is None else SentenceVectors(name)
        return self.encoder


def prepare_images(
    named: Sequence[NamedImage],
    settings: CorpusSettings,
    detector: Detector | None,
    skipped: Skipped,
    regions: Counter[str],
) -> Iterator[list[CaptionedImage]]:
    """Yield the images that can be read, a list for every `BATCH` named ones; the others are `skipped`, or raise.

    The detector sees each image upright and in full size. In `regions` are counted those "kept", "clipped" at the
    image's edge (kept too), and "dropped" because less than a pixel of them lies in the image.
    """
    with ThreadPoolExecutor(min(8, usable_cores())) as pool:
        for start in range(0, len(named), BATCH):
            batch = named[start : start + BATCH]
            loaded: list[tuple[CaptionedImage, Image.Image]] = []
            results = pool.map(lambda item: _load(item, settings, detector is not None), batch)
            for item, result in zip(batch, results, strict=True):
                if not isinstance(result, InputError):
                    loaded.append(result)
                    continue
                reason = f"image {item.image!r}: {result.reason}"
                if settings.missing_images == "raise":
                    raise InputError(f"{reason}; or leave such images out: missing_images='skip'", item.path, item.line)
                error = InputError(reason, item.path, item.line, result.kind or "broken image")
                skipped.add(error, len(item.captions))
            found: Sequence[Sequence[Region]] = [()] * len(loaded)
            if detector is not None and loaded:
                found = detector.detect([upright for _, upright in loaded], [image.image for image, _ in loaded])
            yield [
                replace(image, regions=_scaled(boxes, upright.size, image, regions))
                for (image, upright), boxes in zip(loaded, found, strict=True)
            ]


def _load(named: NamedImage, settings: CorpusSettings, whole: bool) -> tuple[CaptionedImage, Image.Image] | InputError:
    """An image as it will be stored, and decoded upright: in full size if `whole`, for the detector."""
    side = settings.side
    try:
        data = _read(settings.image_folder / named.image)
        info = probe_image(data)
        shrink = side is not None and max(info.width, info.height) > side
        # a JPEG that will be shrunk is decoded at a fraction of its size, which still reads it to the end
        upright = load_image(data, target=(side, side) if side is not None and shrink and not whole else None)
    except InputError as error:
        return error
    digest = hashlib.blake2b(data, digest_size=16).digest()
    stored = upright
    if side is not None and shrink:
        stored = upright.copy()
        stored.thumbnail((side, side), Image.Resampling.LANCZOS)
        stored.save(buffer := io.BytesIO(), "JPEG", quality=QUALITY)
        data = buffer.getvalue()
    return CaptionedImage(named.image, data, *stored.size, named.captions, digest=digest), upright


def _read(path: Path) -> bytes:
    try:
        if (size := path.stat().st_size) > MAX_BYTES:
            reason = f"the image is too large: {size:,} bytes, more than {MAX_BYTES:,}; shrink it"
            raise InputError(reason, kind="image too large")
        return path.read_bytes()
    except FileNotFoundError:
        raise InputError("no such image; check the name and the folder of images", kind="missing image") from None
    except OSError as error:
        raise InputError(f"the image cannot be read ({error.strerror})") from None


def _scaled(
    found: Sequence[Region], size: tuple[int, int], stored: CaptionedImage, counts: Counter[str]
) -> tuple[Region, ...]:
    """Regions of an upright image of full `size` to the frame of the stored one, cut at its edges."""
    limits = (stored.width, stored.height) * 2
    scales = (stored.width / size[0], stored.height / size[1]) * 2
    kept = []
    for region in found:
        box = [edge * scale for edge, scale in zip(region.box, scales, strict=True)]
        x0, y0, x1, y1 = (min(max(edge, 0.0), limit) for edge, limit in zip(box, limits, strict=True))
        if x1 - x0 < 1.0 or y1 - y0 < 1.0:
            counts["dropped"] += 1
            continue
        counts["kept"] += 1
        counts["clipped"] += [x0, y0, x1, y1] != box
        kept.append(Region((x0, y0, x1, y1), region.label, region.score))
    return tuple(kept)
