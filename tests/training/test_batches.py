"""Which samples a step reads: each row once an epoch, the same batches for any number of processes."""

from __future__ import annotations

from collections import Counter
from itertools import islice
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from tests.factories import captioned, write_corpus

from promu.corpora.shards import PairShards
from promu.training import batches as module
from promu.training.batches import CorpusOrder, Sample, Shuffled, StepBatches, rng_of


@given(
    rows=st.integers(1, 40),
    size=st.integers(1, 12),
    epochs=st.sampled_from([0.5, 1.0, 1.5, 3.0]),
    processes=st.integers(1, 4),
)
def test_the_processes_share_the_batches_of_one(rows: int, size: int, epochs: float, processes: int) -> None:
    alone = list(StepBatches(Shuffled(rows), size, epochs, seed=1))
    shares = [list(StepBatches(Shuffled(rows), size, epochs, 1, number, processes)) for number in range(processes)]
    assert all(len(share) == len(alone) for share in shares)
    for step, whole in enumerate(alone):
        parts = [share[step] for share in shares]
        assert [sample for part in parts for sample in part if sample.counts] == whole
        assert all(parts), "a process without a row"
        assert max(map(len, parts)) - min(map(len, parts)) <= 1


@given(rows=st.integers(1, 40), size=st.integers(1, 12))
def test_an_epoch_reads_every_row_once(rows: int, size: int) -> None:
    batches = StepBatches(Shuffled(rows), size, 2, seed=0)
    seen = Counter((sample.epoch, sample.row) for batch in batches for sample in batch)
    assert seen == Counter({(epoch, row): 1 for epoch in range(2) for row in range(rows)})
    assert batches.samples_until(len(batches)) == 2 * rows
    assert batches.samples_until(1) == min(size, rows)


def test_steps_say_how_long_in_place_of_epochs() -> None:
    asked = list(StepBatches(Shuffled(10), 4, 1, seed=0, steps=7))
    assert len(asked) == 7 and asked == list(islice(StepBatches(Shuffled(10), 4, 5, seed=0), 7))


def test_epochs_and_seeds_have_other_orders() -> None:
    order = Shuffled(50)
    orders = [list(order.epoch(seed, epoch)) for seed in range(2) for epoch in range(2)]
    assert len({tuple(rows) for rows in orders}) == 4
    assert list(order.epoch(0, 0)) == orders[0]


@pytest.fixture
def corpus(tmp_path: Path) -> PairShards:
    return write_corpus(tmp_path / "corpus", captioned())


@pytest.mark.parametrize("window", [2, 4096])
def test_a_corpus_is_read_whole_whatever_the_window(
    corpus: PairShards, window: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "GROUP", 2)
    monkeypatch.setattr(module, "WINDOW", window)
    order = CorpusOrder(corpus)
    assert len(order) == len(corpus)
    assert sorted(order.epoch(0, 0)) == list(range(len(corpus)))
    assert list(order.epoch(0, 0)) != list(order.epoch(0, 1))


def test_images_of_a_window_lie_together(corpus: PairShards, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "GROUP", 2)
    monkeypatch.setattr(module, "WINDOW", 2)
    images = [corpus.image_of(row) for row in CorpusOrder(corpus).epoch(0, 0)]
    changes = sum(a // 2 != b // 2 for a, b in zip(images, islice(images, 1, None), strict=False))
    assert changes == (corpus.images + 1) // 2 - 1


def test_matched_pairs_alone(corpus: PairShards) -> None:
    order = CorpusOrder(corpus, matched_only=True)
    rows = list(order.epoch(0, 0))
    assert sorted(rows) == [row for row in range(len(corpus)) if corpus[row].matched]
    assert len(order) == len(rows) < len(corpus)


def test_chance_belongs_to_seed_epoch_and_row() -> None:
    samples = [(seed, Sample(epoch, row)) for seed in range(2) for epoch in range(2) for row in range(2)]
    assert len({rng_of(*sample).random() for sample in samples}) == 8
    assert rng_of(0, Sample(1, 2)).random() == rng_of(0, Sample(1, 2, counts=False)).random()
