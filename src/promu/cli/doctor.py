"""`promu doctor`: what is installed, on which device and in which precision promu computes, and what is broken."""

from __future__ import annotations

import importlib.metadata
import importlib.util
import os
import platform
import subprocess
import sys
import time
from dataclasses import asdict, dataclass, replace
from typing import TYPE_CHECKING, Literal

from packaging.requirements import Requirement

from promu.cli.console import print_json
from promu.cores import THREADS, explain_threads, load, usable_cores
from promu.errors import counted, extra_requirements, install_command

if TYPE_CHECKING:
    import torch


@dataclass(frozen=True, slots=True)
class Finding:
    """What was looked at and what was found, in words; `broken` keeps promu from working, `note` stops nothing.

    `remedy` is what to do about it.
    """

    name: str
    value: str
    status: Literal["ok", "note", "broken"] = "ok"
    remedy: str | None = None


def diagnose() -> list[Finding]:
    """Look at the interpreter, the libraries, the extras, torchvision, and the device with its precision and speed."""
    python = Finding("python", f"{platform.python_version()} on {platform.system()} {platform.machine()}")
    findings = [python, *_libraries(), _torchvision()]
    if any(finding.status == "broken" for finding in findings):
        # Measuring imports torch, and what is broken already has its remedy: do not add a traceback to it.
        return findings
    if importlib.util.find_spec("torch") is None:
        return [*findings, Finding("device", "cpu, for exported models alone: PyTorch is not installed", "note")]
    return [*findings, *_device()]


def _libraries() -> list[Finding]:
    """promu itself, each library that it requires, and what each extra brings; promu works without extras.

    Where PyTorch is installed, the libraries of the extra `train` count as required: then each has a line.
    """
    try:
        distribution = importlib.metadata.distribution("promu")
    except importlib.metadata.PackageNotFoundError:
        return [Finding("promu", "not installed, imported from its source", "broken", "pip install -e .")]
    whole = ["", *(["train"] if importlib.util.find_spec("torch") else [])]
    required = [one for extra in whole for one in extra_requirements(distribution, extra)]
    findings = [Finding("promu", distribution.version), *map(_library, required)]
    for extra in sorted(set(distribution.metadata.get_all("Provides-Extra") or []).difference(whole, ["dev"])):
        libraries = [_library(requirement) for requirement in extra_requirements(distribution, extra)]
        found = Finding(f"promu[{extra}]", ", ".join(f"{library.name} {library.value}" for library in libraries))
        if any(library.status != "ok" for library in libraries):
            found = replace(found, status="note", remedy=f"{install_command(extra)}, if you need it")
        findings.append(found)
    return findings


def _library(requirement: Requirement) -> Finding:
    name, remedy = requirement.name, f"pip install '{requirement.name}{requirement.specifier}'"
    try:
        version = importlib.metadata.version(name)
    except importlib.metadata.PackageNotFoundError:
        return Finding(name, "not installed", "broken", remedy)
    if not requirement.specifier.contains(version, prereleases=True):
        return Finding(name, f"{version}, but promu needs {requirement.specifier}", "broken", remedy)
    return Finding(name, version)


def _torchvision() -> Finding:
    """Look for a torchvision that does not fit its torch: it takes `import transformers` down with it.

    The import runs in a process of its own, because a torchvision built for another torch may fail in any way up to
    ending the interpreter, and leaves half of itself behind when it fails.
    """
    if importlib.util.find_spec("torchvision") is None:
        return Finding("torchvision", "not installed, and not needed")
    attempt = subprocess.run(
        [sys.executable, "-c", "import torchvision; from transformers import AutoImageProcessor, ViTModel"],
        env={**os.environ, "PYTHONPATH": os.pathsep.join(filter(None, sys.path))},
        capture_output=True,
        text=True,
        errors="replace",
    )
    if attempt.returncode == 0:
        return Finding("torchvision", "installed and working, but not needed", "note")
    said = attempt.stderr.strip().splitlines() or [f"its import ended with exit status {attempt.returncode}"]
    problem = f"installed but broken, and transformers breaks with it: {said[-1]}"
    return Finding("torchvision", problem, "broken", "pip uninstall torchvision")


def _device() -> list[Finding]:
    import torch

    from promu.pytorch import best_device, best_precision, processor

    device = best_device()
    precision = best_precision(device)
    named = torch.cuda.get_device_name() if device == "cuda" else counted(torch.get_num_threads(), "thread")
    dtypes = {"fp32": torch.float32, "bf16": torch.bfloat16}
    rates = {name: _matmul_rate(device, dtype) for name, dtype in dtypes.items()}
    measured = ", ".join(f"{name} {rate / 1e9:,.0f} GFLOP/s" for name, rate in rates.items())
    speed = Finding("speed", f"matrix product: {measured}")
    if precision == "bf16" and rates["bf16"] < rates["fp32"]:
        speed = replace(speed, status="note", remedy="bf16 is slower than fp32 here: set precision to fp32")
    name, instructions = processor()
    native = "bf16 in hardware" if precision == "bf16" else "no bf16 in hardware, so promu computes in fp32"
    return [
        Finding("processor", f"{name} ({', '.join(instructions) or 'instruction sets unknown'})"),
        Finding("device", f"{device} ({named})"),
        Finding("precision", f"{precision} ({native})"),
        _threads(torch.get_num_threads()),
        speed,
    ]


def _threads(count: int) -> Finding:
    """How many threads compute, why, and whether others want the cores too."""
    found = Finding("threads", f"{count} ({explain_threads(count)})")
    wanted, cores = load(), usable_cores()
    if wanted < cores + 0.5:
        return found
    busy = f"{found.value}; {wanted:.1f} processes want the {counted(cores, 'core')}"
    remedy = f"other programs compute here: stop them, or set {THREADS} lower"
    return replace(found, value=busy, status="note", remedy=remedy)


def _matmul_rate(device: str, dtype: torch.dtype, seconds: float = 0.3) -> float:
    """Floating-point operations a second of a square matrix product, measured for about `seconds`."""
    import torch

    size = 4096 if device == "cuda" else 512
    left, right = (torch.randn(size, size, device=device).to(dtype) for _ in range(2))

    def products(count: int) -> float:
        started = time.perf_counter()
        for _ in range(count):
            result = left @ right
        float(result[0, 0])  # waits for the device
        return time.perf_counter() - started

    once = min(products(1) for _ in range(2))  # the first call also sets things up
    count = max(1, min(10_000, int(seconds / max(once, 1e-6))))
    return 2.0 * size**3 * count / products(count)


def doctor(*, json: bool = False) -> int:
    """Say what is installed, which device and precision will be used, and what is broken.

    Exit status 2 when something is broken; each broken thing comes with its remedy.

    Args:
        json: Print JSON instead of lines.
    """
    findings = diagnose()
    broken = any(finding.status == "broken" for finding in findings)
    if json:
        print_json({"ok": not broken, "findings": [asdict(finding) for finding in findings]})
        return 2 if broken else 0
    for finding in findings:
        status = "BROKEN" if finding.status == "broken" else finding.status
        print(f"{status:>6}  {finding.name}: {finding.value}")
        if finding.remedy is not None:
            print(f"        remedy: {finding.remedy}")
    print("something is broken, see above" if broken else "all is well")
    return 2 if broken else 0
