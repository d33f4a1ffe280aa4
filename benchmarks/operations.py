"""Operations of a step, counted from the sizes of the encoders: two for every multiplication of a matmul."""

from __future__ import annotations

from typing import Any

from promu.modeling.configuration import PromuConfig


def layers(config: Any, count: int, tokens: int) -> float:
    """A forward pass of `count` transformer layers over one sequence: projections, both products of attention, MLP."""
    width, inner = config.hidden_size, config.intermediate_size
    weights = 4 * width * width + 2 * width * inner
    return count * tokens * (2.0 * weights + 4.0 * tokens * width)


def vision_pass(config: PromuConfig) -> float:
    """A forward pass of the vision encoder over one image."""
    vision: Any = config.vision_config
    patches = config.grid**2
    embedding = 2.0 * patches * 3 * vision.patch_size**2 * vision.hidden_size
    return embedding + layers(vision, vision.num_hidden_layers, 1 + patches)


def student_step(config: PromuConfig, text_tokens: int) -> float:
    """Forward and backward of one sample of pre-training, text padded to `text_tokens`; backward costs two forwards."""
    text: Any = config.text_config
    upper = text.num_hidden_layers // 2
    return 3 * (
        vision_pass(config)
        + layers(text, text.num_hidden_layers - upper, text_tokens)
        + layers(text, upper, text_tokens + 1 + config.grid**2)
    )
