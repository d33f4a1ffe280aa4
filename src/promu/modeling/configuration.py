"""The settings of every promu model: two encoders, a fusion, and the sizes of the heads."""

from __future__ import annotations

from typing import Any

from huggingface_hub.dataclasses import strict
from transformers import AutoConfig, PreTrainedConfig

import promu.modeling.efficientnet_lite
import promu.modeling.map_encoder
import promu.modeling.small_encoders  # noqa: F401  (all register their types)
from promu.errors import InputError
from promu.modeling.head_settings import HeadSettings

POOLINGS = ("cls", "cls+mean", "mean")
_AFTER_PADDING = {"roberta", "xlm-roberta", "xlm-roberta-xl", "roberta-prelayernorm", "camembert", "data2vec-text"}
_AFTER_PADDING |= {"mpnet", "longformer", "ibert", "xmod", "esm"}
"""Encoders whose first position comes after the number of the padding token: they have so many fewer."""


@strict
class PromuConfig(PreTrainedConfig, HeadSettings):
    """Settings of the backbone and of the heads that sit on it; those of the heads are `HeadSettings`.

    Args:
        text_config: Configuration of a Hugging Face text encoder.
        vision_config: Configuration of a Hugging Face vision encoder; None makes a text-only backbone.
        fusion: A name in `promu.modeling.fusions.FUSIONS`.
        fusion_layers: None gives the upper half of the text encoder's own layers to the fusion (METHOD: no weight
            is added); a number builds a separate stack of that many layers of the text encoder's kind.
        fusion_loss_weights: Weights of the fusion's own losses by name, where they are not to be its own choice.
        projection_dim: Width of the shared space of L_CIT (Eq 4).
        projection_norm: Batch-normalise the two projections before they are compared.
        projection_hidden: Width of a hidden layer (GELU) in each projection; None leaves them linear, as in Eq 4.
        projection_dropout: Dropout behind that layer: frozen encoders over few images are learned by heart without.
        pooling: What stands for a whole text or image in L_CIT, see `promu.modeling.encoders.pooled`.
        temperature: Initial temperature of L_CIT; learned, and clamped to [0.001, 0.5].
        itm_cosine: The ITM head also reads the cosine of L_CIT's two vectors, so that the fusion only has to learn what
            the cosine misses (beyond the paper).
        image_mean, image_std: Per-channel normalisation of pixels in 0..1.
        nouns: The M candidates of Eq 6, in the order of the COE head's outputs.
        relations: The L candidates of Eq 9, in the order of the CIR head's outputs.
        loss_weights: The weights of Eq 11 by name (itm, cit, coe, cir) and of the optional mlm, lm and tag terms.
        frozen: Encoders (`text`, `vision`) whose weights stay as they are, in evaluation mode.
        classifier_dropout: Dropout before the heads of the fine-tuned tasks.

    Example:
        ```python
        from promu import PromuConfig, PromuModel

        config = PromuConfig(
            text_config={"model_type": "bert", "hidden_size": 32, "num_attention_heads": 2, "intermediate_size": 64},
            vision_config={"model_type": "vit", "hidden_size": 32, "num_attention_heads": 2, "intermediate_size": 64},
        )
        model = PromuModel(config)  # random weights; `PromuModel.from_encoders` takes pretrained ones
        ```
    """

    model_type = "promu"
    sub_configs = {"text_config": AutoConfig, "vision_config": AutoConfig}

    text_config: dict[str, Any] | PreTrainedConfig | None = None
    vision_config: dict[str, Any] | PreTrainedConfig | None = None
    fusion: str = "concat"
    fusion_layers: int | None = None
    fusion_loss_weights: dict[str, float] | None = None
    projection_dim: int = 256
    projection_norm: bool = False
    projection_hidden: int | None = None
    projection_dropout: float = 0.0
    pooling: str = "cls"
    temperature: float = 0.07
    itm_cosine: bool = False
    image_mean: list[float] | tuple[float, ...] = (0.5, 0.5, 0.5)
    image_std: list[float] | tuple[float, ...] = (0.5, 0.5, 0.5)
    nouns: list[str] | tuple[str, ...] = ()
    relations: list[str] | tuple[str, ...] = ()
    loss_weights: dict[str, float] | None = None
    frozen: list[str] | tuple[str, ...] = ()
    classifier_dropout: float = 0.1

    def __post_init__(self, **kwargs: Any) -> None:
        self.text_config = _as_config(self.text_config) or AutoConfig.for_model("bert")
        self.vision_config = _as_config(self.vision_config)
        if self.projection_dropout and self.projection_hidden is None:
            raise InputError("projection_dropout needs projection_hidden, the layer behind which it is; set both")
        if self.pooling not in POOLINGS:
            raise InputError(f"pooling {self.pooling!r} is unknown; use one of {', '.join(POOLINGS)}")
        self.check_head()
        for name in kwargs:
            if isinstance(kind := getattr(type(self), name, None), property) and kind.fset is None:
                raise InputError(f"{name} follows from other settings; leave it out")
        super().__post_init__(**kwargs)

    @property
    def hidden_size(self) -> int:
        """Width d of the text side and of the fused vectors."""
        return int(self.text_config.hidden_size)  # type: ignore[union-attr]

    @property
    def image_size(self) -> int | None:
        """Side of the square image that the vision encoder takes, in pixels; None for a text-only backbone."""
        return None if self.vision_config is None else int(self.vision_config.image_size)  # type: ignore[union-attr]

    @property
    def max_positions(self) -> int | None:
        """How many tokens the text encoder has positions for; None where it has no limit."""
        text: Any = self.text_config
        if getattr(text, "position_biased_input", True) is False:  # DeBERTa-v3 has relative positions alone
            return None
        positions = getattr(text, "max_position_embeddings", None)
        if positions is None:
            return None
        return int(positions) - self.first_position

    @property
    def first_position(self) -> int:
        """The number of the first token's position in the text encoder."""
        text: Any = self.text_config
        return (text.pad_token_id or 0) + 1 if text.model_type in _AFTER_PADDING else 0

    @property
    def grid(self) -> int:
        """Patches along one side of the image; the encoder sees grid x grid patches."""
        return int(self.vision_config.image_size) // int(self.vision_config.patch_size)  # type: ignore[union-attr]


def _as_config(value: dict[str, Any] | PreTrainedConfig | None) -> PreTrainedConfig | None:
    if isinstance(value, dict):
        settings = dict(value)
        return AutoConfig.for_model(settings.pop("model_type"), **settings)
    if value is not None and not isinstance(value, PreTrainedConfig):
        raise InputError(f"an encoder's configuration must be a mapping with model_type, found {value!r}")
    return value


AutoConfig.register("promu", PromuConfig, exist_ok=True)
