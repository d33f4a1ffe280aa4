"""What a person sees of the page, measured in a browser: bars, graphs, the model, its examples, errors, long posts."""

from __future__ import annotations

import hashlib
import json
import shutil
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
from playwright.sync_api import Browser, Page, Route, expect
from tests.browsing import WIDTHS, boxes, check_apart, check_fits, check_inside, ground_of
from tests.service.browsing import extract, opened
from tests.service.conftest import Running, Start

from promu import Extractor
from promu.errors import InputError
from promu.report.palette import TYPES
from promu.service.examples import NEUTRAL, read_examples, write_examples
from promu.service.server import model_name

pytestmark = pytest.mark.slow

NAMES = [
    "Zorva", "the Ministry of Silly Walks and Other Serious Matters", "李小龍", "محمد صلاح", "@bob", "New York City",
    "Ada Lovelace", "Żółć", "NASA", "a-name-without-a-single-blank-that-is-long", "x", "Tour de France",
]  # fmt: skip
LABELS = [
    "/per/per/peer",
    "/per/loc/place_of_residence",
    "/per/org/member_of",
    "an_own_label_of_somewhat_more_words",
    "x",
]
GRAPHS = {
    "two": [(0, 1)],
    "both ways": [(0, 1), (1, 0)],
    "three in a ring": [(0, 1), (1, 2), (2, 0)],
    "a star": [(0, other) for other in range(1, 7)],
    "all of five": [(one, two) for one in range(5) for two in range(one)],
    "twelve": [(one, (one * 5 + 3) % 12) for one in range(12) if one != (one * 5 + 3) % 12],
    "long names": [(1, 9), (9, 1), (1, 11)],
}


NOTHING_CUT = {
    "far_pairs": 0,
    "image_read": False,
    "image_reason": "no image",
    "warnings": [],
    "below": {"entities": 0, "relations": 0},
}


def answer(edges: list[tuple[int, int]], score: float = 0.5) -> dict[str, Any]:
    """An answer of the service with these relations among `NAMES`."""
    entities: list[dict[str, Any]] = []
    tokens: list[str] = []
    place = start = 0
    for number, name in enumerate(NAMES):
        words = name.split(" ")
        ends = {"start": start, "end": start + len(words), "char_start": place, "char_end": place + len(name)}
        entities.append({**ends, "text": name, "type": ["PER", "LOC", "ORG", "MISC"][number % 4], "score": score})
        place, start, tokens = place + len(name) + 1, start + len(words), [*tokens, *words]
    labels = [LABELS[number % len(LABELS)] for number in range(len(edges))]
    relations = [
        {"head": head, "tail": tail, "type": label, "score": score}
        for (head, tail), label in zip(edges, labels, strict=True)
    ]
    triples = [[NAMES[head], label, NAMES[tail]] for (head, tail), label in zip(edges, labels, strict=True)]
    found = {"entities": entities, "relations": relations, "triples": triples}
    return {"id": "1", "text": " ".join(NAMES), "tokens": tokens, **NOTHING_CUT, **found}


def show(page: Page, found: dict[str, Any], text: str = " ".join(NAMES)) -> None:
    """Let the page show an answer."""

    def reply(route: Route) -> None:
        route.fulfill(status=200, content_type="application/json", body=json.dumps(found))

    page.unroute_all()
    page.route("**/extract", reply)
    page.evaluate("document.getElementById('status').textContent = ''")
    extract(page, text)


@pytest.mark.parametrize("width", WIDTHS)
def test_no_text_of_a_graph_meets_another_and_nothing_is_cut(browser: Browser, service: Running, width: int) -> None:
    with opened(browser, service.url, width=width) as page:
        for name, edges in GRAPHS.items():
            show(page, answer(edges))
            (frame,) = boxes(page, "#graph svg")
            labels, nodes = boxes(page, "#graph .label"), boxes(page, "#graph .node rect")
            names, kinds = boxes(page, "#graph .node .name"), boxes(page, "#graph .node .kind")
            assert len(nodes) == len({end for edge in edges for end in edge}), name
            assert len(page.locator("#graph [data-relation]:has(.label)").all()) == len(edges), name
            check_apart([*labels, *names, *kinds])
            check_apart([*labels, *nodes])
            check_inside([*labels, *nodes], frame)
            for box in boxes(page, "#graph .edge.boxed rect"):
                check_inside([one for one in labels if box.y0 < (one.y0 + one.y1) / 2 < box.y1], box)
            for text, box in zip([*names, *kinds], [*nodes, *nodes], strict=True):
                check_inside([text], box)
            # letters are as large as they were drawn, not shrunk with the picture
            assert min(one.y1 - one.y0 for one in labels) >= 12, name
            check_fits(page)


def test_a_bar_is_as_long_as_its_score(browser: Browser, service: Running) -> None:
    for width in WIDTHS:
        with opened(browser, service.url, width=width) as page:
            for score in (0.0, 0.04, 0.58, 1.0):
                show(page, answer([(0, 1)], score))
                tracks = boxes(page, ".scores .track")
                bars = boxes(page, ".scores .track > span")
                assert len(tracks) == len(NAMES) + 1 and tracks[0].width > 100
                assert len(bars) == (len(tracks) if score else 0)
                for bar, track in zip(bars, tracks, strict=bool(score)):
                    assert bar.width == pytest.approx(score * track.width, abs=1)
    unscored = answer([(0, 1)])
    unscored["relations"][0]["score"] = None
    with opened(browser, service.url) as page:
        show(page, unscored)
        assert not boxes(page, "#relations .track") and boxes(page, "#entities .track")


def test_the_model_is_named_with_its_types_and_its_files(browser: Browser, service: Running, tiny_models: Path) -> None:
    weights = tiny_models / "ner" / "model.safetensors"
    with opened(browser, service.url) as page:
        expect(page.locator("#model-name")).to_have_text(tiny_models.name)
        assert page.locator("#model-types").inner_text().split() == ["LOC", "MISC", "ORG", "PER"]
        page.click("#model summary")
        facts = page.locator("#model-facts").inner_text()
        assert hashlib.sha256(weights.read_bytes()).hexdigest()[:12] in facts
        assert datetime.fromtimestamp(weights.stat().st_mtime, UTC).date().isoformat() in facts
        assert "ner (finds entities)" in facts and "re (finds relations)" in facts and "torch, fp32" in facts
    with service.client() as client:
        described = client.get("/model").json()
    assert described["styles"] == {"LOC": "loc", "MISC": "misc", "ORG": "org", "PER": "per"}
    assert "None" not in described["relation_types"] and described["parts"][1]["task"] == "re"


def test_a_model_is_called_by_its_run_or_as_one_wants(start: Start) -> None:
    named = [model_name(Path(folder)) for folder in ("runs/demo/model", "/models/news-v2", "/model")]
    assert named == ["demo/model", "news-v2", "model"]
    with start(name="News, second try") as service, service.client() as client:
        assert client.get("/model").json()["name"] == client.get("/ready").json()["model"] == "News, second try"


def test_a_type_has_the_colour_that_reports_give_it(browser: Browser, service: Running) -> None:
    for dark, scheme in enumerate(("light", "dark")):
        with opened(browser, service.url, color_scheme=scheme) as page:
            show(page, answer([(0, 1)]))
            for style in ("per", "loc", "org", "misc"):
                shade = TYPES[style][0][dark].removeprefix("#")
                red, green, blue = (int(shade[place : place + 2], 16) for place in (0, 2, 4))
                assert ground_of(page, f"#annotated .{style}") == f"rgb({red}, {green}, {blue})"


def test_examples_are_the_models_own(
    browser: Browser, service: Running, start: Start, tiny_models: Path, images: Path, tmp_path: Path
) -> None:
    # a model without examples is offered neutral posts, nothing of the drawn corpus
    with service.client() as client:
        offered = client.get("/examples").json()
    assert [one["text"] for one in offered] == [one.text for one in NEUTRAL]
    assert not any(one["image"] for one in offered)
    own = shutil.copytree(tiny_models, tmp_path / "own")
    write_examples(own, [("A first one", "Ann met Bob", images / "0.png"), ("Words alone", "Rome is old", None)])
    with start(model=own) as other, opened(browser, other.url, examples=2) as page:
        assert [one.split("\n")[0] for one in page.locator("#examples button").all_inner_texts()] == [
            "A first one",
            "Words alone",
        ]
        for number, (text, image) in enumerate((("Ann met Bob", True), ("Rome is old", False))):
            page.locator("#examples button").nth(number).click()
            expect(page.locator("#annotated")).to_contain_text(text.split()[0])
            expect(page.locator("#go")).not_to_have_attribute("aria-disabled", "true")
            assert page.locator("#seen").is_visible() == image
        check_fits(page)


def test_examples_that_cannot_be_shown_are_named(tmp_path: Path, images: Path) -> None:
    assert read_examples(tmp_path) == NEUTRAL
    write_examples(tmp_path, [("One", "Ann", images / "0.png")])
    with pytest.raises(InputError, match="example 'Two' cannot be one"):
        write_examples(tmp_path, [("Two", "", None)])
    assert [one.title for one in read_examples(tmp_path)] == ["One"], "what was there stays"
    (tmp_path / "examples" / "0.png").write_bytes(b"")
    with pytest.raises(InputError, match="the image has 0 bytes"):
        read_examples(tmp_path)
    for wrong in ('{"a": 1}', '[{"title": "a", "text": "b", "image": "../../secret.png"}]', '[{"title": "a"}]'):
        (tmp_path / "examples" / "examples.json").write_text(wrong)
        with pytest.raises(InputError, match=r"not a list of examples .* mend it, or delete the folder"):
            read_examples(tmp_path)
    many = [{"title": "a", "text": "b", "image": None}] * 25
    (tmp_path / "examples" / "examples.json").write_text(json.dumps(many))
    with pytest.raises(InputError, match="25 examples; at most 24"):
        read_examples(tmp_path)


def test_no_answer_stays_under_an_error(browser: Browser, service: Running) -> None:
    with opened(browser, service.url) as page:
        extract(page, "Ann met Bob")
        expect(page.locator("#result")).to_be_visible()
        page.fill("#text", "a" * 20_001)
        page.click("#go")
        expect(page.locator("#error")).to_contain_text("at most 20,000")
        expect(page.locator("#result")).to_be_hidden()
        extract(page, "Ann met Bob")
        expect(page.locator("#result")).to_be_visible()
        expect(page.locator("#error")).to_have_text("")
        page.fill("#text", " ")
        page.click("#go")
        expect(page.locator("#error")).to_contain_text("The post is empty")
        expect(page.locator("#result")).to_be_hidden()


def test_what_lies_below_a_threshold_is_counted(browser: Browser, start: Start, extractor: Extractor) -> None:
    text = "Ann Lee met Bob in Rome"
    every = extractor(text, entity_threshold=0, relation_threshold=0)
    lowest = sorted(one.score or 0.0 for one in every.entities)[len(every.entities) // 2] + 1e-6
    hidden = sum((one.score or 0.0) < lowest for one in every.entities)
    assert 0 < hidden < len(every.entities)
    with start(entity_threshold=lowest, relation_threshold=1) as service, opened(browser, service.url) as page:
        with service.client() as client:
            found = client.post("/extract", json={"text": text}).json()
            described = client.get("/model").json()
            assert described.get("entity_threshold") == lowest, described
        assert (found["below"]["entities"], len(found["entities"])) == (hidden, len(every.entities) - hidden)
        assert found["relations"] == [] and found["below"]["relations"] > 0
        extract(page, text)
        noun = "entity" if hidden == 1 else "entities"
        expect(page.locator("#notes")).to_contain_text(
            f"Left out: {hidden} {noun} with a score below {lowest:.2f}, and"
        )
        page.click("#model summary")
        expect(page.locator("#model-facts")).to_contain_text(f"from a score of {lowest:.2f}")


def test_what_the_model_can_never_find_is_said(browser: Browser, service: Running) -> None:
    warning = "no entity of type PERSON fits a relation, whose labels say per, loc"
    with service.client() as client:
        described = {**client.get("/model").json(), "warnings": [warning]}

    def reply(route: Route) -> None:
        route.fulfill(status=200, content_type="application/json", body=json.dumps(described))

    with opened(browser, service.url, width=360) as page:
        expect(page.locator("#model-warnings")).to_be_hidden()
        page.route("**/model", reply)
        page.reload()
        expect(page.locator("#model-warnings li")).to_have_text(warning)
        check_fits(page)


@pytest.mark.parametrize("width", WIDTHS)
def test_buttons_and_cards_lie_apart_at_every_width(
    browser: Browser, service: Running, images: Path, width: int
) -> None:
    with opened(browser, service.url, width=width) as page:
        page.set_input_files("#image", images / "0.png")
        extract(page, "Ann Lee met Bob in Rome")
        check_fits(page)
        check_apart(boxes(page, "main > section, main > form"))
        check_apart(boxes(page, "#result .read > *"))
        check_apart(boxes(page, "button, summary, textarea"))
        (shown,) = boxes(page, "#shown-image")
        assert shown.width >= min(280, width - 80)
        rendering = page.locator("#shown-image").evaluate("image => getComputedStyle(image).imageRendering")
        assert rendering == "pixelated", "an image of 48 pixels is blurred"
        assert all(one.y1 - one.y0 >= 30 for one in boxes(page, "button")), "a button is too small for a finger"
