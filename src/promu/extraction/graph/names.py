"""When two written names are one: the rule by which entities are merged."""

from __future__ import annotations

import re
import unicodedata

_UNSEEN = dict.fromkeys([0xAD, 0x200B, 0x200E, 0x200F, *range(0x202A, 0x202F), 0x2060, *range(0x2066, 0x206A), 0xFEFF])
"""Characters without a shape or a meaning of their own: soft hyphen, zero-width space, word joiner, marks of direction.

The zero-width joiners stay: families of emoji and Persian words are written with them.
"""
_BLANKS = re.compile(r"[\s\x00-\x1f\x7f-\x9f]+")
_LEADING = re.compile(r"[@#] ?|the ")


def normalise_name(text: str) -> str:
    """The key of a name: names with equal keys (and equal types) are one entity.

    1. Unicode NFKC and full case folding, characters that are not seen left out: `ＮＡＳＡ` and `Nasa` are one.
    2. Every run of white space is one blank, none at the ends.
    3. Leading `@`, `#` and `the` are left out, as often as they come: `@NASA`, `#nasa` and `the NASA` are one too.

    Nothing else is done: no nicknames, no plurals, no splitting of hashtags. A step that would leave nothing is not
    taken (`#` is `#`), so that the key is empty only where `text` is blank. Keys are their own keys.
    """
    # Folding may undo NFKC and the other way round, so that one round is not enough for a few characters.
    folded = text
    while (once := unicodedata.normalize("NFKC", folded.translate(_UNSEEN)).casefold()) != folded:
        folded = once
    name = _BLANKS.sub(" ", folded or text).strip()
    while (found := _LEADING.match(name)) and found.end() < len(name):
        name = name[found.end() :]
    return name
