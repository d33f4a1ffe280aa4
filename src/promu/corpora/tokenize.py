"""A small tokenizer for posts that agrees with how the published sets were split.

As in MNRE and Twitter-2017 a hashtag becomes "#" and its word, so that an entity can be the word alone; as in MNRE and
Twitter-2015 a mention stays whole; contractions are split the Penn way ("he" "'s", "do" "n't").

Chinese, Japanese, Thai, Lao, Khmer, Burmese, Javanese and Balinese put no blanks between words. Of these each character
is a word, with the marks on it: whole words need a dictionary, which promu does not have. Who has one gives `tokens`.
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Sequence

import regex

from promu.errors import InputError
from promu.files import shorten

_FIXED = re.compile(
    r"""
    (?:https?://|www\.)[^\s<>"“”\u200b-\u200f\u2060\ufeff]+
    | (?<!\w)@\w{1,50}
    | [\w+-](?:[\w.+-]{0,63})@[\w-]{1,63}(?:\.[\w-]{2,63})+
    | &(?:[a-zA-Z]{2,8}|\#\d{1,7});
    | (?:[A-Za-z]\.){2,}
    | ['’](?:s|m|d|re|ve|ll)(?!\w)
    | [:;=][-o']?[()DPp/\\|](?!\w) | <3(?!\w)
    | \.{2,} | -{2,} | …
    """,
    re.VERBOSE | re.IGNORECASE,
)
_URL_TAIL = re.compile(r"[.,!?;:'\")\]}…»]+$")
_CONTRACTION = re.compile(r"(?<=[^\W\d])(?:n['’]t|['’](?:s|m|d|re|ve|ll))$", re.IGNORECASE)
_LETTER_JOINERS = "'’-\u00ad\u200c\u200d\u2060"
_DIGIT_JOINERS = ".,:/"
_ZWJ = "\u200d"
_SKIN_TONES = range(0x1F3FB, 0x1F400)
_FLAG_LETTERS = range(0x1F1E6, 0x1F200)
_TAGS = range(0xE0020, 0xE0080)
_FIRST_ALONE = 0x0E00
"""The first character of a script without blanks; what most posts are made of lies before."""
_ALONE = regex.compile(r"[\p{Han}\p{Hiragana}\p{Katakana}ー゛゜ｰﾞﾟ\p{Line_Break=SA}\p{Javanese}\p{Balinese}]")
_CLUSTER = regex.compile(r"\X")
_LANGUAGES = {
    "CJK": "Chinese", "IDEOGRAPHIC": "Chinese", "HIRAGANA": "Japanese", "KATAKANA": "Japanese", "HALFWIDTH": "Japanese",
    "KATAKANA-HIRAGANA": "Japanese", "MYANMAR": "Burmese",
}  # fmt: skip


def tokenize(text: str) -> list[tuple[str, int, int]]:
    """Split a post into words.

    Every visible character belongs to exactly one token. Blanks, control and zero-width characters between words
    belong to none; inside an emoji sequence or a word (as in Persian) zero-width joiners stay.

    Returns:
        (token, start, end) with `text[start:end] == token`, in order; offsets count code points, end exclusive.
    """
    tokens: list[tuple[str, int, int]] = []
    position = 0
    while position < len(text):
        if _is_gap(text[position]):
            position += 1
            continue
        end = _token_end(text, position)
        cut = _contraction(text, position, end)
        for start, stop in ((position, cut), (cut, end)):
            if start < stop:
                tokens.append((text[start:stop], start, stop))
        position = end
    return tokens


Offsets = tuple[tuple[int, int], ...]
"""Where words lie in their text: (start, end) of each in code points, end exclusive."""


def align(tokens: Sequence[str], text: str) -> Offsets:
    """Where the words of another program lie in the text that they were split from.

    The words must be the whole text, in their order: between them are only blanks, control and format characters.
    So no offset can point into another word.

    Raises:
        InputError: The text has something else at the place of a word, or goes on after the last.

    Example:
        ```python
        from promu.corpora.tokenize import align

        assert align(["can", "not", "!"], "cannot !") == ((0, 3), (3, 6), (7, 8))
        ```
    """
    offsets = []
    position = 0
    for number, token in enumerate((*tokens, "")):
        while position < len(text) and not (token and text.startswith(token, position)):
            if not _is_between(text[position]):
                raise InputError(_disagreement(tokens, number, text, position))
            position += 1
        if token:
            if position == len(text):
                raise InputError(_disagreement(tokens, number, text, position))
            offsets.append((position, position + len(token)))
            position += len(token)
    return tuple(offsets)


def languages_without_blanks(text: str) -> list[str]:
    """The languages in a text that put no blanks between words, by name; kanji count as Chinese.

    Example:
        ```python
        from promu.corpora.tokenize import languages_without_blanks

        assert languages_without_blanks("東京で見た Tower") == ["Chinese", "Japanese"]
        ```
    """
    names = {unicodedata.name(character, "") for character in text if _stands_alone(character)}
    first = {name.split(" ")[0] for name in names if name}
    return sorted({_LANGUAGES.get(name, name.title()) for name in first})


def _stands_alone(character: str) -> bool:
    """Whether a character is of a script without blanks."""
    return ord(character) >= _FIRST_ALONE and _ALONE.match(character) is not None


def visible(text: str) -> str:
    """The text without what may lie between words, by which two spellings of the same words are compared."""
    return "".join(character for character in text if not _is_between(character))


def same_words(first: str, second: str) -> bool:
    """Whether two texts are the same words: blanks apart, and in whatever Unicode normal form."""
    return same_characters(visible(first), visible(second))


def normal_form(text: str) -> str:
    """The Unicode normal form that a text is written in: NFC, NFD, or neither."""
    return next((form for form in ("NFC", "NFD") if unicodedata.is_normalized(form, text)), "neither NFC nor NFD")  # type: ignore[arg-type]


def same_characters(first: str, second: str) -> bool:
    """Whether two texts are the same in Unicode's normal form C."""
    return first == second or unicodedata.normalize("NFC", first) == unicodedata.normalize("NFC", second)


def _disagreement(tokens: Sequence[str], number: int, text: str, position: int) -> str:
    rest = text[position : position + 40]
    there = f"the text goes on with {shorten(rest, 40)} at character {position}" if rest else "the text ends before it"
    if number == len(tokens):
        return f"tokens and text do not agree: after the last token {there}; drop text or tokens"
    token = tokens[number]
    reason = f"tokens and text do not agree: token {number} is {shorten(token)}, but {there}"
    length = max(len(token), len(unicodedata.normalize("NFD", token)))
    same = [end for end in range(1, length + 1) if same_characters(text[position : position + end], token)]
    if same and rest:
        forms = f"{normal_form(token)} there and {normal_form(text[position : position + same[-1]])} here"
        return f"{reason}; it is the same word in another Unicode normal form ({forms}): write both in one"
    return f"{reason}; drop text or tokens"


def _is_between(character: str) -> bool:
    """Whether a character may lie between two words and belong to none of them."""
    category = unicodedata.category(character)
    return category[0] == "Z" or category in ("Cc", "Cf", "Cs") or character.isspace()


def _token_end(text: str, start: int) -> int:
    fixed = _FIXED.match(text, start)
    if fixed is None:
        return _word_end(text, start) if _is_word(text[start]) else _symbol_end(text, start)
    if not fixed[0].lower().startswith(("http", "www")):
        return fixed.end()
    # A full stop or bracket after a URL ends the sentence, not the address.
    return start + len(_URL_TAIL.sub("", fixed[0]))


def _word_end(text: str, start: int) -> int:
    if _stands_alone(text[start]):
        return _with_marks(text, _CLUSTER.match(text, start).end())
    end = start + 1
    while end < len(text):
        character = text[end]
        if _stands_alone(character):
            break
        if _is_word(character) or _is_mark(character):
            end += 1
        elif end + 1 < len(text) and _joins(text[end - 1], character, text[end + 1]):
            end += 2
        else:
            break
    return end


def _joins(before: str, character: str, after: str) -> bool:
    """Whether `character` between two others keeps them one word: O'Neal, U-17, 10:30, 1,000."""
    if _stands_alone(after):
        return False
    if character in _DIGIT_JOINERS:
        return before.isdigit() and after.isdigit()
    return character in _LETTER_JOINERS and _is_word(after)


def _symbol_end(text: str, start: int) -> int:
    """The end of one punctuation mark or of one emoji with all that modifies it."""
    if ord(text[start]) in _FLAG_LETTERS and start + 1 < len(text) and ord(text[start + 1]) in _FLAG_LETTERS:
        return start + 2
    end = _with_marks(text, start + 1)
    while end + 1 < len(text) and text[end] == _ZWJ and unicodedata.category(text[end + 1]) == "So":
        end = _with_marks(text, end + 2)
    return end


def _with_marks(text: str, end: int) -> int:
    while end < len(text) and (_is_mark(text[end]) or ord(text[end]) in _SKIN_TONES or ord(text[end]) in _TAGS):
        end += 1
    return end


def _contraction(text: str, start: int, end: int) -> int:
    """Where a word is cut before its contraction; its end where it has none."""
    if not text[start].isalpha() or not text[end - 1].isalpha():
        return end
    match = _CONTRACTION.search(text[start:end])
    return start + match.start() if match else end


def _is_word(character: str) -> bool:
    return character == "_" or unicodedata.category(character)[0] in "LN"


def _is_mark(character: str) -> bool:
    return unicodedata.category(character)[0] == "M"


def _is_gap(character: str) -> bool:
    """Blank or invisible: a separator, a control or format character, half a surrogate pair, a mark without a base."""
    category = unicodedata.category(character)
    return category[0] in "ZM" or category in ("Cc", "Cf", "Cs") or character.isspace()
