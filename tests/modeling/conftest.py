"""Models of a few thousand weights, and a tokenizer of a few hundred pieces."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import torch
from transformers import BertConfig, PreTrainedTokenizerBase, ViTConfig

from promu.modeling.configuration import PromuConfig
from promu.modeling.losses import JointLoss
from promu.training.tokenizers import train_wordpiece

WIDTH, GRID, VOCABULARY = 32, 4, 90


def tiny_config(**settings: Any) -> PromuConfig:
    """Four text layers of width 32, and 4 x 4 patches of a 16 px image; no dropout. Fields starting with `text_` or
    `vision_` go to the encoder of that name."""
    text: dict[str, Any] = {
        "vocab_size": VOCABULARY,
        "hidden_size": WIDTH,
        "num_hidden_layers": 4,
        "num_attention_heads": 4,
        "intermediate_size": 48,
        "max_position_embeddings": 64,
        "hidden_dropout_prob": 0.0,
        "attention_probs_dropout_prob": 0.0,
        # large enough that the vectors of different tokens differ, small enough that nothing saturates
        "initializer_range": 0.2,
    }
    vision: dict[str, Any] = {
        "hidden_size": WIDTH,
        "num_hidden_layers": 2,
        "num_attention_heads": 4,
        "intermediate_size": 48,
        "image_size": 16,
        "patch_size": 16 // GRID,
        "hidden_dropout_prob": 0.0,
        "attention_probs_dropout_prob": 0.0,
        "initializer_range": 0.2,
    }
    for name in list(settings):
        for prefix, target in (("text_", text), ("vision_", vision)):
            if name.startswith(prefix) and not name.endswith("_config"):
                target[name.removeprefix(prefix)] = settings.pop(name)
    defaults = {"text_config": BertConfig(**text), "vision_config": ViTConfig(**vision), "classifier_dropout": 0.0}
    return PromuConfig(**{**defaults, **settings})


def tiny_batch(rows: int = 3, length: int = 7, seed: int = 0) -> dict[str, torch.Tensor]:
    """`input_ids`, `attention_mask` without padding, and `pixel_values` of noise."""
    chance = torch.Generator().manual_seed(seed)
    return {
        "input_ids": torch.randint(5, VOCABULARY, (rows, length), generator=chance),
        "attention_mask": torch.ones(rows, length, dtype=torch.long),
        "pixel_values": torch.randint(0, 256, (rows, 3, 16, 16), dtype=torch.uint8, generator=chance),
    }


@pytest.fixture
def make_config() -> Callable[..., PromuConfig]:
    return tiny_config


@pytest.fixture
def make_batch() -> Callable[..., dict[str, torch.Tensor]]:
    return tiny_batch


@pytest.fixture(autouse=True)
def _same_chance() -> None:
    torch.manual_seed(0)


@pytest.fixture(scope="session")
def tokenizer() -> PreTrainedTokenizerBase:
    texts = ["the dog runs over the wide field", "a singer holds a golden trophy", "running dogs and singing people"]
    return train_wordpiece(texts * 2, 400)


def joint_loss(
    model: Any, batch: dict[str, torch.Tensor], run: Any = None
) -> tuple[torch.Tensor, dict[str, torch.Tensor]]:
    """The joint loss of a batch and its parts; `run` is the model as it is called, such as a wrapper of it."""
    return JointLoss.of(model).of_batch(run or model, batch)
