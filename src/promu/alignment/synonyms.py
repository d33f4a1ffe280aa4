"""Which nouns name a detector's categories, and the category of a region as a prior of its soft label."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping, Sequence
from pathlib import Path

import torch

from promu.errors import InputError
from promu.files import read_lines
from promu.schema import Region

Synonyms = Mapping[str, frozenset[str]]


def read_synonyms(path: str | Path | None = None) -> dict[str, frozenset[str]]:
    """A synonym table: `category<TAB>noun, noun, ...` a line; blank lines and lines that start with # are skipped.

    Returns:
        The nouns that name each category, lower-cased, the category's name among them; of COCO without a path.

    Raises:
        InputError: The file is missing or empty, a line has no tab or no noun, or a category stands twice.
    """
    path = Path(path or Path(__file__).parent / "data" / "coco_synonyms.tsv")
    table: dict[str, frozenset[str]] = {}
    for number, line in read_lines(path, None):
        if line is None or not line.strip() or line.startswith("#"):
            continue
        category, tab, rest = line.partition("\t")
        category = category.strip().lower()
        nouns = {" ".join(noun.lower().split()) for noun in rest.split(",")} - {""}
        if not tab or not category or not nouns:
            raise InputError("not a line of a synonym table; write category<TAB>noun, noun, ...", path, number)
        if category in table:
            raise InputError(f"category {category!r} stands twice; put its nouns on one line", path, number)
        table[category] = frozenset({category, *nouns})
    if not table:
        raise InputError("no category in this synonym table; write category<TAB>noun, noun, ... a line", path)
    return table


def nouns_naming(category: str, synonyms: Synonyms) -> frozenset[str]:
    """The nouns that name a category; one that is not in the table has its name alone."""
    return synonyms.get(category.lower(), frozenset({category.lower()}))


def table_checksum(synonyms: Synonyms) -> str:
    """A checksum of what a table says, which labels made with it carry."""
    plain = json.dumps({category: sorted(nouns) for category, nouns in synonyms.items()}, sort_keys=True)
    return hashlib.sha256(plain.encode()).hexdigest()[:16]


class DetectorPrior:
    """The detector's category of a region, mixed into its soft label (beyond the paper).

    A share of the teacher's distribution (`weight`, in 0..1, times the detector's score) moves to the nouns that name
    the category, in the teacher's proportions: the detector decides that it is a dog, the teacher how much of it is a
    puppy. `nouns` are the candidates, in the order of the labels.
    """

    def __init__(self, nouns: Sequence[str], synonyms: Synonyms, weight: float) -> None:
        self.places = {noun.lower(): place for place, noun in enumerate(nouns)}
        self.synonyms = synonyms
        self.weight = weight

    def __call__(self, labels: torch.Tensor, regions: Sequence[Region]) -> torch.Tensor:
        """Labels (R, M) of regions; those whose category no candidate names are returned as they are."""
        mixed = labels.clone()
        for row, region in enumerate(regions):
            places = [self.places[noun] for noun in nouns_naming(region.label, self.synonyms) if noun in self.places]
            if places:
                named = labels[row, places].clamp(min=torch.finfo(labels.dtype).tiny)
                share = self.weight * region.score
                mixed[row] *= 1 - share
                mixed[row, places] += share * named / named.sum()
        return mixed


COCO_NAMES = tuple(read_synonyms())  # COCO's categories in its order
