"""Work on images done once: what is made of an image is kept by its content, within a bound in bytes.

Posts share images: what is posted again, with other words or under another name, has the same bytes. Three kinds of
work are kept (`WORK`): *decode* makes the pixels that a model takes of a file's bytes, *encode* the vision encoder's
vectors of pixels, *describe* a captioner's sentence. A key is a checksum of the content, never a name, together with
the settings of the work. So an answer is the same whether its image was seen before or not.
"""

from __future__ import annotations

import hashlib
import sys
from collections import Counter, OrderedDict
from collections.abc import Callable, Hashable, Mapping, Sequence
from threading import Condition
from typing import Any, NamedTuple

import numpy as np

from promu.tasks.predictor import EncodedImages, Predictor

WORK = ("decode", "encode", "describe")
"""The kinds of work that are kept."""


class ImageCounts(NamedTuple):
    """How often work on an image was asked for.

    Attributes:
        hits: What was made before, or was made at that moment for another post, was taken.
        misses: It was made.
    """

    hits: int
    misses: int


class ImageCache:
    """What was made of images, by content. Threads may share it; they never make the same thing at the same time.

    What was not used for the longest time is dropped first. Who asks says how many bytes may be kept from then on, so
    that a bound is an option of a call (`ExtractionConfig.image_cache_mib`).

    Attributes:
        bytes: Of memory that is taken now, without that of the keys.

    Example:
        >>> cache, made = ImageCache(), []
        >>> def length(places):
        ...     made.extend(places)
        ...     return [5 for _ in places]
        >>> cache.once("decode", ["a", "b", "a"], length, budget=1000), made
        ([5, 5, 5], [0, 1])
        >>> cache.once("decode", ["b"], length, budget=1000), made
        ([5], [0, 1])
        >>> cache.counts()["decode"]
        ImageCounts(hits=2, misses=2)
    """

    def __init__(self) -> None:
        self.bytes = 0
        self._kept: OrderedDict[Hashable, Any] = OrderedDict()
        self._making: set[Hashable] = set()
        self._changed = Condition()
        self._hits: Counter[str] = Counter()
        self._misses: Counter[str] = Counter()

    def counts(self) -> dict[str, ImageCounts]:
        """Hits and misses of each kind of work since this was made."""
        with self._changed:
            return {work: ImageCounts(self._hits[work], self._misses[work]) for work in WORK}

    def once(
        self, work: str, keys: Sequence[Hashable], make: Callable[[list[int]], Sequence[Any]], budget: int
    ) -> list[Any]:
        """The value of each key: what is kept of it, or what is made now, once for equal keys.

        Args:
            work: One of `WORK`.
            keys: Of contents and settings; they may repeat.
            make: From places in `keys`, one for each value that is not there, to these values. What it raises is
                passed on, and other threads that wait for these values then make their own.
            budget: Bytes that may be kept. 0 keeps nothing beyond this call.
        """
        places = {(work, key): place for place, key in reversed(list(enumerate(keys)))}
        values: dict[Hashable, Any] = {}
        with self._changed:
            for key in places:
                if key in self._kept:
                    self._kept.move_to_end(key)
                    values[key] = self._kept[key]
            mine = sorted(places.keys() - values.keys() - self._making, key=places.__getitem__)
            self._making.update(mine)
            self._misses[work] += len(mine)
            self._hits[work] += len(keys) - len(places) + len(values)
        try:
            if mine:
                values.update(zip(mine, make([places[key] for key in mine]), strict=True))
        finally:
            with self._changed:
                self._keep({key: values[key] for key in mine if key in values}, budget)
                self._making.difference_update(mine)
                self._changed.notify_all()
        for key in places.keys() - values.keys():
            values[key] = self._made_elsewhere(work, key, places[key], make, budget)
        return [values[work, key] for key in keys]

    def encode(self, predictor: Predictor, pixels: Mapping[int, Any], budget: int) -> EncodedImages:
        """The vectors of images: bytes (3, S, S) by the post's number, each content encoded once.

        On a CPU each is encoded alone, which costs large encoders nothing. So its vectors are the same to the last bit
        whatever was kept, and a bulk run that was stopped and goes on gives the same file.

        Args:
            predictor: What encodes; this cache serves at most one for each task.
            pixels: As for `Predictor.encode_images`.
            budget: As for `once`.
        """
        if not pixels:
            return EncodedImages()
        numbers = list(pixels)
        keys = [(predictor.task.name, checksum(pixels[number])) for number in numbers]

        def make(places: list[int]) -> list[Any]:
            given = {place: pixels[numbers[place]] for place in places}
            alone = predictor.device.type == "cpu"
            batches = [{place: one} for place, one in given.items()] if alone else [given]
            found: list[Any] = []
            for batch in batches:
                encoded = predictor.encode_images(batch)
                assert encoded.vectors is not None
                found += map(_copy, encoded.vectors)  # none holds the memory of all
            return found

        vectors = dict(zip(keys, self.once("encode", keys, make, budget), strict=True))
        rows = {key: row for row, key in enumerate(vectors)}
        stacked = _stack(list(vectors.values()))
        return EncodedImages(stacked, {number: rows[key] for number, key in zip(numbers, keys, strict=True)})

    def _keep(self, values: Mapping[Hashable, Any], budget: int) -> None:
        """Keep what was made, unless it alone is too large, and drop what there is no more room for."""
        for key, value in values.items():
            if _bytes_of(value) <= budget:
                self._kept[key] = value
                self.bytes += _bytes_of(value)
        while self.bytes > budget:
            _, dropped = self._kept.popitem(last=False)
            self.bytes -= _bytes_of(dropped)

    def _made_elsewhere(
        self, work: str, key: Any, place: int, make: Callable[[list[int]], Sequence[Any]], budget: int
    ) -> Any:
        """A value that another thread is making; made here where that fails, or keeps nothing."""
        with self._changed:
            self._changed.wait_for(lambda: key not in self._making)
            if key in self._kept:
                self._hits[work] += 1
                return self._kept[key]
        (value,) = self.once(work, [key[1]], lambda _: make([place]), budget)
        return value


def checksum(content: Any) -> str:
    """SHA-256 of the content of an image: a file's bytes, or an array of pixels with its shape."""
    if isinstance(content, bytes):
        return hashlib.sha256(content).hexdigest()
    values = np.ascontiguousarray(content)
    return hashlib.sha256(values.data).hexdigest() + "x".join(map(str, values.shape))


def _copy(vectors: Any) -> Any:
    return vectors.copy() if isinstance(vectors, np.ndarray) else vectors.clone()


def _stack(vectors: list[Any]) -> Any:
    """Arrays as an array, tensors of PyTorch, which is there then, as a tensor on their device."""
    return np.stack(vectors) if isinstance(vectors[0], np.ndarray) else sys.modules["torch"].stack(vectors)


def _bytes_of(value: Any) -> int:
    return int(value.nbytes) if hasattr(value, "nbytes") else sys.getsizeof(value)
