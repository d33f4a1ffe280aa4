"""What a corpus keeps of images, captions and regions of every kind; what it leaves out is counted by reason."""

from __future__ import annotations

import io
from collections.abc import Sequence
from pathlib import Path

import pytest
from PIL import Image
from tests.alignment.corpus_sets import noise, with_, write_rows, write_set
from tests.corpora.test_images import encoded, png_header

from promu.alignment import corpus_build
from promu.alignment.corpus_build import build_corpus
from promu.corpora.shards import PairShards
from promu.errors import InputError
from promu.schema import Region


def test_every_kind_of_image(tmp_path: Path) -> None:
    """Kept or counted by reason; sizes are those of the upright image."""
    settings = write_set(tmp_path, 1)
    images = tmp_path / "images"
    exif = Image.Exif()
    exif[0x0112] = 6
    sound = {
        "alpha.png": encoded(noise(1).convert("RGBA")),
        "palette.gif": encoded(noise(2).convert("P"), "GIF"),
        "cmyk.jpg": encoded(noise(3).convert("CMYK"), "JPEG"),
        "turned.jpg": encoded(noise(4), "JPEG", exif=exif),
        "animated.gif": encoded(noise(5), "GIF", save_all=True, append_images=[noise(6)]),
        "one.png": encoded(noise(7, 1, 1)),
    }
    broken = {
        "giant.png": (png_header(50_000, 50_000), "image too large"),
        "short.jpg": (encoded(noise(8), "JPEG")[:-200], "broken image"),
        "nothing.jpg": (b"", "image of 0 bytes"),
        "page.jpg": (b"<!doctype html>", "broken image"),
    }
    for name, data in {**sound, **{name: data for name, (data, _) in broken.items()}}.items():
        (images / name).write_bytes(data)
    rows = [(name, f"{name} {each}") for name in (*sound, *broken, "absent.jpg") for each in range(2)]
    write_rows(tmp_path, [("image", "caption"), *rows])
    result = build_corpus(with_(settings, missing_images="skip"), tmp_path / "out")
    expected = {"missing image": 2, "broken image": 4, "image too large": 2, "image of 0 bytes": 2}
    assert result["skipped"]["pairs"] == expected
    assert result["read"] == len(rows) == result["kept"] + sum(expected.values())
    assert any("captions.csv:22: image 'absent.jpg': no such" in line for line in result["skipped"]["examples"])
    kept = {image.image: image for image in PairShards(tmp_path / "out").captions()}
    assert list(kept) == list(sound)
    assert (kept["turned.jpg"].width, kept["turned.jpg"].height) == (16, 24)
    assert (kept["one.png"].width, kept["one.png"].height) == (1, 1)
    shards = PairShards(tmp_path / "out")
    for index in range(len(sound)):
        image = shards.image(index)
        assert image.decode().size == (image.width, image.height)
    for name, (_, reason) in broken.items():
        write_rows(tmp_path, [("image", "caption"), ("one.png", "sound"), (name, "a caption")])
        with pytest.raises(InputError, match=rf"captions.csv:3: image '{name}': .*; or leave .*missing_images='skip'"):
            build_corpus(settings, tmp_path / f"out {reason} {name}")


def test_every_kind_of_caption(tmp_path: Path) -> None:
    settings = write_set(tmp_path, 3)
    rows = [
        ("0.png", "😀🎈🦙"),
        ("0.png", "x" * 10_000),
        ("1.png", " "),
        ("1.png", "y" * 1000),
        ("../2.png", "out"),
        ("2.png", "a", "column too many"),
    ]
    write_rows(tmp_path, [("image", "caption"), *rows])
    result = build_corpus(with_(settings, missing_images="skip"), tmp_path / "out")
    assert result["skipped"]["pairs"] == {"malformed row": 2, "caption too long": 1, "empty caption": 1}
    assert (result["read"], result["kept"]) == (6, 2)
    pairs = list(PairShards(tmp_path / "out").pairs())
    assert [pair.caption for pair in pairs] == ["😀🎈🦙", "y" * 1000]
    for row, sentence in ((1, "the caption has 10,000 characters, more than 1,000"), (2, "caption is empty")):
        write_rows(tmp_path, [("image", "caption"), rows[row]])
        with pytest.raises(InputError, match=rf"captions.csv:2: {sentence}"):
            build_corpus(settings, tmp_path / "other")
    assert not (tmp_path / "other").exists()


class StubDetector:
    """Finds the same boxes in every image, and remembers what it was shown."""

    identity = "stub:1"

    def __init__(self, *boxes: tuple[float, float, float, float]) -> None:
        self.boxes = boxes
        self.seen: list[tuple[str, tuple[int, int]]] = []
        self.calls = 0

    def detect(self, images: Sequence[Image.Image], names: Sequence[str]) -> list[list[Region]]:
        self.calls += 1
        self.seen += [(name, image.size) for name, image in zip(names, images, strict=True)]
        return [[Region(box, "thing", 0.5) for box in self.boxes] for _ in images]


def test_regions(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The detector sees upright images in full size, in batches; its boxes come out in the stored image's frame."""
    settings = write_set(tmp_path, 20)
    exif = Image.Exif()
    exif[0x0112] = 6
    (tmp_path / "images" / "3.png").write_bytes(encoded(noise(3, 400, 200), "JPEG", exif=exif))
    detector = StubDetector((2, 4, 12, 10), (-5, 8, 6, 90_000), (500, 500, 600, 600), (0, 0, 0.25, 9))
    monkeypatch.setattr(corpus_build, "build_detector", lambda *given: detector)
    build_corpus(with_(settings, side=100, detector="coco"), tmp_path / "out")
    assert [name for name, _ in detector.seen] == [f"{index}.png" for index in range(20)]
    assert detector.seen[3][1] == (200, 400) and detector.seen[4][1] == (24, 16)
    assert detector.calls == 2
    shards = PairShards(tmp_path / "out")
    small, large = shards.image(4), shards.image(3)
    assert [region.box for region in small.regions] == [(2, 4, 12, 10), (0, 8, 6, 16)]
    assert (large.width, large.height) == large.decode().size == (50, 100)
    assert [region.box for region in large.regions] == [(0.5, 1, 3, 2.5), (0, 2, 1.5, 100)]
    assert shards.header["regions"] == {"kept": 40, "clipped": 20, "dropped": 40}
    assert shards.header["settings"]["detector"] == "stub:1"


def test_side(tmp_path: Path) -> None:
    """Larger images become JPEGs of that size, smaller ones keep their bytes; a big JPEG is not decoded whole."""
    settings = write_set(tmp_path, 2)
    (tmp_path / "images" / "0.png").write_bytes(encoded(noise(0, 640, 320), "JPEG"))
    build_corpus(with_(settings, side=32), tmp_path / "out")
    shards = PairShards(tmp_path / "out")
    first = shards.image(0)
    assert (first.width, first.height) == first.decode().size == (32, 16)
    assert Image.open(io.BytesIO(first.data)).format == "JPEG"
    assert shards.image(1).data == encoded(noise(1))


def test_a_huge_file_is_not_read(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    settings = write_set(tmp_path, 2)
    monkeypatch.setattr(corpus_build, "MAX_BYTES", 5000)
    with (tmp_path / "images" / "1.png").open("ab") as file:
        file.truncate(6000)
    result = build_corpus(with_(settings, missing_images="skip"), tmp_path / "out")
    assert result["skipped"]["pairs"] == {"image too large": 2}


def test_images_none_of_which_can_be_read(tmp_path: Path) -> None:
    settings = write_set(tmp_path, 3)
    for path in settings.image_folder.iterdir():
        path.unlink()
    with pytest.raises(
        InputError, match=r"none of 3 images of this corpus \(train\) can be read, the first: .*no such"
    ):
        build_corpus(with_(settings, missing_images="skip"), tmp_path / "out")
