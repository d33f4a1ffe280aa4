"""From the bytes of a request's body to posts: JSON with base64, or a multipart form."""

from __future__ import annotations

import base64
import binascii
from dataclasses import dataclass
from typing import TypeVar

from pydantic import BaseModel, ValidationError
from python_multipart.exceptions import FormParserError
from python_multipart.multipart import Field, File, FormParser, parse_options_header

from promu.files import shorten
from promu.service.refusal import Refused
from promu.service.schemas import BatchIn, PostIn
from promu.service.settings import ServiceSettings

Model = TypeVar("Model", bound=BaseModel)

FORM_FIELDS = ("text", "image", "id", "explain")


@dataclass(frozen=True, slots=True)
class ReceivedPost:
    """A post as it came: text, the picture file's bytes, and the caller's name for it."""

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
        raise Refused(422, f"image is not base64 ({error}); encode the picture file's bytes") from None


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
