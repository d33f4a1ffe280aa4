"""The report: one file that needs nothing else, tells no lies about its data, and can be read by anybody."""

from __future__ import annotations

import itertools
import json
import re
from collections import Counter
from dataclasses import replace
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import pytest

from promu.errors import InputError
from promu.report.demo_report import (
    Curves,
    DemoReport,
    LabelledPair,
    LabelledRegion,
    Scores,
    SystemResult,
    render,
    to_json,
    write_report,
)
from promu.report.html import duration, percent, signed
from promu.report.palette import COLOURS, TYPES
from promu.report.post_view import ExtractedPost

VOID = {"meta", "link", "img", "br", "hr", "input"}
EVIL = "<script>alert(1)</script>"


class Page(HTMLParser):
    """A page taken apart: tags with attributes, text, and whatever does not close in order."""

    def __init__(self, html: str) -> None:
        super().__init__()
        self.tags: list[tuple[str, dict[str, str]]] = []
        self.text: list[str] = []
        self.unbalanced: list[str] = []
        self._open: list[str] = []
        self.feed(html)
        self.close()
        self.unbalanced += self._open

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, {name: value or "" for name, value in attrs}))
        if tag not in VOID:
            self._open.append(tag)

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, {name: value or "" for name, value in attrs}))

    def handle_endtag(self, tag: str) -> None:
        if not self._open or self._open.pop() != tag:
            self.unbalanced.append(tag)

    def handle_data(self, data: str) -> None:
        if not self._open or self._open[-1] != "style":
            self.text.append(data)

    def of(self, tag: str) -> list[dict[str, str]]:
        return [attributes for name, attributes in self.tags if name == tag]

    @property
    def words(self) -> str:
        return " ".join("".join(self.text).split())


def empty(**changes: Any) -> DemoReport:
    return replace(DemoReport(3, 10.0, [], {}, Curves(), None, [], [], "promu demo --seed 3"), **changes)


def test_the_page_is_whole_and_well_formed(sample: DemoReport, tmp_path: Path) -> None:
    write_report(tmp_path / "report.html", sample)
    html = (tmp_path / "report.html").read_text(encoding="utf-8")
    page = Page(html)
    assert html.lstrip().startswith("<!DOCTYPE html>")
    assert page.unbalanced == []
    ids = Counter(attributes["id"] for _, attributes in page.tags if "id" in attributes)
    assert [name for name, count in ids.items() if count > 1] == []
    referred = [a["href"][1:] for a in page.of("a") if a["href"].startswith("#")]
    referred += [name for _, attributes in page.tags for name in attributes.get("aria-labelledby", "").split()]
    assert set(referred) <= set(ids)
    assert len(html.encode()) < 1_500_000
    assert [path.name for path in tmp_path.iterdir()] == ["report.html"]


def test_nothing_is_loaded_and_nothing_runs(sample: DemoReport) -> None:
    html = render(sample)
    page = Page(html)
    assert not page.of("script") and not page.of("iframe")
    for _, attributes in page.tags:
        assert not [name for name in attributes if name.startswith("on")]
        for name in ("src", "href", "srcset", "data", "action", "poster", "xlink:href"):
            assert attributes.get(name, "#").startswith(("#", "data:"))
    assert not re.search(r"@import|url\((?!#)", html)
    assert not re.search(r"https?://", re.sub(r"<pre.*?</pre>|<p class=\"words\">.*?</p>", "", html, flags=re.S))


def test_all_can_read_it(sample: DemoReport) -> None:
    page = Page(render(sample))
    (html,) = page.of("html")
    assert html["lang"] == "en"
    assert page.of("img") and all("alt" in image for image in page.of("img"))
    assert all(image["alt"] or "src" in image for image in page.of("img"))
    assert all("scope" in header for header in page.of("th"))
    assert len(page.of("caption")) == len(page.of("table")) == 2
    for drawing in page.of("svg"):
        assert drawing.get("aria-label") or drawing.get("aria-hidden") == "true"
    levels = [int(tag[1]) for tag, _ in page.tags if re.fullmatch(r"h\d", tag)]
    assert levels.count(1) == 1 and all(after - before <= 1 for before, after in itertools.pairwise(levels))


def luminance(colour: str) -> float:
    channels = [int(colour[index : index + 2], 16) / 255 for index in (1, 3, 5)]
    linear = [value / 12.92 if value <= 0.03928 else ((value + 0.055) / 1.055) ** 2.4 for value in channels]
    return sum(weight * value for weight, value in zip((0.2126, 0.7152, 0.0722), linear, strict=True))


def palettes() -> dict[str, dict[str, str]]:
    html = render(empty())
    light, dark = re.findall(r":root \{(.*?)\}", html, flags=re.S)
    first = dict(re.findall(r"--([\w-]+): (#[0-9a-f]{6})", light))
    return {"light": first, "dark": first | dict(re.findall(r"--([\w-]+): (#[0-9a-f]{6})", dark))}


@pytest.mark.parametrize("mode", ["light", "dark"])
def test_every_text_colour_stands_out_from_its_ground(mode: str) -> None:
    palette = palettes()[mode]
    inks = (*(name for name in COLOURS if name != "line"), "link", "right", "wrong", "missed")
    pairs = [(ink, ground) for ink in inks for ground in ("ground", "card")] + [("ink", "sunk")]
    pairs += [(f"{kind}-ink", ground) for kind in TYPES for ground in (kind, "card")]
    for ink, ground in pairs:
        low, high = sorted((luminance(palette[ink]), luminance(palette[ground])))
        assert (high + 0.05) / (low + 0.05) >= 4.5, f"{ink} on {ground} in {mode} mode is below AA"


def test_the_table_holds_the_figures_with_the_best_in_bold(sample: DemoReport) -> None:
    html = render(sample)
    for figure in ("51.4", "59.0", "47.8", "15.8"):
        assert f"<td>{figure}</td>" in html
    for figure in ("70.3", "62.9", "78.4", "66.1"):
        assert f"<td><strong>{figure}</strong></td>" in html
    words = Page(html).words
    for gain in ("+11.3points over from-scratch", "+18.9points over text-only", "+27.5points over from-scratch"):
        assert gain in words
    assert "58.3, the dashed line" in words and "promu demo --out runs/demo --seed 0" in words


def test_the_settings_that_dev_chose_are_said(sample: DemoReport) -> None:
    assert "chosen on dev" not in Page(render(sample)).words
    chosen = replace(sample.systems[2].re, chosen={"lr": 0.001, "epochs": 8.0})
    page = Page(render(replace(sample, systems=[*sample.systems[:2], replace(sample.systems[2], re=chosen)])))
    assert "chosen on dev from the same settings for every system: promu 0.001 × 8." in page.words


def test_a_loss_is_shown_as_a_loss(sample: DemoReport) -> None:
    worse = replace(sample.systems[2], re=Scores(50, 50, 50.0))
    page = Page(render(replace(sample, systems=[*sample.systems[:2], worse])))
    assert "−0.9points over from-scratch" in page.words
    assert any("down" in p.get("class", "") for p in page.of("p"))


def test_markup_in_the_data_stays_text(sample: DemoReport, tmp_path: Path) -> None:
    image = sample.pairs[0].image
    box = (0.1, 0.1, 0.6, 0.6)
    pair = LabelledPair(image, EVIL, True, [LabelledRegion(box, EVIL, [(EVIL, 0.5)])], [(EVIL, 0.4)])
    entity = {"start": 0, "end": 1, "text": EVIL, "type": EVIL, "score": 0.5}
    other = {"start": 1, "end": 2, "text": "b", "type": "PER", "score": None}
    relation = {"head": 0, "tail": 1, "type": EVIL, "score": 0.5}
    result = {"id": EVIL, "tokens": [EVIL, "b"], "entities": [entity, other], "relations": [relation]}
    post = ExtractedPost(image, "text", result, [{"start": 0, "end": 1, "type": EVIL}], None, [(box, EVIL)])
    system = SystemResult(EVIL, Scores(1, 1, 1, {EVIL: 1}), Scores(1, 1, 1), 1)
    curves = Curves([(0, 1)], [{"step": 0, EVIL: 1}], {EVIL: [(0, 1)]})
    html = render(empty(pairs=[pair], posts=[post], systems=[system], curves=curves, command=EVIL))
    assert "<script" not in html.lower()
    page = Page(html)
    assert page.unbalanced == [] and EVIL in page.words
    assert not page.of("script")


def test_every_list_may_be_empty() -> None:
    page = Page(render(empty()))
    assert page.unbalanced == []
    assert "This run has no figures" in page.words and "promu demo --seed 3" in page.words
    assert to_json(empty())["systems"] == []


def test_one_system_alone_is_neither_best_nor_compared(sample: DemoReport) -> None:
    html = render(empty(systems=[sample.systems[0]]))
    assert "<strong>" not in html and "points over" not in html


def test_a_post_without_image_says_so(sample: DemoReport) -> None:
    html = render(empty(posts=[replace(sample.posts[0], image=None, regions=())]))
    assert "This post has no image." in html


def test_a_missing_image_is_named_and_leaves_no_file(sample: DemoReport, tmp_path: Path) -> None:
    lost = tmp_path / "lost.jpg"
    data = replace(sample, pairs=[replace(sample.pairs[0], image=lost)])
    with pytest.raises(InputError, match="no such image") as caught:
        write_report(tmp_path / "report.html", data)
    assert caught.value.path == str(lost)
    assert list(tmp_path.iterdir()) == []


def test_a_missing_folder_is_named(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="does the folder exist"):
        write_report(tmp_path / "none" / "report.html", empty())


@pytest.mark.parametrize("box", [(0.5, 0.1, 0.5, 0.2), (0, 0, float("nan"), 1), (0, 1, 1, 0)])
def test_a_box_without_area_is_refused(box: tuple[float, float, float, float]) -> None:
    with pytest.raises(InputError, match="cannot be drawn"):
        ExtractedPost(None, "text", {}, regions=[(box, "thing")])
    with pytest.raises(InputError, match="cannot be drawn"):
        LabelledRegion(box, "thing", [])


def test_figures_as_json(sample: DemoReport) -> None:
    figures = json.loads(json.dumps(to_json(sample)))
    assert (figures["seed"], figures["seconds"]) == (0, 433.2)
    assert [system["name"] for system in figures["systems"]] == ["text-only", "from-scratch", "promu"]
    promu = figures["systems"][2]
    assert promu["seconds"] == 246
    assert promu["re"]["f1"] == 78.4 and promu["ner"]["by_group"] == {"text": 82.4, "image": 62.9}
    assert {"precision", "recall", "f1"} <= promu["ner"].keys()
    assert figures["upper_bound"] == {"ner": 58.3, "re": 55.7}


def test_numbers_in_words() -> None:
    assert [signed(value) for value in (7.06, -0.44, 0.01)] == ["+7.1", "−0.4", "±0.0"]
    assert [duration(value) for value in (48.2, 59.7, 433, 3840)] == ["48 s", "1 min 0 s", "7 min 13 s", "1 h 4 min"]
    assert [percent(value) for value in (0, 0.001, 0.634, 0.999, 1)] == ["0 %", "< 1 %", "63 %", "> 99 %", "100 %"]
