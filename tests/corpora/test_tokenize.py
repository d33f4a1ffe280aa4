"""The tokenizer for posts."""

from __future__ import annotations

import unicodedata
from pathlib import Path

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from promu.corpora.mnre import read_mnre
from promu.corpora.tokenize import languages_without_blanks, tokenize

FAMILY = "👨‍👩‍👧‍👦"


@pytest.mark.parametrize(
    ("text", "tokens"),
    [
        ("RT @Jay_Ken: he's okay, don't!", ["RT", "@Jay_Ken", ":", "he", "'s", "okay", ",", "do", "n't", "!"]),
        ("Bill 's HTTPS://A.b", ["Bill", "'s", "HTTPS://A.b"]),
        ("#NBAAwards #2", ["#", "NBAAwards", "#", "2"]),
        ("see https://t.co/aB1?x=2. (www.a.org)", ["see", "https://t.co/aB1?x=2", ".", "(", "www.a.org", ")"]),
        ("O’Neal’s U-17 at 10:30, $1,000.50", ["O’Neal", "’s", "U-17", "at", "10:30", ",", "$", "1,000.50"]),
        ("U.S. wait... a@b.com &amp; :) <3", ["U.S.", "wait", "...", "a@b.com", "&amp;", ":)", "<3"]),
        (f"{FAMILY}👍🏽🇩🇪🇫🇷❤️1️⃣📷Books", [FAMILY, "👍🏽", "🇩🇪", "🇫🇷", "❤️", "1️⃣", "📷", "Books"]),
        ("مرحبا يا \u200f#عالم", ["مرحبا", "يا", "#", "عالم"]),
        ("می\u200cخواهم", ["می\u200cخواهم"]),
        ("a\u200bb \ufeff \u2060", ["a", "b"]),
        ("हिन्दी e\u0301té 你好", ["हिन्दी", "e\u0301té", "你", "好"]),
        ("東京タワーで会いました。", [*"東京タワーで会いました。"]),
        ("ก็น้ำ iPhoneを買う", ["ก็", "น้ำ", "iPhone", "を", "買", "う"]),
        ("か\u3099 ﾊﾟﾝ", ["か\u3099", "ﾊﾟ", "ﾝ"]),
        ("ခရီး ລາວ ខ្មែរ 𠮷野家", ["ခ", "ရီး", "ລ", "າ", "ວ", "ខ្មែ", "រ", "𠮷", "野", "家"]),
        ("한국어 བོད་ཡིག", ["한국어", "བོད", "་", "ཡིག"]),
        ("", []),
        (" \n\ufe0f", []),
    ],
)
def test_tokens(text: str, tokens: list[str]) -> None:
    assert [token for token, _, _ in tokenize(text)] == tokens


pieces = st.sampled_from(
    [" ", "@", "#", "http://", "www.", "'s", "n't", ".", "..", ",", ":", "-", "1", "a", "é", "你", "م", "ि", "\u200d",
     "\u200c", "\u200b", "\ufe0f", "👍", "🏽", "🇩", FAMILY, "&amp;", "_", "\ud800", "\n", "e\u0301", "://", ")",
     "カ", "ー", "ん", "ไ", "น้ำ", "ខ្ម", "း"]
)  # fmt: skip


@given(st.one_of(st.text(), st.lists(pieces, max_size=30).map("".join)))
@example("https://)))")
@example("\u0301a\u200d")
def test_offsets_are_exact_and_nothing_visible_is_lost(text: str) -> None:
    covered = 0
    for token, start, end in tokenize(text):
        assert covered <= start < end
        assert text[start:end] == token
        assert not token[0].isspace() and not token[-1].isspace() and "\n" not in token
        assert all(invisible(character) for character in text[covered:start])
        assert not all(invisible(character) for character in token)
        covered = end
    assert all(invisible(character) for character in text[covered:])


def test_languages_without_blanks_are_named() -> None:
    assert languages_without_blanks("東京で見た ประเทศไทย Tower 한국어 мир ခ ລ ខ") == [
        "Burmese", "Chinese", "Japanese", "Khmer", "Lao", "Thai",
    ]  # fmt: skip
    assert languages_without_blanks("New York, 서울") == []


def invisible(character: str) -> bool:
    category = unicodedata.category(character)
    return category[0] in "ZM" or category in ("Cc", "Cf", "Cs")


@pytest.mark.slow
def test_long_hostile_text_is_quick() -> None:
    for piece in ("a.", "@", "a-", "\u200d", "👍\u200d", "http://", "1.", "'s", "a@b."):
        assert tokenize(piece * 20_000) is not None


def test_agrees_with_how_mnre_was_split(shared: Path) -> None:
    posts = read_mnre(shared / "data" / "mnre" / "mnre_val.txt")
    agreeing = sum([token for token, _, _ in tokenize(" ".join(post.tokens))] == list(post.tokens) for post in posts)
    assert agreeing / len(posts) > 0.9
