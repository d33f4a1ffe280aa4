"""The client pays once for each answer, waits faults out, and tells the model what was wrong with an answer."""

from __future__ import annotations

import logging
import sqlite3
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import replace
from email.utils import formatdate
from pathlib import Path
from typing import Any

import pytest
from tests.llm.llm_server import LlmServer, said

from promu.errors import InputError
from promu.llm import endpoint
from promu.llm.answers import AnswerFault, AnswerStore, json_object
from promu.llm.client import Client, open_client
from promu.llm.llm_settings import LlmSettings, SpendingSettings
from promu.llm.messages import Message, PromptImage, Request
from promu.progress import map_concurrent

Connect = Callable[..., Client]
SCHEMA = {"type": "object"}


def ask(text: str = "hello", **settings: object) -> Request:
    return replace(Request("m", (Message("user", text),), 50), **settings)  # type: ignore[arg-type]


def test_an_answer_is_paid_for_once(server: LlmServer, connect: Connect) -> None:
    first = connect().ask(ask())
    again = connect()
    assert again.ask(ask()) == first
    assert (first.content, first.answered_by, first.prompt_tokens, first.completion_tokens) == (
        "fine",
        "m-0001",
        100,
        10,
    )
    assert len(server.seen) == 1
    assert again.budget.counts == {"answers from the store": 1}
    for other in (ask("else"), ask(model="n"), ask(temperature=0.5), ask(max_tokens=51), ask(schema=SCHEMA)):
        again.ask(other)
    assert len(server.seen) == 6


def test_threads_that_ask_the_same_pay_once(server: LlmServer, connect: Connect) -> None:
    server.faults = ["silence"]
    server.silence = 0.3
    client = connect()
    answers = map_concurrent(range(6), lambda _: client.ask(ask()), 6, client.budget.stopped, "asking")
    assert {answer.content for answer in answers} == {"fine"}
    assert len(server.seen) == 1


@pytest.mark.slow
def test_processes_that_fill_one_store_lose_no_answer(server: LlmServer, tmp_path: Path) -> None:
    program = f"""
from pathlib import Path
from promu.llm.client import open_client
from promu.progress import map_concurrent
from promu.llm.llm_settings import LlmSettings
from promu.llm.messages import Message, Request
with open_client(LlmSettings(url={server.url!r}), Path({str(tmp_path / "llm.sqlite")!r})) as client:
    ask = lambda n: client.ask(Request("m", (Message("user", str(n)),), 50))
    map_concurrent(range(30), ask, 4, client.budget.stopped, "asking")
"""
    processes = [subprocess.Popen([sys.executable, "-c", program]) for _ in range(2)]
    assert [process.wait(60) for process in processes] == [0, 0]
    with sqlite3.connect(tmp_path / "llm.sqlite") as database:
        assert database.execute("SELECT count(*) FROM answers").fetchone() == (30,)
    sent = [body["messages"][0]["content"] for body in server.seen]
    assert set(sent) == {str(number) for number in range(30)}
    assert max(map(sent.count, sent)) <= 2  # once a process at most


@pytest.mark.parametrize("fault", [429, 500, 503, 408, "drop", "no completion", "no gzip", (429, "0.05"), (503, "0")])
def test_passing_faults_are_waited_out(server: LlmServer, connect: Connect, fault: object) -> None:
    server.faults = [fault, fault]
    client = connect()
    assert client.ask(ask()).content == "fine"
    assert client.budget.sent == len(server.seen) == 3
    assert client.budget.counts["answers paid for"] == 1 and client.budget.counts.total() == 3


def test_a_time_out_is_asked_again(server: LlmServer, connect: Connect) -> None:
    server.faults = ["silence"]
    client = connect(timeout=0.5)
    assert client.ask(ask()).content == "fine"
    assert client.budget.counts.keys() == {"repeated, time-out", "answers paid for"}


def test_retry_after_shortens_no_pause(server: LlmServer, connect: Connect, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(endpoint, "_FIRST_WAIT", 0.4)
    server.faults = [(503, "0")]
    began = time.monotonic()
    assert connect().ask(ask()).content == "fine"
    assert time.monotonic() - began > 0.2


@pytest.mark.parametrize("value", ["0.4", "date"])
@pytest.mark.slow
def test_retry_after_is_heeded_by_every_thread(server: LlmServer, connect: Connect, value: str) -> None:
    # a date has no fractions, so that the wait is between one and two seconds
    server.faults = [(429, formatdate(time.time() + 2, usegmt=True) if value == "date" else value)]
    client = connect()
    began = time.monotonic()
    client.ask(ask())
    assert time.monotonic() - began > 0.4
    server.faults = [(429, "0.4")]
    began = time.monotonic()
    map_concurrent(range(3), lambda n: client.ask(ask(str(n))), 1, client.budget.stopped, "asking")
    assert time.monotonic() - began > 0.4


@pytest.mark.slow
def test_an_endpoint_that_stays_down_stops_the_run_and_loses_nothing(server: LlmServer, connect: Connect) -> None:
    client = connect(patience=0.2)
    kept = client.ask(ask("before"))
    server.down = True
    with pytest.raises(InputError, match=r"gave no answer for \d+ s \(status 503: .*not now.*run the same again"):
        map_concurrent(range(100), lambda n: client.ask(ask(str(n))), 4, client.budget.stopped, "asking")
    server.down = False
    later = connect()
    assert later.ask(ask("before")) == kept
    map_concurrent(range(100), lambda n: later.ask(ask(str(n))), 4, later.budget.stopped, "asking")
    assert later.budget.counts["answers paid for"] == 100


def test_a_wait_longer_than_our_patience_is_said_at_once(server: LlmServer, connect: Connect) -> None:
    server.faults = [(429, "3600")]
    with pytest.raises(InputError, match=r"it asks for 3\d\d\d s more"):
        connect().ask(ask())


def test_nobody_at_the_address(tmp_path: Path) -> None:
    sentence = r"http://127.0.0.1:9/v1/chat/completions gave no answer.*no connection"
    settings = LlmSettings(url="http://127.0.0.1:9/v1")
    with open_client(settings, tmp_path / "s") as client, pytest.raises(InputError, match=sentence):
        client.ask(ask())


def test_a_wrong_status_names_the_remedy(server: LlmServer, connect: Connect, monkeypatch: pytest.MonkeyPatch) -> None:
    server.faults = [404]
    with pytest.raises(InputError, match=r"status 404: .*check its address and the model's name"):
        connect().ask(ask())
    server.faults = [307]
    with pytest.raises(InputError, match="status 307"):
        connect().ask(ask())
    server.key = "right"
    with pytest.raises(InputError, match="set the environment variable PROMU_LLM_KEY"):
        connect().ask(ask())
    monkeypatch.setenv("PROMU_LLM_KEY", "right")
    assert connect().ask(ask()).content == "fine"
    monkeypatch.setenv("PROMU_LLM_KEY", "two words")
    with pytest.raises(InputError, match="the key in PROMU_LLM_KEY holds blanks"):
        connect()


def test_the_key_is_neither_kept_nor_said(
    server: LlmServer,
    connect: Connect,
    monkeypatch: pytest.MonkeyPatch,
    tmp_path: Path,
    caplog: pytest.LogCaptureFixture,
) -> None:
    caplog.set_level(logging.DEBUG)
    monkeypatch.setenv("PROMU_LLM_KEY", "sk-very-secret")
    server.faults = [500]
    connect().ask(ask())
    assert server.headers[0]["Authorization"] == "Bearer sk-very-secret"
    server.key = "another"
    with pytest.raises(InputError, match="check the key in PROMU_LLM_KEY") as caught:
        connect().ask(ask("more"))
    assert "sk-very-secret" not in str(caught.value)
    assert "sk-very-secret" not in caplog.text
    assert b"sk-very-secret" not in (tmp_path / "llm.sqlite").read_bytes()


def test_no_part_of_a_key_is_said(server: LlmServer, connect: Connect, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PROMU_LLM_KEY", f"sk-{'x' * 4000}")  # the endpoint says it back, longer than what is shown
    server.key = "another"
    with pytest.raises(InputError, match=r"status 401: .*Incorrect API key provided: Bearer …") as caught:
        connect().ask(ask())
    assert "sk-" not in str(caught.value)


def test_a_key_in_the_place_of_its_variable_is_not_said() -> None:
    with pytest.raises(InputError, match="no name of an environment variable") as caught:
        LlmSettings(url="http://host/v1", key_variable="sk-very-secret")
    assert "secret" not in str(caught.value)


@pytest.mark.parametrize(
    "url",
    [
        "localhost:8000",
        "ftp://host/v1",
        "http://",
        "http://host:port/v1",
        "http://me:secret@host/v1",
        "http://me:secret@host:port/v1",
        "ftp://host/v1?key=secret",
        "http://h/v1?key=1",
    ],
)
def test_addresses_that_are_refused(url: str) -> None:
    with pytest.raises(InputError, match="address") as caught:
        LlmSettings(url=url)
    assert "secret" not in str(caught.value)


@pytest.mark.parametrize(
    ("url", "address"),
    [
        ("http://h:8000", "http://h:8000/v1/chat/completions"),
        ("https://h/v1/", "https://h/v1/chat/completions"),
        ("https://h/openai/v1/chat/completions", "https://h/openai/v1/chat/completions"),
    ],
)
def test_addresses_are_completed(url: str, address: str) -> None:
    assert LlmSettings(url=url).address == address


def read_json(text: str) -> str:
    value = json_object(text)
    if not isinstance(value.get("word"), str):
        raise AnswerFault("wrong shape", 'the key "word" with a string is missing')
    return str(value["word"])


GOOD = '{"word": "yes"}'


@pytest.mark.parametrize(
    ("answer", "kind", "told"),
    [
        (said("Sure! {word: yes}"), "broken JSON", "not JSON"),
        (said('{"word": "ye'), "broken JSON", "not JSON"),
        (said('{"word": 3}'), "wrong shape", 'the key "word" with a string is missing'),
        (said("[1, 2]"), "wrong shape", "a JSON object is expected"),
        (said("I cannot help with that."), "refusal", "no JSON but words"),
        (said(None, refusal="I will not."), "refusal", "the model declined: 'I will not.'"),
        (said("", finish_reason="content_filter"), "refusal", "content filter"),
        (said('{"word": "y', finish_reason="length"), "truncated", "cut off after 10 tokens"),
        (said("  "), "empty", "the answer is empty"),
        (said(None), "empty", "the answer is empty"),
    ],
)
def test_an_unusable_answer_is_asked_for_again_with_its_fault(
    server: LlmServer, connect: Connect, tmp_path: Path, answer: object, kind: str, told: str
) -> None:
    server.reply = lambda body: GOOD
    server.faults = [answer]
    outcome = connect().ask_and_parse(ask(schema=SCHEMA), read_json, 2)
    assert outcome.value == "yes"
    assert [fault.kind for fault in outcome.faults] == [kind]
    last = server.seen[-1]["messages"][-1]
    assert last["role"] == "user" and told in last["content"]
    with sqlite3.connect(tmp_path / "llm.sqlite") as database:
        assert [row[0] for row in database.execute("SELECT fault FROM answers WHERE fault NOT NULL")] == [kind]
    # the whole conversation is kept: asked again it costs nothing and ends the same
    again = connect()
    assert again.ask_and_parse(ask(schema=SCHEMA), read_json, 2) == outcome
    assert again.budget.sent == 0


def test_what_stays_unusable_is_given_up_with_every_reason(server: LlmServer, connect: Connect) -> None:
    server.reply = lambda body: "no"
    outcome = connect().ask_and_parse(ask(), read_json, 2)
    assert outcome.value is None
    assert [fault.kind for fault in outcome.faults] == ["refusal"] * 3
    assert len(server.seen) == 3
    # more corrections go on where the last ones ended
    server.reply = lambda body: GOOD
    assert connect().ask_and_parse(ask(), read_json, 3).value == "yes"
    assert len(server.seen) == 4


@pytest.mark.parametrize("text", [GOOD, f"```json\n{GOOD}\n```", f"Here you are: {GOOD} Anything else?", f"\n{GOOD}\n"])
def test_json_is_found_between_other_words(text: str) -> None:
    assert json_object(text) == {"word": "yes"}


def test_an_endpoint_without_schemas_is_asked_in_plain_words(server: LlmServer, connect: Connect) -> None:
    server.accepts = lambda body: "response_format json_schema is not supported" if "response_format" in body else None
    client = connect()
    map_concurrent(range(8), lambda n: client.ask(ask(str(n), schema=SCHEMA)), 4, client.budget.stopped, "asking")
    assert client.budget.counts["answers paid for"] == 8
    assert "response_format" not in server.seen[-1]
    assert len(server.seen) <= 12  # the four that were under way when the first complaint came


def test_parameters_that_newer_models_call_otherwise(server: LlmServer, connect: Connect) -> None:
    def accepts(body: dict[str, object]) -> str | None:
        if "max_tokens" in body:
            return "Unsupported parameter: 'max_tokens'. Use 'max_completion_tokens' instead."
        return "temperature does not support 0" if "temperature" in body else None

    server.accepts = accepts
    assert connect().ask(ask()).content == "fine"
    assert server.seen[-1].keys() == {"model", "messages", "max_completion_tokens"}


def test_a_rejected_request_fails_alone_and_a_rejecting_endpoint_stops_the_run(
    server: LlmServer, connect: Connect
) -> None:
    server.accepts = lambda body: "context too long" if "long" in str(body) else None
    client = connect()
    outcome = client.ask_and_parse(ask("long"), str, 2)
    assert outcome.value is None and outcome.faults[0].kind == "rejected"
    assert "context too long" in outcome.faults[0].reason
    assert client.ask(ask("short")).content == "fine"
    assert len(server.seen) == 2
    with pytest.raises(InputError, match="rejected each of the first 10 requests"):
        client = connect()
        map_concurrent(
            range(20), lambda n: client.ask_and_parse(ask(f"long {n}"), str, 0), 1, client.budget.stopped, "asking"
        )


def test_the_budget_ends_the_run_before_it_is_overdrawn(server: LlmServer, connect: Connect) -> None:
    # each answer costs 100 * 2 + 10 * 5 = 250 millionths; asking reserves 6 * 2 + 50 * 5 = 262 (one word: 2 + 4 tokens)
    client = connect(SpendingSettings(price_prompt=2.0, price_answer=5.0, max_cost=0.0015))
    with pytest.raises(InputError, match=r"the limit on the cost, 0.0015, is reached"):
        map_concurrent(range(100), lambda n: client.ask(ask(f"{n:05}")), 1, client.budget.stopped, "asking")
    assert client.budget.counts["answers paid for"] == 5
    assert client.budget.cost == pytest.approx(5 * 250e-6)
    client = connect(SpendingSettings(max_requests=2))
    with pytest.raises(InputError, match="the limit of 2 requests is reached"):
        map_concurrent(range(100), lambda n: client.ask(ask(f"{n:05}")), 1, client.budget.stopped, "asking")
    assert client.budget.counts == {"answers from the store": 5, "answers paid for": 2}


def test_an_emoji_that_was_cut_in_two_is_kept_as_a_question_mark(server: LlmServer, connect: Connect) -> None:
    server.reply = lambda body: "fine \ud83d"
    assert connect().ask(ask()).content == connect().ask(ask()).content == "fine ?"
    assert len(server.seen) == 1


def test_tokens_are_estimated_where_the_endpoint_counts_none(server: LlmServer, connect: Connect) -> None:
    server.usage = False
    server.reply = lambda body: "x" * 41
    client = connect()
    answer = client.ask(ask("y" * 9))
    assert (answer.prompt_tokens, answer.completion_tokens, answer.tokens_estimated) == (3 + 4, 11, True)
    assert client.budget.counts["answers without a token count"] == 1


@pytest.mark.parametrize(
    ("limits", "sentence"),
    [
        ({"max_cost": 1.0}, "max_cost needs price_prompt and price_answer"),
        ({"price_prompt": 1.0}, "give both price_prompt and price_answer"),
        ({"price_prompt": -1, "price_answer": 0}, "price_prompt"),
        ({"price_prompt": 1, "price_answer": 1, "max_cost": float("nan")}, "max_cost"),
        ({"max_requests": -1}, "max_requests"),
    ],
)
def test_limits_that_make_no_sense(limits: dict[str, Any], sentence: str) -> None:
    with pytest.raises(InputError, match=sentence):
        SpendingSettings(**limits)


def test_a_image_is_known_by_its_file_and_sent_small(
    server: LlmServer, connect: Connect, images: Path, tmp_path: Path
) -> None:
    image = PromptImage.read(images / "0.png", 24)
    assert image.size == (24, 20)
    request = Request("m", (Message("user", "what is it", (image,)),), 50)
    assert image.digest in request.to_json() and "base64" not in request.to_json()
    connect().ask(request)
    text, sent = server.seen[0]["messages"][0]["content"]
    assert text == {"type": "text", "text": "what is it"}
    assert sent["image_url"]["url"].startswith("data:image/jpeg;base64,")
    other = Request("m", (Message("user", "what is it", (PromptImage.read(images / "1.png", 24),)),), 50)
    assert other.key != request.key


def test_a_image_that_many_prompts_show_is_encoded_once(
    server: LlmServer, connect: Connect, images: Path, tmp_path: Path
) -> None:
    file = tmp_path / "exemplar.png"
    file.write_bytes((images / "2.png").read_bytes())
    image = PromptImage.read(file, 24)
    client = connect()
    client.ask(Request("m", (Message("user", "first", (image,)),), 50))
    file.unlink()
    client.ask(Request("m", (Message("user", "second", (image,)),), 50))
    sent = [body["messages"][0]["content"][1] for body in server.seen]
    assert sent[0] == sent[1]


def test_a_recorded_store_answers_without_an_endpoint(server: LlmServer, connect: Connect, tmp_path: Path) -> None:
    connect().ask(ask())
    path = tmp_path / "llm.sqlite"
    before = path.read_bytes()
    with AnswerStore(path, read_only=True) as store:
        client = Client(store)
        assert client.ask_and_parse(ask(), str, 0).value == "fine"
        faults = client.ask_and_parse(ask("never asked"), str, 2).faults
        assert [fault.kind for fault in faults] == ["not recorded"]
        assert client.ask_and_parse(ask(), read_json, 0).faults[0].kind == "refusal"
    assert path.read_bytes() == before
