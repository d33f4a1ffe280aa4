"""The service as one process or several."""

from __future__ import annotations

import os
import socket
from functools import partial
from typing import Any

import uvicorn
from fastapi import FastAPI
from uvicorn.supervisors import Multiprocess

from promu.errors import InputError
from promu.files import usable_cores
from promu.hub import quiet
from promu.service.api import load_extractor
from promu.service.app import create_app
from promu.service.metrics import log_as_json
from promu.service.service_settings import ServiceSettings

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
        raise InputError(
            f"cannot listen on {host} port {port} ({reason}); name another with --host or --port"
        ) from None


def run_service(settings: ServiceSettings, sock: socket.socket, workers: int = 1) -> None:
    """Answer requests until SIGTERM or SIGINT; accepted requests are answered before the process ends.

    Args:
        settings: Model and limits.
        sock: Where to listen.
        workers: Processes, each with its own model in memory.

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
