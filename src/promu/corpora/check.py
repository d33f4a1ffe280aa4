"""What a file or a whole set holds, and all that is wrong with it."""

from __future__ import annotations

import hashlib
from collections import Counter
from collections.abc import Hashable, Iterable, Mapping
from dataclasses import dataclass, field
from itertools import combinations
from pathlib import Path
from typing import Any

from promu.corpora.formats import Format, find_format, find_splits, label_map
from promu.corpora.images import load_image
from promu.corpora.releases import UNKNOWN, identify, unknown_name
from promu.errors import InputError
from promu.files import shorten
from promu.schema import CaptionPair, Post, Region

MAX_EXAMPLES = 3
"""Shared texts and images named a pair of splits; all are counted."""


@dataclass(slots=True)
class Contents:
    """What a split holds.

    Attributes:
        texts: Excerpt by text: the words of posts, or captions; equal ones count once.
        images: Names of images.
        digests: Digest of its bytes by name of an image; None where no image was opened.
    """

    texts: dict[Hashable, str] = field(default_factory=dict)
    images: set[str] = field(default_factory=set)
    digests: dict[str, str] | None = None

    def add(self, other: Contents) -> None:
        """Take in another file of the split."""
        self.texts |= other.texts
        self.images |= other.images
        if other.digests is not None:
            self.digests = {**other.digests, **(self.digests or {})}


@dataclass(frozen=True, slots=True)
class Overlap:
    """What two splits share; distinct texts and images are counted, of the second split's.

    Attributes:
        first, second: The splits.
        texts, of_texts: Texts in both, and texts of the second. Texts are equal word by word.
        images, of_images: Names of images in both, and of the second.
        same_content: Images of the second whose bytes the first has under another name; None where none was opened.
        examples: The first few shared texts, images, and pairs of names of equal content.
    """

    first: str
    second: str
    texts: int
    of_texts: int
    images: int
    of_images: int
    same_content: int | None
    examples: dict[str, list[str]]

    def to_dict(self) -> dict[str, Any]:
        """All of it, ready for JSON."""
        return {
            "splits": [self.first, self.second],
            "texts": self.texts,
            "of_texts": self.of_texts,
            "images": self.images,
            "of_images": self.of_images,
            "same_content": self.same_content,
            "examples": self.examples,
        }

    def lines(self) -> list[str]:
        """The same as text."""
        content = (
            "content not compared, none opened"
            if self.same_content is None
            else f"{self.same_content:,} more by content"
        )
        head = (
            f"{self.first} and {self.second} share {self.texts:,} of the latter's {self.of_texts:,} texts, "
            f"{self.images:,} of its {self.of_images:,} images by name ({content})"
        )
        return [head, *(f"  same {kind}: {example}" for kind, shown in self.examples.items() for example in shown)]


def find_overlaps(splits: Mapping[str, Contents]) -> list[Overlap]:
    """Compare each split with each one after it."""
    return [_compare(first, splits[first], second, splits[second]) for first, second in combinations(splits, 2)]


def _compare(first: str, seen: Contents, second: str, asked: Contents) -> Overlap:
    texts = [excerpt for key, excerpt in asked.texts.items() if key in seen.texts]
    images = sorted(seen.images & asked.images)
    content = None
    if seen.digests is not None and asked.digests is not None:
        names = {digest: name for name, digest in seen.digests.items()}
        content = [
            f"{name} is {names[digest]}"
            for name, digest in asked.digests.items()
            if digest in names and name not in seen.images
        ]
    examples = {"text": texts, "image": images, "content": content or []}
    return Overlap(
        first,
        second,
        texts=len(texts),
        of_texts=len(asked.texts),
        images=len(images),
        of_images=len(asked.images),
        same_content=None if content is None else len(content),
        examples={kind: found[:MAX_EXAMPLES] for kind, found in examples.items()},
    )


MAX_SHOWN = 20
"""Broken and missing images named a file; all are counted."""

STAND_IN = "17_06_4705.jpg"
"""The image of Twitter-2017 that the field's code shows in the place of a missing one."""


@dataclass(slots=True)
class ImageReport:
    """The images a file names.

    Attributes:
        named: Distinct image names.
        shared: Names that more than one post or pair uses.
        checked: Whether a folder of images was given; the rest is 0 and empty otherwise.
        missing: Names without a file.
        broken: Files that cannot be decoded.
        same_content: Files beyond the first of each group with identical bytes under different names.
        stand_ins: Files with the bytes of `STAND_IN`, which the field puts in the place of images that are missing.
        missing_names: The first `MAX_SHOWN` missing names.
        broken_reasons: The first `MAX_SHOWN` broken names, each with its reason.
    """

    named: int = 0
    shared: int = 0
    checked: bool = False
    missing: int = 0
    broken: int = 0
    same_content: int = 0
    stand_ins: int = 0
    missing_names: list[str] = field(default_factory=list)
    broken_reasons: list[tuple[str, str]] = field(default_factory=list)


@dataclass(slots=True)
class FileReport:
    """One file. `records` counts posts, pairs or images with regions; what a format lacks stays 0 or empty.

    `label_map` has the papers' name of each entity type by the file's name, which is the one that readers keep.
    """

    path: Path
    split: str | None
    release: str
    records: int = 0
    tokens: int = 0
    entities: dict[str, int] = field(default_factory=dict)
    label_map: dict[str, str] = field(default_factory=dict)
    relations: dict[str, int] = field(default_factory=dict)
    regions: dict[str, int] = field(default_factory=dict)
    matched: int = 0
    duplicates: int = 0
    images: ImageReport = field(default_factory=ImageReport)
    notes: list[str] = field(default_factory=list)
    problems: list[InputError] = field(default_factory=list)

    @property
    def ok(self) -> bool:
        """No malformed record, and no image missing or broken."""
        return not self.problems and not self.images.missing and not self.images.broken


@dataclass(slots=True)
class CheckReport:
    """What `check` found, file by file and between splits; what splits share is no fault of a file."""

    path: Path
    format: str
    kind: str
    files: list[FileReport]
    overlaps: list[Overlap] = field(default_factory=list)

    @property
    def ok(self) -> bool:
        """Whether every file is."""
        return all(file.ok for file in self.files)

    def to_dict(self) -> dict[str, Any]:
        """The whole report as JSON-ready data."""
        return {
            "path": str(self.path),
            "format": self.format,
            "ok": self.ok,
            "files": [_file_dict(file, self.kind) for file in self.files],
            "overlaps": [overlap.to_dict() for overlap in self.overlaps],
        }

    def lines(self) -> list[str]:
        """The report as plain text, the problems last as `file:line: reason`."""
        text = [line for file in self.files for line in _file_lines(file, self.kind)]
        text += [line for overlap in self.overlaps for line in overlap.lines()]
        return text + [str(problem) for file in self.files for problem in file.problems]


def _file_dict(file: FileReport, kind: str) -> dict[str, Any]:
    images = file.images
    record: dict[str, Any] = {
        "path": str(file.path),
        "split": file.split,
        "release": file.release,
        "ok": file.ok,
        "posts" if kind == "posts" else "pairs" if kind == "pairs" else "images_with_regions": file.records,
    }
    if kind == "posts":
        record |= {
            "tokens": file.tokens,
            "entities": file.entities,
            "label_map": file.label_map,
            "relations": file.relations,
        }
    elif kind == "pairs":
        record |= {"matched": file.matched, "mismatched": file.records - file.matched}
    else:
        record |= {"regions": file.regions}
    record["duplicates"] = file.duplicates
    record["images"] = {"named": images.named, "shared": images.shared, "checked": images.checked}
    if images.checked:
        record["images"] |= {
            "missing": images.missing,
            "broken": images.broken,
            "same_content": images.same_content,
            "stand_ins": images.stand_ins,
            "missing_names": images.missing_names,
            "broken_reasons": [{"image": name, "reason": reason} for name, reason in images.broken_reasons],
        }
    record["notes"] = file.notes
    record["problems"] = [
        {"path": problem.path, "line": problem.line, "reason": problem.reason} for problem in file.problems
    ]
    return record


def _file_lines(file: FileReport, kind: str) -> list[str]:
    images = file.images
    noun = {"posts": "posts", "pairs": "caption pairs", "regions": "images"}[kind]
    head = f"{file.path}: " + (f"{file.split}, " if file.split else "") + f"{file.records:,} {noun}"
    lines = [head, f"  release: {file.release}"]
    if kind == "posts":
        lines.append(f"  tokens: {file.tokens:,}")
        lines.append(f"  entities: {_table(file.entities)}")
        if file.label_map:
            lines.append("  labels, as read and in the papers: " + _label_lines(file.label_map))
        lines.append(f"  relations: {_table(file.relations)}")
    elif kind == "pairs":
        lines.append(f"  matched: {file.matched:,}, mismatched: {file.records - file.matched:,}")
    else:
        lines.append(f"  regions: {_table(file.regions)}")
    if kind != "regions":
        lines.append(f"  duplicates: {file.duplicates:,}")
    named = f"  images: {images.named:,} named, {images.shared:,} of them more than once"
    if images.checked:
        named += (
            f"; {images.missing:,} missing, {images.broken:,} broken, "
            f"{images.same_content:,} repeat another under a new name, "
            f"{images.stand_ins:,} stand in for one that was missing"
        )
    lines.append(named + ("" if images.checked else "; no folder of images given, none opened"))
    lines += [f"    missing: {name}" for name in images.missing_names]
    lines += _more(images.missing, len(images.missing_names))
    lines += [f"    broken: {name}: {reason}" for name, reason in images.broken_reasons]
    lines += _more(images.broken, len(images.broken_reasons))
    lines += [f"  note: {note}" for note in file.notes]
    lines.append(f"  malformed: {len(file.problems):,}")
    return lines


def _label_lines(names: dict[str, str]) -> str:
    return ", ".join(name if name == paper else f"{name} = {paper}" for name, paper in names.items())


def _more(count: int, shown: int) -> list[str]:
    return [f"    … and {count - shown:,} more"] if count > shown else []


def _table(counts: dict[str, int]) -> str:
    if not counts:
        return "none"
    return f"{sum(counts.values()):,} (" + ", ".join(f"{name} {count:,}" for name, count in counts.items()) + ")"


def check(path: str | Path, format: str, images: str | Path | None = None) -> CheckReport:
    """Read one file, or all files of a set in a folder, and say what is there and what is wrong.

    Args:
        path: A file, or a folder with the format's usual file names.
        format: A name in `FORMATS`.
        images: The folder of images; every named image is decoded. Without it they are only counted.

    Raises:
        InputError: an unknown format, no such path, a folder without any of the files, no such folder of images.
            Whatever is wrong *in* a file is in the report instead.
    """
    path = Path(path)
    entry = find_format(format)
    folder = None if images is None else Path(images)
    if folder is not None and not folder.is_dir():
        raise InputError("no such folder of images; check the path", folder)
    if not path.exists():
        raise InputError("no such file or folder; check the path", path)
    files = find_splits(path, format) if path.is_dir() else [(None, path)]
    decoded: dict[str, _ImageUse] = {}
    splits: dict[str, Contents] = {}
    reports = []
    for split, file in files:
        report, contents = _check_file(file, split, entry, folder, decoded)
        reports.append(report)
        if split is not None:
            splits.setdefault(split, Contents()).add(contents)
    return CheckReport(path, format, entry.kind, reports, find_overlaps(splits))


def _check_file(
    path: Path, split: str | None, entry: Format, folder: Path | None, decoded: dict[str, _ImageUse]
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
    report.images = _check_images(names, folder, decoded)
    contents.images = set(names)
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
class _ImageUse:
    """The state of one image file: the digest of its bytes, or why it has none."""

    digest: str | None
    fault: str | None


def _check_images(names: list[str], folder: Path | None, decoded: dict[str, _ImageUse]) -> ImageReport:
    uses = Counter(names)
    report = ImageReport(len(uses), sum(count > 1 for count in uses.values()), folder is not None)
    if folder is None:
        return report
    contents: set[str] = set()
    for name in [*uses, STAND_IN]:
        if name not in decoded:
            decoded[name] = _inspect(folder / name)
    for name in uses:
        image = decoded[name]
        if image.fault is not None:
            report.broken += 1
            if len(report.broken_reasons) < MAX_SHOWN:
                report.broken_reasons.append((name, image.fault))
        elif image.digest is None:
            report.missing += 1
            if len(report.missing_names) < MAX_SHOWN:
                report.missing_names.append(name)
        elif image.digest in contents:
            report.same_content += 1
        else:
            contents.add(image.digest)
    stand_in = decoded[STAND_IN].digest
    if stand_in is not None:
        report.stand_ins = sum(decoded[name].digest == stand_in for name in uses if name != STAND_IN)
    return report


def _inspect(path: Path) -> _ImageUse:
    try:
        data = path.read_bytes()
    except FileNotFoundError:
        return _ImageUse(None, None)
    except (OSError, ValueError) as error:
        return _ImageUse(None, f"cannot be read ({error})")
    try:
        # Decoding is what finds a truncated file; a small target makes it cheap for big JPEGs.
        load_image(data, target=(64, 64))
    except InputError as error:
        return _ImageUse(None, error.reason)
    return _ImageUse(hashlib.sha256(data).hexdigest(), None)
