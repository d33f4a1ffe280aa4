"""How often the nouns given to a gold box name its category, by way of a table of synonyms."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from promu.alignment.synonyms import Synonyms, nouns_naming
from promu.errors import InputError


@dataclass(frozen=True, slots=True)
class CategoryCount:
    """Boxes of one category, and how many were named by the first noun and among the first five."""

    boxes: int
    top1: int
    top5: int


@dataclass(frozen=True)
class NamingScores:
    """What the nouns of the judged boxes come to; shares in percent.

    Attributes:
        per_category: The judged boxes: those whose category has a synonym among the candidates.
        unnameable: Boxes of each category without one. They are counted, not judged.
        constant: The noun that would name most boxes if every box were given it, and the share it would name.
    """

    per_category: dict[str, CategoryCount]
    unnameable: dict[str, int]
    constant: tuple[str, float]

    @property
    def boxes(self) -> int:
        """How many boxes were judged."""
        return sum(count.boxes for count in self.per_category.values())

    def micro(self, rank: str) -> float:
        """Percent of the judged boxes named; `rank` is top1 or top5."""
        return 100.0 * sum(getattr(count, rank) for count in self.per_category.values()) / self.boxes

    def macro(self, rank: str) -> float:
        """The mean over categories of the percent of their boxes that are named."""
        shares = [getattr(count, rank) / count.boxes for count in self.per_category.values()]
        return 100.0 * sum(shares) / len(shares)

    def to_dict(self) -> dict[str, Any]:
        """Plain numbers."""
        return {
            "boxes": self.boxes,
            "categories": len(self.per_category),
            "micro": {rank: self.micro(rank) for rank in ("top1", "top5")},
            "macro": {rank: self.macro(rank) for rank in ("top1", "top5")},
            "constant": {"noun": self.constant[0], "top1": self.constant[1]},
            "per_category": {
                name: {"boxes": count.boxes, "top1": count.top1, "top5": count.top5}
                for name, count in self.per_category.items()
            },
            "unnameable": self.unnameable,
        }


def score_naming(
    categories: Sequence[str],
    ranked: Sequence[Sequence[str]],
    nouns: Sequence[str],
    synonyms: Synonyms,
) -> NamingScores:
    """Score the nouns given to gold boxes.

    Args:
        categories: Each box's gold category.
        ranked: Each box's nouns, likeliest first, five or all there are.
        nouns: Every candidate that could have been given.
        synonyms: As `promu.alignment.synonyms.read_synonyms` returns them.

    Raises:
        InputError: There is no box, or no category has a synonym among the candidates.
    """
    known = {noun.lower() for noun in nouns}
    # of each category, the candidates that name it
    names = {category: nouns_naming(category, synonyms) & known for category in set(categories)}
    if not categories:
        raise InputError("there is no gold box to name; give a file with boxes")
    if not any(names.values()):
        raise InputError(
            f"none of the {len(names)} gold categories has a synonym among the model's {len(known)} nouns; "
            "add the nouns to the synonym table"
        )
    boxes, top1, top5 = Counter[str](), Counter[str](), Counter[str]()
    right_if_always = Counter[str]()
    for category, given in zip(categories, ranked, strict=True):
        right = names[category]
        boxes[category] += 1
        top1[category] += any(noun.lower() in right for noun in given[:1])
        top5[category] += any(noun.lower() in right for noun in given[:5])
        right_if_always.update(right)
    judged = [category for category, _ in boxes.most_common() if names[category]]
    total = sum(boxes[category] for category in judged)
    # the alphabet decides between nouns that are right equally often, whatever order a set is in
    noun, often = min(right_if_always.items(), key=lambda item: (-item[1], item[0]))
    return NamingScores(
        {category: CategoryCount(boxes[category], top1[category], top5[category]) for category in judged},
        {category: count for category, count in boxes.most_common() if not names[category]},
        (noun, 100.0 * often / total),
    )
