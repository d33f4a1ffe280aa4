"""`promu serve`: a model behind HTTP, and a page to try it on."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Literal

from promu.cli.console import note
from promu.errors import InputError
from promu.files import usable_cores


def serve(
    *,
    model: Path,
    host: str = "127.0.0.1",
    port: int = 8000,
    workers: int = 1,
    backend: Literal["torch", "onnx"] = "torch",
    precision: Literal["fp32", "bf16", "int8"] | None = None,
    max_batch: int = 16,
    max_wait_ms: float = 5.0,
    max_body_mib: float = 8.0,
    max_pixels: int = 25_000_000,
    max_characters: int = 20_000,
    max_pairs: int = 500,
    max_posts: int = 64,
    queue: int = 128,
    timeout: float = 30.0,
    threads: int | None = None,
) -> None:
    """Answer over HTTP, and show a page at / on which the model can be tried.

    Where the environment variable PROMU_TOKEN is set, callers must show it as their bearer token.

    Args:
        model: A folder with ner/ and re/, or one fine-tuned model.
        host: Address to listen on; 0.0.0.0 is every one of this machine's.
        port: Port to listen on; 0 takes a free one.
        workers: Processes, each with its own model in memory.
        backend: onnx runs on the CPU what `promu export` put into the folder.
        precision: fp32 or bf16 with torch; with onnx the folder's own.
        max_batch: Posts a forward pass, whichever requests they came with.
        max_wait_ms: Milliseconds that a batch waits for requests that are still being read.
        max_body_mib: MiB of one request.
        max_pixels: Pixels of one image.
        max_characters: Characters of one post.
        max_pairs: Pairs of entities of one post.
        max_posts: Posts of one request to /extract/batch.
        queue: Posts that may wait; a request for more is answered 503.
        timeout: Seconds that a request may take.
        threads: Torch's threads a process; by default the cores, shared between the workers.
    """
    if workers < 1:
        raise InputError(f"--workers is {workers}; at least 1 is needed")
    try:
        import fastapi  # noqa: F401
        import prometheus_client  # noqa: F401
        import python_multipart  # noqa: F401
        import uvicorn  # noqa: F401
    except ModuleNotFoundError as error:
        raise InputError(f"{error.name} is not installed; pip install 'promu[serve]'") from None
    from promu.extraction.backends import keep_few_kernels
    from promu.hub import quiet

    keep_few_kernels()  # workers inherit it
    quiet()
    from promu.service.server import listen
    from promu.service.server import serve as run
    from promu.service.service_settings import TOKEN_VARIABLE, service_settings

    if threads is None and workers > 1:
        threads = max(1, usable_cores() // workers)
    settings = service_settings(
        model=model,
        backend=backend,
        precision=precision,
        token=os.environ.get(TOKEN_VARIABLE) or None,
        max_batch=max_batch,
        max_wait_ms=max_wait_ms,
        max_body_mib=max_body_mib,
        max_pixels=max_pixels,
        max_characters=max_characters,
        max_pairs=max_pairs,
        max_posts=max_posts,
        queue=queue,
        timeout=timeout,
        threads=threads,
    )
    with listen(host, port) as sock:
        shown = f"[{host}]" if ":" in host else host
        address = f"http://{shown}:{sock.getsockname()[1]}"
        note(f"the page is at {address}/ and the API's documentation at {address}/docs; Ctrl-C stops")
        run(settings, sock, workers)
