"""From a request's head to the bytes of its body: token, room in the queue, size and time."""

from __future__ import annotations

import asyncio
import hmac
import math
from collections.abc import Iterator
from contextlib import contextmanager, suppress

from starlette.requests import ClientDisconnect, Request

from promu.service.refusal import Refused

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
        raise Refused(413, f"the body is over {limit / 1024 / 1024:.3g} MiB; send a smaller picture or fewer posts")
    return bytes(body)


async def discard_body(request: Request) -> None:
    """Read and drop the body of a request that is refused by its head."""
    with suppress(Refused):
        await read_body(request, 0, DISCARD_SECONDS)
