"""Captions and images where they lie, read as a corpus."""

from __future__ import annotations

from pathlib import Path

import pytest
from tests.factories import COLOURS, captioned

from promu.errors import InputError
from promu.evaluation.pair_corpus import PairFolder, read_pairs
from promu.schema import CaptionPair


@pytest.fixture()
def folder(tmp_path: Path) -> Path:
    for image in captioned():
        (tmp_path / image.image).write_bytes(image.data)
    return tmp_path


PAIRS = [CaptionPair(f"{name}.png", f"a {name} square") for name in COLOURS]
PAIRS += [CaptionPair(f"{name}.png", f"something {name}") for name in COLOURS]


def test_pairs_of_one_image_come_together(folder: Path) -> None:
    given = [*PAIRS, CaptionPair("red.png", "a blue square", False)]
    corpus = PairFolder(given, folder)
    assert corpus.images == 7 and corpus.made == 0 and not corpus.skipped
    red = corpus.image(0)
    assert red.captions == (("a red square", True), ("something red", True), ("a blue square", False))
    assert red.decode().size == (red.width, red.height) == (40, 32)
    assert [row.image for row in corpus.captions()] == [f"{name}.png" for name in COLOURS]


def test_falsified_pairs_are_made_where_there_are_none(folder: Path) -> None:
    corpus = PairFolder(PAIRS, folder, seed=1)
    pairs = read_pairs(corpus)
    assert corpus.made == len(pairs.falsified) == len(pairs.matched) == 14
    own = {tuple(pair) for pair in pairs.matched.tolist()}
    assert not own & {tuple(pair) for pair in pairs.falsified.tolist()}
    assert PairFolder(PAIRS, folder, seed=1).captions() == corpus.captions()


def test_missing_and_broken_images(folder: Path) -> None:
    (folder / "red.png").unlink()
    (folder / "blue.png").write_bytes((folder / "blue.png").read_bytes()[:50])
    with pytest.raises(InputError, match=r"red\.png: no such image.*or skip such images"):
        PairFolder(PAIRS, folder)
    corpus = PairFolder(PAIRS, folder, "skip")
    assert set(corpus.skipped) == {"red.png", "blue.png"} and corpus.skipped_pairs == 4
    assert sum(len(row.captions) for row in corpus.captions()) - corpus.made + corpus.skipped_pairs == len(PAIRS)


def test_nothing_left(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="no caption pair with a readable image is left"):
        PairFolder(PAIRS, tmp_path, "skip")
