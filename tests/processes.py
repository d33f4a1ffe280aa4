"""Processes of their own for tests: forked from one that has loaded promu, which takes seconds, once a test process."""

from __future__ import annotations

import os
from multiprocessing.process import BaseProcess
from pathlib import Path

from promu.study.runner import job_processes

_FIRST = """
import gc, os, sys
gc.freeze()
os.environ.clear()
os.environ.update({environment!r})
sys.argv = {words!r}
said = os.open({said!r}, os.O_WRONLY | os.O_CREAT | os.O_APPEND)
os.dup2(said, 1), os.dup2(said, 2)
"""


def start(code: str, *words: str, said: Path | None = None, **environment: str) -> BaseProcess:
    """Start Python code in a process of its own.

    Args:
        code: The code, as after `python -c`.
        words: What it finds in `sys.argv` after the first.
        said: File to which what it prints is added, errors too; None drops it.
        environment: Variables beside those of this process.
    """
    first = _FIRST.format(environment={**os.environ, **environment}, words=["-c", *words], said=str(said or os.devnull))
    process = job_processes().Process(target=exec, args=(first + code, {"__name__": "__main__"}))
    process.start()
    return process


def run(code: str, *words: str, said: Path) -> int:
    """As `start`, to its end; returns the exit status, below zero for the signal that ended it."""
    process = start(code, *words, said=said)
    process.join()
    assert process.exitcode is not None
    return process.exitcode
