"""A format with the type behind each word, `Ann/PER in Rome/LOC`, a line a post; and a task that learns hashtags."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import replace
from pathlib import Path

from promu import Entity, InputError, Post
from promu.corpora.formats import Format, Holds
from promu.files import filled_lines, read_records, write_lines
from promu.schema import Scheme
from promu.tasks.task import EntityRecognition


def read_slashed(path: str | Path, problems: list[InputError] | None = None) -> list[Post]:
    """Read a file of such lines; a post's id is the number of its line."""
    numbered = ((number, line and (number, line)) for number, line in filled_lines(Path(path), problems))
    return read_records(path, problems, _parse, "posts", numbered)


def _parse(item: tuple[int, str]) -> Post:
    number, line = item
    words, entities = [], []
    for index, part in enumerate(line.split()):
        word, slash, kind = part.partition("/")
        if not word or (slash and not kind):
            raise InputError(f"{part!r} is neither a word nor word/TYPE")
        words.append(word)
        if kind:
            entities.append(Entity(index, index + 1, kind))
    return Post(str(number), tuple(words), entities=tuple(entities), line=number)


def write_slashed(path: str | Path, posts: Iterable[Post]) -> None:
    """Write one-word entities; atomic."""
    lines = []
    for post in posts:
        kinds = {entity.start: f"/{entity.type}" for entity in post.entities}
        lines.append(" ".join(word + kinds.get(index, "") for index, word in enumerate(post.tokens)))
    write_lines(path, lines)


SLASHED = Format(
    "slashed",
    "posts",
    read_slashed,
    write_slashed,
    tasks=("ner", "hashtags"),
    holds=Holds(relations=False, overlapping=False, untyped=False, scores=False, extra=False, text=False),
)


class Hashtags(EntityRecognition):
    """Words that begin with # are entities of one type, whatever the file labels."""

    name, format = "hashtags", "slashed"

    def read(self, path: Path, format: str | None = None, scheme: Scheme = "auto") -> list[Post]:
        return [replace(post, entities=tuple(_tags(post.tokens))) for post in super().read(path, format, scheme)]


def _tags(words: Sequence[str]) -> list[Entity]:
    return [Entity(at, at + 1, "TAG") for at, word in enumerate(words) if word.startswith("#")]


HASHTAGS = Hashtags()
