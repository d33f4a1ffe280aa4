"""No damaged file makes a reader fail in any other way than with one InputError that names the file."""

from __future__ import annotations

import ast
import json
import tempfile
from pathlib import Path

import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from promu.corpora.check import check
from promu.corpora.formats import FORMATS
from promu.errors import InputError, Problems
from promu.schema import CaptionPair, Post

CONLL = "IMGID:17_06_1\nKawhi\tB-PER\nLeonard\tI-PER\nwins\tO\n⚽\tO\n\ufe0f\tO\n\nIMGID:O_2\nParis\tB-LOC\n\xa0\tO\n\n"
MNRE = (
    "{'token': ['Bill', 'Cosby', \"'s\", 'star'], 'h': {'name': 'Bill Cosby', 'pos': [0, 2]}, "
    "'t': {'name': 'star', 'pos': [3, 4]}, 'img_id': 'a_1.jpg', 'relation': '/per/misc/present_in'}\n"
    "{'token': ['A', 'é'], 'h': {'name': 'A', 'pos': [0, 1]}, 't': {'name': 'é', 'pos': [1, 2]}, "
    "'img_id': 'b.jpg', 'relation': 'None'}\n"
)
JMERE_RECORD = (
    '{"token": ["Rafa", "loves", "Mery"], "img_id": "t_1.jpg", "label_list": [[{"beg_ent": {"name": "Rafa", '
    '"pos": [0, 1], "tags": "per"}, "sec_ent": {"name": "Mery", "pos": [2, 3], "tags": "per"}, "relation": "couple"}]]'
)
JMERE = f'[{JMERE_RECORD}}}, {JMERE_RECORD}, "image_caption": ["a man"], "knowledge": []}}]'
JMERE_LINES = f"{JMERE_RECORD}}}\n{JMERE_RECORD}}}\n"
CAPTIONS = 'image,caption,matched\na.jpg,"a dog, ""running""",1\nb/c.jpg,two cats,0\n'
CAPTION_LINES = '{"image": "a.jpg", "caption": "a dog"}\n{"image": "b.jpg", "caption": "cats", "matched": false}\n'
ANNOTATIONS = (
    '{"annotations": [{"id": 1, "image_id": 2, "falsified": true, "similarity_score": 0.7}, '
    '{"id": 2, "image_id": 2, "falsified": false}]}'
)
BASE = (
    '[{"id": 1, "caption": "one", "image_path": "./guardian/1.jpg", "topic": "x"},\n'
    ' {"id": 2, "caption": "two", "image_path": "./bbc/2.jpg"}]'
)
COCO = (
    '{"images": [{"id": 1, "file_name": "a.jpg", "width": 10, "height": 10}], "categories": [{"id": 3, "name": "dog"}],'
    ' "annotations": [{"image_id": 1, "category_id": 3, "bbox": [1, 1.5, 4, 4], "iscrowd": 0, "score": 0.5}]}'
)
POSTS = (
    '{"id": "1", "text": "Zorva met Kelmo \U0001f600 today", "image": "p.png"}\n'
    '{"id": "2", "tokens": ["A", "met", "B"], "entities": [{"start": 0, "end": 1, "type": "PER", "score": 0.5}, '
    '{"start": 2, "end": 3, "type": "PER"}], "relations": [{"head": 0, "tail": 1, "type": "peer"}]}\n'
)
SPANS = '{"text": "Ann in Rome", "entities": [{"start": 7, "end": 11, "type": "LOC", "text": "Rome"}]}\n'
DOCCANO = (
    '{"id": 3, "text": "Ann in Rome", "label": [[0, 3, "PER"]], "Comments": []}\n'
    '{"text": "😀 Ann in Rome", "entities": [{"id": 5, "label": "PER", "start_offset": 2, "end_offset": 5}, '
    '{"id": 6, "label": "LOC", "start_offset": 9, "end_offset": 13}], '
    '"relations": [{"id": 1, "from_id": 5, "to_id": 6, "type": "in"}]}\n'
)
LABEL_STUDIO = (
    '[{"id": 1, "data": {"text": "😀 Ann", "image": "a.png"}, "annotations": [{"result": [{"id": "x", '
    '"type": "labels", "value": {"start": 3, "end": 6, "text": "Ann", "labels": ["PER"]}}]}]},\n'
    ' {"id": 2, "text": "Rome", "label": [{"start": 0, "end": 4, "text": "Rome", "labels": ["LOC"]}]}]'
)
PRODIGY = (
    '{"text": "Ann in Rome", "tokens": [{"start": 0, "end": 3}, {"start": 4, "end": 6}, {"start": 7, "end": 11}], '
    '"spans": [{"start": 7, "end": 11, "label": "LOC"}, {"start": 0, "end": 3, "label": "PER"}], '
    '"relations": [{"head_span": {"start": 0, "end": 3, "label": "PER"}, '
    '"child_span": {"start": 7, "end": 11, "label": "LOC"}, "label": "in"}], "answer": "accept"}\n'
)
BRAT = "T1\tPER 0 3\tAnn\nT2\tPER 8 11\tBob\nR1\tmet Arg1:T1 Arg2:T2\n"

# (format, the text to damage, files beside it)
SAMPLES = {
    "conll": ("conll", CONLL, {}),
    "conll-bioes": ("conll", CONLL.replace("I-PER", "E-PER").replace("B-LOC", "S-LOC"), {}),
    "mnre-json": ("mnre", json.dumps(ast.literal_eval(MNRE.splitlines()[0])) + "\n" + MNRE, {}),
    "mnre": ("mnre", MNRE, {}),
    "jmere-list": ("jmere", JMERE, {}),
    "jmere-lines": ("jmere", JMERE_LINES, {}),
    "captions-csv": ("captions", CAPTIONS, {}),
    "captions-lines": ("captions", CAPTION_LINES, {}),
    "newsclippings": ("newsclippings", ANNOTATIONS, {"data.json": BASE}),
    "coco": ("coco", COCO, {}),
    "posts": ("posts", POSTS, {}),
    "spans": ("spans", SPANS, {}),
    "doccano": ("doccano", DOCCANO, {}),
    "label-studio": ("label-studio", LABEL_STUDIO, {}),
    "prodigy": ("prodigy", PRODIGY, {}),
    "brat": ("brat", "Ann met Bob in Rome\n", {"file.ann": BRAT}),
}
SPICES = [
    b"\0", b"\r", b"\n", b"\n\n", b"\t", b'"', b"'", b"\\", b"[", b"]", b"{", b"}", b",", b":", b"/", b"..", b"None",
    b"null", b"NaN", b"-1", b"1e999", b"9" * 5000, b"true", b"\xff", b"\xef\xbb\xbf", b"\xff\xfe", b"\\ud800",
    b"\\u0000", b"[" * 3000, b"{'a':" * 300, b"(" * 300, b"-" * 3000, b"1+1j", b"b''", b"\xc2\xa0", b"\xc2\x85",
    b"I-PER", b"IMGID:", b"\tO", b"0" * 20000,
]  # fmt: skip


@st.composite
def damages(draw: st.DrawFn) -> list[tuple[str, float, bytes, float]]:
    """Steps of damage: (kind, place as a fraction, inserted bytes, length as a fraction)."""
    kinds = st.sampled_from(["insert", "delete", "replace", "truncate", "repeat"])
    fraction = st.floats(0, 1, exclude_max=True)
    inserted = st.one_of(st.sampled_from(SPICES), st.binary(max_size=4))
    return draw(st.lists(st.tuples(kinds, fraction, inserted, fraction), min_size=1, max_size=4))


def damaged(data: bytes, steps: list[tuple[str, float, bytes, float]]) -> bytes:
    for kind, place, inserted, length in steps:
        at = int(place * len(data))
        end = at + int(length * 20)
        if kind == "insert":
            data = data[:at] + inserted + data[at:]
        elif kind == "delete":
            data = data[:at] + data[end:]
        elif kind == "replace":
            data = data[:at] + inserted + data[at + len(inserted) :]
        elif kind == "truncate":
            data = data[:at]
        else:
            data = data[:end] + data[at:]
    return data


@pytest.mark.parametrize("sample", SAMPLES)
def test_the_samples_are_good(sample: str, tmp_path: Path) -> None:
    format, text, beside = SAMPLES[sample]
    for name, content in beside.items():
        (tmp_path / name).write_text(content, encoding="utf-8")
    (tmp_path / "file").write_bytes(text.encode())
    problems: list[InputError] = []
    assert FORMATS[format].read(tmp_path / "file", problems)
    assert problems == []


@pytest.mark.parametrize("target", [*SAMPLES, "newsclippings-base"])
@given(steps=damages())
@settings(max_examples=150, suppress_health_check=[HealthCheck.too_slow])
@example(steps=[("truncate", 0.0, b"", 0.0)])
@example(steps=[("insert", 0.0, b"\xff", 0.0)])
@example(steps=[("insert", 0.3, b"9" * 5000, 0.0)])
def test_a_damaged_file_is_read_or_refused(target: str, steps: list[tuple[str, float, bytes, float]]) -> None:
    format, text, beside = SAMPLES[target.removesuffix("-base")]
    files = {"file": text.encode()} | {name: content.encode() for name, content in beside.items()}
    victim = "data.json" if target.endswith("-base") else "file"
    files[victim] = damaged(files[victim], steps)
    read = FORMATS[format].read
    with tempfile.TemporaryDirectory() as folder:
        for name, content in files.items():
            (Path(folder) / name).write_bytes(content)
        path = Path(folder) / "file"

        strict: object = None
        try:
            strict = read(path, None)
        except InputError as error:
            assert_clear(error, folder)
        problems: list[InputError] = []
        try:
            lenient = read(path, problems)
        except InputError as error:
            # Only what spoils the whole file is raised beside a list of problems, and it spoils it without one too.
            assert_clear(error, folder)
            assert strict is None
            return
        for problem in problems:
            assert_clear(problem, folder)
        assert (strict is None) == bool(problems)
        if strict is not None:
            assert lenient == strict
        if format != "coco":
            assert all(isinstance(record, (Post, CaptionPair)) for record in lenient)
        # The check never raises for what is in a file, and finds the same.
        report = check(path, format)
        assert report.ok == (not problems)
        counted = Problems()
        for problem in problems:
            counted.append(problem)
        assert report.lines() and report.to_dict()["files"][0]["problems"] == [
            {"path": one.path, "line": one.line, "reason": one.reason, "count": counted.count(one)} for one in counted
        ]
        assert report.files[0].problems.total == len(problems)


def assert_clear(error: InputError, folder: str) -> None:
    assert error.path is not None and error.path.startswith(folder)
    assert error.line is None or error.line >= 1
    assert 10 < len(error.reason) < 1000
    assert "\n" not in error.reason


@pytest.mark.parametrize("format", FORMATS)
def test_missing_empty_and_folder(format: str, tmp_path: Path) -> None:
    for content in (b"", b" \n\n", b"\xef\xbb\xbf", b"\xff\xfeI\0M\0"):
        path = tmp_path / "file"
        path.write_bytes(content)
        with pytest.raises(InputError) as caught:
            FORMATS[format].read(path, [])
        assert str(path) in str(caught.value)
    with pytest.raises(InputError, match="no such file; check the path"):
        FORMATS[format].read(tmp_path / "absent", [])
    of_folders = {"brat": "no .txt file is in", "newsclippings": "no train.json of NewsCLIPpings in this folder"}
    with pytest.raises(InputError, match=of_folders.get(format, "is a folder; name one file")):
        FORMATS[format].read(tmp_path, [])
