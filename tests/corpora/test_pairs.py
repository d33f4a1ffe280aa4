"""Caption files."""

from __future__ import annotations

from pathlib import Path

import pytest

from promu.corpora.captions import read_captions
from promu.errors import InputError
from promu.schema import CaptionPair


def put(tmp_path: Path, text: str | bytes, name: str = "captions.csv") -> Path:
    path = tmp_path / name
    path.write_bytes(text if isinstance(text, bytes) else text.encode())
    return path


def test_flickr8k(shared: Path) -> None:
    pairs = read_captions(shared / "data" / "flickr8k" / "captions.csv")
    assert len(pairs) == 35455
    assert len({pair.image for pair in pairs}) == 7091
    assert all(pair.matched for pair in pairs)


def test_csv(tmp_path: Path) -> None:
    text = 'caption,matched,image\n"a dog, ""Rex""\nruns",0,./a/b.jpg\r\ntwo cats ,TRUE,c.png\n\n'
    expected = [CaptionPair("a/b.jpg", 'a dog, "Rex"\nruns', False), CaptionPair("c.png", "two cats")]
    assert read_captions(put(tmp_path, text)) == expected
    lines = '{"image": "a/b.jpg", "caption": "a dog, \\"Rex\\"\\nruns", "matched": false}\n'
    assert read_captions(put(tmp_path, lines + '{"image": "c.png", "caption": "two cats"}')) == expected


@pytest.mark.parametrize(
    ("rows", "sentence"),
    [
        ("a.jpg,a dog, running", "3 columns where the first line names 2; put captions with commas"),
        ("a.jpg", "1 column where the first line names 2"),
        ('a.jpg,"a dog" runs', "not CSV"),
        ("a.jpg,", "caption is empty"),
        (",a dog", "image is empty"),
        ("/etc/a.jpg,a dog", "inside the folder of images, found '/etc/a.jpg'"),
        ("../a.jpg,a dog", "inside the folder of images"),
        (b"a.jpg,\xe9", "byte 0xe9 at position 7 of the line is not UTF-8"),
    ],
)
def test_malformed_rows(tmp_path: Path, rows: str | bytes, sentence: str) -> None:
    data = rows if isinstance(rows, bytes) else rows.encode()
    path = put(tmp_path, b'image,caption\nx.jpg,"first\nx"\n' + data + b"\nz.jpg,last\n")
    with pytest.raises(InputError, match=sentence) as caught:
        read_captions(path)
    assert (caught.value.path, caught.value.line) == (str(path), 4)
    problems: list[InputError] = []
    assert [pair.image for pair in read_captions(path, problems)] == ["x.jpg", "z.jpg"]
    assert [str(problem) for problem in problems] == [str(caught.value)]


def test_an_unclosed_quote_does_not_swallow_the_rest_unsaid(tmp_path: Path) -> None:
    path = put(tmp_path, 'image,caption\na.jpg,"a dog\nb.jpg,a cat\n')
    with pytest.raises(InputError, match="not CSV") as caught:
        read_captions(path)
    assert caught.value.line == 2


@pytest.mark.parametrize(
    ("text", "sentence"),
    [
        ("a.jpg,a dog\n", "the first line must be image,caption or image,caption,matched"),
        ("image,caption,match\na,b,1\n", "the first line must be"),
        ("image,caption,image\na,b,c\n", "the first line must be"),
        ("image,caption,matched\na,b,maybe\n", "matched must be 1, 0, true or false, found 'maybe'"),
        ('[{"image": "a", "caption": "b"}]', "a JSON list where JSON lines are expected"),
        ('{"image": "a", "caption": "b", "match": 1}', "unknown key 'match'; allowed are image, caption, matched"),
        ('{"image": "a", "caption": 3}', "caption must be a valid string, found 3"),
        ('{"image": "a", "caption": NaN}', "NaN is not JSON"),
        ('{"image": "a", "caption": "\\ud800"}', "half of a surrogate pair"),
        ('{"image": "a", "caption": ' + "9" * 5000 + "}", "not usable JSON"),
        ('{"image": ' + "[" * 100_000, "not usable JSON|not JSON"),
    ],
)
def test_malformed_files(tmp_path: Path, text: str, sentence: str) -> None:
    with pytest.raises(InputError, match=sentence):
        read_captions(put(tmp_path, text))
