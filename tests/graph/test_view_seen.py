"""The page of a neighbourhood in a browser: nothing is cut or covered at any width, and neighbours are links."""

from __future__ import annotations

import random
from pathlib import Path

import pytest
from playwright.sync_api import Browser, expect
from tests.browsing import WIDTHS, boxes, check_accessible, check_apart, check_fits, check_inside, open_page
from tests.graph.examples import PEER, Record, make_graph, record

from promu.graph.view import write_graph_page

pytestmark = pytest.mark.slow

NAMES = [
    "Ann",
    "Bob",
    "NASA",
    "Paris",
    "the_Ministry_of_Silly_Walks",
    "Żółć",
    "x",
    "New-York",
    "名前名前",
    "Tom",
]
TYPES = ["PER", "PER", "ORG", "LOC", "ORG", "PER", "MISC", "LOC", "PER", "a_type_of_ones_own"]
LABELS = [PEER, "/per/org/member_of", "/per/loc/place_of_residence", "an_own_label_of_so_many_words"]


def many() -> list[Record]:
    """Posts in which everybody has to do with everybody, mostly with Ann."""
    draw = random.Random(0)
    found = []
    for number in range(50):
        head, tail = draw.sample(range(len(NAMES)), 2)
        if number % 2:
            head, tail = (0, tail or 1) if number % 4 == 1 else (tail or 1, 0)
        ends = [(0, 1, TYPES[head], 0.5), (1, 2, TYPES[tail], 0.5)]
        found.append(record(f"p{number}", f"{NAMES[head]} {NAMES[tail]}", ends, (0, 1, LABELS[number % 4], 0.5)))
    return found


def few() -> list[Record]:
    """Ann and one neighbour."""
    return [record("a", "Ann Bob", [(0, 1, "PER", 0.5), (1, 2, "PER", 0.5)], (0, 1, PEER, 0.5))]


@pytest.fixture(scope="module", params=["many", "few"])
def page_file(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("view")
    write_graph_page(make_graph(folder, many() if request.param == "many" else few()), "ann", folder / "page.html")
    return folder / "page.html"


@pytest.mark.parametrize("width", WIDTHS)
def test_nothing_is_cut_or_covered(page_file: Path, browser: Browser, width: int) -> None:
    with open_page(browser, page_file, width=width) as page:
        check_fits(page)
        (frame,) = boxes(page, ".near svg")  # of the two drawings one is there
        texts = boxes(page, ".near svg text:not(:empty)")
        rectangles = boxes(page, ".near svg rect")
        assert len(rectangles) >= 2
        assert len(boxes(page, ".near .label")) == page.locator(".near svg:visible .line").count() > 0
        check_apart(texts)
        check_apart(rectangles)
        check_apart([*boxes(page, ".near .label"), *rectangles])
        check_inside([*texts, *rectangles], frame)
        assert min(one.y1 - one.y0 for one in boxes(page, ".near .label")) >= 11, "labels are shrunk beyond reading"


@pytest.mark.parametrize("width", [WIDTHS[0], WIDTHS[-1]])
def test_a_neighbour_leads_to_its_own_relations_and_back(page_file: Path, browser: Browser, width: int) -> None:
    with open_page(browser, page_file, width=width) as page:
        bob = page.locator(".near svg:visible a.neighbour", has_text="Bob").first
        name = str(bob.get_attribute("href"))
        bob.click()
        expect(page.locator(name)).to_be_in_viewport()
        assert "Bob" in page.locator(f"{name} h3").inner_text()
        page.locator(f"{name} >> text=Back to Ann").click()
        expect(page.locator("h1")).to_be_in_viewport()
        # an entity of the page is a link wherever it is named
        page.locator("#relations h3 a", has_text="Bob").first.click()
        expect(page.locator(name)).to_be_in_viewport()
        lost = page.evaluate(
            "() => [...document.querySelectorAll('a')].map(one => one.getAttribute('href'))"
            ".filter(name => name.startsWith('#') && !document.querySelector(name))"
        )
        assert lost == []


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_it_is_readable_for_all(page_file: Path, browser: Browser, scheme: str) -> None:
    with open_page(browser, page_file, width=360, color_scheme=scheme, bypass_csp=True) as page:
        check_accessible(page)
