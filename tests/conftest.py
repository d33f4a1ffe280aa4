"""What every test relies on: one thread a process, no network, and the real data where it is there."""

from __future__ import annotations

import os
from pathlib import Path

# Before torch is imported anywhere: with one test process a core, more threads only wait for each other.
if "PYTEST_XDIST_WORKER" in os.environ:
    os.environ.setdefault("OMP_NUM_THREADS", "1")
os.environ.setdefault("TOKENIZERS_PARALLELISM", "false")
os.environ["HF_HUB_OFFLINE"] = "1"

import pytest
from hypothesis import settings

# The first example of a property may import torch; a deadline would fail the machine, not the code.
settings.register_profile("promu", deadline=None)
settings.load_profile("promu")

ROOT = Path(__file__).resolve().parent.parent


@pytest.fixture(scope="session")
def shared() -> Path:
    """The folder of real data and weights; PROMU_SHARED names it, `../shared` beside the repository is the default."""
    folder = Path(os.environ.get("PROMU_SHARED", ROOT.parent / "shared"))
    if not (folder / "data").is_dir():
        pytest.skip(f"no real data: {folder / 'data'} is not there; set PROMU_SHARED to the folder that has data/")
    return folder
