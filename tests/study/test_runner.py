"""The runner: jobs done once, those that fail marked, a second call kept out, a killed one leaving nobody behind."""

from __future__ import annotations

import json
import os
import queue
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from promu import progress
from promu.errors import InputError
from promu.study.job import RESULT, Job, with_inputs
from promu.study.runner import LOCK, JobResult, run_jobs, take_device

pytestmark = pytest.mark.slow

WORLD = Job("draw", "drawing", {"world": "news", "seed": 0, "pairs": 4, "ner_posts": [30, 4, 4], "re_posts": [4, 4, 4]})


def few(posts: int, world: Job = WORLD) -> Job:
    settings = {"task": "ner", "train": "job:drawn/ner/train.txt", "posts": posts, "seed": 0}
    return Job("subset", f"{posts} posts", settings, {"drawn": world}, cost=0.1)


BAD = Job("draw", "bad drawing", {**WORLD.settings, "pairs": -1})


@pytest.fixture(scope="module")
def done(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, dict[str, JobResult], list[tuple[str, int, int]]]:
    """Two jobs that succeed on one that both read, and one that fails with what needs it: folder, results, progress."""
    folder = tmp_path_factory.mktemp("study") / "jobs"
    reports: list[tuple[str, int, int]] = []
    with progress.shown(lambda *step: reports.append(step)):
        results = run_jobs([few(10), few(20), few(10), few(5, BAD)], folder, 1)
    return folder, results, reports


@pytest.fixture()
def folder(done: tuple[Path, object, object]) -> Path:
    return done[0]


def test_jobs_are_done_with_their_inputs_and_a_failure_stops_only_its_own(
    done: tuple[Path, dict[str, JobResult], list[tuple[str, int, int]]],
) -> None:
    folder, results, reports = done
    assert [results[few(posts).key].result for posts in (10, 20)] == [{"posts": 10}, {"posts": 20}]
    failed = results[few(5, BAD).key]
    assert failed.result is None and failed.failure is not None
    assert "needs 'bad drawing', which failed: pairs should be greater than or equal to 0, found -1" in failed.failure
    assert sorted(path.parent.name for path in folder.glob(f"*/{RESULT}")) == sorted(
        job.key for job in (WORLD, few(10), few(20))
    )
    log = [json.loads(line) for line in (folder.parent / "log.jsonl").read_text(encoding="utf-8").splitlines()]
    assert sorted(line["label"] for line in log) == ["10 posts", "20 posts", "5 posts", "bad drawing", "drawing"]
    assert {line["label"] for line in log if "failure" in line} == {"5 posts", "bad drawing"}
    assert reports[-1] == ("less than a minute left; 2 failed", 3, 5)


def test_what_is_done_is_not_done_again(folder: Path) -> None:
    jobs = [few(10), few(20)]
    before = {key: (folder / key / RESULT).stat().st_mtime_ns for key in with_inputs(jobs)}
    results = run_jobs(jobs, folder)
    assert all(result.result is not None for result in results.values())
    assert {key: (folder / key / RESULT).stat().st_mtime_ns for key in before} == before


def test_a_second_call_in_the_same_folder_is_refused(folder: Path) -> None:
    import fcntl

    with (folder / LOCK).open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        with pytest.raises(InputError, match="another call is at work in this folder"):
            run_jobs([few(25)], folder)


def test_workers_end_with_a_call_that_is_killed(tmp_path: Path) -> None:
    code = (
        "from promu.study.job import Job\n"
        "from promu.study.runner import run_jobs\n"
        "from pathlib import Path\n"
        "if __name__ == '__main__':\n"
        "    settings = {'world': 'news', 'seed': 0, 'pairs': 200000, 'ner_posts': [1, 1, 1], 're_posts': [1, 1, 1]}\n"
        f"    run_jobs([Job('draw', 'long', settings)], Path({str(tmp_path / 'jobs')!r}), 1)\n"
    )
    script = tmp_path / "call.py"
    script.write_text(code, encoding="utf-8")
    call = subprocess.Popen([sys.executable, str(script)])
    if not Path(f"/proc/{call.pid}/task/{call.pid}/children").exists():
        pytest.skip("no /proc to see processes in")
    try:
        wait_for(lambda: any((tmp_path / "jobs").glob("draw-*/.run.*.part")), 120)
        workers = descendants(call.pid)
    finally:
        os.kill(call.pid, signal.SIGKILL)
    assert len(workers) > 2, "a worker, the process that it is a copy of, and the tracker of resources"
    call.wait()
    wait_for(lambda: not any(alive(pid) for pid in workers), 30)


def descendants(pid: int) -> list[int]:
    """The processes that a process has made, and those that they have."""
    children = [int(child) for child in Path(f"/proc/{pid}/task/{pid}/children").read_text().split()]
    return [*children, *(one for child in children for one in descendants(child))]


def wait_for(condition, seconds: float) -> None:
    until = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < until, "it did not come to that"
        time.sleep(0.1)


def alive(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except FileNotFoundError:
        return False


def test_each_process_has_an_accelerator_of_its_own(monkeypatch: pytest.MonkeyPatch) -> None:
    devices: queue.Queue[int] = queue.Queue()
    taken = []
    for number in (0, 2):
        devices.put(number)
        monkeypatch.delenv("CUDA_VISIBLE_DEVICES", raising=False)
        take_device(devices)
        taken.append(os.environ["CUDA_VISIBLE_DEVICES"])
    assert taken == ["0", "2"]
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "5,GPU-7")
    devices.put(1)
    take_device(devices)
    assert os.environ["CUDA_VISIBLE_DEVICES"] == "GPU-7", "one of those that the study may use"
