"""Peak memory of a process that makes two steps and nothing else.

python -m benchmarks.memory ours [--quick]
"""

from __future__ import annotations

import os
import resource
import subprocess
import sys
from pathlib import Path

import torch

ROOT = Path(__file__).resolve().parent.parent


def peak(step: str, quick: bool) -> int:
    """MiB of resident memory that a process of its own reached, with as many threads as this one has.

    Args:
        step: "literal" or "ours".
        quick: At tiny size.
    """
    command = [sys.executable, "-m", "benchmarks.memory", step, *(["--quick"] if quick else [])]
    threads = {"OMP_NUM_THREADS": str(torch.get_num_threads())}
    done = subprocess.run(command, cwd=ROOT, env={**os.environ, **threads}, check=True, capture_output=True, text=True)
    return int(done.stdout.split()[-1])


def reached() -> int:
    """MiB of resident memory that this process has reached."""
    status = Path("/proc/self/status")
    if status.is_file():
        # what getrusage says on Linux begins with the peak of the process that started this one
        line = next(line for line in status.read_text(encoding="utf-8").splitlines() if line.startswith("VmHWM"))
        return int(line.split()[1]) // 1024
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss // (1024 * 1024 if sys.platform == "darwin" else 1024)


def main(step: str, quick: bool) -> None:
    """Make two steps, then print the peak."""
    from benchmarks.literal_step import literal_step
    from benchmarks.pretrain_step import our_steps
    from benchmarks.sizes import size

    from promu.pytorch import best_precision

    sized = size(quick)
    ours = {"ours": best_precision("cpu")}
    call = literal_step(sized) if step == "literal" else our_steps(sized, ours)["ours"]
    for _ in range(2):
        call()
    print(reached())


if __name__ == "__main__":
    main(sys.argv[1], "--quick" in sys.argv[2:])
