"""AdapCoAtt's fusion: adaptive co-attention between words and a grid of regions (Zhang et al., AAAI 2018)."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from transformers import PreTrainedModel

from promu.modeling.configuration import PromuConfig
from promu.modeling.fusions.base import Fused, Fusion, VisualFeatures, map_of_image, seen_by_cls, visual_map, with_map
from promu.modeling.fusions.objects import box_shares

SIDE = 7
"""The image is read as SIDE x SIDE regions, as VGG's last map was."""
WIDTH = 200
"""Width in which attention compares, at most: that of the paper's LSTM."""


class AdditiveAttention(nn.Module):
    """Attention whose scores are w . tanh(W_k k + W_q q + b): for each query the mean of the keys.

    The paper joins the two by concatenation. Then the query would add the same to each key's score, and the softmax
    would not see it. As in its source, attention over stacked features (Yang et al., CVPR 2016), they are added.
    """

    def __init__(self, width: int) -> None:
        super().__init__()
        inner = min(WIDTH, width)
        self.keys, self.queries = nn.Linear(width, inner, bias=False), nn.Linear(width, inner)
        self.score = nn.Linear(inner, 1, bias=False)

    def forward(self, queries: Tensor, keys: Tensor, mask: Tensor | None = None) -> tuple[Tensor, Tensor]:
        """Means (B, N, d) for queries (B, N, d) over keys (B, M, d), and the shares (B, N, M).

        The mask (B, M) shows which keys there are.
        """
        pairs = torch.tanh(self.keys(keys)[:, None] + self.queries(queries)[:, :, None])
        scores = self.score(pairs)[..., 0].float()
        if mask is not None:
            scores = scores.masked_fill(mask[:, None] == 0, torch.finfo(scores.dtype).min)
        shares = scores.softmax(-1).to(keys.dtype)
        return shares @ keys, shares


class AdaptiveFusion(Fusion):
    """Each word looks at the image, what it saw looks at the text, and two gates say how much of it is kept.

    Word-guided visual attention (Eq 6-8): word h_t over the regions v gives v_t. Image-guided textual attention
    (Eq 9-11): v_t over the words gives h'_t. Gated fusion (Eq 12-15): g = sigmoid(W_g [tanh W v_t ; tanh W h'_t]) mixes
    the two into m_t. The filtration gate (Eq 16, 17), s_t = sigmoid(W [h_t ; m_t]), lets through
    u_t = s_t * tanh(W_m m_t). The fused word is [h_t ; u_t]. A linear head reads it as W_1 h_t + W_2 u_t, so
    h_t + W u_t is as much; without an image u_t is 0.
    """

    masks_pairs = True

    def __init__(self, config: PromuConfig, text_encoder: PreTrainedModel) -> None:
        super().__init__(config, text_encoder)
        if config.vision_config is None:
            return
        width = config.hidden_size
        self.visual_map = visual_map(config)
        self.to_image, self.to_text = AdditiveAttention(width), AdditiveAttention(width)
        self.image_part, self.text_part = nn.Linear(width, width), nn.Linear(width, width)
        self.mixing_gate = nn.Linear(2 * width, width)
        self.filtration_gate = nn.Linear(2 * width, width)
        self.kept = nn.Linear(width, width)
        self.reader = nn.Linear(width, width, bias=False)

    def forward(
        self, text: Tensor, text_mask: Tensor, images: VisualFeatures | None, output_attentions: bool = False
    ) -> Fused:
        """As `Fusion.forward`; the last map is of the words' attention to the image."""
        words, maps = self.run_layers(text, text_mask, output_attentions)
        if images is None:
            return Fused(words, attentions=maps)
        tokens, present = self.visual_map(images.tokens).to(words.dtype), images.present()
        shares = self.regions(tokens)
        seen, to_image = self.to_image(words, shares @ tokens)
        read, _ = self.to_text(seen, words, seen_by_cls(text_mask))
        fused = words + self.reader(self.filtered(words, self.mixed(seen, read))) * present[:, None, None]
        if output_attentions:
            heads = maps[0].shape[1]
            maps = with_map(
                maps, map_of_image(to_image[:, None].expand(-1, heads, -1, -1), text.shape[1], present, shares)
            )
        return Fused(fused, tokens, maps)

    def regions(self, tokens: Tensor) -> Tensor:
        """The share of each visual token (B, K+1, d) in each region, row by row: (B, SIDE * SIDE, K+1)."""
        edges = torch.arange(SIDE, device=tokens.device) / SIDE
        top, left = torch.meshgrid(edges, edges, indexing="ij")
        corners = torch.stack([left, top], dim=-1).flatten(0, 1)
        boxes = torch.cat([corners, corners + 1 / SIDE], dim=-1).expand(len(tokens), -1, -1)
        return box_shares(boxes, self.config.grid, tokens.shape[1]).to(tokens.dtype)

    def mixed(self, seen: Tensor, read: Tensor) -> Tensor:
        """Gated fusion m (B, N, d) of what the words saw of the image and what that read of the text."""
        image, text = torch.tanh(self.image_part(seen)), torch.tanh(self.text_part(read))
        gate = torch.sigmoid(self.mixing_gate(torch.cat([image, text], dim=-1)))
        return gate * image + (1 - gate) * text

    def filtered(self, words: Tensor, mixed: Tensor) -> Tensor:
        """What the filtration gate lets through, u (B, N, d)."""
        gate = torch.sigmoid(self.filtration_gate(torch.cat([words, mixed], dim=-1)))
        return gate * torch.tanh(self.kept(mixed))
