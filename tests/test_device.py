"""The choice of device and precision."""

from __future__ import annotations

import pytest
import torch

from promu import pytorch as device
from promu.errors import InputError


def test_the_device_is_one_that_computes() -> None:
    assert torch.ones(2, device=device.best_device()).sum().item() == 2


@pytest.mark.parametrize(
    ("name", "said"),
    [
        ("cuda", "device 'cuda' is not there, since this PyTorch is built without CUDA; name one of those here: cpu"),
        ("cuda:1", "device 'cuda:1' is not there"),
        ("mps", "device 'mps' is not there; name one of those here: cpu"),
        ("gpu", "device 'gpu' is no name of a device; name one of those here: cpu"),
        ("", "device '' is no name of a device"),
    ],
)
def test_a_device_that_is_not_there(name: str, said: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(device, "devices", lambda: ["cpu"])
    monkeypatch.setattr(torch.version, "cuda", None)
    with pytest.raises(InputError, match=said):
        device.find_device(name)
    assert device.find_device("cpu") == "cpu" and device.find_device() == "cpu"


def test_one_of_two_accelerators(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.backends.mps, "is_available", lambda: False)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 1)
    assert device.devices() == ["cuda", "cpu"] and device.find_device("cuda:0") == "cuda:0"
    with pytest.raises(InputError, match=r"'cuda:1' is not there.*: cuda, cpu"):
        device.find_device("cuda:1")
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 2)
    assert device.find_device("cuda:1") == "cuda:1" and device.find_device() == "cuda"


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
