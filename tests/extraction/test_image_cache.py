"""Work on images is done once for one content, within a bound, by whatever threads; and answers do not change."""

from __future__ import annotations

import json
import threading
import time
from collections import Counter
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image
from tests.factories import TEXTS

from promu import ExtractionConfig, Extractor
from promu.cli import main
from promu.contexts import captioning
from promu.corpora.images import load_image
from promu.errors import InputError
from promu.extraction.image_cache import ImageCache, ImageCounts, checksum
from promu.extraction.request import ImageReader, to_post
from promu.modeling.inputs import to_pixels
from promu.tasks.torch_predictor import TorchPredictor


@pytest.fixture
def done(monkeypatch: pytest.MonkeyPatch) -> Iterator[Counter[str]]:
    """How many images were decoded, shrunk and encoded."""
    counts: Counter[str] = Counter()
    encode, load, shrink = TorchPredictor._encode_images, load_image, to_pixels

    def encoding(self: Any, pixels: Any) -> Any:
        counts["encoded"] += len(pixels)
        return encode(self, pixels)

    def loading(*given: Any) -> Any:
        counts["decoded"] += 1
        return load(*given)

    def shrinking(*given: Any) -> Any:
        counts["shrunk"] += 1
        return shrink(*given)

    monkeypatch.setattr(TorchPredictor, "_encode_images", encoding)
    monkeypatch.setattr("promu.extraction.request.load_image", loading)
    monkeypatch.setattr("promu.extraction.request.to_pixels", shrinking)
    yield counts


@pytest.fixture
def fresh(tiny_models: Path) -> Extractor:
    """An extractor that has seen no image."""
    return Extractor.from_pretrained(tiny_models / "ner", device="cpu")


def scores(found: Any) -> list[float]:
    return [one.score for one in (*found.entities, *found.relations)]


def test_two_posts_with_the_same_bytes_are_encoded_once(
    fresh: Extractor, tiny_models: Path, images: Path, tmp_path: Path, done: Counter[str]
) -> None:
    (tmp_path / "copy.png").write_bytes((images / "0.png").read_bytes())
    given = [(TEXTS[0], images / "0.png"), (TEXTS[1], tmp_path / "copy.png")]
    alone = [Extractor.from_pretrained(tiny_models / "ner", device="cpu")(*one) for one in given]
    assert done == {"decoded": 2, "shrunk": 2, "encoded": 2}
    done.clear()
    texts, files = zip(*given, strict=True)
    together = fresh(list(texts), list(files))
    one_by_one = [fresh(*one) for one in given]
    again = fresh(TEXTS[2], (images / "0.png").read_bytes())
    assert done == {"decoded": 1, "shrunk": 1, "encoded": 1}
    assert fresh.images.counts() == {"decode": (4, 1), "encode": (4, 1), "describe": (0, 0)}
    assert any(scores(found) for found in alone)
    for expected, *others in zip(alone, together, one_by_one, strict=True):
        for found in others:
            assert found.triples() == expected.triples() and found.image_read
            assert scores(found) == pytest.approx(scores(expected), abs=1e-6)
    assert again.image_read
    fresh(TEXTS[0], images / "1.png")
    assert done == {"decoded": 2, "shrunk": 2, "encoded": 2}


def test_a_bulk_run_says_what_was_shared(
    tiny_models: Path, images: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    posts = [{"text": text, "image": "0.png"} for text in TEXTS[:3]]
    (tmp_path / "posts.jsonl").write_text("".join(json.dumps(post) + "\n" for post in posts))
    words = ["extract", "--model", str(tiny_models / "ner"), "--device", "cpu", "--images", str(images)]
    assert main([*words, "--input", str(tmp_path / "posts.jsonl"), "--out", str(tmp_path / "out.jsonl")]) == 0
    assert "note: images encoded by all models: 1; shared by posts of the same image: 2\n" in capsys.readouterr().err


def test_a_file_that_changes_is_another_image(fresh: Extractor, images: Path, tmp_path: Path) -> None:
    file = tmp_path / "photo.png"
    for name in ("0.png", "1.png"):
        file.write_bytes((images / name).read_bytes())
        assert scores(fresh(TEXTS[0], file)) == pytest.approx(scores(fresh(TEXTS[0], images / name)), abs=1e-6)
    assert fresh.images.counts()["encode"].misses == 2


def test_opened_images_share_what_the_encoder_makes_of_them(fresh: Extractor, images: Path, done: Counter[str]) -> None:
    with Image.open(images / "0.png") as opened:
        found = fresh([TEXTS[0]] * 3, [opened, images / "0.png", opened])
    assert done["encoded"] == 1
    assert scores(found[0]) == pytest.approx(scores(found[1]), abs=1e-6)


def test_the_bound_holds_and_0_keeps_nothing(fresh: Extractor, images: Path, done: Counter[str]) -> None:
    names = [images / f"{number}.png" for number in range(3)]
    fresh([TEXTS[0]] * 6, names * 2, image_cache_mib=0)
    assert done["encoded"] == 3 and fresh.images.bytes == 0  # within a batch there is nothing to keep
    fresh([TEXTS[0]] * 3, names, image_cache_mib=0)
    assert done["encoded"] == 6
    fresh([TEXTS[0]] * 3, names, image_cache_mib=1)
    assert 0 < fresh.images.bytes <= 2**20
    with pytest.raises(InputError, match="image_cache_mib is -1; at least 0 is needed"):
        fresh(TEXTS[0], names[0], image_cache_mib=-1)


def test_what_was_not_used_for_longest_is_dropped_first() -> None:
    cache = ImageCache()

    def arrays(places: Sequence[int]) -> list[np.ndarray]:
        return [np.zeros(100, np.uint8) for _ in places]

    for key in ("a", "b", "a", "c"):  # two fit
        cache.once("decode", [key], arrays, budget=200)
    assert cache.bytes == 200 and cache.counts()["decode"] == ImageCounts(hits=1, misses=3)
    cache.once("decode", ["a", "c"], arrays, budget=200)
    assert cache.counts()["decode"] == ImageCounts(hits=3, misses=3)
    cache.once("decode", ["large"], lambda _: [np.zeros(201, np.uint8)], budget=200)  # it does not drive out others
    cache.once("decode", ["c"], arrays, budget=200)
    cache.once("decode", ["a"], arrays, budget=100)  # a smaller bound counts from then on
    assert cache.bytes == 100 and cache.counts()["decode"] == ImageCounts(hits=5, misses=4)
    cache.once("encode", ["a"], arrays, budget=100)  # another kind of work
    assert cache.counts()["encode"] == ImageCounts(hits=0, misses=1)


def test_threads_make_each_thing_once() -> None:
    cache, made, start = ImageCache(), Counter[int](), threading.Barrier(8)
    keys = list(range(20))

    def work(number: int) -> list[int]:
        start.wait()
        order = np.random.default_rng(number).permutation(20).tolist()
        for chunk in (order[at : at + 4] for at in range(0, 20, 4)):

            def make(places: list[int], chunk: list[int] = chunk) -> list[bytes]:
                made.update(chunk[place] for place in places)
                time.sleep(0.001)
                return [bytes([chunk[place]]) for place in places]

            assert cache.once("encode", chunk, make, 2**20) == [bytes([key]) for key in chunk]
        return order

    with ThreadPoolExecutor(8) as pool:
        list(pool.map(work, range(8)))
    assert made == dict.fromkeys(keys, 1)
    assert cache.counts()["encode"] == ImageCounts(hits=140, misses=20)


def test_who_waits_for_work_that_fails_does_it_again() -> None:
    cache, waiting = ImageCache(), threading.Event()

    def fail(_: list[int]) -> list[Any]:
        waiting.set()
        time.sleep(0.02)
        raise RuntimeError("no memory")

    with ThreadPoolExecutor(1) as pool:
        failing = pool.submit(cache.once, "decode", ["a"], fail, 100)
        waiting.wait()
        assert cache.once("decode", ["a"], lambda _: [b"a"], 100) == [b"a"]
        with pytest.raises(RuntimeError, match="no memory"):
            failing.result()
    assert cache.counts()["decode"] == ImageCounts(hits=0, misses=2)


def test_a_broken_image_is_told_by_its_own_name_each_time(fresh: Extractor, tmp_path: Path) -> None:
    for name in ("a.png", "b.png"):
        (tmp_path / name).write_bytes(b"nothing")
        with pytest.raises(InputError, match=rf"^{tmp_path / name}: not an image"):
            fresh(TEXTS[0], tmp_path / name)
    with pytest.raises(InputError, match=r"gone\.png: no such image"):
        fresh(TEXTS[0], tmp_path / "gone.png")


def test_an_image_that_was_seen_is_refused_all_the_same_where_it_is_too_large(fresh: Extractor, images: Path) -> None:
    fresh(TEXTS[0], images / "0.png")
    with pytest.raises(InputError, match="48 x 40 pixels, more than 100"):
        fresh(TEXTS[0], images / "0.png", max_pixels=100)


def test_a_described_image_is_decoded_once_and_described_once(
    fresh: Extractor, images: Path, done: Counter[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    said: list[tuple[int, int]] = []

    def captioner(model: str) -> captioning.Captioner:
        assert model == "some/model"

        def say(shown: Sequence[Image.Image]) -> list[str]:
            said.extend(image.size for image in shown)
            return [f"photo of {image.width}" for image in shown]

        return say

    monkeypatch.setattr(captioning, "image_to_text", captioner)
    reader = ImageReader(ImageCache(), [_Reads()], frozenset({16, 32}))  # type: ignore[list-item]
    config = ExtractionConfig(captioner="some/model")
    first, second = (reader.request(to_post(text, "1"), images / "0.png", config) for text in (TEXTS[0], TEXTS[1]))
    assert first.post.contexts == second.post.contexts == {"image": "photo of 48"} and said == [(48, 40)]
    assert {size: tuple(one.shape) for size, one in second.pixels.items()} == {16: (3, 16, 16), 32: (3, 32, 32)}
    assert done == {"decoded": 1, "shrunk": 2}
    own = reader.request(to_post({"text": "Ann", "contexts": {"image": "own"}}, "1"), images / "1.png", config)
    assert own.post.contexts == {"image": "own"} and len(said) == 1


class _Reads:
    contexts = ("image",)


def test_a_checksum_is_of_values_and_shape() -> None:
    pixels = np.arange(12, dtype=np.uint8).reshape(3, 2, 2)
    assert checksum(pixels) == checksum(np.asfortranarray(pixels)) != checksum(pixels.reshape(3, 4, 1))
    with Image.new("RGB", (2, 2)) as black:
        assert checksum(black) == checksum(Image.new("RGB", (2, 2))) != checksum(Image.new("RGB", (4, 1)))
