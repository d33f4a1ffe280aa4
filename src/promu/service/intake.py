"""From a request to its posts: token, room in the queue, size and time of the body, JSON or form."""

from __future__ import annotations

import asyncio
import base64
import binascii
import hmac
import json
import math
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from typing import Any, TypeVar

from pydantic import BaseModel, ValidationError
from python_multipart.exceptions import FormParserError
from python_multipart.multipart import Field, File, FormParser, parse_options_header
from starlette.requests import ClientDisconnect, Request

from promu.errors import counted
from promu.files import DuplicateKey, distinct_keys, shorten
from promu.service.schemas import BatchIn, PostIn, Refusal, ServiceSettings

DISCARDED, DISCARD_SECONDS = 64 * 1024 * 1024, 5.0
"""Bytes of a refused body that are read and dropped: a client that is cut off would not see the answer."""

FORM_FIELDS = ("text", "image", "id", "explain")

PATIENCE = 0.75
"""Share of the time-out that the posts ahead of a request may take."""

Model = TypeVar("Model", bound=BaseModel)


@dataclass(frozen=True, slots=True)
class ReceivedPost:
    """A post as received: text, the image file's bytes, the client's id, and its own options of extraction."""

    text: str
    image: bytes | None
    id: str
    explain: bool = False
    contexts: Mapping[str, str] = field(default_factory=dict)
    options: Mapping[str, Any] = field(default_factory=dict)


class Gate:
    """Counts the posts in the service; refuses those over the limit, and those that would not be answered in time.

    Without the second check an overloaded service would work on posts whose clients have given up.
    """

    def __init__(self, limit: int, timeout: float) -> None:
        self.limit = limit
        self.inside = 0
        self._patience = PATIENCE * timeout
        self._seconds: float | None = None  # of the model for a post, a moving average

    def worked(self, posts: int, seconds: float) -> None:
        """Learn from a batch how long a post takes."""
        latest = seconds / posts
        self._seconds = latest if self._seconds is None else self._seconds + 0.2 * (latest - self._seconds)

    @property
    def ahead(self) -> float:
        """Seconds until all posts in the service are done; 0 before the first batch."""
        return self.inside * (self._seconds or 0.0)

    @property
    def busy(self) -> bool:
        """Whether one more post would be refused."""
        return self.inside >= self.limit or self.ahead > self._patience

    @contextmanager
    def room(self, posts: int) -> Iterator[None]:
        """Room for `posts` more, as long as this is open; refused (503) if there is none or it takes too long."""
        if self.busy or self.inside + posts > self.limit:
            again = min(60, max(1, math.ceil(self.ahead)))
            raise Refusal(
                503,
                f"the service is busy: {counted(self.inside, 'post waits', 'posts wait')}; try again in {again} s",
                again,
            )
        self.inside += posts
        try:
            yield
        finally:
            self.inside -= posts


def check_token(request: Request, token: str | None) -> None:
    """Refuse (401) a request without the right bearer token; tokens are compared in constant time."""
    if token is None:
        return
    scheme, _, shown = request.headers.get("authorization", "").partition(" ")
    if scheme.lower() != "bearer" or not hmac.compare_digest(shown.strip().encode("latin-1"), token.encode()):
        raise Refusal(401, "a bearer token is needed; send the header Authorization: Bearer TOKEN with the right token")


async def read_body(request: Request, limit: int, seconds: float) -> bytes:
    """The unread body of a request; bytes over the limit are read and dropped, `DISCARDED` at most.

    Raises:
        Refusal: It is longer (413) or slower (408).
        ClientDisconnect: The client has disconnected.
    """
    body, size, more = bytearray(), 0, True
    try:
        async with asyncio.timeout(seconds):
            while more and size <= limit + DISCARDED:
                message = await request.receive()
                if message["type"] == "http.disconnect":
                    raise ClientDisconnect
                size += len(message.get("body", b""))
                if size <= limit:
                    body += message.get("body", b"")
                more = message.get("more_body", False)
    except TimeoutError:
        raise Refusal(408, f"the body did not arrive within {seconds:g} s; send it again") from None
    if size > limit:
        raise Refusal(413, f"the body is over {limit / 1024 / 1024:.3g} MiB; send a smaller image or fewer posts")
    return bytes(body)


async def discard_body(request: Request) -> None:
    """Read and drop the body of a request that is refused by its headers."""
    with suppress(Refusal):
        await read_body(request, 0, DISCARD_SECONDS)


def read_post(body: bytes, content_type: str) -> ReceivedPost:
    """The one post of a request to `/extract`.

    Raises:
        Refusal: The body is neither JSON nor a form (415), malformed (400), or has a value that is not allowed (422).
    """
    kind, options = parse_options_header(content_type)
    if kind == b"multipart/form-data":
        return _from_form(body, options.get(b"boundary"))
    _require_json(kind, "JSON (application/json) or a form (multipart/form-data)")
    return decode(_parse(PostIn, body), "1")


def read_batch(body: bytes, content_type: str, settings: ServiceSettings) -> list[PostIn]:
    """The posts of a request to `/extract/batch`; errors as `read_post`, and 422 for more posts than are allowed."""
    _require_json(parse_options_header(content_type)[0], "JSON (application/json)")
    posts = _parse(BatchIn, body).posts
    most = settings.max_posts
    if len(posts) > most:
        raise Refusal(422, f"{counted(len(posts), 'post')} in a request, at most {most} are taken; send them in parts")
    return posts


def _require_json(kind: bytes, expected: str) -> None:
    if kind != b"application/json":
        shown = shorten(kind.decode("latin-1")) if kind else "none"
        raise Refusal(415, f"Content-Type is {shown}; {expected} is expected")


def _parse(model: type[Model], body: bytes) -> Model:
    try:
        value = model.model_validate_json(body)
        json.loads(body, object_pairs_hook=distinct_keys)  # pydantic takes the last of two equal keys
        return value
    except DuplicateKey as error:
        raise Refusal(422, str(error)) from None
    except ValidationError as error:
        first = error.errors(include_url=False)[0]
        if first["type"] == "json_invalid":
            raise Refusal(400, f"the body is not JSON: {first['msg'].removeprefix('Invalid JSON: ')}") from None
        place = shorten(".".join(map(str, first["loc"]))) if first["loc"] else "the body"
        if first["type"] == "extra_forbidden":
            known = ", ".join(PostIn.model_fields if "posts" in first["loc"] else model.model_fields)
            raise Refusal(422, f"unknown key {place}; known keys: {known}") from None
        raise Refusal(422, f"{place}: {first['msg'][0].lower()}{first['msg'][1:]}") from None


def decode(post: PostIn, id: str) -> ReceivedPost:
    """A post with its image's bytes; `id` is for a post without one (errors as `read_post`)."""
    image = None
    if post.image is not None:
        if post.image[:8].lower().startswith(("http://", "https://", "data:", "file:")):
            address = shorten(post.image[:40])
            raise Refusal(422, f"image is an address ({address}); nothing is fetched: send the file's bytes in base64")
        try:
            image = base64.b64decode(post.image, validate=True)
        except (binascii.Error, ValueError) as error:
            raise Refusal(422, f"image is not base64 ({error}); encode the image file's bytes") from None
    return ReceivedPost(post.text, image, post.id or id, post.explain, post.contexts, post.options)


def _from_form(body: bytes, boundary: bytes | None) -> ReceivedPost:
    if not boundary:
        raise Refusal(400, "the form has no boundary; let the client set Content-Type")
    values: dict[str, bytes] = {}

    def keep(name: bytes | None, value: bytes, is_file: bool) -> None:
        field = (name or b"").decode("utf-8", "replace")
        if field not in FORM_FIELDS:
            raise Refusal(422, f"unknown form field {shorten(field)}; known fields: {', '.join(FORM_FIELDS)}")
        if field in values:
            raise Refusal(422, f"the form has {field} more than once; send one post a request, or use /extract/batch")
        if is_file != (field == "image"):
            raise Refusal(422, f"{field} has to be sent as {'a file' if field == 'image' else 'a plain field'}")
        values[field] = value

    def on_field(field: Field) -> None:
        keep(field.field_name, field.value or b"", False)

    def on_file(file: File) -> None:
        file.file_object.seek(0)
        keep(file.field_name, file.file_object.read(), True)
        file.close()

    ended: list[bool] = []
    # files stay in memory: the whole body is there already, and it is limited
    in_memory = {"MAX_MEMORY_FILE_SIZE": len(body) + 1}

    def on_end() -> None:
        ended.append(True)

    try:
        parser = FormParser("multipart/form-data", on_field, on_file, on_end, boundary, config=in_memory)
        parser.write(body)
        parser.finalize()
    except FormParserError as error:
        raise Refusal(400, f"the form is malformed ({error}); send it again") from None
    if not ended:
        raise Refusal(400, "the form ends before its closing boundary; send it again")
    if "text" not in values:
        raise Refusal(422, "the form has no text; add the field text")
    image = values.get("image") or None  # a browser sends an empty file if none was chosen
    explain = _utf8(values, "explain") or "false"
    if explain not in ("true", "false"):
        raise Refusal(422, f"explain is {shorten(explain)}; true or false is expected")
    return ReceivedPost(_utf8(values, "text"), image, _utf8(values, "id") or "1", explain == "true")


def _utf8(values: dict[str, bytes], field: str) -> str:
    try:
        return values.get(field, b"").decode("utf-8")
    except UnicodeDecodeError as error:
        raise Refusal(422, f"{field} is not UTF-8 (byte {error.start}); encode it so") from None
