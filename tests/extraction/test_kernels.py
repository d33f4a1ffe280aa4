"""How many compiled kernels a process keeps."""

from __future__ import annotations

import os

import pytest

from promu.hub import KERNEL_CAPACITY, keep_few_kernels


def test_the_environment_has_the_last_word(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(KERNEL_CAPACITY, "7")
    keep_few_kernels()
    assert os.environ[KERNEL_CAPACITY] == "7"
    del os.environ[KERNEL_CAPACITY]
    keep_few_kernels()
    assert os.environ[KERNEL_CAPACITY] == "128"
