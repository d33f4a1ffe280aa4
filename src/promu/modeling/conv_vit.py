"""A Vision Transformer whose patches come from a small convolutional stem.

With a plain patch projection, pictures of a few dozen pixels do not train from scratch in minutes; three strided
convolutions before the same transformer do. Everything else is Hugging Face's ViT.
"""

from __future__ import annotations

from itertools import pairwise

import torch
from huggingface_hub.dataclasses import strict
from torch import nn
from transformers import AutoConfig, AutoModel, ViTConfig, ViTModel

from promu.errors import InputError

GROUPS = 8
"""Groups of the stem's normalisation; its widths are multiples of it."""


@strict
class ConvViTConfig(ViTConfig):
    """ViT settings plus the stem's: `patch_size` must be a power of two.

    Args:
        stem_channels: Width after the first halving; doubled at each further one, up to the hidden size.
    """

    model_type = "promu_conv_vit"
    stem_channels: int = 32


class ConvStem(nn.Module):
    """Strided 3x3 convolutions with group normalisation that halve the picture until one vector a patch is left."""

    def __init__(self, config: ConvViTConfig) -> None:
        super().__init__()
        patch = config.patch_size
        if not isinstance(patch, int) or patch < 1 or patch & (patch - 1):
            raise InputError(f"patch_size {patch!r} of a promu_conv_vit encoder is not a power of two; use 4, 8 or 16")
        if config.stem_channels % GROUPS or config.hidden_size % GROUPS:
            raise InputError(
                f"stem_channels {config.stem_channels} and hidden_size {config.hidden_size} of a promu_conv_vit "
                f"encoder must both be multiples of {GROUPS}"
            )
        halvings = patch.bit_length() - 1
        widths = [config.num_channels]
        widths += [min(config.stem_channels * 2**step, config.hidden_size) for step in range(halvings)]
        blocks: list[nn.Module] = []
        for before, after in pairwise(widths):
            blocks += [
                nn.Conv2d(before, after, kernel_size=3, stride=2, padding=1, bias=False),
                nn.GroupNorm(GROUPS, after),
                nn.GELU(),
            ]
        blocks.append(nn.Conv2d(widths[-1], config.hidden_size, kernel_size=1))
        self.blocks = nn.Sequential(*blocks)

    @property
    def projection(self) -> nn.Module:
        """ViT reads the expected dtype from `projection.weight`."""
        return self.blocks[-1]

    def forward(self, pixel_values: torch.Tensor) -> torch.Tensor:
        """Pixels (B, 3, S, S) to patch vectors (B, K, d)."""
        return self.blocks(pixel_values).flatten(2).transpose(1, 2)


class ConvViTModel(ViTModel):
    """Hugging Face's ViT with `ConvStem` in place of the patch projection."""

    config_class = ConvViTConfig

    def __init__(self, config: ConvViTConfig, add_pooling_layer: bool = True, use_mask_token: bool = False) -> None:
        super().__init__(config, add_pooling_layer=add_pooling_layer, use_mask_token=use_mask_token)
        stem = ConvStem(config)
        # ViT's embeddings read these three from the patch projection that the stem replaces
        stem.num_patches = self.embeddings.patch_embeddings.num_patches  # type: ignore[assignment]
        stem.image_size = self.embeddings.patch_embeddings.image_size  # type: ignore[assignment]
        stem.patch_size = self.embeddings.patch_embeddings.patch_size  # type: ignore[assignment]
        self.embeddings.patch_embeddings = stem  # type: ignore[assignment]
        self.post_init()

    def _init_weights(self, module: nn.Module) -> None:
        # a stem of three convolutions at ViT's std of 0.02 passes almost no signal: keep PyTorch's own start there
        if isinstance(module, nn.Conv2d):
            module.reset_parameters()
        else:
            super()._init_weights(module)


AutoConfig.register("promu_conv_vit", ConvViTConfig, exist_ok=True)
AutoModel.register(ConvViTConfig, ConvViTModel, exist_ok=True)
