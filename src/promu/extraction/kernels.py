"""How many compiled kernels a process that extracts for long keeps."""

from __future__ import annotations

import os

CAPACITY = "ONEDNN_PRIMITIVE_CACHE_CAPACITY"
"""The environment variable by which oneDNN, which computes for PyTorch on CPUs, takes another limit than its 1,024."""


def keep_few_kernels() -> None:
    """Let this process keep the kernels of 128 sizes, unless its environment says how many.

    oneDNN compiles one for each size of a product, and posts come in ever new sizes, so that with its own limit memory
    grows over tens of thousands of posts. To be called before a process computes anything.
    """
    os.environ.setdefault(CAPACITY, "128")
