"""A process of its own in which neither PyTorch nor anything else of the extra `train` can be imported."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest

from promu.errors import TRAINING
from promu.extraction.result import Extraction

_BLOCKED = f"""
import sys

class Blocker:
    def find_spec(self, name, path=None, target=None):
        if name.partition(".")[0] in {TRAINING!r}:
            raise ModuleNotFoundError(f"No module named {{name!r}}", name=name)

sys.meta_path.insert(0, Blocker())
"""

_EXTRACT = """
import json
from promu import Extractor

folder, posts, images = json.load(sys.stdin)
extractor = Extractor.from_pretrained(folder)
options = {"images": images, "entity_threshold": 0.0, "relation_threshold": 0.0}
print(json.dumps([found.to_dict() for found in extractor.pipe(posts, **options)]))
"""


def run_without_torch(code: str, given: str = "") -> subprocess.CompletedProcess[str]:
    """What a program says that is run without PyTorch."""
    words = [sys.executable, "-c", _BLOCKED + code]
    return subprocess.run(words, input=given, capture_output=True, text=True, timeout=120)


def extract_without_torch(folder: Path, posts: Sequence[dict[str, Any]], images: Path) -> list[dict[str, Any]]:
    """All that the exported model in a folder finds in posts, whatever its score."""
    done = run_without_torch(_EXTRACT, json.dumps([str(folder), posts, str(images)]))
    assert done.returncode == 0, done.stderr
    found: list[dict[str, Any]] = json.loads(done.stdout)
    return found


def assert_same_answer(found: dict[str, Any], expected: Extraction) -> None:
    """An answer is the expected one, scores within what graphs may be off."""
    other = expected.to_dict()
    for kind, names in (("entities", ("start", "end", "type")), ("relations", ("head", "tail", "type"))):
        ours, theirs = ([[one[name] for name in names] for one in each[kind]] for each in (found, other))
        assert ours == theirs
        scores = [one["score"] for one in other[kind]]
        assert [one["score"] for one in found[kind]] == pytest.approx(scores, abs=1e-4)
    for name in ("id", "text", "truncated", "image_read", "image_reason"):
        assert found.get(name) == other.get(name)
