"""An OpenAI-compatible chat endpoint (`/v1/chat/completions`) with retries."""

from __future__ import annotations

import email.utils
import logging
import math
import os
import random
import threading
import time
from collections.abc import Mapping
from contextlib import AbstractContextManager
from typing import Any, NoReturn

import httpx
import tenacity

from promu.errors import InputError
from promu.files import shorten
from promu.llm.answers import Answer, RequestRejected
from promu.llm.client import Budget
from promu.llm.llm_settings import LlmSettings
from promu.llm.messages import Request, data_url, text_tokens

logger = logging.getLogger(__name__)

_FIRST_WAIT, _LONGEST_WAIT = 1.0, 60.0
_FIRST_PATIENCE = 10.0
"""Seconds after which an endpoint that has never taken a connection is held to be misspelt."""

_OPTIONAL = {
    "max_tokens": ("max_completion_tokens",),
    "temperature": ("temperature",),
    "response_format": ("response_format", "json_schema", "schema", "grammar", "guided"),
}
"""Parameters that some endpoints do not take, by the words of their complaints; `max_tokens` has a newer name."""


class _TransientError(Exception):
    """A fault that may pass; `retry_after` is the wait in seconds that the endpoint wishes."""

    def __init__(self, kind: str, reason: str, retry_after: float | None = None) -> None:
        super().__init__(reason)
        self.kind, self.retry_after = kind, retry_after


class Endpoint(AbstractContextManager["Endpoint"]):
    """A connection to an endpoint; `complete` may be called from several threads.

    The `budget` counts every request that is sent, retries too; once it is `stopped`, `complete` ends with an error.

    Raises:
        InputError: The key cannot be sent as a header.
    """

    def __init__(self, settings: LlmSettings, budget: Budget) -> None:
        self.address = settings.address
        self._settings, self._budget = settings, budget
        self._dropped: set[str] = set()
        self._lock = threading.Lock()
        self._not_before = 0.0  # Retry-After holds for all threads
        self._connected = False
        self._key = os.environ.get(settings.key_variable, "").strip()
        if not self._key.isascii() or any(character.isspace() for character in self._key):
            raise InputError(f"the key in {settings.key_variable} holds blanks or non-ASCII characters; set it again")
        headers = {"Authorization": f"Bearer {self._key}"} if self._key else {}
        self._http = httpx.Client(headers=headers, timeout=settings.timeout, limits=httpx.Limits(max_connections=None))

    def __exit__(self, *_: object) -> None:
        self._http.close()

    def complete(self, request: Request) -> Answer:
        """Send a request until it is answered.

        Faults that may pass (no connection, time-out, 408, 409, 425, 429, 5xx, a body that is no completion) are
        retried with exponential back-off and jitter, or after as long as Retry-After says.

        Raises:
            RequestRejected: The endpoint does not accept this one request.
            InputError: The endpoint was faulty for longer than `patience`, wants a key, does not know the model, or
                the budget is used up; or the run was stopped.
        """
        retrying = tenacity.Retrying(
            retry=tenacity.retry_if_exception_type(_TransientError),
            wait=self._wait,
            stop=self._is_over,
            sleep=tenacity.sleep_using_event(self._budget.stopped),
            before_sleep=self._note_retry,
            retry_error_callback=self._give_up,
        )
        return retrying(self._attempt, request, [message.to_dict(data_url) for message in request.messages])

    def _wait(self, state: tenacity.RetryCallState) -> float:
        """Seconds to the next attempt."""
        backoff = min(_LONGEST_WAIT, _FIRST_WAIT * 2 ** (state.attempt_number - 1)) * random.uniform(0.5, 1.0)
        retry_after = _fault(state).retry_after
        if retry_after is None:
            return backoff
        retry_after *= random.uniform(1.0, 1.1)  # not all threads at once
        with self._lock:
            self._not_before = max(self._not_before, time.monotonic() + retry_after)
        return max(backoff, retry_after)  # "Retry-After: 0" is no leave to ask without a pause

    def _is_over(self, state: tenacity.RetryCallState) -> bool:
        misspelt = _fault(state).kind == "no connection" and not self._connected
        patience = min(self._settings.patience, _FIRST_PATIENCE if misspelt else math.inf)
        return tenacity.stop_before_delay(patience)(state)

    def _note_retry(self, state: tenacity.RetryCallState) -> None:
        fault = _fault(state)
        self._budget.count(f"repeated, {fault.kind}")
        logger.warning("%s: %s; retry in %.1f s", self.address, fault, state.upcoming_sleep)

    def _give_up(self, state: tenacity.RetryCallState) -> NoReturn:
        fault = _fault(state)
        wish = "" if fault.retry_after is None else f"; it asks for {fault.retry_after:.0f} s more"
        raise InputError(
            f"{self.address} gave no answer for {state.seconds_since_start:.0f} s ({fault}{wish}); "
            "run the same again when it is well: the answers so far are stored"
        )

    def _attempt(self, request: Request, messages: list[dict[str, Any]]) -> Answer:
        """Send the request once; again where the endpoint complains of a parameter that it need not have."""
        if self._budget.stopped.wait(max(0.0, self._not_before - time.monotonic())):
            raise InputError("stopped")
        self._budget.count_request()
        began = time.monotonic()
        body = self._body(request, messages)
        try:
            response = self._http.post(self.address, json=body)
        except httpx.TimeoutException as error:
            reason = f"no answer within {self._settings.timeout:g} s ({type(error).__name__})"
            raise _TransientError("time-out", reason) from None
        except httpx.ConnectError as error:
            raise _TransientError("no connection", f"no connection ({error})") from None
        except httpx.RequestError as error:  # also where the body cannot be unpacked
            reason = f"the connection broke ({error or type(error).__name__})"
            raise _TransientError("connection lost", reason) from None
        self._connected = True
        status = response.status_code
        if status == 200:
            return self._answer(request, response, time.monotonic() - began)
        reason = self._reason(response)
        if status in (408, 409, 425, 429) or status >= 500:
            raise _TransientError(f"status {status}", reason, _retry_after(response.headers))
        if status in (400, 413, 422):
            if self._drop_parameter(body, reason):
                return self._attempt(request, messages)
            raise RequestRejected(reason)
        remedy = "check its address and the model's name"
        if status in (401, 403):
            remedy = "check the key in {}" if self._key else "set the environment variable {} to a key"
            remedy = remedy.format(self._settings.key_variable)
        elif status in (301, 302, 307, 308):
            remedy = f"give the address it points to, {shorten(self._redacted(response.headers.get('location', '')))}"
        raise InputError(f"{self.address} does not serve us ({reason}); {remedy}")

    def _body(self, request: Request, messages: list[dict[str, Any]]) -> dict[str, Any]:
        limit = "max_completion_tokens" if "max_tokens" in self._dropped else "max_tokens"
        body: dict[str, Any] = {"model": request.model, "messages": messages, limit: request.max_tokens}
        body["temperature"] = request.temperature
        if request.schema is not None:
            schema = {"name": "answer", "schema": request.schema, "strict": True}
            body["response_format"] = {"type": "json_schema", "json_schema": schema}
        return {name: value for name, value in body.items() if name not in self._dropped}

    def _drop_parameter(self, body: Mapping[str, Any], reason: str) -> bool:
        """Whether `body` had a parameter that the endpoint complains of; it is not sent again."""
        for name, words in _OPTIONAL.items():
            if name in body and any(word in reason.lower() for word in words):
                if name not in self._dropped:
                    logger.warning("%s does not take %s; it is left out from now on", self.address, name)
                self._dropped.add(name)
                return True
        return False

    def _answer(self, request: Request, response: httpx.Response, seconds: float) -> Answer:
        try:
            body = response.json()
            choice = body["choices"][0]
            message = choice["message"]
            content, refusal = message.get("content") or "", message.get("refusal") or None
            finish = str(choice.get("finish_reason") or "stop")
            usage = body.get("usage") or {}
            counts: list[Any] = [usage.get(name) for name in ("prompt_tokens", "completion_tokens")]
            answered_by = str(body.get("model") or request.model)
            if not isinstance(content, str) or not isinstance(refusal, str | None):
                raise TypeError
        except (ValueError, LookupError, TypeError, AttributeError, RecursionError):
            reason = f"the body is no chat completion: {shorten(self._redacted(response.text))}"
            raise _TransientError("no completion", reason) from None
        estimated = not all(type(count) is int and count >= 0 for count in counts)
        prompt, completion = (request.prompt_tokens(), text_tokens(content)) if estimated else counts
        content, finish, answered_by = map(_encodable, (content, finish, answered_by))
        refusal = None if refusal is None else _encodable(refusal)
        return Answer(content, refusal, finish, prompt, completion, estimated, answered_by, self.address, seconds)

    def _reason(self, response: httpx.Response) -> str:
        """The endpoint's own words, on one line, without the key."""
        text = " ".join(self._redacted(response.text)[:2000].split())  # redacted first: a key cut in two is not found
        return f"status {response.status_code}: {text[:300]}" if text else f"status {response.status_code}"

    def _redacted(self, text: str) -> str:
        return text.replace(self._key, "…") if self._key else text


def _fault(state: tenacity.RetryCallState) -> _TransientError:
    fault = state.outcome.exception() if state.outcome else None
    assert isinstance(fault, _TransientError)
    return fault


def _encodable(text: str) -> str:
    """Half surrogate pairs, from an emoji that was cut in two, as "?"; no store or file could hold them."""
    return text.encode("utf-8", "replace").decode("utf-8")


def _retry_after(headers: Mapping[str, str]) -> float | None:
    """Seconds, from a number of them or a date."""
    value = headers.get("retry-after", "").strip()
    if value.replace(".", "", 1).isdigit() and value.isascii():
        return float(value)
    try:
        moment = email.utils.parsedate_to_datetime(value)
    except (ValueError, TypeError):
        return None
    return max(0.0, moment.timestamp() - time.time())
