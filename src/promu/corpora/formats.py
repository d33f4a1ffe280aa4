"""The one table of formats: how each is read, written and laid out on disk. A new format is a module and an entry."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field, replace
from functools import partial
from pathlib import Path
from typing import Any, Literal, get_args

from promu.corpora.annotation_tools import (
    SPAN_LISTS,
    read_label_studio,
    read_prodigy,
    read_spans,
    write_doccano,
    write_label_studio,
    write_prodigy,
    write_spans,
)
from promu.corpora.brat import read_brat, write_brat
from promu.corpora.captions import read_captions
from promu.corpora.coco import read_coco
from promu.corpora.conll import conll_notes, read_conll, write_conll
from promu.corpora.docbin import read_docbin, write_docbin
from promu.corpora.gmner import COARSE_TYPES, FINE_TYPES, gmner_notes, read_gmner, write_gmner
from promu.corpora.jmere import Background, jmere_notes, read_jmere, read_jmere_background, write_jmere
from promu.corpora.mnre import mnre_notes, read_mnre, write_mnre
from promu.corpora.newsclippings import read_newsclippings
from promu.corpora.posts import write_posts_jsonl
from promu.corpora.sources import post_notes, read_post_file
from promu.errors import InputError
from promu.extensions import Choices
from promu.schema import Post, Scheme

Kind = Literal["posts", "pairs", "regions"]
Reader = Callable[..., Any]
"""Takes a path and the list of problems, or None; of a format that marks characters also `inside_word`."""
Writer = Callable[[Path, Iterable[Post]], None]
Splits = Mapping[str, tuple[str, ...]]

_CONLL_SPLITS: Splits = {"train": ("train.txt",), "valid": ("valid.txt", "val.txt", "dev.txt"), "test": ("test.txt",)}

_GMNER_SPLITS: Splits = {
    split: (*names, *(f"{folder}/{name}" for folder in ("txt", "txt_fine") for name in names))
    for split, names in _CONLL_SPLITS.items()
}
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
_TASK_SPLITS: Splits = {name: (f"{name}.json",) for name in ("train", "valid", "test")}
_SPACY_SPLITS: Splits = {"train": ("train.spacy",), "valid": ("valid.spacy", "dev.spacy"), "test": ("test.spacy",)}
_PAIR_SPLITS: Splits = {"train": ("train.json",), "valid": ("val.json",), "test": ("test.json",)}


@dataclass(frozen=True, slots=True)
class Holds:
    """What of a post a format can hold, for `promu.convert`; by default everything but contexts.

    Attributes:
        relations, overlapping, untyped, scores, extra: Relations; entities that overlap; entities without type; scores;
            further keys.
        contexts: Further texts about a post.
        text, words: The running text; the words that it is split into.
        lone_entities: Entities that are in no relation.
        pairs: Whether it holds one pair of entities a record.
        images: Any name, only one that the id gives, or none.
        jpeg: Whether the image's name is `<id>.jpg`.
        file_names, distinct: Whether ids must be file names, and different from each other.
        regions: Which regions of entities: any, those that all entities of one name in a post share, or none.
        reserved: Further keys that it has another use for.
        type: An entity type to the one that it holds in its place, None where there is none; None holds any.
    """

    relations: bool = True
    overlapping: bool = True
    untyped: bool = True
    scores: bool = True
    extra: bool = True
    contexts: bool = False
    text: bool = True
    words: bool = True
    lone_entities: bool = True
    pairs: bool = False
    images: Literal["any", "named by id", "none"] = "any"
    jpeg: bool = False
    file_names: bool = False
    distinct: bool = False
    regions: Literal["any", "by name", "none"] = "none"
    reserved: tuple[str, ...] = ()
    type: Callable[[str], str | None] | None = None


def _without_blanks(kind: str) -> str:
    return "_".join(kind.split())


def _tag(kind: str) -> str | None:
    kind = _without_blanks(kind)
    return kind if re.fullmatch(r"\w[\w.&/-]*", kind) else None


def _jmere_type(kind: str) -> str | None:
    kind = paper_name(kind).lower()
    return kind if kind in ("per", "loc", "org", "misc") else None


_NAMED = Holds(scores=False, extra=False, text=False, images="named by id", file_names=True)
_HOLDS_CONLL = replace(_NAMED, relations=False, overlapping=False, untyped=False, jpeg=True, type=_tag)
_HOLDS_GMNER = replace(_HOLDS_CONLL, regions="by name")
_HOLDS_MNRE = replace(_NAMED, pairs=True)
_HOLDS_JMERE = replace(_NAMED, untyped=False, lone_entities=False, type=_jmere_type)
_HOLDS_MARKS = Holds(untyped=False, scores=False, words=False)
_HOLDS_SPANS = replace(_HOLDS_MARKS, reserved=SPAN_LISTS)
_HOLDS_WORDS = Holds(untyped=False, scores=False)
_HOLDS_BRAT = replace(_HOLDS_MARKS, extra=False, images="none", file_names=True, distinct=True, type=_without_blanks)


@dataclass(frozen=True, slots=True)
class Format:
    """One format: a published one, or that of an annotation tool.

    Attributes:
        kind: What it holds: posts, caption pairs, or regions by image.
        splits: The files of a whole set by split, each with the names in use; empty where a set is a folder (brat).
        pair_per_post: Whether a post is one pair of entities, so that a text legitimately occurs once a pair.
        notes: Says what a reader made of a file's oddities, for `check`.
        tasks: Those that learn from it, and whose predictions it can hold.
        characters: Whether it marks characters, so that its reader takes `inside_word`.
        holds: What of a post it can hold, for `promu.convert`.
        tagged: Whether reader and notes take the `scheme` of tags.
    """

    name: str
    kind: Kind
    read: Reader
    write: Writer | None = None
    splits: Splits = field(default_factory=dict)
    pair_per_post: bool = False
    notes: Callable[[Path], list[str]] | None = None
    tasks: tuple[str, ...] = ()
    characters: bool = False
    holds: Holds = Holds()
    tagged: bool = False

    def with_scheme(self, scheme: Scheme) -> Format:
        """The format with its tags read and written in a scheme.

        Raises:
            InputError: There is no such scheme, or the format has no tags.
        """
        if scheme not in get_args(Scheme):
            raise InputError(f"there is no scheme {scheme!r}; use one of {', '.join(get_args(Scheme))}")
        if scheme == "auto":
            return self
        if not self.tagged:
            raise InputError(f"the format {self.name!r} has no tags; leave the scheme {scheme!r} out")
        functions = {name: getattr(self, name) for name in ("read", "write", "notes")}
        marked: dict[str, Any] = {name: partial(one, scheme=scheme) for name, one in functions.items() if one}
        return replace(self, **marked)


def _fmnerg(name: str, types: Literal["fine", "coarse"]) -> Format:
    """FMNERG with one of its two columns of types."""
    known = COARSE_TYPES if types == "fine" else FINE_TYPES
    read, write, notes = (
        partial(read_gmner, types=types),
        partial(write_gmner, types=types),
        partial(gmner_notes, types=types),
    )
    holds = replace(_HOLDS_GMNER, type=lambda kind: kind if kind in known else None)
    splits = {split: tuple(reversed(names)) for split, names in _GMNER_SPLITS.items()}
    return Format(name, "posts", read, write, splits, notes=notes, tasks=_GROUNDED, holds=holds, tagged=True)


_ALL, _GROUNDED = ("ner", "re", "joint", "gmner"), ("ner", "gmner")
_OWN = (
    Format(
        "conll",
        "posts",
        read_conll,
        write_conll,
        _CONLL_SPLITS,
        notes=conll_notes,
        tasks=("ner",),
        holds=_HOLDS_CONLL,
        tagged=True,
    ),
    Format("mnre", "posts", read_mnre, write_mnre, _MNRE_SPLITS, True, mnre_notes, ("re",), holds=_HOLDS_MNRE),
    Format(
        "jmere", "posts", read_jmere, write_jmere, _JMERE_SPLITS, False, jmere_notes, ("joint",), holds=_HOLDS_JMERE
    ),
    Format(
        "gmner",
        "posts",
        read_gmner,
        write_gmner,
        _GMNER_SPLITS,
        notes=gmner_notes,
        tasks=_GROUNDED,
        holds=_HOLDS_GMNER,
        tagged=True,
    ),
    _fmnerg("fmnerg", "fine"),
    _fmnerg("fmnerg-coarse", "coarse"),
    Format(
        "posts",
        "posts",
        read_post_file,
        write_posts_jsonl,
        _POST_SPLITS,
        notes=post_notes,
        tasks=_ALL,
        holds=Holds(contexts=True, regions="any"),
    ),
    Format("spans", "posts", read_spans, write_spans, _POST_SPLITS, characters=True, holds=_HOLDS_SPANS),
    Format("doccano", "posts", read_spans, write_doccano, _POST_SPLITS, characters=True, holds=_HOLDS_SPANS),
    Format(
        "label-studio",
        "posts",
        read_label_studio,
        write_label_studio,
        _TASK_SPLITS,
        characters=True,
        holds=_HOLDS_MARKS,
    ),
    Format("prodigy", "posts", read_prodigy, write_prodigy, _POST_SPLITS, characters=True, holds=_HOLDS_WORDS),
    Format("brat", "posts", read_brat, write_brat, characters=True, holds=_HOLDS_BRAT),
    Format("spacy", "posts", read_docbin, write_docbin, _SPACY_SPLITS, characters=True, holds=_HOLDS_WORDS),
    Format("captions", "pairs", read_captions, None, {"all": ("captions.csv", "captions.jsonl")}),
    Format("newsclippings", "pairs", read_newsclippings, None, _PAIR_SPLITS),
    Format("coco", "regions", read_coco, None, _COCO_SPLITS),
)
FORMATS: Choices[Format] = Choices(
    "promu.formats",
    {entry.name: entry for entry in _OWN},
    lambda choice: isinstance(choice, Format),
    "a Format",
)
"""Format name -> Format; packages add theirs as entry points of `promu.formats`."""


def find_format(name: str, kind: Kind | None = None) -> Format:
    """The format of a name, of a given kind if one is asked for.

    Raises:
        InputError: no such format, or one that holds something else.
    """
    if name in FORMATS:
        entry = FORMATS[name]
        if kind in (None, entry.kind):
            return entry
    names = ", ".join(one for one in FORMATS if one not in FORMATS.own or kind in (None, FORMATS.own[one].kind))
    if name not in FORMATS:
        raise InputError(f"unknown format {name!r}; use one of {names}")
    raise InputError(f"format {name!r} holds {entry.kind}, but {kind} are needed; formats with {kind}: {names}")


def read_posts(
    path: str | Path, format: str, problems: list[InputError] | None = None, scheme: Scheme = "auto"
) -> list[Post]:
    """Read posts in a named format, tags by a scheme.

    Example:
        ```python
        from promu import read_posts

        posts = read_posts("runs/demo/corpus/re/mnre_test.txt", "mnre")
        print(posts[0].tokens, posts[0].relations)
        ```

    Args:
        path: The file.
        format: A name in `FORMATS`, such as `conll`, `mnre` or `posts`.
        problems: A list that takes the faults of the file; the posts without fault are returned. None raises them.
        scheme: How the tags of `conll` mark entities.

    Raises:
        InputError: The format is unknown, without posts, or without tags for a scheme; as the format's reader.
    """
    return list(find_format(format, "posts").with_scheme(scheme).read(Path(path), problems))


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


def read_with_background(path: Path, format: str, scheme: Scheme = "auto") -> tuple[list[Post], list[Background]]:
    """Posts, and the captions and knowledge of each, which only the format jmere has; raises as `read_posts`."""
    posts = read_posts(path, format, scheme=scheme)
    return posts, read_jmere_background(path) if format == "jmere" else [Background((), ())] * len(posts)


def paper_name(label: str) -> str:
    """The name of a file's entity type in the papers: upper case, and MISC for OTHER; other names are left alone."""
    return "MISC" if label.upper() == "OTHER" else label.upper()


def clashing_names(labels: Iterable[str], others: Iterable[str]) -> dict[str, str]:
    """Types that one side knows and the other knows under another name only: the first's name -> the second's."""
    first, second = set(labels), set(others)
    renamed = {paper_name(label): label for label in sorted(second - first)}
    return {label: renamed[paper_name(label)] for label in sorted(first - second) if paper_name(label) in renamed}
