"""Posts as `promu extract` writes them: a few by hand, and any that hypothesis can think of."""

from __future__ import annotations

import json
import re
import sqlite3
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from hypothesis import strategies as st

from promu.graph.build import GraphFormat, build_graph
from promu.graph.names import normalise_name, read_relation_properties

Record = dict[str, Any]


Span = tuple[int, int, str | None, float | None]


def record(id: str, words: str, entities: Sequence[Span], *relations: Any) -> Record:
    """A post of words parted by blanks; entities are (start, end, type, score), relations (head, tail, type, score)."""
    tokens = words.split(" ")
    starts = [sum(len(token) + 1 for token in tokens[:index]) for index in range(len(tokens) + 1)]
    return {
        "id": id,
        "tokens": tokens,
        "entities": [
            {
                "start": start,
                "end": end,
                "text": " ".join(tokens[start:end]),
                "type": type,
                "score": score,
                "char_start": starts[start],
                "char_end": starts[end] - 1,
            }
            for start, end, type, score in entities
        ],
        "relations": [
            {"head": head, "tail": tail, "type": type, "score": score} for head, tail, type, score in relations
        ],
    }


COUPLE, PEER, MEMBER = "/per/per/couple", "/per/per/peer", "/per/org/member_of"

POSTS = [
    record(
        "a",
        "Ann Lee and Bob of the NASA",
        [(0, 2, "PER", 0.9), (3, 4, "PER", 0.8), (5, 7, "ORG", 0.7)],
        (0, 1, COUPLE, 0.6),
        (0, 2, MEMBER, 0.5),
    ),
    record(
        "b", "@Bob x ANN LEE wow", [(0, 1, "PER", 0.95), (2, 4, "PER", None)], (1, 0, COUPLE, 0.8), (0, 1, PEER, 0.4)
    ),
    record("c", "#nasa and Nasa and bob", [(0, 1, "ORG", 0.5), (2, 3, "ORG", 0.6), (4, 5, "LOC", 0.3)]),
]
"""Four entities: Ann Lee (2 spans, 2 posts), Bob (2, 2), NASA (3, 2) and the place bob; three relations."""


def write_posts(path: Path, posts: list[Record]) -> Path:
    """The posts as JSON lines."""
    path.write_text("".join(json.dumps(post) + "\n" for post in posts), encoding="utf-8")
    return path


def make_graph(folder: Path, posts: list[Record], to: GraphFormat = "sqlite", **settings: Any) -> Path:
    """The graph of some posts."""
    out = folder / f"graph.{to}"
    source = write_posts(folder / "out.jsonl", posts)
    build_graph([source], out, to, properties=settings.pop("properties", read_relation_properties()), **settings)
    return out


def rows(path: Path, query: str) -> list[tuple[Any, ...]]:
    """What a query finds in a graph."""
    connection = sqlite3.connect(path)
    try:
        return connection.execute(query).fetchall()
    finally:
        connection.close()


TEXTS = st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\0"), min_size=1, max_size=12)
NASTY = st.sampled_from(
    [
        'say "x"',
        "a\\b",
        "two\nlines",
        "tab\tbed",
        "עברית",
        "\u202eright\u202c",
        "👨‍👩‍👧",
        "🏴󠁧󠁢󠁥󠁮󠁧󠁿",
        "{{ x }}",
        "<b>&",
        "..",
        ".",
        "a/b",
        "%41",
    ]
)
NAMES = (NASTY | TEXTS).filter(lambda text: bool(normalise_name(text)))
TYPES = st.sampled_from(["PER", "LOC", "a/b ü", ".."]) | st.none()
LABELS = st.sampled_from([COUPLE, "couple", PEER, 'odd "label"\n', "//", "/a/./b", "None/"])
SCORES = st.floats(0, 1) | st.none()


@st.composite
def posts(draw: st.DrawFn) -> list[Record]:
    """Up to four posts with up to three entities each, whose texts hold whatever UTF-8 can."""
    found = []
    for number in range(draw(st.integers(1, 4))):
        texts = draw(st.lists(NAMES, max_size=3))
        spans = [(index, index + 1, draw(TYPES), draw(SCORES)) for index in range(len(texts))]
        pairs = st.tuples(*[st.integers(0, max(0, len(texts) - 1))] * 2).filter(lambda pair: pair[0] != pair[1])
        links = st.lists(st.tuples(pairs, LABELS), max_size=4, unique=True) if len(texts) > 1 else st.just([])
        post = record(
            f"{number} {draw(NAMES)}", "w x y z", spans, *((*ends, label, draw(SCORES)) for ends, label in draw(links))
        )
        # a text may have a line end where its words have none
        post["tokens"][: len(texts)] = [re.sub(r"[\t\n\r]", "", text) for text in texts]
        start = 0
        for entity, text in zip(post["entities"], texts, strict=True):
            entity |= {"text": text, "char_start": start, "char_end": start + len(text)}
            start += len(text) + 1
        found.append(post)
    return found
