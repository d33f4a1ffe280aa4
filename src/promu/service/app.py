"""The ASGI application."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

from fastapi import FastAPI, Request
from fastapi.openapi.utils import get_openapi
from fastapi.responses import JSONResponse, Response
from pydantic.json_schema import models_json_schema
from starlette.exceptions import HTTPException
from starlette.requests import ClientDisconnect

import promu
from promu.extraction.extractor import Extractor
from promu.service import api, pages
from promu.service.api import extract_jobs, load_extractor, prepare
from promu.service.intake import ReceivedPost
from promu.service.metrics import CLIENT_GONE, Metrics, Observer
from promu.service.schemas import BatchIn, PostIn
from promu.service.service_settings import Refusal, ServiceSettings


def create_app(settings: ServiceSettings, extractor: Extractor | None = None) -> FastAPI:
    """The service as an ASGI application, with one model in memory.

    Args:
        settings: Model and limits.
        extractor: The model where it has been loaded already (`load_extractor`); None loads it.

    Raises:
        InputError: The model cannot be loaded, or finds no entities.
    """
    import torch

    if settings.threads is not None:
        torch.set_num_threads(settings.threads)
    model = extractor or load_extractor(settings)
    # the first pass sets up much; no request should wait for that
    extract_jobs(model, [prepare(model, ReceivedPost("promu", None, "0"), settings)], settings)
    metrics = Metrics()

    @asynccontextmanager
    async def lifespan(app: FastAPI) -> AsyncIterator[None]:
        app.state.service = api.Service(model, settings, metrics)
        yield
        await app.state.service.close()

    # FastAPI's own documentation pages load scripts from another host; ours is at /docs
    app = FastAPI(title="promu", version=promu.__version__, lifespan=lifespan, docs_url=None, redoc_url=None)
    app.include_router(api.router)
    app.include_router(pages.router)
    app.add_middleware(Observer, metrics=metrics)
    app.add_exception_handler(Refusal, _refused)
    app.add_exception_handler(ClientDisconnect, _gone)
    app.add_exception_handler(HTTPException, _no_route)
    app.add_exception_handler(Exception, _broken)
    app.openapi = lambda: _openapi(app)  # type: ignore[method-assign]
    return app


async def _refused(request: Request, error: Exception) -> Response:
    assert isinstance(error, Refusal)
    headers = {} if error.retry_after is None else {"Retry-After": str(error.retry_after)}
    if error.status == 401:
        headers["WWW-Authenticate"] = "Bearer"
    return JSONResponse({"error": error.sentence}, error.status, headers)


async def _gone(request: Request, error: Exception) -> Response:
    return Response(status_code=CLIENT_GONE)  # for log and metrics; nobody reads it


async def _no_route(request: Request, error: Exception) -> Response:
    assert isinstance(error, HTTPException)
    sentences = {
        404: "no such address; /docs lists all of them",
        405: f"{request.method} is not possible here; /docs lists the methods",
    }
    return JSONResponse(
        {"error": sentences.get(error.status_code, str(error.detail))}, error.status_code, dict(error.headers or {})
    )


async def _broken(request: Request, error: Exception) -> Response:
    number = request.scope["state"]["fields"]["request"]
    return JSONResponse({"error": f"internal error; see request {number} in the log"}, 500)


def _openapi(app: FastAPI) -> dict[str, Any]:
    """FastAPI's document, with the schemas of the bodies that the routes parse themselves."""
    if app.openapi_schema is None:
        document = get_openapi(
            title=app.title,
            version=app.version,
            summary="Entities and relations from posts with images",
            routes=app.routes,
        )
        _, bodies = models_json_schema(
            [(PostIn, "validation"), (BatchIn, "validation")], ref_template="#/components/schemas/{model}"
        )
        document["components"]["schemas"] |= bodies["$defs"]
        document["components"]["securitySchemes"] = {"bearer": {"type": "http", "scheme": "bearer"}}
        app.openapi_schema = document
    return app.openapi_schema
