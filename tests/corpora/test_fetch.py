"""Published sets are fetched whole and right from servers and archives that misbehave; no test leaves the machine."""

from __future__ import annotations

import hashlib
import io
import json
import tarfile
import threading
import time
import zipfile
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest
from PIL import Image

from promu.cli import main
from promu.corpora import fetch as fetching
from promu.corpora import published_sets as table
from promu.corpora.download import Patience, download
from promu.corpora.fetch import fetch
from promu.corpora.published_sets import PublishedFile, PublishedFolder, PublishedSet, folder_checksum, published_sets
from promu.corpora.unpack import opened
from promu.errors import InputError
from promu.files import checksum

DATA = bytes(range(256)) * 1000
SHA = hashlib.sha256(DATA).hexdigest()
QUICK = Patience(connect=2.0, read=0.5, slowest=100_000, watch=0.3, tries=6)

Answer = Callable[[BaseHTTPRequestHandler, int], None]


class Server:
    """A server on this machine; each path answers as its function says, given the request and where to begin."""

    def __init__(self) -> None:
        self.answers: dict[str, Answer] = {}
        self.asked: list[tuple[str, str | None]] = []
        server = self

        class Handler(BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                wanted = self.headers.get("Range")
                server.asked.append((self.path, wanted))
                start = int(wanted.removeprefix("bytes=").rstrip("-")) if wanted else 0
                answer = server.answers.get(self.path)
                if answer is None:
                    self.send_error(404)
                else:
                    answer(self, start)

            def log_message(self, *words: object) -> None:
                pass

        self.http = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self.http.server_port}"
        threading.Thread(target=self.http.serve_forever, daemon=True).start()


@pytest.fixture
def server() -> Iterator[Server]:
    made = Server()
    yield made
    made.http.shutdown()


def give(data: bytes, stop: int | None = None, ranges: bool = True, length: int | None = None) -> Answer:
    """Answer with data, broken off `stop` bytes after the start of the answer."""

    def answer(request: BaseHTTPRequestHandler, start: int) -> None:
        start = start if ranges else 0
        rest = data[start:]
        request.send_response(206 if start else 200)
        if start:
            request.send_header("Content-Range", f"bytes {start}-{len(data) - 1}/{len(data)}")
        request.send_header("Content-Length", str(len(rest) if length is None else length))
        request.end_headers()
        request.wfile.write(rest if stop is None else rest[:stop])

    return answer


def slowly(request: BaseHTTPRequestHandler, start: int) -> None:
    request.send_response(200)
    request.send_header("Content-Length", str(len(DATA)))
    request.end_headers()
    try:
        for place in range(0, len(DATA), 100):
            request.wfile.write(DATA[place : place + 100])
            time.sleep(0.05)
    except OSError:
        pass  # the other side has left


def silent(request: BaseHTTPRequestHandler, start: int) -> None:
    time.sleep(1.5)


def get(server: Server, target: Path, *paths: str) -> None:
    download([server.url + path for path in paths], target, len(DATA), SHA, QUICK)


def test_a_whole_file(server: Server, tmp_path: Path) -> None:
    server.answers["/a"] = give(DATA)
    get(server, tmp_path / "deep" / "a.txt", "/a")
    assert (tmp_path / "deep" / "a.txt").read_bytes() == DATA
    assert [file.name for file in (tmp_path / "deep").iterdir()] == ["a.txt"]


def test_what_breaks_off_goes_on_where_it_was(server: Server, tmp_path: Path) -> None:
    server.answers["/a"] = give(DATA, stop=100_000)
    get(server, tmp_path / "a", "/a")
    assert (tmp_path / "a").read_bytes() == DATA
    assert [start for _, start in server.asked] == [None, "bytes=100000-", "bytes=200000-"]


def test_a_later_call_goes_on_too(server: Server, tmp_path: Path) -> None:
    (tmp_path / ".a.part").write_bytes(DATA[:1000])
    server.answers["/a"] = give(DATA)
    get(server, tmp_path / "a", "/a")
    assert server.asked == [("/a", "bytes=1000-")] and (tmp_path / "a").read_bytes() == DATA


def test_a_server_that_knows_no_ranges_starts_again(server: Server, tmp_path: Path) -> None:
    (tmp_path / ".a.part").write_bytes(DATA[:1000])
    server.answers["/a"] = give(DATA, ranges=False)
    get(server, tmp_path / "a", "/a")
    assert (tmp_path / "a").read_bytes() == DATA


@pytest.mark.parametrize(
    ("answer", "fault"),
    [
        (None, "404 Not Found"),
        (give(b"x" * len(DATA)), "other bytes than published (the checksum differs)"),
        (give(DATA[:50]), "broke off after 50 of 256,000 bytes"),
        (give(DATA + b"more"), "more than the 256,000 bytes that it should be"),
        (give(b"<html>too many requests</html>"), "broke off after 30 of 256,000 bytes"),
        (slowly, "too slow"),
        (silent, "ReadTimeout"),
    ],
)
@pytest.mark.slow
def test_a_mirror_that_misbehaves_is_left_for_the_next(
    server: Server, tmp_path: Path, answer: Answer | None, fault: str
) -> None:
    if answer is not None:
        server.answers["/bad"] = answer
    with pytest.raises(InputError) as caught:
        get(server, tmp_path / "a", "/bad")
    assert fault in str(caught.value) and f"{server.url}/bad" in str(caught.value)
    assert not (tmp_path / "a").exists()
    server.answers["/good"] = give(DATA)
    get(server, tmp_path / "a", "/bad", "/good")
    assert (tmp_path / "a").read_bytes() == DATA


def test_nobody_is_there(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"not fetched; http://127\.0\.0\.1:9/a: Connect"):
        download(["http://127.0.0.1:9/a"], tmp_path / "a", len(DATA), SHA, QUICK)


def made_set(files: dict[str, bytes], **more: object) -> PublishedSet:
    entries = [
        PublishedFile.model_validate(
            {"path": path, "size": len(data), "sha256": hashlib.sha256(data).hexdigest()}
            | ({} if path.startswith("packed") else {"from": f"github:some/data@0123456:{path}"})
        )
        for path, data in files.items()
    ]
    about = {"title": "Drawn", "format": "conll", "licence": "none", "citation": "nobody", "files": entries}
    return PublishedSet.model_validate(about | more)


POSTS = b"IMGID:1\nAnn\tB-PER\n\nIMGID:2\nBob\tB-PER\n\n"
FILES = {"train.txt": POSTS, "test.txt": POSTS * 2, "packed/more.txt": b"more"}


@pytest.fixture
def drawn(server: Server, monkeypatch: pytest.MonkeyPatch) -> Server:
    """The table holds one set, published on this machine."""
    one = made_set(
        FILES,
        images="IMGID",
        archives=["github:some/data@0123456:all.zip"],
        folders=[
            PublishedFolder(
                path="xml",
                suffix=".xml",
                count=2,
                size=6,
                sha256=folder_checksum([(f"{n}.xml", hashlib.sha256(b"<a>").hexdigest()) for n in (1, 2)]),
            )
        ],
    )
    monkeypatch.setattr(fetching, "find_set", lambda name: one)
    monkeypatch.setattr(table, "MIRRORS", (server.url + "/gone/{path}", server.url + "/{repo}/{commit}/{path}"))
    for path, data in FILES.items():
        server.answers[f"/some/data/0123456/{path}"] = give(data)
    packed = io.BytesIO()
    with zipfile.ZipFile(packed, "w") as archive:
        archive.writestr("top/some-name.txt", b"more")
        archive.writestr("top/xml/1.xml", b"<a>")
        archive.writestr("top/xml/2.xml", b"<a>")
    server.answers["/some/data/0123456/all.zip"] = give(packed.getvalue())
    return server


def test_a_set_is_fetched_once(drawn: Server, tmp_path: Path) -> None:
    (first,) = fetch("drawn", folder=tmp_path, patience=QUICK)
    assert first.complete and set(first.fetched) == {*FILES, "xml"} and not first.there
    assert {path: (tmp_path / "drawn" / path).read_bytes() for path in FILES} == FILES
    assert sorted(file.name for file in (tmp_path / "drawn" / "xml").iterdir()) == ["1.xml", "2.xml"]
    before = len(drawn.asked)
    (again,) = fetch("drawn", folder=tmp_path, patience=QUICK)
    assert again.complete and not again.fetched and len(drawn.asked) == before
    (tmp_path / "drawn" / "train.txt").write_bytes(POSTS.replace(b"Ann", b"Amy"))
    (third,) = fetch("drawn", folder=tmp_path, patience=QUICK)
    assert third.fetched == ("train.txt",) and (tmp_path / "drawn" / "train.txt").read_bytes() == POSTS


def test_what_cannot_be_had_is_named_and_the_rest_is_there(
    drawn: Server, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    del drawn.answers["/some/data/0123456/test.txt"], drawn.answers["/some/data/0123456/all.zip"]
    monkeypatch.setenv("PROMU_DATA", str(tmp_path))
    monkeypatch.setattr(table, "published_sets", lambda: {"twitter2017": made_set(FILES)})
    assert main(["fetch", "twitter2017", "--json"]) == 2
    (result,) = json.loads(capsys.readouterr().out)
    assert result["fetched"] == ["train.txt"] and not result["complete"]
    assert set(result["missing"]) == {"test.txt", "packed/more.txt", "xml"}
    assert "404" in result["missing"]["test.txt"] and drawn.url in result["missing"]["test.txt"]


def image(size: int = 4) -> bytes:
    stream = io.BytesIO()
    Image.new("RGB", (size, size)).save(stream, "JPEG")
    return stream.getvalue()


def packed(kind: str, members: dict[str, bytes], path: Path) -> Path:
    if kind == "folder":
        for name, data in members.items():
            (path / name).parent.mkdir(parents=True, exist_ok=True)
            (path / name).write_bytes(data)
    elif kind == "zip":
        with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
            for name, data in members.items():
                archive.writestr(name, data)
    else:
        with tarfile.open(path, "w:gz") as tar:
            for name, data in members.items():
                info = tarfile.TarInfo(name)
                info.size = len(data)
                tar.addfile(info, io.BytesIO(data))
    return path


@pytest.mark.parametrize("kind", ["folder", "zip", "tar"])
def test_files_got_by_hand_are_known_by_their_bytes_and_images_by_name(
    drawn: Server, tmp_path: Path, kind: str
) -> None:
    members = {
        "a/anything.bin": POSTS,
        "b/renamed": POSTS * 2,
        "c": b"more",
        "x/xml/1.xml": b"<a>",
        "x/xml/2.xml": b"<a>",
    }
    members |= {"imgs/1.jpg": image(), "imgs/2.jpg": b"no image", "imgs/3.jpg": image(), "readme.md": b"hello"}
    source = packed(kind, members, tmp_path / "got")
    (result,) = fetch("drawn", source=source, folder=tmp_path / "data")
    assert result.complete and set(result.fetched) == {*FILES, "xml"} and not drawn.asked
    assert result.images == (1, 2) and set(result.broken_images) == {"2.jpg"}
    assert result.left_out[0] == 2 and set(result.left_out[1]) == {"imgs/3.jpg", "readme.md"}
    assert [file.name for file in (tmp_path / "data" / "drawn" / "images").iterdir()] == ["1.jpg"]


@pytest.mark.parametrize("kind", ["zip", "tar"])
def test_no_path_leaves_the_folder(drawn: Server, tmp_path: Path, kind: str) -> None:
    members = {"../../1.jpg": image(), "/abs/1.jpg": image(), "C:/1.jpg": image(), "a/../../2.jpg": image(), "t": POSTS}
    source = packed(kind, members, tmp_path / "got")
    (result,) = fetch("drawn", source=source, folder=tmp_path / "data")
    assert result.fetched == ("train.txt",) and result.images == (0, 2)
    assert sorted(file.name for file in tmp_path.iterdir()) == ["data", "got"]


def test_a_link_in_an_archive_is_left_out(drawn: Server, tmp_path: Path) -> None:
    with tarfile.open(tmp_path / "got.tar", "w") as tar:
        info = tarfile.TarInfo("1.jpg")
        info.type, info.linkname = tarfile.SYMTYPE, "/etc/passwd"
        tar.addfile(info)
        train = tarfile.TarInfo("train")
        train.size = len(POSTS)
        tar.addfile(train, io.BytesIO(POSTS))
    (result,) = fetch("drawn", source=tmp_path / "got.tar", folder=tmp_path / "data")
    assert result.images == (0, 2)


def test_a_bomb_is_refused(drawn: Server, tmp_path: Path) -> None:
    source = packed("zip", {"train": POSTS, "1.jpg": b"\0" * (20 << 20)}, tmp_path / "bomb.zip")
    (result,) = fetch("drawn", source=source, folder=tmp_path / "data")
    assert "unpacks to 20,971,520 bytes" in result.broken_images["1.jpg"]


@pytest.mark.parametrize(
    ("content", "reason"),
    [(b"hello", "is neither a folder nor a zip or tar archive"), (None, "no such file or folder; check the path")],
)
def test_a_source_that_is_none(
    drawn: Server, tmp_path: Path, content: bytes | None, reason: str, capsys: pytest.CaptureFixture[str]
) -> None:
    if content is not None:
        (tmp_path / "got.zip").write_bytes(content)
    words = ["fetch", "mnre", "--from", str(tmp_path / "got.zip"), "--to", str(tmp_path / "data")]
    assert main(words) == 2
    assert f"got.zip: {reason}" in capsys.readouterr().err


def test_an_archive_of_something_else_is_refused(drawn: Server, tmp_path: Path) -> None:
    source = packed("zip", {"a.txt": b"a"}, tmp_path / "got.zip")
    with pytest.raises(InputError, match="holds no file of drawn"):
        fetch("drawn", source=source, folder=tmp_path / "data")


def test_a_damaged_archive_is_refused(drawn: Server, tmp_path: Path) -> None:
    source = packed("zip", {"1.jpg": image(400), "train": POSTS}, tmp_path / "got.zip")
    data = bytearray(source.read_bytes())
    data[60:90] = b"\xff" * 30  # within the image
    source.write_bytes(data)
    (result,) = fetch("drawn", source=source, folder=tmp_path / "data")
    assert "get the archive again" in result.broken_images["1.jpg"] and "train.txt" in result.fetched


def test_the_list_says_licence_and_what_is_lacking(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["fetch", "--list"]) == 0
    shown = capsys.readouterr().out
    for name, one in published_sets().items():
        assert f"\n{name}: {one.title}" in shown and one.licence in shown
    assert "lacks the images; the authors of UMT hand them out at https://drive.google.com/" in shown
    assert main(["fetch", "twitter2018"]) == 2
    assert "no published set is called 'twitter2018'; there are twitter2015, " in capsys.readouterr().err


@pytest.mark.slow
def test_the_table_knows_the_published_files(shared: Path, tmp_path: Path) -> None:
    """Every checksum is that of the files at hand."""
    places = {
        "coco-mini": "data/coco_mini",
        "yolox-nano": "models/yolox_nano",
        "picodet-s": "models/picodet_s",
        "jmere-fewshot": "data/jmere_fewshot",
    }
    for name in published_sets():
        if name == "gmner":  # below
            continue
        if name == "flickr8k":  # its 7,091 photographs are not copied
            assert checksum(shared / "data/flickr8k/captions.csv") == published_sets()[name].files[0].sha256
            continue
        (result,) = fetch(name, source=shared / places.get(name, f"data/{name}"), folder=tmp_path)
        assert result.complete, result.missing


@pytest.mark.slow
def test_the_table_knows_the_folder_of_boxes(shared: Path, tmp_path: Path) -> None:
    (result,) = fetch("gmner", source=shared / "data" / "gmner", folder=tmp_path)
    assert result.complete and len(list((tmp_path / "gmner" / "xml").iterdir())) == 5612


def test_an_archive_that_no_tool_can_open(tmp_path: Path) -> None:
    with opened(packed("zip", {"a": b"a"}, tmp_path / "a.zip")) as holder:
        assert [(member.path, member.size) for member in holder.members()] == [("a", 1)]
