"""How the service behaves under many callers, callers that go, and when it is told to stop."""

from __future__ import annotations

import base64
import json
import logging
import os
import signal
import socket
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import httpx
import pytest
from prometheus_client.parser import text_string_to_metric_families
from tests.factories import TEXTS
from tests.service.conftest import Running, SlowExtractor, Start

from promu import ExtractionConfig, Extractor
from promu.cli import main
from promu.errors import InputError
from promu.extraction.request import Request
from promu.extraction.result import Extraction
from promu.service.metrics import JsonFormatter


def until(true: Callable[[], bool], what: str) -> None:
    """Wait until something is so."""
    end = time.monotonic() + 20
    while not true():
        assert time.monotonic() < end, f"never: {what}"
        time.sleep(0.01)


def inside(service: Running) -> int:
    """Posts in the service."""
    count: int = service.app.state.service.gate.inside
    return count


def waiting(service: Running) -> int:
    """Posts that wait for the model."""
    return len(service.app.state.service._batcher._waiting)


@contextmanager
def busy(slow: SlowExtractor, pool: ThreadPoolExecutor, client: httpx.Client) -> Iterator[Future[httpx.Response]]:
    """Within this the model is at a post, by itself, and stays at it until it is told to go on."""
    slow.begun = 0
    slow.batches.clear()
    slow.go.clear()
    first = pool.submit(post, client)
    until(lambda: slow.begun == 1, "the model has begun")
    try:
        yield first
    finally:
        slow.go.set()


def post(client: httpx.Client, text: str = TEXTS[0]) -> httpx.Response:
    return client.post("/extract", json={"text": text})


@pytest.mark.slow
def test_requests_that_wait_share_a_batch(start: Start, slow: SlowExtractor, extractor: Extractor) -> None:
    texts = [f"{TEXTS[number % 3]} {number}" for number in range(8)]
    with start(slow, max_batch=8) as service, service.client() as client, ThreadPoolExecutor(9) as pool:
        with busy(slow, pool, client):
            answers = [pool.submit(post, client, text) for text in texts]
            until(lambda: waiting(service) == 8, "all others wait")
        found = [answer.result().json() for answer in answers]
        assert slow.batches == [1, 8]
        metrics = client.get("/metrics").text
    assert 'promu_batch_posts_bucket{le="1.0",worker="' in metrics
    for text, answer in zip(texts, found, strict=True):
        expected = extractor(text)
        assert [entity["text"] for entity in answer["entities"]] == [e.text for e in expected.entities]


def test_what_does_not_fit_is_told_when_to_come_again(start: Start, slow: SlowExtractor) -> None:
    with start(slow, queue=3, max_posts=3, max_batch=1) as service, service.client() as client:
        with ThreadPoolExecutor(3) as pool:
            slow.go.clear()
            taken = [pool.submit(post, client) for _ in range(2)]
            until(lambda: inside(service) == 2, "two posts are in")
            assert client.get("/ready").json()["status"] == "ready"
            batch = client.post("/extract/batch", json={"posts": [{"text": "Ann"}] * 2})
            assert batch.status_code == 503, "two posts do not fit where one does"
            taken.append(pool.submit(post, client))
            until(lambda: inside(service) == 3, "the queue is full")
            refused = client.post("/extract", content=b"x" * 1_000_000)
            assert refused.status_code == 503 and "3 posts wait; try again in" in refused.json()["error"]
            assert 1 <= int(refused.headers["retry-after"]) <= 60
            assert (client.get("/ready").status_code, client.get("/ready").json()["status"]) == (503, "busy")
            assert client.get("/health").status_code == 200
            slow.go.set()
            assert [answer.result().status_code for answer in taken] == [200] * 3
        assert inside(service) == 0 and post(client).status_code == 200


@pytest.mark.slow
def test_an_answer_that_takes_too_long(start: Start, slow: SlowExtractor) -> None:
    with start(slow) as service, service.client() as client, ThreadPoolExecutor(1) as pool:
        serving = service.app.state.service
        patient = serving.settings
        with busy(slow, pool, client) as first:
            serving.settings = patient.model_copy(update={"timeout": 1.0})
            late = post(client)
            serving.settings = patient
            assert late.status_code == 503 and "no answer within 1 s" in late.json()["error"]
            assert late.headers["retry-after"]
            until(lambda: (inside(service), waiting(service)) == (1, 0), "it leaves the queue")
        assert first.result().status_code == 200
        assert slow.batches == [1], "somebody worked for who was told to go"
        assert post(client).status_code == 200


def raw(service: Running, data: bytes) -> socket.socket:
    """A connection on which `data` has been sent and nothing else will be, unless the caller sends it."""
    connection = socket.create_connection(service.app.state.address, timeout=20)
    connection.sendall(data)
    return connection


def head(length: int) -> bytes:
    return b"POST /extract HTTP/1.1\r\nhost: x\r\ncontent-type: application/json\r\ncontent-length: %d\r\n\r\n" % length


@pytest.mark.slow
def test_a_body_that_does_not_arrive(start: Start) -> None:
    with start(timeout=0.3) as service:
        with raw(service, head(100) + b'{"text": "Ann') as connection:
            answer = b""
            while not answer.endswith(b"}"):
                received = connection.recv(10_000)
                assert received, answer
                answer += received
        assert answer.startswith(b"HTTP/1.1 408 ") and b"did not arrive within 0.3 s" in answer
        until(lambda: inside(service) == 0, "its place is free again")


def test_a_caller_who_hangs_up_is_not_worked_for(
    start: Start, slow: SlowExtractor, caplog: pytest.LogCaptureFixture
) -> None:
    body = json.dumps({"text": TEXTS[0]}).encode()
    with start(slow, max_batch=1) as service, service.client() as client:
        with ThreadPoolExecutor(1) as pool, caplog.at_level(logging.INFO, "promu.service"):
            with busy(slow, pool, client) as first:
                with raw(service, head(len(body)) + body):
                    until(lambda: waiting(service) == 1, "the post waits")
                until(lambda: inside(service) == 1, "it is out again")
                with raw(service, head(500) + body):
                    until(lambda: inside(service) == 2, "the post is in, as far as it has come")
                until(lambda: inside(service) == 1, "it is out again")
            assert first.result().status_code == 200
            assert slow.batches == [1], "nobody worked for those who went"
        assert post(client).status_code == 200
    statuses = Counter(record.fields["status"] for record in caplog.records if hasattr(record, "fields"))
    assert statuses[499] == 2


@pytest.mark.slow
def test_many_clients_at_once(start: Start) -> None:
    limits = httpx.Limits(max_connections=200)
    with (
        start(queue=64, timeout=300) as service,
        service.client(limits=limits) as client,
        ThreadPoolExecutor(200) as pool,
    ):

        def one(number: int) -> tuple[int, bool]:
            answer = post(client, f"Ann met number {number}")
            right = str(number) in answer.json()["tokens"] if answer.status_code == 200 else "busy" in answer.text
            return answer.status_code, right

        found = list(pool.map(one, range(200)))
    statuses = Counter(status for status, _ in found)
    assert all(right for _, right in found)
    assert set(statuses) <= {200, 503} and statuses[200] >= 64


class SteadyExtractor(Extractor):
    """One that takes a twentieth of a second for a post, whatever the size of the batch."""

    def __init__(self, like: Extractor) -> None:
        self.__dict__.update(like.__dict__)
        self.done = 0

    def run(
        self, requests: Sequence[Request], config: ExtractionConfig | None = None, **options: Any
    ) -> list[Extraction | InputError]:
        time.sleep(0.05 * len(requests))
        self.done += len(requests)
        return super().run(requests, config, **options)


@pytest.mark.slow
def test_asked_for_more_than_it_can_do_it_works_for_those_who_still_wait(start: Start, extractor: Extractor) -> None:
    steady = SteadyExtractor(extractor)
    with start(steady, timeout=2.0) as service, service.client() as client, ThreadPoolExecutor(60) as pool:
        assert post(client).status_code == 200
        # more callers than can be answered within the time-out: forty posts' worth of it
        found = list(pool.map(lambda number: post(client, f"Ann met number {number}"), range(180)))
    answered = sum(answer.status_code == 200 for answer in found)
    late = sum("no answer within" in answer.text for answer in found)
    assert {answer.status_code for answer in found} <= {200, 503}
    assert answered and steady.done - 1 - answered <= 16, "a batch at most was worked on in vain"
    assert late <= 16, "the others were told at once"


def test_what_has_been_taken_is_answered_before_it_stops(start: Start, slow: SlowExtractor) -> None:
    with start(slow) as service, service.client() as client, ThreadPoolExecutor(2) as pool:
        slow.begun = 0
        slow.go.clear()
        answer = pool.submit(post, client)
        until(lambda: slow.begun == 1, "the model has begun")
        service.server.should_exit = True

        def refused() -> bool:
            try:
                with service.client() as other:
                    return other.get("/ready").status_code == 503
            except httpx.TransportError:
                return True

        until(refused, "new requests are refused")
        assert service.thread.is_alive()
        slow.go.set()
        assert answer.result().status_code == 200
        service.thread.join(20)
        assert not service.thread.is_alive()


def test_an_error_of_ours_is_a_500_with_its_number_and_no_text_in_the_log(
    start: Start, slow: SlowExtractor, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    def broken(posts: Any, settings: Any, **options: Any) -> Any:
        raise RuntimeError(f"cannot work on {TEXTS[0]}")

    with start(slow) as service, caplog.at_level(logging.INFO):
        monkeypatch.setattr(slow, "run", broken)
        with service.client() as client:
            answer = post(client)
        monkeypatch.undo()
        with service.client() as client:
            assert post(client).status_code == 200, "the worker is dead"
    assert answer.status_code == 500
    lines = [json.loads(JsonFormatter().format(record)) for record in caplog.records]
    assert TEXTS[0] not in json.dumps(lines)
    (number,) = [line["request"] for line in lines if line.get("status") == 500]
    assert number in answer.json()["error"]
    (told,) = [line for line in lines if line.get("error") == "RuntimeError"]
    assert any(place.startswith(__file__) for place in told["trace"])


def test_a_line_of_the_log_says_what_happened_and_not_what_was_said(
    service: Running, images: Path, caplog: pytest.LogCaptureFixture
) -> None:
    secret = "Xanthippe Zabriskie"
    with service.client() as client, caplog.at_level(logging.INFO):
        client.post(
            "/extract",
            data={"text": f"{secret} " * 5, "id": secret},
            files={"image": ("Zabriskie.png", (images / "0.png").read_bytes())},
        )
        client.post("/extract", json={"text": f"\0{secret}"})
        client.get(f"/{secret}?{secret}")
    # the client of this test logs too, and uvicorn's log of paths is off where promu serves
    records = [record for record in caplog.records if record.name not in ("httpx", "uvicorn.access")]
    lines = [JsonFormatter().format(record) for record in records]
    assert not any(word in line for line in lines for word in secret.split())
    first = next(json.loads(line) for line in lines if '"status": 200' in line)
    assert {"time", "level", "event", "method", "path", "status", "ms", "request"} <= set(first)
    assert (first["path"], first["posts"], first["characters"]) == ("/extract", 1, 100)
    assert first["image_bytes"] == (images / "0.png").stat().st_size


def test_metrics_count_what_happened(start: Start, tiny_models: Path, images: Path) -> None:
    fresh = Extractor.from_pretrained(tiny_models / "ner", device="cpu")
    with start(fresh, model=tiny_models / "ner") as service, service.client() as client:
        post(client)
        post(client, "")
        client.post("/extract/batch", json={"posts": [{"text": "Ann"}, {"text": ""}, {"text": "Bob"}]})
        client.get("/no/such/place")
        for text in ("Ann", "Bob"):
            image = base64.b64encode((images / "0.png").read_bytes()).decode()
            assert client.post("/extract", json={"text": text, "image": image}).json()["image_read"]
        answer = client.get("/metrics")
    assert answer.headers["content-type"].startswith("text/plain; version=0.0.4")
    values = {}
    for family in text_string_to_metric_families(answer.text):
        for sample in family.samples:
            assert sample.labels.pop("worker") == str(os.getpid())
            values[(sample.name, *sample.labels.values())] = sample.value
    assert values["promu_requests_total", "/extract", "200"] == 3
    assert values["promu_requests_total", "/extract", "422"] == 1
    assert values["promu_requests_total", "other", "404"] == 1
    assert values["promu_posts_total",] == 5 and values["promu_refused_posts_total",] == 1
    assert values["promu_request_seconds_count", "/extract"] == 4
    assert values["promu_request_seconds_bucket", "+Inf", "/extract"] == 4
    assert values["promu_batch_posts_count",] >= 2 and values["promu_queue_limit",] == 128
    assert values["promu_queue_posts",] == 0 and values["promu_memory_bytes",] > 1e7
    for work in ("decode", "encode"):
        assert [values["promu_image_work_total", cache, work] for cache in ("hit", "miss")] == [1, 1]
    assert values["promu_image_cache_bytes",] == fresh.images.bytes > 0
    assert not [name for name, *_ in values if name.endswith("_created")]


def free_port() -> int:
    with socket.socket() as sock:
        sock.bind(("127.0.0.1", 0))
        port: int = sock.getsockname()[1]
        return port


@pytest.mark.slow
def test_the_command_serves_with_two_workers_and_stops_when_told(tiny_models: Path) -> None:
    port = free_port()
    command = [sys.executable, "-m", "promu.cli", "serve", "--model", str(tiny_models), "--port", str(port)]
    process = subprocess.Popen([*command, "--workers", "2"], stderr=subprocess.PIPE, text=True)
    try:
        with httpx.Client(base_url=f"http://127.0.0.1:{port}", timeout=60) as client:

            def there() -> bool:
                assert process.poll() is None, "it ended"
                try:
                    return client.get("/ready").status_code == 200
                except httpx.TransportError:
                    return False

            end = time.monotonic() + 120
            while not there():
                assert time.monotonic() < end, "it never gets ready"
                time.sleep(0.2)
            assert post(client).status_code == 200
        process.send_signal(signal.SIGTERM)
        _, log = process.communicate(timeout=60)
    finally:
        process.kill()
    assert process.returncode == 0, log
    note, *lines = log.splitlines()
    assert f"http://127.0.0.1:{port}/" in note
    workers = {json.loads(line)["event"] for line in lines if "Started server process" in line}
    assert len(workers) == 2 and "Traceback" not in log
    assert not any(word in log for word in TEXTS[0].split() if len(word) > 3)


def test_a_command_that_cannot_serve_says_why(
    tiny_models: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["serve", "--model", str(tiny_models), "--port", "0", "--device", "gpu"]) == 2
    assert "device 'gpu' is no name of a device; name one of those here" in capsys.readouterr().err
    assert main(["serve", "--model", str(tmp_path / "none"), "--port", "0"]) == 2
    assert "no such model folder" in capsys.readouterr().err
    assert main(["serve", "--model", "m", "--queue", "1"]) == 2
    assert "a batch of 64 posts never fits a queue of 1" in capsys.readouterr().err
    assert main(["serve", "--model", "m", "--max-batch", "0"]) == 2
    assert "--max-batch should be greater than or equal to 1" in capsys.readouterr().err
    assert main(["serve", "--model", "m", "--workers", "0"]) == 2
    assert "--workers is 0" in capsys.readouterr().err


def test_answers_are_sent_at_once(service: Running) -> None:
    """With Nagle's algorithm each would wait 40 ms for the caller to acknowledge its head."""
    with raw(service, b"GET /health HTTP/1.1\r\nhost: x\r\n\r\n") as connection:
        assert connection.recv(10_000).startswith(b"HTTP/1.1 200")
        ours = connection.getsockname()
        sockets = [open.transport.get_extra_info("socket") for open in service.server.server_state.connections]
        (theirs,) = [sock for sock in sockets if sock.getpeername() == ours]
        assert theirs.getsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY)
