"""The service's page in a browser."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from playwright.sync_api import Browser, Page, expect
from tests.browsing import open_page

from promu.service.examples import NEUTRAL


@contextmanager
def opened(
    browser: Browser, url: str, said: list[str] | None = None, examples: int = len(NEUTRAL), **options: Any
) -> Iterator[Page]:
    """The page once it has asked for the model and its examples."""
    with open_page(browser, url, said, **options) as page:
        expect(page.locator("#examples button")).to_have_count(examples)
        expect(page.locator("#model")).to_be_visible()
        yield page


def extract(page: Page, text: str) -> None:
    """Type a post, send it, and wait for its answer."""
    page.fill("#text", text)
    page.click("#go")
    expect(page.locator("#status")).to_contain_text("entit")
