"""A real browser for tests: pages are opened, looked at, and measured in pixels."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from itertools import combinations
from pathlib import Path
from typing import Any, NamedTuple

from axe_playwright_python.sync_playwright import Axe  # type: ignore[import-untyped]
from playwright.sync_api import Browser, Page, expect

# A busy machine may take long; what never comes is a failure all the same.
expect.set_options(timeout=30_000)

WIDTHS = (360, 768, 1280)
"""Of a phone, a tablet and a desk, in pixels."""


class Box(NamedTuple):
    """What an element covers on the screen, and its text."""

    text: str
    x0: float
    y0: float
    x1: float
    y1: float

    @property
    def width(self) -> float:
        return self.x1 - self.x0


@contextmanager
def open_page(browser: Browser, address: str | Path, said: list[str] | None = None, **options: Any) -> Iterator[Page]:
    """A page, with what it writes to the console or asks other hosts for in `said`; `width` is the screen's."""
    url = address.absolute().as_uri() if isinstance(address, Path) else address
    log: list[str] = [] if said is None else said
    if width := options.pop("width", None):
        options["viewport"] = {"width": width, "height": 800}
    context = browser.new_context(**options)
    page = context.new_page()
    page.on("console", lambda message: log.append(f"{message.type}: {message.text}"))
    page.on("pageerror", lambda error: log.append(f"error: {error}"))
    own = (url, "blob:", "data:")
    page.on("request", lambda request: None if request.url.startswith(own) else log.append(request.url))
    page.goto(url)
    try:
        yield page
    finally:
        context.close()


def boxes(page: Page, selector: str) -> list[Box]:
    """What each visible element of a selector covers."""
    found = page.evaluate(
        """selector => [...document.querySelectorAll(selector)].map(one => {
            const box = one.getBoundingClientRect();
            const [x, y] = [scrollX, scrollY];
            return [one.textContent.trim(), box.left + x, box.top + y, box.right + x, box.bottom + y];
        }).filter(([, x0, y0, x1, y1]) => x1 > x0 && y1 > y0)""",
        selector,
    )
    return [Box(*one) for one in found]


def check_apart(found: Sequence[Box], slack: float = 0.5) -> None:
    """No two of them share more than a line of `slack` pixels."""
    for one, two in combinations(found, 2):
        across = min(one.x1, two.x1) - max(one.x0, two.x0)
        down = min(one.y1, two.y1) - max(one.y0, two.y0)
        assert across <= slack or down <= slack, f"{one} lies over {two}"


def check_inside(found: Sequence[Box], frame: Box, slack: float = 0.5) -> None:
    """None of them reaches out of the frame."""
    for one in found:
        assert one.x0 >= frame.x0 - slack and one.x1 <= frame.x1 + slack, f"{one} is cut by {frame}"
        assert one.y0 >= frame.y0 - slack and one.y1 <= frame.y1 + slack, f"{one} is cut by {frame}"


def check_fits(page: Page) -> None:
    """The page is not wider than the screen, and nothing is cut off at the right; what scrolls alone may be wider."""
    width = page.evaluate("document.documentElement.clientWidth")
    assert page.evaluate("document.documentElement.scrollWidth") <= width, "the page is wider than the screen"
    out = page.evaluate(
        """width => [...document.querySelectorAll("body *")].filter(one => {
            const box = one.getBoundingClientRect();
            return box.width && box.right > width + 0.5 && !one.closest(".scroll, pre, .unseen, .skip, .hidden-input");
        }).map(one => one.outerHTML.slice(0, 120))""",
        width,
    )
    assert not out, out


def check_accessible(page: Page) -> None:
    """Nothing that axe knows is in the way of anybody."""
    found = Axe().run(page).response["violations"]
    assert not found, [(fault["id"], [node["html"][:200] for node in fault["nodes"]]) for fault in found]


def ground_of(page: Page, selector: str) -> str:
    """The background of the first element of a selector, as the browser computes it."""
    return str(page.locator(selector).first.evaluate("one => getComputedStyle(one).backgroundColor"))
