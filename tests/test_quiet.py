"""The command line is not talked over by other libraries."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

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


@pytest.mark.slow
def test_loading_and_saving_from_python_show_no_bars(tiny_models: Path, tmp_path: Path) -> None:
    code = (
        "import sys; from promu import Extractor, PromuForTokenClassification; from transformers.utils import logging; "
        "Extractor.from_pretrained(sys.argv[1]); print('loaded', file=sys.stderr); "
        "PromuForTokenClassification.from_pretrained(sys.argv[1] + '/ner').save_pretrained(sys.argv[2]); "
        "print(logging.is_progress_bar_enabled())"
    )
    words = [sys.executable, "-c", code, str(tiny_models), str(tmp_path)]
    outside = {name: value for name, value in os.environ.items() if name != "HF_HUB_DISABLE_PROGRESS_BARS"}
    said = subprocess.run(words, capture_output=True, text=True, check=True, env=outside)
    assert said.stderr.startswith("loaded\n"), "the extractor showed no bar"
    assert "Writing" not in said.stderr and said.stdout == "True\n"
