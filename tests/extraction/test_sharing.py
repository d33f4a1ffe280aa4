"""Models on the hub, which is a server on this machine that remembers what it is sent."""

from __future__ import annotations

import base64
import json
import threading
from collections.abc import Iterator
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest
from tests.factories import TEXTS

from promu import Extractor
from promu.errors import InputError
from promu.tasks.model_folder import open_predictor


@dataclass
class Hub:
    """What a hub has been sent."""

    url: str = ""
    files: dict[str, bytes] = field(default_factory=dict)
    tokens: set[str] = field(default_factory=set)
    made: list[dict[str, Any]] = field(default_factory=list)
    refuse: bool = False


@pytest.fixture
def hub(monkeypatch: pytest.MonkeyPatch) -> Iterator[Hub]:
    state = Hub()

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            size = int(self.headers.get("content-length") or 0)
            body = self.rfile.read(size) if size else b"".join(chunks(self.rfile))
            state.tokens.add(self.headers["authorization"])
            answer: Any = {}
            if self.path == "/api/repos/create":
                state.made.append(json.loads(body))
                answer = {"url": f"{state.url}/me/tiny", "id": "me/tiny"}
            elif self.path.endswith("/preupload/main"):
                names = [one["path"] for one in json.loads(body)["files"]]
                regular = {"uploadMode": "regular", "shouldIgnore": False, "oid": None}
                answer = {"files": [{"path": name, **regular} for name in names]}
            elif self.path.endswith("/commit/main"):
                for line in map(json.loads, body.splitlines()):
                    if line["key"] == "file":
                        state.files[line["value"]["path"]] = base64.b64decode(line["value"]["content"])
                answer = {"commitUrl": f"{state.url}/me/tiny/commit/1", "commitOid": "1", "success": True}
            self.send_response(403 if state.refuse else 200)
            self.send_header("content-type", "application/json")
            self.end_headers()
            self.wfile.write(json.dumps({"error": "you may not"} if state.refuse else answer).encode())

        def log_message(self, *_: Any) -> None:
            """Nothing."""

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    state.url = f"http://127.0.0.1:{server.server_address[1]}"
    monkeypatch.setenv("HF_ENDPOINT", state.url)
    monkeypatch.setenv("HF_TOKEN", "hf_secret")
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", False)
    yield state
    server.shutdown()
    thread.join()
    server.server_close()


def chunks(stream: Any) -> Iterator[bytes]:
    """The chunks of a body whose length is not said before."""
    while size := int(stream.readline(), 16):
        yield stream.read(size)
        stream.readline()
    stream.readline()


def test_what_is_pushed_is_what_is_loaded(hub: Hub, tiny_models: Path, extractor: Extractor, tmp_path: Path) -> None:
    assert extractor.push_to_hub("me/tiny", private=True) == f"{hub.url}/me/tiny/commit/1"
    assert hub.tokens == {"Bearer hf_secret"}
    (made,) = hub.made
    assert made.get("private") is True or made["visibility"] == "private", "by the library's version"
    for name, content in hub.files.items():
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_bytes(content)
    again = Extractor.from_pretrained(tmp_path, device="cpu")
    assert again(TEXTS[0]) == extractor(TEXTS[0])
    card = hub.files["README.md"].decode()
    assert 'Extractor.from_pretrained("me/tiny")' in card and "`/per/per/peer`" in card and "ner/README.md" in card
    assert "library_name: promu" in card.partition("---\n")[2]
    assert {name for name in hub.files if "/" not in name} == {"README.md"}


def test_one_model_is_a_repository_of_its_own(hub: Hub, tiny_models: Path) -> None:
    Extractor.from_pretrained(tiny_models / "ner", device="cpu").push_to_hub("me/tiny")
    assert {"config.json", "model.safetensors", "tokenizer.json", "README.md"} <= hub.files.keys()
    assert hub.files["README.md"] == (tiny_models / "ner" / "README.md").read_bytes(), "its own card"


def test_what_keeps_models_from_the_hub_is_said(
    hub: Hub, extractor: Extractor, tiny_models: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    hub.refuse = True
    with pytest.raises(InputError, match=r"me/tiny: cannot be uploaded \(.*check the name, HF_TOKEN and the net"):
        extractor.push_to_hub("me/tiny")
    with pytest.raises(InputError, match="no name: cannot be uploaded"):
        extractor.push_to_hub("no name")
    monkeypatch.setenv("HF_ENDPOINT", "http://127.0.0.1:9")
    with pytest.raises(InputError, match="cannot be uploaded"):
        extractor.push_to_hub("me/tiny")
    monkeypatch.delenv("HF_TOKEN")
    with pytest.raises(InputError, match="set the environment variable HF_TOKEN"):
        extractor.push_to_hub("me/tiny")
    predictor = open_predictor("ner", tiny_models / "ner", "cpu")
    predictor.folder = None
    with pytest.raises(InputError, match="these come from none"):
        Extractor(predictor).push_to_hub("me/tiny")
    assert not hub.files
