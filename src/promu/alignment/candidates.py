"""Candidates: the nouns and relations that prompts are built from."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Collection, Iterable, Iterator
from pathlib import Path

from promu import files
from promu.errors import InputError

WORD = re.compile(r"[^\W\d_]+(?:[-'’][^\W\d_]+)*")

_IRREGULAR = {
    "children": "child",
    "feet": "foot",
    "teeth": "tooth",
    "geese": "goose",
    "mice": "mouse",
    "oxen": "ox",
    "cacti": "cactus",
    "calves": "calf",
    "elves": "elf",
    "halves": "half",
    "hooves": "hoof",
    "knives": "knife",
    "leaves": "leaf",
    "loaves": "loaf",
    "scarves": "scarf",
    "shelves": "shelf",
    "thieves": "thief",
    "wives": "wife",
    "wolves": "wolf",
}
# Plural in form, and another thing than what is left without the s.
_NO_PLURALS = frozenset({"clothes", "glasses", "jeans", "news", "pants", "shades", "shorts", "tights", "woods"})


def read_lines(path: Path) -> list[str]:
    """The lines of a UTF-8 text file.

    Raises:
        InputError: The file is missing, a folder, empty or not UTF-8.
    """
    return [line for _, line in files.read_lines(path, None) if line is not None]


def read_candidates(path: Path, limit: int | None = None) -> list[str]:
    """Candidates from a text file, one a line, in order; blank lines and lines that start with # are skipped.

    What follows a tab, such as the count that `promu candidates` writes, is not read.

    Raises:
        InputError: The file is missing, not UTF-8, names a candidate twice or holds none.
    """
    seen: dict[str, int] = {}
    for number, line in enumerate(read_lines(path), start=1):
        candidate = line.partition("\t")[0].strip()
        if candidate.startswith("#") or not line.strip():
            continue
        if not candidate:
            raise InputError("the line begins with a tab; write the candidate before it", path, number)
        if candidate in seen:
            raise InputError(
                f"candidate {candidate!r} already stands on line {seen[candidate]}; remove one", path, number
            )
        seen[candidate] = number
    if not seen:
        raise InputError("no candidate in this file; write one a line", path)
    return list(seen)[:limit]


def frequent_nouns(captions: Iterable[str], lexicon: Iterable[str], limit: int) -> list[tuple[str, int]]:
    """The most frequent nouns of the captions with their counts, most frequent first.

    Args:
        captions: The corpus's captions.
        lexicon: The words that count as nouns, in their base form; a plural counts for its singular.
        limit: M, how many to keep at most.

    Returns:
        (noun, count) pairs; ties in alphabetical order; a noun that no caption holds is left out.
    """
    nouns = set(lexicon)
    counts: Counter[str] = Counter()
    for caption in captions:
        counts.update(nouns_in(caption, nouns))
    return most_frequent(counts, limit)


def most_frequent(counts: Counter[str], limit: int) -> list[tuple[str, int]]:
    """The (word, count) pairs of the `limit` largest counts, ties in alphabetical order."""
    return sorted(counts.items(), key=lambda item: (-item[1], item[0]))[:limit]


def nouns_in(caption: str, nouns: Collection[str]) -> Iterator[str]:
    """The words of a caption that are among `nouns` as they stand or in the singular, in their order."""
    for match in WORD.finditer(caption.lower()):
        word = match.group()
        base = word if word in nouns else singular(word, nouns)
        if base is not None:
            yield base


def singular(word: str, known: Collection[str]) -> str | None:
    """What lower-case English `word` is a plural of, if that is one of the `known` words; else None."""
    return next((base for base in _singulars(word) if base in known), None)


def merge_plurals(counts: Counter[str]) -> Counter[str]:
    """Counts in which a plural has gone into its singular, where that occurs too."""
    merged: Counter[str] = Counter()
    for word, count in counts.items():
        merged[singular(word, counts) or word] += count
    return merged


def _singulars(word: str) -> Iterator[str]:
    """What `word` may be the plural of, the likeliest first."""
    if word in _NO_PLURALS:
        return
    if word in _IRREGULAR:
        yield _IRREGULAR[word]
    if word.endswith("men"):
        yield word[:-2] + "an"
    # grass, bus and iris are no plurals; and a base of two letters is more often a slip than a word
    if len(word) < 4 or not word.endswith("s") or word.endswith(("ss", "us", "is")):
        return
    if word.endswith("ies"):
        yield word[:-3] + "y"
    yield word[:-1]
    if word.endswith("es"):
        yield word[:-2]
