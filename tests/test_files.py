"""Lines are read as a stream, and what cannot be written is said."""

from __future__ import annotations

import errno
import tracemalloc
from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from promu.corpora.captions import iterate_captions
from promu.errors import InputError
from promu.files import MAX_LINE_CHARACTERS, read_lines, refuse_overwriting, write_text


@given(text=st.text(alphabet="ab\n\r\x85é🎈 ", max_size=30))
def test_lines_are_those_of_the_text(text: str, tmp_path_factory: pytest.TempPathFactory) -> None:
    path = tmp_path_factory.mktemp("lines") / "a.txt"
    path.write_bytes(text.encode())
    if not text.encode().strip():
        with pytest.raises(InputError, match="the file is empty"):
            list(read_lines(path, None))
        return
    expected = [line.removesuffix("\r") for line in text.split("\n")]
    assert list(read_lines(path, None)) == list(enumerate(expected, start=1))


@pytest.mark.parametrize("letter", ["a", "é", "🎈"])
@pytest.mark.parametrize(("more", "fits"), [(0, True), (1, False), (3_500_000, False)])
def test_long_lines(tmp_path: Path, letter: str, more: int, fits: bool) -> None:
    """The longest line that is allowed is read whole; of a longer one the characters are counted, not kept."""
    count = MAX_LINE_CHARACTERS + more
    path = tmp_path / "a.txt"
    path.write_bytes(b"before\n" + (letter * count).encode() + b"\nafter")
    problems: list[InputError] = []
    lines = list(read_lines(path, problems))
    assert lines == [(1, "before"), (2, letter * count if fits else None), (3, "after")]
    assert [str(problem) for problem in problems] == (
        [] if fits else [f"{path}:2: the line has {count:,} characters, more than 1,000,000; is this the right file?"]
    )


@pytest.mark.slow
def test_a_big_file_of_captions_is_not_in_memory(tmp_path: Path) -> None:
    """CSV and JSON lines of 20 MB, read in less than two."""
    rows = {
        "a.csv": ("image,caption\n", "a.jpg,a dog runs over the green field after a red ball\n"),
        "a.jsonl": ("", '{"image": "a.jpg", "caption": "a dog runs over the green field"}\n'),
    }
    for name, (head, row) in rows.items():
        path = tmp_path / name
        count = 20_000_000 // len(row)
        with path.open("w") as file:
            file.write(head)
            file.writelines([row] * count)
        tracemalloc.start()
        pairs = iterate_captions(path)
        assert next(pairs)[0] == 2 - (not head)
        seen = 1 + sum(1 for _, _ in zip(range(20_000), pairs, strict=False))
        peak = tracemalloc.get_traced_memory()[1]
        tracemalloc.stop()
        assert seen == 20_001 < count
        assert peak < 2_000_000


def test_a_full_disk_is_said(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "a.json"
    path.write_text("before")

    def chunks() -> Iterator[str]:
        yield "some"
        raise OSError(errno.ENOSPC, "No space left on device")

    with pytest.raises(InputError, match=r"a.json: cannot be written \(No space left on device\); make room and run"):
        write_text(path, chunks())
    assert [(file.name, file.read_text()) for file in tmp_path.iterdir()] == [("a.json", "before")]


def test_a_file_that_breaks_off_while_it_is_read(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "a.txt"
    path.write_text("a\nb\n")

    class Broken:
        def __enter__(self) -> Broken:
            return self

        def __exit__(self, *_: object) -> None: ...

        def readline(self, limit: int) -> bytes:
            raise OSError(errno.EIO, "Input/output error")

    monkeypatch.setattr(Path, "open", lambda *given, **named: Broken())
    with pytest.raises(InputError, match=r"a.txt: cannot be read \(.*Input/output error\); check the path"):
        list(read_lines(path, None))


def test_nothing_is_written_over_what_is_read(tmp_path: Path) -> None:
    source, link, other = tmp_path / "posts.jsonl", tmp_path / "same.jsonl", tmp_path / "other.jsonl"
    source.write_text("{}")
    link.symlink_to(source)
    other.write_text("{}")
    refuse_overwriting(other, source, None, tmp_path / "not-there")
    refuse_overwriting(tmp_path / "new", source)
    for name in (source, link, tmp_path / "x" / ".." / "posts.jsonl"):
        (tmp_path / "x").mkdir(exist_ok=True)
        with pytest.raises(InputError, match="this is what is read from"):
            refuse_overwriting(name, source)
