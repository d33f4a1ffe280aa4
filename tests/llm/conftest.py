"""A stand-in endpoint and a client on it that loses no time with waiting."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from tests.llm.llm_server import LlmServer, serve

from promu.llm import endpoint as endpoint_module
from promu.llm.answers import AnswerStore
from promu.llm.client import Budget, Client
from promu.llm.endpoint import Endpoint
from promu.llm.llm_settings import LlmSettings, SpendingSettings


@pytest.fixture(autouse=True)
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    """Back-off in milliseconds, no key, no proxy."""
    monkeypatch.setattr(endpoint_module, "_FIRST_WAIT", 0.01)
    monkeypatch.setattr(endpoint_module, "_FIRST_PATIENCE", 0.3)
    monkeypatch.delenv("PROMU_LLM_KEY", raising=False)
    for name in ("http_proxy", "HTTP_PROXY", "all_proxy", "ALL_PROXY"):
        monkeypatch.delenv(name, raising=False)


@pytest.fixture
def server() -> Iterator[LlmServer]:
    """A stand-in endpoint that says "fine" until it is told otherwise."""
    with serve(lambda body: "fine") as state:
        yield state


@pytest.fixture
def connect(server: LlmServer, tmp_path: Path) -> Iterator[Callable[..., Client]]:
    """Makes clients of `server` with one store."""
    opened: list[AnswerStore | Endpoint] = []

    def make(spending: SpendingSettings | None = None, patience: float = 5.0, timeout: float = 5.0) -> Client:
        budget = Budget(spending)
        store = AnswerStore(tmp_path / "llm.sqlite")
        endpoint = Endpoint(LlmSettings(url=server.url, patience=patience, timeout=timeout), budget)
        opened.extend((store, endpoint))
        return Client(store, endpoint.complete, budget)

    yield make
    for resource in opened:
        resource.__exit__()
