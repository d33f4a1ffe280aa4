"""What every fusion shares: its place in the backbone, and the text layers that it is given."""

from __future__ import annotations

import inspect
from abc import ABC, abstractmethod
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, ClassVar, Self

import torch
from torch import Tensor, nn
from torch.nn import functional
from transformers import BertConfig, PreTrainedModel
from transformers.masking_utils import create_bidirectional_mask
from transformers.models.bert.modeling_bert import BertAttention, BertIntermediate, BertOutput

from promu.errors import InputError
from promu.modeling.configuration import PromuConfig
from promu.modeling.encoders import split_text_encoder, text_layers
from promu.modeling.map_sources import bare_model


@dataclass
class VisualFeatures:
    """The images of a batch, as the vision encoder left them.

    Attributes:
        tokens: (B, K+1, d_v), CLS first; (B, V, K+1, d_v) where the fusion reads V levels of the encoder.
        mask: (B,), 1 where the post has an image; None means everywhere.
        boxes: (B, R, 4) a detector's regions in 0..1 of the image, zeros for padding; None without a detector.
        parse: (B, N+2, 3) of the text that is read with the image (`promu.modeling.parsing`); None without a parser.
    """

    tokens: Tensor
    mask: Tensor | None = None
    boxes: Tensor | None = None
    parse: Tensor | None = None

    def present(self) -> Tensor:
        """(B,) booleans: which posts have an image."""
        if self.mask is not None:
            return self.mask.bool()
        return torch.ones(self.tokens.shape[0], dtype=torch.bool, device=self.tokens.device)


@dataclass
class Fused:
    """What a fusion returns.

    Attributes:
        text: Fused text (B, N+2, d).
        visual: Fused visual tokens (B, K+1, d), of which L_COE pools its region vectors; None without images.
        attentions: With `output_attentions`, a map (B, heads, N+2 or more, N+2 + K+1) for each attention of the text:
            the shares of the text tokens and, with images, of the visual tokens in what each text token reads.
        losses: Auxiliary losses by name, one value a row (B,): they are added to whatever the model is trained on, with
            the weights of `Fusion.loss_weights`.
        spans: (B, N+2, 3) emissions of O, B and I, whatever the type, of an auxiliary task that a model of entities
            learns beside its own (`promu.modeling.fusions.umt`); None elsewhere.
    """

    text: Tensor
    visual: Tensor | None = None
    attentions: tuple[Tensor, ...] = ()
    losses: dict[str, Tensor] = field(default_factory=dict)
    spans: Tensor | None = None


class Fusion(nn.Module, ABC):
    """A fusion on top of the two encoders.

    The text side of every fusion goes through the same layers: the upper half of the text encoder's own (the default,
    so no weight is added), or a separate stack. So fusions differ in what they add, and each is given the same text.

    Attributes:
        sees_images: Whether the image has a part in the fused vectors.
        levels: How many levels of the vision encoder it reads, at most; None reads the last alone.
        auxiliary: Its own losses by name with the weights that they have by default.
        parses: Whether it reads parsed texts: what it then does without a parser, in words; None for one that does not.
        masks_pairs: Whether it takes a mask of who sees whom, (B, N+2, N+2), in place of one of tokens.
    """

    sees_images: ClassVar[bool] = True
    levels: ClassVar[int | None] = None
    auxiliary: ClassVar[Mapping[str, float]] = {}
    parses: ClassVar[str | None] = None
    masks_pairs: ClassVar[bool] = False

    def __init__(self, config: PromuConfig, text_encoder: PreTrainedModel) -> None:
        super().__init__()
        self.config = config
        self.loss_weights = {**self.auxiliary, **(config.fusion_loss_weights or {})}
        if unknown := sorted(set(self.loss_weights) - set(self.auxiliary)):
            raise InputError(
                f"fusion_loss_weights: fusion {config.fusion!r} has no loss {unknown[0]!r}; "
                f"its own losses are {', '.join(self.auxiliary) or 'none'}"
            )
        self.own_configs: list[BertConfig] = []
        self.layer_config, self.layers = self.text_layers(text_encoder)

    def text_layers(self, text_encoder: PreTrainedModel) -> tuple[Any, nn.ModuleList]:
        """The layers that text passes in the fusion, and their configuration."""
        if self.config.fusion_layers is None:
            return text_encoder.config, split_text_encoder(text_encoder)
        config = self.own_layer_config(text_encoder, self.config.fusion_layers)
        layers = text_layers(bare_model(config))
        assert layers is not None
        return config, layers

    def check_keys(self, text_encoder: PreTrainedModel) -> None:
        """Make sure that the layers take further keys and values (`run_layers`).

        Raises:
            InputError: They do not.
        """
        if "encoder_hidden_states" not in inspect.signature(self.layers[0].forward).parameters:
            raise InputError(
                f"the layers of a {text_encoder.config.model_type!r} text encoder take no visual prefix; "
                "set fusion_layers to a number for a separate fusion stack"
            )

    def own_layer_config(self, text_encoder: PreTrainedModel, count: int) -> BertConfig:
        """Settings of layers of BERT's kind, as wide as the text encoder's, whatever the text encoder's kind is."""
        given: Any = text_encoder.config
        config = BertConfig(
            vocab_size=1,
            hidden_size=self.config.hidden_size,
            num_hidden_layers=count,
            num_attention_heads=getattr(given, "num_attention_heads", None) or max(1, given.hidden_size // 64),
            intermediate_size=getattr(given, "intermediate_size", 4 * given.hidden_size),
            hidden_dropout_prob=getattr(given, "hidden_dropout_prob", 0.1),
            attention_probs_dropout_prob=getattr(given, "attention_probs_dropout_prob", 0.1),
        )
        config._attn_implementation = given._attn_implementation
        self.own_configs.append(config)
        return config

    def attend_as(self, text_encoder: PreTrainedModel) -> None:
        """Let layers of the fusion's own compute attention the way that the text encoder's do."""
        for config in self.own_configs:
            config._attn_implementation = text_encoder.config._attn_implementation

    @abstractmethod
    def forward(
        self, text: Tensor, text_mask: Tensor, images: VisualFeatures | None, output_attentions: bool = False
    ) -> Fused:
        """Fuse text (B, N+2, d), CLS first, with the images of a batch; None when no post of the batch has one.

        The mask (B, N+2) is 1 where there is a token. A post without an image gives what text alone would give.

        Raises:
            InputError: Attention maps are wanted, but the model was not loaded with eager attention.
        """

    def run_layers(
        self, hidden: Tensor, mask: Tensor, output_attentions: bool, keys: Any = None
    ) -> tuple[Tensor, tuple[Tensor, ...]]:
        """The layers over `hidden` (B, N, d), and their attention maps where wanted.

        The mask (B, N) is 1 where a key may be attended to. `keys` has for each layer what brings P further keys and
        values (`Prefix`); the mask is then (B, N + P).
        """
        attention_mask = self.attention_mask(hidden, mask)
        maps: list[Tensor] = []
        for number, layer in enumerate(self.layers):
            of_layer = None if keys is None else keys[number]
            hidden, weights = run_layer(layer, hidden, attention_mask, of_layer, output_attentions)
            maps += [] if weights is None else [weights]
        return hidden, tuple(maps)

    def attention_mask(self, queries: Tensor, mask: Tensor) -> Tensor | None:
        """The mask of keys (B, M) or of pairs (B, N, M), in the form that the attention of queries (B, N, d) takes."""
        if mask.ndim == 3:
            return additive_mask(mask)
        like = queries[:, :1].expand(-1, mask.shape[1], -1)  # only its shape and kind of number are looked at
        tensors = {"inputs_embeds": queries, "attention_mask": mask, "encoder_hidden_states": like}
        return create_bidirectional_mask(config=self.layer_config, **tensors, allow_is_bidirectional_skip=False)


@dataclass
class Prefix:
    """Further keys and values (B, heads, P, d / heads) of a layer, in the place of a cache of earlier tokens."""

    keys: Tensor
    values: Tensor

    @classmethod
    def of(cls, both: Tensor, heads: int) -> Self:
        """From keys and values side by side, (B, P, 2 d)."""
        return cls(*both.unflatten(-1, (2, heads, -1)).permute(2, 0, 3, 1, 4))

    def update(self, keys: Tensor, values: Tensor, *_: Any, **__: Any) -> tuple[Tensor, Tensor]:
        """The layer's own keys and values (B, heads, N, d / heads), then the prefix's."""
        keys = torch.cat([keys, self.keys.to(keys.dtype)], dim=2)
        return keys, torch.cat([values, self.values.to(values.dtype)], dim=2)


class CrossAttention(nn.Module):
    """A layer of BERT's kind whose queries attend to another sequence."""

    def __init__(self, config: BertConfig) -> None:
        super().__init__()
        self.attention = BertAttention(config, is_cross_attention=True)
        self.intermediate = BertIntermediate(config)
        self.output = BertOutput(config)

    def forward(self, queries: Tensor, others: Tensor, mask: Tensor | None) -> tuple[Tensor, Tensor | None]:
        """Queries (B, N, d) that have read others (B, M, d), and the map (B, heads, N, M) where one is computed."""
        read, weights = self.attention(queries, None, others, mask)
        return self.output(self.intermediate(read), read), weights


def run_layer(
    layer: Any, hidden: Tensor, attention_mask: Tensor | None, keys: Prefix | None = None, with_map: bool = False
) -> tuple[Tensor, Tensor | None]:
    """A layer of BERT's kind over `hidden` (B, N, d), and its attention map where wanted."""
    # by position: the names of the two arguments between, and of the keys, change between versions
    more = () if keys is None else (None, None, keys)
    if not with_map:
        return layer(hidden, attention_mask, *more), None
    # the steps of the layer, which itself returns no map
    attended, weights = layer.attention(hidden, attention_mask, *more)[:2]
    return layer.feed_forward_chunk(attended), required_map(weights)


def additive_mask(mask: Tensor) -> Tensor:
    """A mask (B, N, M), 1 where a query sees a key, as what every attention adds to its scores: (B, 1, N, M)."""
    hidden = torch.finfo(torch.float32).min
    return torch.zeros(mask.shape, device=mask.device).masked_fill(mask == 0, hidden)[:, None]


def with_keys(mask: Tensor, more: Tensor) -> Tensor:
    """A mask of text (B, N), or of who sees whom in it (B, N, N), with further keys (B, K) that all of it may see."""
    if mask.ndim == 3:
        more = more[:, None].expand(-1, mask.shape[1], -1)
    return torch.cat([mask, more], dim=-1)


def seen_by_cls(mask: Tensor) -> Tensor:
    """What an image reads of a text: the mask of its tokens (B, N), or what [CLS] sees by one of pairs (B, N, N)."""
    return mask[:, 0] if mask.ndim == 3 else mask


def map_of_image(weights: Tensor, text_length: int, present: Tensor, shares: Tensor | None = None) -> Tensor:
    """A map over an image (B, heads, N, M) as one over text and visual tokens (B, heads, N, text + K+1).

    Nothing is read where no image is `present` (B,). `shares` (B, M, K+1) spread what was read over the visual tokens.
    """
    if shares is not None:
        weights = weights @ shares[:, None].to(weights.dtype)
    return functional.pad(weights * present[:, None, None, None], (text_length, 0))


def with_map(maps: tuple[Tensor, ...], of_image: Tensor) -> tuple[Tensor, ...]:
    """Maps of text alone (B, heads, N, N), made as wide as that of the image, which follows them."""
    return (*(functional.pad(one, (0, of_image.shape[-1] - one.shape[-1])) for one in maps), of_image)


def visual_map(config: PromuConfig) -> nn.Module:
    """What brings visual tokens to text width: nothing, or one linear map."""
    vision: Any = config.vision_config
    if vision is None or vision.hidden_size == config.hidden_size:
        return nn.Identity()
    return nn.Linear(vision.hidden_size, config.hidden_size)


def required_map(weights: Tensor | None) -> Tensor:
    """An attention map that is wanted; raises `InputError` where the attention computes none."""
    if weights is None:
        raise InputError("this attention computes no maps; load the model with attn_implementation='eager'")
    return weights


class ConcatFusion(Fusion):
    """A transformer over the concatenation [text tokens ; visual CLS ; patches] (Eq 2).

    A post without an image is masked out on the visual side, so that its text attends to text alone.
    """

    masks_pairs: ClassVar[bool] = True

    def __init__(self, config: PromuConfig, text_encoder: PreTrainedModel) -> None:
        super().__init__(config, text_encoder)
        self.visual_map = visual_map(config)

    def forward(
        self, text: Tensor, text_mask: Tensor, images: VisualFeatures | None, output_attentions: bool = False
    ) -> Fused:
        """As `Fusion.forward`; the fused visual tokens are the upper part of the sequence."""
        if images is None:
            hidden, maps = self.run_layers(text, text_mask, output_attentions)
            return Fused(hidden, None, maps)
        length, tokens = text.shape[1], self.visual_map(images.tokens).to(text.dtype)
        visual_mask = images.present()[:, None].expand(-1, tokens.shape[1]).to(text_mask.dtype)
        mask = with_keys(text_mask, visual_mask)
        if mask.ndim == 3:  # image tokens see what [CLS] sees
            mask = torch.cat([mask, mask[:, :1].expand(-1, tokens.shape[1], -1)], dim=1)
        hidden, maps = self.run_layers(torch.cat([text, tokens], dim=1), mask, output_attentions)
        return Fused(hidden[:, :length], hidden[:, length:], maps)


class TextFusion(Fusion):
    """Text alone passes the upper layers; an image is never looked at.

    No fused vector knows of the image, so that L_ITM, L_COE and L_CIR have nothing to learn from; L_CIT and masked
    language modelling do. A text encoder of another kind than BERT's, or of one layer, keeps its layers.
    """

    sees_images: ClassVar[bool] = False
    masks_pairs: ClassVar[bool] = True

    def text_layers(self, text_encoder: PreTrainedModel) -> tuple[Any, nn.ModuleList]:
        """None, where the text encoder has none to give."""
        if self.config.fusion_layers is None and len(text_layers(text_encoder) or ()) < 2:
            return text_encoder.config, nn.ModuleList()
        return super().text_layers(text_encoder)

    def forward(
        self, text: Tensor, text_mask: Tensor, images: VisualFeatures | None, output_attentions: bool = False
    ) -> Fused:
        """As `Fusion.forward`, without fused visual tokens."""
        hidden, maps = self.run_layers(text, text_mask, output_attentions)
        return Fused(hidden, attentions=maps)
