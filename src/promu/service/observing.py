"""Around every request: its number, its headers, its line in the log, its place in the metrics."""

from __future__ import annotations

import logging
import time
import uuid
from typing import Any

from starlette.datastructures import MutableHeaders
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from promu.service.logs import FIELDS
from promu.service.metrics import Metrics

logger = logging.getLogger(__name__)

HEADERS = {
    "Content-Security-Policy": (
        "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' blob: data:; connect-src 'self'; "
        "base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
    ),
    "X-Content-Type-Options": "nosniff",
    "Referrer-Policy": "no-referrer",
    "Cross-Origin-Resource-Policy": "same-origin",
}
"""Sent with every answer: a page of this service can load and call this service alone."""

CLIENT_GONE = 499
"""The status that logs and metrics give a request whose sender went before its answer."""


class Observer:
    """ASGI middleware.

    A handler adds fields to its request's line by `note`; paths that no route knows are counted as one, so that nobody
    can fill the metrics with names.
    """

    def __init__(self, app: ASGIApp, metrics: Metrics) -> None:
        self._app, self._metrics = app, metrics

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass an HTTP request on and look at what comes back."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        started = time.perf_counter()
        number = uuid.uuid4().hex[:16]
        fields: dict[str, Any] = {"request": number}
        scope.setdefault("state", {})["fields"] = fields
        status = 500

        async def watched(message: Message) -> None:
            nonlocal status
            if message["type"] == "http.response.start":
                status = message["status"]
                headers = MutableHeaders(scope=message)
                for name, value in HEADERS.items():
                    headers.setdefault(name, value)
                headers["X-Request-ID"] = number
            await send(message)

        try:
            await self._app(scope, receive, watched)
        finally:
            seconds = time.perf_counter() - started
            path = getattr(scope.get("route"), "path", "other")
            if fields.pop("gone", False):
                status = CLIENT_GONE
            self._metrics.add("promu_requests_total", path=path, status=str(status))
            self._metrics.observe("promu_request_seconds", seconds, path=path)
            logger.info(
                "request",
                extra={
                    FIELDS: {
                        "method": scope["method"] if scope["method"] in _METHODS else "other",
                        "path": path,
                        "status": status,
                        "ms": round(1000 * seconds, 1),
                        **fields,
                    }
                },
            )


_METHODS = ("GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS")


def note(scope: Scope, **fields: Any) -> None:
    """Add fields to the line that the log will have for a request: numbers, never text of a post."""
    scope["state"]["fields"].update(fields)
