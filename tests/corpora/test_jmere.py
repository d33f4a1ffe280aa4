"""JMERE few-shot files."""

from __future__ import annotations

import copy
import json
from pathlib import Path
from typing import Any

import pytest

from promu.corpora.jmere import Background, read_jmere, read_jmere_background, write_jmere
from promu.errors import InputError
from promu.schema import Entity, Post, Relation

ZORVA = {"name": "Zorva Li", "pos": [0, 2], "tags": "per"}
KELMO = {"name": "Kelmo", "pos": [3, 4], "tags": "org"}
GOOD: dict[str, Any] = {
    "token": ["Zorva", "Li", "joins", "Kelmo"],
    "img_id": "t_1.jpg",
    "label_list": [
        [{"beg_ent": ZORVA, "sec_ent": KELMO, "relation": "member_of"}],
        [{"beg_ent": KELMO, "sec_ent": ZORVA, "relation": "contain"}],
    ],
}
POST = Post(
    "t_1",
    ("Zorva", "Li", "joins", "Kelmo"),
    "t_1.jpg",
    (Entity(0, 2, "per"), Entity(3, 4, "org")),
    (Relation(0, 1, "member_of"), Relation(1, 0, "contain")),
)
COUNTS = {17: (246, 224), 67: (248, 230), 97: (247, 231)}


@pytest.mark.parametrize("seed", COUNTS)
def test_published_files(shared: Path, tmp_path: Path, seed: int) -> None:
    folder = shared / "data" / "jmere_fewshot" / f"seed_{seed}"
    for split, posts in zip(("train", "val", "test"), (*COUNTS[seed], 475), strict=True):
        plain = read_jmere(folder / f"{split}.json")
        assert len(plain) == posts
        # One is a JSON list, the other JSON lines.
        assert read_jmere(folder / f"{split}_ofa_image_caption.json") == plain
        assert read_jmere(folder / f"{split}_ofa_knowledge.json") == plain
        background = read_jmere_background(folder / f"{split}_ofa_knowledge.json")
        assert len(background) == posts and all(len(one.captions) == 1 for one in background)
        assert sum(bool(one.knowledge) for one in background) >= posts - 2
        write_jmere(tmp_path / "copy.json", plain)
        assert (tmp_path / "copy.json").read_bytes() == (folder / f"{split}.json").read_bytes()


def test_list_and_lines_read_the_same(tmp_path: Path) -> None:
    list_, lines, pretty = tmp_path / "list.json", tmp_path / "lines.json", tmp_path / "pretty.json"
    list_.write_text(json.dumps([GOOD, GOOD]))
    pretty.write_text(json.dumps([GOOD, GOOD], indent=2))
    lines.write_text(f"{json.dumps(GOOD)}\n\n{json.dumps(GOOD)}\n")
    assert read_jmere(list_) == read_jmere(lines) == read_jmere(pretty) == [POST, POST]


def test_background(tmp_path: Path) -> None:
    path = tmp_path / "x.json"
    path.write_text(json.dumps([{**GOOD, "image_caption": ["a club"], "knowledge": ["K is a club."]}, GOOD]))
    assert read_jmere_background(path) == [Background(("a club",), ("K is a club.",)), Background((), ())]


def changed(**changes: Any) -> dict[str, Any]:
    record = copy.deepcopy(GOOD)
    for name, value in changes.items():
        if name in record or name in ("knowledge", "extra"):
            record[name] = value
        elif name == "relation":
            record["label_list"][0][0]["relation"] = value
        else:
            record["label_list"][0][0]["beg_ent"][name] = value
    return record


@pytest.mark.parametrize(
    ("record", "sentence"),
    [
        (changed(pos=[0, 9]), r"label_list\[0\]\[0\].beg_ent.pos \[0, 9\] is no span of the 4 words"),
        (changed(pos=[0.0, 2]), "must be two integers"),
        (changed(pos=[0, 1]), r"label_list\[0\]\[0\].beg_ent.name is 'Zorva Li', but the words at"),
        (changed(name="Kelmo", pos=[3, 4]), "are the same span"),
        (changed(tags="person"), "must be 'per', 'loc', 'org' or 'misc', found 'person'"),
        (changed(tags=["per"]), "must be 'per', 'loc', 'org' or 'misc'"),
        (changed(relation=""), r"label_list\[0\]\[0\].relation is empty"),
        (changed(label_list=[GOOD["label_list"][0] * 2]), r"label_list\[0\] must have at most 1 item"),
        (changed(label_list={}), "label_list must be a valid list"),
        (changed(token=["a", ""]), r"token\[1\] is empty"),
        (changed(knowledge="K"), "knowledge must be a valid list"),
        (changed(extra=1), "unknown key 'extra'"),
        ({"content": "x", "prompt": "y"}, "lacks token, img_id, label_list; its keys are: content, prompt"),
        ([], "must be a mapping|object"),
    ],
)
@pytest.mark.parametrize("form", ["list", "lines"])
def test_malformed(tmp_path: Path, record: Any, sentence: str, form: str) -> None:
    path = tmp_path / "x.json"
    records = [json.dumps(one) for one in (GOOD, record, GOOD)]
    path.write_text("\n".join(records) if form == "lines" else "[" + ",\n".join(records) + "]")
    if form == "lines" and record == []:
        sentence = "a JSON list where JSON lines are expected"
    with pytest.raises(InputError, match=sentence) as caught:
        read_jmere(path)
    assert (caught.value.path, caught.value.line) == (str(path), 2)
    problems: list[InputError] = []
    assert read_jmere(path, problems) == [POST, POST]
    assert [str(problem) for problem in problems] == [str(caught.value)]


@pytest.mark.parametrize(
    ("text", "line", "sentence"),
    [
        ('[\n{"token": ', 2, "not JSON .*; is the file complete"),
        ("[" + json.dumps(GOOD) + "\n" + json.dumps(GOOD) + "]", 2, "the JSON list breaks off here"),
        ("[" + json.dumps(GOOD) + "]\n{}", 1, "text after the end of the JSON list"),
        ("[" + json.dumps(GOOD) + ",\nnull]", 2, "the post must be a mapping .* found None"),
    ],
)
def test_a_list_that_breaks_off(tmp_path: Path, text: str, line: int, sentence: str) -> None:
    path = tmp_path / "x.json"
    path.write_text(text)
    with pytest.raises(InputError, match=sentence) as caught:
        read_jmere(path)
    assert caught.value.line == line


@pytest.mark.parametrize(
    ("post", "sentence"),
    [
        (Post("p", ("A",), "p.jpg", (Entity(0, 1, "per"),)), "drop entities in no relation"),
        (
            Post("p", ("A", "B"), "p.jpg", (Entity(0, 1, "PER"), Entity(1, 2, "per")), (Relation(0, 1, "r"),)),
            "must be 'per', 'loc'",
        ),
        (Post("p", ("A",), None), "image must be named after its id"),
        (Post("p", ("A", ""), "p.jpg"), r"token\[1\] is empty"),
    ],
)
def test_what_the_format_cannot_hold_is_refused(tmp_path: Path, post: Post, sentence: str) -> None:
    with pytest.raises(InputError, match=sentence):
        write_jmere(tmp_path / "out.json", [post])
    assert list(tmp_path.iterdir()) == []
