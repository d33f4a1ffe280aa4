"""Which samples a step reads: the same whole batches whatever the number of processes, and after any interruption."""

from __future__ import annotations

import itertools
import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
from torch.utils.data import Sampler

from promu.corpora.shards import GROUP, PairShards

WINDOW = 4096
"""Images that are shuffled among each other; a corpus of fewer is shuffled as a whole."""


@dataclass(frozen=True, slots=True)
class Sample:
    """A row in an epoch; `counts` is False where it only fills up a process's part of a batch."""

    epoch: int
    row: int
    counts: bool = True


def rng_of(seed: int, sample: Sample) -> np.random.Generator:
    """The random numbers of one sample: they depend on the seed, the epoch and the row alone."""
    return np.random.Generator(np.random.Philox(key=[seed, sample.epoch * 2**40 + sample.row]))


class Shuffled:
    """The order in which an epoch reads the rows of a data set that is in memory: shuffled."""

    def __init__(self, rows: int) -> None:
        self.rows = rows

    def __len__(self) -> int:
        """Rows an epoch."""
        return self.rows

    def epoch(self, seed: int, number: int) -> Iterator[int]:
        """The rows of the epoch with this number."""
        yield from np.random.default_rng([seed, number]).permutation(self.rows).tolist()


class MixedOrder:
    """The rows of several sets, one after the other, as an epoch mixes them.

    Each set is read in an order of its own, shuffled anew each time through. An epoch goes on where the last stopped,
    so that a set of which an epoch has only a part is read whole before a row comes again.

    Args:
        sizes: Rows of each set.
        counts: Rows of each set that an epoch has.

    Example:
        ```python
        from promu.training.batches import MixedOrder

        order = MixedOrder([2, 4], [3, 3])
        rows = list(order.epoch(0, 0))
        assert len(rows) == 6 and {0, 1} <= set(rows)
        ```
    """

    def __init__(self, sizes: Sequence[int], counts: Sequence[int]) -> None:
        self.sizes, self.counts = tuple(sizes), tuple(counts)

    def __len__(self) -> int:
        return sum(self.counts)

    def epoch(self, seed: int, number: int) -> Iterator[int]:
        """As `Shuffled.epoch`."""
        chosen: list[int] = []
        for place, (size, count) in enumerate(zip(self.sizes, self.counts, strict=True)):
            first = sum(self.sizes[:place])
            start, stop = number * count, (number + 1) * count
            for turn in range(start // size, -(-stop // size)):
                rows = np.random.default_rng([seed, place, turn]).permutation(size) + first
                chosen += rows[max(start - turn * size, 0) : stop - turn * size].tolist()
        yield from np.random.default_rng([seed, number]).permutation(np.array(chosen)).tolist()


def shares(sizes: Sequence[int], weights: Sequence[float]) -> list[int]:
    """How many rows an epoch has of each set, by weights; as many as there are together, one of each at least.

    Example:
        ```python
        from promu.training.batches import shares

        assert shares([30, 10], [1, 1]) == [20, 20]
        ```
    """
    return [max(1, round(sum(sizes) * weight / sum(weights))) for weight in weights]


class CorpusOrder:
    """The pairs of a corpus, or the matched ones, shuffled within windows of images that are near each other on disk.

    Blocks of neighbouring images are shuffled first, so that every epoch has other windows.
    """

    def __init__(self, corpus: PairShards, matched_only: bool = False) -> None:
        self.corpus = corpus
        self.matched_only = matched_only

    def __len__(self) -> int:
        return int(self.corpus.matched.sum()) if self.matched_only else len(self.corpus)

    def epoch(self, seed: int, number: int) -> Iterator[int]:
        """As `Shuffled.epoch`."""
        rng = np.random.default_rng([seed, number])
        blocks = rng.permutation(math.ceil(self.corpus.images / GROUP))
        for start in range(0, len(blocks), WINDOW // GROUP):
            within = (range(block * GROUP, (block + 1) * GROUP) for block in blocks[start : start + WINDOW // GROUP])
            images = (index for block in within for index in block if index < self.corpus.images)
            rows = np.array([row for index in images for row in self.corpus.rows_of(index)])
            if self.matched_only:
                rows = rows[self.corpus.matched[rows]]
            rng.shuffle(rows)
            yield from rows.tolist()


Order = Shuffled | MixedOrder | CorpusOrder


class StepBatches(Sampler[list[Sample]]):
    """Every step's batch of a run, as the part of it that one process reads.

    An epoch's last batch holds what is left and may be smaller. A process that a small batch leaves without a row
    reads one that does not count.

    Args:
        order: What an epoch reads.
        batch_size: Rows a step, over all processes.
        epochs: How many epochs, also a fraction.
        seed: Of the order.
        process, processes: Which part.
        steps: How many steps, in place of the epochs.
    """

    def __init__(
        self,
        order: Order,
        batch_size: int,
        epochs: float,
        seed: int,
        process: int = 0,
        processes: int = 1,
        steps: int | None = None,
    ) -> None:
        self.order = order
        self.batch_size = batch_size
        self.seed = seed
        self.process = process
        self.processes = processes
        self.steps_per_epoch = math.ceil(len(order) / batch_size)
        self.steps = max(1, math.ceil(self.steps_per_epoch * epochs)) if steps is None else steps

    def __len__(self) -> int:
        return self.steps

    def __iter__(self) -> Iterator[list[Sample]]:
        for step, (epoch, rows) in enumerate(self._whole_batches()):
            if step == self.steps:
                return
            part = np.array_split(np.array(rows), self.processes)[self.process].tolist()
            yield [Sample(epoch, row) for row in part] or [Sample(epoch, rows[0], counts=False)]

    def samples_until(self, step: int) -> int:
        """How many samples all processes have read after `step` steps."""
        epochs, steps = divmod(step, self.steps_per_epoch)
        return epochs * len(self.order) + min(steps * self.batch_size, len(self.order))

    def _whole_batches(self) -> Iterator[tuple[int, Sequence[int]]]:
        for epoch in itertools.count():
            rows = self.order.epoch(self.seed, epoch)
            while batch := list(itertools.islice(rows, self.batch_size)):
                yield epoch, batch
