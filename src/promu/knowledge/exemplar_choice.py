"""Worked examples for few-shot prompts, drawn from the training posts alone."""

from __future__ import annotations

import random
from collections.abc import Callable, Sequence

from promu.errors import InputError
from promu.schema import Post


def text_identity(tokens: Sequence[str]) -> str:
    """What two posts of one text have in common, however it was split and capitalised."""
    return "".join("".join(tokens).split()).casefold()


class Exemplars:
    """Training posts as exemplars of any post but those of its own text, whose labels would tell its own.

    Args:
        posts: The training posts.
        labels_of: The labels that a post shows.
        count: Exemplars a prompt.
        seed: Of their choice.
    """

    def __init__(self, posts: Sequence[Post], labels_of: Callable[[Post], set[str]], count: int, seed: int) -> None:
        self._posts = [(text_identity(post.tokens), labels_of(post), post) for post in posts] if count else []
        self._texts = {text for text, _, _ in self._posts}
        self._count, self._seed = count, seed
        self._usual: list[Post] | None = None

    def for_post(self, post: Post) -> list[Post]:
        """Exemplars for one post: the same for all, so that endpoints can keep the beginning of the prompt.

        Where the post's own text is among the training posts, they are chosen as if it were not: its labels then do
        not bear on the choice either.

        Raises:
            InputError: There are too few training posts.
        """
        own = text_identity(post.tokens)
        if own in self._texts:
            return self._choose(own)
        if self._usual is None:
            self._usual = self._choose(None)
        return self._usual

    def _choose(self, without: str | None) -> list[Post]:
        """Shuffled by the seed, those first that show a label not yet shown."""
        shuffled = [(labels, post) for text, labels, post in self._posts if text != without]
        random.Random(self._seed).shuffle(shuffled)
        if len(shuffled) < self._count:
            raise InputError(
                f"{self._count} exemplars are asked for, but the training posts have {len(shuffled)} of another text"
            )
        shown: set[str] = set()
        first: list[Post] = []
        rest: list[Post] = []
        for labels, post in shuffled:
            (rest if labels <= shown else first).append(post)
            shown |= labels
        return (first + rest)[: self._count]
