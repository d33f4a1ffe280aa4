"""Reports in a browser: nothing is cut or covered at any width, small images are large and crisp, all can read them."""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest
from playwright.sync_api import Browser
from tests.browsing import WIDTHS, boxes, check_accessible, check_apart, check_fits, check_inside, ground_of, open_page
from tests.report.test_label_page import labelled_images
from tests.report.test_run_report import write_run

import promu
from promu.report.demo_report import DemoReport, write_report
from promu.report.label_report import write_label_page
from promu.report.palette import COLOURS, SYSTEMS, TYPES
from promu.report.run_report import write_evaluation_report, write_run_report

pytestmark = pytest.mark.slow

PACKAGE = Path(promu.__file__).parent

NEXT = [("Try it on a page", "promu serve --model runs/demo/model"), ("And more", "promu extract --model " + "a" * 90)]
PAGES = ("demo", "run", "labels", "evaluation")


@pytest.fixture(scope="module")
def pages(sample: DemoReport, tmp_path_factory: pytest.TempPathFactory) -> Callable[[str], Path]:
    """Each kind of report as a file."""
    folder = tmp_path_factory.mktemp("pages")
    write_report(folder / "demo.html", replace(sample, next_steps=NEXT))
    store, corpus = labelled_images(folder / "corpus", (48, 40))
    write_label_page(folder / "labels.html", store, corpus)
    write_run(folder / "run")
    write_run_report(folder / "run").rename(folder / "run.html")
    points = [(number / 20, 50 + 2 * number, 90 - 3 * number, 60 - abs(number - 8)) for number in range(20)]
    write_evaluation_report(folder / "evaluation.html", "a model on posts", [("59.1", "F1")] * 5, points)
    return lambda name: folder / f"{name}.html"


@pytest.mark.parametrize("width", WIDTHS)
@pytest.mark.parametrize("name", PAGES)
def test_nothing_is_cut_or_covered(name: str, width: int, pages: Callable[[str], Path], browser: Browser) -> None:
    with open_page(browser, pages(name), width=width) as page:
        check_fits(page)
        check_apart(boxes(page, "main > section"))
        check_apart(boxes(page, "article"))


@pytest.mark.parametrize("name", ["demo", "run", "labels"])
def test_a_bar_is_as_long_as_its_share(name: str, pages: Callable[[str], Path], browser: Browser) -> None:
    with open_page(browser, pages(name)) as page:
        lines = page.locator(".odds li").evaluate_all(
            """lines => lines.map(line => [
                line.querySelector("b").textContent,
                line.querySelector(".track > span").getBoundingClientRect().width,
                line.querySelector(".track").getBoundingClientRect().width,
            ])"""
        )
        assert len(lines) >= 4
        for said, bar, track in lines:
            assert track > 50 and 100 * bar / track == pytest.approx(float(re.sub(r"[^0-9]", "", said)), abs=2)


def test_each_graph_of_a_post_keeps_its_texts_apart(pages: Callable[[str], Path], browser: Browser) -> None:
    for width in WIDTHS:
        with open_page(browser, pages("demo"), width=width) as page:
            graphs = page.locator(".graph svg")
            assert graphs.count() >= 3
            for number in range(graphs.count()):
                graphs.nth(number).evaluate("(graph, number) => graph.setAttribute('data-number', number)", number)
                one = f".graph svg[data-number='{number}']"
                texts = boxes(page, f"{one} text:not(:empty)")
                check_apart(texts)
                check_inside(texts, boxes(page, one)[0])


@pytest.mark.parametrize("width", WIDTHS)
def test_images_of_48_pixels_are_large_and_crisp(width: int, pages: Callable[[str], Path], browser: Browser) -> None:
    with open_page(browser, pages("labels"), width=width) as page:
        shown = boxes(page, ".shown img")
        assert len(shown) == 8 and all(one.width >= 280 for one in shown)
        crisp = "images => images.every(image => getComputedStyle(image).imageRendering === 'pixelated')"
        assert page.locator(".shown img").evaluate_all(crisp)
        assert page.locator(".shown img").first.evaluate("image => [image.naturalWidth, image.naturalHeight]") == [
            48,
            40,
        ]
        # boxes lie over their regions: the second of the third image goes from 10 % to 30 % of its width
        (image,) = boxes(page, "article:nth-of-type(3) .shown img")
        _, box = boxes(page, "article:nth-of-type(3) .shown .box")
        assert box.x0 - image.x0 == pytest.approx(0.1 * image.width, abs=4)
        assert box.width == pytest.approx(0.2 * image.width, abs=4)


def test_a_system_and_a_type_have_one_colour(pages: Callable[[str], Path], browser: Browser) -> None:
    def shade(colour: str) -> str:
        return "rgb({}, {}, {})".format(*(int(colour[place : place + 2], 16) for place in (1, 3, 5)))

    for dark, scheme in enumerate(("light", "dark")):
        with open_page(browser, pages("demo"), color_scheme=scheme) as page:
            for system in ("text-only", "from-scratch", "promu"):
                dot = f"th:has-text('{system}') .dot"
                found = page.locator(dot).first.evaluate("dot => getComputedStyle(dot).backgroundColor")
                assert found == shade(COLOURS[SYSTEMS[system]][dark])
            assert ground_of(page, "mark.per:not(.missed)") == shade(TYPES["per"][0][dark])


def test_a_report_says_what_to_do_next(pages: Callable[[str], Path], browser: Browser) -> None:
    with open_page(browser, pages("demo"), width=360) as page:
        page.click("nav >> text=What to do next")
        assert page.locator("#next pre").all_inner_texts() == [command for _, command in NEXT]


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("name", PAGES)
def test_all_can_read_it(name: str, scheme: str, pages: Callable[[str], Path], browser: Browser) -> None:
    with open_page(browser, pages(name), width=768, color_scheme=scheme, bypass_csp=True) as page:
        check_accessible(page)


def test_every_page_has_the_one_style_sheet() -> None:
    pages = [path for room in ("report", "graph") for path in (PACKAGE / room / "templates").glob("*.html.j2")]
    whole = [path for path in pages if "<!DOCTYPE html>" in path.read_text(encoding="utf-8")]
    assert len(whole) >= 6
    assert [path.name for path in whole if '{% include "style.css" %}' not in path.read_text(encoding="utf-8")] == []
