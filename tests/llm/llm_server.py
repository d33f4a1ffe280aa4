"""A stand-in for an OpenAI-compatible endpoint on this machine, which answers well or badly as it is told."""

from __future__ import annotations

import json
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

Body = dict[str, Any]


class LlmServer:
    """What the server does and what it has seen.

    Attributes:
        reply: Makes the answer's text from a request's body.
        faults: What the next requests meet, one each, before things go well again: a status (429 with Retry-After
            where it is a pair), "drop", "silence", "no completion", "no gzip", or a dictionary that replaces parts of
            the choice.
        accepts: Says why a body is not acceptable (status 400), None where it is.
        key: The key that is asked for; None asks for none.
        seen: Bodies of the requests that came, in order.
        usage: Whether tokens are counted.
    """

    def __init__(self, reply: Callable[[Body], str]) -> None:
        self.reply = reply
        self.faults: list[Any] = []
        self.accepts: Callable[[Body], str | None] = lambda body: None
        self.key: str | None = None
        self.seen: list[Body] = []
        self.headers: list[dict[str, str]] = []
        self.usage = True
        self.silence = 1.0
        self.down = False
        self.lock = threading.Lock()
        self.url = ""


class _Handler(BaseHTTPRequestHandler):
    server: Any
    protocol_version = "HTTP/1.1"

    def log_message(self, *_: object) -> None:
        """Say nothing."""

    def do_POST(self) -> None:
        state: LlmServer = self.server.state
        body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        with state.lock:
            state.seen.append(body)
            state.headers.append(dict(self.headers))
            fault = state.faults.pop(0) if state.faults else None
        if state.down:
            fault = 503
        if state.key is not None and self.headers.get("Authorization") != f"Bearer {state.key}":
            given = self.headers.get("Authorization", "")
            return self.send(401, {"error": {"message": f"Incorrect API key provided: {given}"}})
        reason = state.accepts(body)
        if reason is not None:
            return self.send(400, {"error": {"message": reason}})
        if fault == "drop":
            self.send_response(200)
            self.send_header("Content-Length", "1000")
            self.end_headers()
            self.wfile.write(b'{"choices": [')
            self.close_connection = True
            return None
        if fault == "silence":
            time.sleep(state.silence)
        if fault == "no completion":
            return self.send(200, {"detail": "an answer of some other service"})
        if fault == "no gzip":
            return self.send(200, {}, {"Content-Encoding": "gzip"})
        if isinstance(fault, int):
            return self.send(fault, {"error": {"message": "not now"}})
        if isinstance(fault, tuple):
            return self.send(fault[0], {"error": {"message": "slow down"}}, {"Retry-After": fault[1]})
        choice = {"index": 0, "message": {"role": "assistant", "content": ""}, "finish_reason": "stop"}
        choice["message"]["content"] = state.reply(body)  # type: ignore[index]
        if isinstance(fault, dict):
            choice = {**choice, **fault}
        answer: Body = {"model": f"{body['model']}-0001", "choices": [choice]}
        if state.usage:
            answer["usage"] = {"prompt_tokens": 100, "completion_tokens": 10}
        return self.send(200, answer)

    def send(self, status: int, body: Body, headers: dict[str, str] | None = None) -> None:
        """Send one JSON body."""
        data = json.dumps(body).encode()
        self.send_response(status)
        for name, value in {**(headers or {}), "Content-Length": str(len(data))}.items():
            self.send_header(name, value)
        self.end_headers()
        self.wfile.write(data)


class _Server(ThreadingHTTPServer):
    daemon_threads = True

    def handle_error(self, *_: object) -> None:
        """A client that has gone is no news."""


def said(content: str | None, **rest: Any) -> Body:
    """A fault in which the model says something else than it should."""
    message = {"role": "assistant", "content": content}
    if "refusal" in rest:
        message["refusal"] = rest.pop("refusal")
    return {"message": message, **rest}


def question(body: Body) -> str:
    """The text of the last message that is no correction."""
    texts = []
    for message in body["messages"]:
        content = message["content"]
        text = content if isinstance(content, str) else content[0]["text"]
        if message["role"] == "user" and not text.startswith("Your answer could not be used"):
            texts.append(text)
    return texts[-1]


@contextmanager
def serve(reply: Callable[[Body], str]) -> Iterator[LlmServer]:
    """A server on a free port of this machine while this lasts."""
    state = LlmServer(reply)
    with _Server(("127.0.0.1", 0), _Handler) as server:
        server.state = state  # type: ignore[attr-defined]
        state.url = f"http://127.0.0.1:{server.server_address[1]}/v1"
        thread = threading.Thread(target=lambda: server.serve_forever(poll_interval=0.01))
        thread.start()
        try:
            yield state
        finally:
            server.shutdown()
            thread.join()
