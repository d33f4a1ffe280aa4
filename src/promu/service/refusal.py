"""The one way in which the service says no."""

from __future__ import annotations


class Refused(Exception):
    """A request that is not answered with a result.

    Args:
        status: The HTTP status, 4xx, or 503 where it may succeed later.
        sentence: What is wrong, with the value and the remedy.
        retry_after: Seconds after which it is worth trying again; sent as `Retry-After`.
    """

    def __init__(self, status: int, sentence: str, retry_after: int | None = None) -> None:
        super().__init__(sentence)
        self.status, self.sentence, self.retry_after = status, sentence, retry_after
