"""The routes that extract, and what they share: one model, its batches, its queue, its metrics."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, asynccontextmanager
from dataclasses import dataclass
from typing import Any, TypeVar

from fastapi import APIRouter, Request
from fastapi.responses import JSONResponse, Response
from prometheus_client.exposition import CONTENT_TYPE_PLAIN_0_0_4
from starlette.requests import ClientDisconnect

from promu.errors import InputError, counted
from promu.extraction.extraction_config import ExtractionConfig, extraction_config
from promu.extraction.extractor import Extractor
from promu.extraction.request import Request as PostRequest
from promu.extraction.request import contexts_read
from promu.extraction.result import Extraction
from promu.files import shorten
from promu.service import schemas
from promu.service.batching import Batcher
from promu.service.intake import Gate, ReceivedPost, check_token, decode, discard_body, read_batch, read_body, read_post
from promu.service.metrics import Metrics, add_fields
from promu.service.schemas import PostIn, Refusal, ServiceSettings

READERS = 2
"""Threads that parse bodies and decode images beside the one that runs the model."""

Result = TypeVar("Result")
Answer = Extraction | Refusal


@dataclass(frozen=True, slots=True, eq=False)
class Job:
    """A post whose text is split into words and whose image is decoded, and the options of its answer."""

    post: PostRequest
    config: ExtractionConfig


def load_extractor(settings: ServiceSettings) -> Extractor:
    """The model that the settings name.

    Raises:
        InputError: It cannot be loaded, or finds no entities.
    """
    extractor = Extractor.from_pretrained(
        settings.model, settings.device, settings.precision, settings.backend, settings.config
    )
    if not extractor.finds_entities:
        problem = "the service needs a model that finds entities; name a folder with ner/, and maybe re/"
        raise InputError(problem, settings.model)
    return extractor


def prepare(extractor: Extractor, post: ReceivedPost, settings: ServiceSettings) -> Job:
    """Words and pixels of a post; any thread may do this.

    Raises:
        Refusal: The text has no words, a text has too many characters, the model does not read a context, the image
            cannot be used, an explanation is requested from models without one, or types that cannot be asked for.
    """
    most = settings.max_characters
    texts = {"the text": post.text, **{f"the context {shorten(name)}": text for name, text in post.contexts.items()}}
    for name, text in texts.items():
        if len(text) > most:
            has = counted(len(text), "character")
            raise Refusal(413, f"{name} has {has}, at most {most:,} are read; shorten it")
    read = contexts_read(extractor.encoders)
    if unread := sorted(set(post.contexts).difference(read)):
        reads = f"it reads {', '.join(read)}" if read else "it reads none"
        raise Refusal(422, f"the model reads no context {shorten(unread[0])}, {reads}; leave it out")
    if post.explain and not extractor.explains:
        raise Refusal(422, "explain is true, but the models here give no explanation; leave it out")
    try:
        # the client's id is put back at the end, so that logs never show it
        record = {"text": post.text, "contexts": post.contexts}
        config = extraction_config(settings.config, explain=post.explain, **post.options)
        return Job(extractor.prepare(record, post.image, config=config), config)
    except InputError as error:
        raise Refusal(422, error.reason) from None


def extract_jobs(extractor: Extractor, jobs: Sequence[Job]) -> list[Answer]:
    """One batch, in order; a post with too many pairs, or on which the models fail, is refused in its place."""
    answers: dict[int, Answer] = {}
    configs: list[ExtractionConfig] = []
    for job in jobs:
        if job.config not in configs:
            configs.append(job.config)
    for config in configs:
        places = [place for place, job in enumerate(jobs) if job.config == config]
        found = extractor.run([jobs[place].post for place in places], config)
        for place, result in zip(places, found, strict=True):
            answers[place] = Refusal(422, result.reason) if isinstance(result, InputError) else result
    return [answers[place] for place in range(len(jobs))]


def answer(extraction: Extraction, id: str) -> dict[str, Any]:
    """The answer for one post, as `ExtractionOut`."""
    record = {**extraction.to_dict(), "id": id, "triples": [list(triple) for triple in extraction.triples()]}
    record["below"] = extraction.below._asdict()
    del record["image"]  # no file is named here
    return record


class Service:
    """One extractor with its batcher, its gate and its metrics; made and closed in the event loop."""

    def __init__(
        self, extractor: Extractor, settings: ServiceSettings, metrics: Metrics, model: schemas.ModelOut
    ) -> None:
        self.settings, self.metrics, self.extractor, self.model = settings, metrics, extractor, model
        self.gate = Gate(settings.queue, settings.timeout)
        self.closing = False
        self._readers = ThreadPoolExecutor(READERS, thread_name_prefix="promu-read")
        self._batcher: Batcher[Job, Answer] = Batcher(
            self._extract, settings.max_batch, settings.max_wait_ms / 1000, metrics.batch_posts.observe
        )
        metrics.queue_limit.set(settings.queue)
        metrics.queue_posts.set_function(lambda: self.gate.inside)

    async def close(self) -> None:
        """Answer the accepted posts, then end the threads."""
        self.closing = True
        await self._batcher.close()
        self._readers.shutdown()

    async def one(self, request: Request) -> dict[str, Any]:
        """The answer to one post."""
        async with self._admitted(request):
            with self._batcher.coming():
                body, kind = await self._body(request)
                post = await self._in_reader(read_post, body, kind)
                ready = await self._in_reader(prepare, self.extractor, post, self.settings)
                job = asyncio.ensure_future(self._batcher.submit(ready))
                await asyncio.sleep(0)  # submitted before `coming` ends
            add_fields(request.scope, posts=1, characters=len(post.text), image_bytes=len(post.image or b""))
            (result,) = await self._answers(request, [job])
            if isinstance(result, Refusal):
                raise result
            self.metrics.posts.inc()
            return answer(result, post.id)

    async def many(self, request: Request) -> dict[str, Any]:
        """The answers to a batch of posts, each an extraction or an error."""
        async with self._admitted(request):
            body, kind = await self._body(request)
            posts = await self._in_reader(read_batch, body, kind, self.settings)
            with self.gate.room(len(posts) - 1):
                add_fields(request.scope, posts=len(posts))
                prepared = await self._in_reader(self._prepare, posts)
                jobs = [asyncio.ensure_future(self._batcher.submit(job)) for _, job in prepared if isinstance(job, Job)]
                found = iter(await self._answers(request, jobs))
        results: list[dict[str, Any]] = []
        for id, job in prepared:
            result = job if isinstance(job, Refusal) else next(found)
            results.append({"id": id, "error": result.sentence} if isinstance(result, Refusal) else answer(result, id))
        failed = sum("error" in result for result in results)
        self.metrics.posts.inc(len(results) - failed)
        self.metrics.refused_posts.inc(failed)
        return {"results": results, "failed": failed}

    @asynccontextmanager
    async def _admitted(self, request: Request) -> AsyncIterator[None]:
        """Check the token and the queue before parsing; a refused body is read and dropped."""
        with ExitStack() as stack:
            try:
                check_token(request, self.settings.token)
                stack.enter_context(self.gate.room(1))
            except Refusal:
                await discard_body(request)
                raise
            yield

    async def _body(self, request: Request) -> tuple[bytes, str]:
        body = await read_body(request, self.settings.max_body, self.settings.timeout)
        return body, request.headers.get("content-type", "")

    async def _answers(self, request: Request, jobs: Sequence[asyncio.Future[Answer]]) -> list[Answer]:
        """Wait for the answers; after the time-out, or if the client disconnects, waiting posts are cancelled."""
        if not jobs:
            return []
        disconnected = asyncio.ensure_future(request.receive())
        together = asyncio.ensure_future(_gather(jobs))
        try:
            first = asyncio.FIRST_COMPLETED
            await asyncio.wait({disconnected, together}, timeout=self.settings.timeout, return_when=first)
            if together.done():
                return together.result()
            if disconnected.done():
                raise ClientDisconnect
            raise Refusal(503, f"no answer within {self.settings.timeout:g} s; try again later", 10)
        finally:
            disconnected.cancel()
            together.cancel()

    async def _in_reader(self, call: Callable[..., Result], *arguments: Any) -> Result:
        return await asyncio.get_running_loop().run_in_executor(self._readers, call, *arguments)

    def _prepare(self, posts: Sequence[PostIn]) -> list[tuple[str, Job | Refusal]]:
        """The id of each post of a batch, and what is to be worked on; a post that cannot be used is a refusal."""
        prepared: list[tuple[str, Job | Refusal]] = []
        for number, one in enumerate(posts, start=1):
            id = str(number)
            try:
                post = decode(one, id)
                id = post.id
                prepared.append((id, prepare(self.extractor, post, self.settings)))
            except Refusal as refusal:
                prepared.append((id, refusal))
        return prepared

    def _extract(self, jobs: Sequence[Job]) -> Sequence[Answer]:
        started = time.perf_counter()
        results = extract_jobs(self.extractor, jobs)
        self.gate.worked(len(jobs), time.perf_counter() - started)
        return results


async def _gather(jobs: Sequence[asyncio.Future[Result]]) -> list[Result]:
    return await asyncio.gather(*jobs)


_REFUSALS: dict[int | str, dict[str, Any]] = {
    status: {"model": schemas.ErrorOut, "description": description}
    for status, description in {
        400: "The body is malformed",
        401: "The bearer token is missing or wrong",
        408: "The body did not arrive in time",
        413: "The body or the text is too long",
        415: "The body is neither JSON nor a form",
        422: "The post cannot be used",
        503: "The service is busy; Retry-After gives the seconds to wait",
    }.items()
}
_SECURITY: list[dict[str, Any]] = [{}, {"bearer": []}]


def _takes(bodies: dict[str, dict[str, Any]]) -> dict[str, Any]:
    """The OpenAPI of a body that a route reads itself: its media types with their schemas."""
    content = {kind: {"schema": schema} for kind, schema in bodies.items()}
    return {"requestBody": {"required": True, "content": content}, "security": _SECURITY}


def service_of(request: Request) -> Service:
    """The service behind a request."""
    service: Service = request.app.state.service
    return service


router = APIRouter()


@router.post(
    "/extract",
    response_model=schemas.ExtractionOut,
    responses=_REFUSALS,
    openapi_extra=_takes(
        {"application/json": {"$ref": "#/components/schemas/PostIn"}, "multipart/form-data": schemas.MULTIPART}
    ),
    summary="Extract from one post",
)
async def extract(request: Request) -> Response:
    """Entities and relations of one post: JSON with the image in base64, or a form with the image as a file."""
    return JSONResponse(await service_of(request).one(request))


@router.post(
    "/extract/batch",
    response_model=schemas.BatchOut,
    responses=_REFUSALS,
    openapi_extra=_takes({"application/json": {"$ref": "#/components/schemas/BatchIn"}}),
    summary="Extract from several posts",
)
async def extract_batch(request: Request) -> Response:
    """The same for several posts; a post that cannot be used is an error in its place, and the others are answered."""
    return JSONResponse(await service_of(request).many(request))


@router.get("/health", response_model=schemas.StatusOut, summary="Is the process alive?")
async def health(request: Request) -> Response:
    """200 while the process answers; `warnings` say what the model will never find."""
    service = service_of(request)
    warnings = list(service.extractor.warnings)
    return JSONResponse({"status": "ok", "model": service.model.name, "warnings": warnings})


@router.get(
    "/ready",
    response_model=schemas.StatusOut,
    responses={503: {"model": schemas.StatusOut, "description": "It is stopping, or its queue is full"}},
    summary="Would a post be accepted now?",
)
async def ready(request: Request) -> Response:
    """200 with the model's name if a post would be accepted."""
    service = service_of(request)
    status = "stopping" if service.closing else "busy" if service.gate.busy else "ready"
    content = {"status": status, "model": service.model.name, "explains": service.extractor.explains}
    return JSONResponse(content, 200 if status == "ready" else 503)


@router.get("/model", response_model=schemas.ModelOut, summary="Which model answers?")
async def model(request: Request) -> Response:
    """Name, tasks, types and files of the model; nothing of any post."""
    return JSONResponse(service_of(request).model.model_dump())


@router.get(
    "/metrics",
    response_class=Response,
    responses={200: {"content": {"text/plain": {"schema": {"type": "string"}}}}, 401: _REFUSALS[401]},
    openapi_extra={"security": _SECURITY},
    summary="Metrics for Prometheus",
)
async def metrics(request: Request) -> Response:
    """Requests, latencies, batch sizes, queue and memory of the process that answers."""
    service = service_of(request)
    check_token(request, service.settings.token)
    return Response(service.metrics.text(), media_type=CONTENT_TYPE_PLAIN_0_0_4)
