"""Falsified captions: of other images, near in meaning, as many as asked for, never one that fits."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from promu.alignment import falsify as module
from promu.alignment.falsify import NEAREST, falsified_of, falsify, word_vectors
from promu.corpora.shards import CaptionedImage

HOWS = {"words": word_vectors, "chance": None}
WORDS = ("a", "dog", "cat", "runs", "sits", "red", "ball", "🎈")


def image_of(name: str, digest: bytes, texts: Sequence[str]) -> CaptionedImage:
    return CaptionedImage(name, b"", 1, 1, tuple((text, True) for text in texts), digest=digest)


def texts_of(image: CaptionedImage) -> list[str]:
    return [text for text, _ in image.captions]


def images_of(*texts: Sequence[str]) -> list[CaptionedImage]:
    return [image_of(f"{index}.jpg", bytes([index]), each) for index, each in enumerate(texts)]


def circle(degrees: Sequence[float]) -> torch.Tensor:
    angles = torch.deg2rad(torch.tensor(degrees, dtype=torch.float64))
    return torch.stack([angles.cos(), angles.sin()], dim=-1).float()


@st.composite
def sets(draw: st.DrawFn) -> list[CaptionedImage]:
    """Few words, few names and few contents, so that much is shared."""
    text = st.lists(st.sampled_from(WORDS), min_size=1, max_size=3).map(" ".join)
    image = st.builds(
        image_of,
        st.sampled_from(["a.jpg", "b.jpg", "c.jpg", "d.jpg", "e.jpg"]),
        st.sampled_from([b"1", b"2", b"3", b"4", b"5"]),
        st.lists(text, min_size=1, max_size=4).map(tuple),
    )
    return draw(st.lists(image, min_size=1, max_size=12))


@pytest.mark.parametrize("how", HOWS)
@given(images=sets(), share=st.sampled_from([0.1, 0.5, 0.8]), seed=st.integers(0, 3))
@settings(max_examples=80)
@pytest.mark.slow
def test_no_falsified_caption_fits(how: str, images: list[CaptionedImage], share: float, seed: int) -> None:
    added = falsify(images, share, HOWS[how], [seed])
    assert len(added) == len(images)
    everything = {text for image in images for text in texts_of(image)}
    assert sum(map(len, added)) <= falsified_of(sum(len(image.captions) for image in images), share)
    for image, others in zip(images, added, strict=True):
        texts = [other.text for other in others]
        assert len(set(texts)) == len(texts) and set(texts) <= everything
        for other in images:
            if other.image == image.image or other.digest == image.digest:
                assert not set(texts) & set(texts_of(other))
    assert falsify(images, share, HOWS[how], [seed]) == added


def test_captions_that_differ_by_signs_are_the_same() -> None:
    added = falsify(images_of(["A dog runs ."], ["a dog runs"], ["A cat"]), 0.5, None, [0])
    assert {other.text for others in added[:2] for other in others} == {"A cat"}
    assert added[2][0].text == "A dog runs ."


@pytest.mark.parametrize(("share", "count"), [(0.2, 50), (1 / 3, 100), (0.5, 200), (0.75, 600), (0.9, 1800)])
@pytest.mark.parametrize("how", HOWS)
def test_the_share_is_exact(how: str, share: float, count: int) -> None:
    images = images_of(*([f"word{index} stands alone", f"word{index} sits too"] for index in range(100)))
    added = falsify(images, share, HOWS[how], [0])
    assert sum(map(len, added)) == count == falsified_of(200, share)


def test_the_nearest_are_taken() -> None:
    """Single captions on a circle, two degrees apart: what is taken is at most ten steps away, not always the first."""
    texts = [f"caption {index:02d}" for index in range(60)]
    degrees = {text: 2.0 * index for index, text in enumerate(texts)}
    added = falsify(images_of(*([text] for text in texts)), 0.5, lambda some: circle([degrees[t] for t in some]), [1])
    steps = []
    for index, others in enumerate(added):
        (other,) = others
        step = abs(texts.index(other.text) - index)
        steps.append(step)
        assert 1 <= step <= NEAREST
        assert other.similarity == pytest.approx(torch.deg2rad(torch.tensor(2.0 * step)).cos().item(), abs=1e-5)
    assert len(set(steps[NEAREST:-NEAREST])) >= 4


def test_what_is_as_near_as_the_images_own_captions_fits_too() -> None:
    """The image's captions lie 40 degrees apart: what lies between them or 39 beside is left, 41 beside is taken."""
    degrees = {"own one": 0, "own two": 40, "between": 20, "beside": -39, "farther": -41, "far": 150, "farthest": 170}
    images = images_of(["own one", "own two"], *([text] for text in list(degrees)[2:]))
    for seed in range(10):
        added = falsify(images, 0.5, lambda some: circle([degrees[text] for text in some]), [seed])
        assert {other.text for other in added[0]} <= {"farther", "far", "farthest"}
    assert len(added[0]) > 0


def test_blocks(monkeypatch: pytest.MonkeyPatch) -> None:
    """Captions are compared within blocks of whole images of even size, whatever the sizes of the images."""
    monkeypatch.setattr(module, "BLOCK", 10)
    images = images_of(*([f"{index} {caption}" for caption in range(2)] for index in range(11)))
    seen: list[int] = []

    def encode(texts: Sequence[str]) -> torch.Tensor:
        seen.append(len(texts))
        return word_vectors(texts)

    added = falsify(images, 0.5, encode, [0])
    assert sorted(seen) == [6, 8, 8]
    assert sum(map(len, added)) == 22
    assert {other.text.split()[0] for others in added[:3] for other in others} <= {"0", "1", "2", "3"}
    assert falsify([], 0.5, encode, [0]) == []


def test_a_image_alone_gets_none() -> None:
    assert falsify(images_of(["a dog", "a cat"]), 0.5, word_vectors, [0]) == [[]]


def test_word_vectors() -> None:
    vectors = word_vectors(["a red kite", "the red kite .", "a dog", "a man", "a boat", "🎈🎈", ""])
    assert vectors.norm(dim=-1).tolist() == pytest.approx([1.0] * 7)
    near = vectors @ vectors.T
    assert near[0, 1] > 0.5 > near[0, 2]
    assert near[0, 3] < 0.3


def test_meaning_beats_chance_on_real_captions(shared: Path) -> None:
    """On flickr8k the falsified captions are clearly nearer by the words they share than those taken by chance."""
    from itertools import groupby, islice

    from promu.corpora.captions import iterate_captions

    pairs = islice((pair for _, pair in iterate_captions(shared / "data" / "flickr8k" / "captions.csv")), 1500)
    images = [
        image_of(image, image.encode(), [pair.caption for pair in group])
        for image, group in groupby(pairs, key=lambda pair: pair.image)
    ]

    def nearness(how: str) -> float:
        added = falsify(images, 0.5, HOWS[how], [0])
        texts = [(texts_of(p)[0], other.text) for p, others in zip(images, added, strict=True) for other in others]
        vectors = word_vectors([text for pair in texts for text in pair])
        return float((vectors[::2] * vectors[1::2]).sum(-1).mean())

    assert nearness("words") > 2.5 * nearness("chance")
