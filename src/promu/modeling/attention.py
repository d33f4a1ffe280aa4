"""Attention as two plain products, for training in bf16 on a CPU.

PyTorch's fused attention keeps no map of (heads, tokens, tokens) and so scales to long sequences. On a CPU it computes
bf16 at fp32's pace, though, and drops to something slower still where attention has dropout. At a few hundred tokens
a layer's maps stay in the cache, and two bf16 products with a softmax between are three times as fast, forward and
backward.
"""

from __future__ import annotations

from typing import Any

import torch
from torch.nn import functional
from transformers import AttentionInterface, AttentionMaskInterface, PreTrainedModel
from transformers.masking_utils import eager_mask

from promu.modeling.device import Precision

MATMUL = "promu_matmul"
"""The name by which transformers knows `matmul_attention`."""


def matmul_attention(
    module: torch.nn.Module,
    query: torch.Tensor,
    key: torch.Tensor,
    value: torch.Tensor,
    attention_mask: torch.Tensor | None,
    scaling: float | None = None,
    dropout: float = 0.0,
    **_: Any,
) -> tuple[torch.Tensor, torch.Tensor]:
    """Attention (B, heads, N, d) to vectors (B, N, heads, d) and maps (B, heads, N, N); the mask is added to scores.

    The softmax is of bf16 scores and rounded to bf16, but summed in fp32 on the way: autocast would write the maps in
    fp32 in between.
    """
    with torch.autocast(query.device.type, enabled=False):
        scores = (query * (query.shape[-1] ** -0.5 if scaling is None else scaling)) @ key.transpose(2, 3)
        if attention_mask is not None:
            scores = scores + attention_mask.to(scores.dtype)
        weights = functional.dropout(scores.softmax(-1), dropout, module.training)
        return (weights @ value).transpose(1, 2).contiguous(), weights


AttentionInterface.register(MATMUL, matmul_attention)
AttentionMaskInterface.register(MATMUL, eager_mask)


def use_fastest_attention(model: PreTrainedModel, device: str, precision: Precision) -> None:
    """Let a model attend the way that trains fastest: by `matmul_attention` in bf16 on a CPU, else as it is.

    What the model saves does not change.
    """
    if torch.device(device).type == "cpu" and precision == "bf16":
        model.set_attn_implementation(MATMUL)
