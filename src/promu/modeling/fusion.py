"""Fusions: how text and picture become one sequence of fused vectors. One class and one line in `FUSIONS` each."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import torch
from torch import nn
from transformers import BertConfig, PreTrainedModel
from transformers.masking_utils import create_bidirectional_mask

from promu.errors import InputError
from promu.modeling.configuration import PromuConfig
from promu.modeling.encoders import build_encoder, split_text_encoder, text_layers


@dataclass
class Fused:
    """What a fusion returns: fused text (B, N+2, d), fused visual tokens (B, K+1, d) or None, a map a layer."""

    text: torch.Tensor
    visual: torch.Tensor | None
    attentions: tuple[torch.Tensor, ...] = ()


class ConcatFusion(nn.Module):
    """PROMU's fusion (Eq 2): a transformer over the concatenation [text tokens ; visual CLS ; patches].

    The layers are the upper half of the text encoder's own (the default, so no weight is added) or a separate stack.
    A post without a picture is masked out on the visual side, so that its text attends to text alone.
    """

    def __init__(self, config: PromuConfig, text_encoder: PreTrainedModel) -> None:
        super().__init__()
        if config.fusion_layers is None:
            self.layer_config = text_encoder.config
            self.layers = split_text_encoder(text_encoder)
        else:
            # layers of BERT's kind, whatever the text encoder's kind is
            settings: dict[str, Any] = {
                "vocab_size": 1,
                "hidden_size": config.hidden_size,
                "num_hidden_layers": config.fusion_layers,
                "num_attention_heads": text_encoder.config.num_attention_heads,
                "intermediate_size": getattr(text_encoder.config, "intermediate_size", 4 * config.hidden_size),
                "attn_implementation": text_encoder.config._attn_implementation,
            }
            self.layer_config = BertConfig(**settings)
            self.layers = text_layers(build_encoder(self.layer_config))
        self.visual_map: nn.Module = nn.Identity()
        if config.vision_config is not None and config.vision_config.hidden_size != config.hidden_size:  # type: ignore[union-attr]
            self.visual_map = nn.Linear(config.vision_config.hidden_size, config.hidden_size)  # type: ignore[union-attr]

    def forward(
        self,
        text: torch.Tensor,
        text_mask: torch.Tensor,
        visual: torch.Tensor | None,
        picture_mask: torch.Tensor | None,
        output_attentions: bool = False,
    ) -> Fused:
        """Fuse text (B, N+2, d) and visual tokens (B, K+1, d_v).

        Args:
            text: Encoded text, CLS first.
            text_mask: (B, N+2), 1 where there is a token.
            visual: Encoded picture, CLS first; None when no post of the batch has one.
            picture_mask: (B,), 1 where the post has a picture; None means everywhere.
            output_attentions: Also return attention maps (B, heads, L, L) a layer (needs eager attention).

        Raises:
            InputError: Attention maps were asked for, but the model was not loaded with eager attention.
        """
        hidden, mask = text, text_mask
        if visual is not None:
            hidden = torch.cat([text, self.visual_map(visual).to(text.dtype)], dim=1)
            seen = text_mask.new_ones(visual.shape[:2])
            if picture_mask is not None:
                seen = seen * picture_mask[:, None].to(seen.dtype)
            mask = torch.cat([text_mask, seen], dim=1)
        attention_mask = create_bidirectional_mask(
            config=self.layer_config, inputs_embeds=hidden, attention_mask=mask, allow_is_bidirectional_skip=False
        )
        maps: list[torch.Tensor] = []
        for layer in self.layers:
            if output_attentions:
                _, weights = layer.attention(hidden, attention_mask)  # type: ignore[operator]
                if weights is None:
                    raise InputError("this attention computes no maps; load the model with attn_implementation='eager'")
                maps.append(weights)
            hidden = layer(hidden, attention_mask)
        length = text.shape[1]
        return Fused(hidden[:, :length], hidden[:, length:] if visual is not None else None, tuple(maps))


FUSIONS: dict[str, type[ConcatFusion]] = {"concat": ConcatFusion}


def build_fusion(config: PromuConfig, text_encoder: PreTrainedModel) -> ConcatFusion:
    """The fusion named by `config.fusion`; it may take layers away from `text_encoder`."""
    if config.fusion not in FUSIONS:
        raise InputError(f"fusion {config.fusion!r} is unknown; use one of {', '.join(sorted(FUSIONS))}")
    return FUSIONS[config.fusion](config, text_encoder)
