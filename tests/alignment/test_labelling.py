"""The teacher at work, with a teacher that knows colours: every label can be worked out by hand."""

from __future__ import annotations

import json
import math
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from promu.alignment import labelling
from promu.alignment.label_store import LabelHeader
from promu.alignment.labelling import label_pictures, soft_labels, square_crop
from promu.alignment.regions import CocoRegions, NoRegions
from promu.errors import InputError
from promu.schema import Region

COLOURS = {"red": (255, 0, 0), "green": (0, 255, 0), "blue": (0, 0, 255)}
HEADER = LabelHeader(
    teacher="colours",
    detector="coco",
    nouns=("blue", "red", "green"),
    relations=("green", "red"),
    entity_template="1",
    relation_template="B",
    temperature=0.5,
    top_k=3,
)


class ColourTeacher:
    """A picture's vector is its mean colour, a prompt's the colour that it names."""

    identity = "colours"
    temperature = 0.5

    def __init__(self) -> None:
        self.prompts: list[str] = []
        self.seen: list[tuple[int, int]] = []

    def encode_prompts(self, prompts: Sequence[str]) -> torch.Tensor:
        self.prompts += prompts
        named = [next(colour for word, colour in COLOURS.items() if word in prompt.lower()) for prompt in prompts]
        return torch.tensor(named) / 255.0

    def encode_pictures(self, pictures: Sequence[Image.Image]) -> torch.Tensor:
        self.seen += [picture.size for picture in pictures]
        means = torch.stack([torch.tensor(np.array(picture) / 255.0).float().mean((0, 1)) for picture in pictures])
        return torch.nn.functional.normalize(means, dim=-1)


def paint(path: Path, size: tuple[int, int], **boxes: tuple[int, int, int, int]) -> None:
    picture = Image.new("RGB", size)
    for colour, box in boxes.items():
        picture.paste(COLOURS[colour], box)
    picture.save(path)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    images = tmp_path / "images"
    images.mkdir()
    # 100 x 80, red at x 10..30, y 20..40, blue at x 60..90, y 10..40
    paint(images / "two.png", (100, 80), red=(10, 20, 30, 40), blue=(60, 10, 90, 40))
    paint(images / "green.png", (40, 60), green=(0, 0, 40, 60))
    paint(images / "nothing.png", (30, 30), red=(0, 0, 30, 15), green=(0, 15, 30, 30))
    document = {
        "images": [
            {"id": 1, "file_name": "two.png", "width": 100, "height": 80},
            {"id": 2, "file_name": "green.png", "width": 40, "height": 60},
        ],
        "categories": [{"id": 1, "name": "thing"}],
        "annotations": [
            {"image_id": 1, "category_id": 1, "bbox": [10, 20, 20, 20], "score": 0.4},
            {"image_id": 1, "category_id": 1, "bbox": [60, 10, 30, 30], "score": 0.9},
            {"image_id": 2, "category_id": 1, "bbox": [0, 0, 40, 40]},
        ],
    }
    (tmp_path / "regions.json").write_text(json.dumps(document))
    return tmp_path


IMAGES = ["two.png", "nothing.png", "green.png", "two.png"]


def test_soft_labels_by_hand() -> None:
    q = soft_labels(torch.tensor([[1.0, 0.0]]), torch.tensor([[1.0, 0.0], [0.0, 1.0], [0.6, 0.8]]), 0.5)
    weights = [math.exp(2), math.exp(0), math.exp(1.2)]
    torch.testing.assert_close(q, torch.tensor([weights]) / sum(weights))


def test_regions_and_pictures_are_labelled_as_by_hand(folder: Path) -> None:
    teacher = ColourTeacher()
    regions = CocoRegions(folder / "regions.json")
    store = label_pictures(teacher, regions, IMAGES, folder / "images", HEADER, folder / "labels")
    assert store.images() == ["two.png", "nothing.png", "green.png"]
    one, other = math.exp(1 / 0.5), math.exp(0)
    sure, rest = one / (one + 2 * other), other / (one + 2 * other)

    two = store["two.png"]
    # best region first, boxes as shares of width and height
    torch.testing.assert_close(two.boxes, torch.tensor([[0.6, 0.125, 0.9, 0.5], [0.1, 0.25, 0.3, 0.5]]))
    expected = torch.tensor([[sure, rest, rest], [rest, sure, rest]])  # blue, red, green
    torch.testing.assert_close(two.entities.dense(3), expected, rtol=0, atol=1e-3)
    torch.testing.assert_close(
        store["green.png"].entities.dense(3), torch.tensor([[rest, rest, sure]]), rtol=0, atol=1e-3
    )
    assert len(store["nothing.png"].boxes) == 0 and store["nothing.png"].entities.dense(3).shape == (0, 3)

    # relations (green, red) of whole pictures: 400 px of red and 900 of blue; half red, half green; all green
    red = 400 / math.hypot(400, 900)
    weights = torch.tensor([math.exp(0), math.exp(red / 0.5)])
    torch.testing.assert_close(two.relation.dense(2)[0], weights / weights.sum(), rtol=0, atol=1e-3)
    torch.testing.assert_close(store["nothing.png"].relation.dense(2), torch.tensor([[0.5, 0.5]]), rtol=0, atol=1e-3)
    assert store["green.png"].relation.dense(2)[0, 0] > 0.8


def test_prompts_follow_the_templates_and_candidates(folder: Path) -> None:
    teacher = ColourTeacher()
    label_pictures(teacher, NoRegions(), ["green.png"], folder / "images", HEADER, folder / "labels")
    assert teacher.prompts == [
        "This is an image of blue.",
        "This is an image of red.",
        "This is an image of green.",
        "The relation of green is shown in this image.",
        "The relation of red is shown in this image.",
    ]


def test_crops_are_taken_from_the_original_picture(folder: Path) -> None:
    teacher = ColourTeacher()
    regions = CocoRegions(folder / "regions.json")
    label_pictures(teacher, regions, ["two.png"], folder / "images", HEADER, folder / "labels")
    assert teacher.seen == [(100, 80), (30, 30), (20, 20)]


@pytest.mark.parametrize(
    ("box", "expected"),
    [
        ((10, 20, 30, 40), (10, 20, 30, 40)),  # a square stays as it is
        ((10, 20, 30, 26), (10, 13, 30, 33)),  # a wide one grows to both sides
        ((40, 0, 44, 40), (22, 0, 62, 40)),  # a tall one too
        ((0, 30, 4, 50), (0, 30, 20, 50)),  # at the edge it grows inwards
        ((96, 30, 100, 50), (80, 30, 100, 50)),
        ((0, 20, 100, 40), (0, 0, 100, 80)),  # no further than the picture goes
        ((99.2, 79.5, 99.4, 79.6), (99, 79, 100, 80)),  # never empty
    ],
)
def test_a_crop_is_widened_to_a_square(box: tuple[float, float, float, float], expected: tuple[int, ...]) -> None:
    places = np.zeros((80, 100, 3), dtype=np.uint8)
    places[..., 0], places[..., 1] = np.arange(100)[None, :], np.arange(80)[:, None]
    crop = np.array(square_crop(Image.fromarray(places), Region(box, "thing")))
    (left, top), (right, bottom) = crop[0, 0, :2], crop[-1, -1, :2]
    assert (left, top, right + 1, bottom + 1) == expected


def test_a_second_run_labels_only_what_is_new(folder: Path) -> None:
    regions = CocoRegions(folder / "regions.json")
    first = ColourTeacher()
    label_pictures(first, regions, ["two.png"], folder / "images", HEADER, folder / "labels")
    before = {path.name: path.stat().st_mtime_ns for path in (folder / "labels").iterdir()}
    second = ColourTeacher()
    store = label_pictures(second, regions, IMAGES, folder / "images", HEADER, folder / "labels")
    assert second.seen == [(30, 30), (40, 60), (40, 40)] and len(store) == 3
    third = ColourTeacher()
    label_pictures(third, regions, IMAGES, folder / "images", HEADER, folder / "labels")
    assert third.seen == []
    after = {path.name: path.stat().st_mtime_ns for path in (folder / "labels").iterdir()}
    assert before.items() <= after.items() and len(after) == len(before) + 1


def test_a_killed_run_keeps_its_finished_parts(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(labelling, "PART_SIZE", 1)

    class Tired(ColourTeacher):
        def encode_pictures(self, pictures: Sequence[Image.Image]) -> torch.Tensor:
            if len(self.seen) >= 3:
                raise KeyboardInterrupt
            return super().encode_pictures(pictures)

    regions = CocoRegions(folder / "regions.json")
    with pytest.raises(KeyboardInterrupt):
        label_pictures(Tired(), regions, IMAGES, folder / "images", HEADER, folder / "labels")
    fresh = ColourTeacher()
    store = label_pictures(fresh, regions, IMAGES, folder / "images", HEADER, folder / "labels")
    assert len(store) == 3 and (100, 80) not in fresh.seen


def test_progress_tells_the_truth(folder: Path) -> None:
    steps: list[tuple[int, int]] = []
    arguments = (CocoRegions(folder / "regions.json"),)
    label_pictures(ColourTeacher(), *arguments, ["two.png"], folder / "images", HEADER, folder / "labels")
    label_pictures(
        ColourTeacher(),
        *arguments,
        IMAGES,
        folder / "images",
        HEADER,
        folder / "labels",
        lambda done, total: steps.append((done, total)),
    )
    assert steps == [(3, 3)]


def test_a_missing_picture_is_named(folder: Path) -> None:
    with pytest.raises(InputError, match=r"absent\.png: no such picture"):
        label_pictures(ColourTeacher(), NoRegions(), ["absent.png"], folder / "images", HEADER, folder / "labels")
