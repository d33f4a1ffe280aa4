"""Candidates: nouns counted in captions, and lists that say what is wrong with them."""

from __future__ import annotations

from pathlib import Path

import pytest

from promu.alignment.candidates import frequent_nouns, read_candidates, read_text_lines
from promu.errors import InputError


def test_nouns_counted_by_hand() -> None:
    captions = [
        "A dog, two Dogs and a cat.",
        "Boxes near a box; the DOG's tail",  # "dog's" is a word of its own
        "glasses on glass: catfish",
        "a well-known singer",
    ]
    lexicon = ["dog", "cat", "box", "glass", "glasses", "well", "tower"]
    assert frequent_nouns(captions, lexicon, 10) == [("box", 2), ("dog", 2), ("cat", 1), ("glass", 1), ("glasses", 1)]


def test_the_most_frequent_come_first_ties_in_alphabetical_order() -> None:
    captions = ["b a", "c c c", "a b"]
    assert frequent_nouns(captions, ["c", "b", "a"], 2) == [("c", 3), ("a", 2)]


def test_words_beyond_ascii_are_words() -> None:
    assert frequent_nouns(["Ein Café, zwei Cafés"], ["café"], 5) == [("café", 2)]


def test_candidates_keep_their_order_and_skip_comments(tmp_path: Path) -> None:
    path = tmp_path / "relations.txt"
    path.write_bytes("\ufeffmember of\r\n\n# a comment\n  award received \nspouse\n".encode())
    assert read_candidates(path) == ["member of", "award received", "spouse"]
    assert read_candidates(path, limit=2) == ["member of", "award received"]


def test_what_follows_a_tab_is_not_read(tmp_path: Path) -> None:
    path = tmp_path / "nouns.txt"
    path.write_text("# 2 of 9 nouns\ndog\t8,856\nfire truck\t12\tmore\n\t\n")
    assert read_candidates(path) == ["dog", "fire truck"]


@pytest.mark.parametrize(
    ("content", "sentence"),
    [
        (b"dog\t2\ncat\t1\ndog\t1\n", r"words.txt:3: candidate 'dog' already stands on line 1; remove one"),
        (b"dog\t2\n\t1\n", r"words.txt:2: the line begins with a tab; write the candidate before it"),
        (b"dog\ncat\n\ndog\n", r"words.txt:4: candidate 'dog' already stands on line 1; remove one"),
        (b"# only this\n", "words.txt: no candidate in this file; write one a line"),
        (b"", "words.txt: the file is empty"),
        (b"dog\ncaf\xe9\n", r"words.txt:2: .* is not UTF-8; save the file as UTF-8"),
    ],
)
def test_bad_candidate_files(tmp_path: Path, content: bytes, sentence: str) -> None:
    path = tmp_path / "words.txt"
    path.write_bytes(content)
    with pytest.raises(InputError, match=sentence):
        read_candidates(path)


def test_files_that_are_none(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"nowhere.txt: no such file"):
        read_text_lines(tmp_path / "nowhere.txt")
    with pytest.raises(InputError, match="is a folder; name one file"):
        read_text_lines(tmp_path)
