"""Which nouns name a category, and a detector's own word as a voice in soft labels: hand-worked."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from promu.alignment.synonyms import DetectorPrior, read_synonyms, table_checksum
from promu.corpora.coco import read_coco
from promu.errors import InputError
from promu.schema import Region

DOG = {"dog": frozenset({"dog", "puppy"})}
NOUNS = ("puppy", "tree", "Dog", "bench")


def region(label: str, score: float) -> Region:
    return Region((0.0, 0.0, 1.0, 1.0), label, score)


def test_the_detector_s_share_goes_to_its_nouns_as_the_teacher_divides_them() -> None:
    labels = torch.tensor([[0.1, 0.5, 0.3, 0.1]] * 4)
    found = DetectorPrior(NOUNS, DOG, 0.5)(
        labels, [region("dog", 0.8), region("bench", 1.0), region("kite", 1.0), region("dog", 0.0)]
    )
    # .5 * .8 = .4 moves: to puppy and dog as .1 to .3; to the bench, not in the table, by its own name; from none
    expected = [
        [0.06 + 0.1, 0.3, 0.18 + 0.3, 0.06],
        [0.05, 0.25, 0.15, 0.55],
        [0.1, 0.5, 0.3, 0.1],
        [0.1, 0.5, 0.3, 0.1],
    ]
    torch.testing.assert_close(found, torch.tensor(expected))
    torch.testing.assert_close(labels, torch.tensor([[0.1, 0.5, 0.3, 0.1]] * 4))


def test_nouns_that_the_teacher_rules_out_share_evenly() -> None:
    found = DetectorPrior(NOUNS, DOG, 1.0)(torch.tensor([[0.0, 1.0, 0.0, 0.0]]), [region("dog", 1.0)])
    torch.testing.assert_close(found, torch.tensor([[0.5, 0.0, 0.5, 0.0]]))


def test_no_region_no_label() -> None:
    assert DetectorPrior(NOUNS, DOG, 1.0)(torch.zeros(0, 4), []).shape == (0, 4)


def test_a_table_is_known_by_what_it_says() -> None:
    assert table_checksum(DOG) == table_checksum({"dog": frozenset({"puppy", "dog"})})
    assert table_checksum(DOG) != table_checksum({"dog": frozenset({"dog"})})


def test_the_table_that_comes_with_promu_covers_coco(shared: Path) -> None:
    regions = read_coco(shared / "data" / "coco_mini" / "instances_train2017.json")
    table = read_synonyms()
    assert len(table) == 80
    assert {region.label for found in regions.values() for region in found} <= set(table)


def test_the_table_that_comes_with_promu_is_strict_and_rich() -> None:
    table = read_synonyms()
    assert {"man", "woman", "skier", "person", "people"} <= table["person"]
    assert {"puppy", "dog"} <= table["dog"] and "animal" not in table["dog"]
    assert "plane" in table["airplane"] and "sofa" in table["couch"]


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("dog puppy\n", "t.tsv:1: not a line of a synonym table"),
        ("# only words\ndog\t , \n", "t.tsv:2: not a line"),
        ("dog\tpuppy\nDog\tpup\n", "t.tsv:2: category 'dog' stands twice"),
        ("# nothing\n", "t.tsv: no category in this synonym table"),
    ],
)
def test_bad_tables(text: str, said: str, tmp_path: Path) -> None:
    (tmp_path / "t.tsv").write_text(text)
    with pytest.raises(InputError, match=said):
        read_synonyms(tmp_path / "t.tsv")


def test_a_users_own_table(tmp_path: Path) -> None:
    (tmp_path / "t.tsv").write_text("# mine\nHot Dog\tSausage,  hot   dog\n\n")
    assert read_synonyms(tmp_path / "t.tsv") == {"hot dog": frozenset({"hot dog", "sausage"})}
