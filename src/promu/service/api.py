"""The routes that extract."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, asynccontextmanager
from dataclasses import dataclass, replace
from typing import Any, TypeVar

from fastapi import APIRouter, Request
from fastapi.responses import JSONResponse, Response
from prometheus_client.exposition import CONTENT_TYPE_PLAIN_0_0_4
from starlette.requests import ClientDisconnect

from promu.errors import InputError
from promu.extraction.extractor import Extractor
from promu.extraction.request import Asked, ReadyPost
from promu.extraction.result import Extraction
from promu.service.batching import Batcher
from promu.service.intake import Gate, ReceivedPost, check_token, discard_body, read_batch, read_body, read_post
from promu.service.metrics import Metrics, add_fields
from promu.service.schemas import MULTIPART, BatchOut, ErrorOut, ExtractionOut, StatusOut
from promu.service.service_settings import Refused, ServiceSettings


@dataclass(frozen=True, slots=True, eq=False)
class Job:
    """A post whose text is split into words and whose image is decoded, and whether its answer is to be explained."""

    post: ReadyPost
    explain: bool


def load_extractor(settings: ServiceSettings) -> Extractor:
    """The model that the settings name.

    Raises:
        InputError: It cannot be loaded, or finds no entities.
    """
    extractor = Extractor.from_pretrained(settings.model, precision=settings.precision, backend=settings.backend)
    if not extractor.finds_entities:
        raise InputError(
            "the service needs a model that finds entities; name a folder with ner/, and maybe re/", settings.model
        )
    return extractor


def prepare(extractor: Extractor, post: ReceivedPost, settings: ServiceSettings) -> Job:
    """Words and pixels of a post; any thread may do this.

    Raises:
        Refused: The text has no words or too many characters, the image cannot be used, or an explanation is asked of
            models that give none.
    """
    most = settings.max_characters
    if len(post.text) > most:
        raise Refused(413, f"the text has {len(post.text):,} characters, at most {most:,} are read; shorten it")
    if post.explain and not extractor.explains:
        raise Refused(422, "explain is true, but the models here give no explanation; leave it out")
    try:
        # The caller's name for the post is put back at the end: logs then never show it.
        return Job(extractor.prepare(post.text, post.image, max_pixels=settings.max_pixels), post.explain)
    except InputError as error:
        raise Refused(422, error.reason) from None


def run(extractor: Extractor, jobs: Sequence[Job], settings: ServiceSettings) -> list[Extraction | Refused]:
    """One batch, in order; a post with too many pairs of entities is refused in its place."""
    answers: dict[int, Extraction | Refused] = {}
    for explain in {job.explain for job in jobs}:
        places = [place for place, job in enumerate(jobs) if job.explain == explain]
        asked = Asked(settings.max_batch, explain=explain, max_pairs=settings.max_pairs)
        for place, found in zip(places, extractor.run([jobs[place].post for place in places], asked), strict=True):
            answers[place] = Refused(422, found.reason) if isinstance(found, InputError) else found
    return [answers[place] for place in range(len(jobs))]


def answer(found: Extraction, id: str) -> dict[str, Any]:
    """What is sent for one post, as `ExtractionOut`."""
    record = replace(found, id=id).to_dict()
    record.update(triples=[list(triple) for triple in found.triples()], image=found.image)
    if found.words_read is not None:
        record["words_read"] = found.words_read
    return record


Result = TypeVar("Result")

READERS = 2
"""Threads that parse bodies and decode images beside the one that runs the model."""

_REFUSALS: dict[int | str, dict[str, Any]] = {
    400: {"model": ErrorOut, "description": "The body is malformed"},
    401: {"model": ErrorOut, "description": "The bearer token is missing or wrong"},
    408: {"model": ErrorOut, "description": "The body did not arrive in time"},
    413: {"model": ErrorOut, "description": "The body or the text is too long"},
    415: {"model": ErrorOut, "description": "The body is of another kind"},
    422: {"model": ErrorOut, "description": "The post cannot be used"},
    503: {"model": ErrorOut, "description": "The service is busy; Retry-After says when to try again"},
}
_PROTECTED: dict[int | str, dict[str, Any]] = {401: _REFUSALS[401]}


def _body(**kinds: dict[str, Any]) -> dict[str, Any]:
    content = {kind.replace("__", "/").replace("_", "-"): {"schema": schema} for kind, schema in kinds.items()}
    return {"requestBody": {"required": True, "content": content}, "security": [{}, {"bearer": []}]}


class Service:
    """What the routes share: one extractor, its batcher, its gate, its figures. Made and closed in the event loop."""

    def __init__(self, extractor: Extractor, settings: ServiceSettings, metrics: Metrics) -> None:
        self.settings, self.metrics, self.extractor = settings, metrics, extractor
        self.gate = Gate(settings.queue, settings.timeout)
        self.closing = False
        self._readers = ThreadPoolExecutor(READERS, thread_name_prefix="promu-read")
        self._batcher: Batcher[Job, Extraction | Refused] = Batcher(
            self._extract,
            settings.max_batch,
            settings.max_wait_ms / 1000,
            metrics.batch_posts.observe,
        )
        metrics.queue_limit.set(settings.queue)
        metrics.queue_posts.set_function(lambda: self.gate.inside)

    async def close(self) -> None:
        """Answer what has been taken, then let go of the threads."""
        self.closing = True
        await self._batcher.close()
        self._readers.shutdown()

    async def one(self, request: Request) -> dict[str, Any]:
        """The answer to one post."""
        async with self._admitted(request):
            with self._batcher.coming():
                body = await read_body(request, self.settings.max_body, self.settings.timeout)
                kind = request.headers.get("content-type", "")
                post, ready = await self._in_reader(lambda: self._read_one(body, kind))
                job = asyncio.ensure_future(self._batcher.submit(ready))
                await asyncio.sleep(0)  # handed in before it stops being on its way
            add_fields(request.scope, posts=1, characters=len(post.text), image_bytes=len(post.image or b""))
            (found,) = await self._answered(request, [job])
            if isinstance(found, Refused):
                raise found
            self.metrics.posts.inc()
            return answer(found, post.id)

    async def many(self, request: Request) -> dict[str, Any]:
        """The answers to a batch of posts, each an extraction or an error."""
        async with self._admitted(request):
            body = await read_body(request, self.settings.max_body, self.settings.timeout)
            kind = request.headers.get("content-type", "")
            posts = await self._in_reader(lambda: read_batch(body, kind, self.settings))
            with self.gate.room(len(posts) - 1):
                return await self._batch(request, posts)

    async def _batch(self, request: Request, posts: Sequence[ReceivedPost | Refused]) -> dict[str, Any]:
        add_fields(request.scope, posts=len(posts))
        ready = await self._in_reader(lambda: [self._prepared(post) for post in posts])
        jobs = [asyncio.ensure_future(self._batcher.submit(post)) for post in ready if isinstance(post, Job)]
        found = iter(await self._answered(request, jobs))
        results: list[dict[str, Any]] = []
        for number, (post, outcome) in enumerate(zip(posts, ready, strict=True), start=1):
            id = post.id if isinstance(post, ReceivedPost) else str(number)
            final = outcome if isinstance(outcome, Refused) else next(found)
            results.append({"id": id, "error": final.sentence} if isinstance(final, Refused) else answer(final, id))
        failed = sum("error" in result for result in results)
        self.metrics.posts.inc(len(results) - failed)
        self.metrics.refused_posts.inc(failed)
        return {"results": results, "failed": failed}

    @asynccontextmanager
    async def _admitted(self, request: Request) -> AsyncIterator[None]:
        """Token and room first, so that who has neither costs nothing but the reading of a body that is dropped."""
        with ExitStack() as held:
            try:
                check_token(request, self.settings.token)
                held.enter_context(self.gate.room(1))
            except Refused:
                await discard_body(request)
                raise
            yield

    async def _answered(
        self, request: Request, jobs: Sequence[asyncio.Future[Extraction | Refused]]
    ) -> list[Extraction | Refused]:
        """Wait for the answers, unless it takes too long or the sender goes; then nobody works on what still waits."""
        if not jobs:
            return []
        gone = asyncio.ensure_future(request.receive())
        together = asyncio.ensure_future(_all(jobs))
        try:
            await asyncio.wait({gone, together}, timeout=self.settings.timeout, return_when=asyncio.FIRST_COMPLETED)
            if together.done():
                return together.result()
            if gone.done():
                raise ClientDisconnect
            raise Refused(503, f"no answer within {self.settings.timeout:g} s; try again later", 10)
        finally:
            gone.cancel()
            together.cancel()

    async def _in_reader(self, call: Callable[[], Result]) -> Result:
        return await asyncio.get_running_loop().run_in_executor(self._readers, call)

    def _read_one(self, body: bytes, kind: str) -> tuple[ReceivedPost, Job]:
        post = read_post(body, kind)
        return post, prepare(self.extractor, post, self.settings)

    def _prepared(self, post: ReceivedPost | Refused) -> Job | Refused:
        if isinstance(post, Refused):
            return post
        try:
            return prepare(self.extractor, post, self.settings)
        except Refused as refusal:
            return refusal

    def _extract(self, posts: Sequence[Job]) -> Sequence[Extraction | Refused]:
        started = time.perf_counter()
        found = run(self.extractor, posts, self.settings)
        self.gate.worked(len(posts), time.perf_counter() - started)
        return found


async def _all(jobs: Sequence[asyncio.Future[Result]]) -> list[Result]:
    return await asyncio.gather(*jobs)


def service_of(request: Request) -> Service:
    """The service that a request came to."""
    service: Service = request.app.state.service
    return service


router = APIRouter()


@router.post(
    "/extract",
    response_model=ExtractionOut,
    responses=_REFUSALS,
    openapi_extra=_body(application__json={"$ref": "#/components/schemas/PostIn"}, multipart__form_data=MULTIPART),
    summary="Extract from one post",
)
async def extract(request: Request) -> Response:
    """Entities and relations of one post: JSON with the image in base64, or a multipart form with it as a file."""
    return JSONResponse(await service_of(request).one(request))


@router.post(
    "/extract/batch",
    response_model=BatchOut,
    responses=_REFUSALS,
    openapi_extra=_body(application__json={"$ref": "#/components/schemas/BatchIn"}),
    summary="Extract from several posts",
)
async def extract_batch(request: Request) -> Response:
    """The same for several posts; what cannot be used is an error in its place, and the others are answered."""
    return JSONResponse(await service_of(request).many(request))


@router.get("/health", response_model=StatusOut, summary="Is the process alive?")
async def health() -> Response:
    """200 as long as the process answers."""
    return JSONResponse({"status": "ok"})


@router.get(
    "/ready",
    response_model=StatusOut,
    responses={503: {"model": StatusOut, "description": "It is stopping, or its queue is full"}},
    summary="Would a post be taken now?",
)
async def ready(request: Request) -> Response:
    """200 with the model's name where a post would be taken."""
    service = service_of(request)
    status = "stopping" if service.closing else "busy" if service.gate.busy else "ready"
    told = {"status": status, "model": service.settings.model.name, "explains": service.extractor.explains}
    return JSONResponse(told, 200 if status == "ready" else 503)


@router.get(
    "/metrics",
    response_class=Response,
    responses={200: {"content": {"text/plain": {"schema": {"type": "string"}}}}, **_PROTECTED},
    openapi_extra={"security": [{}, {"bearer": []}]},
    summary="Figures for Prometheus",
)
async def metrics(request: Request) -> Response:
    """Requests, latencies, batch sizes, queue and memory of the process that answers."""
    service = service_of(request)
    check_token(request, service.settings.token)
    return Response(service.metrics.text(), media_type=CONTENT_TYPE_PLAIN_0_0_4)
