"""The shared space of L_CIT: projections and temperature, used by the student and by the self-trained teacher."""

from __future__ import annotations

import math

import torch
from torch import nn
from torch.nn import functional
from transformers import initialization as init

from promu.modeling.configuration import PromuConfig

TEMPERATURE_RANGE = (0.001, 0.5)


class SharedSpace(nn.Module):
    """proj_v and proj_t of Eq 4 with a learned temperature.

    The projections are L2-normalised (without it the temperature has no scale).
    """

    def __init__(self, config: PromuConfig) -> None:
        super().__init__()
        self.initial_temperature = config.temperature
        visual_width = config.hidden_size if config.vision_config is None else config.vision_config.hidden_size  # type: ignore[union-attr]
        self.visual = _projection(visual_width, config)
        self.text = _projection(config.hidden_size, config)
        self.log_temperature = nn.Parameter(torch.tensor(math.log(config.temperature)))

    def start_weights(self) -> None:
        """The temperature's start, where no checkpoint holds it."""
        init.constant_(self.log_temperature, math.log(self.initial_temperature))

    @property
    def temperature(self) -> torch.Tensor:
        """The temperature, clamped to [0.001, 0.5]."""
        return self.log_temperature.exp().clamp(*TEMPERATURE_RANGE)

    def project_visual(self, pooled: torch.Tensor) -> torch.Tensor:
        """(B, d_v) to unit vectors (B, D)."""
        return functional.normalize(self.visual(pooled).float(), dim=-1)

    def project_text(self, pooled: torch.Tensor) -> torch.Tensor:
        """(B, d) to unit vectors (B, D)."""
        return functional.normalize(self.text(pooled).float(), dim=-1)


def _projection(width: int, config: PromuConfig) -> nn.Module:
    linear = nn.Linear(width, config.projection_dim, bias=False)
    return nn.Sequential(linear, nn.BatchNorm1d(config.projection_dim)) if config.projection_norm else linear
