"""Errors put into corpora and labels: as many as asked for, and nothing else is touched."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from promu.alignment.corpus_build import build_corpus
from promu.alignment.corpus_settings import CorpusSettings
from promu.alignment.label_store import ImageLabels, LabelHeader, LabelStore, SparseLabels
from promu.corpora.shards import PairShards
from promu.study.noise import flip_matched, misplace_boxes, shuffle_nouns

NOUNS = tuple(f"noun{index}" for index in range(30))


@pytest.fixture(scope="module")
def corpus(tiny_world: Path, tmp_path_factory: pytest.TempPathFactory) -> PairShards:
    out = tmp_path_factory.mktemp("corpus") / "built"
    pairs = tiny_world / "pairs"
    build_corpus(
        CorpusSettings(
            captions=pairs / "captions.csv",
            images=pairs / "images",
            detector="coco",
            regions=str(pairs / "regions.json"),
        ),
        out,
    )
    return PairShards(out)


def rows(corpus: PairShards) -> list:
    return [corpus.image(index) for index in range(corpus.images)]


def test_misplaced_boxes_keep_size_and_label_and_stay_in_the_image(corpus: PairShards, tmp_path: Path) -> None:
    counts = misplace_boxes(corpus, tmp_path / "wrong", 0.5, seed=3)
    wrong = PairShards(tmp_path / "wrong")
    moved = 0
    for before, after in zip(rows(corpus), rows(wrong), strict=True):
        assert (before.captions, before.data) == (after.captions, after.data)
        for old, new in zip(before.regions, after.regions, strict=True):
            assert (old.label, old.score) == (new.label, new.score)
            for low, high in ((0, 2), (1, 3)):
                assert new.box[high] - new.box[low] == pytest.approx(old.box[high] - old.box[low], abs=1e-4)
            assert min(new.box) >= 0 and new.box[2] <= after.width + 1e-3 and new.box[3] <= after.height + 1e-3
            moved += old.box != new.box
    assert counts == {"items": sum(len(row.regions) for row in rows(corpus)), "wrong": moved}
    assert 0.3 < moved / counts["items"] < 0.7
    # labels of the one are never taken for those of the other
    assert wrong.header["settings"]["detector"] != corpus.header["settings"]["detector"]


def test_the_flag_is_turned_at_the_rate_asked_for(corpus: PairShards, tmp_path: Path) -> None:
    counts = flip_matched(corpus, tmp_path / "wrong", 0.3, seed=3)
    wrong = PairShards(tmp_path / "wrong")
    differing = int((wrong.matched != corpus.matched).sum())
    assert counts == {"items": len(corpus), "wrong": differing} and 0 < differing < len(corpus) / 2
    assert [row.regions for row in rows(wrong)] == [row.regions for row in rows(corpus)]
    assert wrong.header["settings"]["detector"] == corpus.header["settings"]["detector"]


def test_a_rate_of_one_spares_nothing(corpus: PairShards, tmp_path: Path) -> None:
    flip_matched(corpus, tmp_path / "wrong", 1.0, seed=0)
    assert bool((PairShards(tmp_path / "wrong").matched != corpus.matched).all())


def store(folder: Path, images: int) -> LabelStore:
    """Labels of which each tells its region: region 2i and 2i + 1 of image i."""
    header = LabelHeader("teacher", "coco", NOUNS, ("a", "b"), "1", "A", 0.1, 4)
    found = LabelStore(folder, header)
    labels = []
    for index in range(images):
        dense = torch.full((2, len(NOUNS)), 0.01)
        dense[0, 2 * index % 30] = dense[1, (2 * index + 1) % 30] = 0.71
        entities = SparseLabels.from_dense(dense / dense.sum(-1, keepdim=True), 4)
        relation = SparseLabels.from_dense(torch.tensor([[0.25, 0.75]]), 4)
        labels.append(ImageLabels(torch.full((2, 4), index / 100), entities, relation))
    found.add([f"{index}.jpg" for index in range(images)], labels)
    return found


def test_mistaken_nouns_are_the_same_labels_on_other_regions(tmp_path: Path) -> None:
    before = store(tmp_path / "in" / "labels", 15)
    counts = shuffle_nouns(tmp_path / "in", tmp_path / "out", 0.6, seed=1)
    after = LabelStore(tmp_path / "out" / "labels", before.header)
    firsts = [
        [int(labels[image].entities.ids[row, 0]) for image in before.images() for row in (0, 1)]
        for labels in (before, after)
    ]
    assert sorted(firsts[0]) == sorted(firsts[1]) == list(range(30)), "none is lost, none is there twice"
    differing = sum(old != new for old, new in zip(*firsts, strict=True))
    assert counts == {"items": 30, "wrong": differing} and 10 < differing < 26
    for image in before.images():
        assert torch.equal(before[image].boxes, after[image].boxes)
        assert torch.equal(before[image].relation.ids, after[image].relation.ids)


def test_nouns_that_are_all_right_stay_as_they_are(tmp_path: Path) -> None:
    before = store(tmp_path / "in" / "labels", 5)
    assert shuffle_nouns(tmp_path / "in", tmp_path / "out", 0.0, seed=1)["wrong"] == 0
    after = LabelStore(tmp_path / "out" / "labels")
    assert all(torch.equal(before[image].entities.ids, after[image].entities.ids) for image in before.images())
    # a second call finds everything there
    assert shuffle_nouns(tmp_path / "in", tmp_path / "out", 0.0, seed=1)["items"] == 10
    assert len(LabelStore(tmp_path / "out" / "labels")) == 5
