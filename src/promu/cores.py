"""How many threads compute, and how they wait for each other: on machines that others use too.

A step of a model is split among threads, and those that are done wait for the last. By default they wait by asking
again and again (they *spin*) for milliseconds. Where other programs use the cores, the last thread may not be running
at all, and those that spin keep it from its core: two threads are then slower than one. promu lets them sleep at once
where the cores are busy when it starts. Else they spin for some microseconds, which is as long as the next step takes
to come.

OpenMP reads its settings once, when PyTorch is imported. So `import promu` makes them, unless PyTorch is there already
or the environment has settings of its own; graphs of onnxruntime are given theirs one by one.
"""

from __future__ import annotations

import math
import os
import sys
from pathlib import Path

BUSY = 0.5
"""The load of a core from which on waiting threads sleep at once."""
THREADS = "OMP_NUM_THREADS"


def prepare_threads() -> None:
    """Settings for OpenMP in the environment of this process and of those that it starts, where there are none.

    It does nothing where PyTorch was imported before: it is too late then.
    """
    if "torch" in sys.modules:
        return
    if "OMP_WAIT_POLICY" not in os.environ:
        os.environ.setdefault("GOMP_SPINCOUNT", SPINS)  # GNU's
        os.environ.setdefault("KMP_BLOCKTIME", "0")  # LLVM's and Intel's
    if quota() is not None:  # PyTorch counts the cores of the machine
        os.environ.setdefault(THREADS, str(usable_cores()))


def use_threads(count: int) -> None:
    """Let models of this process compute with so many threads: PyTorch, and graphs opened after it."""
    os.environ[THREADS] = str(count)
    if "torch" in sys.modules:
        sys.modules["torch"].set_num_threads(count)


def usable_threads() -> int:
    """Threads that a graph computes with: as many as PyTorch does where it is loaded, else `OMP_NUM_THREADS` or all."""
    if "torch" in sys.modules:
        return int(sys.modules["torch"].get_num_threads())
    named = os.environ.get(THREADS, "")
    return int(named) if named.isdigit() and int(named) > 0 else usable_cores()


def usable_cores() -> int:
    """Cores that this process may use: fewer than the machine has where a container or `taskset` allows fewer."""
    bound = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    allowed = quota()
    return bound if allowed is None else max(1, min(bound, math.ceil(allowed)))


def quota(root: Path = Path("/sys/fs/cgroup"), own: Path = Path("/proc/self/cgroup")) -> float | None:
    """The share of the machine that a control group leaves to this process, in cores; None where it sets no bound.

    Args:
        root: Where control groups are mounted, version 2 or 1.
        own: What names the one of this process.
    """
    bounds = []
    for line in _text(own).splitlines():
        if not line.startswith("0::"):  # of version 1
            continue
        folder = Path(line[3:].lstrip("/"))
        for part in (folder, *folder.parents):
            most, _, period = _text(root / part / "cpu.max").partition(" ")
            bounds.append(_ratio(most, period))
    bounds.append(_ratio(_text(root / "cpu" / "cpu.cfs_quota_us"), _text(root / "cpu" / "cpu.cfs_period_us")))
    found = [bound for bound in bounds if bound is not None]
    return min(found, default=None)


def _text(path: Path) -> str:
    try:
        return path.read_text(encoding="ascii").strip()
    except (OSError, ValueError):
        return ""


def _ratio(most: str, period: str) -> float | None:
    return int(most) / int(period) if most.isdigit() and period.isdigit() and int(period) > 0 else None


def explain_threads(threads: int) -> str:
    """Why a process computes with so many threads, and how they wait for each other, in words."""
    allowed = quota()
    if os.environ.get(THREADS) == str(threads) and (allowed is None or threads != usable_cores()):
        why = f"{THREADS} says so"
    elif allowed is not None and threads == usable_cores():
        why = f"the control group allows {allowed:g} cores"
    else:
        why = f"of {usable_cores()} cores that this process may use; {THREADS} sets another number"
    policy, times = os.environ.get("OMP_WAIT_POLICY"), os.environ.get("GOMP_SPINCOUNT")
    if policy is not None and times is None:
        return f"{why}; they wait as OMP_WAIT_POLICY={policy} says"
    if times == "0":
        return f"{why}; one that waits sleeps at once"
    return f"{why}; one that waits asks {int(times):,} times, then sleeps" if times and times.isdigit() else why


def load() -> float:
    """The processes that wait for a core or have one, on average over the last minute; 0 where nobody counts."""
    return os.getloadavg()[0] if hasattr(os, "getloadavg") else 0.0


def is_busy() -> bool:
    """Whether other programs are likely to want the cores that a thread waits on."""
    return load() >= BUSY * usable_cores()


def spins(busy: bool) -> tuple[str, str]:
    """How often a waiting thread of GNU's OpenMP asks before it sleeps, and for how many microseconds onnxruntime's.

    GNU's own 300,000 times take milliseconds.
    """
    return ("0", "0") if busy else ("1000", "50")


SPINS, SPIN_MICROSECONDS = spins(is_busy())
"""Those of this process, as the machine was when it began."""
