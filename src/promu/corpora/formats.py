"""The one table of formats: how each is read, written and laid out on disk. A new format is a module and an entry."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

from promu.corpora.captions import read_captions, read_newsclippings
from promu.corpora.coco import read_coco
from promu.corpora.conll import read_conll, read_conll_lenient, stray_inside_lines, write_conll
from promu.corpora.jmere import Background, jmere_notes, read_jmere, read_jmere_background, write_jmere
from promu.corpora.mnre import read_mnre, write_mnre
from promu.corpora.posts import read_posts_jsonl, write_posts_jsonl
from promu.corpora.releases import has_stray_inside
from promu.errors import InputError
from promu.schema import Post

Kind = Literal["posts", "pairs", "regions"]
Reader = Callable[[Path, "list[InputError] | None"], Any]
Writer = Callable[[Path, Iterable[Post]], None]
Splits = Mapping[str, tuple[str, ...]]

_CONLL_SPLITS: Splits = {"train": ("train.txt",), "valid": ("valid.txt", "val.txt", "dev.txt"), "test": ("test.txt",)}


def _jmere_names(split: str) -> tuple[str, ...]:
    return (f"{split}.json", f"{split}_ofa_image_caption.json", f"{split}_ofa_knowledge.json")


def _conll_notes(path: Path) -> list[str]:
    return _lenient_notes(path) if has_stray_inside(path) else []


def _lenient_notes(path: Path) -> list[str]:
    lines = stray_inside_lines(path)
    if not lines:
        return []
    return [
        f"{len(lines)} I- tags that continue no entity were read as the begin of one (lines "
        f"{', '.join(map(str, lines[:5]))}{' …' if len(lines) > 5 else ''})"
    ]


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
        Format("conll-lenient", "posts", read_conll_lenient, write_conll, _CONLL_SPLITS, notes=_lenient_notes),
        Format(
            "mnre",
            "posts",
            read_mnre,
            write_mnre,
            {"train": ("mnre_train.txt",), "valid": ("mnre_val.txt",), "test": ("mnre_test.txt",)},
            pair_per_post=True,
        ),
        Format(
            "jmere",
            "posts",
            read_jmere,
            write_jmere,
            {"train": _jmere_names("train"), "valid": _jmere_names("val"), "test": _jmere_names("test")},
            notes=jmere_notes,
        ),
        Format(
            "posts",
            "posts",
            read_posts_jsonl,
            write_posts_jsonl,
            {"train": ("train.jsonl",), "valid": ("valid.jsonl",), "test": ("test.jsonl",), "all": ("posts.jsonl",)},
        ),
        Format("captions", "pairs", read_captions, None, {"all": ("captions.csv", "captions.jsonl")}),
        Format(
            "newsclippings",
            "pairs",
            read_newsclippings,
            None,
            {"train": ("train.json",), "valid": ("val.json",), "test": ("test.json",)},
        ),
        Format(
            "coco",
            "regions",
            read_coco,
            None,
            {
                "all": ("instances.json", "regions.json"),
                "train": ("instances_train2017.json", "instances_train2014.json"),
                "valid": ("instances_val2017.json", "instances_val2014.json"),
            },
        ),
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
    """Read posts in a named format; see the format's own reader.

    Raises:
        InputError: an unknown format or one without posts; or what the reader raises.
    """
    posts: list[Post] = find_format(format, "posts").read(Path(path), problems)
    return posts


def write_posts(path: str | Path, posts: Iterable[Post], format: str) -> None:
    """Write posts in a named format, atomically.

    Raises:
        InputError: an unknown format or one without posts; or a post that the format cannot hold.
    """
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
    """Posts, and the captions and knowledge of each, which only the format jmere has.

    Raises:
        InputError: The file cannot be read in that format.
    """
    posts = read_posts(path, format)
    if format == "jmere":
        return posts, read_jmere_background(path)
    return posts, [Background((), ())] * len(posts)


_PAPER_NAMES = {"OTHER": "MISC"}


def paper_name(label: str) -> str:
    """The name of a file's entity type in the papers: upper case, and MISC for OTHER; other names are left alone."""
    upper = label.upper()
    return _PAPER_NAMES.get(upper, upper)


def label_map(labels: Iterable[str]) -> dict[str, str]:
    """File's name -> papers' name of each entity type, in the order given. Readers keep the file's name."""
    return {label: paper_name(label) for label in labels}


def clashing_names(labels: Iterable[str], others: Iterable[str]) -> dict[str, str]:
    """Types that one side knows and the other knows under another name only: the first's name -> the second's."""
    first, second = set(labels), set(others)
    renamed = {paper_name(label): label for label in sorted(second - first)}
    return {label: renamed[paper_name(label)] for label in sorted(first - second) if paper_name(label) in renamed}
