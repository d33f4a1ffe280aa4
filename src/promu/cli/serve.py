"""`promu serve`: a model behind HTTP, and a page to try it on."""

from __future__ import annotations

import os
from typing import Annotated

from cyclopts import Parameter

from promu.cli.console import note
from promu.errors import InputError, needs_extra
from promu.service.schemas import TOKEN_VARIABLE, ServiceSettings


def serve(
    *,
    settings: Annotated[ServiceSettings, Parameter(name="*")],
    host: str = "127.0.0.1",
    port: int = 8000,
    workers: int = 1,
) -> None:
    """Answer over HTTP, with a page at / on which to try the model.

    If the environment variable PROMU_TOKEN is set, requests need it as their bearer token.

    Args:
        host: Address to listen on; 0.0.0.0 is every address of this machine.
        port: Port to listen on; 0 takes a free one.
        workers: Processes, each with its own model in memory.
    """
    if workers < 1:
        raise InputError(f"--workers is {workers}; at least 1 is needed")
    from promu.hub import keep_few_kernels, quiet

    keep_few_kernels()  # workers inherit it
    quiet()
    try:
        from promu.service.server import listen, run_service
    except ModuleNotFoundError as error:
        raise needs_extra("promu serve", str(error.name), "serve") from None
    settings = settings.model_copy(update={"token": os.environ.get(TOKEN_VARIABLE) or None})
    with listen(host, port) as sock:
        address = f"http://{f'[{host}]' if ':' in host else host}:{sock.getsockname()[1]}"
        note(f"the page is at {address}/ and the API's documentation at {address}/docs; Ctrl-C stops")
        run_service(settings, sock, workers)
