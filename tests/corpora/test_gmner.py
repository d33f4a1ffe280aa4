"""Twitter10000 v2.0 (GMNER) and FMNERG: text, files of boxes, and what is wrong with them."""

from __future__ import annotations

import json
import shutil
from dataclasses import replace
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import promu
from promu.cli import main
from promu.corpora.check import check
from promu.corpora.formats import FORMATS
from promu.corpora.gmner import COARSE_TYPES, FINE_TYPES, coarse_types, find_boxes, read_gmner, write_gmner
from promu.corpora.labelled import read_labelled
from promu.corpora.posts import read_posts_jsonl, write_posts_jsonl
from promu.errors import InputError
from promu.schema import Entity, Post, Region

TEXT = "IMGID:7\nNew\tB-LOC\nYork\tI-LOC\nand\tO\nAnn\tB-PER\n\nIMGID:8\nBob\tB-PER\nof\tO\nBob\tB-PER\n\n"
SIZE = "<size><width>100</width><height>50</height><depth>3</depth></size>"


def thing(name: str, *sides: object) -> str:
    box = "".join(
        f"<{side}>{value}</{side}>" for side, value in zip(("xmin", "ymin", "xmax", "ymax"), sides, strict=True)
    )
    return f"<object>\n<name>{name}</name><pose>Left</pose>\n<bndbox>{box}</bndbox></object>\n"


def xml(*things: str, size: str = SIZE) -> str:
    return f"<annotation>\n<filename>x_region.jpg</filename>\n{size}\n{''.join(things)}</annotation>\n"


def put(folder: Path, files: dict[str, str | bytes], text: str = TEXT) -> Path:
    """A set as released: `txt/train.txt`, and `xml/` with the files."""
    for part in ("txt", "xml"):
        (folder / part).mkdir()
    for name, content in files.items():
        (folder / "xml" / name).write_bytes(content if isinstance(content, bytes) else content.encode())
    path = folder / "txt" / "train.txt"
    path.write_text(text, encoding="utf-8")
    return path


def box(*sides: float) -> Region:
    return Region((sides[0], sides[1], sides[2], sides[3]))


@pytest.mark.slow
def test_the_published_files(shared: Path, tmp_path: Path) -> None:
    report = check(shared / "data" / "gmner", "gmner")
    assert report.ok and [file.records for file in report.files] == [7000, 1500, 1500]
    assert [file.release for file in report.files] == [
        f"Twitter10000 v2.0 (GMNER release), {part}" for part in ("train", "dev", "test")
    ]
    found = [file.grounding for file in report.files if file.grounding is not None]
    totals = {
        name: sum(getattr(one, name) for one in found) for name in ("entities", "shown", "names", "boxes", "sizes")
    }
    # 51 names that are shown occur twice in their posts
    assert totals == {"entities": 16_772, "shown": 6_770, "names": 6_719, "boxes": 8_058, "sizes": 5_612}
    assert all(len(file.notes) == 1 and file.notes[0].endswith("others show nothing") for file in report.files)
    kinds: dict[str, set[str]] = {"fmnerg": set(), "fmnerg-coarse": set()}
    for name in ("train", "dev", "test"):
        shutil.copy(shared / "data" / "fmnerg" / f"{name}.txt", tmp_path)
        fine = FORMATS["fmnerg"].read(tmp_path / f"{name}.txt", None)
        coarse = coarse_types(fine)
        assert name != "dev" or coarse == FORMATS["fmnerg-coarse"].read(tmp_path / "dev.txt", None)
        assert all(one.regions is None for post in fine for one in post.entities)
        for format, posts in (("fmnerg", fine), ("fmnerg-coarse", coarse)):
            kinds[format] |= {str(one.type) for post in posts for one in post.entities}
    assert kinds == {"fmnerg": set(COARSE_TYPES), "fmnerg-coarse": set(FINE_TYPES)}
    assert (len(COARSE_TYPES), len(FINE_TYPES)) == (51, 8)


@pytest.mark.slow
def test_published_files_come_back_as_they_were(shared: Path, tmp_path: Path) -> None:
    path = shared / "data" / "fmnerg" / "dev.txt"
    posts: list[Post] = FORMATS["fmnerg"].read(path, None)  # with the boxes of the set gmner beside it
    assert sum(len(one.regions or ()) > 0 for post in posts for one in post.entities) == 991
    write = FORMATS["fmnerg"].write
    assert write is not None
    write(tmp_path / "dev.txt", posts)
    assert (tmp_path / "dev.txt").read_text().rstrip() == path.read_text(encoding="utf-8").rstrip()
    back = FORMATS["fmnerg"].read(tmp_path / "dev.txt", None)
    assert back == posts and [one.image_size for one in back] == [one.image_size for one in posts]


def test_boxes_go_to_the_entities_of_their_name(tmp_path: Path) -> None:
    path = put(tmp_path, {"8.xml": xml(thing("Bob", 1, 2, 30, "40.5"), thing("Bob", 5, 5, 9, 9))})
    (seven, eight) = read_gmner(path)
    two = (box(1, 2, 30, 40.5), box(5, 5, 9, 9))
    assert eight.entities == (Entity(0, 1, "PER", regions=two), Entity(2, 3, "PER", regions=two))
    assert eight.image_size == (100, 50) and seven.image_size is None
    assert seven.entities == (Entity(0, 2, "LOC", regions=()), Entity(3, 4, "PER", regions=()))
    assert seven.entities[0].region is None and eight.entities[0].region == two[0]
    shutil.rmtree(tmp_path / "xml")
    assert all(one.regions is None for post in read_gmner(path) for one in post.entities)
    (report,) = check(path, "gmner").files
    assert report.ok and report.grounding is None
    assert report.notes == ["there is no folder xml beside it, so that nothing is known about regions"]


def test_names_are_the_same_in_other_blanks_and_forms(tmp_path: Path) -> None:
    text = "IMGID:1\nCafé\tB-LOC\nA&amp\tI-LOC\nNew\tB-LOC\nYork\tI-LOC\n\n"
    path = put(tmp_path, {"1.xml": xml(thing("Cafe\u0301A&amp;amp", 1, 1, 2, 2), thing(" NewYork ", 3, 3, 4, 4))}, text)
    (post,) = read_gmner(path)
    assert [one.regions for one in post.entities] == [(box(1, 1, 2, 2),), (box(3, 3, 4, 4),)]


FAULTS: dict[str, tuple[str | bytes, str]] = {
    "no entity": (xml(thing("Eve", 1, 1, 2, 2)), r"7.xml:4: 'Eve' is no entity of post '7', whose entities are 'New Y"),
    "inverted": (xml(thing("Ann", 9, 1, 2, 2)), r"7.xml:6: the box of 'Ann' has no area \(xmin 9, ymin 1, xmax 2, "),
    "outside": (xml(thing("Ann", 100, 1, 120, 9)), r"7.xml:6: 'Ann': the box \[100.0, 1.0, 120.0, 9.0\] lies outside"),
    "word": (xml(thing("Ann", 1, 1, "nan", 9)), "7.xml:6: <xmax> must be a number of pixels, found 'nan'"),
    "huge": (xml(thing("Ann", 1, 1, "9" * 5000, 9)), "7.xml:6: <xmax> must be a number of pixels, found '999"),
    "no side": (xml("<object><name>Ann</name><bndbox/></object>"), "7.xml:4: the bndbox of object 1 lacks <xmin>"),
    "no name": (xml("<object>\n</object>"), "7.xml:4: object 1 lacks <name>; it has one"),
    "empty name": (xml(thing(" ", 1, 1, 2, 2)), "7.xml:4: the name of object 1 is empty"),
    "two sizes": (xml(size=SIZE * 2), "7.xml:3: the file has more than one <size>; it has one"),
    "bad size": (xml(size=SIZE.replace("50", "0.5")), "7.xml:3: the size 100 x 0.5 is none; give width and height"),
    "other": ("<html/>", "7.xml:1: <annotation> is expected, found <html>; is this a file of boxes?"),
    "not closed": (xml()[:-15], r"7.xml:3: not XML \(no element found\); correct it, or write it anew in UTF-8"),
    "empty": (" ", "7.xml: the file is empty"),
    "no text": ("Ann 1 2 3 4", r"7.xml:1: not XML \(syntax error\)"),
    "bytes": (xml(thing("Ann", 1, 1, 2, 2)).encode().replace(b"Ann", b"\xff"), r"7.xml:5: not XML \(not well-formed"),
    "encoding": ('<?xml version="1.0" encoding="gb18030"?><annotation/>', "7.xml:1: (its enc|not XML)"),
    "bomb": ('<!DOCTYPE a [<!ENTITY b "Ann"><!ENTITY c "&b;&b;">]>\n<annotation>&c;</annotation>', "7.xml:1: has a d"),
    "outer": ('\n<!DOCTYPE a [<!ENTITY b SYSTEM "file:///etc/passwd">]><annotation/>', "7.xml:"),
    "large": (xml(" " * (1 << 20)), r"7.xml: has 1,048,[\d,]+ bytes, more than 1,048,576"),
}  # fmt: skip


@pytest.mark.parametrize("fault", FAULTS)
def test_a_wrong_file_of_boxes_is_one_sentence(fault: str, tmp_path: Path) -> None:
    content, sentence = FAULTS[fault]
    path = put(tmp_path, {"7.xml": content})
    with pytest.raises(InputError, match=sentence):
        read_gmner(path)
    problems: list[InputError] = []
    assert [post.id for post in read_gmner(path, problems)] == ["8"] and len(problems) == 1
    report = check(path, "gmner")
    assert not report.ok and report.files[0].problems.total == 1


def test_what_is_unusual_is_noted(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    files: dict[str, str | bytes] = {
        "7.xml": xml(thing("Ann", -5, 1, 120, 9), size=""),
        "8.xml": xml(thing("Bob", -5, 1, 120, 9)),
        "9.xml": xml(),
    }
    path = put(tmp_path, files | {"10.xml": xml()})
    (tmp_path / "txt" / "test.txt").write_text("IMGID:9\na\tO\n")
    (tmp_path / "txt" / "empty.txt").write_text("")
    seven, eight = read_gmner(path)
    assert seven.entities[1].regions == (box(-5, 1, 120, 9),) and eight.entities[0].regions == (box(0, 1, 100, 9),)
    assert main(["check", str(path), "--format", "gmner"]) == 0
    shown = capsys.readouterr().out
    assert "shown in the image: 3 of 4 entities (2 names of posts), 2 boxes; the size of 1 image is known" in shown
    assert (
        "note: 2 posts have a file of boxes in" in shown
        and "belongs to no post of the .txt files here, such as 10.xml" in shown
    )
    assert "1 file of boxes gives no size of the image" in shown and "1 box was cut at the edge of the image" in shown


FINE = "IMGID:7\nAnn\tB-person\tB-actor\nLee\tI-person\tI-actor\nin\tO\tO\nRome\tB-location\tB-city\n\n"


def test_columns_of_types_agree(tmp_path: Path) -> None:
    path = put(tmp_path, {"7.xml": xml(thing("Rome", 1, 1, 2, 2))}, FINE)
    (fine,), (coarse,) = (FORMATS[name].read(path, None) for name in ("fmnerg", "fmnerg-coarse"))
    rome = (box(1, 1, 2, 2),)
    assert fine.entities == (Entity(0, 2, "actor", regions=()), Entity(3, 4, "city", regions=rome))
    assert coarse.entities == (Entity(0, 2, "person", regions=()), Entity(3, 4, "location", regions=rome))
    assert read_labelled("ner", path, "fmnerg") == [fine] and read_labelled("gmner", path, "fmnerg-coarse") == [coarse]
    for line, sentence in {
        "Rome\tB-person\tB-city": "train.txt:5: the coarse tag 'B-person' is not that of the fine tag 'B-city'",
        "Rome\tI-location\tB-city": "train.txt:5: the coarse tag 'I-location' is not that of the fine tag 'B-city'",
        "Rome\tO\tB-city": "train.txt:5: the coarse tag 'O' is not that of the fine tag 'B-city'",
        "Rome\tB-location\tB-moon": "train.txt:5: 'moon' is none of FMNERG's 51 fine types; the format gmner takes any",
    }.items():
        path.write_text(FINE.replace("Rome\tB-location\tB-city", line))
        for name in ("fmnerg", "fmnerg-coarse"):
            with pytest.raises(InputError, match=sentence):
                FORMATS[name].read(path, None)
    path.write_text(TEXT)
    with pytest.raises(
        InputError, match=r"train.txt:2: a word, its coarse tag and its fine tag are expected, found 2 col"
    ):
        FORMATS["fmnerg"].read(path, None)
    with pytest.raises(InputError, match=r"train.txt:2: 'LOC' is none of FMNERG's 8 coarse types"):
        FORMATS["fmnerg-coarse"].read(path, None)


WORDS = st.sampled_from(["Ann", "New", "York", "&amp", "<b>", '"', "été", "😀"])
SIDES = st.tuples(*[st.one_of(st.integers(0, 30), st.floats(0, 30, exclude_min=True))] * 4)


@st.composite
def regions(draw: st.DrawFn) -> Region:
    x, y, width, height = draw(SIDES)
    return box(float(x), float(y), float(x + width + 1), float(y + height + 1))


@st.composite
def grounded(draw: st.DrawFn, types: list[str]) -> list[Post]:
    """Posts whose regions go by name, all known."""
    posts = []
    for number in range(draw(st.integers(1, 3))):
        tokens = tuple(draw(st.lists(WORDS, min_size=1, max_size=6)))
        entities, start = [], 0
        while start < len(tokens):
            end = min(len(tokens), start + draw(st.integers(1, 2)))
            if draw(st.booleans()):
                entities.append(Entity(start, end, draw(st.sampled_from(types))))
            start = end
        post = Post(f"p{number}", tokens, f"p{number}.jpg", image_size=draw(st.sampled_from([None, (100, 90)])))
        shown = {name: tuple(draw(st.lists(regions(), max_size=2))) for name in sorted(map(post.words, entities))}
        posts.append(replace(post, entities=tuple(replace(one, regions=shown[post.words(one)]) for one in entities)))
    return posts


@settings(max_examples=25)
@given(st.data())
@pytest.mark.parametrize("format", ["gmner", "fmnerg", "fmnerg-coarse"])
def test_what_is_written_reads_back(format: str, data: st.DataObject) -> None:
    types = {"gmner": ["PER", "x.y"], "fmnerg": ["actor", "city"], "fmnerg-coarse": ["person", "other"]}[format]
    posts = data.draw(grounded(types))
    write = FORMATS[format].write
    assert write is not None
    with TemporaryDirectory() as name:
        path = Path(name) / "txt" / "train.txt"
        path.parent.mkdir()
        write(path, posts)
        write(path, posts)  # the same once more is no harm
        found = FORMATS[format].read(path, None)
        if any(post.entities for post in posts):
            assert find_boxes(path) == Path(name) / "xml"
            assert [post.image_size for post in found] == [post.image_size for post in posts]
        assert found == posts


@settings(max_examples=25)
@given(grounded(["PER"]), st.lists(st.tuples(st.sampled_from(["", "dog"]), st.sampled_from([1.0, 0.25])), max_size=3))
def test_posts_as_json_hold_all_of_it(posts: list[Post], more: list[tuple[str, float]]) -> None:
    own = tuple(Region((0.5, 1.0, 2.0, 3.0), label, score) for label, score in more)
    extra = [Entity(0, 1, "PER", 0.5, own), Entity(0, 1, None), Entity(0, 1, "LOC", regions=())]
    posts = [replace(post, entities=(*post.entities, *extra)) for post in posts]
    with TemporaryDirectory() as name:
        write_posts_jsonl(Path(name) / "a.jsonl", posts)
        found = read_posts_jsonl(Path(name) / "a.jsonl")
    assert found == posts and [post.image_size for post in found] == [post.image_size for post in posts]


@pytest.mark.parametrize(
    ("region", "sentence"),
    [
        ({"box": [1, 2, 3]}, r"entities\[0\].regions\[0\].box must be four numbers x0, y0, x1, y1 in pixels"),
        ({"box": [5, 2, 3, 4]}, "x1 > x0, y1 > y0, found"),
        (
            {"box": [50, 2, 60, 4]},
            r"regions\[0\] of entities\[0\]: the box \[50.0, 2.0, 60.0, 4.0\] lies outside its image of",
        ),
        ({"box": [True, 2, 3, 4]}, "must be four numbers"),
        ({"label": "dog"}, "lacks box; its keys are: label"),
        ({"box": [1, 2, 3, 4], "score": 2}, "score must be a number from 0 to 1, found 2"),
        ([1, 2, 3, 4], "must be a mapping with the keys box"),
    ],
)
def test_regions_in_json_that_are_none(region: Any, sentence: str, tmp_path: Path) -> None:
    entity = {"start": 0, "end": 1, "type": "PER", "regions": [region]}
    record = {"tokens": ["Ann"], "image": "a.jpg", "image_size": [40, 30], "entities": [entity]}
    (tmp_path / "a.jsonl").write_text(json.dumps(record))
    with pytest.raises(InputError, match=sentence):
        read_posts_jsonl(tmp_path / "a.jsonl")
    for size in ([0, 1], [1.5, 2], "40x30", [40]):
        (tmp_path / "a.jsonl").write_text(json.dumps({"tokens": ["Ann"], "image_size": size}))
        with pytest.raises(InputError, match="image_size must be width and height in pixels"):
            read_posts_jsonl(tmp_path / "a.jsonl")
    entity["regions"] = None
    (tmp_path / "a.jsonl").write_text(json.dumps({"tokens": ["Ann"], "image_size": None, "entities": [entity]}))
    (post,) = read_posts_jsonl(tmp_path / "a.jsonl")
    assert post.entities[0].regions is None and post.image_size is None


def test_conversion_carries_regions_and_names_what_it_cannot(tmp_path: Path) -> None:
    path = put(tmp_path, {"7.xml": xml(thing("Rome", 1, 1, 2, 2), thing("Rome", 2, 2, 3, 3))}, FINE)
    there = promu.convert(path, tmp_path / "a.jsonl", "fmnerg", "posts")
    back = promu.convert(tmp_path / "a.jsonl", tmp_path / "out" / "txt" / "b.txt", "posts", "fmnerg")
    assert not (there.left_out or there.changed or back.left_out or back.changed)
    assert FORMATS["fmnerg"].read(tmp_path / "out" / "txt" / "b.txt", None) == FORMATS["fmnerg"].read(path, None)
    plain = promu.convert(path, tmp_path / "c.txt", "fmnerg", "conll")
    assert plain.counts == {"region": 1, "image size": 1}
    assert "conll has no place for what shows 2 entities" in str(plain.left_out[0])
    entities: list[dict[str, Any]] = [
        {"start": 0, "end": 1, "type": "PER", "regions": [{"box": [1, 1, 2, 2], "label": "dog"}]},
        {"start": 1, "end": 2, "type": "PER", "regions": []},
        {"start": 2, "end": 3, "type": "DOG"},
    ]
    (tmp_path / "d.jsonl").write_text(
        json.dumps({"tokens": ["Ann", "Ann", "Rex"], "id": "1", "entities": entities, "image": "1.jpg"})
    )
    lossy = promu.convert(tmp_path / "d.jsonl", tmp_path / "new" / "d.txt", "posts", "gmner")
    assert lossy.counts == {"score": 1, "region": 1}
    assert [str(one).rpartition(": ")[2] for one in lossy.changed] == [
        "gmner says of each entity what shows it, and of 'Rex' it says 0 regions"
    ]
    (post,) = read_gmner(tmp_path / "new" / "d.txt")
    assert [one.regions for one in post.entities] == [(box(1, 1, 2, 2),), (box(1, 1, 2, 2),), ()]
    fine = promu.convert(tmp_path / "d.jsonl", tmp_path / "new2" / "d.txt", "posts", "fmnerg")
    assert fine.counts["type"] == 3 and fine.entities == 0


def test_writing_replaces_no_other_boxes_and_leaves_nothing_half_done(tmp_path: Path) -> None:
    path = put(tmp_path, {"7.xml": xml(thing("Ann", 1, 1, 2, 2))})
    posts = read_gmner(path)
    ann = Post("7", ("Ann",), "7.jpg", (Entity(0, 1, "PER", regions=(box(1, 1, 3, 3),)),))
    with pytest.raises(
        InputError, match=r"7.xml: this file of boxes is there and says something else; write to another f"
    ):
        write_gmner(tmp_path / "txt" / "new.txt", [ann])
    with pytest.raises(InputError, match=r"has no '.x01'; write it as posts"):
        bad = Post("9", ("A\x01",), "9.jpg", (Entity(0, 1, "PER", regions=(box(1, 1, 3, 3),)),))
        write_gmner(tmp_path / "new" / "new.txt", [replace(ann, id="10", image="10.jpg"), bad])
    for entity, sentence in {
        Entity(1, 2, "PER"): "nobody has said what shows 'Ann'",
        Entity(1, 2, "PER", regions=()): "two entities 'Ann' have different regions, and boxes go by name",
        Entity(0, 1, "PER"): "overlaps another",
    }.items():
        with pytest.raises(InputError, match=sentence):
            write_gmner(
                tmp_path / "new" / "new.txt", [replace(ann, tokens=("Ann", "Ann"), entities=(*ann.entities, entity))]
            )
    with pytest.raises(InputError, match="'Ann' has regions, and the post has no image"):
        write_gmner(tmp_path / "new" / "new.txt", [replace(ann, image=None)])
    assert not (tmp_path / "new").exists() and not (tmp_path / "txt" / "new.txt").exists()
    assert read_gmner(path) == posts


@settings(max_examples=60)
@given(
    st.lists(
        st.tuples(st.floats(0, 1, exclude_max=True), st.integers(0, 6), st.binary(max_size=4)), min_size=1, max_size=3
    )
)
def test_mangled_boxes_are_read_or_told(steps: list[tuple[float, int, bytes]]) -> None:
    data = xml(thing("Ann", 1, 1, 20, 20), thing("New York", 1, 2, 3, 4)).encode()
    for place, length, inserted in steps:
        at = int(place * len(data))
        data = data[:at] + inserted + data[at + length :]
    with TemporaryDirectory() as name:
        path = put(Path(name), {"7.xml": data})
        problems: list[InputError] = []
        posts = read_gmner(path, problems)
        assert len(posts) + len(problems) == 2
        for problem in problems:
            assert problem.path is not None and problem.path.endswith("7.xml") and "\n" not in problem.reason
        assert check(path, "gmner").ok == (not problems)
