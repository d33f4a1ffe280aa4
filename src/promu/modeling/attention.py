"""Attention as two plain products, for training in bf16 on a CPU.

PyTorch's fused attention keeps no map of (heads, tokens, tokens) and so scales to long sequences. On a CPU it computes
bf16 at fp32's pace, though, and drops to something slower still where attention has dropout. At a few hundred tokens
a layer's maps stay in the cache, and two bf16 products with a softmax between are three times as fast, forward and
backward.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor
from transformers import AttentionInterface, AttentionMaskInterface, PreTrainedModel
from transformers.masking_utils import eager_mask

from promu.pytorch import Precision

MATMUL = "promu_matmul"


def matmul_attention(
    module: torch.nn.Module,
    query: Tensor,
    key: Tensor,
    value: Tensor,
    attention_mask: Tensor | None,
    scaling: float | None = None,
    dropout: float = 0.0,
    position_bias: Tensor | None = None,
    **_: Any,
) -> tuple[Tensor, Tensor]:
    """Attention (B, heads, N, d) to vectors (B, N, heads, d) and maps (B, heads, N, N).

    The mask, and the bias of positions that T5's kind has, are added to the scores. The softmax is of bf16 scores and
    rounded to bf16, but summed in fp32 on the way: autocast would write the maps in fp32 in between.
    """
    with torch.autocast(query.device.type, enabled=False):
        scores = (query * (query.shape[-1] ** -0.5 if scaling is None else scaling)) @ key.transpose(2, 3)
        if position_bias is not None:
            scores = scores + position_bias.to(scores.dtype)
        if attention_mask is not None:
            scores = scores + attention_mask.to(scores.dtype)
        weights = scores.softmax(-1)
        if module.training and dropout:
            weights = weights * _survivors(weights, dropout)
        return (weights @ value).transpose(1, 2).contiguous(), weights


def _survivors(maps: Tensor, dropout: float) -> Tensor:
    """A mask of dropout in the kind of `maps`, with what is kept scaled up to make good for what is not.

    PyTorch draws 32 random bits an entry, which take longer than the products do; 16 are enough to meet a rate to
    1/65536, and the scale is that of the rate that is met.
    """
    dropped = min(round(dropout * 65536), 65535)
    draws = torch.empty((maps.numel() + 3) // 4, dtype=torch.int64, device=maps.device)
    draws = draws.random_(-(2**63), None).view(torch.int16)[: maps.numel()].view(maps.shape)
    return (draws >= dropped - 32768).to(maps.dtype) * (65536 / (65536 - dropped))


AttentionInterface.register(MATMUL, matmul_attention)
AttentionMaskInterface.register(MATMUL, eager_mask)


def use_fastest_attention(model: PreTrainedModel, device: str, precision: Precision) -> None:
    """Let a model train by `matmul_attention` in bf16 on a CPU, else as it is. What it saves does not change."""
    if torch.device(device).type == "cpu" and precision == "bf16":
        model.set_attn_implementation(MATMUL)
