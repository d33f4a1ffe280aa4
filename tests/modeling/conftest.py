"""Models of a few thousand weights, and a tokenizer of a few hundred pieces."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch
from tests.factories import tiny_batch, tiny_config
from transformers import PreTrainedTokenizerBase

from promu.modeling.configuration import PromuConfig
from promu.training.tokenizers import train_wordpiece


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
