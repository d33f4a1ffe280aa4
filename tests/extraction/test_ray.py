"""A bulk run under Ray, on this machine."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
from tests.conftest import ROOT
from tests.factories import TEXTS

pytest.importorskip("ray", reason="Ray is not installed; pip install -e '.[ray]'")

RUN = """
import os, signal, sys
from pathlib import Path
from promu.extraction import bulk as engines
from promu.extraction.bulk import extract_file
from promu.extraction.bulk_part import BulkSettings

marker = Path(sys.argv[5])

class Dying(engines._PartWorker):
    \"\"\"The first of all workers is killed in the middle of its second part.\"\"\"

    def do(self, number):
        if (marker / "second").exists() or not (marker / "first").exists():
            (marker / "first").touch()
            return super().do(number)
        (marker / "second").touch()
        os.kill(os.getpid(), signal.SIGKILL)

engines._PartWorker = Dying
source, output, model, images = sys.argv[1:5]
result = extract_file(Path(source), Path(output), BulkSettings(model, images, device="cpu"), 2, "ray", part=5)
print(result.posts, result.extracted, result.dead)
"""


@pytest.mark.slow
def test_several_workers_of_which_one_is_killed(tiny_models: Path, images: Path, tmp_path: Path) -> None:
    posts = [{"id": f"p{number}", "text": TEXTS[number % 3] if number % 9 else " "} for number in range(30)]
    source, output, marker = tmp_path / "posts.jsonl", tmp_path / "out.jsonl", tmp_path / "marker"
    source.write_text("".join(json.dumps(post) + "\n" for post in posts))
    marker.mkdir()
    (tmp_path / "run.py").write_text(RUN)
    done = subprocess.run(
        [
            sys.executable,
            str(tmp_path / "run.py"),
            str(source),
            str(output),
            str(tiny_models),
            str(images),
            str(marker),
        ],
        env={**os.environ, "PYTHONPATH": str(ROOT / "src"), "OMP_NUM_THREADS": "1"},
        capture_output=True,
        text=True,
        timeout=600,
    )
    assert done.stdout.splitlines()[-1:] == ["30 26 4"], done.stderr
    assert (marker / "second").exists(), "no worker was killed"
    ids = [json.loads(line)["id"] for line in output.read_text().splitlines()]
    assert ids == [post["id"] for number, post in enumerate(posts) if number % 9]
