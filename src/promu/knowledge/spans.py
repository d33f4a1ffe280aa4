"""Where in a post's words a name is that a model wrote down."""

from __future__ import annotations

from collections.abc import Sequence

Span = tuple[int, int]
"""First word, word after the last."""


def places(tokens: Sequence[str], name: str) -> list[Span]:
    """Every span whose words are `name`, from left to right, blanks and upper case aside where need be.

    A model does not know how the text was split, so blanks are no matter ("Tel Aviv 's" is "Tel Aviv's"); but a span
    begins and ends with a word. Only where no span has the letters of `name` as they are, upper case is ignored.
    """
    return _places(tokens, name) or _places([token.casefold() for token in tokens], name.casefold())


def _places(tokens: Sequence[str], name: str) -> list[Span]:
    wanted = "".join(name.split())
    if not wanted:
        return []
    text = ""
    begins: dict[int, int] = {}
    ends: dict[int, int] = {}
    for index, token in enumerate(tokens):
        begins[len(text)] = index
        text += "".join(token.split())
        ends.setdefault(len(text), index + 1)  # a no-break space is a word without letters, and ends no name
    found = []
    position = text.find(wanted)
    while position >= 0:
        end = position + len(wanted)
        if position in begins and end in ends:
            found.append((begins[position], ends[end]))
        position = text.find(wanted, position + 1)
    return found


def place(spans: Sequence[Span], taken: Sequence[Span]) -> Span | None:
    """Which of a name's places is meant: the first free one behind the last taken, else the first free one.

    Names are asked for in the order of the text, so the second "Paris" is the second in the text.
    """
    free = [span for span in spans if all(span[1] <= other[0] or other[1] <= span[0] for other in taken)]
    last = taken[-1][1] if taken else 0
    return next((span for span in free if span[0] >= last), free[0] if free else None)
