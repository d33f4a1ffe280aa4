"""The cores that a process may use, and how its threads wait for each other."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from promu import cores
from promu.cores import explain_threads, prepare_threads, quota, usable_cores

NAMES = ("GOMP_SPINCOUNT", "KMP_BLOCKTIME", "OMP_WAIT_POLICY", "OMP_NUM_THREADS")


@pytest.fixture
def bare(monkeypatch: pytest.MonkeyPatch) -> pytest.MonkeyPatch:
    """An environment that says nothing of threads, in a process without PyTorch."""
    for name in NAMES:
        monkeypatch.delenv(name, raising=False)
    monkeypatch.delitem(sys.modules, "torch", raising=False)
    monkeypatch.setattr(cores, "quota", lambda: None)
    monkeypatch.setattr(cores, "SPINS", "1000")
    return monkeypatch


def said() -> dict[str, str]:
    return {name: os.environ[name] for name in NAMES if name in os.environ}


@pytest.mark.skipif(not hasattr(os, "sched_setaffinity"), reason="this system does not bind a process to cores")
def test_cores_that_are_not_for_this_process_do_not_count() -> None:
    core = min(os.sched_getaffinity(0))
    code = f"import os; os.sched_setaffinity(0, [{core}]); from promu.cores import usable_cores; print(usable_cores())"
    assert subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout == "1\n"


def test_importing_promu_lets_threads_that_wait_sleep_soon() -> None:
    code = "import promu, os; print(os.environ['GOMP_SPINCOUNT'], os.environ['KMP_BLOCKTIME'])"
    environment = {name: value for name, value in os.environ.items() if name not in NAMES}
    run = subprocess.run([sys.executable, "-c", code], env=environment, capture_output=True, text=True, check=True)
    assert run.stdout in ("1000 0\n", "0 0\n")  # as the machine is


def test_the_environment_has_the_last_word(bare: pytest.MonkeyPatch) -> None:
    prepare_threads()
    assert said() == {"GOMP_SPINCOUNT": "1000", "KMP_BLOCKTIME": "0"}
    bare.setenv("GOMP_SPINCOUNT", "7")
    prepare_threads()
    assert said() == {"GOMP_SPINCOUNT": "7", "KMP_BLOCKTIME": "0"}
    for name in NAMES:
        bare.delenv(name, raising=False)
    bare.setenv("OMP_WAIT_POLICY", "ACTIVE")
    prepare_threads()
    assert said() == {"OMP_WAIT_POLICY": "ACTIVE"}


def test_threads_sleep_at_once_where_the_cores_are_busy(bare: pytest.MonkeyPatch) -> None:
    bare.setattr(cores, "usable_cores", lambda: 4)
    for load, expected in ((1.9, ("1000", "50")), (2.0, ("0", "0"))):
        bare.setattr(os, "getloadavg", lambda load=load: (load, 0.0, 0.0))
        assert cores.spins(cores.is_busy()) == expected
    bare.setattr(cores, "SPINS", "0")
    prepare_threads()
    assert explain_threads(4).endswith("; one that waits sleeps at once")


def test_nothing_is_set_where_it_is_too_late(bare: pytest.MonkeyPatch) -> None:
    bare.setitem(sys.modules, "torch", object())
    prepare_threads()
    assert said() == {}


def test_a_control_group_bounds_the_threads(bare: pytest.MonkeyPatch) -> None:
    bare.setattr(cores, "quota", lambda: 1.5)
    bare.setattr(os, "sched_getaffinity", lambda _: set(range(64)), raising=False)
    assert usable_cores() == 2
    prepare_threads()
    assert said()["OMP_NUM_THREADS"] == "2"
    assert explain_threads(2).startswith("the control group allows 1.5 cores; one that waits asks 1,000 times")
    bare.setenv("OMP_NUM_THREADS", "8")
    assert explain_threads(8).startswith("OMP_NUM_THREADS says so")
    bare.setattr(cores, "quota", lambda: None)
    bare.delenv("OMP_NUM_THREADS")
    assert explain_threads(64).startswith("of 64 cores that this process may use; OMP_NUM_THREADS sets another number")
    bare.delenv("GOMP_SPINCOUNT")
    bare.setenv("OMP_WAIT_POLICY", "ACTIVE")
    assert explain_threads(64).endswith("they wait as OMP_WAIT_POLICY=ACTIVE says")


@pytest.mark.parametrize(
    ("files", "expected"),
    [
        ({}, None),
        ({"a/b/cpu.max": "max 100000\n", "a/cpu.max": "150000 100000\n"}, 1.5),
        ({"a/b/cpu.max": "50000 100000\n", "a/cpu.max": "150000 100000\n"}, 0.5),
        ({"cpu.max": "400000 100000\n"}, 4.0),
        ({"a/b/cpu.max": "a word\n"}, None),
        ({"cpu/cpu.cfs_quota_us": "-1\n", "cpu/cpu.cfs_period_us": "100000\n"}, None),
        ({"cpu/cpu.cfs_quota_us": "200000\n", "cpu/cpu.cfs_period_us": "100000\n"}, 2.0),
    ],
)
def test_the_bound_of_a_control_group(tmp_path: Path, files: dict[str, str], expected: float | None) -> None:
    for name, text in files.items():
        file = tmp_path / "mounted" / name
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(text)
    own = tmp_path / "cgroup"
    own.write_text("4:memory:/c\n0::/a/b\n")
    assert quota(tmp_path / "mounted", own) == expected
    assert quota(tmp_path / "nowhere", tmp_path / "none") is None
