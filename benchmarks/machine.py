"""What the machine is and can do: its matmul rate is what a training step is held against."""

from __future__ import annotations

import os
import platform
import time
from collections.abc import Callable
from typing import Any

import torch
from benchmarks.measure import Row
from torch.nn import functional

from promu.cores import usable_cores
from promu.pytorch import best_precision, processor

SHAPES = ((1024, 1024, 1024), (2048, 2048, 2048), (1576, 768, 3072), (1576, 3072, 768))
"""(rows, inner, columns): two squares, and the feed-forward layer of ViT-B/16 on 8 images, up and down."""
TINY_SHAPES = ((64, 64, 64),)


def matmul(rows: int, inner: int, columns: int, dtype: torch.dtype) -> Callable[[], object]:
    """A linear layer's product of random numbers, ready to be called."""
    left, right = torch.randn(rows, inner, dtype=dtype), torch.randn(columns, inner, dtype=dtype)
    return lambda: functional.linear(left, right)


def rate(shape: tuple[int, int, int], dtype: torch.dtype, seconds: float) -> tuple[float, float]:
    """GFLOP/s of a matmul, by the wall clock and by processor time: the best of what fits into `seconds`."""
    call = matmul(*shape, dtype)
    call()
    operations = 2 * shape[0] * shape[1] * shape[2] / 1e9
    by_wall = by_core = 0.0
    end = time.perf_counter() + seconds
    while time.perf_counter() < end:
        wall, core = time.perf_counter(), time.process_time()
        for _ in range(3):
            call()
        by_wall = max(by_wall, 3 * operations / (time.perf_counter() - wall))
        by_core = max(by_core, 3 * operations / max(time.process_time() - core, 1e-9))
    return by_wall, by_core


def facts() -> dict[str, Any]:
    """Processor, cores, libraries, and the load that was there before."""
    return {
        "processor": processor()[0],
        "cores": usable_cores(),
        "threads": torch.get_num_threads(),
        "load": round(os.getloadavg()[0], 2) if hasattr(os, "getloadavg") else None,
        "python": platform.python_version(),
        "torch": torch.__version__,
        "bf16_native": best_precision("cpu") == "bf16",
    }


def run(quick: bool) -> tuple[dict[str, Any], list[Row]]:
    """Matmul rates in fp32 and bf16, the best shape of each."""
    result: dict[str, Any] = {}
    rows = []
    for name, dtype in (("fp32", torch.float32), ("bf16", torch.bfloat16)):
        rates = {
            "x".join(map(str, shape)): rate(shape, dtype, 0.02 if quick else 2.0)
            for shape in (TINY_SHAPES if quick else SHAPES)
        }
        wall, core = (max(values) for values in zip(*rates.values(), strict=True))
        result[name] = {"gflops": wall, "gflops_per_core_second": core, "shapes": rates}
        rows.append(Row("machine", f"matmul {name}", f"{wall:.0f} GFLOP/s ({core:.0f} a core-second)"))
    return result, rows
