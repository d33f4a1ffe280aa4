"""The posts' pictures as prompts take them, each file read once."""

from __future__ import annotations

import logging
from pathlib import Path
from typing import Literal

from promu.errors import InputError
from promu.knowledge.messages import Picture
from promu.schema import Post

logger = logging.getLogger(__name__)

MissingPictures = Literal["error", "text-only"]


class PromptPictures:
    """Pictures by the posts that name them.

    Args:
        folder: Where they are; None asks about every post by its text alone.
        longest: Pixels of the longer side as sent, at most.
        missing: What a missing or broken picture does: stop, or have its post asked about as text.
    """

    def __init__(self, folder: Path | None, longest: int = 768, missing: MissingPictures = "error") -> None:
        if longest < 16:
            raise InputError(f"pictures of at most {longest} pixels show nothing; allow 16 or more")
        if folder is not None and not folder.is_dir():
            raise InputError(
                "no such folder of pictures; correct --images, or leave it out to ask by text alone", folder
            )
        self.folder = folder
        self.longest = longest
        self.missing = missing
        self.broken: dict[str, str] = {}
        self._read: dict[str, Picture] = {}

    def of(self, post: Post) -> tuple[Picture, ...]:
        """The post's picture, or nothing.

        Raises:
            InputError: It is missing or broken, and that is an error.
        """
        if self.folder is None or post.image is None or post.image in self.broken:
            return ()
        if post.image not in self._read:
            try:
                self._read[post.image] = Picture.read(self.folder / post.image, self.longest)
            except InputError as error:
                if self.missing == "error":
                    raise InputError(
                        f"{error.reason}; or have its post asked about as text (--missing-pictures text-only)",
                        error.path,
                    ) from None
                self.broken[post.image] = error.reason
                logger.warning("%s; its posts are asked about as text", error)
                return ()
        return (self._read[post.image],)

    def counts(self, posts: list[Post]) -> dict[str, int]:
        """How many posts were asked about with a picture, and how many as text alone."""
        shown = sum(bool(self.of(post)) for post in posts)
        return {"with picture": shown, "as text": len(posts) - shown, "pictures missing or broken": len(self.broken)}
