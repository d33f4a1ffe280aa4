"""Figures of a running service in Prometheus' text format (version 0.0.4)."""

from __future__ import annotations

import json
import logging
import os
import resource
import sys
import time
import traceback
import uuid
from bisect import bisect_left
from collections import defaultdict
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from starlette.datastructures import MutableHeaders
from starlette.types import ASGIApp, Message, Receive, Scope, Send

CONTENT_TYPE = "text/plain; version=0.0.4; charset=utf-8"

SECONDS = (0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0)
"""Upper bounds of the buckets of durations."""

SIZES = (1.0, 2.0, 4.0, 8.0, 16.0, 32.0, 64.0)
"""Upper bounds of the buckets of batch sizes."""

Labels = tuple[tuple[str, str], ...]


class Metrics:
    """Counters, gauges and histograms by name; the event loop's thread alone writes them.

    Every sample carries the number of its process as `worker`: with several workers a scrape is answered by one of
    them, and its figures are its own.
    """

    def __init__(self) -> None:
        self._help: dict[str, tuple[str, str]] = {}
        self._values: dict[str, dict[Labels, float]] = defaultdict(dict)
        self._buckets: dict[str, dict[Labels, list[int]]] = defaultdict(dict)
        self._bounds: dict[str, tuple[float, ...]] = {}

    def describe(self, name: str, kind: str, text: str, bounds: tuple[float, ...] = ()) -> None:
        """Announce a metric: a `counter` or a `gauge`, or with `bounds` a `histogram`."""
        self._help[name] = (kind, text)
        if bounds:
            self._bounds[name] = bounds

    def add(self, name: str, value: float = 1.0, **labels: str) -> None:
        """Add to a counter."""
        key = tuple(labels.items())
        self._values[name][key] = self._values[name].get(key, 0.0) + value

    def set(self, name: str, value: float) -> None:
        """Set a gauge."""
        self._values[name][()] = value

    def observe(self, name: str, value: float, **labels: str) -> None:
        """Count a value into a histogram."""
        key = tuple(labels.items())
        bounds = self._bounds[name]
        counts = self._buckets[name].setdefault(key, [0] * (len(bounds) + 1))
        counts[bisect_left(bounds, value)] += 1
        self.add(name, value, **labels)

    def text(self) -> str:
        """Everything, as Prometheus reads it."""
        lines = []
        for name, (kind, text) in self._help.items():
            lines += [f"# HELP {name} {text}", f"# TYPE {name} {kind}"]
            if name in self._bounds:
                for labels, counts in self._buckets[name].items():
                    lines += self._histogram(name, labels, counts)
            else:
                values = self._values[name] or {(): 0.0}
                lines += [f"{name}{_braces(labels)} {value!r}" for labels, value in values.items()]
        return "\n".join(lines) + "\n"

    def _histogram(self, name: str, labels: Labels, counts: list[int]) -> list[str]:
        lines, total = [], 0
        for bound, count in zip((*map(str, self._bounds[name]), "+Inf"), counts, strict=True):
            total += count
            lines.append(f"{name}_bucket{_braces((*labels, ('le', bound)))} {total}")
        lines.append(f"{name}_sum{_braces(labels)} {self._values[name][labels]:.6f}")
        lines.append(f"{name}_count{_braces(labels)} {total}")
        return lines


def service_metrics() -> Metrics:
    """The metrics of the service, announced."""
    metrics = Metrics()
    metrics.describe("promu_requests_total", "counter", "Requests answered, by path and status.")
    metrics.describe("promu_request_seconds", "histogram", "Seconds from a request's head to its answer.", SECONDS)
    metrics.describe("promu_posts_total", "counter", "Posts extracted from.")
    metrics.describe("promu_refused_posts_total", "counter", "Posts of batches that could not be used.")
    metrics.describe("promu_batch_posts", "histogram", "Posts that shared a forward pass.", SIZES)
    metrics.describe("promu_queue_posts", "gauge", "Posts in the service now.")
    metrics.describe("promu_queue_limit", "gauge", "Posts that may be in the service at once.")
    metrics.describe("promu_memory_bytes", "gauge", "Resident memory of the process.")
    return metrics


def resident_bytes() -> int:
    """Resident memory of this process, in bytes: now where Linux tells it, else the most there was."""
    statm = Path("/proc/self/statm")
    if statm.is_file():
        return int(statm.read_text(encoding="ascii").split()[1]) * os.sysconf("SC_PAGE_SIZE")
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * (1 if sys.platform == "darwin" else 1024)


def _braces(labels: Labels) -> str:
    pairs = (*labels, ("worker", str(os.getpid())))
    return "{" + ",".join(f'{name}="{_escape(value)}"' for name, value in pairs) + "}"


def _escape(value: str) -> str:
    return value.replace("\\", r"\\").replace('"', r"\"").replace("\n", r"\n")


FIELDS = "fields"
"""The attribute of a log record that holds its fields: `logger.info("request", extra={FIELDS: {...}})`."""


class JsonFormatter(logging.Formatter):
    """`time`, `level`, `logger`, `event`, then the record's fields.

    Of an exception it writes the kind and where it was raised, not its message, which may quote the post at hand.
    """

    def format(self, record: logging.LogRecord) -> str:
        """One line of JSON."""
        line = {
            "time": datetime.fromtimestamp(record.created, UTC).isoformat(timespec="milliseconds"),
            "level": record.levelname.lower(),
            "logger": record.name,
            "event": record.getMessage(),
            **getattr(record, FIELDS, {}),
        }
        if record.exc_info and record.exc_info[0] is not None:
            line["error"] = record.exc_info[0].__name__
            line["trace"] = [f"{frame.filename}:{frame.lineno}" for frame in traceback.extract_tb(record.exc_info[2])]
        return json.dumps(line, ensure_ascii=False)


def log_as_json() -> None:
    """Send every log record of this process to standard error as a line of JSON."""
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(JsonFormatter())
    logging.basicConfig(level=logging.INFO, handlers=[handler], force=True)


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
