"""What a file or a whole set holds, and all that is wrong with it."""

from __future__ import annotations

import hashlib
from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from promu.corpora.check_report import MAX_SHOWN, STAND_IN, CheckReport, FileReport, PictureReport
from promu.corpora.formats import Format, find_format, find_splits
from promu.corpora.labels import label_map
from promu.corpora.overlap import Contents, find_overlaps
from promu.corpora.pictures import load_picture
from promu.corpora.releases import UNKNOWN, identify, unknown_name
from promu.errors import InputError
from promu.files import shorten
from promu.schema import CaptionPair, Post, Region


def check(path: str | Path, format: str, images: str | Path | None = None) -> CheckReport:
    """Read one file, or all files of a set in a folder, and say what is there and what is wrong.

    Args:
        path: A file, or a folder with the format's usual file names.
        format: A name in `FORMATS`.
        images: The folder of pictures; every named picture is decoded. Without it they are only counted.

    Raises:
        InputError: an unknown format, no such path, a folder without any of the files, no such folder of pictures.
            Whatever is wrong *in* a file is in the report instead.
    """
    path = Path(path)
    entry = find_format(format)
    folder = None if images is None else Path(images)
    if folder is not None and not folder.is_dir():
        raise InputError("no such folder of pictures; check the path", folder)
    if not path.exists():
        raise InputError("no such file or folder; check the path", path)
    files = find_splits(path, format) if path.is_dir() else [(None, path)]
    decoded: dict[str, _Picture] = {}
    splits: dict[str, Contents] = {}
    reports = []
    for split, file in files:
        report, contents = _check_file(file, split, entry, folder, decoded)
        reports.append(report)
        if split is not None:
            splits.setdefault(split, Contents()).add(contents)
    return CheckReport(path, format, entry.kind, reports, find_overlaps(splits))


def _check_file(
    path: Path, split: str | None, entry: Format, folder: Path | None, decoded: dict[str, _Picture]
) -> tuple[FileReport, Contents]:
    report, contents = FileReport(path, split, UNKNOWN), Contents()
    try:
        report.release = str(identify(path) or UNKNOWN)
        records = entry.read(path, report.problems)
        if entry.notes is not None:
            report.notes = entry.notes(path)
    except InputError as error:
        report.problems.append(error)
        return report, contents
    report.records = len(records)
    if entry.kind == "posts":
        _count_posts(report, records, entry.pair_per_post)
        if report.release == UNKNOWN:
            report.release = unknown_name(records)
        contents.texts = {post.tokens: shorten(" ".join(post.tokens)) for post in records}
        names = [post.image for post in records if post.image is not None]
    elif entry.kind == "pairs":
        _count_pairs(report, records)
        contents.texts = {pair.caption: shorten(pair.caption) for pair in records}
        names = [pair.image for pair in records]
    else:
        _count_regions(report, records)
        names = list(records)
    report.pictures = _check_pictures(names, folder, decoded)
    contents.pictures = set(names)
    if folder is not None:
        contents.digests = {name: digest for name in names if (digest := decoded[name].digest) is not None}
    return report, contents


_UNTYPED = "untyped"


def _count_posts(report: FileReport, posts: list[Post], pair_per_post: bool) -> None:
    report.tokens = sum(len(post.tokens) for post in posts)
    report.entities = _count(_UNTYPED if e.type is None else e.type for post in posts for e in post.entities)
    report.label_map = label_map(name for name in report.entities if name != _UNTYPED)
    report.relations = _count(relation.type for post in posts for relation in post.relations)
    report.duplicates = len(posts) - len({_post_key(post, pair_per_post) for post in posts})


def _post_key(post: Post, pair_per_post: bool) -> tuple[object, ...]:
    spans = tuple((entity.start, entity.end) for entity in post.entities) if pair_per_post else ()
    return post.tokens, spans


def _count_pairs(report: FileReport, pairs: list[CaptionPair]) -> None:
    report.matched = sum(pair.matched for pair in pairs)
    report.duplicates = len(pairs) - len({(pair.image, pair.caption) for pair in pairs})


def _count_regions(report: FileReport, regions: dict[str, list[Region]]) -> None:
    report.regions = _count(region.label for boxes in regions.values() for region in boxes)


def _count(values: Iterable[str]) -> dict[str, int]:
    """Counts, most frequent first, equal ones by name."""
    return dict(sorted(Counter(values).items(), key=lambda item: (-item[1], item[0])))


@dataclass(frozen=True, slots=True)
class _Picture:
    """The state of one picture file: the digest of its bytes, or why it has none."""

    digest: str | None
    fault: str | None


def _check_pictures(names: list[str], folder: Path | None, decoded: dict[str, _Picture]) -> PictureReport:
    uses = Counter(names)
    report = PictureReport(len(uses), sum(count > 1 for count in uses.values()), folder is not None)
    if folder is None:
        return report
    contents: set[str] = set()
    for name in [*uses, STAND_IN]:
        if name not in decoded:
            decoded[name] = _inspect(folder / name)
    for name in uses:
        picture = decoded[name]
        if picture.fault is not None:
            report.broken += 1
            if len(report.broken_reasons) < MAX_SHOWN:
                report.broken_reasons.append((name, picture.fault))
        elif picture.digest is None:
            report.missing += 1
            if len(report.missing_names) < MAX_SHOWN:
                report.missing_names.append(name)
        elif picture.digest in contents:
            report.same_content += 1
        else:
            contents.add(picture.digest)
    stand_in = decoded[STAND_IN].digest
    if stand_in is not None:
        report.stand_ins = sum(decoded[name].digest == stand_in for name in uses if name != STAND_IN)
    return report


def _inspect(path: Path) -> _Picture:
    try:
        data = path.read_bytes()
    except FileNotFoundError:
        return _Picture(None, None)
    except (OSError, ValueError) as error:
        return _Picture(None, f"cannot be read ({error})")
    try:
        # Decoding is what finds a truncated file; a small target makes it cheap for big JPEGs.
        load_picture(data, target=(64, 64))
    except InputError as error:
        return _Picture(None, error.reason)
    return _Picture(hashlib.sha256(data).hexdigest(), None)
