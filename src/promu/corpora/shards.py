"""Parquet shards of captioned images: what pre-training reads, whatever the corpus was published as.

A corpus is a folder: `corpus.json` says where it came from and what was counted on the way; each
`images-NNNNN.parquet` holds some images, one a row, with everything that belongs to it. An image's bytes are kept
once, however many captions it has. Rows are read by groups, so that a corpus of any size costs the same memory. Each
page carries its checksum, so that a damaged shard is never taken for a sound one.
"""

from __future__ import annotations

import json
import os
from bisect import bisect_right
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any, Self

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from PIL import Image

from promu.corpora.images import load_image
from promu.errors import InputError
from promu.schema import CaptionPair, Region

HEADER = "corpus.json"
GROUP = 16
"""Images a row group: what is read at once when any of them is asked for."""
GROUPS_KEPT = 288
"""Row groups that a reader keeps in memory: a little more than pre-training shuffles among each other."""

_SCHEMA = pa.schema(
    [
        ("image", pa.string()),
        ("bytes", pa.binary()),
        ("width", pa.int32()),
        ("height", pa.int32()),
        ("captions", pa.list_(pa.string())),
        ("matched", pa.list_(pa.bool_())),
        ("boxes", pa.list_(pa.list_(pa.float32()))),
        ("labels", pa.list_(pa.string())),
        ("scores", pa.list_(pa.float32())),
    ]
)
_COUNTS = "promu.counts"
_FAULTS = (pa.ArrowException, OSError, KeyError, TypeError, ValueError)


@dataclass(frozen=True, slots=True)
class CaptionedImage:
    """An image of a corpus with all that belongs to it: one row of a shard.

    `data` is the encoded image; `width` and `height` are its size in pixels once upright, the frame of the regions'
    boxes. `captions` are (text, whether it belongs to the image). `digest` is that of the file it came from, while a
    corpus is built; it is not stored.
    """

    image: str
    data: bytes
    width: int
    height: int
    captions: tuple[tuple[str, bool], ...]
    regions: tuple[Region, ...] = ()
    digest: bytes = b""

    def decode(self, target: tuple[int, int] | None = None) -> Image.Image:
        """The image as upright RGB (`target` as in `load_image`).

        Raises:
            InputError: Its bytes are damaged.
        """
        try:
            return load_image(self.data, target=target)
        except InputError as error:
            raise InputError(f"image {self.image!r} of the corpus: {error.reason}") from None


class ShardWriter:
    """Writes one shard; it is there whole after `close`, or not at all.

    Used as a context manager it closes at the end, and leaves nothing behind after an error.

    Raises:
        InputError: The shard cannot be written, because the disk is full for instance.
    """

    def __init__(self, folder: Path, number: int) -> None:
        self.path = shard_path(folder, number)
        self.images = 0
        self.counts: dict[str, Any] = {}
        """What was counted while the shard was made; `shard_counts` gives it back."""
        self._temporary = self.path.with_suffix(".part")
        self._waiting: list[CaptionedImage] = []
        with self._complaining():
            self._file = self._temporary.open("wb")
            # images are compressed already, and a page of plain bytes is read fastest
            self._writer = pq.ParquetWriter(
                self._file, _SCHEMA, compression="NONE", use_dictionary=False, write_page_checksum=True
            )

    def add(self, image: CaptionedImage) -> None:
        """Append an image."""
        self._waiting.append(image)
        self.images += 1
        if len(self._waiting) == GROUP:
            self._flush()

    def close(self) -> None:
        """Finish the shard and give it its name."""
        self._flush()
        with self._complaining():
            self._writer.add_key_value_metadata({_COUNTS: json.dumps(self.counts)})
            self._writer.close()
            self._file.flush()
            os.fsync(self._file.fileno())  # the name must not outlive the bytes when the power fails
            self._file.close()
            self._temporary.replace(self.path)

    def discard(self) -> None:
        """Leave nothing behind."""
        with suppress(OSError):  # closing writes what is left, and there may be no room for it
            self._writer.close()
        with suppress(OSError):
            self._file.close()
        self._temporary.unlink(missing_ok=True)

    def _flush(self) -> None:
        if self._waiting:
            with self._complaining():
                table = pa.Table.from_pylist([_row(image) for image in self._waiting], schema=_SCHEMA)
                self._writer.write_table(table, row_group_size=GROUP)
            self._waiting.clear()

    @contextmanager
    def _complaining(self) -> Iterator[None]:
        try:
            yield
        except OSError as error:
            reason = error.strerror or " ".join(str(error).split())
            remedy = "make room and run the same command again, what is finished is kept"
            raise InputError(f"this shard cannot be written ({reason}); {remedy}", self.path) from error

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, *_: object) -> None:
        if kind is not None:
            self.discard()
            return
        try:
            self.close()
        except BaseException:
            self.discard()
            raise


def shard_path(folder: Path, number: int) -> Path:
    """Where a shard lies."""
    return folder / f"images-{number:05d}.parquet"


def shard_counts(path: Path) -> dict[str, Any]:
    """The `counts` that the writer of a finished shard gave it; raises for a damaged one."""
    with _opened(path) as file:
        return dict(json.loads(file.metadata.metadata[_COUNTS.encode()]))


def read_shard(path: Path, data: bool = True) -> Iterator[CaptionedImage]:
    """The images of a shard in order, a few in memory at a time; without `data` their bytes are left out.

    Raises:
        InputError: The shard is damaged.
    """
    columns = [name for name in _SCHEMA.names if data or name != "bytes"]
    with _opened(path) as file:
        for batch in file.iter_batches(batch_size=GROUP, columns=columns):
            yield from (_image(row) for row in batch.to_pylist())


def shard_images(path: Path) -> Iterator[str]:
    """The names of the images of a shard in order; raises as `read_shard`."""
    with _opened(path) as file:
        for batch in file.iter_batches(columns=["image"]):
            yield from batch.column("image").to_pylist()


class PairShards:
    """A corpus of caption pairs, read at random without being in memory.

    A row is a pair; the rows of one image follow each other. `header` is what `corpus.json` says, `matched` (rows,)
    whether each pair's caption belongs to its image.

    Raises:
        InputError: The folder holds no corpus, or a damaged shard.
    """

    def __init__(self, folder: str | Path) -> None:
        self.folder = Path(folder)
        self.header = _read_header(self.folder)
        self._shards = sorted(self.folder.glob("images-*.parquet"))
        if not self._shards:
            raise InputError("this corpus has no shard (images-*.parquet); build it again", self.folder)
        counts: list[np.ndarray[Any, Any]] = []
        flags: list[np.ndarray[Any, Any]] = []
        self._groups: list[tuple[int, int]] = []  # (shard, row group) of each group of the corpus
        starts = [0]
        for number, path in enumerate(self._shards):
            with _opened(path) as file:
                if not file.schema_arrow.equals(_SCHEMA):
                    raise ValueError("its columns are not those of a corpus")
                for group in range(file.num_row_groups):
                    self._groups.append((number, group))
                    starts.append(starts[-1] + file.metadata.row_group(group).num_rows)
                matched = file.read(columns=["matched"]).column("matched").combine_chunks()
                counts.append(matched.value_lengths().to_numpy(zero_copy_only=False))
                flags.append(matched.flatten().to_numpy(zero_copy_only=False))
        self._starts = starts  # first image of each group
        self.matched = np.concatenate(flags).astype(bool)
        self._offsets = np.concatenate([[0], np.cumsum(np.concatenate(counts))])  # first pair of each image
        counted = self.header.get("images", self.images)
        if counted != self.images:
            reason = f"{HEADER} counts {counted} images and the shards hold {self.images}; one is missing, or from"
            raise InputError(f"{reason} elsewhere: copy the corpus again or build it again", self.folder)
        if not len(self):
            raise InputError("this corpus holds no caption pair; build it again", self.folder)
        self._group = lru_cache(maxsize=GROUPS_KEPT)(self._read_group)

    def __len__(self) -> int:
        """How many pairs there are."""
        return int(self._offsets[-1])

    def __getitem__(self, row: int) -> CaptionPair:
        """The pair of a row."""
        index = self.image_of(row)
        image = self.image(index)
        return CaptionPair(image.image, *image.captions[row - int(self._offsets[index])])

    @property
    def images(self) -> int:
        """How many images there are."""
        return self._starts[-1]

    def image_of(self, row: int) -> int:
        """The number of the image that a row's pair shows."""
        if not 0 <= row < len(self):
            raise IndexError(f"row {row} of a corpus of {len(self)} pairs")
        return int(np.searchsorted(self._offsets, row, side="right")) - 1

    def rows_of(self, index: int) -> range:
        """The rows of an image's pairs."""
        return range(int(self._offsets[index]), int(self._offsets[index + 1]))

    def image(self, index: int) -> CaptionedImage:
        """An image by its number; neighbours are read along with it and kept for a while."""
        group = bisect_right(self._starts, index) - 1
        return self._group(group)[index - self._starts[group]]

    def pairs(self) -> Iterator[CaptionPair]:
        """Every pair in the order of the rows, without reading an image."""
        for image in self.captions():
            yield from (CaptionPair(image.image, caption, matched) for caption, matched in image.captions)

    def captions(self) -> Iterator[CaptionedImage]:
        """Every image in order with its captions and regions, its `data` left out."""
        for path in self._shards:
            yield from read_shard(path, data=False)

    def _read_group(self, number: int) -> list[CaptionedImage]:
        shard, group = self._groups[number]
        with _opened(self._shards[shard]) as file:
            return [_image(row) for row in file.read_row_group(group).to_pylist()]


def describe_corpora(folder: Path, first: int) -> dict[str, dict[str, Any]]:
    """What a corpus holds, or each part (train, dev) of one that was built with images held out.

    Returns:
        By folder its header, and as "first" its first images with captions and regions, all ready for JSON.
    """
    folders = [folder / part for part in ("train", "dev") if (folder / part / HEADER).is_file()]
    if (folder / HEADER).is_file() or not folders:
        folders = [folder]
    described = {}
    for path in folders:
        shards = PairShards(path)
        images = (shards.image(index) for index in range(min(first, shards.images)))
        described[str(path)] = {**shards.header, "first": [_described(image) for image in images]}
    return described


def _described(image: CaptionedImage) -> dict[str, Any]:
    captions = [{"text": text, "matched": matched} for text, matched in image.captions]
    regions = [{"box": list(one.box), "label": one.label, "score": one.score} for one in image.regions]
    size = {"width": image.width, "height": image.height}
    return {"image": image.image, **size, "captions": captions, "regions": regions}


@contextmanager
def _opened(path: Path) -> Iterator[pq.ParquetFile]:
    """A shard to read from; whatever of it cannot be read is an `InputError`."""
    try:
        with pq.ParquetFile(path, page_checksum_verification=True) as file:
            yield file
    except _FAULTS as error:
        reason = " ".join(str(error).split())
        raise InputError(f"this shard is damaged ({reason}); delete the corpus, build it again", path) from error


def _row(image: CaptionedImage) -> dict[str, Any]:
    return {
        "image": image.image,
        "bytes": image.data,
        "width": image.width,
        "height": image.height,
        "captions": [text for text, _ in image.captions],
        "matched": [matched for _, matched in image.captions],
        "boxes": [region.box for region in image.regions],
        "labels": [region.label for region in image.regions],
        "scores": [region.score for region in image.regions],
    }


def _image(row: dict[str, Any]) -> CaptionedImage:
    captions = tuple(zip(row["captions"], row["matched"], strict=True))
    regions = zip(map(tuple, row["boxes"]), row["labels"], row["scores"], strict=True)
    size = row["width"], row["height"]
    return CaptionedImage(row["image"], row.get("bytes", b""), *size, captions, tuple(Region(*one) for one in regions))


def _read_header(folder: Path) -> dict[str, Any]:
    path = folder / HEADER
    try:
        header = json.loads(path.read_text(encoding="utf-8"))
    except (FileNotFoundError, NotADirectoryError):
        raise InputError(f"no corpus here ({HEADER} is missing); make one with `promu corpus build`", folder) from None
    except ValueError as error:
        raise InputError(f"not a corpus's header ({error}); build the corpus again", path) from None
    if not isinstance(header, dict):
        raise InputError("not a corpus's header; build the corpus again", path)
    return header
