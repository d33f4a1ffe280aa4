"""Dynamic micro-batching: posts of different requests share a forward pass."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, suppress
from functools import partial
from typing import Generic, TypeVar

Item = TypeVar("Item")
Answer = TypeVar("Answer")


class Batcher(Generic[Item, Answer]):
    """Collects single items and works on them in batches, one batch at a time.

    A batch starts as soon as the worker is free and an item waits. It waits for more, `max_wait` seconds at most, only
    while it has room and other items are announced (`coming`), so that a single request does not wait.
    All methods belong to the event loop's thread; `work` alone runs in another.

    Args:
        work: Items to answers, in their order; an exception goes to every item of the batch.
        max_batch: Items a batch at most.
        max_wait: Seconds.
        on_batch: Called with the size of each batch when it starts.
    """

    def __init__(
        self,
        work: Callable[[Sequence[Item]], Sequence[Answer]],
        max_batch: int,
        max_wait: float,
        on_batch: Callable[[int], None],
    ) -> None:
        self._work, self._max_batch, self._max_wait, self._on_batch = work, max_batch, max_wait, on_batch
        self._waiting: list[tuple[Item, asyncio.Future[Answer]]] = []
        self._coming = 0
        self._changed = asyncio.Event()
        self._closing = False
        self._thread = ThreadPoolExecutor(1, thread_name_prefix="promu-model")
        self._task = asyncio.get_running_loop().create_task(self._run())

    @contextmanager
    def coming(self) -> Iterator[None]:
        """Announce one more item, as long as this is open."""
        self._coming += 1
        try:
            yield
        finally:
            self._coming -= 1
            self._changed.set()

    async def submit(self, item: Item) -> Answer:
        """The answer for `item`. If this is cancelled before a batch takes the item, it is never worked on.

        Raises:
            Whatever `work` raises for the batch that it was in.
        """
        answer: asyncio.Future[Answer] = asyncio.get_running_loop().create_future()
        job = (item, answer)
        self._waiting.append(job)
        self._changed.set()
        try:
            return await answer
        finally:
            if job in self._waiting:
                self._waiting.remove(job)

    async def close(self) -> None:
        """Answer all submitted items, then stop."""
        self._closing = True
        self._changed.set()
        await self._task
        self._thread.shutdown()

    async def _run(self) -> None:
        loop = asyncio.get_running_loop()
        while True:
            while not self._waiting and not self._closing:
                await self._next_change()
            if not self._waiting:
                return
            await self._fill()
            batch, self._waiting = self._waiting[: self._max_batch], self._waiting[self._max_batch :]
            if not batch:  # all of it was cancelled meanwhile
                continue
            self._on_batch(len(batch))
            running = loop.run_in_executor(self._thread, self._work, [item for item, _ in batch])
            running.add_done_callback(partial(_deliver, [answer for _, answer in batch]))
            await asyncio.wait({running})

    async def _fill(self) -> None:
        """Wait for announced items."""
        with suppress(TimeoutError):
            async with asyncio.timeout(self._max_wait):
                while self._coming and len(self._waiting) < self._max_batch:
                    await self._next_change()

    async def _next_change(self) -> None:
        self._changed.clear()
        await self._changed.wait()


def _deliver(answers: Sequence[asyncio.Future[Answer]], running: asyncio.Future[Sequence[Answer]]) -> None:
    error = running.exception()
    for place, answer in enumerate(answers):
        if answer.done():  # cancelled meanwhile
            continue
        if error is not None:
            answer.set_exception(error)
        else:
            answer.set_result(running.result()[place])
