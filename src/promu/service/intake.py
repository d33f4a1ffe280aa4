"""From a request's head to the bytes of its body: token, room in the queue, size and time."""

from __future__ import annotations

import asyncio
import base64
import binascii
import hmac
import math
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from typing import TypeVar

from pydantic import BaseModel, ValidationError
from python_multipart.exceptions import FormParserError
from python_multipart.multipart import Field, File, FormParser, parse_options_header
from starlette.requests import ClientDisconnect, Request

from promu.files import shorten
from promu.service.schemas import BatchIn, PostIn
from promu.service.service_settings import Refused, ServiceSettings

DISCARDED = 64 * 1024 * 1024
"""Bytes of a refused body that are read and dropped, so that its sender gets to read the answer."""

DISCARD_SECONDS = 5.0

PATIENCE = 0.75
"""Share of the time-out that the posts ahead of a request may take."""


class Gate:
    """Counts the posts in the service, and refuses what does not fit or would not be answered in time.

    Without the second a service that is asked for more than it can do would work on posts whose senders have given up.

    Args:
        limit: Posts at once.
        timeout: Seconds in which a request has to be answered.
    """

    def __init__(self, limit: int, timeout: float) -> None:
        self.limit = limit
        self.inside = 0
        self._patience = PATIENCE * timeout
        self._seconds: float | None = None  # a post's share of the worker's time, as of late

    def worked(self, posts: int, seconds: float) -> None:
        """Learn from a batch how long a post takes; the model's thread says so."""
        latest = seconds / posts
        self._seconds = latest if self._seconds is None else self._seconds + 0.2 * (latest - self._seconds)

    @property
    def ahead(self) -> float:
        """Seconds until all posts that are here are worked on; 0 before anything was."""
        return self.inside * (self._seconds or 0.0)

    @property
    def busy(self) -> bool:
        """Whether one more post would be refused."""
        return self.inside >= self.limit or self.ahead > self._patience

    @contextmanager
    def room(self, posts: int) -> Iterator[None]:
        """Room for `posts` more, for as long as this is open.

        Raises:
            Refused: There is none, or what is here already takes too long (503).
        """
        if self.busy or self.inside + posts > self.limit:
            again = min(60, max(1, math.ceil(self.ahead)))
            raise Refused(503, f"the service is busy: {self.inside} posts wait; try again in {again} s", again)
        self.inside += posts
        try:
            yield
        finally:
            self.inside -= posts


def check_token(request: Request, token: str | None) -> None:
    """Compare the bearer token, in constant time.

    Raises:
        Refused: It is missing or another one (401).
    """
    if token is None:
        return
    scheme, _, shown = request.headers.get("authorization", "").partition(" ")
    if scheme.lower() != "bearer" or not hmac.compare_digest(shown.strip().encode("latin-1"), token.encode()):
        raise Refused(401, "a bearer token is needed; send the header Authorization: Bearer TOKEN with the right token")


async def read_body(request: Request, limit: int, seconds: float) -> bytes:
    """The body.

    What is over the limit is read on and dropped, `DISCARDED` bytes at most: a sender who is cut off in the middle
    would never see the answer.

    Args:
        request: Nothing of its body has been read.
        limit: Bytes.
        seconds: That it may take to arrive.

    Raises:
        Refused: It is longer (413) or slower (408).
        ClientDisconnect: The sender has gone.
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
        raise Refused(408, f"the body did not arrive within {seconds:g} s; send it again") from None
    if size > limit:
        raise Refused(413, f"the body is over {limit / 1024 / 1024:.3g} MiB; send a smaller image or fewer posts")
    return bytes(body)


async def discard_body(request: Request) -> None:
    """Read and drop the body of a request that is refused by its head."""
    with suppress(Refused):
        await read_body(request, 0, DISCARD_SECONDS)


Model = TypeVar("Model", bound=BaseModel)

FORM_FIELDS = ("text", "image", "id", "explain")


@dataclass(frozen=True, slots=True)
class ReceivedPost:
    """A post as it came: text, the image file's bytes, and the caller's name for it."""

    text: str
    image: bytes | None
    id: str
    explain: bool = False


def read_post(body: bytes, content_type: str) -> ReceivedPost:
    """The one post of a request to `/extract`.

    Raises:
        Refused: The body is of another kind (415), malformed (400), or holds what is not allowed (422).
    """
    kind, options = parse_options_header(content_type)
    if kind == b"multipart/form-data":
        return _from_form(body, options.get(b"boundary"))
    _require_json(kind, "JSON (application/json) or a form (multipart/form-data)")
    return _from_json(_parse(PostIn, body), "1")


def read_batch(body: bytes, content_type: str, settings: ServiceSettings) -> list[ReceivedPost | Refused]:
    """The posts of a request to `/extract/batch`; one that cannot be read comes as its refusal, in its place.

    Raises:
        Refused: As `read_post`; and 422 for more posts than are allowed.
    """
    _require_json(parse_options_header(content_type)[0], "JSON (application/json)")
    posts = _parse(BatchIn, body).posts
    if len(posts) > settings.max_posts:
        raise Refused(
            422, f"{len(posts)} posts in one request, at most {settings.max_posts} are taken; send them in parts"
        )
    read: list[ReceivedPost | Refused] = []
    for number, post in enumerate(posts, start=1):
        try:
            read.append(_from_json(post, str(number)))
        except Refused as refusal:
            read.append(refusal)
    return read


def _require_json(kind: bytes, expected: str) -> None:
    if kind != b"application/json":
        found = shorten(kind.decode("latin-1")) if kind else "none"
        raise Refused(415, f"Content-Type is {found}; {expected} is expected")


def _parse(model: type[Model], body: bytes) -> Model:
    try:
        return model.model_validate_json(body)
    except ValidationError as error:
        first = error.errors(include_url=False)[0]
        if first["type"] == "json_invalid":
            raise Refused(400, f"the body is not JSON: {first['msg'].removeprefix('Invalid JSON: ')}") from None
        place = shorten(".".join(map(str, first["loc"]))) if first["loc"] else "the body"
        if first["type"] == "extra_forbidden":
            known = ", ".join(PostIn.model_fields if "posts" in first["loc"] else model.model_fields)
            raise Refused(422, f"unknown key {place}; known keys: {known}") from None
        raise Refused(422, f"{place}: {first['msg'][0].lower()}{first['msg'][1:]}") from None


def _from_json(post: PostIn, id: str) -> ReceivedPost:
    image = None if post.image is None else _from_base64(post.image)
    return ReceivedPost(post.text, image, post.id or id, post.explain)


def _from_base64(text: str) -> bytes:
    if text[:8].lower().startswith(("http://", "https://", "data:", "file:")):
        raise Refused(
            422, f"image is an address ({shorten(text[:40])}); nothing is fetched: send the file's bytes in base64"
        )
    try:
        return base64.b64decode(text, validate=True)
    except (binascii.Error, ValueError) as error:
        raise Refused(422, f"image is not base64 ({error}); encode the image file's bytes") from None


def _from_form(body: bytes, boundary: bytes | None) -> ReceivedPost:
    if not boundary:
        raise Refused(400, "the form has no boundary; let the client set Content-Type by itself")
    values: dict[str, bytes] = {}

    def keep(name: bytes | None, value: bytes, is_file: bool) -> None:
        field = (name or b"").decode("utf-8", "replace")
        if field not in FORM_FIELDS:
            raise Refused(422, f"unknown form field {shorten(field)}; known fields: {', '.join(FORM_FIELDS)}")
        if field in values:
            raise Refused(422, f"the form has {field} more than once; send one post a request, or use /extract/batch")
        if is_file != (field == "image"):
            raise Refused(422, f"{field} has to be sent as {'a file' if field == 'image' else 'a plain field'}")
        values[field] = value

    def on_field(field: Field) -> None:
        keep(field.field_name, field.value or b"", False)

    def on_file(file: File) -> None:
        file.file_object.seek(0)
        keep(file.field_name, file.file_object.read(), True)
        file.close()

    ended: list[bool] = []
    # Files stay in memory: the body is there already, and it is limited.
    in_memory = {"MAX_MEMORY_FILE_SIZE": len(body) + 1}
    try:
        parser = FormParser(
            "multipart/form-data", on_field, on_file, lambda: ended.append(True), boundary, config=in_memory
        )
        parser.write(body)
        parser.finalize()
    except FormParserError as error:
        raise Refused(400, f"the form is malformed ({error}); send it again") from None
    if not ended:
        raise Refused(400, "the form breaks off before its closing boundary; send it again")
    if "text" not in values:
        raise Refused(422, "the form has no text; add the field text")
    # A browser sends an empty file where none was chosen.
    image = values.get("image") or None
    explain = _utf8(values, "explain") or "false"
    if explain not in ("true", "false"):
        raise Refused(422, f"explain is {shorten(explain)}; true and false are known")
    return ReceivedPost(_utf8(values, "text"), image, _utf8(values, "id") or "1", explain == "true")


def _utf8(values: dict[str, bytes], field: str) -> str:
    try:
        return values.get(field, b"").decode("utf-8")
    except UnicodeDecodeError as error:
        raise Refused(422, f"{field} is not UTF-8 (byte {error.start}); encode it so") from None
