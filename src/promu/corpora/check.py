"""What a file or a whole set holds, what its splits share, and all that is wrong with it."""

from __future__ import annotations

import hashlib
from collections import Counter
from collections.abc import Hashable, Iterable
from dataclasses import asdict, dataclass, field
from itertools import combinations
from pathlib import Path
from typing import Any, NamedTuple

from promu.corpora.formats import Format, find_format, find_splits, paper_name
from promu.corpora.gmner import COARSE_TYPES, FINE_TYPES, coarse_types
from promu.corpora.images import find_image, load_image
from promu.corpora.releases import UNKNOWN, identify, unknown_name
from promu.errors import InputError, Problems, counted
from promu.files import absent, shorten
from promu.schema import Post, Scheme

MAX_EXAMPLES = 3
"""Shared texts and images named a pair of splits; all are counted."""

MAX_SHOWN = 20
"""Broken and missing images named a file; all are counted."""

STAND_IN = "17_06_4705.jpg"
"""The image of Twitter-2017 that the field's code shows in the place of a missing one."""

_UNTYPED = "untyped"


@dataclass(frozen=True, slots=True)
class Overlap:
    """What two splits share: distinct texts (equal word by word) and names of images in both, and of the second in all.

    `same_content` are images of the second whose bytes the first has under another name; None where none was opened.
    `examples` are the first few shared texts, images, and pairs of names of equal content.
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
        values = asdict(self)
        return {"splits": [values.pop("first"), values.pop("second")], **values}

    def lines(self) -> list[str]:
        """The same as text, without what they do not share."""
        shared = {
            f"{self.texts:,} of the latter's {counted(self.of_texts, 'text')}": self.texts,
            f"{self.images:,} of its {counted(self.of_images, 'image')} by name": self.images,
            f"{self.same_content or 0:,} more by content": self.same_content,
        }
        opened = " (content not compared, none opened)" if self.same_content is None and self.of_images else ""
        named = ", ".join(what for what, count in shared.items() if count) or "no text and no image"
        head = f"{self.first} and {self.second} share {named}{opened}"
        return [head, *(f"  same {kind}: {example}" for kind, shown in self.examples.items() for example in shown)]


@dataclass(slots=True)
class ImageReport:
    """The images a file names.

    Attributes:
        named: Distinct image names.
        shared: Names that more than one post or pair uses.
        checked: Whether a folder of images was given; the rest is 0 and empty otherwise.
        missing: Names without a file; the first `MAX_SHOWN` are in `missing_names`.
        broken: Files that cannot be decoded; the first `MAX_SHOWN`, with reasons, are in `broken_reasons`.
        same_content: Files beyond the first of each group with identical bytes under different names.
        stand_ins: Files with the bytes of `STAND_IN`, which the field puts in the place of images that are missing.
        renamed: Files with another ending, or in another Unicode form, than the name; `renamed_names` has the first.
    """

    named: int = 0
    shared: int = 0
    checked: bool = False
    missing: int = 0
    broken: int = 0
    same_content: int = 0
    stand_ins: int = 0
    renamed: int = 0
    missing_names: list[str] = field(default_factory=list)
    broken_reasons: list[tuple[str, str]] = field(default_factory=list)
    renamed_names: list[tuple[str, str]] = field(default_factory=list)

    def to_dict(self) -> dict[str, Any]:
        """All of it, ready for JSON; without what was not checked."""
        values = asdict(self)
        values["broken_reasons"] = [{"image": name, "reason": reason} for name, reason in self.broken_reasons]
        return values if self.checked else {name: values[name] for name in ("named", "shared", "checked")}

    def lines(self) -> list[str]:
        """The same as text, without zeros."""
        if not self.named:
            return ["  images: none named"]
        counts = {
            "missing": self.missing,
            "broken": self.broken,
            "the same as another under a new name": self.same_content,
            "in place of one that was missing": self.stand_ins,
        }
        found = ", ".join(f"{count:,} {what}" for what, count in counts.items() if count) or "each can be read"
        if not self.checked:
            found = "no folder of images given, none opened"
        often = f", {self.shared:,} of them more than once" if self.shared else ""
        lines = [f"  images: {self.named:,} named{often}; {found}"]
        lines += [f"    missing: {name}" for name in self.missing_names]
        lines += _more(self.missing, len(self.missing_names))
        if self.renamed:
            pairs = ", ".join(f"{name} is {file}" for name, file in self.renamed_names)
            lines.append(f"    under another name: {self.renamed:,} ({pairs}{', …' if self.renamed > 3 else ''})")
        lines += [f"    broken: {name}: {reason}" for name, reason in self.broken_reasons]
        return lines + _more(self.broken, len(self.broken_reasons))


@dataclass(frozen=True, slots=True)
class Grounding:
    """What the images show of the entities of posts.

    Attributes:
        entities: Of which it is known.
        shown: Those of them that the image shows, each mention counted.
        names: Those by their words, each once a post, as the published counts have them.
        boxes: The boxes of these names.
        sizes: Posts whose image's size is known.
    """

    entities: int
    shown: int
    names: int
    boxes: int
    sizes: int

    def line(self) -> str:
        """The same as text."""
        boxes, sizes = counted(self.boxes, "box", "boxes"), counted(self.sizes, "image")
        names, entities = counted(self.names, "name"), counted(self.entities, "entity", "entities")
        shown = f"{self.shown:,} of {entities} ({names} of posts), {boxes}"
        return f"  shown in the image: {shown}; the size of {sizes} is known"


@dataclass(slots=True)
class FileReport:
    """One file. `records` counts posts, pairs or images with regions; what a format lacks stays 0 or empty.

    `coarse` counts FMNERG's coarse types where all types are its fine ones; `grounding` is None where no entity says
    what shows it. `kind` is that of the format. `label_map` has the papers' name of each entity type by the file's
    name, which is the one that readers keep.
    """

    path: Path
    split: str | None
    kind: str
    release: str = UNKNOWN
    records: int = 0
    tokens: int = 0
    entities: dict[str, int] = field(default_factory=dict)
    coarse: dict[str, int] = field(default_factory=dict)
    label_map: dict[str, str] = field(default_factory=dict)
    grounding: Grounding | None = None
    relations: dict[str, int] = field(default_factory=dict)
    regions: dict[str, int] = field(default_factory=dict)
    matched: int = 0
    duplicates: int = 0
    images: ImageReport = field(default_factory=ImageReport)
    notes: list[str] = field(default_factory=list)
    problems: Problems = field(default_factory=Problems)

    @property
    def ok(self) -> bool:
        """No malformed record, and no image missing or broken."""
        return not self.problems and not self.images.missing and not self.images.broken

    def to_dict(self) -> dict[str, Any]:
        """All of it, ready for JSON."""
        posts = {name: getattr(self, name) for name in ("tokens", "entities", "label_map", "relations")}
        posts |= {"coarse": self.coarse} if self.coarse else {}
        posts |= {"grounding": asdict(self.grounding)} if self.grounding else {}
        pairs = {"matched": self.matched, "mismatched": self.records - self.matched}
        figures: dict[str, dict[str, Any]] = {
            "posts": {"posts": self.records, **posts},
            "pairs": {"pairs": self.records, **pairs},
            "regions": {"images_with_regions": self.records, "regions": self.regions},
        }
        return {
            "path": str(self.path),
            "split": self.split,
            "release": self.release,
            "ok": self.ok,
            **figures[self.kind],
            "duplicates": self.duplicates,
            "images": self.images.to_dict(),
            "notes": self.notes,
            "malformed": self.problems.total,
            "problems": [
                {"path": one.path, "line": one.line, "reason": one.reason, "count": self.problems.count(one)}
                for one in self.problems
            ],
        }

    def lines(self) -> list[str]:
        """The same as text, without zeros, the problems only counted; says so where nothing is wrong."""
        noun = {"posts": "post", "pairs": "caption pair", "regions": "image"}[self.kind]
        lines = [f"{self.path}: " + (f"{self.split}, " if self.split else "") + counted(self.records, noun)]
        known = "none that promu knows" if self.release == UNKNOWN else self.release
        lines.append(f"  published release: {known}")
        if self.kind == "posts":
            lines += [f"  tokens: {self.tokens:,}", f"  entities: {_table(self.entities)}"]
            if self.coarse:
                counts = f"{len(self.entities)} fine types, {len(self.coarse)} coarse ones: {_table(self.coarse)}"
                lines.append(f"  types: {counts}")
            lines += [self.grounding.line()] if self.grounding else []
            if renamed := [f"{name} is {paper}" for name, paper in self.label_map.items() if name != paper]:
                lines.append(f"  labels that the papers name otherwise: {', '.join(renamed)}")
            lines += [f"  relations: {_table(self.relations)}"] if self.relations else []
        elif self.kind == "pairs":
            mismatched = self.records - self.matched
            lines.append(f"  matched: {self.matched:,}" + (f", mismatched: {mismatched:,}" if mismatched else ""))
        else:
            lines.append(f"  regions: {_table(self.regions)}")
        if self.duplicates:
            lines.append(f"  duplicates: {self.duplicates:,}")
        lines += [*self.images.lines(), *(f"  note: {note}" for note in self.notes)]
        if self.problems:
            lines.append(f"  malformed: {self.problems.total:,}")
        return [*lines, "  nothing is wrong"] if self.ok else lines


@dataclass(slots=True)
class CheckReport:
    """What `check` found, file by file and between splits; what splits share is no fault of a file."""

    path: Path
    format: str
    files: list[FileReport]
    overlaps: list[Overlap] = field(default_factory=list)

    @property
    def ok(self) -> bool:
        """Whether every file is."""
        return all(file.ok for file in self.files)

    def to_dict(self) -> dict[str, Any]:
        """The whole report as JSON-ready data."""
        files, overlaps = [file.to_dict() for file in self.files], [overlap.to_dict() for overlap in self.overlaps]
        return {"path": str(self.path), "format": self.format, "ok": self.ok, "files": files, "overlaps": overlaps}

    def lines(self) -> list[str]:
        """The report as plain text, the problems last as `file:line: reason`, each kind once with its count."""
        text = [line for file in self.files for line in file.lines()]
        text += [line for overlap in self.overlaps for line in overlap.lines()]
        return text + [str(problem) for file in self.files for problem in file.problems.sentences()]


def _more(count: int, shown: int) -> list[str]:
    return [f"    … and {count - shown:,} more"] if count > shown else []


def _table(counts: dict[str, int]) -> str:
    if not counts:
        return "none"
    return f"{sum(counts.values()):,} (" + ", ".join(f"{name} {count:,}" for name, count in counts.items()) + ")"


def check(path: str | Path, format: str, images: str | Path | None = None, scheme: Scheme = "auto") -> CheckReport:
    """Read one file, or all files of a set in a folder, and say what is there and what is wrong.

    Args:
        path: A file, or a folder with the format's usual file names.
        format: A name in `FORMATS`.
        images: The folder of images; every named image is decoded. Without it they are only counted.
        scheme: Of the tags in CoNLL files.

    Raises:
        InputError: an unknown format or scheme, no such path, a folder without any of the files, no such folder of
            images. Whatever is wrong *in* a file is in the report instead.
    """
    path = Path(path)
    entry = find_format(format).with_scheme(scheme)
    folder = None if images is None else Path(images)
    if folder is not None and not folder.is_dir():
        raise InputError("no such folder of images; check the path", folder)
    if not path.exists():
        raise absent(path)
    files = find_splits(path, format) if path.is_dir() and entry.splits else [(None, path)]
    opened: dict[str, _OpenedImage] = {}
    splits: dict[str, _Contents] = {}
    reports = []
    for split, file in files:
        reports.append(FileReport(file, split, entry.kind))
        _check_file(reports[-1], entry, folder, opened, splits.setdefault(split or "", _Contents()))
    overlaps = [_overlap(first, splits[first], second, splits[second]) for first, second in combinations(splits, 2)]
    return CheckReport(path, format, reports, overlaps)


@dataclass(slots=True)
class _Contents:
    """What a split holds: an excerpt by text (words of posts, or captions), names of images, digests by name."""

    texts: dict[Hashable, str] = field(default_factory=dict)
    images: set[str] = field(default_factory=set)
    digests: dict[str, str] | None = None


class _OpenedImage(NamedTuple):
    """An image file: the digest of its bytes, or why it has none; neither where it is missing.

    `name` is that of the file where it is another than the one that a post gives.
    """

    digest: str | None = None
    fault: str | None = None
    name: str | None = None


def _check_file(
    report: FileReport, entry: Format, folder: Path | None, opened: dict[str, _OpenedImage], contents: _Contents
) -> None:
    """Fill in the report of a file, and add what it holds to the contents of its split."""
    try:
        report.release = str((report.path.is_file() and identify(report.path)) or UNKNOWN)
        records: Any = entry.read(report.path, report.problems)
        if entry.notes is not None:
            report.notes = entry.notes(report.path)
    except InputError as error:
        report.problems.append(error)
        return
    report.records = len(records)
    if entry.kind == "posts":
        _count_posts(report, records, entry.pair_per_post)
        contents.texts |= {post.tokens: shorten(" ".join(post.tokens)) for post in records}
        names = [post.image for post in records if post.image is not None]
    elif entry.kind == "pairs":
        report.matched = sum(pair.matched for pair in records)
        report.duplicates = len(records) - len({(pair.image, pair.caption) for pair in records})
        contents.texts |= {pair.caption: shorten(pair.caption) for pair in records}
        names = [pair.image for pair in records]
    else:
        report.regions = _count(region.label for boxes in records.values() for region in boxes)
        names = list(records)
    report.images = _check_images(names, folder, opened)
    contents.images |= set(names)
    if folder is not None:
        digests = {name: digest for name in names if (digest := opened[name].digest) is not None}
        contents.digests = digests | (contents.digests or {})


def _count_posts(report: FileReport, posts: list[Post], pair_per_post: bool) -> None:
    if report.release == UNKNOWN:
        report.release = unknown_name(posts)
    report.tokens = sum(len(post.tokens) for post in posts)
    report.entities = _count(_UNTYPED if one.type is None else one.type for post in posts for one in post.entities)
    if report.entities and set(report.entities) <= set(COARSE_TYPES):
        report.coarse = _count(str(one.type) for post in coarse_types(posts) for one in post.entities)
    elif not set(report.entities) <= set(FINE_TYPES):
        report.label_map = {name: paper_name(name) for name in report.entities if name != _UNTYPED}
    entities = [(number, post.words(one), one.regions) for number, post in enumerate(posts) for one in post.entities]
    known = [regions for _, _, regions in entities if regions is not None]
    if known:
        shown = [(number, words, regions) for number, words, regions in entities if regions]
        names = {(number, words) for number, words, _ in shown}
        boxes = {(number, words, region.box) for number, words, regions in shown for region in regions}
        sizes = sum(post.image_size is not None for post in posts)
        report.grounding = Grounding(len(known), len(shown), len(names), len(boxes), sizes)
    report.relations = _count(relation.type for post in posts for relation in post.relations)
    spans = ([(one.start, one.end) for one in post.entities] if pair_per_post else () for post in posts)
    distinct = {(post.tokens, tuple(pair)) for post, pair in zip(posts, spans, strict=True)}
    report.duplicates = len(posts) - len(distinct)


def _count(values: Iterable[str]) -> dict[str, int]:
    """Counts, most frequent first, equal ones by name."""
    return dict(sorted(Counter(values).items(), key=lambda item: (-item[1], item[0])))


def _check_images(names: list[str], folder: Path | None, opened: dict[str, _OpenedImage]) -> ImageReport:
    uses = Counter(names)
    report = ImageReport(len(uses), sum(count > 1 for count in uses.values()), folder is not None)
    if folder is None:
        return report
    for name in [*uses, STAND_IN]:
        if name not in opened:
            opened[name] = _open(folder / name)
    digests: set[str] = set()
    for name in uses:
        image = opened[name]
        if image.fault is not None:
            report.broken += 1
            report.broken_reasons.append((name, image.fault))
        elif image.digest is None:
            report.missing += 1
            report.missing_names.append(name)
        else:
            report.same_content += image.digest in digests
            digests.add(image.digest)
            if image.name is not None:
                report.renamed += 1
                report.renamed_names.append((name, image.name))
    del report.broken_reasons[MAX_SHOWN:], report.missing_names[MAX_SHOWN:], report.renamed_names[MAX_EXAMPLES:]
    stand_in = opened[STAND_IN].digest
    if stand_in is not None:
        report.stand_ins = sum(opened[name].digest == stand_in for name in uses if name != STAND_IN)
    return report


def _open(path: Path) -> _OpenedImage:
    name = None
    try:
        found = find_image(path)
        name = None if found == path else found.name
        data = found.read_bytes()
        # Decoding is what finds a truncated file; a small target makes it cheap for big JPEGs.
        load_image(data, target=(64, 64))
    except FileNotFoundError:
        return _OpenedImage()
    except InputError as error:
        return _OpenedImage(fault=error.reason)
    except (OSError, ValueError) as error:
        return _OpenedImage(fault=f"cannot be read ({error})")
    return _OpenedImage(hashlib.sha256(data).hexdigest(), name=name)


def _overlap(first: str, before: _Contents, second: str, after: _Contents) -> Overlap:
    texts = [excerpt for key, excerpt in after.texts.items() if key in before.texts]
    images = sorted(before.images & after.images)
    content = None
    if before.digests is not None and after.digests is not None:
        names = {digest: name for name, digest in before.digests.items()}
        new = ((name, digest) for name, digest in after.digests.items() if name not in before.images)
        content = [f"{name} is {names[digest]}" for name, digest in new if digest in names]
    shared = {"text": texts, "image": images, "content": content or []}
    return Overlap(
        first,
        second,
        texts=len(texts),
        of_texts=len(after.texts),
        images=len(images),
        of_images=len(after.images),
        same_content=None if content is None else len(content),
        examples={kind: values[:MAX_EXAMPLES] for kind, values in shared.items()},
    )
