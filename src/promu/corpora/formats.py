"""The one table of formats: how each is read, written and laid out on disk. A new format is a module and an entry."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any, Literal

from promu.corpora.captions import read_captions, read_newsclippings
from promu.corpora.coco import read_coco
from promu.corpora.conll import read_conll, stray_inside_lines, write_conll
from promu.corpora.jmere import Background, jmere_notes, read_jmere, read_jmere_background, write_jmere
from promu.corpora.mnre import read_mnre, write_mnre
from promu.corpora.posts import write_posts_jsonl
from promu.corpora.releases import has_stray_inside
from promu.corpora.sources import read_post_file
from promu.errors import InputError
from promu.schema import Post

Kind = Literal["posts", "pairs", "regions"]
Reader = Callable[[Path, "list[InputError] | None"], Any]
Writer = Callable[[Path, Iterable[Post]], None]
Splits = Mapping[str, tuple[str, ...]]

_CONLL_SPLITS: Splits = {"train": ("train.txt",), "valid": ("valid.txt", "val.txt", "dev.txt"), "test": ("test.txt",)}


_read_lenient = partial(read_conll, stray_inside="begin")
_MNRE_SPLITS: Splits = {"train": ("mnre_train.txt",), "valid": ("mnre_val.txt",), "test": ("mnre_test.txt",)}
_JMERE_SPLITS: Splits = {
    name: (f"{split}.json", f"{split}_ofa_image_caption.json", f"{split}_ofa_knowledge.json")
    for name, split in (("train", "train"), ("valid", "val"), ("test", "test"))
}
_COCO_SPLITS: Splits = {
    "all": ("instances.json", "regions.json"),
    "train": ("instances_train2017.json", "instances_train2014.json"),
    "valid": ("instances_val2017.json", "instances_val2014.json"),
}
_POST_SPLITS: Splits = {**{name: (f"{name}.jsonl",) for name in ("train", "valid", "test")}, "all": ("posts.jsonl",)}
_PAIR_SPLITS: Splits = {"train": ("train.json",), "valid": ("val.json",), "test": ("test.json",)}


def _conll_notes(path: Path) -> list[str]:
    return _lenient_notes(path) if has_stray_inside(path) else []


def _lenient_notes(path: Path) -> list[str]:
    lines = stray_inside_lines(path)
    shown = ", ".join(map(str, lines[:5])) + (" …" if len(lines) > 5 else "")
    return [f"{len(lines)} I- tags that continue no entity were read as the begin of one (lines {shown})"] * bool(lines)


@dataclass(frozen=True, slots=True)
class Format:
    """One published format.

    `splits` names the files of a whole set by split, each with the names in use; `pair_per_post` says that a post
    is one pair of entities, so that a text legitimately occurs once a pair; `notes` says what a reader made of a
    file's oddities, for `check`.
    """

    name: str
    kind: Kind
    read: Reader
    write: Writer | None = None
    splits: Splits = field(default_factory=dict)
    pair_per_post: bool = False
    notes: Callable[[Path], list[str]] | None = None


FORMATS: dict[str, Format] = {
    entry.name: entry
    for entry in (
        Format("conll", "posts", read_conll, write_conll, _CONLL_SPLITS, notes=_conll_notes),
        Format("conll-lenient", "posts", _read_lenient, write_conll, _CONLL_SPLITS, notes=_lenient_notes),
        Format("mnre", "posts", read_mnre, write_mnre, _MNRE_SPLITS, pair_per_post=True),
        Format("jmere", "posts", read_jmere, write_jmere, _JMERE_SPLITS, notes=jmere_notes),
        Format("posts", "posts", read_post_file, write_posts_jsonl, _POST_SPLITS),
        Format("captions", "pairs", read_captions, None, {"all": ("captions.csv", "captions.jsonl")}),
        Format("newsclippings", "pairs", read_newsclippings, None, _PAIR_SPLITS),
        Format("coco", "regions", read_coco, None, _COCO_SPLITS),
    )
}
"""Format name -> Format."""


def find_format(name: str, kind: Kind | None = None) -> Format:
    """The format of a name, of a given kind if one is asked for.

    Raises:
        InputError: no such format, or one that holds something else.
    """
    names = ", ".join(entry.name for entry in FORMATS.values() if kind in (None, entry.kind))
    entry = FORMATS.get(name)
    if entry is None:
        raise InputError(f"unknown format {name!r}; use one of {names}")
    if kind not in (None, entry.kind):
        raise InputError(f"format {name!r} holds {entry.kind}, but {kind} are needed; formats with {kind}: {names}")
    return entry


def read_posts(path: str | Path, format: str, problems: list[InputError] | None = None) -> list[Post]:
    """Read posts in a named format; raises for one that is unknown or without posts, and as the format's reader."""
    return list(find_format(format, "posts").read(Path(path), problems))


def write_posts(path: str | Path, posts: Iterable[Post], format: str) -> None:
    """Write posts in a named format, atomically; raises for one that is unknown or without posts, and as its writer."""
    write = find_format(format, "posts").write
    assert write is not None
    write(Path(path), posts)


def find_splits(folder: str | Path, format: str) -> list[tuple[str, Path]]:
    """The files of a whole set that lie in a folder under their usual names, as (split, file).

    Raises:
        InputError: there is no such folder, or none of the files is in it.
    """
    folder = Path(folder)
    entry = find_format(format)
    if not folder.is_dir():
        raise InputError("no such folder; check the path", folder)
    found = [
        (split, folder / name) for split, names in entry.splits.items() for name in names if (folder / name).is_file()
    ]
    if not found:
        wanted = ", ".join(name for names in entry.splits.values() for name in names)
        held = ", ".join(sorted(child.name for child in folder.iterdir())[:8]) or "nothing"
        raise InputError(f"none of {wanted} is in the folder (it holds {held}); name a file, or another format", folder)
    return found


def read_with_background(path: Path, format: str) -> tuple[list[Post], list[Background]]:
    """Posts, and the captions and knowledge of each, which only the format jmere has; raises as `read_posts`."""
    posts = read_posts(path, format)
    return posts, read_jmere_background(path) if format == "jmere" else [Background((), ())] * len(posts)


def paper_name(label: str) -> str:
    """The name of a file's entity type in the papers: upper case, and MISC for OTHER; other names are left alone."""
    return "MISC" if label.upper() == "OTHER" else label.upper()


def clashing_names(labels: Iterable[str], others: Iterable[str]) -> dict[str, str]:
    """Types that one side knows and the other knows under another name only: the first's name -> the second's."""
    first, second = set(labels), set(others)
    renamed = {paper_name(label): label for label in sorted(second - first)}
    return {label: renamed[paper_name(label)] for label in sorted(first - second) if paper_name(label) in renamed}
