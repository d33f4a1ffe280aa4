"""What the contexts of posts give away of their gold: labels of names, which no test may show, and the names alone."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, NamedTuple

from promu.corpora.context_files import ContextCounts, ContextPlace, add_contexts
from promu.corpora.formats import find_splits, read_posts
from promu.errors import InputError
from promu.files import shorten
from promu.modeling.context_packing import passages
from promu.schema import NO_RELATION, Post, Scheme

_WORDS = {"per": "person", "loc": "location", "org": "organi[sz]ation", "misc": "miscellaneous"}
"""How the usual types are called in full."""
_MARK = r"""[\s"'`*_\[\](){}<>|,\-–—]"""
_SAYS = r"(?:is|are|was|were|as|type|types|entity|label(?:l?ed)?|tag|tagged|category|class|of|an?|the|:|=)"
_LINK = r"(?:is|are|was|were|as|type|label(?:l?ed)?|tag|tagged|category|class|:|=|\(|\[|<)"
_BETWEEN = rf"{_MARK}*(?:{_SAYS}(?!\w){_MARK}*){{0,6}}"


class Leak(NamedTuple):
    """A context that says a label of its post's gold: the post's id, the context's name, and the passage."""

    post: str
    context: str
    passage: str


@dataclass(frozen=True, slots=True)
class NameShare:
    """How many names of the gold there are, and how many stand in the contexts of their post."""

    names: int
    in_contexts: int

    @property
    def percent(self) -> float:
        return 100.0 * self.in_contexts / self.names if self.names else 0.0

    def to_dict(self) -> dict[str, Any]:
        """Ready for JSON."""
        return {**asdict(self), "percent": self.percent}


def find_leaks(posts: Iterable[Post]) -> list[Leak]:
    """The contexts that name an entity of the gold with its type, or a relation by its label.

    A type is found by its name in the gold or in full, beside the name: "Kevin Durant is PER", "PER: Kevin Durant",
    "Kevin Durant (person)", "Durant/B-PER". A relation is found where its label is no common word: `member_of`.

    Example:
        ```python
        from promu import Entity, Post
        from promu.evaluation.leaks import find_leaks

        said = {"knowledge": "Kevin Durant is PER.", "described": "Kevin Durant is a basketball player."}
        post = Post("1", ("Kevin", "Durant", "scores"), entities=(Entity(0, 2, "PER"),), contexts=said)
        assert [leak.context for leak in find_leaks([post])] == ["knowledge"]
        ```
    """
    return list(dict.fromkeys(leak for post in posts if post.contexts for leak in _of_post(post)))


@dataclass(frozen=True, slots=True)
class ContextReport:
    """What a file of contexts says about the posts of a file or a set: how many it has texts for, leaks, names."""

    counts: ContextCounts
    leaks: list[Leak]
    names: NameShare

    def to_dict(self) -> dict[str, Any]:
        """Ready for JSON."""
        return {
            **self.counts.to_dict(),
            "leaks": [leak._asdict() for leak in self.leaks],
            "names": self.names.to_dict(),
        }

    def lines(self, name: str) -> list[str]:
        """All of it in sentences."""
        share = f"{self.names.in_contexts:,} of {self.names.names:,} names of the gold ({self.names.percent:.1f} %)"
        lines = [f"context {name}: {self.counts.sentence()}", f"context {name}: {share} stand in it"]
        lines += [f"context {name} says a label of post {one.post}: {shorten(one.passage)}" for one in self.leaks[:5]]
        if len(self.leaks) > 5:
            lines.append(f"context {name}: {len(self.leaks) - 5:,} more say labels of their post")
        return lines


def check_contexts(
    path: str | Path, format: str, files: Mapping[str, ContextPlace], scheme: Scheme = "auto"
) -> dict[str, ContextReport]:
    """Hold files of contexts against labelled posts.

    Args:
        path: A file of posts, or the folder of a whole set.
        format: Of the posts, a name in `promu.corpora.formats.FORMATS`.
        files: File of contexts by name; None takes what the posts bring.
        scheme: Of the tags in CoNLL files.

    Raises:
        InputError: A file cannot be read, or has no text about any of the posts.

    Example:
        ```python
        import json
        from pathlib import Path
        from promu.evaluation.leaks import check_contexts

        images = [line.split(":")[1] for line in Path("mytweets/test.txt").read_text().splitlines() if "IMGID" in line]
        lines = [json.dumps({"image": f"{image}.jpg", "text": "two people"}) for image in images]
        Path("described.jsonl").write_text("\\n".join(lines))
        report = check_contexts("mytweets/test.txt", "conll", {"described": "described.jsonl"})["described"]
        assert not report.leaks and report.counts.with_text == report.counts.posts
        ```
    """
    path = Path(path)
    places = dict(find_splits(path, format)) if path.is_dir() else {"file": path}
    splits = {split: read_posts(place, format, scheme=scheme) for split, place in places.items()}
    reports = {}
    for name, file in files.items():
        found, counts = add_contexts(splits, {name: file})
        posts = [post for of_split in found.values() for post in of_split]
        reports[name] = ContextReport(counts[name], find_leaks(posts), names_in_contexts(posts))
    return reports


def _of_post(post: Post) -> Iterator[Leak]:
    names = {(post.words(entity), entity.type) for entity in post.entities if entity.type}
    relations = {part for one in post.relations for part in (one.type, one.type.rpartition("/")[2])} - {NO_RELATION}
    labels = [label.casefold() for label in sorted(relations) if "_" in label or "/" in label]
    for name, text in post.contexts.items():
        for passage in passages(text):
            folded = passage.casefold()
            if any(label in folded for label in labels) or any(_says(passage, folded, *one) for one in sorted(names)):
                yield Leak(post.id, name, passage)


def _says(passage: str, folded: str, name: str, kind: str) -> bool:
    """Whether a passage says the type of a name."""
    words = name.split()
    found = [word.casefold() in folded for word in words]
    if not all(found) and not (any(found) and any(mark in passage for mark in "/_|")):
        return False
    named = r"\s+".join(map(re.escape, words))
    code = rf"(?:[BIES]-)?(?:{re.escape(kind)}|{re.escape(kind.upper())})"
    full = _WORDS.get(kind.casefold(), re.escape(kind))
    some = "|".join(map(re.escape, words))
    patterns = [rf"(?<!\w)(?i:{some})\s?[/_|]\s?{code}(?!\w)"]
    # a type in capitals is no word of a sentence; one that may be needs something that says "is"
    between = _BETWEEN if kind.isupper() else rf"(?={_MARK}*{_LINK}){_BETWEEN}"
    patterns += [rf"(?<!\w)(?i:{named})(?!\w){between}{code}(?!\w)"]
    patterns += [rf"(?<!\w)(?i:{named}(?!\w)(?={_MARK}*{_LINK}){_BETWEEN}{full})(?!\w)"]
    patterns += [rf"(?<!\w)(?i:{code}|{full})\s*[:=]{_MARK}*(?i:{named})(?!\w)"]
    if kind.isupper():
        patterns += [rf"(?<!\w){code}{_MARK}+(?i:{named})(?!\w)"]
    return any(re.search(pattern, passage) for pattern in patterns)


def refuse_leaks(posts: Iterable[Post], what: str = "these posts", remedy: str = "allow_leaks=True") -> None:
    """Make sure that no context gives gold labels away.

    Raises:
        InputError: Some do; the first is quoted, and the `remedy` says how they may stay all the same.
    """
    if found := find_leaks(posts):
        first = found[0]
        raise InputError(
            f"contexts of {what} say labels of the gold, {len(found):,} in all, such as {first.context!r} of post "
            f"{shorten(first.post)}: {shorten(first.passage, 100)}; figures with them would say nothing. Leave them "
            f"out, or have them read all the same ({remedy})",
            kind="leak",
        )


def names_in_contexts(posts: Sequence[Post], context: str | None = None) -> NameShare:
    """How many of the gold's names stand in the contexts of their post, word for word; case does not matter.

    Args:
        posts: With gold entities; of posts that share an id, such as the pairs of one text, each name counts once.
        context: The name of one kind of contexts; None takes all.
    """
    names: dict[tuple[str, str], bool] = {}
    for post in posts:
        said = " ".join(text for name, text in post.contexts.items() if context in (None, name))
        for entity in post.entities:
            key = post.id, post.words(entity).casefold()
            if key not in names:
                pattern = rf"(?<!\w){re.escape(key[1])}(?!\w)"
                names[key] = key[1] in said.casefold() and bool(re.search(pattern, said.casefold()))
    return NameShare(len(names), sum(names.values()))
