"""The health of labels: figures by hand, and every failure made up, recognised and told apart."""

from __future__ import annotations

import json
import math
import re
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch

from promu.alignment import label_health as module
from promu.alignment.label_health import Agreement, LabelHealth, SideHealth, entropy, label_health
from promu.alignment.label_store import ImageLabels, LabelHeader, LabelStore, SparseLabels
from promu.corpora.shards import CaptionedImage, PairShards, ShardWriter
from promu.files import write_json
from promu.schema import Region

NOUNS = ("dog", "cat", "boat", "tree", "car", "hat", "ball", "horse")
SYNONYMS = {"pet": frozenset({"dog", "cat"}), "vehicle": frozenset({"boat", "car", "plane"})}
RELATIONS = ("member of", "spouse", "award received", "country")


def header(nouns: Sequence[str] = NOUNS, relations: Sequence[str] = RELATIONS) -> LabelHeader:
    return LabelHeader("made up", "made up", tuple(nouns), tuple(relations), "1", "A", 0.1, 4)


def peaked(index: int, width: int, share: float) -> torch.Tensor:
    """A distribution with `share` at `index` and the rest even."""
    label = torch.full((width,), (1 - share) / (width - 1))
    label[index] = share
    return label


def measure(
    folder: Path,
    regions: Sequence[Sequence[torch.Tensor]],
    captions: Sequence[str],
    relations: Sequence[torch.Tensor] | None = None,
    names: LabelHeader | None = None,
    labelled: int | None = None,
    words: Sequence[str] | None = None,
) -> LabelHealth:
    """The health of labels made up image by image: its regions' labels, its caption, the detector's word."""
    names = names or header()
    folder.mkdir(exist_ok=True)
    with ShardWriter(folder, 0) as writer:
        for number, (labels, caption) in enumerate(zip(regions, captions, strict=True)):
            boxes = tuple(Region((0, 0, 4, 4), words[number] if words else "thing") for _ in labels)
            writer.add(CaptionedImage(f"{number}.jpg", b"x", 8, 8, ((caption, True), ("a hat", False)), boxes))
    write_json(folder / "corpus.json", {})
    store = LabelStore(folder / "labels", names)
    if relations is None:
        relations = [peaked(number % 4, 4, 0.6) for number in range(len(regions))]
    rows = [
        ImageLabels(
            torch.tensor([[0, 0, 0.5, 0.5]]).repeat(len(labels), 1),
            SparseLabels.from_dense(torch.stack(list(labels)) if labels else torch.zeros(0, len(names.nouns)), 4),
            SparseLabels.from_dense(relation[None], 4),
        )
        for labels, relation in zip(regions, relations, strict=True)
    ]
    labelled = len(rows) if labelled is None else labelled
    store.add([f"{number}.jpg" for number in range(labelled)], rows[:labelled])
    return label_health(store, PairShards(folder), SYNONYMS)


def one_each(count: int, share: float, step: int = 0) -> tuple[list[list[torch.Tensor]], list[str]]:
    """Images with one region; the first noun goes round, and captions say the noun `step` further on."""
    regions = [[peaked(number % 8, 8, share)] for number in range(count)]
    return regions, [f"two {NOUNS[(number + step) % 8]}s in the sun" for number in range(count)]


def test_figures_by_hand(tmp_path: Path) -> None:
    label = torch.tensor([0.4, 0.2, 0.1, 0.1, 0.05, 0.05, 0.05, 0.05])  # the last four are the tail of the top four
    dog, boat = label, label.roll(2)  # boat, tree, car and hat, the rest even
    health = measure(tmp_path, [[dog, boat], [dog], []], ["dogs", "a cat", "the sun"])
    side = health.entities
    assert side is not None and health.relations is not None
    nats = -sum(share * math.log(share) for share in label.tolist())
    assert (side.labels, side.candidates) == (3, 8)
    assert side.entropy == pytest.approx(nats, abs=2e-3)
    assert side.entropy_share == pytest.approx(nats / math.log(8), abs=2e-3)
    assert side.top_probability == pytest.approx(0.4, abs=1e-3)
    assert side.information_gain == pytest.approx(1 - nats / float(entropy((2 * dog + boat) / 3)), rel=1e-2)
    assert side.effective == pytest.approx(float(entropy((2 * dog + boat) / 3).exp()), rel=1e-3)
    assert dict(side.top) == pytest.approx({"dog": 2 / 3, "boat": 1 / 3})
    assert side.often == ("dog", "boat") and side.never == ("cat", *NOUNS[3:])
    assert (health.images, health.unlabelled, health.without_regions) == (3, 0, 1)
    assert health.relations.labels == 3 and health.relations.never == ("country",)
    # The third caption says no candidate, so that the other two images stand for each other. First nouns: dog (said),
    # boat (not), dog (not); by chance dog (not), boat (not), dog (said). Of the first four, cat is among dog's.
    assert health.captions is not None
    expected = {"regions": 3, "top1": 1 / 3, "top5": 2 / 3, "chance1": 1 / 3, "chance5": 2 / 3}
    assert vars(health.captions) == pytest.approx(expected)


def test_chance_does_not_hang_on_the_order_of_the_images(tmp_path: Path) -> None:
    """Neighbours of a corpus are often alike, and every eighth of these is the same: only the mixture counts."""
    health = measure(tmp_path, *one_each(160, 0.6))
    assert health.captions is not None and health.captions.top1 == 1
    # 19 of the 159 other images say the noun
    assert health.captions.chance1 == pytest.approx(19 / 159, abs=0.06)


def test_captions_of_other_images_do_not_count(tmp_path: Path) -> None:
    """Every image has the falsified caption "a hat"."""
    hats = [[peaked(5, 8, 0.6)] for _ in range(4)]
    health = measure(tmp_path, hats, ["a dog", "a cat", "a boat", "a tree"])
    assert health.captions is not None and health.captions.top1 == 0


def test_entropy() -> None:
    labels = torch.tensor([[1.0, 0.0, 0.0, 0.0], [0.25, 0.25, 0.25, 0.25], [0.5, 0.5, 0.0, 0.0]])
    torch.testing.assert_close(entropy(labels), torch.tensor([0.0, math.log(4), math.log(2)]))


def test_good_labels_are_healthy(tmp_path: Path) -> None:
    health = measure(tmp_path, *one_each(64, 0.6))
    assert health.healthy and health.findings == ()
    assert health.captions is not None and health.captions.top1 == 1 and health.captions.chance1 < 0.3


@pytest.mark.parametrize("size", [3, 1000])
def test_the_size_of_a_batch_changes_nothing(tmp_path: Path, size: int, monkeypatch: pytest.MonkeyPatch) -> None:
    expected = measure(tmp_path / "a", *one_each(64, 0.6)).to_dict()
    monkeypatch.setattr(module, "BATCH", size)
    found = measure(tmp_path / "b", *one_each(64, 0.6)).to_dict()
    assert json.dumps(found)[:60] == json.dumps(expected)[:60]
    assert found["captions"] == expected["captions"]
    assert found["entities"]["effective"] == pytest.approx(expected["entities"]["effective"])


def mixed(count: int = 64) -> tuple[list[list[torch.Tensor]], list[str]]:
    """Three images of four show a dog, the others other things, and captions say so."""
    things = [0 if number % 4 else 1 + number // 4 % 7 for number in range(count)]
    return [[peaked(thing, 8, 0.6)] for thing in things], [f"a {NOUNS[thing]}" for thing in things]


@pytest.mark.parametrize(
    ("failure", "sentence"),
    [
        (
            "flat",
            r"regions' nouns are too flat \(mean entropy \d+% of its largest, information gain \d% .*: lower labels",
        ),
        (
            "flat, no captions",
            r"regions' nouns are too flat \(.*, information gain \d% of its maximum\): lower labels.temp",
        ),
        (
            "same",
            r"nouns are nearly all the same \(.*; 'dog' first in 100%; a caption names .*\): the teacher has not",
        ),
        ("sharp", r"regions' nouns are one-hot in effect .*: raise labels.temperature"),
        (
            "dominated",
            r"regions' nouns are dominated by 'dog', first in 75% of the labels: put it on the stop list, unless",
        ),
        (
            "other images",
            r"regions' nouns differ, but hardly by what is shown \(.* in \d+%, by chance in \d+%\): the labels",
        ),
        (
            "estranged",
            r"the first noun names the detector's category in \d+% of regions, by chance in \d+%: the",
        ),
        (
            "same relations",
            r"relations are nearly all the same \(information gain 0% of its maximum; 'spouse' first in 100%\)",
        ),
        ("flat relations", r"images' relations are too flat .*: lower labels.temperature"),
        ("no regions", r"no image has a region, so L_COE would learn nothing: build the corpus with a detector"),
        ("few regions", r"54 of 64 images have no region, and L_COE skips them: lower the detector's threshold"),
        ("unlabelled", r"4 images have no labels: run `promu label` again"),
        ("long list", r"84 of 88 candidates of regions' nouns are never first: .*; keep fewer"),
        ("one candidate", r"images' relations have one candidate, so every label is certain .*: name more"),
    ],
)
def test_each_failure_is_recognised_and_nothing_else(tmp_path: Path, failure: str, sentence: str) -> None:
    regions, captions = one_each(64, 0.6)
    more: dict[str, object] = {}
    if failure.startswith("flat") and failure != "flat relations":
        regions = [[peaked(number % 8, 8, 0.2)] for number in range(64)]
        captions = ["the sun"] * 64 if failure == "flat, no captions" else captions
    elif failure == "same":
        regions = [[peaked(0, 8, 0.6)] for _ in range(64)]
    elif failure == "sharp":
        regions = [[peaked(number % 8, 8, 0.97)] for number in range(64)]
    elif failure == "dominated":
        regions, captions = mixed()
    elif failure == "other images":
        regions, captions = one_each(64, 0.6, step=4)
        regions = [
            [label.index_fill(0, torch.tensor([(number + 4) % 8]), 0.0)] for number, [label] in enumerate(regions)
        ]
    elif failure == "estranged":  # its words go with the captions of other images
        more["words"] = ["pet" if number // 8 % 2 else "vehicle" for number in range(64)]
    elif failure == "same relations":
        more["relations"] = [peaked(1, 4, 0.6) for _ in range(64)]
    elif failure == "flat relations":
        more["relations"] = [peaked(number % 4, 4, 0.3) for number in range(64)]
    elif failure == "no regions":
        regions = [[] for _ in range(64)]
    elif failure == "few regions":
        regions = [row if number < 10 else [] for number, row in enumerate(regions)]
    elif failure == "unlabelled":
        more["labelled"] = 60
    elif failure == "long list":
        nouns = NOUNS + tuple(f"noun{letter}x" for letter in map(chr, range(300, 380)))
        more["names"] = header(nouns)
        regions = [[peaked(number % 4, 88, 0.6)] * 25 for number in range(64)]
        captions = [f"a {NOUNS[number % 4]}" for number in range(64)]
    elif failure == "one candidate":
        more["names"] = header(relations=("spouse",))
        more["relations"] = [torch.ones(1)] * 64
    (found,) = measure(tmp_path, regions, captions, **more).findings  # type: ignore[arg-type]
    assert re.search(sentence, found), found


def test_a_detector_that_x_judges_nobody(tmp_path: Path) -> None:
    """Its word then is part of what would be judged; the figures are there all the same."""
    words = ["pet" if number // 8 % 2 else "vehicle" for number in range(64)]
    health = measure(tmp_path, *one_each(64, 0.6), words=words, names=replace(header(), detector_weight=0.5))
    assert health.healthy and health.detector is not None and health.detector_weight == 0.5
    # of eight nouns two name a pet, and two of the three that name a vehicle are candidates
    assert (health.detector.regions, health.detector.top1) == (64, 0.25)
    assert health.detector.chance1 == pytest.approx(0.25, abs=0.1)


def test_a_detector_that_says_no_candidate_says_nothing(tmp_path: Path) -> None:
    assert measure(tmp_path, *one_each(64, 0.6)).detector is None


def test_a_store_of_another_corpus(tmp_path: Path) -> None:
    health = measure(tmp_path, *one_each(8, 0.6), labelled=1)
    assert health.images == 1 and health.captions is None
    (finding,) = LabelHealth(0, 8, 0, None, None, None, None, 0.0).findings
    assert "made for another corpus" in finding


def test_as_plain_values(tmp_path: Path) -> None:
    values = json.loads(json.dumps(measure(tmp_path, *one_each(8, 0.97)).to_dict(), allow_nan=False))
    assert values["healthy"] is False and len(values["findings"]) == 1
    assert values["entities"]["never"] == 0 and values["entities"]["top"]["dog"] == 0.125
    assert values["captions"]["regions"] == 8 and values["detector"] is None


def judged(captions: Agreement, **changes: Any) -> tuple[str, ...]:
    side = SideHealth(100, 8, 1.0, 0.5, 0.6, 6.0, 0.4, (("dog", 0.3),), ("dog",), ())
    return LabelHealth(100, 0, 0, replace(side, **changes), side, captions, None, 0.0).findings


def test_weak_agreement_over_chance_is_agreement() -> None:
    assert judged(Agreement(100, 0.46, 0.8, 0.4, 0.7)) == ()
    assert len(judged(Agreement(100, 0.42, 0.71, 0.4, 0.7))) == 1
    assert judged(Agreement(40, 0.42, 0.71, 0.4, 0.7)) == ()  # too few to tell


def test_lists_so_short_that_one_of_five_is_always_said() -> None:
    """Chance is certainty then, and the first noun alone decides."""
    assert Agreement(100, 0.9, 1.0, 0.3, 1.0).gain5 == 0
    assert judged(Agreement(100, 0.9, 1.0, 0.3, 1.0)) == ()
    assert len(judged(Agreement(100, 0.3, 1.0, 0.3, 1.0))) == 1
