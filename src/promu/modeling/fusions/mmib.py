"""MMIB's fusion: a variational information bottleneck on each side, then cross-attention (Cui et al., TASLP 2023)."""

from __future__ import annotations

from collections.abc import Mapping
from typing import ClassVar

import torch
from torch import Tensor, nn
from torch.nn import functional
from transformers import PreTrainedModel
from transformers.models.bert.modeling_bert import BertLayer

from promu.modeling.configuration import PromuConfig
from promu.modeling.fusions.base import (
    CrossAttention,
    Fused,
    Fusion,
    VisualFeatures,
    map_of_image,
    required_map,
    visual_map,
    with_map,
)

FIRST_LOG_VARIANCE = -4.0
"""Where the log-variance starts: a spread of a seventh, so that at first the noise drowns nothing."""


class Bottleneck(nn.Module):
    """Mean and log-variance of each vector's latent."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.mean = nn.Linear(width, width)
        self.log_variance = nn.Linear(width, width)

    def forward(self, hidden: Tensor, mask: Tensor) -> tuple[Tensor, Tensor]:
        """Latents (B, N, d), sampled in training and the mean otherwise, and their KL divergence from the normal (B,).

        The divergence is the mean over what the mask (B, N) shows, in nats a vector.
        """
        mean, log_variance = self.mean(hidden), FIRST_LOG_VARIANCE + self.log_variance(hidden)
        latent = mean + torch.exp(log_variance / 2) * torch.randn_like(mean) if self.training else mean
        return latent, kl_from_normal(mean, log_variance, mask)


class BottleneckFusion(Fusion):
    """Latents of text and image, regularised, then the image reads the text and the text reads that image.

    The attention blocks are the text layers of every fusion and one layer over the visual tokens; each gives mean and
    log-variance. Refinement keeps of either side only what is needed: two KL terms, `kl_text` and `kl_visual`.
    Alignment keeps what the two share: a bilinear discriminator tells the latents of a post's text and image from
    those of its text and the next post's image (`align`). Then the image's latents attend to the text's, which
    gives the fused visual tokens, and the text's attend to these.

    A post without an image keeps its text's latents as they are and has neither `kl_visual` nor `align`.
    """

    auxiliary: ClassVar[Mapping[str, float]] = {"kl_text": 1e-3, "kl_visual": 1e-3, "align": 0.1}

    def __init__(self, config: PromuConfig, text_encoder: PreTrainedModel) -> None:
        super().__init__(config, text_encoder)
        width = config.hidden_size
        self.text_bottleneck = Bottleneck(width)
        if config.vision_config is None:
            return
        own = self.own_layer_config(text_encoder, 1)
        self.visual_map = visual_map(config)
        self.visual_layer = BertLayer(own)
        self.visual_bottleneck = Bottleneck(width)
        self.discriminator = nn.Linear(width, width, bias=False)
        self.image_reads_text = CrossAttention(own)
        self.text_reads_image = CrossAttention(own)

    def forward(
        self, text: Tensor, text_mask: Tensor, images: VisualFeatures | None, output_attentions: bool = False
    ) -> Fused:
        """As `Fusion.forward`; the last map is of the text's reading of the image."""
        hidden, maps = self.run_layers(text, text_mask, output_attentions)
        latent, kl_text = self.text_bottleneck(hidden, text_mask)
        if images is None:
            return Fused(latent, attentions=maps, losses={"kl_text": kl_text})
        present = images.present()
        tokens = self.visual_layer(self.visual_map(images.tokens).to(latent.dtype), None)
        visual_mask = present[:, None].expand(-1, tokens.shape[1])
        visual, kl_visual = self.visual_bottleneck(tokens, visual_mask)
        align = self.alignment(mean_of(latent, text_mask), mean_of(visual, visual_mask), present)
        losses = {"kl_text": kl_text, "kl_visual": kl_visual, "align": align}
        fused_visual, _ = self.image_reads_text(visual, latent, self.attention_mask(visual, text_mask))
        read, to_image = self.text_reads_image(latent, fused_visual, None)
        if output_attentions:
            maps = with_map(maps, map_of_image(required_map(to_image), text.shape[1], present))
        return Fused(torch.where(present[:, None, None], read, latent), fused_visual, maps, losses)

    def alignment(self, text: Tensor, visual: Tensor, present: Tensor) -> Tensor:
        """The discriminator's cross-entropy (B,) on each post's own pair of mean latents (B, d) and on its rolled one.

        It is 0 where no image is present. A post whose next one has no image, or is itself, has its own pair alone.
        """
        query = self.discriminator(text) * text.shape[-1] ** -0.5
        matched = (query * visual).sum(-1).float()
        rolled = (query * visual.roll(-1, 0)).sum(-1).float()
        other = present.roll(-1, 0) if len(present) > 1 else torch.zeros_like(present)
        return (functional.softplus(-matched) + functional.softplus(rolled) * other) * present


def kl_from_normal(mean: Tensor, log_variance: Tensor, mask: Tensor) -> Tensor:
    """KL(N(mean, variance) || N(0, 1)), summed over d and averaged over what the mask (B, N) shows: (B,) in nats."""
    mean, log_variance = mean.float(), log_variance.float()
    nats = 0.5 * (mean.square() + log_variance.exp() - 1.0 - log_variance).sum(-1)
    return mean_of(nats[..., None], mask)[..., 0]


def mean_of(values: Tensor, mask: Tensor) -> Tensor:
    """Mean (B, d) of values (B, N, d) over what the mask (B, N) shows; zeros where it shows nothing."""
    weights = mask[..., None].to(values.dtype)
    return (values * weights).sum(1) / weights.sum(1).clamp(min=1.0)
