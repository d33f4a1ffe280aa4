"""Images by file name: decoded once, and never silently replaced."""

from __future__ import annotations

import logging
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from promu.errors import InputError
from promu.tasks.post_images import ImageFolder, ImagePolicy


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    for name, colour in (("red.png", (255, 0, 0)), ("blue.png", (0, 0, 255))):
        Image.new("RGB", (10, 20), colour).save(tmp_path / name)
    (tmp_path / "broken.jpg").write_bytes(b"\xff\xd8\xff\xe0 no more")
    (tmp_path / "empty.jpg").write_bytes(b"")
    return tmp_path


def test_images_are_bytes_of_one_size(folder: Path) -> None:
    images = ImageFolder(folder, 8, "raise")
    red = images.get("red.png")
    assert red is not None and red.dtype == np.uint8 and red.shape == (3, 8, 8)
    assert bool((red[0] == 255).all()) and not red[1:].any()
    assert images.get(None) is None


def test_a_batch_masks_what_is_no_image(folder: Path) -> None:
    images = ImageFolder(folder, 8, "text-only")
    batch = images.batch(["red.png", None, "absent.png", "blue.png"])
    assert batch["image_mask"].tolist() == [1, 0, 0, 1]
    assert batch["pixel_values"].shape == (4, 3, 8, 8) and batch["pixel_values"].dtype == np.uint8
    assert [int(row.max()) for row in batch["pixel_values"]] == [255, 0, 0, 255]
    assert images.batch([None, "absent.png"]) == {}


@pytest.mark.parametrize("name", ["absent.png", "broken.jpg", "empty.jpg"])
def test_a_image_that_is_required_is_named(folder: Path, name: str) -> None:
    with pytest.raises(InputError, match=rf"{name}: .*; or have its post read as text .*text-only"):
        ImageFolder(folder, 8, "raise").batch(["red.png", name])


@pytest.mark.parametrize("name", ["absent.png", "broken.jpg", "empty.jpg"])
def test_a_image_that_may_be_missing_is_said_once(folder: Path, name: str, caplog: pytest.LogCaptureFixture) -> None:
    images = ImageFolder(folder, 8, "text-only")
    with caplog.at_level(logging.WARNING):
        assert images.get(name) is None and images.get(name) is None
    assert [record.getMessage().endswith("the post is read as text") for record in caplog.records] == [True]
    assert name in caplog.text and images.missing.keys() == {name}


def test_no_image_is_opened_when_none_is_wanted(folder: Path) -> None:
    for images in (
        ImageFolder(folder, 8, "none"),
        ImageFolder(folder, None, "raise"),
        ImageFolder(None, 8, "none"),
    ):
        assert images.batch(["red.png", "absent.png"]) == {}


@pytest.mark.parametrize(
    ("policy", "expected"),
    [
        (
            "text-only",
            {
                "with image": 2,
                "image missing": 1,
                "image broken": 2,
                "no image named": 1,
                "image unwanted": 0,
            },
        ),
        (
            "none",
            {
                "with image": 0,
                "image missing": 0,
                "image broken": 0,
                "no image named": 1,
                "image unwanted": 5,
            },
        ),
    ],
)
def test_every_post_is_counted_once(folder: Path, policy: ImagePolicy, expected: dict[str, int]) -> None:
    names = ["red.png", None, "absent.png", "red.png", "broken.jpg", "empty.jpg"]
    images = ImageFolder(folder, 8, policy)
    images.batch(names)
    assert images.counts(names) == {**expected, "policy": policy}


def test_a_image_is_decoded_once_while_the_budget_lasts(folder: Path) -> None:
    images = ImageFolder(folder, 8, "raise", budget=3 * 8 * 8)
    first, second = images.get("red.png"), images.get("blue.png")
    (folder / "red.png").unlink()
    assert images.get("red.png") is first
    # the budget holds one image: the other is decoded again, the same
    again = images.get("blue.png")
    assert second is not None and again is not None and again is not second and np.array_equal(again, second)
