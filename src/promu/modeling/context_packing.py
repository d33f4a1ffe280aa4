"""Which passages of a post's contexts a model reads: those that say most about the post, as far as its budget goes."""

from __future__ import annotations

import math
import re
from collections import Counter
from collections.abc import Iterable, Sequence
from typing import Literal, NamedTuple

Order = Literal["relevance", "given"]
"""What is read first where not everything fits: passages that share rare words with the post, or as they come."""

_SENTENCE_END = re.compile(r"(?<=[.!?])\s+")
_WORD = re.compile(r"\w+")


def passages(text: str) -> list[str]:
    """The sentences of a text; a line ends one too.

    Example:
        ```python
        from promu.modeling.context_packing import passages

        assert passages("Two men. One sings!\\nA stage") == ["Two men.", "One sings!", "A stage"]
        ```
    """
    lines = (line.strip() for line in text.splitlines())
    return [passage for line in lines for passage in _SENTENCE_END.split(line) if passage]


def relevance(words: Iterable[str], texts: Sequence[str]) -> list[float]:
    """How much each passage has to do with a post: the sum of the weights of the post's words that it has.

    A word that n of N passages have weighs log(1 + N / n). Case does not matter; a word counts once.

    Example:
        ```python
        from promu.modeling.context_packing import relevance

        first, second = relevance(["The", "Bulls", "won"], ["the sky is blue", "the Bulls are a team"])
        assert second > first
        ```
    """
    wanted = {word for token in words for word in _WORD.findall(token.casefold())}
    shared = [wanted & set(_WORD.findall(text.casefold())) for text in texts]
    times = Counter(word for of_text in shared for word in of_text)
    return [sum(math.log1p(len(texts) / times[word]) for word in sorted(of_text)) for of_text in shared]


class Packed(NamedTuple):
    """The pieces that are read of each passage, in the order of the passages, and how many pieces there is no room for.

    A passage that is not read has none.
    """

    pieces: list[list[int]]
    left_out: int


def pack(pieces: Sequence[Sequence[int]], scores: Sequence[float], room: int) -> Packed:
    """Choose passages by score, of equal ones the first, until `room` pieces are full.

    The best is cut where it is too long. Another that does not fit is left out, and the next tried.

    Example:
        ```python
        from promu.modeling.context_packing import pack

        packed = pack([[1, 2, 3], [4, 5], [6]], scores=[0.1, 0.9, 0.5], room=3)
        assert packed.pieces == [[], [4, 5], [6]] and packed.left_out == 3
        ```
    """
    chosen: list[list[int]] = [[] for _ in pieces]
    left = max(0, room)
    for number, place in enumerate(sorted(range(len(pieces)), key=lambda place: -scores[place])):
        if number == 0 or len(pieces[place]) <= left:
            chosen[place] = list(pieces[place][:left])
            left -= len(chosen[place])
    return Packed(chosen, sum(map(len, pieces)) - sum(map(len, chosen)))
