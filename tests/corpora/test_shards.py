"""Shards: what is written comes back, at random and in order; what is damaged is named."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from promu.corpora.shards import (
    GROUP,
    HEADER,
    CaptionedImage,
    PairShards,
    ShardWriter,
    read_shard,
    shard_counts,
    shard_images,
)
from promu.errors import InputError
from promu.schema import CaptionPair, Region


def image(number: int) -> CaptionedImage:
    """An image with one to three captions, the last of three falsified, and a region on every other one."""
    captions = tuple((f"caption {caption} of {number} 🎈", caption < 2) for caption in range(1 + number % 3))
    regions = (Region((0.5, 1.0, 3.0, 4.25), "dog", 0.75),) if number % 2 else ()
    return CaptionedImage(f"{number}.jpg", bytes([number % 256]) * 100, 8 + number, 6, captions, regions)


def write(folder: Path, *shards: range) -> list[CaptionedImage]:
    folder.mkdir(exist_ok=True)
    for number, images in enumerate(shards):
        with ShardWriter(folder, number) as shard:
            for index in images:
                shard.add(image(index))
            shard.counts = {"skipped": number}
    (folder / HEADER).write_text("{}")
    return [image(index) for images in shards for index in images]


def test_what_is_written_comes_back(tmp_path: Path) -> None:
    """In order and at random, over several groups and shards, one of them empty."""
    expected = write(tmp_path, range(GROUP + 3), range(0), range(100, 105))
    shards = PairShards(tmp_path)
    assert shards.images == len(expected)
    assert [shards.image(index) for index in reversed(range(len(expected)))] == expected[::-1]
    pairs = [CaptionPair(row.image, text, matched) for row in expected for text, matched in row.captions]
    assert [shards[row] for row in range(len(shards))] == pairs == list(shards.pairs())
    assert [row.image for row in shards.captions()] == [row.image for row in expected]
    assert all(row.data == b"" for row in shards.captions())
    for index in (0, 1, 5, len(expected) - 1):
        assert [shards.image_of(row) for row in shards.rows_of(index)] == [index] * len(expected[index].captions)
    with pytest.raises(IndexError, match="of a corpus of"):
        shards[len(pairs)]


def test_a_shard_alone(tmp_path: Path) -> None:
    expected = write(tmp_path, range(GROUP + 1), range(3))
    path = tmp_path / "images-00000.parquet"
    assert list(read_shard(path)) == expected[: GROUP + 1]
    assert list(shard_images(path)) == [row.image for row in expected[: GROUP + 1]]
    assert shard_counts(tmp_path / "images-00001.parquet") == {"skipped": 1}


def test_a_shard_is_whole_or_not_there(tmp_path: Path) -> None:
    with pytest.raises(ZeroDivisionError), ShardWriter(tmp_path, 0) as shard:
        for index in range(GROUP + 1):
            shard.add(image(index))
        raise ZeroDivisionError
    assert list(tmp_path.iterdir()) == []
    with pytest.raises(InputError, match=r"images-00000.parquet: this shard cannot be written \(No such file"):
        ShardWriter(tmp_path / "nowhere", 0)


@pytest.mark.parametrize("left", [0, 3, 200, -1])
def test_a_shard_cut_short(tmp_path: Path, left: int) -> None:
    write(tmp_path, range(5), range(5, 10))
    path = tmp_path / "images-00001.parquet"
    path.write_bytes(path.read_bytes()[:left])
    for read in (PairShards, lambda folder: shard_counts(path), lambda folder: list(read_shard(path))):
        with pytest.raises(InputError, match=r"images-00001.parquet: this shard is damaged .* build it again"):
            read(tmp_path)


def test_a_damaged_row_group(tmp_path: Path) -> None:
    """One flipped bit in an image's bytes is noticed when that image is read, and not before."""
    write(tmp_path, range(40, 45))
    path = tmp_path / "images-00000.parquet"
    data = bytearray(path.read_bytes())
    data[data.index(bytes([42]) * 100) + 50] ^= 1
    path.write_bytes(data)
    shards = PairShards(tmp_path)
    assert len(list(shards.captions())) == 5
    with pytest.raises(InputError, match=r"images-00000.parquet: this shard is damaged"):
        shards.image(2)


def test_headers(tmp_path: Path) -> None:
    write(tmp_path, range(5), range(5, 10))
    header = tmp_path / HEADER
    header.write_text(json.dumps({"images": 10, "from": "here"}))
    assert PairShards(tmp_path).header["from"] == "here"
    (tmp_path / "images-00001.parquet").unlink()
    with pytest.raises(InputError, match="counts 10 images and the shards hold 5; one is missing"):
        PairShards(tmp_path)
    (tmp_path / "images-00000.parquet").unlink()
    with pytest.raises(InputError, match="this corpus has no shard"):
        PairShards(tmp_path)
    for text in ("[]", "{"):
        header.write_text(text)
        with pytest.raises(InputError, match="not a corpus's header"):
            PairShards(tmp_path)
    header.unlink()
    with pytest.raises(InputError, match=r"no corpus here \(corpus.json is missing\); make one with `promu corpus"):
        PairShards(tmp_path)
    with pytest.raises(InputError, match="no corpus here"):
        PairShards(tmp_path / "nowhere")


def test_a_corpus_without_a_pair(tmp_path: Path) -> None:
    write(tmp_path, range(0))
    with pytest.raises(InputError, match="holds no caption pair"):
        PairShards(tmp_path)


def test_a_file_of_something_else(tmp_path: Path) -> None:
    import pyarrow as pa
    import pyarrow.parquet as pq

    write(tmp_path, range(5))
    pq.write_table(pa.table({"a": [1, 2]}), tmp_path / "images-00001.parquet")
    with pytest.raises(InputError, match=r"images-00001.parquet: .*its columns are not those of a corpus"):
        PairShards(tmp_path)


def test_broken_bytes_of_a_image_name_it(tmp_path: Path) -> None:
    write(tmp_path, range(1))
    with pytest.raises(InputError, match=r"image '0.jpg' of the corpus: not an image"):
        PairShards(tmp_path).image(0).decode()
