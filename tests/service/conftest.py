"""A service on a port of its own, with models made on the spot."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx
import pytest
import uvicorn
from fastapi import FastAPI

from promu import ExtractionConfig, Extractor
from promu.errors import InputError
from promu.extraction.request import Request
from promu.extraction.result import Extraction
from promu.service.schemas import ServiceSettings
from promu.service.server import BACKLOG, create_app, listen
from promu.tasks.model_folder import open_predictor


@dataclass
class Running:
    """A service that answers at `url`."""

    url: str
    app: FastAPI
    server: uvicorn.Server
    thread: threading.Thread

    def client(self, **options: Any) -> httpx.Client:
        return httpx.Client(base_url=self.url, timeout=120, verify=False, **options)

    def stop(self) -> None:
        self.server.should_exit = True
        self.thread.join(30)
        assert not self.thread.is_alive(), "the service does not stop"


Start = Callable[..., AbstractContextManager[Running]]


@contextmanager
def running(settings: ServiceSettings, extractor: Extractor) -> Iterator[Running]:
    app = create_app(settings, extractor)
    sock = listen("127.0.0.1", 0)
    server = uvicorn.Server(uvicorn.Config(app, log_config=None, access_log=False, backlog=BACKLOG))
    thread = threading.Thread(target=server.run, args=([sock],))
    thread.start()
    app.state.address = sock.getsockname()
    service = Running(f"http://127.0.0.1:{sock.getsockname()[1]}", app, server, thread)
    while not server.started:
        assert thread.is_alive(), "the service does not start"
        time.sleep(0.01)
    try:
        yield service
    finally:
        service.stop()
        sock.close()


@pytest.fixture(scope="session")
def start(tiny_models: Path, extractor: Extractor) -> Start:
    """Start a service with other settings: `with start(queue=2) as service`."""

    def with_settings(extractor: Extractor = extractor, **settings: Any) -> AbstractContextManager[Running]:
        return running(ServiceSettings(**{"model": tiny_models, **settings}), extractor)

    return with_settings


@pytest.fixture(scope="session")
def service(start: Start) -> Iterator[Running]:
    """One service with the default settings for the tests that need no others."""
    with start() as running_service:
        yield running_service


class SlowExtractor(Extractor):
    """One that waits until it is told to go on; counts the batches it began and lists the sizes of those it ended."""

    def __init__(self, like: Extractor) -> None:
        self.__dict__.update(like.__dict__)
        self.go = threading.Event()
        self.go.set()
        self.begun = 0
        self.batches: list[int] = []

    def run(
        self, requests: Sequence[Request], config: ExtractionConfig | None = None, **options: Any
    ) -> list[Extraction | InputError]:
        self.begun += 1
        assert self.go.wait(60)
        self.batches.append(len(requests))
        return super().run(requests, config, **options)


@pytest.fixture
def slow(extractor: Extractor) -> SlowExtractor:
    return SlowExtractor(extractor)


@pytest.fixture
def mute(tiny_models: Path) -> Extractor:
    """One that, like ONNX, does not say what it attended to."""
    pair = [open_predictor(task, tiny_models / task, "cpu") for task in ("ner", "re")]
    for predictor in pair:
        predictor.explains = False
    return Extractor(*pair)
