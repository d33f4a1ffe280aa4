"""Naming of gold boxes: hand-worked shares and what cannot be named."""

from __future__ import annotations

import pytest

from promu.errors import InputError
from promu.evaluation.regions import score_naming

SYNONYMS = {"person": frozenset({"person", "man", "woman"}), "dog": frozenset({"dog", "puppy"})}
NOUNS = ("man", "puppy", "tree", "bench")


def test_hand_worked() -> None:
    scores = score_naming(
        ["person", "person", "person", "dog", "toaster", "bench"],
        [["man", "tree"], ["tree", "man"], ["tree"], ["puppy"], ["tree"], ["tree", "bench"]],
        NOUNS,
        SYNONYMS,
    )
    assert scores["boxes"] == 5 and scores["unnameable"] == {"toaster": 1}
    assert scores["micro"] == pytest.approx({"top1": 40.0, "top5": 80.0})
    # person 1/3 and 2/3, dog 1 and 1, bench (not in the table: its own name) 0 and 1
    assert scores["macro"] == pytest.approx({"top1": 100 * (1 / 3 + 1) / 3, "top5": 100 * (2 / 3 + 2) / 3})
    assert scores["constant"] == {"noun": "man", "top1": pytest.approx(60.0)}
    assert scores["per_category"]["person"] == {"boxes": 3, "top1": 1, "top5": 2}


def test_only_the_first_five_nouns_count() -> None:
    ranked = [["tree", "tree", "tree", "tree", "tree", "puppy"]]
    assert score_naming(["dog"], ranked, NOUNS, SYNONYMS)["micro"]["top5"] == 0.0


def test_a_noun_that_is_right_for_another_category_is_wrong() -> None:
    assert score_naming(["dog", "person"], [["man"], ["puppy"]], NOUNS, SYNONYMS)["micro"]["top1"] == 0.0


def test_nothing_that_can_be_judged_is_said() -> None:
    with pytest.raises(InputError, match="no gold box"):
        score_naming([], [], NOUNS, SYNONYMS)
    with pytest.raises(InputError, match="none of the 1 gold categories has a synonym among the model's 4 nouns"):
        score_naming(["toaster"], [["tree"]], NOUNS, SYNONYMS)
