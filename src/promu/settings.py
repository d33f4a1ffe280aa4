"""What groups of settings are made of, and the one that every recipe has: the model."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field, model_validator, with_config
from typing_extensions import TypedDict

Share = Annotated[float, Field(ge=0.0, le=1.0)]
Positive = Annotated[float, Field(gt=0.0)]
Count = Annotated[int, Field(ge=1)]
NotNegative = Annotated[float, Field(ge=0.0)]


class Settings(BaseModel):
    """A part of a recipe: unknown keys and wrong values are refused by name."""

    model_config = ConfigDict(extra="forbid", frozen=True, protected_namespaces=())


@with_config(ConfigDict(extra="forbid"))
class BackboneSettings(TypedDict, total=False):
    """The fields of `PromuConfig` that a recipe may set."""

    fusion: str
    fusion_layers: Count | None
    fusion_loss_weights: dict[str, Annotated[float, Field(ge=0.0)]]
    projection_dim: Count
    projection_norm: bool
    frozen: list[Literal["text", "vision"]]
    pooling: Literal["cls", "cls+mean", "mean"]
    temperature: Positive
    itm_cosine: bool
    image_mean: tuple[float, float, float]
    image_std: tuple[Positive, Positive, Positive]
    classifier_dropout: Share
    max_length: Annotated[int, Field(ge=8)]


class ModelSettings(Settings):
    """The backbone: where its weights come from.

    Attributes:
        init: A promu model folder to start from (what pre-training saved); the rest then comes from there.
        text: Folder, hub name, or `package:NAME/PATH` inside an installed Python package; or a configuration.
        vision: The same for the vision encoder; null for a text-only backbone.
        tokenizer: Folder or hub name; null takes the text encoder's own.
        config: Further fields of `PromuConfig`.
    """

    init: str | None = None
    text: str | dict[str, Any] | None = None
    vision: str | dict[str, Any] | None = None
    tokenizer: str | None = None
    config: BackboneSettings = {}

    @model_validator(mode="after")
    def _one_origin(self) -> ModelSettings:
        if self.init is None and self.text is None:
            raise ValueError("set either init (a promu model folder) or text (an encoder)")
        if self.init is not None and (self.text is not None or self.vision is not None):
            raise ValueError("init brings its own encoders; leave text and vision out, or set init to null")
        return self
