"""Candidates: the nouns and relations that prompts are built from."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterable
from pathlib import Path

from promu import files
from promu.errors import InputError

WORD = re.compile(r"[^\W\d_]+(?:[-'’][^\W\d_]+)*")


def read_lines(path: Path) -> list[str]:
    """The lines of a UTF-8 text file.

    Raises:
        InputError: The file is missing, a folder, empty or not UTF-8.
    """
    return [line for _, line in files.read_lines(path, None) if line is not None]


def read_candidates(path: Path, limit: int | None = None) -> list[str]:
    """Candidates from a text file, one a line, in order; blank lines and lines that start with # are skipped.

    Raises:
        InputError: The file is missing, not UTF-8, names a candidate twice or holds none.
    """
    seen: dict[str, int] = {}
    for number, line in enumerate(read_lines(path), start=1):
        candidate = line.strip()
        if not candidate or candidate.startswith("#"):
            continue
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
        lexicon: The words that count as nouns, in their base form; a plural in -s or -es counts for its singular.
        limit: M, how many to keep at most.

    Returns:
        (noun, count) pairs; ties in alphabetical order; a noun that no caption holds is left out.
    """
    nouns = set(lexicon)
    counts: Counter[str] = Counter()
    for caption in captions:
        for match in WORD.finditer(caption.lower()):
            word = match.group()
            for base in (word, word.removesuffix("s"), word.removesuffix("es")):
                if base in nouns:
                    counts[base] += 1
                    break
    return sorted(counts.items(), key=lambda item: (-item[1], item[0]))[:limit]
