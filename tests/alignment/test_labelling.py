"""The teacher at work, with a teacher that knows colours: every label can be worked out by hand."""

from __future__ import annotations

import io
import math
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from tests import processes

from promu import progress
from promu.alignment import labelling
from promu.alignment.label_store import LabelHeader, LabelStore
from promu.alignment.labelling import label_corpus, soft_labels, square_crop
from promu.alignment.synonyms import table_checksum
from promu.corpora.shards import CaptionedImage, PairShards, ShardWriter
from promu.errors import InputError
from promu.files import write_json
from promu.schema import Region

COLOURS = {"red": (255, 0, 0), "green": (0, 255, 0), "blue": (0, 0, 255)}
HEADER = LabelHeader(
    teacher="colours",
    detector="painted",
    nouns=("blue", "red", "green"),
    relations=("green", "red"),
    entity_template="1",
    relation_template="B",
    temperature=0.5,
    top_k=3,
)


class ColourTeacher:
    """An image's vector is its mean colour, a prompt's the colour that it names."""

    identity = "colours"
    temperature = 0.5

    def __init__(self, patience: int = 10**6) -> None:
        self.prompts: list[str] = []
        self.seen: list[tuple[int, int]] = []
        self.patience = patience

    def encode_prompts(self, prompts: Sequence[str]) -> torch.Tensor:
        self.prompts += prompts
        named = [next(colour for word, colour in COLOURS.items() if word in prompt.lower()) for prompt in prompts]
        return torch.tensor(named) / 255.0

    def encode_images(self, images: Sequence[Image.Image]) -> torch.Tensor:
        if len(self.seen) >= self.patience:
            raise KeyboardInterrupt
        self.seen += [image.size for image in images]
        means = torch.stack([torch.tensor(np.array(image) / 255.0).float().mean((0, 1)) for image in images])
        return torch.nn.functional.normalize(means, dim=-1)


def paint(
    name: str,
    size: tuple[int, int],
    regions: Sequence[tuple[int, int, int, int]] = (),
    **boxes: tuple[int, int, int, int],
) -> CaptionedImage:
    image = Image.new("RGB", size)
    for colour, box in boxes.items():
        image.paste(COLOURS[colour], box)
    buffer = io.BytesIO()
    image.save(buffer, "PNG")
    found = tuple(Region(box, "thing") for box in regions)
    return CaptionedImage(name, buffer.getvalue(), *size, (("an image", True),), found)


# 100 x 80, red at x 10..30, y 20..40, blue at x 60..90, y 10..40
TWO = paint("two.png", (100, 80), [(60, 10, 90, 40), (10, 20, 30, 40)], red=(10, 20, 30, 40), blue=(60, 10, 90, 40))
GREEN = paint("green.png", (40, 60), [(0, 0, 40, 40)], green=(0, 0, 40, 60))
NOTHING = paint("nothing.png", (30, 30), red=(0, 0, 30, 15), green=(0, 15, 30, 30))
IMAGES = [TWO, NOTHING, GREEN]


def build(folder: Path, images: Sequence[CaptionedImage] = IMAGES) -> PairShards:
    folder.mkdir(exist_ok=True)
    with ShardWriter(folder, 0) as writer:
        for image in images:
            writer.add(image)
    write_json(folder / "corpus.json", {"detector": "painted"})
    return PairShards(folder)


@pytest.fixture
def corpus(tmp_path: Path) -> PairShards:
    return build(tmp_path / "corpus")


def many(count: int) -> list[CaptionedImage]:
    """Images of as many shades, each with up to three regions."""
    images = []
    for number in range(count):
        boxes = [(2 * place, 2 * place, 10 + 2 * place, 12) for place in range(number % 4)]
        images.append(paint(f"{number}.png", (20, 16), boxes, red=(0, 0, 1 + number, 16), blue=(0, 0, 20, number)))
    return images


def test_soft_labels_by_hand() -> None:
    q = soft_labels(torch.tensor([[1.0, 0.0]]), torch.tensor([[1.0, 0.0], [0.0, 1.0], [0.6, 0.8]]), 0.5)
    weights = [math.exp(2), math.exp(0), math.exp(1.2)]
    torch.testing.assert_close(q, torch.tensor([weights]) / sum(weights))


def test_regions_and_images_are_labelled_as_by_hand(corpus: PairShards, tmp_path: Path) -> None:
    store = label_corpus(ColourTeacher(), corpus, HEADER, tmp_path / "labels")
    assert store.images() == ["two.png", "nothing.png", "green.png"]
    one, other = math.exp(1 / 0.5), math.exp(0)
    sure, rest = one / (one + 2 * other), other / (one + 2 * other)

    two = store["two.png"]
    # boxes as shares of width and height
    torch.testing.assert_close(two.boxes, torch.tensor([[0.6, 0.125, 0.9, 0.5], [0.1, 0.25, 0.3, 0.5]]))
    expected = torch.tensor([[sure, rest, rest], [rest, sure, rest]])  # blue, red, green
    torch.testing.assert_close(two.entities.dense(3), expected, rtol=0, atol=1e-3)
    torch.testing.assert_close(
        store["green.png"].entities.dense(3), torch.tensor([[rest, rest, sure]]), rtol=0, atol=1e-3
    )
    assert len(store["nothing.png"].boxes) == 0 and store["nothing.png"].entities.dense(3).shape == (0, 3)

    # relations (green, red) of whole images: 400 px of red and 900 of blue; half red, half green; all green
    red = 400 / math.hypot(400, 900)
    weights = torch.tensor([math.exp(0), math.exp(red / 0.5)])
    torch.testing.assert_close(two.relation.dense(2)[0], weights / weights.sum(), rtol=0, atol=1e-3)
    torch.testing.assert_close(store["nothing.png"].relation.dense(2), torch.tensor([[0.5, 0.5]]), rtol=0, atol=1e-3)
    assert store["green.png"].relation.dense(2)[0, 0] > 0.8


def test_prompts_follow_the_templates_and_candidates_and_are_read_once(
    corpus: PairShards, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(labelling, "PART_SIZE", 1)
    teacher = ColourTeacher()
    label_corpus(teacher, corpus, HEADER, tmp_path / "labels")
    assert teacher.prompts == [
        "This is an image of blue.",
        "This is an image of red.",
        "This is an image of green.",
        "The relation of green is shown in this image.",
        "The relation of red is shown in this image.",
    ]


def test_crops_are_taken_from_the_stored_image(tmp_path: Path) -> None:
    teacher = ColourTeacher()
    label_corpus(teacher, build(tmp_path / "corpus", [TWO]), HEADER, tmp_path / "labels")
    assert teacher.seen == [(100, 80), (30, 30), (20, 20)]


@pytest.mark.parametrize(
    ("box", "expected"),
    [
        ((10, 20, 30, 40), (10, 20, 30, 40)),  # a square stays as it is
        ((10, 20, 30, 26), (10, 13, 30, 33)),  # a wide one grows to both sides
        ((40, 0, 44, 40), (22, 0, 62, 40)),  # a tall one too
        ((0, 30, 4, 50), (0, 30, 20, 50)),  # at the edge it grows inwards
        ((96, 30, 100, 50), (80, 30, 100, 50)),
        ((0, 20, 100, 40), (0, 0, 100, 80)),  # no further than the image goes
        ((99.2, 79.5, 99.4, 79.6), (99, 79, 100, 80)),  # never empty
    ],
)
def test_a_crop_is_widened_to_a_square(box: tuple[float, float, float, float], expected: tuple[int, ...]) -> None:
    places = np.zeros((80, 100, 3), dtype=np.uint8)
    places[..., 0], places[..., 1] = np.arange(100)[None, :], np.arange(80)[:, None]
    crop = np.array(square_crop(Image.fromarray(places), Region(box, "thing")))
    (left, top), (right, bottom) = crop[0, 0, :2], crop[-1, -1, :2]
    assert (left, top, right + 1, bottom + 1) == expected


def test_a_second_run_labels_only_what_is_new(tmp_path: Path) -> None:
    first = ColourTeacher()
    label_corpus(first, build(tmp_path / "one", [TWO]), HEADER, tmp_path / "labels")
    before = {path.name: path.stat().st_mtime_ns for path in (tmp_path / "labels").iterdir()}
    second = ColourTeacher()
    corpus = build(tmp_path / "all")
    store = label_corpus(second, corpus, HEADER, tmp_path / "labels")
    assert second.seen == [(30, 30), (40, 60), (40, 40)] and len(store) == 3
    third = ColourTeacher()
    label_corpus(third, corpus, HEADER, tmp_path / "labels")
    assert third.seen == [] and third.prompts == []
    after = {path.name: path.stat().st_mtime_ns for path in (tmp_path / "labels").iterdir()}
    assert before.items() <= after.items() and len(after) == len(before) + 1


def assert_equal(one: LabelStore, other: LabelStore) -> None:
    assert sorted(one.images()) == sorted(other.images()) and one.header == other.header
    for image in one.images():
        mine, its = one[image], other[image]
        assert torch.equal(mine.boxes, its.boxes)
        for name in ("ids", "probabilities", "tail"):
            assert torch.equal(getattr(mine.entities, name), getattr(its.entities, name))
            assert torch.equal(getattr(mine.relation, name), getattr(its.relation, name))


def test_unbroken_killed_and_shared_runs_give_the_same_labels(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(labelling, "PART_SIZE", 3)
    monkeypatch.setattr(labelling, "BATCH", 2)
    corpus = build(tmp_path / "corpus", many(14))
    unbroken = label_corpus(ColourTeacher(), corpus, HEADER, tmp_path / "unbroken")
    assert len(unbroken) == 14 and len(list((tmp_path / "unbroken").glob("labels-*"))) == 5

    for patience in (4, 9, 13):  # killed three times, each time after some more images
        with pytest.raises(KeyboardInterrupt):
            label_corpus(ColourTeacher(patience), corpus, HEADER, tmp_path / "killed")
    kept = len(LabelStore(tmp_path / "killed"))
    assert 0 < kept < 14 and kept % 3 == 0
    last = ColourTeacher()
    assert_equal(label_corpus(last, corpus, HEADER, tmp_path / "killed"), unbroken)
    assert len(last.seen) < sum(1 + number % 4 for number in range(14))

    for number in (2, 0, 1):
        shared = label_corpus(ColourTeacher(), corpus, HEADER, tmp_path / "shared", (number, 3))
    assert_equal(shared, unbroken)
    written = {path.name.split("-")[1] for path in (tmp_path / "shared").glob("labels-*")}
    assert written == {"0000", "0001", "0002"}


@pytest.mark.slow
def test_two_processes_fill_one_store_at_the_same_time(tmp_path: Path) -> None:
    corpus = build(tmp_path / "corpus", many(14))
    code = (
        "import sys; from pathlib import Path; from promu.alignment import labelling; labelling.PART_SIZE = 2; "
        f"sys.path.insert(0, {str(Path(__file__).parents[2])!r}); import tests.alignment.test_labelling as t; "
        "folder = Path(sys.argv[1]); t.label_corpus(t.ColourTeacher(), t.PairShards(folder / 'corpus'), t.HEADER, "
        "folder / 'labels', (int(sys.argv[2]), 2))"
    )
    said = tmp_path / "said"
    both = [processes.start(code, str(tmp_path), number, said=said) for number in "01"]
    for process in both:
        process.join(120)
        assert process.exitcode == 0, said.read_text()
    unbroken = label_corpus(ColourTeacher(), corpus, HEADER, tmp_path / "unbroken")
    assert_equal(LabelStore(tmp_path / "labels", HEADER), unbroken)


@pytest.mark.parametrize("shard", [(1, 1), (-1, 2), (0, 0)])
def test_a_shard_that_is_none(corpus: PairShards, tmp_path: Path, shard: tuple[int, int]) -> None:
    with pytest.raises(InputError, match=r"shard -?\d/\d is none; count the processes from 0"):
        label_corpus(ColourTeacher(), corpus, HEADER, tmp_path / "labels", shard)


def test_other_settings_are_refused_and_named(corpus: PairShards, tmp_path: Path) -> None:
    label_corpus(ColourTeacher(), corpus, HEADER, tmp_path / "labels")
    with pytest.raises(InputError, match=r"label store with other settings \(teacher, temperature\)"):
        label_corpus(ColourTeacher(), corpus, replace(HEADER, teacher="x", temperature=0.1), tmp_path / "labels")


def test_labels_of_other_regions_are_refused(tmp_path: Path) -> None:
    """A corpus built anew with another threshold has other boxes, though its detector may have the same name."""
    label_corpus(ColourTeacher(), build(tmp_path / "one"), HEADER, tmp_path / "labels")
    fewer = build(tmp_path / "two", [NOTHING, replace(TWO, regions=TWO.regions[:1]), GREEN])
    with pytest.raises(InputError, match=r"holds image 'two.png' with other regions than the corpus; delete the store"):
        label_corpus(ColourTeacher(), fewer, HEADER, tmp_path / "labels")


def test_progress_tells_the_truth(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(labelling, "BATCH", 2)
    steps: list[tuple[str, int, int]] = []
    label_corpus(ColourTeacher(), build(tmp_path / "one", [TWO]), HEADER, tmp_path / "labels")
    corpus = build(tmp_path / "all", [TWO, *many(4)])
    with progress.shown(lambda *step: steps.append(step)):
        label_corpus(ColourTeacher(), corpus, HEADER, tmp_path / "labels")
    assert steps == [("labels", 3, 5), ("labels", 5, 5)]


def test_a_damaged_image_is_named(tmp_path: Path) -> None:
    corpus = build(tmp_path / "corpus", [replace(GREEN, data=GREEN.data[:60])])
    with pytest.raises(InputError, match=r"image 'green.png' of the corpus: "):
        label_corpus(ColourTeacher(), corpus, HEADER, tmp_path / "labels")


def test_the_detector_s_word_moves_its_share_of_a_region_s_label_and_of_no_other(tmp_path: Path) -> None:
    corpus = build(tmp_path / "one", [paint("a.png", (20, 20), [(0, 0, 10, 20)], red=(0, 0, 20, 20))])
    plain = label_corpus(ColourTeacher(), corpus, HEADER, tmp_path / "plain")["a.png"]
    synonyms = {"thing": frozenset({"green", "lawn"})}
    header = replace(HEADER, detector_weight=0.5, synonyms=table_checksum(synonyms))
    heard = label_corpus(ColourTeacher(), corpus, header, tmp_path / "heard", synonyms=synonyms)["a.png"]
    moved = plain.entities.dense(3) * 0.5 + torch.tensor([[0.0, 0.0, 0.5]])
    torch.testing.assert_close(heard.entities.dense(3), moved, atol=1e-3, rtol=0)
    torch.testing.assert_close(heard.relation.dense(2), plain.relation.dense(2))


@pytest.mark.parametrize("synonyms", [None, {"thing": frozenset({"red"})}])
def test_another_table_of_synonyms_than_the_header_s_is_refused(
    synonyms: dict[str, frozenset[str]] | None, tmp_path: Path
) -> None:
    corpus = build(tmp_path / "one", [paint("a.png", (20, 20))])
    header = replace(HEADER, detector_weight=0.5, synonyms=table_checksum({"thing": frozenset({"green"})}))
    with pytest.raises(InputError, match="another table of synonyms"):
        label_corpus(ColourTeacher(), corpus, header, tmp_path / "labels", synonyms=synonyms)
    assert not (tmp_path / "labels").exists()
