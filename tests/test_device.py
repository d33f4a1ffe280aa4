"""The choice of device and precision."""

from __future__ import annotations

import pytest
import torch

from promu import hub as device


def test_the_device_is_one_that_computes() -> None:
    assert torch.ones(2, device=device.best_device()).sum().item() == 2


@pytest.mark.parametrize(("in_hardware", "expected"), [(True, "bf16"), (False, "fp32")])
def test_bf16_counts_only_in_hardware(monkeypatch: pytest.MonkeyPatch, in_hardware: bool, expected: str) -> None:
    monkeypatch.setattr(device, "_cpu_has_bf16", lambda: in_hardware)
    monkeypatch.setattr(torch.backends.mkldnn, "is_available", lambda: True)
    assert device.best_precision("cpu") == expected
    assert device.best_precision("mps") == "fp32"


@pytest.mark.parametrize(
    ("limit", "native"), [("AVX2", False), ("AVX512_CORE_VNNI", False), ("avx512_core_bf16", True), ("DEFAULT", True)]
)
def test_an_instruction_set_that_is_masked_does_not_count(
    monkeypatch: pytest.MonkeyPatch, limit: str, native: bool
) -> None:
    monkeypatch.setattr(torch.cpu, "get_capabilities", lambda: {"avx512_bf16": True}, raising=False)
    monkeypatch.setattr(torch.backends.mkldnn, "is_available", lambda: True)
    monkeypatch.setenv("ONEDNN_MAX_CPU_ISA", limit)
    assert device.best_precision("cpu") == ("bf16" if native else "fp32")
