"""How data sets call the same entity type: the files of Twitter-2015 say OTHER where the papers say MISC."""

from __future__ import annotations

from collections.abc import Iterable

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
