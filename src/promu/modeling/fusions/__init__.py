"""Fusions: how text and image become fused vectors. One module and one line in `FUSIONS` each."""

from __future__ import annotations

import logging

from transformers import PreTrainedModel

from promu.errors import InputError
from promu.extensions import Choices
from promu.modeling.configuration import PromuConfig
from promu.modeling.fusions.adapcoatt import AdaptiveFusion
from promu.modeling.fusions.base import ConcatFusion, Fused, Fusion, TextFusion, VisualFeatures
from promu.modeling.fusions.hvpnet import PrefixFusion
from promu.modeling.fusions.ifaformer import DualFusion
from promu.modeling.fusions.mega import DualGraphFusion
from promu.modeling.fusions.mmib import BottleneckFusion
from promu.modeling.fusions.object_words import LabelFusion, PooledFusion
from promu.modeling.fusions.umgf import GraphFusion
from promu.modeling.fusions.umt import UnifiedFusion

logger = logging.getLogger(__name__)

__all__ = ["FUSIONS", "Fused", "Fusion", "VisualFeatures", "build_fusion"]

FUSIONS: Choices[type[Fusion]] = Choices(
    "promu.fusions",
    {
        "adapcoatt": AdaptiveFusion,
        "bert+sg": PooledFusion,
        "concat": ConcatFusion,
        "hvpnet": PrefixFusion,
        "ifaformer": DualFusion,
        "mega": DualGraphFusion,
        "mmib": BottleneckFusion,
        "ocsga": LabelFusion,
        "text": TextFusion,
        "umgf": GraphFusion,
        "umt": UnifiedFusion,
    },
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
    fusion = FUSIONS[config.fusion](config, text_encoder)
    if fusion.parses is not None and config.vision_config is not None and config.parser is None:
        logger.warning(
            "fusion %r reads parsed texts, and no parser is named (model.config.parser: a spaCy pipeline); %s",
            config.fusion,
            fusion.parses,
        )
    return fusion
