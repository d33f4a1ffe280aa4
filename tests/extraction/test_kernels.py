"""How many compiled kernels a process keeps."""

from __future__ import annotations

import os

import pytest

from promu.extraction.backends import CAPACITY, keep_few_kernels


def test_the_environment_has_the_last_word(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(CAPACITY, "7")
    keep_few_kernels()
    assert os.environ[CAPACITY] == "7"
    del os.environ[CAPACITY]
    keep_few_kernels()
    assert os.environ[CAPACITY] == "128"
