"""Word pieces of a written quintuple: made word by word, so that a name in the answer has the pieces of the text."""

from __future__ import annotations

import unicodedata
from typing import Any

from promu.errors import InputError

OPEN = "The relation between"
AND = "and"
AGAIN = ";"
NOTHING = "No relation"


class Pieces:
    """A tokenizer as the grammar uses it: ids of a word or phrase that stands after a blank.

    Args:
        tokenizer: Hugging Face's, with an end-of-sequence token.

    Attributes:
        start: Ids that every text of this tokenizer starts with (BART's <s>).
        end: The id of the end of sequence.

    Raises:
        InputError: The tokenizer has no end-of-sequence token.
    """

    def __init__(self, tokenizer: Any) -> None:
        if tokenizer.eos_token_id is None:
            raise InputError("the tokenizer has no end-of-sequence token; take that of a T5 or BART type model")
        self.tokenizer = tokenizer
        self.end = int(tokenizer.eos_token_id)
        empty = tokenizer("").input_ids
        self.start: tuple[int, ...] = tuple(empty[:-1]) if empty and empty[-1] == self.end else ()
        self._known: dict[str, tuple[int, ...]] = {}

    def __call__(self, text: str) -> tuple[int, ...]:
        """Ids of a word or phrase after a blank, no special tokens."""
        ids = self._known.get(text)
        if ids is None:
            # A post may say </s>, which must not end an answer: special tokens are text like any other here.
            encoded = self.tokenizer(f" {text}", add_special_tokens=False, split_special_tokens=True)
            ids = self._known[text] = tuple(encoded.input_ids)
        return ids

    def phrase(self, text: str) -> tuple[int, ...]:
        """Ids of words of the grammar, all of which the tokenizer must know.

        Raises:
            InputError: It does not.
        """
        ids = self(text)
        if not ids or self.tokenizer.unk_token_id in ids:
            raise InputError(
                f"the tokenizer does not know {text!r}, which answers are written with; take another, or rename it"
            )
        return ids

    def word(self, word: str) -> tuple[int, ...]:
        """Ids of a word of a post, as prompts and answers both have it.

        A "(" comes doubled, so that the single one that ends a name in an answer is never part of it. Tokenizers fold
        characters that look alike, so those that fold to "(" are doubled too.
        """
        folded = unicodedata.normalize("NFKC", word)
        return self(folded.replace("(", "((") if "(" in folded else word)
