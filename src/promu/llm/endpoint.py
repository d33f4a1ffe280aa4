"""An OpenAI-compatible endpoint (`/v1/chat/completions`): one answer to one request, whatever the line does."""

from __future__ import annotations

import email.utils
import logging
import os
import random
import threading
import time
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, NoReturn
from urllib.parse import urlsplit

from promu.errors import InputError
from promu.files import shorten
from promu.llm.answer_store import Answer
from promu.llm.budget import Budget
from promu.llm.messages import Request, text_tokens

logger = logging.getLogger(__name__)

KEY_VARIABLE = "PROMU_LLM_KEY"

_FIRST_WAIT, _LONGEST_WAIT = 1.0, 60.0
_FIRST_PATIENCE = 10.0
"""Seconds after which an endpoint that has never taken a connection is held to be misspelt."""


@dataclass(frozen=True, slots=True)
class EndpointSettings:
    """Where a model answers, and for how long it may keep us waiting.

    Attributes:
        url: `http://host:port`, `https://host/v1`, or the whole address of chat completions.
        key_variable: Environment variable with the key; where it is not set, none is sent.
        timeout: Seconds without a byte after which a request is given up and tried again.
        patience: Seconds of refusals, faults and silence after which a request is given up for good and the run stops.
    """

    url: str
    key_variable: str = KEY_VARIABLE
    timeout: float = 120.0
    patience: float = 600.0

    def __post_init__(self) -> None:
        if not self.key_variable.isidentifier():  # not shown: it may be the key itself
            raise InputError("the key's variable is no name of an environment variable; name it, such as PROMU_LLM_KEY")
        if any(mark in self.url for mark in "@?#"):
            # the address is kept with every answer, so nothing secret may be in it, nor is it shown
            raise InputError(
                "the endpoint has a name, a key or a question mark in its address; "
                f"put the key into the environment variable {self.key_variable} and give the address alone"
            )
        try:
            parts = urlsplit(self.url)
            known = parts.scheme in ("http", "https") and parts.hostname and (parts.port is None or parts.port > 0)
        except ValueError:
            known = False
        if not known:
            raise InputError(f"endpoint {self.url!r} is no web address; one is like http://localhost:8000/v1")
        if self.timeout <= 0 or self.patience < 0:
            raise InputError(f"time-out {self.timeout:g} s and patience {self.patience:g} s must be positive")

    @property
    def address(self) -> str:
        """The address that requests go to."""
        url = self.url.rstrip("/")
        if url.endswith("/chat/completions"):
            return url
        return f"{url}/chat/completions" if urlsplit(url).path else f"{url}/v1/chat/completions"


class Rejected(Exception):
    """The endpoint will not answer this one request (status 400, 413, 422): asking again would not help."""


class _Again(Exception):
    """Something passing; `after` is the wait in seconds that the endpoint asked for."""

    def __init__(self, kind: str, reason: str, after: float | None = None) -> None:
        super().__init__(reason)
        self.kind = kind
        self.after = after


@dataclass(slots=True)
class _Dialect:
    """What of the interface this endpoint has turned out to understand."""

    schema: bool = True
    limit: str = "max_tokens"
    temperature: bool = True


@dataclass(slots=True)
class _Line:
    """What threads must know of each other: when to ask again, and whether anything was ever answered."""

    not_before: float = 0.0
    connected: bool = False
    lock: threading.Lock = field(default_factory=threading.Lock)


class Endpoint:
    """A connection; `complete` may be called from several threads.

    Args:
        settings: Where and how.
        budget: Counts every request that is sent, repeated ones too.
        stopped: Once set, waiting ends and `complete` raises.

    Raises:
        InputError: The extra `llm` is not installed, or the key cannot be sent as a header.
    """

    def __init__(self, settings: EndpointSettings, budget: Budget, stopped: threading.Event) -> None:
        try:
            import httpx
        except ImportError:
            raise InputError("asking an endpoint needs httpx; install it with: pip install 'promu[llm]'") from None
        self.settings = settings
        self.retries: Counter[str] = Counter()
        self._budget, self._stopped = budget, stopped
        self._dialect, self._line = _Dialect(), _Line()
        self._key = os.environ.get(settings.key_variable, "").strip()
        if not self._key.isascii() or any(character.isspace() for character in self._key):
            raise InputError(f"the key in {settings.key_variable} holds blanks or non-ASCII characters; set it again")
        headers = {"Authorization": f"Bearer {self._key}"} if self._key else {}
        self._httpx = httpx
        self._http = httpx.Client(headers=headers, timeout=settings.timeout, limits=httpx.Limits(max_connections=None))

    def __enter__(self) -> Endpoint:
        return self

    def __exit__(self, *_: object) -> None:
        self._http.close()

    def complete(self, request: Request) -> Answer:
        """Ask until there is an answer.

        Passing faults (no connection, time-out, 408, 409, 425, 429, 5xx, a body that is no completion) are waited
        out with exponential back-off and jitter, or as long as Retry-After says.

        Raises:
            Rejected: This one request is not acceptable to the endpoint.
            InputError: The endpoint was faulty for longer than `patience`, wants a key, does not know the model, or
                the budget is used up.
        """
        messages = [message.wire() for message in request.messages]
        began, attempt = time.monotonic(), 0
        while True:
            self._wait_until(self._line.not_before)
            self._budget.send()
            try:
                return self._once(request, messages)
            except _Again as fault:
                self._wait_out(fault, attempt, time.monotonic() - began)
            attempt += 1

    def _wait_out(self, fault: _Again, attempt: int, waited: float) -> None:
        now = time.monotonic()
        own = min(_LONGEST_WAIT, _FIRST_WAIT * 2**attempt) * random.uniform(0.5, 1.0)
        # after Retry-After not all threads at once either
        asked = 0.0 if fault.after is None else fault.after * random.uniform(1.0, 1.1)
        wait = max(own, asked)  # "Retry-After: 0" is no leave to ask without a pause
        with self._line.lock:
            self.retries[fault.kind] += 1
            known = self._line.connected or fault.kind != "no connection"
            if fault.after is not None:  # it speaks for the endpoint, so every thread waits
                self._line.not_before = max(self._line.not_before, now + asked)
        patience = self.settings.patience if known else min(self.settings.patience, _FIRST_PATIENCE)
        if waited + wait > patience:
            raise InputError(
                f"{self.settings.address} gave no answer for {waited:.0f} s ({fault}"
                f"{'' if fault.after is None else f'; it asks for {fault.after:.0f} s more'}); "
                "run the same again when it is well: what was answered is kept"
            )
        logger.warning("%s: %s; asking again in %.1f s", self.settings.address, fault, wait)
        self._wait_until(now + wait)

    def _wait_until(self, moment: float) -> None:
        if self._stopped.wait(max(0.0, moment - time.monotonic())):
            raise InputError("stopped")

    def _once(self, request: Request, messages: list[dict[str, Any]]) -> Answer:
        began = time.monotonic()
        body = self._body(request, messages)
        try:
            response = self._http.post(self.settings.address, json=body)
        except self._httpx.TimeoutException as error:
            raise _Again("time-out", f"no answer within {self.settings.timeout:g} s ({type(error).__name__})") from None
        except self._httpx.ConnectError as error:
            raise _Again("no connection", f"no connection ({error})") from None
        except self._httpx.RequestError as error:  # what came could not be unpacked, too
            raise _Again("connection lost", f"the connection broke ({error or type(error).__name__})") from None
        self._line.connected = True
        if response.status_code == 200:
            return self._answer(request, response, time.monotonic() - began)
        reason = self._reason(response)
        status = response.status_code
        if status in (408, 409, 425, 429) or status >= 500:
            raise _Again(f"status {status}", reason, _retry_after(response.headers))
        if status in (400, 413, 422):
            if self._concede(body, reason):
                self._budget.send()
                return self._once(request, messages)
            raise Rejected(reason)
        self._give_up(status, reason, response.headers)

    def _give_up(self, status: int, reason: str, headers: Mapping[str, str]) -> NoReturn:
        remedy = "check its address and the model's name"
        if status in (401, 403):
            variable = self.settings.key_variable
            remedy = (
                f"check the key in {variable}" if self._key else f"set the environment variable {variable} to a key"
            )
        elif status in (301, 302, 307, 308):
            remedy = f"name the address it points to, {shorten(self._redacted(headers.get('location', '')))}"
        raise InputError(f"{self.settings.address} does not serve us ({reason}); {remedy}")

    def _body(self, request: Request, messages: list[dict[str, Any]]) -> dict[str, Any]:
        body: dict[str, Any] = {"model": request.model, "messages": messages}
        body[self._dialect.limit] = request.max_tokens
        if self._dialect.temperature:
            body["temperature"] = request.temperature
        if request.schema is not None and self._dialect.schema:
            schema = {"name": "answer", "schema": request.schema, "strict": True}
            body["response_format"] = {"type": "json_schema", "json_schema": schema}
        return body

    def _concede(self, body: Mapping[str, Any], reason: str) -> bool:
        """Whether to ask again in plainer words, since the endpoint complains of something that `body` had."""
        with self._line.lock:
            if "max_completion_tokens" in reason and "max_tokens" in body:
                self._dialect.limit = "max_completion_tokens"
            elif "temperature" in reason and "temperature" in body:
                if self._dialect.temperature:
                    logger.warning("%s takes no temperature; it answers with its own", self.settings.address)
                self._dialect.temperature = False
            elif "response_format" in body and _about_schema(reason):
                if self._dialect.schema:
                    logger.warning("%s takes no JSON schema; the prompt alone asks for JSON", self.settings.address)
                self._dialect.schema = False
            else:
                return False
        return True

    def _answer(self, request: Request, response: Any, seconds: float) -> Answer:
        try:
            body = response.json()
            choice = body["choices"][0]
            message = choice["message"]
            content, refusal = message.get("content") or "", message.get("refusal") or None
            finish = str(choice.get("finish_reason") or "stop")
            usage = body.get("usage") or {}
            counted: list[Any] = [usage.get(name) for name in ("prompt_tokens", "completion_tokens")]
            answered_by = str(body.get("model") or request.model)
            if not isinstance(content, str) or not isinstance(refusal, str | None):
                raise TypeError
        except (ValueError, LookupError, TypeError, AttributeError, RecursionError):
            text = self._redacted(response.text)
            raise _Again("no completion", f"what came is no chat completion: {shorten(text)}") from None
        estimated = not all(type(count) is int and count >= 0 for count in counted)
        prompt, completion = (request.prompt_tokens(), text_tokens(content)) if estimated else counted
        return Answer(
            content=_whole(content),
            refusal=None if refusal is None else _whole(refusal),
            finish_reason=_whole(finish),
            prompt_tokens=prompt,
            completion_tokens=completion,
            tokens_estimated=estimated,
            answered_by=_whole(answered_by),
            endpoint=self.settings.address,
            seconds=seconds,
        )

    def _reason(self, response: Any) -> str:
        """The endpoint's own words, on one line, without our key."""
        text = " ".join(self._redacted(response.text)[:2000].split())  # a key cut in two would not be found
        return f"status {response.status_code}: {text[:300]}" if text else f"status {response.status_code}"

    def _redacted(self, text: str) -> str:
        return text.replace(self._key, "…") if self._key else text


def _whole(text: str) -> str:
    """Half surrogate pairs, from an emoji that was cut in two, as "?"; no store or file could hold them."""
    return text.encode("utf-8", "replace").decode("utf-8")


def _about_schema(reason: str) -> bool:
    return any(word in reason.lower() for word in ("response_format", "json_schema", "schema", "grammar", "guided"))


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
