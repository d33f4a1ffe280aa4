"""Contexts: further texts about posts, each kind under a name, from JSON lines.

A line is `{"image", "text"}`, a text about an image by the name that posts have for it; `{"id", "text"}`, about a post;
or `{"id", "text", "knowledge"}`, what `promu knowledge generate` writes: sentences about the post of this id and text.
"""

from __future__ import annotations

import json
import logging
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import AfterValidator, Strict

from promu.corpora.fields import Id, ImagePath, Record, key_names, read_record, sound
from promu.corpora.tokenize import visible
from promu.errors import InputError, counted
from promu.files import is_blank, parse_json_object, read_numbered, shorten, write_text
from promu.schema import Post

logger = logging.getLogger(__name__)

ContextPlace = str | Path | Sequence[str | Path] | None
"""A file of contexts, several that are read as one, or None: the posts bring them."""
NAMED = 3
"""Unknown posts that a sentence names; the rest is counted."""

Key = tuple[str, ...]
"""What a text is about: `("image", name)`, `("id", id)`, or `("post", id, characters)` of a post by id and text."""


class _Line(Record, extra="ignore"):
    text: Annotated[str, Strict(), AfterValidator(sound)] = ""
    image: ImagePath | None = None
    id: Id | None = None
    knowledge: tuple[Annotated[str, Strict(), AfterValidator(sound)], ...] | None = None


@dataclass(frozen=True, slots=True)
class ContextFile:
    """The texts of a file.

    Attributes:
        path: The file; a folder of no meaning for texts from elsewhere.
        texts: By what they are about.
        empty: How many lines have no text.
        repeated: How many lines say again what an earlier one says.
    """

    path: Path
    texts: Mapping[Key, str]
    empty: int = 0
    repeated: int = 0

    def about(self, id: str | None, text: str, image: str | None) -> str | None:
        """The text about a post of this id, text (or words, joined) and image; None where there is none."""
        keys = _keys(id, text, image)
        return next((self.texts[key] for key in keys if key in self.texts), None)


def _keys(id: str | None, text: str, image: str | None) -> list[Key]:
    """All that a text about a post may be about, the most telling first."""
    keys: list[Key] = [] if id is None else [("post", id, visible(text)), ("id", id)]
    return keys if image is None else [*keys, ("image", image)]


@dataclass(frozen=True, slots=True)
class ContextCounts:
    """What a file of contexts has for posts.

    Attributes:
        posts, with_text: How many posts there are, and how many have a text.
        texts, unknown: How many different posts or images the file is about, and how many of these no post is or names.
        unknown_names: The first of the unknown.
        empty, repeated: As in `ContextFile`.
    """

    posts: int
    with_text: int
    texts: int = 0
    unknown: int = 0
    unknown_names: tuple[str, ...] = ()
    empty: int = 0
    repeated: int = 0

    def to_dict(self) -> dict[str, Any]:
        """Ready for JSON."""
        return {**asdict(self), "unknown_names": list(self.unknown_names)}

    def sentence(self) -> str:
        """All of it in words, without a full stop."""
        parts = [f"{self.with_text:,} of {counted(self.posts, 'post')} {'has' if self.posts == 1 else 'have'} a text"]
        if self.unknown:
            names = ", ".join(map(shorten, self.unknown_names))
            more = ", ..." if self.unknown > len(self.unknown_names) else ""
            parts.append(f"of {counted(self.texts, 'text')}, about no post: {self.unknown:,} ({names}{more})")
        oddities = {"with an empty text": self.empty, "that repeats an earlier one": self.repeated}
        parts += [f"{what}: {counted(count, 'line')}" for what, count in oddities.items() if count]
        return "; ".join(parts)


def read_contexts(path: str | Path, problems: list[InputError] | None = None) -> ContextFile:
    """Read a file of contexts.

    An empty text counts as none. A line that repeats an earlier one is counted; another text about the same post or
    image is refused.

    Args:
        path: JSON lines.
        problems: Where malformed lines go; None raises the first.

    Raises:
        InputError: The file is missing, empty or malformed, or two lines have different texts about one post.

    Example:
        ```python
        from pathlib import Path
        from promu.corpora.context_files import read_contexts

        Path("descriptions.jsonl").write_text('{"image": "photo.png", "text": "two people on a stage"}')
        assert read_contexts("descriptions.jsonl").texts["image", "photo.png"] == "two people on a stage"
        ```
    """
    path = Path(path)
    texts: dict[Key, str] = {}
    lines: dict[Key, int] = {}
    empty = repeated = 0
    for number, (key, text) in read_numbered(path, problems, _parse, "texts"):
        if is_blank(text):
            empty += 1
        elif key not in texts:
            texts[key], lines[key] = text, number
        elif texts[key] == text:
            repeated += 1
        else:
            error = InputError(
                f"another text about {key[0]} {shorten(key[1])} is in line {lines[key]}; keep one of them, join them, "
                "or give them in two files under two names",
                path,
                number,
            )
            if problems is None:
                raise error
            problems.append(error)
    return ContextFile(path, texts, empty, repeated)


def _joined(paths: Sequence[str | Path]) -> ContextFile:
    """Several files as one; raises as `read_contexts`, and where two files have different texts about one post."""
    if not paths:
        raise InputError("a list of files of contexts is empty; name a file, or null for what the posts bring")
    files = [read_contexts(path) for path in paths]
    texts: dict[Key, str] = {}
    for file in files:
        for key, text in file.texts.items():
            if texts.setdefault(key, text) != text:
                reason = f"another text about {key[0]} {shorten(key[1])} is in one of the files before"
                raise InputError(f"{reason}; keep one of them", file.path)
    repeated = sum(len(file.texts) + file.repeated for file in files) - len(texts)
    return ContextFile(files[0].path, texts, sum(file.empty for file in files), repeated)


def _parse(line: str) -> tuple[Key, str]:
    raw = parse_json_object(line)
    if "text" not in raw:
        raise InputError(f'the line has no "text"; its keys are: {key_names(raw)}')
    record = read_record(_Line, raw, "the line", within=True)
    if record.id is None and record.image is None:
        raise InputError('the line says neither "image" (a name) nor "id" (of a post), so its text is about nothing')
    if record.knowledge is not None:
        if record.id is None:
            raise InputError('the line has "knowledge" and no "id" of the post that it is about')
        return ("post", record.id, visible(record.text)), "\n".join(record.knowledge)
    key = ("image", record.image) if record.id is None else ("id", record.id)
    return key, record.text  # type: ignore[return-value]


def add_contexts(
    splits: Mapping[str, Sequence[Post]], files: Mapping[str, ContextPlace]
) -> tuple[dict[str, list[Post]], dict[str, ContextCounts]]:
    """Posts with the texts that files have about them.

    Args:
        splits: Posts by split; a file may be about the posts of all of them.
        files: By the name that their texts get: a file, several, or None where the posts bring texts of this name.

    Returns:
        The posts by split, with no other contexts than these; and by name what there was for all posts together.

    Raises:
        InputError: A file cannot be read, or has a text about none of the posts; no post brings a text of a name.

    Example:
        ```python
        from pathlib import Path
        from promu import Post
        from promu.corpora.context_files import add_contexts

        Path("descriptions.jsonl").write_text('{"image": "photo.png", "text": "two people on a stage"}')
        posts = [Post("1", ("Ann", "and", "Bob"), "photo.png")]
        splits, counts = add_contexts({"test": posts}, {"described": "descriptions.jsonl"})
        assert splits["test"][0].contexts == {"described": "two people on a stage"}
        assert counts["described"].with_text == 1
        ```
    """
    posts = [post for of_split in splits.values() for post in of_split]
    found: list[dict[str, str]] = [{} for _ in posts]
    counts = {}
    for name, path in files.items():
        check_name_of(name)
        texts = [post.contexts.get(name) for post in posts]
        if path is not None:
            paths: Sequence[str | Path] = [path] if isinstance(path, str | Path) else path
            file = _joined(paths)
            texts = [file.about(post.id, "".join(post.tokens), post.image) for post in posts]
            counts[name] = _counts(file, posts, texts)
            if posts and not file.texts:
                logger.warning("%s: every text is empty, so that no post has a context %s", file.path, name)
            elif posts and not any(texts):
                reason = f"no text here is about any of {counted(len(posts), 'post')}; is it the file of another set?"
                raise InputError(f"{reason} ({counts[name].sentence()})", file.path)
            logger.info("%s: contexts %s: %s", file.path, name, counts[name].sentence())
        else:
            counts[name] = ContextCounts(len(posts), sum(text is not None for text in texts))
            if posts and not any(texts):
                raise InputError(f"no post brings a text {name!r} among its contexts; name a file of such texts")
        for of_post, text in zip(found, texts, strict=True):
            if text:
                of_post[name] = text
    every = iter(zip(posts, found, strict=True))
    result = {
        split: [replace(post, contexts=contexts) for post, contexts in (next(every) for _ in of_split)]
        for split, of_split in splits.items()
    }
    return result, counts


def with_record_contexts(record: Mapping[str, Any], files: Mapping[str, ContextFile]) -> dict[str, Any]:
    """A record of posts.jsonl with the texts that files have about it, in place of its own of the same names."""
    id, image = (record.get(name) for name in ("id", "image"))
    words = record.get("tokens")
    text = "".join(map(str, words)) if isinstance(words, list | tuple) else str(record.get("text") or "")
    about = (None if id is None else str(id), text, image if isinstance(image, str) else None)
    found = {name: said for name, file in files.items() if (said := file.about(*about)) is not None}
    own = record.get("contexts")
    if not found or not isinstance(own or {}, Mapping):  # what is malformed is for the reader of posts
        return dict(record)
    return {**record, "contexts": {**(own or {}), **found}}


def check_name_of(name: str) -> str:
    """The name of a kind of contexts, if it can be one.

    Raises:
        InputError: It cannot: it has other signs than letters, digits, _ and -.
    """
    if not name.replace("-", "_").isidentifier():
        raise InputError(f"{name!r} is no name of contexts; use letters, digits and _")
    return name


def _counts(file: ContextFile, posts: Iterable[Post], texts: Sequence[str | None]) -> ContextCounts:
    known = {key for post in posts for key in _keys(post.id, "".join(post.tokens), post.image)}
    unknown = [key[1] for key in file.texts if key not in known]
    with_text = sum(text is not None for text in texts)
    named = tuple(unknown[:NAMED])
    return ContextCounts(len(texts), with_text, len(file.texts), len(unknown), named, file.empty, file.repeated)


def write_contexts(path: str | Path, about: Literal["id", "image"], texts: Mapping[str, str]) -> None:
    """Write texts by id or by image, so that `read_contexts` gives them back; atomic."""
    write_text(path, _lines(about, texts))


def append_contexts(path: str | Path, about: Literal["id", "image"], texts: Mapping[str, str]) -> None:
    """Add texts at the end of a file, or begin one; a kill leaves its last line half-written at worst.

    Raises:
        InputError: The file cannot be written, or the disk is full.
    """
    try:
        with open(path, "a", encoding="utf-8", newline="") as file:
            file.writelines(_lines(about, texts))
    except OSError as error:
        reason = f"cannot be written ({error.strerror or error}); make room and run the command again"
        raise InputError(reason, Path(path)) from None


def read_appended(path: str | Path) -> dict[Key, str]:
    """The texts that `append_contexts` has added; a line that a kill left half-written is cut off the file.

    Raises:
        InputError: As `read_contexts`.
    """
    path = Path(path)
    if not path.is_file():
        return {}
    with path.open("rb+") as file:
        end = file.read().rfind(b"\n") + 1
        file.truncate(end)
    return dict(read_contexts(path).texts) if end else {}


def _lines(about: str, texts: Mapping[str, str]) -> Iterator[str]:
    return (json.dumps({about: name, "text": text}, ensure_ascii=False) + "\n" for name, text in texts.items())


def distinct_posts(posts: Iterable[Post]) -> dict[str, Post]:
    """The posts by id; those of one id and the same words, such as the pairs of one text, count once.

    Raises:
        InputError: Two posts of one id have different words.
    """
    found: dict[str, Post] = {}
    for post in posts:
        if found.setdefault(post.id, post).tokens != post.tokens:
            raise InputError(f"posts of different words share the id {shorten(post.id)}; give each its own")
    return found
