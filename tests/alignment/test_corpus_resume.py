"""Builds that are killed, run out of room or are ten times as large: nothing is lost, and memory stays as it is."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from tests.alignment.corpus_sets import content, noise, with_, write_rows, write_set
from tests.corpora.test_images import encoded

from promu.alignment.corpus_build import build_corpus
from promu.alignment.corpus_settings import CorpusSettings
from promu.corpora.shards import PairShards

# A process that has promu loaded forks for each test, and that fork again for each build: so they die, or run out of
# room, quickly.
FORKS = """
import json, os, random, resource, signal, sys, time, traceback
from pathlib import Path
import promu.alignment.corpus_build as module
from promu.alignment.corpus_settings import CorpusSettings
from promu.errors import InputError

def child(work):
    pid = os.fork()
    if not pid:
        try:
            work()
            os._exit(0)
        except InputError as error:
            print(error, flush=True)
            os._exit(2)
        except BaseException:
            traceback.print_exc(file=sys.stdout)
            sys.stdout.flush()
            os._exit(3)
    return pid

def follow():
    os.dup2(os.open(said, os.O_WRONLY | os.O_CREAT), 1)
    exec(code, globals())
    sys.stdout.flush()

for line in sys.stdin:
    code, captions, images, out, said, changes = json.loads(line)
    captions, images, out = Path(captions), Path(images), Path(out)
    settings = CorpusSettings(captions=captions, images=images, **changes)
    _, status = os.waitpid(child(follow), 0)
    print(os.waitstatus_to_exitcode(status), flush=True)
"""
Forks = Callable[..., str]


@pytest.fixture(scope="module")
def run_forks(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Forks]:
    """Runs code that finds the names of `FORKS`, with `settings` and `out`; gives what it printed."""
    said = tmp_path_factory.mktemp("said")
    command = [sys.executable, "-c", FORKS]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as forks:
        assert forks.stdin is not None and forks.stdout is not None

        def run(settings: CorpusSettings, out: Path, code: str, **changes: Any) -> str:
            assert forks.stdin is not None and forks.stdout is not None
            path = said / str(len(list(said.iterdir())))
            request = [code, str(settings.captions), str(settings.images), str(out), str(path), changes]
            forks.stdin.write(json.dumps(request) + "\n")
            forks.stdin.flush()
            status = forks.stdout.readline().strip()
            text = path.read_text() if path.exists() else ""
            assert status == "0", text
            return text

        yield run
        forks.kill()


@pytest.mark.slow
def test_killed_at_any_moment(tmp_path: Path, run_forks: Forks) -> None:
    """Killed again and again at random, the build ends with the very files of one that was not."""
    settings = write_set(tmp_path, 120)
    how = {"falsify": "uniform", "shard": 12, "dev": 24, "missing_images": "skip"}
    (settings.image_folder / "5.png").write_bytes(b"broken")
    build_corpus(with_(settings, **how), tmp_path / "unbroken")
    code = """
killed = 0
for most in (0.01, *[0.15] * 11):  # the first is certain to come too early to finish
    pid = child(lambda: module.build_corpus(settings, out))
    time.sleep(random.uniform(0.0, most))
    os.kill(pid, signal.SIGKILL)
    _, status = os.waitpid(pid, 0)
    killed += os.WIFSIGNALED(status)
module.build_corpus(settings, out)
print(killed)
"""
    assert int(run_forks(settings, tmp_path / "out", code, **how)) > 0
    assert content(tmp_path / "out") == content(tmp_path / "unbroken")


@pytest.mark.slow
def test_killed_as_a_file_gets_its_name(tmp_path: Path, run_forks: Forks) -> None:
    """The moments between two files, one by one: before each rename of a shard, and of a header."""
    settings = write_set(tmp_path, 6)
    how = {"falsify": "uniform", "shard": 2, "dev": 2}
    build_corpus(with_(settings, **how), tmp_path / "unbroken")
    code = """
def dying(at):
    left = [at]
    for owner, name in ((os, "replace"), (Path, "replace"), (Path, "unlink")):
        def call(*given, original=getattr(owner, name), **named):
            if not left[0]:
                os.kill(os.getpid(), signal.SIGKILL)
            left[0] -= 1
            return original(*given, **named)
        setattr(owner, name, call)
    module.build_corpus(settings, out)

killed = 0
for at in (0, 1, 2, 3, 3, 2, 1, 4, 5, 6, 1, 2, 0, 1, 9):
    _, status = os.waitpid(child(lambda: dying(at)), 0)
    killed += os.WIFSIGNALED(status)
print(killed)
module.build_corpus(settings, out)
"""
    assert int(run_forks(settings, tmp_path / "out", code, **how)) >= 8
    assert content(tmp_path / "out") == content(tmp_path / "unbroken")


@pytest.mark.slow
def test_a_full_disk(tmp_path: Path, run_forks: Forks) -> None:
    """A shard that finds no room is said to, those before it stay, and with room the build goes on."""
    settings = write_set(tmp_path, 8)
    for number in range(4, 8):
        (settings.image_folder / f"{number}.png").write_bytes(encoded(noise(number, 300, 200)))
    build_corpus(with_(settings, shard=4), tmp_path / "unbroken")
    code = """
def cramped():
    resource.setrlimit(resource.RLIMIT_FSIZE, (100_000, 100_000))
    module.build_corpus(settings, out)

_, status = os.waitpid(child(cramped), 0)
print(os.WEXITSTATUS(status), sorted(path.name for path in out.iterdir()))
module.build_corpus(settings, out)
"""
    said, left = run_forks(settings, tmp_path / "out", code, shard=4).splitlines()
    assert "images-00001.parquet: this shard cannot be written (File too large); make room and run the same" in said
    assert left == "2 ['build.json', 'images-00000.parquet']"
    assert content(tmp_path / "out") == content(tmp_path / "unbroken")


@pytest.mark.slow
def test_ten_times_the_captions_cost_the_same_memory(tmp_path: Path, run_forks: Forks) -> None:
    """Peak memory over the start's, of 300 images and of 3,000 with 30,000 captions."""
    code = """
def measured(count):
    folder = images.parent / count
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    module.build_corpus(settings.model_copy(update={"captions": folder / "captions.csv"}), out / count)
    print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before, flush=True)

out.mkdir()
for count in ("300", "3000"):
    os.waitpid(child(lambda: measured(count)), 0)
"""
    settings = write_set(tmp_path, 1)
    for index in range(1, 3000):
        (settings.image_folder / f"{index}.png").hardlink_to(settings.image_folder / "0.png")
    for count in (300, 3000):
        (tmp_path / str(count)).mkdir()
        rows = [(f"{index}.png", f"caption {each} of {index}") for index in range(count) for each in range(10)]
        write_rows(tmp_path / str(count), [("image", "caption"), *rows])
    small, large = (int(line) / 1024 for line in run_forks(settings, tmp_path / "out", code, shard=100).split())
    assert PairShards(tmp_path / "out" / "3000").images == 3000
    assert large < small + 15, (small, large)
