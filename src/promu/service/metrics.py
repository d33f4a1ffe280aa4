"""What a running service shows of itself: figures for Prometheus, and one line of JSON in the log for each request."""

from __future__ import annotations

import json
import logging
import os
import resource
import sys
import time
import traceback
import uuid
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, disable_created_metrics, generate_latest
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, Metric
from prometheus_client.registry import Collector
from starlette.datastructures import MutableHeaders
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from promu.extraction.image_cache import ImageCache

SECONDS = (0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0)
SIZES = (1.0, 2.0, 4.0, 8.0, 16.0, 32.0, 64.0)
"""Upper bounds of the buckets of durations and of batch sizes."""

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
"""The status that logs and metrics give a request whose client disconnected before the answer."""

_FIELDS = "fields"  # of a log record: `logger.info("request", extra={"fields": {...}})`
_METHODS = ("GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS")

logger = logging.getLogger(__name__)
disable_created_metrics()  # type: ignore[no-untyped-call]


class Metrics:
    """The metrics of one process, in a registry of their own.

    Every sample has the number of its process as the label `worker`: with several workers one of them answers a scrape,
    with its own figures.
    """

    def __init__(self) -> None:
        self._registry = CollectorRegistry()
        self._worker = str(os.getpid())

        def new(kind: Any, name: str, about: str, *labels: str, **options: Any) -> Any:
            return kind(f"promu_{name}", about, [*labels, "worker"], registry=self._registry, **options)

        def own(kind: Any, name: str, about: str, **options: Any) -> Any:
            return new(kind, name, about, **options).labels(worker=self._worker)

        self._requests = new(Counter, "requests_total", "Requests answered, by path and status.", "path", "status")
        about = "Seconds from a request's head to its answer."
        self._seconds = new(Histogram, "request_seconds", about, "path", buckets=SECONDS)
        self.posts: Counter = own(Counter, "posts_total", "Posts extracted from.")
        self.refused_posts: Counter = own(Counter, "refused_posts_total", "Posts of batches that were refused.")
        self.batch_posts: Histogram = own(Histogram, "batch_posts", "Posts that shared a forward pass.", buckets=SIZES)
        self.queue_posts: Gauge = own(Gauge, "queue_posts", "Posts in the service now.")
        self.queue_limit: Gauge = own(Gauge, "queue_limit", "Posts in the service at most.")
        own(Gauge, "memory_bytes", "Resident memory of the process.").set_function(resident_bytes)

    def watch_images(self, cache: ImageCache) -> None:
        """Show what a cache of images has: it is asked at each scrape."""
        self._registry.register(_ImageCollector(cache, self._worker))

    def count_request(self, path: str, status: int, seconds: float) -> None:
        """Count an answered request."""
        self._requests.labels(path, str(status), self._worker).inc()
        self._seconds.labels(path, self._worker).observe(seconds)

    def text(self) -> bytes:
        """Everything in Prometheus' text format (version 0.0.4)."""
        return generate_latest(self._registry)


class _ImageCollector(Collector):
    """A cache of images as metrics; what it counts itself, no metric counts beside it."""

    def __init__(self, cache: ImageCache, worker: str) -> None:
        self._cache, self._worker = cache, worker

    def collect(self) -> Iterator[Metric]:
        about = "Work on images (decode, encode, describe), by whether it was there already (hit) or was done (miss)."
        work = CounterMetricFamily("promu_image_work", about, labels=["work", "cache", "worker"])
        for name, counts in self._cache.counts().items():
            work.add_metric([name, "hit", self._worker], counts.hits)
            work.add_metric([name, "miss", self._worker], counts.misses)
        yield work
        held = GaugeMetricFamily("promu_image_cache_bytes", "Memory of the kept work on images.", labels=["worker"])
        held.add_metric([self._worker], self._cache.bytes)
        yield held


def resident_bytes() -> int:
    """Resident memory of this process, in bytes: the current one on Linux, else the peak."""
    statm = Path("/proc/self/statm")
    if statm.is_file():
        return int(statm.read_text(encoding="ascii").split()[1]) * os.sysconf("SC_PAGE_SIZE")
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * (1 if sys.platform == "darwin" else 1024)


class JsonFormatter(logging.Formatter):
    """`time`, `level`, `logger`, `event`, then the record's fields.

    Of an exception it writes the kind and where it was raised, not its message, which may quote a post.
    """

    def format(self, record: logging.LogRecord) -> str:
        """One line of JSON."""
        line = {
            "time": datetime.fromtimestamp(record.created, UTC).isoformat(timespec="milliseconds"),
            "level": record.levelname.lower(),
            "logger": record.name,
            "event": record.getMessage(),
            **getattr(record, _FIELDS, {}),
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


def add_fields(scope: Scope, **fields: Any) -> None:
    """Add fields to the request's line in the log: numbers, never text of a post."""
    scope["state"][_FIELDS].update(fields)


class Observer:
    """ASGI middleware that counts and logs each request, and adds `HEADERS` and `X-Request-ID` to its answer.

    Paths without a route are counted as `other`, so that nobody can fill the metrics with names.
    """

    def __init__(self, app: ASGIApp, metrics: Metrics) -> None:
        self._app, self._metrics = app, metrics

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass a request on; count and log its answer."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        started = time.perf_counter()
        number = uuid.uuid4().hex[:16]
        fields: dict[str, Any] = {"request": number}
        scope.setdefault("state", {})[_FIELDS] = fields
        status = 500

        async def send_with_headers(message: Message) -> None:
            nonlocal status
            if message["type"] == "http.response.start":
                status = message["status"]
                headers = MutableHeaders(scope=message)
                for name, value in HEADERS.items():
                    headers.setdefault(name, value)
                headers["X-Request-ID"] = number
            await send(message)

        try:
            await self._app(scope, receive, send_with_headers)
        finally:
            seconds = time.perf_counter() - started
            path = getattr(scope.get("route"), "path", "other")
            self._metrics.count_request(path, status, seconds)
            method = scope["method"] if scope["method"] in _METHODS else "other"
            line = {"method": method, "path": path, "status": status, "ms": round(1000 * seconds, 1), **fields}
            logger.info("request", extra={_FIELDS: line})
