"""What a notebook shows of a result."""

from __future__ import annotations

from pathlib import Path

import pytest
from PIL import Image
from tests.factories import TEXTS
from tests.report.test_report import EVIL, Page

from promu import Extractor
from promu.extraction.notebook import SHOWN
from promu.extraction.result import Extraction
from promu.schema import Entity, Post, Relation


def test_entities_are_marked_and_triples_listed(extractor: Extractor) -> None:
    result = extractor(TEXTS[0])
    page = Page(result._repr_html_())
    assert page.unbalanced == [] and not page.of("script") and not page.of("a")
    assert len(page.of("mark")) == len(result.entities) and len(page.of("tr")) == len(result.relations) > 0
    for entity in result.entities:
        assert f"{entity.text}{entity.label}" in page.words.replace(" ", "") or entity.text in page.words
    assert all(f"— {relation.type} →" in page.words for relation in result.relations)
    colours = {mark["style"].partition(";")[0] for mark in page.of("mark")}
    assert len(colours) == len({entity.type for entity in result.entities}), "a type, a colour"


def test_a_printed_answer_names_each_entity_once() -> None:
    names = (Entity(0, 1, "PER", 0.987), Entity(2, 3, "PER"))
    answer = Extraction(Post("1", ("Ann", "met", "Bob"), None, names, (Relation(0, 1, "peer", 0.5),)), None)
    assert str(answer) == "Ann met Bob\n  Ann (PER) 0.99\n  Bob (PER)\n  Ann - peer -> Bob 0.50"


def test_what_comes_from_a_post_is_escaped(extractor: Extractor, tiny_models: Path) -> None:
    assert EVIL not in extractor(f"Ann {EVIL} met <b>Bob</b> & 'x'")._repr_html_()
    relations = Extractor.from_pretrained(tiny_models / "re", device="cpu")
    given = Post(EVIL, ("Ann", EVIL, "Bob"), None, (Entity(1, 2, EVIL), Entity(0, 3, "PER"), Entity(2, 3, None)))
    html = relations(given, max_pairs=None)._repr_html_()
    assert EVIL not in html and Page(html).unbalanced == []


@pytest.mark.parametrize("kind", ["file", "name", "bytes", "opened"])
def test_the_image_is_shown_with_what_was_attended_to(kind: str, extractor: Extractor, images: Path) -> None:
    file = images / "0.png"
    image = {"file": file, "name": str(file), "bytes": file.read_bytes(), "opened": Image.open(file)}[kind]
    page = Page(extractor(TEXTS[0], image)._repr_html_())  # type: ignore[call-overload]
    (shown,) = page.of("img")
    assert shown["src"].startswith("data:image/") and not page.of("svg")
    result = extractor(TEXTS[0], file, explain=True)
    assert result.explanation is not None
    regions = sum(bool(attention.regions) for attention in result.explanation.entities)
    assert len(Page(result._repr_html_()).of("rect")) == 3 * regions


def test_what_was_not_read_is_said(extractor: Extractor, tmp_path: Path, images: Path) -> None:
    missing = extractor(TEXTS[0], tmp_path / "gone.png", missing_images="text-only")
    assert "read without its image: missing image" in missing._repr_html_()
    assert "longer than the model takes, and read in part" in extractor(tokens=["a" * 99, "met"])._repr_html_()
    moved = tmp_path / "moved.png"
    moved.write_bytes((images / "0.png").read_bytes())
    result = extractor("Ann", moved)
    moved.unlink()
    assert "the image cannot be shown any more: no such image" in result._repr_html_()


def test_a_list_shows_its_first_results(extractor: Extractor) -> None:
    many = extractor(["Ann met Bob"] * (SHOWN + 2))
    page = Page(many._repr_html_())
    assert page.unbalanced == [] and page.words.count("… and 2 more results") == 1
    assert page.words.count("met") >= SHOWN
