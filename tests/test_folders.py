"""A folder is there whole or not at all, and nothing that was there before is lost."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from promu.errors import InputError
from promu.files import atomic


def test_it_is_there_at_the_end_with_ordinary_permissions(tmp_path: Path) -> None:
    out = tmp_path / "new" / "set"
    with atomic(out, folder=True) as building:
        (building / "file").write_text("x")
        assert not out.exists()
    (tmp_path / "ordinary").mkdir()
    assert (out / "file").read_text() == "x" and os.listdir(out.parent) == ["set"]
    assert out.stat().st_mode == (tmp_path / "ordinary").stat().st_mode


def test_an_empty_folder_may_be_there(tmp_path: Path) -> None:
    with atomic(tmp_path, folder=True) as building:
        (building / "file").write_text("x")
    assert os.listdir(tmp_path) == ["file"]


def test_what_fails_leaves_nothing(tmp_path: Path) -> None:
    with pytest.raises(KeyError), atomic(tmp_path / "set", folder=True) as building:
        (building / "file").write_text("x")
        raise KeyError
    assert os.listdir(tmp_path) == []


def test_what_cannot_be_made_is_said(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("x")
    for out, sentence in (
        (tmp_path, "this is there already and not empty; name another folder"),
        (tmp_path / "file", "this is there already and not empty"),
        (tmp_path / "file" / "set", "the folder cannot be made"),
    ):
        with pytest.raises(InputError, match=sentence), atomic(out, folder=True):
            pytest.fail("nothing is to be built")
    assert os.listdir(tmp_path) == ["file"]
