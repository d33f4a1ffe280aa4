"""Building a corpus: nothing is lost, whatever the captions and pictures are like and wherever it is stopped."""

from __future__ import annotations

import csv
import io
import json
import subprocess
import sys
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image
from tests.corpora.test_pictures import encoded, png_header

from promu.alignment import corpus_build, prepare
from promu.alignment.corpus_build import BUILD, DRAFT, build_corpus
from promu.alignment.corpus_settings import CorpusSettings
from promu.corpora.shards import PairShards
from promu.errors import InputError
from promu.schema import Region


def noise(seed: int, width: int = 24, height: int = 16) -> Image.Image:
    return Image.fromarray(np.random.default_rng(seed).integers(0, 256, (height, width, 3), dtype=np.uint8))


def write_set(folder: Path, pictures: int, captions: int = 2) -> CorpusSettings:
    """A set of small sound pictures; its settings."""
    (folder / "images").mkdir(parents=True)
    rows = [("image", "caption")]
    for number in range(pictures):
        (folder / "images" / f"{number}.png").write_bytes(encoded(noise(number)))
        rows += [(f"{number}.png", f"thing {number} of kind {number % 5}, {each}") for each in range(captions)]
    return CorpusSettings(write_rows(folder, rows), folder / "images")


def write_rows(folder: Path, rows: Sequence[Sequence[str]]) -> Path:
    path = folder / "captions.csv"
    with path.open("w", encoding="utf-8", newline="") as file:
        csv.writer(file).writerows(rows)
    return path


def with_(settings: CorpusSettings, **changes: Any) -> CorpusSettings:
    from dataclasses import replace

    return replace(settings, **changes)


def content(folder: Path) -> dict[str, bytes]:
    return {path.relative_to(folder).as_posix(): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def test_a_plain_set(tmp_path: Path) -> None:
    """Every picture keeps its bytes, every pair its place; the bar moves to its end."""
    settings = write_set(tmp_path, 37)
    seen: list[tuple[str, int, int]] = []
    result = build_corpus(with_(settings, shard=10), tmp_path / "out", lambda *step: seen.append(step))
    shards = PairShards(tmp_path / "out")
    assert [shards.picture(index).image for index in range(37)] == [f"{index}.png" for index in range(37)]
    assert shards.picture(5).captions == (("thing 5 of kind 0, 0", True), ("thing 5 of kind 0, 1", True))
    assert shards.picture(36).data == encoded(noise(36))
    assert (shards.picture(0).width, shards.picture(0).height) == (24, 16)
    assert (result["read"], result["kept"], result["made"], result["skipped"]["pairs"]) == (74, 74, 0, {})
    assert shards.header["shards"] == 4 and shards.header["settings"]["format"] == "captions"
    pictures = [done for name, done, _ in seen if name == "pictures"]
    assert seen[-1] == ("pictures", 37, 37) and len(pictures) > 3 and pictures == sorted(pictures)
    assert [step[0] for step in seen if step[0] != "pictures"] == ["reading captions"] * (len(seen) - len(pictures))
    assert sorted(path.name for path in (tmp_path / "out").iterdir())[:2] == [BUILD, "corpus.json"]
    assert build_corpus(with_(settings, shard=10), tmp_path / "out") == result


def test_every_kind_of_picture(tmp_path: Path) -> None:
    """Kept or counted by reason; sizes are those of the upright picture."""
    settings = write_set(tmp_path, 1)
    images = tmp_path / "images"
    exif = Image.Exif()
    exif[0x0112] = 6
    sound = {
        "alpha.png": encoded(noise(1).convert("RGBA")),
        "palette.gif": encoded(noise(2).convert("P"), "GIF"),
        "cmyk.jpg": encoded(noise(3).convert("CMYK"), "JPEG"),
        "turned.jpg": encoded(noise(4), "JPEG", exif=exif),
        "animated.gif": encoded(noise(5), "GIF", save_all=True, append_images=[noise(6)]),
        "one.png": encoded(noise(7, 1, 1)),
    }
    broken = {
        "giant.png": (png_header(50_000, 50_000), "picture too large"),
        "short.jpg": (encoded(noise(8), "JPEG")[:-200], "broken picture"),
        "nothing.jpg": (b"", "picture of 0 bytes"),
        "page.jpg": (b"<!doctype html>", "broken picture"),
    }
    for name, data in {**sound, **{name: data for name, (data, _) in broken.items()}}.items():
        (images / name).write_bytes(data)
    rows = [(name, f"{name} {each}") for name in (*sound, *broken, "absent.jpg") for each in range(2)]
    write_rows(tmp_path, [("image", "caption"), *rows])
    result = build_corpus(with_(settings, missing="skip"), tmp_path / "out")
    expected = {"missing picture": 2, "broken picture": 4, "picture too large": 2, "picture of 0 bytes": 2}
    assert result["skipped"]["pairs"] == expected
    assert result["read"] == len(rows) == result["kept"] + sum(expected.values())
    assert any("captions.csv:22: picture 'absent.jpg': no such" in line for line in result["skipped"]["examples"])
    kept = {picture.image: picture for picture in PairShards(tmp_path / "out").captions()}
    assert list(kept) == list(sound)
    assert (kept["turned.jpg"].width, kept["turned.jpg"].height) == (16, 24)
    assert (kept["one.png"].width, kept["one.png"].height) == (1, 1)
    shards = PairShards(tmp_path / "out")
    for index in range(len(sound)):
        picture = shards.picture(index)
        assert picture.decode().size == (picture.width, picture.height)
    for name, (_, reason) in broken.items():
        write_rows(tmp_path, [("image", "caption"), ("one.png", "sound"), (name, "a caption")])
        with pytest.raises(InputError, match=rf"captions.csv:3: picture '{name}': .*; or leave .*--missing skip"):
            build_corpus(settings, tmp_path / f"out {reason} {name}")


def test_every_kind_of_caption(tmp_path: Path) -> None:
    settings = write_set(tmp_path, 3)
    rows = [
        ("0.png", "😀🎈🦙"),
        ("0.png", "x" * 10_000),
        ("1.png", " "),
        ("1.png", "y" * 1000),
        ("../2.png", "out"),
        ("2.png", "a", "column too many"),
    ]
    write_rows(tmp_path, [("image", "caption"), *rows])
    result = build_corpus(with_(settings, missing="skip"), tmp_path / "out")
    assert result["skipped"]["pairs"] == {"malformed row": 2, "caption too long": 1, "empty caption": 1}
    assert (result["read"], result["kept"]) == (6, 2)
    pairs = list(PairShards(tmp_path / "out").pairs())
    assert [pair.caption for pair in pairs] == ["😀🎈🦙", "y" * 1000]
    for row, sentence in ((1, "the caption has 10,000 characters, more than 1,000"), (2, "caption is empty")):
        write_rows(tmp_path, [("image", "caption"), rows[row]])
        with pytest.raises(InputError, match=rf"captions.csv:2: {sentence}"):
            build_corpus(settings, tmp_path / "other")
    assert not (tmp_path / "other").exists()


class StubDetector:
    """Finds the same boxes in every picture, and remembers what it was shown."""

    identity = "stub:1"

    def __init__(self, *boxes: tuple[float, float, float, float]) -> None:
        self.boxes = boxes
        self.seen: list[tuple[str, tuple[int, int]]] = []
        self.calls = 0

    def detect(self, pictures: Sequence[Image.Image], names: Sequence[str]) -> list[list[Region]]:
        self.calls += 1
        self.seen += [(name, picture.size) for name, picture in zip(names, pictures, strict=True)]
        return [[Region(box, "thing", 0.5) for box in self.boxes] for _ in pictures]


def test_regions(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The detector sees upright pictures in full size, in batches; its boxes come out in the stored picture's frame."""
    settings = write_set(tmp_path, 20)
    exif = Image.Exif()
    exif[0x0112] = 6
    (tmp_path / "images" / "3.png").write_bytes(encoded(noise(3, 400, 200), "JPEG", exif=exif))
    detector = StubDetector((2, 4, 12, 10), (-5, 8, 6, 90_000), (500, 500, 600, 600), (0, 0, 0.25, 9))
    monkeypatch.setattr(corpus_build, "build_detector", lambda *given: detector)
    build_corpus(with_(settings, side=100, detector="coco"), tmp_path / "out")
    assert [name for name, _ in detector.seen] == [f"{index}.png" for index in range(20)]
    assert detector.seen[3][1] == (200, 400) and detector.seen[4][1] == (24, 16)
    assert detector.calls == 2
    shards = PairShards(tmp_path / "out")
    small, large = shards.picture(4), shards.picture(3)
    assert [region.box for region in small.regions] == [(2, 4, 12, 10), (0, 8, 6, 16)]
    assert (large.width, large.height) == large.decode().size == (50, 100)
    assert [region.box for region in large.regions] == [(0.5, 1, 3, 2.5), (0, 2, 1.5, 100)]
    assert shards.header["regions"] == {"kept": 40, "clipped": 20, "dropped": 40}
    assert shards.header["settings"]["detector"] == "stub:1"


def test_side(tmp_path: Path) -> None:
    """Larger pictures become JPEGs of that size, smaller ones keep their bytes; a big JPEG is not decoded whole."""
    settings = write_set(tmp_path, 2)
    (tmp_path / "images" / "0.png").write_bytes(encoded(noise(0, 640, 320), "JPEG"))
    build_corpus(with_(settings, side=32), tmp_path / "out")
    shards = PairShards(tmp_path / "out")
    first = shards.picture(0)
    assert (first.width, first.height) == first.decode().size == (32, 16)
    assert Image.open(io.BytesIO(first.data)).format == "JPEG"
    assert shards.picture(1).data == encoded(noise(1))


def test_a_huge_file_is_not_read(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    settings = write_set(tmp_path, 2)
    monkeypatch.setattr(prepare, "MAX_BYTES", 5000)
    with (tmp_path / "images" / "1.png").open("ab") as file:
        file.truncate(6000)
    result = build_corpus(with_(settings, missing="skip"), tmp_path / "out")
    assert result["skipped"]["pairs"] == {"picture too large": 2}


def test_held_out_pictures(tmp_path: Path) -> None:
    """As many as asked for, with all their captions, even those that come later; another seed holds out others."""
    settings = write_set(tmp_path, 30)
    with settings.captions.open("a", encoding="utf-8") as file:
        file.writelines(f"{number}.png,again {number}\r\n" for number in range(30))
    held = []
    for seed in (0, 1):
        out = tmp_path / f"out{seed}"
        result = build_corpus(with_(settings, dev=7, seed=seed), out)
        train, dev = ({row.image for row in PairShards(out / part).captions()} for part in ("train", "dev"))
        assert (len(train), len(dev), train & dev) == (23, 7, set())
        assert sum(part["pairs"] for part in result["parts"].values()) == result["read"] == 90
        assert [part["pictures_repeated"] for part in result["parts"].values()] == [23, 7]
        held.append(dev)
    assert held[0] != held[1]
    with pytest.raises(InputError, match="name 60 pictures, and 30 are to be held out; hold out fewer"):
        build_corpus(with_(settings, dev=30), tmp_path / "out")


@pytest.mark.parametrize("how", ["similar", "uniform"])
def test_falsified_pairs_are_made(tmp_path: Path, how: Any) -> None:
    settings = write_set(tmp_path, 40)
    result = build_corpus(with_(settings, falsify=how, share=0.25, dev=10, shard=10), tmp_path / "out")
    own = {f"{number}.png": {f"thing {number} of kind {number % 5}, {each}" for each in (0, 1)} for number in range(40)}
    images: dict[str, set[str]] = {}
    for part, count in (("train", 20), ("dev", 7)):
        shards = PairShards(tmp_path / "out" / part)
        assert shards.header["falsified"] == pytest.approx(count, abs=1 if part == "dev" else 3)
        images[part] = {picture.image for picture in shards.captions()}
        for picture in shards.captions():
            assert {text for text, matched in picture.captions if matched} == own[picture.image]
            for text in (text for text, matched in picture.captions if not matched):
                assert text not in own[picture.image]
                assert any(text in own[image] for image in images[part])  # never across the split
        assert shards.picture(0).data != b""
        assert not (tmp_path / "out" / part / DRAFT).exists()
    assert (result["parts"]["train"]["made"]["mean_similarity"] is None) == (how == "uniform")


def test_sets_with_falsified_pairs(tmp_path: Path) -> None:
    settings = write_set(tmp_path, 3)
    rows = [("0.png", "a", "1"), ("1.png", "b", "0"), ("2.png", "c", "1")]
    write_rows(tmp_path, [("image", "caption", "matched"), *rows])
    build_corpus(settings, tmp_path / "keep")
    assert [pair.matched for pair in PairShards(tmp_path / "keep").pairs()] == [True, False, True]
    result = build_corpus(with_(settings, falsify="none"), tmp_path / "none")
    assert (result["kept"], result["skipped"]["pairs"]) == (2, {"falsified pair, left out": 1})
    with pytest.raises(InputError, match=r"captions.csv:3: this set has falsified pairs of its own .* --falsify keep"):
        build_corpus(with_(settings, falsify="uniform"), tmp_path / "made")


def test_newsclippings_and_folders(tmp_path: Path) -> None:
    settings = write_set(tmp_path, 3)
    base = [{"id": number, "caption": f"caption {number}", "image_path": f"./{number}.png"} for number in range(3)]
    (tmp_path / "data.json").write_text(json.dumps(base))
    links = [(0, 1, True), (1, 2, False), (1, 1, False)]
    annotations = [{"id": a, "image_id": b, "falsified": c} for a, b, c in links]
    (tmp_path / "val.json").write_text(json.dumps({"annotations": annotations}))
    build_corpus(with_(settings, captions=tmp_path / "val.json"), tmp_path / "news")
    rows = {row.image: row.captions for row in PairShards(tmp_path / "news").captions()}
    assert rows == {"1.png": (("caption 0", False), ("caption 1", True)), "2.png": (("caption 1", True),)}

    images = tmp_path / "images"
    (images / "0.txt").write_text("first\n\n second \n")
    (images / "within").mkdir()
    (images / "within" / "a.PNG").write_bytes(encoded(noise(9)))
    (images / "within" / "a.txt").write_text("third\n")
    (images / "1.txt").write_text("\n")
    (images / "5.txt").write_text("of nothing\n")
    folder = with_(settings, captions=images)
    with pytest.raises(InputError, match=r"1.txt: the file is empty"):
        build_corpus(folder, tmp_path / "folder")
    result = build_corpus(with_(folder, missing="skip"), tmp_path / "folder")
    rows = {row.image: row.captions for row in PairShards(tmp_path / "folder").captions()}
    assert rows == {"0.png": (("first", True), ("second", True)), "within/a.PNG": (("third", True),)}
    assert result["skipped"]["pairs"] == {"picture without caption": 2, "captions without picture": 1}
    with pytest.raises(InputError, match=r"with a caption in a .txt file of its name here"):
        build_corpus(with_(folder, captions=tmp_path / "news", missing="skip"), tmp_path / "empty")


def test_folders_of_others_are_left_alone(tmp_path: Path) -> None:
    settings = write_set(tmp_path, 3)
    build_corpus(settings, tmp_path / "out")
    before = content(tmp_path / "out")
    with pytest.raises(InputError, match=r"holds a corpus with other settings \(falsify, side\); choose another --out"):
        build_corpus(with_(settings, falsify="none", side=8), tmp_path / "out")
    settings.captions.write_text(settings.captions.read_text() + "0.png,one more\r\n")
    with pytest.raises(InputError, match=r"other settings \(captions_read\)"):
        build_corpus(settings, tmp_path / "out")
    assert content(tmp_path / "out") == before
    with pytest.raises(InputError, match="is not empty and holds no corpus"):
        build_corpus(settings, tmp_path / "images")
    with pytest.raises(InputError, match="this is a file"):
        build_corpus(settings, settings.captions)


@pytest.mark.parametrize(
    ("changes", "sentence"),
    [
        ({"share": 1.0}, "share must be above 0 and at most 0.9 of all pairs, found 1"),
        ({"share": 0.0}, "share must be above 0"),
        ({"falsify": "often"}, "falsify must be one of keep, none, similar, uniform, found 'often'"),
        ({"format": "xml"}, "format must be one of auto, captions, newsclippings, folder, found 'xml'"),
        ({"side": 0}, "side must be 1 or more, found 0"),
        ({"dev": -1}, "dev must be 0 or more"),
        ({"text_encoder": "x"}, "a text encoder serves falsify 'similar' only"),
        ({"images": Path("nowhere")}, "nowhere: no such folder of pictures"),
        ({"captions": Path("nowhere.csv")}, "nowhere.csv: no such file"),
        ({"detector": "eyes"}, "detector 'eyes' is unknown"),
    ],
)
def test_bad_settings(tmp_path: Path, changes: dict[str, Any], sentence: str) -> None:
    settings = write_set(tmp_path, 1)
    with pytest.raises(InputError, match=sentence):
        build_corpus(with_(settings, **changes), tmp_path / "out")
    assert not (tmp_path / "out").exists()


def test_pictures_none_of_which_can_be_read(tmp_path: Path) -> None:
    settings = write_set(tmp_path, 3)
    for path in settings.images.iterdir():
        path.unlink()
    with pytest.raises(
        InputError, match=r"none of 3 pictures of this corpus \(train\) can be read, the first: .*no such"
    ):
        build_corpus(with_(settings, missing="skip"), tmp_path / "out")


# A process that has promu loaded forks for each test, and that fork again for each build: so they die, or run out of
# room, quickly.
FORKS = """
import dataclasses, json, os, random, resource, signal, sys, time, traceback
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
    settings = CorpusSettings(captions, images, **changes)
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


def test_killed_at_any_moment(tmp_path: Path, run_forks: Forks) -> None:
    """Killed again and again at random, the build ends with the very files of one that was not."""
    settings = write_set(tmp_path, 200)
    how = {"falsify": "uniform", "shard": 20, "dev": 40, "missing": "skip"}
    (settings.images / "5.png").write_bytes(b"broken")
    build_corpus(with_(settings, **how), tmp_path / "unbroken")
    code = """
killed = 0
for most in (0.01, *[0.25] * 15):  # the first is certain to come too early to finish
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


def test_a_full_disk(tmp_path: Path, run_forks: Forks) -> None:
    """A shard that finds no room is said to, those before it stay, and with room the build goes on."""
    settings = write_set(tmp_path, 8)
    for number in range(4, 8):
        (settings.images / f"{number}.png").write_bytes(encoded(noise(number, 300, 200)))
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
    assert "pictures-00001.parquet: this shard cannot be written (File too large); make room and run the same" in said
    assert left == "2 ['build.json', 'pictures-00000.parquet']"
    assert content(tmp_path / "out") == content(tmp_path / "unbroken")


def test_ten_times_the_captions_cost_the_same_memory(tmp_path: Path, run_forks: Forks) -> None:
    """Peak memory over the start's, of 300 pictures and of 3,000 with 30,000 captions."""
    code = """
def measured(count):
    folder = images.parent / count
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    module.build_corpus(dataclasses.replace(settings, captions=folder / "captions.csv"), out / count)
    print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before, flush=True)

out.mkdir()
for count in ("300", "3000"):
    os.waitpid(child(lambda: measured(count)), 0)
"""
    settings = write_set(tmp_path, 1)
    for index in range(1, 3000):
        (settings.images / f"{index}.png").hardlink_to(settings.images / "0.png")
    for count in (300, 3000):
        (tmp_path / str(count)).mkdir()
        rows = [(f"{index}.png", f"caption {each} of {index}") for index in range(count) for each in range(10)]
        write_rows(tmp_path / str(count), [("image", "caption"), *rows])
    small, large = (int(line) / 1024 for line in run_forks(settings, tmp_path / "out", code, shard=100).split())
    assert PairShards(tmp_path / "out" / "3000").pictures == 3000
    assert large < small + 15, (small, large)
