"""PyTorch set up: loading by name with one clear error, a checksum of weights, device and precision.

What extracts from an exported model imports none of this.
"""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path
from typing import Any, Literal

import torch
from huggingface_hub.errors import StrictDataclassError
from safetensors import SafetensorError

from promu.errors import InputError, first_line
from promu.hub import resolve

SAFE_WEIGHTS: dict[str, Any] = {"use_safetensors": True, "dtype": torch.float32}
"""For `load`: weights are never unpickled, and those kept in half precision become fp32."""


def load(auto_class: Any, name: str, kind: str, **settings: Any) -> Any:
    """What a class of transformers loads by name.

    Args:
        auto_class: Has `from_pretrained`, such as `AutoModel` or `AutoTokenizer`.
        name: A folder or a name of the hub, as `resolve` takes it.
        kind: What is loaded, for the error: "encoder", "tokenizer of teacher".
        settings: For `from_pretrained`; `**SAFE_WEIGHTS` where weights are loaded.

    Raises:
        InputError: There is nothing of that name within reach, or it is damaged, incomplete or of another kind.
    """
    folder = resolve(name)
    try:
        with without_bars():
            loaded = auto_class.from_pretrained(folder, **settings)
        if isinstance(loaded, torch.nn.Module):
            refuse_nan(loaded, f"{kind} {name!r}")
        return loaded
    except InputError:
        raise
    except SafetensorError as error:
        raise InputError(f"the weights of {kind} {name!r} are damaged ({error}); fetch or save them again") from error
    except ImportError as error:
        raise InputError(
            f"{kind} {name!r} needs a package that is missing ({first_line(error)}); name a model that does without"
        ) from error
    except StrictDataclassError as error:
        raise InputError(f"the config.json of {kind} {name!r} is wrong: {' '.join(str(error).split())}") from error
    except RuntimeError as error:
        raise InputError(
            f"the weights of {kind} {name!r} have other sizes than its config.json says; fetch both again"
        ) from error
    except (OSError, ValueError) as error:
        absent = folder.startswith((".", "/", "~")) and not Path(folder).exists()
        reason = "there is no such folder" if absent else first_line(error)
        raise InputError(
            f"{kind} {name!r} cannot be loaded ({reason}); name a folder or hub model within reach, its "
            "weights in safetensors form"
        ) from error


def not_finite(model: torch.nn.Module) -> str | None:
    """The name of the first weight that holds NaN or infinity, or of a running statistic that holds NaN; else None."""
    for name, weight in model.named_parameters():
        # the sum of what is finite may overflow, so it only says where to look
        if not bool(weight.detach().sum().isfinite()) and not bool(weight.detach().isfinite().all()):
            return name
    return next((name for name, value in model.named_buffers() if bool(value.isnan().any())), None)


def refuse_nan(model: torch.nn.Module, what: str) -> None:
    """Make sure that a model can compute: all of its weights are numbers.

    Raises:
        InputError: One is NaN or infinite, as a training that diverged leaves them.
    """
    if (name := not_finite(model)) is not None:
        raise InputError(
            f"the weights of {what} are not finite ({name} holds NaN or infinity): the training that saved them "
            "diverged; train it again with a lower learning rate, or name another model"
        )


def weights_checksum(weights: Mapping[str, torch.Tensor], *others: Any) -> str:
    """SHA-256 over names, types, shapes and bytes of weights, the same before they are saved and once loaded.

    Args:
        weights: By name, such as a `state_dict`.
        others: What else what they compute depends on, as JSON data.
    """
    digest = hashlib.sha256(json.dumps(others, sort_keys=True, default=str).encode() if others else b"")
    for name, value in sorted(weights.items()):
        digest.update(f"{name} {value.dtype} {tuple(value.shape)}".encode())
        digest.update(value.detach().cpu().contiguous().reshape(-1).view(torch.uint8).numpy().data)
    return digest.hexdigest()


Precision = Literal["bf16", "fp32"]


def devices() -> list[str]:
    """The devices that there are, the best first: `cuda` (and `cuda:1`, ... where there are several), `mps`, `cpu`."""
    several = torch.cuda.device_count() if torch.cuda.is_available() else 0
    cuda = ["cuda", *(f"cuda:{number}" for number in range(several) if several > 1)] if several else []
    return [*cuda, *(["mps"] if torch.backends.mps.is_available() else []), "cpu"]


def best_device() -> str:
    """`cuda` where an accelerator answers, else Apple's `mps`, else `cpu`."""
    return devices()[0]


def find_device(name: str | None = None) -> str:
    """The device called `name`, which is there; None is the best there is.

    Raises:
        InputError: No device has that name, or this machine (or this PyTorch) has none of the kind.

    Example:
        >>> find_device("cpu")
        'cpu'
    """
    if name is None:
        return best_device()
    there = devices()
    if name in there or (name == "cuda:0" and "cuda" in there):
        return name
    kind = name.partition(":")[0]
    reason = "is not there" if kind in ("cuda", "mps", "cpu") else "is no name of a device"
    if kind == "cuda" and torch.version.cuda is None and torch.version.hip is None:
        reason += ", since this PyTorch is built without CUDA"
    raise InputError(f"device {name!r} {reason}; name one of those here: {', '.join(there)}")


def best_precision(device: str) -> Precision:
    """`bf16` where the device (`cpu`, `cuda`, `cuda:1`, ...) computes it natively, else `fp32`.

    bf16 that is emulated gives coarser results and no time back, so it never counts.
    """
    kind = torch.device(device).type
    native = kind == "cpu" and torch.backends.mkldnn.is_available() and _cpu_has_bf16()
    if kind == "cuda":
        # Tensor cores compute bf16 from compute capability 8.0 on; on ROCm torch itself knows.
        rocm = torch.version.hip is not None
        native = torch.cuda.is_bf16_supported() if rocm else torch.cuda.get_device_capability(device)[0] >= 8
    return "bf16" if native else "fp32"


def autocast(device: torch.device) -> AbstractContextManager[None]:
    """The context in which a model computes in `best_precision` of its device."""
    return torch.autocast(device.type, dtype=torch.bfloat16, enabled=best_precision(str(device)) == "bf16")


def _cpu_has_bf16() -> bool:
    """Whether products of bf16 matrices run in hardware (AVX512-BF16 or AMX), as oneDNN may use it."""
    # oneDNN computes PyTorch's products; this variable keeps it from newer instructions, as on an older processor.
    limit = (os.environ.get("ONEDNN_MAX_CPU_ISA") or os.environ.get("DNNL_MAX_CPU_ISA") or "DEFAULT").upper()
    if not any(word in limit for word in ("BF16", "FP16", "AMX", "AVX10", "DEFAULT", "ALL")):
        return False
    if hasattr(torch.cpu, "get_capabilities"):
        capabilities = torch.cpu.get_capabilities()
        return bool(capabilities.get("avx512_bf16") or capabilities.get("amx_bf16"))
    # Older versions of torch have the same facts under private names only.
    return bool(torch.cpu._is_avx512_bf16_supported() or torch.cpu._is_amx_tile_supported())


def processor() -> tuple[str, tuple[str, ...]]:
    """The processor's name, and which of the instruction sets that matter for speed it has."""
    import platform

    name = platform.processor() or platform.machine()
    info = Path("/proc/cpuinfo")
    if info.is_file():  # Linux; elsewhere Python knows the name
        lines = info.read_text(encoding="utf-8", errors="replace").splitlines()
        named = [line.partition(":")[2].strip() for line in lines if line.startswith(("model name", "Model"))]
        name = named[0] if named else name
    capabilities = torch.cpu.get_capabilities() if hasattr(torch.cpu, "get_capabilities") else {}
    wanted = ("avx2", "avx512_f", "avx512_vnni", "avx512_bf16", "amx_bf16", "bf16", "sve")
    return name, tuple(each for each in wanted if capabilities.get(each))


@contextmanager
def without_bars() -> Iterator[None]:
    """Without the progress bars of transformers for loading and saving weights, which go to whoever reads the log."""
    from transformers.utils import logging as bars

    shown = bars.is_progress_bar_enabled()
    bars.disable_progress_bar()
    try:
        yield
    finally:
        if shown:
            bars.enable_progress_bar()
