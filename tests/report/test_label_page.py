"""The page of labels: what a person needs to judge them, in one file that loads nothing."""

from __future__ import annotations

import base64
import io
import re
from pathlib import Path

import pytest
import torch
from PIL import Image

from promu.alignment.label_store import ImageLabels, LabelHeader, LabelStore, SparseLabels
from promu.corpora.shards import CaptionedImage, PairShards, ShardWriter
from promu.errors import InputError
from promu.files import write_json
from promu.report.label_report import view_image, write_label_page
from promu.schema import Region

HEADER = LabelHeader(
    teacher="self-trained:<0123>",
    detector="yolo:4567",
    nouns=("dog", "cat", "tower", "ship", "singer", "hat", "ball"),
    relations=("member of", "spouse & partner"),
    entity_template="1",
    relation_template="A",
    temperature=0.07,
    top_k=6,
    nouns_source="nouns.txt",
)


def image(name: str, regions: int, size: tuple[int, int] = (720, 480)) -> CaptionedImage:
    buffer = io.BytesIO()
    Image.new("RGB", size, (200, 120, 40)).save(buffer, "JPEG")
    tenth, high = size[0] / 10, size[1]
    found = tuple(
        Region((tenth * place, high / 10, tenth * (place + 2), high / 2), "person", 0.9) for place in range(regions)
    )
    captions = (("Two dogs & a <ship>", True), ("a singer", False))
    return CaptionedImage(name, buffer.getvalue(), *size, captions, found)


@pytest.fixture
def labelled(tmp_path: Path) -> tuple[LabelStore, PairShards]:
    return labelled_images(tmp_path)


def labelled_images(folder: Path, size: tuple[int, int] = (720, 480)) -> tuple[LabelStore, PairShards]:
    """A corpus of nine images with none, one or two regions each, and labels of the first eight."""
    folder.mkdir(exist_ok=True)
    images = [image(f"{number}<b>.jpg", number % 3, size) for number in range(9)]
    with ShardWriter(folder, 0) as writer:
        for one in images:
            writer.add(one)
    write_json(folder / "corpus.json", {})
    store = LabelStore(folder / "labels", HEADER)
    entity = torch.tensor([0.5, 0.2, 0.1, 0.08, 0.06, 0.04, 0.02])
    scale = torch.tensor([*size, *size], dtype=torch.float)
    rows = [
        ImageLabels(
            torch.tensor([region.box for region in one.regions]).reshape(-1, 4) / scale,
            SparseLabels.from_dense(entity.repeat(len(one.regions), 1), 6),
            SparseLabels.from_dense(torch.tensor([[0.25, 0.75]]), 6),
        )
        for one in images[:8]
    ]
    store.add([one.image for one in images[:8]], rows)
    return store, PairShards(folder)


def test_a_image_with_its_labels(labelled: tuple[LabelStore, PairShards]) -> None:
    store, corpus = labelled
    view = view_image(corpus.image(2), store)
    assert (view.shown.width, view.shown.height) == (360, 240)
    shown = Image.open(io.BytesIO(base64.b64decode(view.shown.uri.partition(",")[2])))
    assert shown.format == "JPEG" and shown.size == (360, 240)
    # boxes in units of the overlay, which is 240 wide: a third of the stored image
    assert [(tag.x, tag.y, tag.width, tag.height) for tag in view.shown.tags] == [
        (1.5, 16, 46.5, 64),
        (24, 16, 48, 64),
    ]
    assert [tag.text for tag in view.shown.tags] == ["1", "2"]
    (label, score, nouns), _ = view.regions
    assert label == "person" and score == pytest.approx(0.9)
    assert [(noun, in_caption) for noun, _, in_caption in nouns] == [
        ("dog", True),  # in the plural
        ("cat", False),
        ("tower", False),
        ("ship", True),
        ("singer", False),  # only the caption of another image has it
    ]
    assert [share for _, share, _ in nouns] == pytest.approx([0.5, 0.2, 0.1, 0.08, 0.06], abs=1e-3)
    assert list(dict(view.relations)) == ["spouse & partner", "member of"]
    assert dict(view.relations) == pytest.approx({"spouse & partner": 0.75, "member of": 0.25})


def test_the_page_is_one_file_with_everything_in_it(labelled: tuple[LabelStore, PairShards], tmp_path: Path) -> None:
    store, corpus = labelled
    write_label_page(tmp_path / "labels.html", store, corpus, count=8)
    page = (tmp_path / "labels.html").read_text()
    assert page.count("<article") == 8 and page.count("data:image/jpeg;base64,") == 8
    assert not re.search(r"(src|href)=\"(?!data:)", page) and "http" not in page.replace("http-equiv", "")
    assert page.count('<rect class="box"') == sum(number % 3 for number in range(8))
    assert page.count("No region: L_COE skips this image.") == 3
    assert "Two dogs &amp; a &lt;ship&gt;" in page and "spouse &amp; partner" in page and "3&lt;b&gt;" not in page[:60]
    assert "<ship>" not in page and "<b>.jpg" not in page
    assert "self-trained:&lt;0123&gt;, temperature 0.07" in page and "7 (nouns.txt), template 1" in page
    assert 'style="width:50.0%"' in page and "(caption of another image)" in page


def test_the_seed_draws_the_images(labelled: tuple[LabelStore, PairShards], tmp_path: Path) -> None:
    store, corpus = labelled

    def drawn(seed: int, count: int = 3) -> list[str]:
        write_label_page(tmp_path / "labels.html", store, corpus, count, seed)
        return re.findall(r"<h2>(\d)", (tmp_path / "labels.html").read_text())

    assert drawn(0) == drawn(0) and len(drawn(0)) == 3
    assert len({tuple(drawn(seed)) for seed in range(6)}) > 1
    # more than there are labelled: all of those, and never the one without labels
    assert drawn(0, 100) == list("01234567")


def test_without_labels_there_is_no_page(labelled: tuple[LabelStore, PairShards], tmp_path: Path) -> None:
    empty = LabelStore(tmp_path / "empty", HEADER)
    with pytest.raises(InputError, match=r"no image of this corpus has labels in this store; run `promu label` first"):
        write_label_page(tmp_path / "labels.html", empty, labelled[1])
    assert not (tmp_path / "labels.html").exists()
