"""Which device to compute on, and in which precision."""

from __future__ import annotations

from contextlib import AbstractContextManager
from typing import Literal

import torch

Precision = Literal["bf16", "fp32"]


def best_device() -> str:
    """`cuda` where an accelerator answers, else Apple's `mps`, else `cpu`."""
    if torch.cuda.is_available():
        return "cuda"
    if torch.backends.mps.is_available():
        return "mps"
    return "cpu"


def best_precision(device: str) -> Precision:
    """`bf16` where the device computes it natively, else `fp32`.

    bf16 that is emulated gives coarser results and no time back, so it never counts.

    Args:
        device: A torch device string such as `cpu`, `cuda` or `cuda:1`.
    """
    kind = torch.device(device).type
    if kind == "cuda":
        # Tensor cores compute bf16 from compute capability 8.0 on; on ROCm torch itself knows.
        if torch.version.hip is not None:
            return "bf16" if torch.cuda.is_bf16_supported() else "fp32"
        return "bf16" if torch.cuda.get_device_capability(device)[0] >= 8 else "fp32"
    if kind == "cpu" and torch.backends.mkldnn.is_available() and _cpu_has_bf16():
        return "bf16"
    return "fp32"


def autocast(device: torch.device) -> AbstractContextManager[None]:
    """The context in which a model computes in `best_precision` of its device."""
    return torch.autocast(device.type, dtype=torch.bfloat16, enabled=best_precision(str(device)) == "bf16")


def _cpu_has_bf16() -> bool:
    """Whether the CPU multiplies bf16 in hardware (AVX512-BF16 or AMX)."""
    if hasattr(torch.cpu, "get_capabilities"):
        capabilities = torch.cpu.get_capabilities()
        return bool(capabilities.get("avx512_bf16") or capabilities.get("amx_bf16"))
    # Older versions of torch have the same facts under private names only.
    return bool(torch.cpu._is_avx512_bf16_supported() or torch.cpu._is_amx_tile_supported())
