"""What cannot be answered is refused in a sentence, and costs the others nothing."""

from __future__ import annotations

import base64
import io
import struct
import zlib
from pathlib import Path
from typing import Any

import httpx
import pytest
from PIL import Image
from tests.service.conftest import Running, Start

from promu import Extractor
from promu.errors import InputError
from promu.service.schemas import ServiceSettings
from promu.service.server import create_app, listen

JSON = {"content-type": "application/json"}


def refusal(answer: httpx.Response, status: int) -> str:
    """The sentence of an answer that has to be a refusal and nothing else."""
    assert answer.status_code == status, answer.text
    body = answer.json()
    assert list(body) == ["error"]
    sentence: str = body["error"]
    assert sentence and "\n" not in sentence and "Traceback" not in sentence
    return sentence


@pytest.mark.parametrize(
    ("body", "status", "says"),
    [
        (b"", 400, "the body is not JSON: EOF"),
        (b"{", 400, "not JSON"),
        (b"\xff\xfe", 400, "not JSON"),
        (b"[" * 100_000, 400, "not JSON: recursion limit"),
        (b'{"text": "\\ud800"}', 400, "not JSON"),
        (b"[]", 422, "the body: input should be an object"),
        (b"null", 422, "the body"),
        (b"{}", 422, "'text': field required"),
        (b'{"text": 3}', 422, "'text': input should be a valid string"),
        (b'{"text": null}', 422, "'text'"),
        (b'{"text": "Ann", "photo": "x"}', 422, "unknown key 'photo'; known keys: text, image, id, explain"),
        (b'{"text": "Ann", "id": 7}', 422, "'id': input should be a valid string"),
        (b'{"text": "Ann", "explain": "yes"}', 422, "'explain'"),
        (b'{"text": "Ann", "types": ["ship"]}', 422, "the labels of this model are fixed"),
        (b'{"text": "Ann", "types": []}', 422, "types is an empty list"),
        (b'{"text": "Ann", "types": "ship"}', 422, "'types': input should be a valid array"),
        (b'{"text": "Ann", "threshold": {"ship": 0.5}}', 422, "threshold names 'ship', which is not found here"),
        (b'{"text": "Ann", "threshold": {"PER": 2}}', 422, "'threshold.PER'"),
        (b'{"text": "Ann", "image": 5}', 422, "'image'"),
        (b'{"text": "Ann", "image": "***"}', 422, "image is not base64"),
        (b'{"text": "Ann", "image": "\xc3\xa4"}', 422, "image is not base64"),
        (b'{"text": "Ann", "image": "http://127.0.0.1/x.png"}', 422, "nothing is fetched"),
        (b'{"text": "Ann", "image": "file:///etc/passwd"}', 422, "nothing is fetched"),
        (b'{"text": "Ann", "image": "data:image/png;base64,AAAA"}', 422, "nothing is fetched"),
        (b'{"text": ""}', 422, "text is empty"),
        (b'{"text": " \\t\\n"}', 422, "text is empty"),
        (b'{"text": "\\u200b\\u200d\\ufeff"}', 422, "no words"),
        (b'{"text": "Ann \\u0000 Lee"}', 422, "NUL"),
    ],
)
def test_json_of_the_wrong_shape(body: bytes, status: int, says: str, service: Running) -> None:
    with service.client() as client:
        assert says in refusal(client.post("/extract", content=body, headers=JSON), status)


@pytest.mark.parametrize(
    ("body", "says"),
    [
        (b'{"posts": []}', "'posts': list should have at least 1 item"),
        (b'{"posts": {}}', "'posts'"),
        (b'{"posts": ["Ann"]}', "'posts.0'"),
        (b'{"posts": [{"text": "Ann", "photo": "x"}]}', "unknown key 'posts.0.photo'; known keys: text, image"),
        (b'[{"text": "Ann"}]', "the body"),
        (b'{"posts": [{"text": "Ann", "text": "Bob"}]}', "the key 'text' is there twice; keep one of them"),
        (b'{"posts": [{"text": "Ann"}], "posts": [{"text": "Bob"}]}', "the key 'posts' is there twice"),
        (b'{"posts": [' + b",".join([b'{"text": "Ann"}'] * 65) + b"]}", "65 posts in a request, at most 64"),
    ],
)
def test_batches_of_the_wrong_shape(body: bytes, says: str, service: Running) -> None:
    with service.client() as client:
        assert says in refusal(client.post("/extract/batch", content=body, headers=JSON), 422)


def form(*parts: tuple[str, bytes], end: bytes = b"--cut--\r\n") -> bytes:
    return (
        b"".join(b"--cut\r\nContent-Disposition: form-data; %s\r\n\r\n%s\r\n" % (n.encode(), v) for n, v in parts) + end
    )


@pytest.mark.parametrize(
    ("body", "status", "says"),
    [
        (b"", 400, "ends before its closing boundary"),
        (b"nonsense", 400, "malformed"),
        (form(('name="text"', b"Ann"), end=b""), 400, "ends before its closing boundary"),
        (form(('name="id"', b"1")), 422, "the form has no text"),
        (form(('name="text"', b"Ann"), ('name="text"', b"Bob")), 422, "has text more than once"),
        (
            form(('name="text"', b"Ann"), ('name="url"', b"x")),
            422,
            "unknown form field 'url'; known fields: text, image",
        ),
        (form(('name="text"; filename="t"', b"Ann")), 422, "text has to be sent as a plain field"),
        (form(('name="text"', b"Ann"), ('name="image"', b"x")), 422, "image has to be sent as a file"),
        (form(('name="text"', b"\xff\xfe")), 422, "text is not UTF-8 (byte 0)"),
        (form(('name="text"', b"Ann"), ('name="explain"', b"1")), 422, "explain is '1'; true or false is expected"),
        (form(("x=1", b"Ann")), 400, "malformed"),
    ],
)
def test_forms_of_the_wrong_shape(body: bytes, status: int, says: str, service: Running) -> None:
    with service.client() as client:
        kind = {"content-type": "multipart/form-data; boundary=cut"}
        assert says in refusal(client.post("/extract", content=body, headers=kind), status)


def test_bodies_of_another_kind(service: Running) -> None:
    with service.client() as client:
        for kind in ("text/plain", "application/x-www-form-urlencoded", "image/png", ""):
            says = refusal(client.post("/extract", content=b"text=Ann", headers={"content-type": kind}), 415)
            assert "is expected" in says
        assert "no boundary" in refusal(
            client.post("/extract", content=b"", headers={"content-type": "multipart/form-data"}), 400
        )
        refusal(client.post("/extract/batch", content=b"", headers={"content-type": "multipart/form-data"}), 415)
        assert "/docs" in refusal(client.get("/nothing"), 404)
        assert "GET is not possible here" in refusal(client.get("/extract"), 405)


def png(width: int, height: int) -> bytes:
    """A PNG whose header promises so many pixels and whose data is next to nothing."""

    def chunk(kind: bytes, data: bytes) -> bytes:
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))

    head = struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    return (
        b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", head) + chunk(b"IDAT", zlib.compress(b"\0" * 100)) + chunk(b"IEND", b"")
    )


def bomb() -> bytes:
    """An image of 30 million pixels in 30 kB."""
    target = io.BytesIO()
    Image.new("1", (6000, 5000)).save(target, "PNG")
    return target.getvalue()


BROKEN = {
    "text": (b"this is no image", "not an image of a known format"),
    "html": (b"<!doctype html><html><body>404</body></html>", "an HTML page, not an image"),
    "svg": (b'<svg xmlns="http://www.w3.org/2000/svg"><script>alert(1)</script></svg>', "an SVG drawing; render it"),
    "svg with entities": (b'<?xml version="1.0"?><!DOCTYPE s [<!ENTITY a "b">]><svg>&a;</svg>', "an SVG drawing"),
    "postscript": (b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 9 9\n(rm) run", "not an image of a known format"),
    "zip": (b"PK\x03\x04" + b"\0" * 60, "not an image"),
    "promised pixels": (png(60_000, 60_000), "too large"),
    "too many pixels": (png(6000, 6000), "6,000 x 6,000 pixels, more than 25,000,000"),
    "bomb": (bomb(), "6,000 x 5,000 pixels"),
    "truncated": (png(40, 40), "truncated or broken"),
}


@pytest.mark.parametrize("name", BROKEN)
def test_images_that_are_none(name: str, service: Running) -> None:
    data, says = BROKEN[name]
    with service.client() as client:
        as_form = client.post(
            "/extract", data={"text": "Ann met Bob"}, files={"image": ("photo.png", data, "image/png")}
        )
        as_json = client.post("/extract", json={"text": "Ann met Bob", "image": base64.b64encode(data).decode()})
    assert says in refusal(as_form, 422)
    assert as_json.json() == as_form.json()


def test_a_image_with_something_behind_it_is_read_as_the_image(service: Running, images: Path) -> None:
    data = (images / "0.png").read_bytes()
    with service.client() as client:
        answers = [
            client.post("/extract", data={"text": "Ann met Bob"}, files={"image": content}).raise_for_status().json()
            for content in (data, data + b"<script>alert(1)</script>" + b"PK\x03\x04" * 100)
        ]
    assert answers[0] == answers[1] and answers[0]["image_read"]


def test_limits_of_size(start: Start, images: Path) -> None:
    with (
        start(max_body_mib=0.01, max_characters=30, max_pixels=100, max_pairs=3) as service,
        service.client() as client,
    ):
        post = {"text": "Ann met Bob"}
        assert "over 0.01 MiB" in refusal(client.post("/extract", json={"text": "a" * 11_000}), 413)
        assert "over 0.01 MiB" in refusal(client.post("/extract", json={"text": "a" * 5_000_000}), 413)
        assert "has 31 characters, at most 30" in refusal(client.post("/extract", json={"text": "a" * 31}), 413)
        assert client.post("/extract", json={"text": "a" * 29 + "\U0001f600"}).status_code == 200
        image = (images / "0.png").read_bytes()
        assert "48 x 40 pixels" in refusal(client.post("/extract", data=post, files={"image": image}), 422)
        pairs = refusal(client.post("/extract", json={"text": "Ann Bob and Rome in Kelmo"}), 422)
        assert "pairs of entities that may be related, at most 3 are looked at" in pairs
        # what is in bounds is still answered
        assert client.post("/extract", json={"text": "Ann"}).status_code == 200


def test_the_limit_of_pairs_holds_for_joint_models(start: Start, tiny_joint: Path) -> None:
    extractor = Extractor.from_pretrained(tiny_joint, device="cpu")
    posts = [{"text": "Ann Lee met Bob at the old bridge in Rome today , so happy"}, {"text": "Ann"}]
    with start(extractor, max_pairs=1) as service, service.client() as client:
        crowded, small = client.post("/extract/batch", json={"posts": posts}).raise_for_status().json()["results"]
    assert "pairs of entities that may be related, at most 1 are looked at" in crowded["error"]
    assert small["tokens"] == ["Ann"]


def test_a_token_is_asked_for_where_one_is_set(start: Start) -> None:
    with start(token="s3cret-ä") as service, service.client() as client:
        post = {"text": "Ann met Bob"}
        right = {b"authorization": "Bearer s3cret-ä".encode()}
        for path, send in (("/extract", post), ("/extract/batch", {"posts": [post]})):
            for header in (
                {},
                {"authorization": "Bearer wrong"},
                {"authorization": "Basic s3cret"},
                {"authorization": ""},
            ):
                answer = client.post(path, json=send, headers=header)
                assert "a bearer token is needed" in refusal(answer, 401)
                assert answer.headers["www-authenticate"] == "Bearer"
            assert client.post(path, json=send, headers=right).status_code == 200
        refusal(client.get("/metrics"), 401)
        assert client.get("/metrics", headers=right).status_code == 200
        # what says nothing about anybody's posts is open
        for path in ("/", "/docs", "/openapi.json", "/health", "/ready"):
            assert client.get(path).status_code == 200
        assert "s3cret" not in repr(service.app.state.service.settings)


@pytest.mark.parametrize(
    ("values", "says"),
    [
        ({"queue": 10, "max_posts": 64}, "a batch of 64 posts never fits a queue of 10"),
        ({"max_batch": 0}, "max_batch\n  Input should be greater than or equal to 1"),
        ({"timeout": "soon"}, "timeout\n  Input should be a valid number"),
    ],
)
def test_settings_that_make_no_sense(values: dict[str, Any], says: str) -> None:
    with pytest.raises(ValueError, match=says):
        ServiceSettings(model=Path("model"), **values)


def test_a_port_that_is_taken() -> None:
    with listen("127.0.0.1", 0) as first:
        port = first.getsockname()[1]
        with pytest.raises(InputError, match=f"cannot listen on 127.0.0.1 port {port} .*port="):
            listen("127.0.0.1", port)
    with pytest.raises(InputError, match="port 99999"):
        listen("127.0.0.1", 99_999)


def test_a_model_that_finds_no_entities_is_refused_at_the_start(tiny_models: Path) -> None:
    with pytest.raises(InputError, match="a model that finds entities; name a folder with ner/"):
        create_app(ServiceSettings(model=tiny_models / "re"))
