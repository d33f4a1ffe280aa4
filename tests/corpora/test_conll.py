"""Twitter-2015/2017 files."""

from __future__ import annotations

import itertools
import logging
import os
from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from promu.corpora.conll import read_conll, read_conll_file, write_conll
from promu.corpora.releases import release_name
from promu.corpora.tag_schemes import bio_tags
from promu.errors import InputError, Problems, counted
from promu.schema import Entity, Post, Relation, Scheme

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
    notes = read_conll_file(path).notes
    assert [note.split(" (")[0] for note in notes] == (
        [
            counted(strays, "I- tag that continues no entity was", "I- tags that continue no entity were")
            + " read as the begin of one"
        ]
        if strays
        else []
    )
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


@pytest.mark.parametrize("name", ["twitter2015/valid.txt", "twitter2017/valid.txt"])
def test_a_release_in_another_layout_is_still_that_release(shared: Path, tmp_path: Path, name: str) -> None:
    """What the published Twitter-2015 is forgiven, its copy is too: CRLF, BOM, blanks for tabs, a line more."""
    path = shared / "data" / name
    file, plain = read_conll_file(path), path.read_bytes()
    known = release_name(path, file.posts)
    copies = {
        plain.replace(b"\n", b"\r\n"): known,
        b"\xef\xbb\xbf" + plain: known,
        plain + b"\n": f"{known}, in another layout",
        plain.replace(b"\t", b" "): f"{known}, in another layout",
    }
    for copy, name in copies.items():
        read = read_conll_file(put(tmp_path, copy))
        assert (read.posts, read.scheme, read.known) == (file.posts, file.scheme, file.known)
        assert release_name(tmp_path / "posts.txt", read.posts) == name


WORDS = [("Ann", "B-PER"), ("Lee", "I-PER"), ("Bob", "B-PER"), ("in", "O"), ("Rome", "B-LOC")]
ENTITIES = (Entity(0, 2, "PER"), Entity(2, 3, "PER"), Entity(4, 5, "LOC"))
LAYOUTS = {
    "tabs": "\n".join("\t".join(pair) for pair in WORDS),
    "blanks": "\n".join(" ".join(pair) for pair in WORDS),
    "tabs-padded": "\n".join(f"{word}\t{tag}{' ' if tag == 'O' else chr(9)}" for word, tag in WORDS),
    "padded": "\n".join(f" {word}   {tag} " for word, tag in WORDS),
    "conll-2003": "-DOCSTART- -X- -X- O\n\n" + "\n".join(f"{word} NN I-NP {tag}" for word, tag in WORDS),
    "iob1": "Ann\tI-PER\nLee\tI-PER\nBob\tB-PER\nin\tO\nRome\tI-LOC",
    "bioes": "Ann\tB-PER\nLee\tE-PER\nBob\tS-PER\nin\tO\nRome\tS-LOC",
    "bilou": "Ann\tB-PER\nLee\tL-PER\nBob\tU-PER\nin\tO\nRome\tU-LOC",
}


@pytest.mark.parametrize("layout", LAYOUTS)
@pytest.mark.parametrize("marked", [True, False])
@pytest.mark.parametrize("windows", [True, False])
def test_layouts_and_schemes_are_found_out(tmp_path: Path, layout: str, marked: bool, windows: bool) -> None:
    text = LAYOUTS[layout] + "\n\n"
    head = "IMGID:7\n" if marked else ""
    text = text.replace("\n\n", f"\n\n{head}", 1) + text if layout == "conll-2003" else head + text + head + text
    if layout == "conll-2003" and marked:
        text = text.replace("-DOCSTART- -X- -X- O\n\nAnn", "-DOCSTART- -X- -X- O\n\nIMGID:7\nAnn")
    data = b"\xef\xbb\xbf" + text.replace("\n", "\r\n").encode() if windows else text.encode()
    posts = read_conll(put(tmp_path, data))
    ids = [("7", "7.jpg")] * 2 if marked else [("1", None), ("2", None)]
    assert posts == [Post(id, tuple(word for word, _ in WORDS), image, ENTITIES) for id, image in ids]


def test_what_is_unusual_is_noted(tmp_path: Path) -> None:
    notes = read_conll_file(put(tmp_path, LAYOUTS["conll-2003"])).notes
    assert notes == [
        "the columns are separated by blanks",
        "of 4 columns the first is the word and the last the tag",
        "there are no IMGID: lines: posts are numbered and have no image",
        "1 line of -DOCSTART- was left out",
    ]
    assert read_conll_file(put(tmp_path, "IMGID:1\n" + LAYOUTS["iob1"])).notes == [
        "the tags are IOB1",
        "2 I- tags that continue no entity were read as the begin of one (lines 2, 6)",
    ]


@pytest.mark.parametrize(
    ("text", "scheme", "sentence"),
    [
        ("a\tI-PER\n", "iob2", ":1: I-PER at the start of a post continues no entity; write B-PER, or name the scheme"),
        ("a\tB-PER\nb\tO\nc\tI-PER\n", "auto", ":3: I-PER after O continues no entity"),
        ("a\tS-PER\n", "iob1", ":1: 'S-PER' is no tag in the scheme iob1; the scheme bioes has others"),
        ("a\tB-PER\nb\tO\nc\tS-PER\n", "bioes", ":1: B-PER begins an entity that O neither continues nor ends"),
        ("a\tS-PER\nb\tE-PER\n", "bioes", ":2: E-PER continues no entity (scheme bioes)"),
        ("a\tB-PER\nb\tE-LOC\n", "bioes", ":1: B-PER begins an entity that E-LOC neither continues nor ends"),
    ],
)
def test_tags_that_a_scheme_does_not_have(tmp_path: Path, text: str, scheme: Scheme, sentence: str) -> None:
    with pytest.raises(InputError) as caught:
        read_conll(put(tmp_path, text), scheme=scheme)
    assert sentence in str(caught.value)


def test_a_file_that_is_wrong_in_every_line_is_said_once(tmp_path: Path) -> None:
    path = put(tmp_path, "IMGID:1\n" + "".join(f"word{number} and {number} more\tO\tx\n" for number in range(3000)))
    text = path.read_text().replace("\tx", "", 1)
    path.write_text(text.replace("\tO\tx", "\tB_PER"))
    problems = Problems()
    assert read_conll(path, problems) == []
    assert (len(problems), problems.total) == (1, 2999)
    (sentence,) = problems.sentences()
    assert str(sentence) == (
        f"{path}:3: 'B_PER' is no tag; a tag is O, B-TYPE or I-TYPE (2,999 times: lines 3, 4, 5, 6, …)"
    )
    with pytest.raises(InputError) as caught:
        read_conll(path)
    assert str(caught.value) == str(sentence)


@pytest.mark.parametrize(
    ("text", "line", "sentence"),
    [
        (
            "IMGID:1\na\tB-PER\nb\tO\nc\tI-PER\n",
            4,
            "I-PER after O continues no entity; write B-PER, or name the scheme",
        ),
        ("IMGID:1\na\tB-LOC\nb\tI-PER\n", 3, "I-PER after B-LOC continues no entity"),
        (f"IMGID:1\na\tB-{'9' * 5000}\nb\tI-PER\n", 3, "continues no entity; write B-PER, or"),
        ("IMGID:1\na\tB-\x1b[31m\n", 2, r"'B-\x1b[31m' is no tag"),
        ("IMGID:1\na\tPER\n", 2, "'PER' is no tag; a tag is O, B-TYPE or I-TYPE"),
        ("IMGID:1\na\tB-\n", 2, "'B-' is no tag"),
        ("IMGID:1\na\t\n", 2, "found 1 column separated by tabs"),
        ("IMGID:1\na\n", 2, "a word and its tag are expected, found 1 column"),
        ("IMGID:1\nx\tO\nx\tO\na O\n", 4, "word<TAB>tag is expected, found 1 column"),
        ("IMGID:1\nx\tO\nx\tO\na\tb\tO\n", 4, "found 3 column"),
        ("IMGID:1\n\tO\n", 2, "the word is empty"),
        ("IMGID:1\n \tO\n", 2, "the word is empty"),
        ("a\tO\n\nIMGID:1\na\tO\n", 1, "words without an IMGID:<id> line before them"),
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
    path = put(tmp_path, "IMGID:1\na\tX\nb\tY\n\nIMGID:2\nc\tB-PER\nd\tI-LOC\n\nIMGID:3\ne\tO\n")
    problems: list[InputError] = []
    assert [post.id for post in read_conll(path, problems)] == ["3"]
    assert [problem.line for problem in problems] == [2, 3, 7]


@pytest.mark.parametrize(
    ("scheme", "spans"), [("iob1", (Entity(0, 2, "PER"), Entity(2, 3, "LOC"), Entity(3, 4, "LOC")))]
)
def test_iob1_takes_a_stray_inside_as_a_begin(
    tmp_path: Path, scheme: Scheme, spans: tuple[Entity, ...], caplog: pytest.LogCaptureFixture
) -> None:
    path = put(tmp_path, "IMGID:1\na\tI-PER\nb\tI-PER\nc\tI-LOC\nd\tB-LOC\n")
    with caplog.at_level(logging.INFO):
        (post,) = read_conll(path, scheme=scheme)
    assert post.entities == spans
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


SCHEMES: list[Scheme] = ["iob2", "iob1", "bioes"]


@given(posts=st.lists(conll_posts(), min_size=1, max_size=4), scheme=st.sampled_from(SCHEMES), windows=st.booleans())
@settings(max_examples=50)
def test_schemes_and_line_ends_round_trip(
    posts: list[Post], scheme: Scheme, windows: bool, tmp_path_factory: pytest.TempPathFactory
) -> None:
    """In any scheme, with or without IMGID lines, named or found out, and with CRLF and a BOM."""
    path = tmp_path_factory.getbasetemp() / "conll-schemes.txt"
    plain = [replace(post, id=str(number), image=None) for number, post in enumerate(posts, start=1)]
    for written in (posts, plain):
        write_conll(path, written, scheme)
        if windows:
            path.write_bytes(b"\xef\xbb\xbf" + path.read_bytes().replace(b"\n", b"\r\n"))
        assert read_conll(path) == written
        assert read_conll(path, scheme=scheme) == written


def test_a_post_in_each_scheme() -> None:
    post = Post("1", tuple(word for word, _ in WORDS), None, ENTITIES)
    for scheme in SCHEMES:
        tags = [line.split("\t")[1] for line in LAYOUTS["tabs" if scheme == "iob2" else scheme].split("\n")]
        assert bio_tags(post, scheme) == tags


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
        (Post("1", ("-DOCSTART-",), "1.jpg"), "-DOCSTART- begins a document"),
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
