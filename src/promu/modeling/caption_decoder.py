"""The decoder of L_LM (BLIP): it writes a caption token by token, from the image and the tokens before."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn

from promu.modeling.configuration import PromuConfig
from promu.modeling.fusions.base import visual_map

NUCLEUS = 0.9
"""The likeliest tokens that have this probability together are drawn from (Holtzman et al., 2020; BLIP's value)."""


class CaptionDecoder(nn.Module):
    """Transformer layers in which a token attends to itself, to those before it, and to the image.

    It has half as many layers as the text encoder, as wide as its. Tokens come as the text encoder's word embeddings,
    and what comes out is compared with these, so that learning to write also teaches the encoder its words. The image
    comes from the vision encoder, before any fusion: a fused image has read the caption.

    Example:
        >>> text = {"model_type": "bert", "hidden_size": 8, "num_attention_heads": 2, "num_hidden_layers": 2}
        >>> vision = {"model_type": "vit", "hidden_size": 6}
        >>> decoder = CaptionDecoder(PromuConfig(text_config=text, vision_config=vision)).eval()
        >>> words, image = torch.rand(1, 4, 8), torch.rand(1, 5, 6)
        >>> whole = decoder(words, torch.ones(1, 4), image)
        >>> bool(torch.allclose(whole[:, :2], decoder(words[:, :2], torch.ones(1, 2), image), atol=1e-6))
        True
    """

    def __init__(self, config: PromuConfig) -> None:
        super().__init__()
        text: Any = config.text_config
        width = config.hidden_size
        self.visual_map = visual_map(config)
        self.positions = nn.Embedding(config.max_length, width)
        self.norm = nn.LayerNorm(width)
        layer = nn.TransformerDecoderLayer(
            width,
            getattr(text, "num_attention_heads", None) or max(1, width // 64),
            getattr(text, "intermediate_size", 4 * width),
            getattr(text, "hidden_dropout_prob", 0.1),
            activation="gelu",
            batch_first=True,
        )
        count = max(1, getattr(text, "num_hidden_layers", 2) // 2)
        self.decoder = nn.TransformerDecoder(layer, count, nn.LayerNorm(width))

    def forward(self, words: Tensor, mask: Tensor, visual: Tensor) -> Tensor:
        """What each place knows of the token after it.

        Args:
            words: (B, N, d) embeddings of the tokens, without positions.
            mask: (B, N), 1 where there is a token.
            visual: (B, K+1, d_v), or (B, V, K+1, d_v) of several levels, of which the last counts.

        Returns:
            (B, N, d).
        """
        if visual.ndim == 4:
            visual = visual[:, -1]
        length = words.shape[1]
        hidden = self.norm(words + self.positions(torch.arange(length, device=words.device)))
        later = torch.ones(length, length, dtype=torch.bool, device=words.device).triu(1)
        memory = self.visual_map(visual).to(hidden.dtype)
        return self.decoder(hidden, memory, tgt_mask=later, tgt_key_padding_mask=mask == 0)


def next_tokens(logits: Tensor, draw: torch.Generator | None = None) -> Tensor:
    """The likeliest token (B,) of logits (B, V), or one that is drawn from the nucleus.

    Example:
        Of probabilities .5, .41, .09 the first two are the nucleus.

        >>> logits = torch.tensor([[0.5, 0.41, 0.09]]).log().repeat(1000, 1)
        >>> next_tokens(logits, torch.Generator().manual_seed(0)).bincount().shape
        torch.Size([2])
    """
    if draw is None:
        return logits.argmax(-1)
    shares, order = logits.softmax(-1).cpu().sort(dim=-1, descending=True)  # a generator is of one kind of device
    before = shares.cumsum(-1) - shares
    place = torch.multinomial(shares.masked_fill(before >= NUCLEUS, 0.0), 1, generator=draw)
    return order.gather(1, place)[:, 0].to(logits.device)
