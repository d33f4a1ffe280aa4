"""`promu corpus build`: captions, pictures and a detector become a corpus of Parquet shards.

The captions are read as a stream, several times; a shard is made of a fixed stretch of the pictures they name and takes
its name when it is whole. So a build costs the same memory whatever the size, and one that was killed goes on at the
first shard that is not there, with the result of one that never was. Every pair that is read is kept or counted.
"""

from __future__ import annotations

import json
import shutil
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, replace
from itertools import islice
from pathlib import Path
from typing import Any

from promu.alignment.corpus_counts import Tally, build_result, part_header
from promu.alignment.corpus_settings import CorpusSettings, Progress, Survey, named_pictures, survey_captions
from promu.alignment.detector import Detector, DetectorSettings
from promu.alignment.falsify import Encode, PictureCaptions, falsified_of, falsify, word_vectors
from promu.alignment.prepare import BATCH, prepare_pictures
from promu.alignment.regions import build_detector
from promu.alignment.sentence_vectors import SentenceVectors
from promu.corpora.captioned import NamedPicture, Skipped, guess_format
from promu.corpora.shards import HEADER, CaptionedPicture, ShardWriter, read_shard, shard_path
from promu.errors import InputError
from promu.files import write_json

BUILD = "build.json"
"""Whose folder it is: the settings of the build, and its result once it is finished."""
DRAFT = "draft"


def build_corpus(
    settings: CorpusSettings, out: Path, progress: Progress = lambda name, done, total: None
) -> dict[str, Any]:
    """Build a corpus in `out`, or go on with one that was stopped; a finished one of these settings is left alone.

    Returns:
        What `build.json` keeps under "result": pairs "read", "kept" and "skipped" by reason (they add up), falsified
        pairs "made", and the headers of the "parts" "train" and (with `dev`) "dev".

    Raises:
        InputError: Something is wrong with the settings, the captions, a picture that is required or the disk; or
            `out` holds something else.
    """
    if not settings.images.is_dir():
        raise InputError("no such folder of pictures; check the path", settings.images)
    format = guess_format(settings.captions) if settings.format == "auto" else settings.format
    settings = replace(settings, format=format)
    survey = survey_captions(settings, progress)
    detector = build_detector(
        settings.detector,
        settings.regions,
        DetectorSettings(settings.confidence, settings.max_regions, settings.class_names),
    )
    claim = {**_plain(settings), "detector": detector.identity, "captions_read": survey.digest}
    result = _claim(out, claim)
    if result is not None:
        return result
    build = _Build(settings, survey, None if detector.identity == "none" else detector, progress)
    parts = {"train": out / "train", "dev": out / "dev"} if settings.dev else {"train": out}
    headers = {part: build.part(part, folder) for part, folder in parts.items()}
    result = build_result(survey, headers, out)
    for part, folder in parts.items():
        write_json(folder / HEADER, {**headers[part], "settings": claim})
    write_json(out / BUILD, {"settings": claim, "result": result})
    return result


def _plain(settings: CorpusSettings) -> dict[str, Any]:
    return {name: str(value) if isinstance(value, Path) else value for name, value in asdict(settings).items()}


def _claim(out: Path, claim: Mapping[str, Any]) -> dict[str, Any] | None:
    """Make `out` this build's folder; give the result if it is finished.

    Raises:
        InputError: It is a file, or the folder of something else.
    """
    path = out / BUILD
    for leftover in out.glob(f".{BUILD}.*.part"):  # of a build that was killed as it wrote the file
        leftover.unlink()
    if path.is_file():
        try:
            found = json.loads(path.read_text(encoding="utf-8"))
            theirs = dict(found["settings"])
        except (ValueError, KeyError, TypeError) as error:
            raise InputError(f"not the state of a build ({error}); delete the folder and build again", path) from None
        differing = sorted(key for key in {*theirs, *claim} if theirs.get(key) != claim.get(key))
        if differing and any(file != path for file in out.iterdir()):  # a claim alone is worth nothing
            raise InputError(
                f"this folder holds a corpus with other settings ({', '.join(differing)}); choose another --out, or "
                "delete it",
                out,
            )
        if not differing and "result" in found:
            return dict(found["result"])
    elif out.exists() and not out.is_dir():
        raise InputError("this is a file; choose another --out", out)
    elif out.is_dir() and any(out.iterdir()):
        raise InputError("this folder is not empty and holds no corpus; choose another --out", out)
    _make(out)
    write_json(path, {"settings": claim})
    return None


def _make(folder: Path) -> None:
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise InputError(f"the folder cannot be made ({error.strerror}); choose another --out", folder) from None


class _Build:
    """The state that the shards of a build share."""

    def __init__(self, settings: CorpusSettings, survey: Survey, detector: Detector | None, progress: Progress) -> None:
        self.settings = settings
        self.survey = survey
        self.detector = detector
        self.progress = progress
        self.done = 0
        self.compared = 0
        self.encoder: Encode | None = None

    def part(self, part: str, folder: Path) -> dict[str, Any]:
        """Make the shards of a part that are not there, and give its header."""
        _make(folder)
        for leftover in (*folder.glob("*.part"), *folder.glob(".*.part")):
            leftover.unlink()
        named = (
            picture
            for picture in named_pictures(self.settings, Skipped())
            if self.survey.part(self.settings.seed, picture.image) == part
        )
        paths = []
        for number, size in enumerate(_even(self.survey.pictures[part], self.settings.shard)):
            stretch, before = list(islice(named, size)), self.compared
            paths.append(shard_path(folder, number))
            if not paths[-1].exists():
                self._shard(stretch, folder, number, part)
            else:
                self._advance(size)
            self.compared = before + sum(len(item.captions) for item in stretch)
        shutil.rmtree(folder / DRAFT, ignore_errors=True)
        return part_header(part, paths, self.survey.pictures[part], self.settings)

    def _advance(self, pictures: int) -> None:
        self.done += pictures
        self.progress("pictures", self.done, self.survey.pictures.total())

    def _compare(self, captions: int) -> None:
        self.compared += captions
        self.progress("comparing captions", self.compared, self.survey.read - self.survey.skipped.pairs.total())

    def _shard(self, named: Sequence[NamedPicture], folder: Path, number: int, part: str) -> None:
        tally = Tally()
        if not self.settings.made:
            with ShardWriter(folder, number) as shard:
                for picture, _ in self._prepared(named, tally):
                    shard.add(picture)
                shard.counts = tally.to_dict()
            return
        # The captions of the whole stretch are compared; its pictures wait on the disk for what comes of it.
        _make(folder / DRAFT)
        captions = []
        with ShardWriter(folder / DRAFT, number) as draft:
            for picture, content in self._prepared(named, tally):
                draft.add(picture)
                texts = tuple(text for text, _ in picture.captions)
                captions.append(PictureCaptions(picture.image, content, texts))
        seed = (self.settings.seed, int(part == "dev"), number)
        added = falsify(captions, self.settings.share, self._encoder(), seed)
        tally.wanted = falsified_of(tally.pairs, self.settings.share)
        tally.made = sum(map(len, added))
        tally.similarity = round(sum(other.similarity or 0.0 for others in added for other in others), 3)
        with ShardWriter(folder, number) as shard:
            for picture, others in zip(read_shard(draft.path), added, strict=True):
                made = tuple((other.text, False) for other in others)
                shard.add(replace(picture, captions=picture.captions + made))
            shard.counts = tally.to_dict()
        draft.path.unlink()

    def _prepared(self, named: Sequence[NamedPicture], tally: Tally) -> Iterator[tuple[CaptionedPicture, bytes]]:
        """The pictures of a stretch that can be read, each with a digest of its file."""
        settings = self.settings
        batches = prepare_pictures(
            named, settings.images, settings.side, self.detector, settings.missing, tally.skipped, tally.regions
        )
        for number, batch in enumerate(batches):
            for prepared in batch:
                tally.add(prepared.row)
                yield prepared.row, prepared.content
            self._advance(min(BATCH, len(named) - number * BATCH))

    def _encoder(self) -> Encode | None:
        settings = self.settings
        if settings.falsify == "uniform":
            return None
        if settings.text_encoder is None:
            return word_vectors
        if self.encoder is None:  # not before it is needed: a build that goes on may need it no more
            self.encoder = SentenceVectors(settings.text_encoder, self._compare)
        return self.encoder


def _even(pictures: int, most: int) -> list[int]:
    """Shards of even size, none above `most`: in a last one of few captions none would be near in meaning."""
    count = -(-pictures // most)
    return [pictures // count + (number < pictures % count) for number in range(count)]
