"""The ASGI application, what it says of its model, and the processes that answer with it."""

from __future__ import annotations

import os
import socket
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import UTC, datetime
from functools import partial
from pathlib import Path
from typing import Any

import uvicorn
from fastapi import FastAPI, Request
from fastapi.openapi.utils import get_openapi
from fastapi.responses import JSONResponse, Response
from pydantic.json_schema import models_json_schema
from starlette.exceptions import HTTPException
from starlette.requests import ClientDisconnect
from uvicorn.supervisors import Multiprocess

import promu
from promu.cores import usable_cores, use_threads
from promu.errors import InputError
from promu.extraction.extractor import Extractor
from promu.extraction.request import contexts_read
from promu.files import checksum
from promu.hub import quiet, read_json_object
from promu.report.palette import type_styles
from promu.service import api, pages
from promu.service.api import extract_jobs, load_extractor, prepare
from promu.service.examples import read_examples
from promu.service.intake import ReceivedPost
from promu.service.metrics import CLIENT_GONE, Metrics, Observer, log_as_json
from promu.service.schemas import BatchIn, ModelOut, ModelPartOut, PostIn, Refusal, ServiceSettings
from promu.tasks.model_folder import EXAMPLES, backend_of, find_models
from promu.tasks.onnx_predictor import ANSWER, FACTS, GRAPHS


def create_app(settings: ServiceSettings, extractor: Extractor | None = None) -> FastAPI:
    """The service as an ASGI application, with one model in memory.

    `extractor` is the model where it has been loaded already (`load_extractor`).

    Raises:
        InputError: The model cannot be loaded, or finds no entities; or its examples are damaged.
    """
    if settings.threads is not None:
        use_threads(settings.threads)
    model = extractor or load_extractor(settings)
    # the first pass sets up much; no request should wait for that
    extract_jobs(model, [prepare(model, ReceivedPost("promu", None, "0"), settings)])
    metrics, served = Metrics(), describe_model(settings, model)
    metrics.watch_images(model.images)
    examples = read_examples(settings.model)

    @asynccontextmanager
    async def lifespan(app: FastAPI) -> AsyncIterator[None]:
        app.state.service = api.Service(model, settings, metrics, served)
        yield
        await app.state.service.close()

    # FastAPI's own documentation pages load scripts from another host; ours is at /docs
    app = FastAPI(title="promu", version=promu.__version__, lifespan=lifespan, docs_url=None, redoc_url=None)
    app.include_router(api.router)
    app.include_router(pages.router)
    app.state.examples = pages.Examples(settings.model / EXAMPLES, examples)
    app.add_middleware(Observer, metrics=metrics)
    for kind in (Refusal, ClientDisconnect, HTTPException, Exception):
        app.add_exception_handler(kind, _failed)
    app.openapi = lambda: _openapi(app)  # type: ignore[method-assign]
    return app


DOES = {"ner": "finds entities", "re": "finds relations", "joint": "finds entities and relations"}
"""What the model of each task does."""


def describe_model(settings: ServiceSettings, extractor: Extractor) -> ModelOut:
    """The model of a service; reads its weights once for their checksums.

    Raises:
        InputError: The model's folder has changed since it was loaded.
    """
    homes = find_models(settings.model)
    entities, relations = extractor.thresholds(settings.config)
    precision: str = settings.precision or "fp32"
    backend = backend_of(homes[0][1], settings.backend)
    if backend == "onnx":
        precision = read_json_object(homes[0][1] / GRAPHS / FACTS)["precision"]
    return ModelOut(
        name=settings.name or model_name(settings.model),
        parts=[_part(task, home, backend) for task, home in homes],
        entity_types=list(extractor.entity_types),
        relation_types=list(extractor.relation_types),
        styles=type_styles(extractor.entity_types),
        entity_threshold=entities,
        relation_threshold=relations,
        warnings=list(extractor.warnings),
        reads_images=extractor.reads_images,
        contexts=contexts_read(extractor.encoders),
        explains=extractor.explains,
        backend=backend,
        precision=precision,
    )


def model_name(folder: Path) -> str:
    """The folder's name; with the one above it where it is just `model`, as that of a run is."""
    folder = folder.resolve()
    return f"{folder.parent.name}/{folder.name}".lstrip("/") if folder.name == "model" else folder.name


def _part(task: str, home: Path, backend: str) -> ModelPartOut:
    file = home / GRAPHS / ANSWER if backend == "onnx" else home / "model.safetensors"
    saved = datetime.fromtimestamp(file.stat().st_mtime, UTC).isoformat(timespec="seconds")
    return ModelPartOut(task=task, does=DOES[task], file=file.name, checksum=checksum(file), saved=saved)


async def _failed(request: Request, error: Exception) -> Response:
    """The answer to a request that was refused, has no route, or broke something."""
    if isinstance(error, Refusal):
        headers = {} if error.retry_after is None else {"Retry-After": str(error.retry_after)}
        if error.status == 401:
            headers["WWW-Authenticate"] = "Bearer"
        return JSONResponse({"error": error.sentence}, error.status, headers)
    if isinstance(error, ClientDisconnect):
        return Response(status_code=CLIENT_GONE)  # for log and metrics; nobody reads it
    if isinstance(error, HTTPException):
        sentence = {
            404: "no such address; /docs lists all of them",
            405: f"{request.method} is not possible here; /docs lists the methods",
        }.get(error.status_code, str(error.detail))
        return JSONResponse({"error": sentence}, error.status_code, dict(error.headers or {}))
    number = request.scope["state"]["fields"]["request"]
    return JSONResponse({"error": f"internal error; see request {number} in the log"}, 500)


def _openapi(app: FastAPI) -> dict[str, Any]:
    """FastAPI's document, with the schemas of the bodies that the routes parse themselves."""
    if app.openapi_schema is None:
        summary = "Entities and relations from posts with images"
        document = get_openapi(title=app.title, version=app.version, summary=summary, routes=app.routes)
        _, bodies = models_json_schema(
            [(PostIn, "validation"), (BatchIn, "validation")], ref_template="#/components/schemas/{model}"
        )
        document["components"]["schemas"] |= bodies["$defs"]
        document["components"]["securitySchemes"] = {"bearer": {"type": "http", "scheme": "bearer"}}
        app.openapi_schema = document
    return app.openapi_schema


BACKLOG = 2048
"""Connections that the system holds while the process is busy."""


def listen(host: str, port: int) -> socket.socket:
    """A bound socket; port 0 takes a free one.

    Raises:
        InputError: The address is none of this machine's, or the port is taken.
    """
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    # TCP by name: asyncio switches Nagle's algorithm off, which costs 40 ms an answer, only where it reads that name.
    sock = socket.socket(family, socket.SOCK_STREAM, socket.IPPROTO_TCP)
    try:
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        sock.bind((host, port))
        sock.listen(BACKLOG)
        return sock
    except (OSError, OverflowError) as error:
        sock.close()
        reason = os.strerror(error.errno) if isinstance(error, OSError) and error.errno else str(error)
        raise InputError(f"cannot listen on {host} port {port} ({reason}); name another with host= or port=") from None


def run_service(settings: ServiceSettings, sock: socket.socket, workers: int = 1) -> None:
    """Answer requests until SIGTERM or SIGINT; accepted requests are answered before the process ends.

    Each of the `workers` is a process with its own model in memory.

    Raises:
        InputError: The model cannot be loaded.
    """
    if settings.threads is None and workers > 1:
        settings = settings.model_copy(update={"threads": max(1, usable_cores() // workers)})
    extractor = load_extractor(settings)  # a bad model is an error here, not the end of a worker
    options: dict[str, Any] = {
        "log_config": None,
        "access_log": False,
        "server_header": False,
        "backlog": BACKLOG,
        "timeout_graceful_shutdown": int(settings.timeout) + 5,
        # a worker that imports torch and loads a model for minutes is healthy
        "timeout_worker_healthcheck": 300,
    }
    log_as_json()
    if workers == 1:
        uvicorn.Server(uvicorn.Config(create_app(settings, extractor), **options)).run([sock])
        return
    del extractor
    config = uvicorn.Config(partial(_worker_app, settings), factory=True, workers=workers, **options)
    Multiprocess(config, [sock]).run()


def _worker_app(settings: ServiceSettings) -> FastAPI:
    log_as_json()
    quiet()
    return create_app(settings)
