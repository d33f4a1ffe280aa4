"""Twitter-2015/2017 files."""

from __future__ import annotations

import itertools
import logging
import os
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from promu.corpora.conll import read_conll, stray_inside_lines, write_conll
from promu.errors import InputError
from promu.schema import Entity, Post, Relation

COUNTS = [
    ("twitter2015/train.txt", 4000, {"PER": 2285, "LOC": 2135, "ORG": 957, "OTHER": 975}, 186),
    ("twitter2015/valid.txt", 1000, {"PER": 567, "LOC": 543, "ORG": 251, "OTHER": 233}, 53),
    ("twitter2015/test.txt", 3257, {"PER": 1873, "LOC": 1720, "ORG": 860, "OTHER": 754}, 135),
    ("twitter2017/train.txt", 3373, {"PER": 2943, "LOC": 731, "ORG": 1674, "MISC": 701}, 0),
    ("twitter2017/valid.txt", 723, {"PER": 626, "LOC": 173, "ORG": 375, "MISC": 150}, 0),
    ("twitter2017/test.txt", 723, {"PER": 621, "LOC": 178, "ORG": 395, "MISC": 157}, 0),
]


def put(tmp_path: Path, text: str | bytes) -> Path:
    path = tmp_path / "posts.txt"
    path.write_bytes(text if isinstance(text, bytes) else text.encode())
    return path


@pytest.mark.parametrize(("name", "posts", "types", "strays"), COUNTS)
@pytest.mark.slow
def test_published_files(
    shared: Path, tmp_path: Path, name: str, posts: int, types: dict[str, int], strays: int
) -> None:
    path = shared / "data" / name
    read = read_conll(path)
    assert len(read) == posts
    found = [entity.type for post in read for entity in post.entities]
    assert {kind: found.count(kind) for kind in set(found)} == types
    assert len(stray_inside_lines(path)) == strays
    copy = tmp_path / "copy.txt"
    write_conll(copy, read)
    assert read_conll(copy) == read
    if not strays:
        # Twitter-2017 ends with a blank line more than one a post.
        assert copy.read_bytes().rstrip() == path.read_bytes().rstrip()


def test_published_entities_are_those_of_seqeval(shared: Path) -> None:
    from seqeval.metrics.sequence_labeling import get_entities

    path = shared / "data" / "twitter2015" / "valid.txt"
    blocks = [block.split("\n")[1:] for block in path.read_text(encoding="utf-8").strip("\n").split("\n\n")]
    expected = [get_entities([line.split("\t")[1] for line in block if line]) for block in blocks]
    ours = [[(entity.type, entity.start, entity.end - 1) for entity in post.entities] for post in read_conll(path)]
    assert ours == expected


def test_a_post(tmp_path: Path) -> None:
    path = put(tmp_path, "IMGID:O_1\nNew\tB-LOC\nYork\tI-LOC\nLA\tB-LOC\n!\tO\n\nIMGID:O_1\n\xa0\tO\n")
    assert read_conll(path) == [
        Post("O_1", ("New", "York", "LA", "!"), "O_1.jpg", (Entity(0, 2, "LOC"), Entity(2, 3, "LOC"))),
        Post("O_1", ("\xa0",), "O_1.jpg"),
    ]


def test_windows_line_ends_and_byte_order_mark(tmp_path: Path) -> None:
    plain = "IMGID:1\na\tB-PER\n\nIMGID:2\nb\tO\n"
    expected = read_conll(put(tmp_path, plain))
    assert read_conll(put(tmp_path, b"\xef\xbb\xbf" + plain.replace("\n", "\r\n").encode())) == expected


@pytest.mark.parametrize(
    ("text", "line", "sentence"),
    [
        ("IMGID:1\na\tO\nb\tI-PER\n", 3, "I-PER after O continues no entity; write B-PER, or read the file as format"),
        ("IMGID:1\na\tB-LOC\nb\tI-PER\n", 3, "I-PER after B-LOC continues no entity"),
        ("IMGID:1\na\tI-PER\n", 2, "I-PER at the start of a post continues no entity"),
        (f"IMGID:1\na\tB-{'9' * 5000}\nb\tI-PER\n", 3, "continues no entity; write B-PER, or"),
        ("IMGID:1\na\tB-\x1b[31m\n", 2, r"'B-\x1b[31m' is no tag"),
        ("IMGID:1\na\tPER\n", 2, "'PER' is no tag; a tag is O, B-TYPE or I-TYPE"),
        ("IMGID:1\na\tB-\n", 2, "'B-' is no tag"),
        ("IMGID:1\na\t\n", 2, "'' is no tag"),
        ("IMGID:1\na O\n", 2, "word<TAB>tag is expected, found 1 column"),
        ("IMGID:1\na\tb\tO\n", 2, "found 3 column"),
        ("IMGID:1\n\tO\n", 2, "the word is empty"),
        ("IMGID:1\n \tO\n", 2, "the word is empty"),
        ("a\tO\n", 1, "words without an IMGID:<id> line before them"),
        ("IMGID:1\n\nIMGID:2\na\tO\n", 1, "post '1' has no words"),
        ("IMGID:\na\tO\n", 1, "the image id after IMGID: is empty"),
        ("IMGID:../x\na\tO\n", 1, "plain file name without folders"),
        ("IMGID:1\na\tO\nIMGID:2\nb\tO\n", 3, "a blank line is missing before this IMGID line"),
        (b"IMGID:1\na\xff\tO\n", 2, "byte 0xff at position 2 of the line is not UTF-8; save the file as UTF-8"),
    ],
)
def test_malformed(tmp_path: Path, text: str | bytes, line: int, sentence: str) -> None:
    good = "IMGID:first\nx\tO\n\n"
    path = put(tmp_path, text)
    with pytest.raises(InputError) as caught:
        read_conll(path)
    assert (caught.value.path, caught.value.line) == (str(path), line)
    assert sentence in caught.value.reason
    # Beside good posts, the malformed one is reported and skipped and the good ones are kept.
    data = text if isinstance(text, bytes) else text.encode()
    path = put(tmp_path, good.encode() + data + b"\n" + good.encode())
    problems: list[InputError] = []
    posts = read_conll(path, problems)
    assert [post.id for post in posts][:: len(posts) - 1] == ["first", "first"]
    assert [problem.line for problem in problems] == [line + 3]


def test_every_malformed_line_is_listed(tmp_path: Path) -> None:
    path = put(tmp_path, "IMGID:1\na\tX\nb\tY\n\nIMGID:2\nc\tO\nd\tI-PER\n\nIMGID:3\ne\tO\n")
    problems: list[InputError] = []
    assert [post.id for post in read_conll(path, problems)] == ["3"]
    assert [problem.line for problem in problems] == [2, 3, 7]


def test_lenient_takes_a_stray_inside_as_a_begin(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    path = put(tmp_path, "IMGID:1\na\tI-PER\nb\tI-PER\nc\tI-LOC\nd\tO\n")
    with caplog.at_level(logging.INFO):
        (post,) = read_conll(path, stray_inside="begin")
    assert post.entities == (Entity(0, 2, "PER"), Entity(2, 3, "LOC"))
    assert stray_inside_lines(path) == [2, 4]
    assert "2 I- tags" in caplog.text


words = st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\t\n\r\0"), min_size=1).filter(
    lambda word: word.strip(" ")
)


@st.composite
def conll_posts(draw: st.DrawFn) -> Post:
    tokens = tuple(draw(st.lists(words, min_size=1, max_size=8)))
    cuts = sorted(draw(st.sets(st.integers(0, len(tokens)), max_size=6)))
    types = st.sampled_from(["PER", "LOC", "OTHER"])
    spans = list(itertools.pairwise(cuts))
    entities = tuple(Entity(start, end, draw(types)) for start, end in spans if draw(st.booleans()))
    id = draw(st.from_regex(r"[0-9A-Za-zé_.-]{1,9}", fullmatch=True).filter(lambda id: id not in (".", "..")))
    return Post(id, tokens, f"{id}.jpg", entities)


@given(posts=st.lists(conll_posts(), min_size=1, max_size=4))
@pytest.mark.slow
def test_round_trip(posts: list[Post], tmp_path_factory: pytest.TempPathFactory) -> None:
    path = tmp_path_factory.getbasetemp() / "conll-round-trip.txt"
    write_conll(path, posts)
    assert read_conll(path) == posts


@pytest.mark.parametrize(
    ("post", "sentence"),
    [
        (
            Post("1", ("a", "b"), "1.jpg", (Entity(0, 1, "X"), Entity(1, 2, "X")), (Relation(0, 1, "r"),)),
            "no relations",
        ),
        (Post("1", ("a", "b"), "1.jpg", (Entity(0, 2, "X"), Entity(1, 2, "X"))), "overlaps another"),
        (Post("1", ("a",), "1.jpg", (Entity(0, 1, None),)), "None is no entity type"),
        (Post("1", ("a",), "2.png"), "its image must be named 1.jpg"),
        (Post("1", ("a\tb",), "1.jpg"), "holds a tab or a line break"),
        (Post("1", ("",), "1.jpg"), "is empty"),
        (Post("1", (), "1.jpg"), "it has no words"),
        (Post("a/b", ("a",), "a/b.jpg"), "plain file name"),
    ],
)
def test_what_the_format_cannot_hold_is_refused_and_nothing_is_left(tmp_path: Path, post: Post, sentence: str) -> None:
    path = put(tmp_path, "before")
    with pytest.raises(InputError, match=sentence):
        write_conll(path, [Post("0", ("fine",), "0.jpg"), post])
    assert path.read_text() == "before"
    assert os.listdir(tmp_path) == ["posts.txt"]


def test_writing_into_no_folder_is_a_clear_error(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"cannot be written .*does the folder exist"):
        write_conll(tmp_path / "absent" / "x.txt", [Post("0", ("fine",), "0.jpg")])
