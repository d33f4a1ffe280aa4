"""The page of a neighbourhood: whole in itself, legal, within its frame."""

from __future__ import annotations

import re
import tempfile
from html.parser import HTMLParser
from pathlib import Path

import pytest
from hypothesis import given, settings
from tests.graph.examples import PEER, POSTS, Record, make_graph, posts, record

from promu.errors import InputError
from promu.graph.graph_store import facts_of, find_entities, open_graph
from promu.graph.view import Drawing, draw_neighbours, write_graph_page

VOID = {"meta", "link", "br", "img"}


class Page(HTMLParser):
    """Reads a page and keeps what is asked of it; every element has to be closed, in order."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.open: list[str] = []
        self.ids: list[str] = []
        self.targets: list[str] = []
        self.words: list[str] = []
        self.tags: set[str] = set()
        self.feed(text)
        assert self.open == []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.add(tag)
        values = dict(attrs)
        self.ids += [values["id"] or ""] if "id" in values else []
        self.targets += [values[key] or "" for key in ("href", "src", "xlink:href") if key in values]
        if tag not in VOID and not self.rawdata[: self._end()].endswith("/>"):
            self.open.append(tag)

    def _end(self) -> int:
        start = sum(len(line) + 1 for line in self.rawdata.split("\n")[: self.getpos()[0] - 1]) + self.getpos()[1]
        return start + len(self.get_starttag_text() or "")

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.add(tag)

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        self.words.append(data)


def page(folder: Path, found: list[Record], name: str, type: str | None = None, limit: int = 12) -> str:
    write_graph_page(make_graph(folder, found), name, folder / "page.html", type=type, limit=limit)
    return (folder / "page.html").read_text(encoding="utf-8")


def test_a_page_by_hand(tmp_path: Path) -> None:
    text = page(tmp_path, POSTS, "ann lee")
    read = Page(text)
    said = " ".join(" ".join(read.words).split())
    assert "Mentioned 2 times in 2 posts, best score 0.90; 2 relations from it, 1 to it." in said
    assert "2 posts, best score 0.80 · /per/per/couple · Wikidata P26" in said
    assert "Between its neighbours" not in said  # Bob and the NASA have nothing to do with each other
    assert "promu.example" not in said
    assert {"#link-0", "#link-1", "#link-2"} <= set(read.targets)


def test_nothing_comes_from_elsewhere_and_nothing_runs(tmp_path: Path) -> None:
    read = Page(text := page(tmp_path, POSTS, "ann lee"))
    assert "script" not in read.tags and not re.search(r"\son\w+=", text)
    assert not re.findall(r"https?://|//\w|@import|url\((?!#)", text)
    assert "default-src 'none'" in text and "prefers-color-scheme: dark" in text


@given(posts())
@settings(max_examples=12)
def test_any_names_make_a_legal_page(found: list[Record]) -> None:
    names = [(one["text"], one["type"]) for post in found for one in post["entities"] if one["type"] is not None]
    with tempfile.TemporaryDirectory() as folder:
        for name, type in names[:1]:
            read = Page(page(Path(folder), found, name, type))
            assert len(set(read.ids)) == len(read.ids)
            assert {target[1:] for target in read.targets if target.startswith("#")} <= set(read.ids)


def test_markup_in_a_name_is_text(tmp_path: Path) -> None:
    evil = record("<i>", "<script>x</script> &amp;", [(0, 1, "PER", 0.5), (1, 2, "<b>", 0.5)], (0, 1, "<u>/x", 0.5))
    read = Page(page(tmp_path, [evil], "<script>x</script>"))
    assert not {"script", "u"} & read.tags
    assert "<script>x</script>" in read.words and "&amp;" in read.words


def drawing(folder: Path, found: list[Record], name: str) -> Drawing | None:
    with open_graph(make_graph(folder, found)) as connection:
        return draw_neighbours(facts_of(connection, find_entities(connection, name)[0], 12))


def test_boxes_lie_apart_and_within_the_frame(tmp_path: Path) -> None:
    ends = [(0, 1, "PER", 0.5), (1, 2, "ORG", 0.5)]
    outward = [record(f"o{n}", f"Hub {'very_long_name_' * n}{n}", ends, (0, 1, f"label{n % 3}", 0.5)) for n in range(9)]
    inward = [record(f"i{n}", f"Hub 名前{n}", ends, (1, 0, PEER, 0.5)) for n in range(3)]
    twice = [record("t", "Hub 0", ends, (0, 1, "another", 0.5))]
    drawn = drawing(tmp_path, [*outward, *inward, *twice], "hub")
    assert drawn is not None and len(drawn.lines) == 13
    boxes = [drawn.middle, *(line.box for line in drawn.lines if line.box)]
    assert len(boxes) == 1 + 9 + 3
    for index, one in enumerate(boxes):
        assert one.x >= 0 and one.x + one.width <= drawn.width
        assert one.y >= 0 and one.y + one.height <= drawn.height
        for two in boxes[:index]:
            assert (
                one.x + one.width <= two.x
                or two.x + two.width <= one.x
                or one.y + one.height <= two.y
                or two.y + two.height <= one.y
            )
    left = [line for line in drawn.lines if line.label_x < drawn.middle.x]
    assert {line.label for line in left} == {"peer"} and len(left) == 3


def test_nobody_to_draw(tmp_path: Path) -> None:
    assert drawing(tmp_path, POSTS, "bob") is not None
    alone = record("x", "Ann or ANN", [(0, 1, "PER", 0.5), (2, 3, "PER", 0.5)], (0, 1, PEER, 0.5))
    assert drawing(tmp_path, [alone], "ann") is None  # a relation with itself is in the list alone
    assert "Its neighbours" not in page(tmp_path, [alone], "ann") and "Ann" in page(tmp_path, [alone], "ann")
    assert "It has no relation" in page(tmp_path, POSTS, "bob", "LOC")


def test_a_name_that_is_none_or_several(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"nothing is called 'Bobb'; similar are '@Bob' \(PER\), 'bob' \(LOC\)"):
        page(tmp_path, POSTS, "Bobb")
    with pytest.raises(InputError, match=r"nothing of type ORG is called 'zzz'$"):
        page(tmp_path, POSTS, "zzz", "ORG")
    with pytest.raises(InputError, match="'bob' is several entities, of the types PER, LOC; say which with type="):
        page(tmp_path, POSTS, "bob")
    assert not (tmp_path / "page.html").exists()
