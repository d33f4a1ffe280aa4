"""What `promu extract` wrote, read post by post: JSON lines or Parquet."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from promu.corpora.posts import from_record
from promu.errors import InputError
from promu.extraction.graph.names import normalise_name
from promu.files import fault, filled_lines, iterate_records, parse_json_object, shorten
from promu.schema import NO_RELATION, Post

_COLUMNS = ("id", "tokens", "entities", "relations")
_BATCH = 1024
"""Rows of Parquet in memory at once."""
_CHUNK = 2**20
"""Bytes in memory while lines are counted."""

Span = tuple[int, int]


@dataclass(frozen=True, slots=True)
class FoundPost:
    """A post with what was found in it.

    `texts`, `keys` and `characters` go with `post.entities`: how each is written in the text, the normalised name of
    that, and where it lies in the text, in code points, end exclusive.
    """

    post: Post
    texts: tuple[str, ...]
    keys: tuple[str, ...]
    characters: tuple[Span, ...]


def read_found_posts(path: Path, problems: list[InputError] | None = None) -> Iterator[tuple[int, FoundPost]]:
    """Yield (line or row number from 1, post) of JSON lines or of Parquet, which is known by its first bytes.

    Args:
        path: The file.
        problems: Where malformed lines go; None raises the first.

    Raises:
        InputError: The file is missing, empty, damaged or holds no post; without `problems` also any malformed line.
    """
    numbered: Iterator[tuple[int, Any]] = (
        _rows(path)
        if _is_parquet(path)
        else ((number, _object(path, problems, number, line)) for number, line in filled_lines(path, problems))
    )
    yield from iterate_records(path, problems, numbered, _found, "posts")


def count_posts(path: Path) -> int:
    """How many lines or rows a file has, for a bar of progress; 0 for what cannot be read twice, such as a pipe.

    Raises:
        InputError: The file is damaged.
    """
    if not path.is_file():
        return 0
    if _is_parquet(path):
        with _parquet(path) as file:
            return int(file.metadata.num_rows)
    with path.open("rb") as lines:
        return sum(chunk.count(b"\n") for chunk in iter(lambda: lines.read(_CHUNK), b""))


def _is_parquet(path: Path) -> bool:
    if not path.is_file():
        return False  # what reads lines says so
    with path.open("rb") as file:
        return file.read(4) == b"PAR1"


def _object(path: Path, problems: list[InputError] | None, number: int, line: str | None) -> dict[str, Any] | None:
    if line is None:
        return None
    try:
        return parse_json_object(line)
    except InputError as error:
        fault(problems, InputError(error.reason, path, number))
        return None


@contextmanager
def _parquet(path: Path) -> Iterator[Any]:
    """A file of Parquet; what is damaged in it, now or later, is said in a sentence."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    try:
        with pq.ParquetFile(path) as file:
            yield file
    except (pa.ArrowException, OSError) as error:
        raise InputError(f"cannot be read as Parquet ({shorten(str(error), 120)}); write it again", path) from None


def _rows(path: Path) -> Iterator[tuple[int, dict[str, Any]]]:
    with _parquet(path) as file:
        missing = [name for name in _COLUMNS if name not in file.schema_arrow.names]
        if missing:
            raise InputError(f"lacks the columns {', '.join(missing)}; is this what promu extract wrote?", path)
        number = 0
        for batch in file.iter_batches(_BATCH, columns=list(_COLUMNS)):
            for row in batch.to_pylist():
                number += 1
                yield number, row


def _found(record: dict[str, Any]) -> FoundPost:
    """One post; its words, spans and relations are checked as those of any labelled post.

    Raises:
        InputError: A key is missing or a value is not legal.
    """
    missing = [key for key in _COLUMNS if record.get(key) is None]
    if missing:
        raise InputError(f"the post lacks {', '.join(missing)}; is this what promu extract wrote?")
    entities = record["entities"] if isinstance(record["entities"], list) else [record["entities"]]
    plain = {key: record[key] for key in _COLUMNS} | {
        "entities": [
            {key: value for key, value in entity.items() if key in ("start", "end", "type", "score")}
            if isinstance(entity, dict)
            else entity
            for entity in entities
        ]
    }
    post = from_record(plain).post
    _refuse_repeats(post)
    texts, keys, characters = [], [], []
    for index, entity in enumerate(entities):
        text, key, span = _place(entity, f"entity {index}")
        texts.append(text)
        keys.append(key)
        characters.append(span)
    return FoundPost(post, tuple(texts), tuple(keys), tuple(characters))


def _place(entity: dict[str, Any], what: str) -> tuple[str, str, Span]:
    text, start, end = entity.get("text"), entity.get("char_start"), entity.get("char_end")
    if not isinstance(text, str) or "\0" in text or not (key := normalise_name(text)):
        raise InputError(f"text of {what} must be a string with something in it, found {shorten(text)}")
    try:
        text.encode("utf-8")
    except UnicodeEncodeError:
        raise InputError(f"text of {what} holds half of a surrogate pair: {shorten(text)}") from None
    if type(start) is not int or type(end) is not int or not 0 <= start < end:
        raise InputError(
            f"char_start and char_end of {what} must be two whole numbers, end exclusive, found "
            f"{shorten(start)} and {shorten(end)}"
        )
    return text, key, (start, end)


def _refuse_repeats(post: Post) -> None:
    """A finding that stands twice in one post would be counted, and cited, twice."""
    spans = [(entity.start, entity.end, entity.type) for entity in post.entities]
    links = [(relation.head, relation.tail, relation.type) for relation in post.relations]
    for what, found in (("entity", spans), ("relation", links)):
        first: dict[object, int] = {}
        for index, item in enumerate(found):
            if first.setdefault(item, index) != index:
                raise InputError(f"{what} {index} repeats {what} {first[item]}: {item}; remove one of them")
    if any(relation.type == NO_RELATION for relation in post.relations):
        raise InputError(f"a relation is of type {NO_RELATION!r}, which says that there is none; leave it out")
