"""The page in a browser: extraction from end to end, what goes wrong, keyboard, accessibility, no outside host."""

from __future__ import annotations

import json
import re
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from playwright.sync_api import Browser, Page, expect
from tests.browsing import check_accessible, check_fits
from tests.service.browsing import extract, opened
from tests.service.conftest import Running, SlowExtractor, Start

from promu import Extractor

pytestmark = pytest.mark.slow

TEXT = "Ann Lee \U0001f600 met\nBob’s dog at the #bridge in Rome"


@pytest.fixture
def page(browser: Browser, service: Running, said: list[str]) -> Iterator[Page]:
    with opened(browser, service.url, said) as page:
        yield page


def test_a_post_from_text_to_graph(page: Page, extractor: Extractor, images: Path, said: list[str]) -> None:
    page.set_input_files("#image", images / "0.png")
    extract(page, TEXT)
    expected = extractor(TEXT, image=images / "0.png")
    marks = page.locator("#annotated .entity")
    found = [
        (mark.evaluate("mark => [...mark.childNodes].slice(0, -1).map(part => part.textContent).join('')"), kind)
        for mark, kind in zip(marks.all(), page.locator("#annotated small").all_inner_texts(), strict=True)
    ]
    assert found == [(entity.text, entity.type) for entity in expected.entities]
    whole = page.locator("#annotated").evaluate(
        "target => { const copy = target.cloneNode(true);"
        " copy.querySelectorAll('small').forEach(kind => kind.remove()); return copy.textContent }"
    )
    assert whole == TEXT
    expect(page.locator("#entities button")).to_have_count(len(expected.entities))
    expect(page.locator("#relations button")).to_have_count(len(expected.relations))
    expect(page.locator("#graph .edge:has(.label)")).to_have_count(len(expected.relations))
    assert page.locator("#entities .score").first.inner_text() == f"{expected.entities[0].score:.2f}"
    copied = json.loads(page.locator("#panel-json").inner_text())
    assert copied["tokens"] == list(expected.tokens) and "explanation" not in copied
    page.click("#tab-curl")
    assert page.locator("#panel-curl").inner_text().startswith("curl 'http://127.0.0.1:")
    assert "-F 'image=@0.png'" in page.locator("#panel-curl").inner_text()
    page.click("#tab-python")
    assert '"Ann Lee \U0001f600 met\\nBob’s dog' in page.locator("#panel-python").inner_text()
    assert said == []


def test_the_python_that_it_shows_gives_the_same_answer(
    page: Page, images: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    page.set_input_files("#image", images / "0.png")
    extract(page, 'It\'s "Ann" \\ met\nBob \U0001f600')
    page.click("#tab-python")
    shutil.copy(images / "0.png", tmp_path / "0.png")
    monkeypatch.chdir(tmp_path)
    exec(page.locator("#panel-python").inner_text(), {})
    assert "'image_read': True" in capsys.readouterr().out
    page.click("#tab-curl")
    assert r"text=It'\''s" in page.locator("#panel-curl").inner_text()


def test_pointing_at_an_answer_shows_where_the_model_looked(page: Page, images: Path, extractor: Extractor) -> None:
    page.set_input_files("#image", images / "0.png")
    extract(page, TEXT)
    expect(page.locator("#seen-words")).to_contain_text("Point at")
    explanation = extractor(TEXT, image=images / "0.png", explain=True).explanation
    assert explanation is not None
    for part, attention in (("entities", explanation.entities[1]), ("relations", explanation.relations[0])):
        page.hover(f"#{part} li:nth-child({2 if part == 'entities' else 1}) button")
        share = round(100 * sum(map(sum, attention.patches)))
        expect(page.locator("#seen-words")).to_contain_text(f"{share} % of its attention to the image")
        expect(page.locator("#regions i")).to_have_count(len(attention.regions))
        rows = page.locator("#shade").evaluate("shade => shade.height")
        assert rows == len(attention.patches)
    page.hover("h1")
    expect(page.locator("#regions i")).to_have_count(0)


def test_what_goes_wrong_is_said_in_a_sentence(page: Page, tmp_path: Path, service: Running) -> None:
    error = page.locator("#error")
    page.click("#go")
    expect(error).to_have_text("The post is empty; type or paste one.")
    assert page.evaluate("document.activeElement.id") == "text"
    page.fill("#text", "Ann met Bob")
    (tmp_path / "photo.png").write_bytes(b"<svg xmlns='http://www.w3.org/2000/svg'/>")
    page.set_input_files("#image", tmp_path / "photo.png")
    page.click("#go")
    expect(error).to_contain_text("An SVG drawing; render it to JPEG, PNG")
    page.click("#remove")
    page.fill("#text", "a" * 20_001)
    page.click("#go")
    expect(error).to_contain_text("The text has 20,001 characters, at most 20,000 are read; shorten it.")
    page.route("**/extract", lambda route: route.abort())
    page.fill("#text", "Ann met Bob")
    page.click("#go")
    expect(error).to_contain_text("The service cannot be reached; check that it runs")
    page.unroute("**/extract")
    page.click("#go")
    expect(error).to_have_text("")
    expect(page.locator("#annotated")).to_contain_text("Ann")


def test_a_busy_service_and_one_that_asks_for_a_token(browser: Browser, start: Start, slow: SlowExtractor) -> None:
    with start(slow, token="open sesame") as service, opened(browser, service.url) as page:
        page.fill("#text", "Ann met Bob")
        page.click("#go")
        expect(page.locator("#error")).to_contain_text("A bearer token is needed")
        assert page.evaluate("document.activeElement.id") == "token"
        page.keyboard.type("open sesame")
        page.keyboard.press("Enter")
        expect(page.locator("#annotated")).to_contain_text("Ann")
        page.click("#tab-curl")
        assert '-H "Authorization: Bearer $PROMU_TOKEN"' in page.locator("#panel-curl").inner_text()
        assert "sesame" not in page.locator("#result").inner_text()
        service.app.state.service.gate.limit = 0
        page.click("#go")
        expect(page.locator("#error")).to_contain_text("The service is busy: 0 posts wait; try again in 1 s.")


def test_a_model_that_does_not_say_where_it_looked(
    browser: Browser, start: Start, mute: Extractor, images: Path, said: list[str]
) -> None:
    with start(mute) as service, opened(browser, service.url, said) as page:
        page.set_input_files("#image", images / "0.png")
        extract(page, TEXT)
        expect(page.locator("#notes")).to_have_text("This model gives no attention.")
        expect(page.locator("#seen-words")).to_be_hidden()
        page.hover("#entities li:nth-child(1) button")
        assert page.locator("#entities li.lit").count() == 1
        assert said == []


def test_the_keyboard_alone_is_enough(page: Page, extractor: Extractor) -> None:
    def tab_to(selector: str) -> None:
        for _ in range(60):
            page.keyboard.press("Tab")
            if page.evaluate("selector => document.activeElement.matches(selector)", selector):
                outline = page.evaluate("getComputedStyle(document.activeElement).outlineStyle")
                assert outline != "none" or selector == "#image", f"{selector} does not show that it has the focus"
                return
        raise AssertionError(f"{selector} cannot be reached by Tab")

    tab_to("#text")
    page.keyboard.type("Ann met Bob in Rome")
    tab_to("#go")
    page.keyboard.press("Enter")
    expect(page.locator("#annotated")).to_contain_text("Rome")
    assert page.evaluate("document.activeElement.id") == "result"
    tab_to("#entities button")
    assert page.locator("#entities li.lit").count() == 1
    tab_to("#relations button")
    tab_to("#tab-json")
    page.keyboard.press("ArrowRight")
    assert page.evaluate("document.activeElement.id") == "tab-curl"
    expect(page.locator("#panel-curl")).to_be_visible()
    expect(page.locator("#panel-json")).to_be_hidden()
    tab_to("#copy")
    page.keyboard.press("Enter")
    expect(page.locator("#copy")).to_contain_text(re.compile("Copied|Selected"))
    page.reload()
    page.locator("#text").focus()
    page.keyboard.type("Bob")
    page.keyboard.press("Control+Enter")
    expect(page.locator("#annotated")).to_contain_text("Bob")


@pytest.mark.parametrize(("scheme", "width"), [("light", 1080), ("dark", 360)])
def test_nothing_that_axe_knows_is_in_the_way(
    scheme: Any, width: int, browser: Browser, service: Running, images: Path, said: list[str]
) -> None:
    options = {"color_scheme": scheme, "width": width, "bypass_csp": True}
    with opened(browser, service.url, said, **options) as page:
        page.click("#go")
        check_accessible(page)
        page.set_input_files("#image", images / "0.png")
        extract(page, TEXT)
        page.hover("#entities li:nth-child(2) button")
        check_accessible(page)
        page.goto(f"{service.url}/docs")
        expect(page.locator(".endpoint").first).to_be_visible()
        check_fits(page)
        check_accessible(page)
        assert said == []


def test_the_pages_name_no_other_host(service: Running) -> None:
    with service.client() as client:
        index = client.get("/")
        scripts = [f"/page/{name}.js" for name in ("draw", "graph", "parts", "snippets", "docs")]
        for name in [*re.findall(r'(?:src|href)="(/[^"]*)"', index.text), *scripts, "/docs"]:
            answer = client.get(name)
            assert answer.status_code == 200, name
            addresses = set(re.findall(r"https?://[\w.]+", answer.text)) - {"http://www.w3.org"}
            assert not addresses or name == "/openapi.json", (name, addresses)
            assert "default-src 'none'" in answer.headers["content-security-policy"]
            assert answer.headers["x-content-type-options"] == "nosniff"
        assert client.get("/page/../app.py").status_code == 404
        assert client.get("/examples/99.png").status_code == client.get("/examples/examples.json").status_code == 404
