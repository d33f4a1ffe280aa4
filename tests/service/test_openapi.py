"""The OpenAPI document is true: what it describes is what happens, and nothing that it allows breaks the service."""

from __future__ import annotations

import pytest
import schemathesis
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from schemathesis.core.result import Ok
from tests.service.conftest import Running


@pytest.mark.slow
def test_no_request_that_the_document_allows_or_forbids_breaks_the_service(service: Running) -> None:
    document = schemathesis.openapi.from_url(f"{service.url}/openapi.json")
    tried = set()
    for operation in document.get_all_operations():
        assert isinstance(operation, Ok), "an operation that cannot be read"
        found = operation.ok()
        tried.add((found.method.upper(), found.path))
        for mode in schemathesis.GenerationMode:
            if found.method == "get" and mode is schemathesis.GenerationMode.NEGATIVE:
                continue  # there is nothing that could be wrong with it

            @settings(max_examples=12, suppress_health_check=list(HealthCheck), database=None)
            @given(case=found.as_strategy(generation_mode=mode))
            def check(case: schemathesis.Case) -> None:
                response = case.call(base_url=service.url)
                case.validate_response(
                    response,
                    checks=[
                        schemathesis.checks.not_a_server_error,
                        schemathesis.checks.response_schema_conformance,
                        schemathesis.checks.content_type_conformance,
                        schemathesis.checks.status_code_conformance,
                    ],
                )

            check()
    assert tried == {
        ("POST", "/extract"),
        ("POST", "/extract/batch"),
        ("GET", "/health"),
        ("GET", "/ready"),
        ("GET", "/model"),
        ("GET", "/metrics"),
    }
    with service.client() as client:
        metrics = client.get("/metrics").text
    assert 'status="5' not in metrics, metrics


@settings(max_examples=60)
@given(text=st.text(max_size=200))
@pytest.mark.slow
def test_any_text_gets_offsets_that_are_right_or_a_sentence(service: Running, text: str) -> None:
    with service.client() as client:
        answer = client.post("/extract", json={"text": text})
    if answer.status_code != 200:
        assert answer.status_code == 422 and list(answer.json()) == ["error"]
        return
    for entity in answer.json()["entities"]:
        assert text[entity["char_start"] : entity["char_end"]] == entity["text"]
