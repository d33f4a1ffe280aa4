"""The command line is not talked over by other libraries."""

from __future__ import annotations

import subprocess
import sys

import pytest


@pytest.mark.slow
def test_libraries_say_errors_alone_though_they_come_later() -> None:
    code = (
        "from promu.hub import quiet; quiet(); import logging, torch.onnx, transformers; "
        "logging.getLogger('torch.onnx').warning('one'); logging.getLogger('accelerate').warning('two'); "
        "transformers.logging.get_logger('transformers').warning('three'); "
        "logging.getLogger('torch.onnx').error('four')"
    )
    said = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert said.stdout == "" and said.stderr.splitlines()[0].endswith("four") and len(said.stderr.splitlines()) == 1
