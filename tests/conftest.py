"""What every test relies on: one thread a process, no network, and the real data where it is there."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

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


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Slow tests first, so that several processes end together."""
    items.sort(key=lambda item: item.get_closest_marker("slow") is None)


ROOT = Path(__file__).resolve().parent.parent


@pytest.fixture(scope="session")
def shared() -> Path:
    """The folder of real data and weights; PROMU_SHARED names it, `../shared` beside the repository is the default."""
    folder = Path(os.environ.get("PROMU_SHARED", ROOT.parent / "shared"))
    if not (folder / "data").is_dir():
        pytest.skip(f"no real data: {folder / 'data'} is not there; set PROMU_SHARED to the folder that has data/")
    return folder


TEXTS = (
    "Ann Lee met Bob at the old bridge in Rome today , so happy",
    "the crew of Zorva won a medal and a ring near Mount Kelmo !",
    "what a night with Tavi and the dog , thanks to the ship Orla",
)
ENTITY_TYPES = ("LOC", "MISC", "ORG", "PER")
RELATIONS = (
    "None",
    "/loc/loc/contain",
    "/org/loc/located_in",
    "/per/misc/awarded",
    "/per/org/member_of",
    "/per/per/peer",
)
TINY_TEXT: dict[str, Any] = {
    "model_type": "bert",
    "hidden_size": 32,
    "num_hidden_layers": 2,
    "num_attention_heads": 2,
    "intermediate_size": 64,
    "max_position_embeddings": 96,
}
TINY_VISION: dict[str, Any] = {
    "model_type": "promu_conv_vit",
    "image_size": 32,
    "patch_size": 8,
    "hidden_size": 32,
    "num_hidden_layers": 1,
    "num_attention_heads": 2,
    "intermediate_size": 64,
}


def save_tiny_model(folder: Path, task: str, images: bool = True) -> Path:
    """A model of `task` with random weights that finds much, and something else in each post."""
    import torch

    from promu.modeling.configuration import PromuConfig
    from promu.modeling.loading import encoder_config, save_folder
    from promu.tasks.task import TASKS
    from promu.training.tokenizers import train_wordpiece

    tokenizer = train_wordpiece(TEXTS, 400, min_frequency=1)
    names = {
        "ner": ["O", *(f"{p}-{t}" for t in ENTITY_TYPES for p in "BI")],
        "re": list(RELATIONS),
        "joint": list(RELATIONS[1:]),
    }[task]
    torch.manual_seed(7)
    model: Any = TASKS[task].model_class(
        PromuConfig(
            text_config=encoder_config(TINY_TEXT, vocab_size=len(tokenizer)),
            vision_config=encoder_config(TINY_VISION) if images else None,
            max_length=96,
            id2label=dict(enumerate(names)),
            label2id={name: index for index, name in enumerate(names)},
        )
    )
    head = {"ner": "emitter", "re": "classifier", "joint": "emitter"}[task]
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            # the usual start is so faint that neither word nor image would change an answer
            if parameter.ndim > 1 and "embeddings" not in name:
                parameter.mul_(6.0 if name.startswith("promu") else 20.0)
        bias = model.get_submodule(head).bias
        bias[0] = -4.0  # O and None seldom, so that there is something to look at
        if task == "joint":
            bias[2::2] = -12.0  # and names short, for the same reason
            model.relater.output.bias[0] = -4.0
    save_folder(folder, model, tokenizer)
    return folder


@pytest.fixture(scope="session")
def tiny_models(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder of models with `ner/` and `re/`; treat it as read-only."""
    folder = tmp_path_factory.mktemp("models")
    for task in ("ner", "re"):
        save_tiny_model(folder / task, task)
    return folder


@pytest.fixture(scope="session")
def tiny_joint(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder of models with `joint/`; treat it as read-only."""
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
