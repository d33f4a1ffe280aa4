"""Fusions: how text and image become fused vectors. One module and one line in `FUSIONS` each."""

from __future__ import annotations

from transformers import PreTrainedModel

from promu.errors import InputError
from promu.extensions import Choices
from promu.modeling.configuration import PromuConfig
from promu.modeling.fusions.base import ConcatFusion, Fused, Fusion, TextFusion, VisualFeatures
from promu.modeling.fusions.hvpnet import PrefixFusion
from promu.modeling.fusions.mmib import BottleneckFusion

__all__ = ["FUSIONS", "Fused", "Fusion", "VisualFeatures", "build_fusion"]

FUSIONS: Choices[type[Fusion]] = Choices(
    "promu.fusions",
    {"concat": ConcatFusion, "hvpnet": PrefixFusion, "mmib": BottleneckFusion, "text": TextFusion},
    lambda choice: isinstance(choice, type) and issubclass(choice, Fusion),
    "a subclass of Fusion",
)
"""Fusion name -> class; packages add theirs as entry points of `promu.fusions`."""


def build_fusion(config: PromuConfig, text_encoder: PreTrainedModel) -> Fusion:
    """The fusion named by `config.fusion`; it may take layers away from `text_encoder`.

    Raises:
        InputError: There is no such fusion, or it cannot be built on this text encoder.
    """
    if config.fusion not in FUSIONS:
        raise InputError(f"fusion {config.fusion!r} is unknown; use one of {', '.join(sorted(FUSIONS))}")
    return FUSIONS[config.fusion](config, text_encoder)
