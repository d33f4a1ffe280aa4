"""Posts by the million: nothing lost, nothing doubled, whatever happens."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest
from pyarrow import parquet
from tests.conftest import ROOT
from tests.factories import TEXTS

from promu import Entity, Extraction, ExtractionConfig, Extractor, Post, Region, progress
from promu.cli import main
from promu.corpora.sources import read_post_file, read_source
from promu.errors import InputError
from promu.extraction.bulk import ENGINES, BulkResult, dead_letters, extract_file
from promu.extraction.bulk_part import BulkSettings
from promu.extraction.records import SINKS
from promu.tasks.torch_predictor import TorchPredictor

WORDS = " ".join(TEXTS).split()


def drawn(count: int) -> list[dict[str, Any]]:
    """Posts of many lengths, a third of them with an image, every tenth not to be read."""
    posts: list[dict[str, Any]] = []
    for number in range(count):
        words = WORDS[number % 19 : number % 19 + 1 + number % 7]
        post = {"id": f"p{number}", "text": " ".join(words) if number % 10 else " "}
        posts.append(post if number % 3 else {**post, "image": f"{number % 4}.png"})
    return posts


def write(path: Path, posts: list[dict[str, Any]]) -> Path:
    path.write_text("".join(json.dumps(post) + "\n" for post in posts), encoding="utf-8")
    return path


def lines(path: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]


@pytest.fixture
def settings(tiny_models: Path, images: Path) -> BulkSettings:
    return BulkSettings(str(tiny_models), str(images), device="cpu")


def test_every_post_comes_out_or_is_a_dead_letter(settings: BulkSettings, tmp_path: Path) -> None:
    posts = drawn(23)
    posts[4]["image"] = "gone.png"
    posts[5] = {"body": "?"}
    source = write(tmp_path / "posts.jsonl", posts)
    source.write_bytes(source.read_bytes() + b'\n{"text": "\xff"}\n[1]\n' + json.dumps({"text": "Ann"}).encode())
    seen: list[tuple[str, int, int]] = []
    output = tmp_path / "out.jsonl"
    with progress.shown(lambda *step: seen.append(step)):
        result = extract_file(source, output, settings, part=8)
    assert result == BulkResult(
        posts=26, extracted=19, dead=7, as_text=0, unread=0, far=0, warned=0, encoded=4, reused=3
    )
    assert seen == [("extracting", done, 26) for done in (8, 16, 24, 26)]
    found = lines(output)
    readable = [post for number, post in enumerate(posts) if number % 10 and number not in (4, 5)]
    assert [record["id"] for record in found] == [*(post["id"] for post in readable), "posts:27"]
    extractor = Extractor.from_pretrained(settings.model, device="cpu")
    for record, expected in zip(found, extractor.pipe(readable, images=settings.images), strict=False):
        assert record["tokens"] == list(expected.tokens)
        assert [entity["text"] for entity in record["entities"]] == [entity.text for entity in expected.entities]
        assert [e["score"] for e in record["entities"]] == pytest.approx([e.score for e in expected.entities], abs=1e-4)
        assert [r["type"] for r in record["relations"]] == [r.type for r in expected.relations]
    dead = lines(dead_letters(output))
    assert [(letter["number"], letter["id"]) for letter in dead] == [
        (1, "p0"),
        (5, "p4"),
        (6, "posts:6"),
        (11, "p10"),
        (21, "p20"),
        (25, None),
        (26, None),
    ]
    assert [letter["reason"].split(" ")[0] for letter in dead[:1]] == ["text"]
    assert "gone.png: no such image" in dead[1]["reason"]
    assert "not UTF-8" in dead[5]["reason"] and "JSON list" in dead[6]["reason"]
    assert sorted(path.name for path in tmp_path.iterdir()) == ["out.dead.jsonl", "out.jsonl", "posts.jsonl"]


def test_without_dead_letters_there_is_no_file_of_them(settings: BulkSettings, tmp_path: Path) -> None:
    output = tmp_path / "out.jsonl"
    dead_letters(output).write_text("of an earlier run\n")
    result = extract_file(write(tmp_path / "posts.jsonl", [{"text": "Ann"}]), output, settings)
    assert (result.posts, result.extracted, result.dead) == (1, 1, 0)
    assert not dead_letters(output).exists()


@pytest.mark.slow
def test_tables_are_read_and_written(settings: BulkSettings, tmp_path: Path) -> None:
    table = tmp_path / "posts.csv"
    table.write_bytes(
        b"\xef\xbb\xbfid,likes,text,image\r\n"
        b'a,3,"Ann met ""Bob""\nin Rome",0.png\r\n'
        b"\r\n"
        b"b,1,only three\r\n"
        b"c,0,caf\xe9,\r\n"
        b",0,Ann and Bob,\r\n"
    )
    assert extract_file(table, tmp_path / "csv.jsonl", settings).dead == 2
    found = lines(tmp_path / "csv.jsonl")
    assert [record["id"] for record in found] == ["a", "posts:7"]
    assert found[0]["tokens"][:3] == ["Ann", "met", '"']
    dead = lines(tmp_path / "csv.dead.jsonl")
    assert [letter["number"] for letter in dead] == [5, 6]
    assert dead[0]["reason"].startswith(
        "3 columns where the first line names 4; put texts with commas, quotation marks"
    )
    assert dead[1]["reason"] == "byte 0xe9 at position 8 of the line is not UTF-8; save the file as UTF-8"

    rows = {
        "id": ["a", None],
        "text": ['Ann met "Bob"\nin Rome', "Ann and Bob"],
        "image": ["0.png", None],
        "more": [1, 2],
    }
    parquet.write_table(pa.table(rows), tmp_path / "posts.parquet")
    assert extract_file(tmp_path / "posts.parquet", tmp_path / "out.parquet", settings).extracted == 2
    again = parquet.read_table(tmp_path / "out.parquet").to_pylist()
    for one, other, id in zip(again, found, ["a", "posts:2"], strict=True):
        assert one.pop("id") == id and one.pop("more") and one.pop("explanation") is None
        assert one == {key: value for key, value in other.items() if key not in ("id", "likes")}
    assert extract_file(tmp_path / "posts.parquet", tmp_path / "out2.jsonl", settings).extracted == 2
    assert [record["entities"] for record in lines(tmp_path / "out2.jsonl")] == [record["entities"] for record in found]


def test_each_broken_row_of_a_csv_is_one_letter_in_its_place(tmp_path: Path) -> None:
    table = tmp_path / "posts.csv"
    table.write_bytes(
        b" id , text\n"  # 1
        b"\xe9,Ann\n"  # 2: a row of its own
        b'1,"Ann\n'  # 3
        b"met \xe9 and \xe9\n"  # 4: within a row
        b'Bob"\n'  # 5
        b'2,"An"n\n'  # 6: a quotation mark too many
        b"3,Bob\n"  # 7
        b"\xff"  # 8: after the last
    )
    found = list(read_source(table))
    assert [number for number, _ in found] == [2, 3, 6, 7, 8]
    assert found[3][1] == {"id": "3", "text": "Bob"}
    for (number, error), reason in zip(
        found[:3] + found[4:], ["0xe9 at position 1", "0xe9 at position 5", "not CSV", "0xff"], strict=True
    ):
        assert isinstance(error, InputError) and reason in error.reason and error.line == number


@pytest.mark.parametrize(
    ("name", "content", "reason"),
    [
        ("posts.jsonl", None, "no such file"),
        ("posts.jsonl", b"", "the file is empty"),
        ("posts.txt", b"Ann", r"posts are read from \.jsonl, \.csv, \.parquet files, not '\.txt'"),
        ("posts.csv", b"id,body\n1,Ann\n", "text must be among them; found"),
        ("posts.csv", b"id;text\n1;Ann\n", "columns are separated by commas, not by ';'"),
        ("posts.csv", b"text,text\nAnn,Bob\n", "the column 'text' is there twice"),
        ("posts.csv", b"id,text\n", "the file holds no posts"),
        ("posts.csv", "id,text\n1,Ann\n".encode("utf-16"), "the file is UTF-16"),
        ("posts.csv", b"id,text,\xe9\n1,text,1\n", "0xe9 at position 9 of the line is not UTF-8"),
        ("posts.csv", b"", "the file is empty"),
        ("posts.parquet", b"", "not a Parquet file"),
        ("posts.parquet", None, "no such file"),
        ("posts.parquet", b"PAR1 this is none", "not a Parquet file"),
        ("posts.jsonl", b"\xff\n", r"posts\.jsonl:1: byte 0xff at position 1 of the line is not UTF-8; .* \(none of"),
        ("posts.jsonl", b'{"text": " "}\n', r"posts\.jsonl:1: text is empty \(none of 1 post could be read\)"),
    ],
)
def test_input_that_cannot_be_used_leaves_nothing_behind(
    name: str, content: bytes | None, reason: str, settings: BulkSettings, tmp_path: Path
) -> None:
    if content is not None:
        (tmp_path / name).write_bytes(content)
    before = sorted(tmp_path.iterdir())
    with pytest.raises(InputError, match=reason):
        extract_file(tmp_path / name, tmp_path / "out.jsonl", settings)
    assert sorted(tmp_path.iterdir()) == before


def test_without_output_every_format_is_printed_and_what_cannot_be_read_is_named(
    settings: BulkSettings, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    table = tmp_path / "posts.csv"
    table.write_text("id,text,image\na,Ann met Bob,\nb,Rome,gone.png\n,Bob,\n")
    words = ["extract", "--model", settings.model, "--input", str(table), "--device", "cpu"]
    assert main(words) == 0
    printed, said = capsys.readouterr()
    assert [json.loads(line)["id"] for line in printed.splitlines()] == ["a", "posts:4"]
    assert "left out: " in said and "gone.png: no such image" in said
    table.write_text("text\n \n")
    assert main(words) == 2
    assert "posts.csv:2: text is empty (none of 1 post could be read)" in capsys.readouterr().err


def test_what_was_not_read_is_in_every_form_of_the_output(
    settings: BulkSettings, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    posts: list[dict[str, Any]] = [
        {"id": "long", "text": "Ann met Bob " * 32, "place": {"city": "Rome"}, "likes": 3},
        {"id": "short", "text": "Ann met Bob", "image": "0.png", "likes": 4},
        {"id": "gone", "text": "Ann met Bob", "image": "gone.jpg"},
    ]
    source = write(tmp_path / "posts.jsonl", posts)
    words = ["extract", "--model", settings.model, "--input", str(source), "--images", settings.images]
    words += ["--missing-images", "text-only", "--device", "cpu", "--out"]
    for suffix in ("jsonl", "parquet", "csv"):
        assert main([*words, str(tmp_path / f"out.{suffix}")]) == 0
        said = capsys.readouterr().err
        assert "read as text, the image being missing or broken (image_reason in the output): 1 of 3 posts" in said
        assert "with entities too far apart to be asked about (far_pairs in the output): 1 of 3 posts" in said
    found = lines(tmp_path / "out.jsonl")
    assert [(one["image_read"], one["image_reason"]) for one in found] == [
        (False, "no image"),
        (True, None),
        (False, "missing image"),
    ]
    assert [one["image"] for one in found] == [None, "0.png", "gone.jpg"]
    assert [one["far_pairs"] > 0 for one in found] == [True, False, False]
    assert max(one["end"] for one in found[0]["entities"]) > 90, "of 96 words"
    assert [one["text"] for one in found] == [post["text"] for post in posts]
    assert found[0]["place"] == {"city": "Rome"} and "place" not in found[1]
    table = parquet.read_table(tmp_path / "out.parquet").to_pylist()
    rows = [record for _, record in read_source(tmp_path / "out.csv") if isinstance(record, dict)]
    for one, row, csv_row in zip(found, table, rows, strict=True):
        assert {key: row[key] for key in one if key != "place"} == {key: one[key] for key in one if key != "place"}
        for name in ("id", "text", "tokens", "entities", "relations"):
            assert csv_row[name] == one[name], name
        assert (csv_row["far_pairs"], csv_row["image_read"]) == (str(one["far_pairs"]), json.dumps(one["image_read"]))
        assert csv_row["image_reason"] == (one["image_reason"] or "")
        assert csv_row["likes"] == row["likes"] or csv_row["likes"] == str(row["likes"] or "")
    assert json.loads(table[0]["place"]) == json.loads(rows[0]["place"]) == {"city": "Rome"}


def test_regions_come_back_from_every_kind_of_file(tmp_path: Path) -> None:
    shown = (Region((1.0, 2.0, 3.0, 4.5), "dog", 0.5), Region((0.0, 0.0, 9.0, 8.0)))
    entities = (Entity(0, 1, "PER", 0.5, shown), Entity(1, 2, None), Entity(2, 3, "LOC", regions=()))
    posts = [Post("1", ("Ann", "in", "Rome"), "1.jpg", entities, image_size=(9, 8)), Post("2", ("none",))]
    found = [Extraction(post, None) for post in posts]
    assert [one.region for one in found[0].entities] == [shown[1], None, None]
    (tmp_path / "part").write_text("".join(json.dumps(one.to_dict()) + "\n" for one in found))
    for suffix, write_as in SINKS.items():
        assert write_as(tmp_path / f"out{suffix}", [tmp_path / "part"]) == 2
        read = read_post_file(tmp_path / f"out{suffix}")
        assert read == posts and [one.image_size for one in read] == [(9, 8), None], suffix
        assert not read[0].extra


def test_a_post_on_which_the_models_fail_is_a_dead_letter(
    settings: BulkSettings, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    real = TorchPredictor.predict_batch

    def fragile(self: Any, posts: Any, *rest: Any, **more: Any) -> Any:
        if any("Zorva" in post.tokens for post in posts):
            raise RuntimeError("not enough memory: you tried to allocate 9 GB\nof all there is")
        return real(self, posts, *rest, **more)

    monkeypatch.setattr(TorchPredictor, "predict_batch", fragile)
    source = write(tmp_path / "posts.jsonl", [{"text": "Ann met Bob"}, {"text": "Zorva won"}, {"text": "Rome"}])
    output = tmp_path / "out.jsonl"
    counts = BulkResult(3, extracted=2, dead=1, as_text=0, unread=0, far=0, warned=0)
    assert extract_file(source, output, settings) == counts
    assert [record["id"] for record in lines(output)] == ["posts:1", "posts:3"]
    (dead,) = lines(dead_letters(output))
    assert (dead["number"], dead["id"]) == (2, "posts:2")
    assert (
        "the models fail on this post (RuntimeError: not enough memory: you tried to allocate 9 GB)" in dead["reason"]
    )


def test_settings_that_cannot_be_used(settings: BulkSettings, tmp_path: Path) -> None:
    source = write(tmp_path / "posts.jsonl", drawn(3))
    with pytest.raises(InputError, match=r"written as \.jsonl, \.parquet, \.csv, not '\.txt'"):
        extract_file(source, tmp_path / "out.txt", settings)
    with pytest.raises(InputError, match="workers is 0"):
        extract_file(source, tmp_path / "out.jsonl", settings, workers=0)
    with pytest.raises(InputError, match="no such folder to write to"):
        extract_file(source, tmp_path / "no" / "out.jsonl", settings)


def test_no_file_is_ever_read_whole(tmp_path: Path) -> None:
    """A source is read as records are asked for: what follows the first may not even exist."""
    pipe = tmp_path / "posts.jsonl"
    os.mkfifo(pipe)
    child = subprocess.Popen(
        [sys.executable, "-c", f"f = open({str(pipe)!r}, 'w')\nwhile True: f.write('{{\"text\": \"Ann\"}}\\n')"]
    )
    try:
        records = read_source(pipe)
        assert [next(records)[0] for _ in range(1000)] == list(range(1, 1001))
    finally:
        child.kill()
        child.wait()


RUN = """
import sys, time
from pathlib import Path
from promu import progress
from promu.extraction import bulk

extract_part = bulk.extract_part

def until_the_fifth(extractor, settings, parts, number):
    if number > 3:
        time.sleep(3600)  # in the middle of it the kill comes
    return extract_part(extractor, settings, parts, number)

bulk.extract_part = until_the_fifth
if __name__ == "__main__":
    source, output, model, images, workers = sys.argv[1:]
    settings = bulk.BulkSettings(model, images, device="cpu")
    with progress.shown(lambda *step: print(*step, flush=True)):
        bulk.extract_file(Path(source), Path(output), settings, int(workers), part=6)
"""


@pytest.mark.parametrize("workers", [1, 2])
@pytest.mark.slow
def test_a_kill_at_any_moment_loses_and_doubles_nothing(
    workers: int, settings: BulkSettings, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    posts = drawn(60)
    source, output = write(tmp_path / "posts.jsonl", posts), tmp_path / "out.jsonl"
    (tmp_path / "run.py").write_text(RUN)
    words = [sys.executable, str(tmp_path / "run.py"), str(source), str(output), settings.model, settings.images]
    environment = {**os.environ, "PYTHONPATH": str(ROOT / "src"), "OMP_NUM_THREADS": "1"}
    child = subprocess.Popen(
        [*words, str(workers)], stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, env=environment, text=True
    )
    assert child.stdout is not None
    assert [child.stdout.readline() for _ in range(4)] == [f"extracting {done} 60\n" for done in (6, 12, 18, 24)]
    child.send_signal(signal.SIGKILL)
    child.communicate(timeout=60)  # to the end of what its workers might write: left alone, they end by themselves
    parts = tmp_path / "out.jsonl.parts"
    assert not output.exists()
    # what a kill in the middle of a part leaves: results without the mark, and half a file under a passing name
    (parts / "000009.out.jsonl").write_text("results of a part that is not done\n")
    (parts / ".000008.out.jsonl.x.part").write_text('{"id": ')
    assert {path.name for path in parts.glob("*.done.json")} == {f"{number:06d}.done.json" for number in range(4)}

    done: list[int] = []
    real = ENGINES["local"]

    def watched(settings: Any, parts: Any, numbers: Any, *rest: Any) -> Any:
        done.extend(numbers)
        return real(settings, parts, numbers, *rest)

    monkeypatch.setitem(ENGINES, "local", watched)
    result = extract_file(source, output, settings, part=6)
    assert done == [4, 5, 6, 7, 8, 9], "a part was done twice, or left out"
    assert (result.posts, result.extracted, result.dead) == (60, 54, 6)
    ids = [record["id"] for record in lines(output)]
    assert ids == [f"p{number}" for number in range(60) if number % 10]
    assert [letter["id"] for letter in lines(dead_letters(output))] == [f"p{number}" for number in range(0, 60, 10)]
    straight = tmp_path / "straight.jsonl"
    extract_file(source, straight, settings, part=6)
    assert straight.read_text() == output.read_text()


def test_a_run_with_other_settings_is_not_gone_on_with(settings: BulkSettings, tmp_path: Path) -> None:
    source, output = write(tmp_path / "posts.jsonl", drawn(9)), tmp_path / "out.jsonl"

    def stop(stage: str, done: int, total: int) -> None:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt), progress.shown(stop):
        extract_file(source, output, settings, part=5)
    other = replace(settings, config=ExtractionConfig(entity_threshold=0.5))
    with pytest.raises(InputError, match=r"a run that was stopped with other settings \(settings\)"):
        extract_file(source, output, other, part=5)
    assert extract_file(source, output, settings, part=5).posts == 9


def test_a_run_that_did_nothing_yet_may_begin_anew_with_others(settings: BulkSettings, tmp_path: Path) -> None:
    source, output = write(tmp_path / "posts.jsonl", drawn(9)), tmp_path / "out.jsonl"
    with pytest.raises(InputError, match="no such model folder"):
        extract_file(source, output, replace(settings, model=str(tmp_path / "mistyped")))
    assert extract_file(source, output, settings).posts == 9
    assert sorted(path.name for path in tmp_path.iterdir()) == ["out.dead.jsonl", "out.jsonl", "posts.jsonl"]


def test_what_a_run_stopped_while_splitting_left_is_cleared_and_nothing_else(
    settings: BulkSettings, tmp_path: Path
) -> None:
    source, output = write(tmp_path / "posts.jsonl", drawn(9)), tmp_path / "out.jsonl"
    parts = tmp_path / "out.jsonl.parts"
    parts.mkdir()
    (parts / "thesis.txt").write_text("of the user")
    (parts / "000000.in.jsonl").write_text('{"number": 1, "rec')
    with pytest.raises(InputError, match=r"parts/thesis\.txt: promu did not write this file; move it"):
        extract_file(source, output, settings)
    (parts / "thesis.txt").rename(tmp_path / "thesis.txt")
    assert (parts / "000000.in.jsonl").exists()
    assert extract_file(source, output, settings).posts == 9
    parts.write_text("a file of that name")
    with pytest.raises(InputError, match="promu did not write this file"):
        extract_file(source, output, settings)
    assert parts.read_text() == "a file of that name"


DEADLY = """
import os, sys
from pathlib import Path
from promu.extraction import bulk
from promu.extraction.extractor import Extractor

prepare = Extractor.prepare

def deadly(self, post, *rest, **more):
    if "Zorva" in post.tokens:
        os._exit(9)  # as a crash in a decoder ends a process: nothing in Python sees it
    return prepare(self, post, *rest, **more)

Extractor.prepare = deadly
source, output, model, images = sys.argv[1:]
for attempt in range(4):  # the same command again and again, without importing torch each time
    if not (child := os.fork()):
        bulk.extract_file(Path(source), Path(output), bulk.BulkSettings(model, images, device="cpu"), part=4)
        os._exit(0)
    print(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]))
"""


@pytest.mark.slow
def test_a_post_that_kills_the_process_twice_is_a_dead_letter(settings: BulkSettings, tmp_path: Path) -> None:
    posts = [{"id": f"p{number}", "text": "Zorva won" if number in (5, 6) else "Ann met Bob"} for number in range(10)]
    source, output = write(tmp_path / "posts.jsonl", posts), tmp_path / "out.jsonl"
    words = [sys.executable, "-c", DEADLY, str(source), str(output), settings.model, settings.images]
    environment = {**os.environ, "PYTHONPATH": str(ROOT / "src"), "OMP_NUM_THREADS": "1"}
    said = subprocess.run(words, env=environment, capture_output=True, text=True, timeout=120, check=True).stdout
    # the part of both, then one after the other by itself, then what is left
    assert said.split() == ["9", "9", "9", "0"]
    assert [record["id"] for record in lines(output)] == [f"p{number}" for number in range(10) if number not in (5, 6)]
    dead = lines(dead_letters(output))
    assert [(letter["number"], letter["id"]) for letter in dead] == [(6, "p5"), (7, "p6")]
    assert all("the process was killed twice while this post was in work" in letter["reason"] for letter in dead)
    assert not output.with_name("out.jsonl.parts").exists()


def test_a_run_that_is_interrupted_is_no_fault_of_a_post(
    settings: BulkSettings, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    source, output = write(tmp_path / "posts.jsonl", drawn(6)), tmp_path / "out.jsonl"
    with monkeypatch.context() as patched:
        patched.setattr(Extractor, "prepare", interrupted)
        for _ in range(3):
            with pytest.raises(KeyboardInterrupt):
                extract_file(source, output, settings)
    assert not list(tmp_path.glob("*.parts/*.begun.json"))
    assert extract_file(source, output, settings).dead == 1, "the one that has no text"


def interrupted(*_: Any, **__: Any) -> None:
    raise KeyboardInterrupt


@pytest.mark.slow
def test_a_worker_that_dies_is_said_and_its_part_done_next_time(settings: BulkSettings, tmp_path: Path) -> None:
    source, output = write(tmp_path / "posts.jsonl", drawn(20)), tmp_path / "out.jsonl"
    with pytest.raises(InputError, match=r"a worker process was killed .*it goes on where it stopped"):
        extract_file(source, output, settings, workers=2, prepare=die)
    assert extract_file(source, output, settings).posts == 20


def die() -> None:
    os.kill(os.getpid(), signal.SIGKILL)
