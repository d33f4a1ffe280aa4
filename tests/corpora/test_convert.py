"""`promu.convert`: round trips by property, and by name, file and line all that a format cannot carry."""

from __future__ import annotations

import json
from collections import Counter
from dataclasses import replace
from itertools import permutations
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import promu
from promu.cli import main
from promu.corpora.convert import Conversion
from promu.corpora.formats import FORMATS
from promu.corpora.posts import read_posts_jsonl, write_posts_jsonl
from promu.corpora.tokenize import tokenize
from promu.errors import InputError
from promu.schema import Entity, Post, Relation, apart

WORDS = ["Ann", "Lee", "in", "Rome", "is", "#", "happy", "😀", "été", "!"]
TYPES = st.sampled_from(["PER", "LOC", "B.1"])
MARKED: list[Any] = ["spans", "doccano", "label-studio", "prodigy", "brat"]
MARKED += [pytest.param("spacy", marks=pytest.mark.slow)]


@st.composite
def posts(draw: st.DrawFn) -> list[Post]:
    """Posts as promu's tokenizer splits them, with entities (some nested) and relations, each with its own id."""
    found = []
    for number in range(draw(st.integers(1, 3))):
        gaps = draw(st.lists(st.sampled_from([" ", "  ", "\n"]), min_size=7, max_size=7))
        words = draw(st.lists(st.sampled_from(WORDS), min_size=1, max_size=7))
        text = "".join(word + gap for word, gap in zip(words, gaps, strict=False)).strip()
        tokens = tokenize(text)
        starts = st.integers(0, len(tokens) - 1)
        spans = draw(st.lists(st.tuples(starts, st.integers(1, 3), TYPES), max_size=4))
        entities = dict.fromkeys(Entity(at, min(len(tokens), at + size), kind) for at, size, kind in spans)
        pairs = list(permutations(range(len(entities)), 2))
        ends = draw(st.lists(st.sampled_from(pairs), max_size=3, unique=True)) if pairs else []
        relations = tuple(Relation(*pair, draw(st.sampled_from(["met", "lives-in"]))) for pair in ends)
        image = draw(st.sampled_from([None, "a.png"]))
        offsets = tuple((start, end) for _, start, end in tokens)
        words_of = tuple(word for word, _, _ in tokens)
        found.append(Post(f"p{number}", words_of, image, tuple(entities), relations, text=text, offsets=offsets))
    return found


def through(posts: list[Post], format: str) -> tuple[list[Post], Conversion, Conversion]:
    """The posts after a way to another format and back, and what was left out on both."""
    with TemporaryDirectory() as name:
        folder = Path(name)
        write_posts_jsonl(folder / "a.jsonl", posts)
        there = promu.convert(folder / "a.jsonl", folder / "b", "posts", format)
        back = promu.convert(folder / "b", folder / "c.jsonl", format, "posts")
        return read_posts_jsonl(folder / "c.jsonl"), there, back


@settings(max_examples=15)
@given(posts())
@pytest.mark.parametrize("format", MARKED)
def test_what_a_tool_holds_comes_back_equal(format: str, given: list[Post]) -> None:
    found, there, back = through(given, format)
    named = [replace(post, image=None) for post in given] if format == "brat" else given
    assert found == named
    assert [one.text for one in found] == [one.text for one in given]
    assert not back.left_out and not back.changed
    images = sum(one.image is not None for one in given) if format == "brat" else 0
    assert there.counts == ({"image": images} if images else {})
    assert (there.posts, there.entities, there.relations) == (back.posts, back.entities, back.relations)


@settings(max_examples=40)
@given(posts())
def test_conll_holds_flat_entities_and_everything_else_is_counted(given: list[Post]) -> None:
    found, there, _ = through(given, "conll")
    assert [(one.tokens, one.entities) for one in found] == [(one.tokens, tuple(apart(one.entities))) for one in given]
    overlapping = sum(len(one.entities) - len(apart(one.entities)) for one in given)
    relations = sum(len(one.relations) for one in given)
    images = sum(one.image is not None for one in given)
    broken = sum(one.text != " ".join(one.tokens) for one in given)
    expected = {"overlapping": overlapping, "relation": relations, "image": images, "text": broken}
    assert there.counts == {name: count for name, count in expected.items() if count}


@settings(max_examples=40)
@given(posts())
def test_mnre_holds_every_pair(given: list[Post]) -> None:
    spans = [[(e.start, e.end) for e in post.entities] for post in given]
    distinct = [[(a, b) for a, b in permutations(of, 2) if a != b] for of in spans]
    if not any(distinct):
        return
    with TemporaryDirectory() as name:
        folder = Path(name)
        write_posts_jsonl(folder / "a.jsonl", given)
        there = promu.convert(folder / "a.jsonl", folder / "b", "posts", "mnre")
        pairs: list[Post] = FORMATS["mnre"].read(folder / "b", None)
        assert there.posts == len(pairs) == sum(map(len, distinct))
        kept = Counter(one.relations[0].type.rpartition("/")[2] for one in pairs)
        asked = Counter(one.type for post in given for one in post.relations)
        lost = Counter(one.kind for one in there.left_out)["relation"]
        assert kept.total() - kept["None"] == asked.total() - lost == there.relations


def test_every_loss_is_named_with_file_line_and_value(tmp_path: Path) -> None:
    entities = [
        {"start": 0, "end": 2, "type": "PER", "score": 0.5},
        {"start": 1, "end": 2, "type": "PER"},
        {"start": 3, "end": 4, "type": None},
        {"start": 3, "end": 4, "type": "city?"},
    ]
    relations = [{"head": 0, "tail": 1, "type": "kin"}, {"head": 0, "tail": 0 + 3, "type": "in"}]
    post: dict[str, Any] = {
        "id": "7",
        "text": "Ann Lee in  Rome",
        "image": "x.png",
        "entities": entities,
        "relations": relations,
    }
    post["who"] = 1
    (tmp_path / "a.jsonl").write_text("\n" + json.dumps(post) + "\n", encoding="utf-8")
    result = promu.convert(tmp_path / "a.jsonl", tmp_path / "a.txt", "posts", "conll")
    said = [str(one) for one in result.left_out]
    assert all(one.startswith(f"{tmp_path / 'a.jsonl'}:2: post '7': ") for one in said)
    assert [(one.kind, one.reason.removeprefix("post '7': ")) for one in result.left_out] == [
        ("further key", "conll has no place for who"),
        ("image", "conll names images <id>.jpg: 'x.png'"),
        ("text", "conll holds words alone, so that the blanks between them are lost: 'Ann Lee in  Rome'"),
        ("score", "conll has no place for the scores of 1 answers"),
        ("overlapping", "'Lee' (PER) overlaps another entity, and conll holds one tag a word"),
        ("no type", "'Rome' has no type, which conll needs"),
        ("overlapping", "'Rome' (city?) overlaps another entity, and conll holds one tag a word"),
        ("relation", "an end of it was left out: 'Ann Lee' 'kin' 'Lee'"),
        ("relation", "an end of it was left out: 'Ann Lee' 'in' 'Rome'"),
    ]
    assert (result.posts, result.entities, result.relations) == (1, 1, 0)
    assert result.to_dict()["counts"] == {"overlapping": 2, "relation": 2} | dict.fromkeys(
        ["further key", "image", "text", "score", "no type"], 1
    )


def test_spans_that_end_inside_a_word(tmp_path: Path) -> None:
    line = {"text": "un-Obama-like", "entities": [{"start": 3, "end": 8, "label": "PER"}]}
    (tmp_path / "a.jsonl").write_text(json.dumps(line) + "\n", encoding="utf-8")

    def converted(inside_word: Any) -> tuple[Conversion, Post]:
        result = promu.convert(tmp_path / "a.jsonl", tmp_path / "b.jsonl", "spans", "posts", inside_word=inside_word)
        return result, read_posts_jsonl(tmp_path / "b.jsonl")[0]

    result, post = converted("leave-out")
    assert post.entities == () and [(one.kind, one.line) for one in result.left_out] == [("inside a word", 1)]
    assert "'Obama', which is not whole words: the words there are 'un-Obama-like'" in result.left_out[0].reason
    result, post = converted("widen")
    assert post.tokens == ("un-Obama-like",) and post.entities == (Entity(0, 1, "PER"),) and not result.left_out
    result, post = converted("split")
    assert post.tokens == ("un-", "Obama", "-like") and post.entities == (Entity(1, 2, "PER"),) and not result.left_out


def test_a_malformed_file_is_refused_and_nothing_is_written(tmp_path: Path) -> None:
    (tmp_path / "a.jsonl").write_text('{"text": "Ann"}\n{"text": 3}\nno\n', encoding="utf-8")
    with pytest.raises(
        InputError, match=r"a.jsonl:2: text must be a string, found 3.* \(and 1 other fault; promu check"
    ):
        promu.convert(tmp_path / "a.jsonl", tmp_path / "b.jsonl", "doccano", "posts")
    assert sorted(path.name for path in tmp_path.iterdir()) == ["a.jsonl"]
    with pytest.raises(InputError, match=r"source and target are the same file"):
        promu.convert(tmp_path / "a.jsonl", tmp_path / "a.jsonl", "doccano", "posts")
    with pytest.raises(InputError, match="format 'coco' holds regions, but posts are needed"):
        promu.convert(tmp_path / "a.jsonl", tmp_path / "b", "posts", "coco")
    with pytest.raises(InputError, match="format 'posts' counts words, and no span ends inside one"):
        promu.convert(tmp_path / "a.jsonl", tmp_path / "b", "posts", "conll", inside_word="split")


def test_the_command_says_what_was_left_out(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    post = Post("1", ("Ann", "in", "Rome"), None, (Entity(0, 1, "PER"), Entity(2, 3, "LOC")), (Relation(0, 1, "in"),))
    write_posts_jsonl(tmp_path / "a.jsonl", [post] * 5)
    words = ["convert", str(tmp_path / "a.jsonl"), str(tmp_path / "a.txt"), "--from", "posts", "--to", "conll"]
    assert main(words) == 0
    out, err = capsys.readouterr()
    assert f"{tmp_path / 'a.txt'}: 5 posts, 10 entities, 0 relations" in out
    assert "left out: 5 (relation)" in err and "a.jsonl:1: post '1': conll holds no relations: 'Ann' 'in' 'Rome'" in err
    assert "… and 2 more" in err
    assert main([*words, "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["counts"] == {"relation": 5}


def test_conll_without_images_has_no_ids(tmp_path: Path) -> None:
    write_posts_jsonl(tmp_path / "a.jsonl", [Post("x", ("Ann",)), Post("2", ("Bob",))])
    result = promu.convert(tmp_path / "a.jsonl", tmp_path / "a.txt", "posts", "conll")
    assert [(one.kind, one.reason) for one in result.changed] == [
        ("id", "post 'x': its id is 1 in conll, which has no ids where no post has an image")
    ]
    assert [post.id for post in FORMATS["conll"].read(tmp_path / "a.txt", None)] == ["1", "2"]
