"""The corpus's own vocabulary: cased, without names by heart, and never at a loss for a letter."""

from __future__ import annotations

import string
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from transformers import AutoTokenizer

from promu.errors import InputError
from promu.modeling.inputs import ENTITY_MARKERS, WordEncoder
from promu.training.tokenizers import SPECIAL, ordinary_words, train_wordpiece

TEXTS = ["the singer Zorvak holds a trophy", "Zorvak holds a trophy over the dog", "the dog sleeps"] * 5
TOKENIZER = train_wordpiece(TEXTS, 400)


def test_common_words_are_whole_and_names_fall_apart() -> None:
    assert TOKENIZER.tokenize("the trophy holds") == ["the", "trophy", "holds"]
    known, unknown = TOKENIZER.tokenize("Zorvak"), TOKENIZER.tokenize("Qelmun")
    # a name that the texts held ten times looks like one that they never held
    assert len(known) > 2 and len(unknown) > 2


def test_case_is_kept() -> None:
    assert TOKENIZER.tokenize("The")[0] == "T" and TOKENIZER.tokenize("the") == ["the"]
    assert TOKENIZER.decode(TOKENIZER("Zorvak holds", add_special_tokens=False).input_ids) == "Zorvak holds"


@given(st.text(alphabet=string.ascii_letters + string.digits + string.punctuation, min_size=1, max_size=20))
def test_no_ascii_word_is_unknown(word: str) -> None:
    pieces = TOKENIZER.tokenize(word, split_special_tokens=True)
    assert "[UNK]" not in pieces
    assert "".join(piece.removeprefix("##") if len(piece) > 2 else piece for piece in pieces) == word


def test_special_tokens_and_markers_have_one_piece_each() -> None:
    assert len({TOKENIZER.convert_tokens_to_ids(token) for token in SPECIAL}) == len(SPECIAL)
    for token in SPECIAL:
        assert TOKENIZER.tokenize(f"the {token} dog") == ["the", token, "dog"]
    assert TOKENIZER("the dog").input_ids[0] == TOKENIZER.cls_token_id
    assert TOKENIZER("the dog").input_ids[-1] == TOKENIZER.sep_token_id


def test_the_size_is_an_upper_limit() -> None:
    assert len(train_wordpiece(TEXTS, 180)) == 180 < len(TOKENIZER) < 400
    assert TOKENIZER.get_vocab().keys() > train_wordpiece(TEXTS, 180).get_vocab().keys()


def test_a_size_that_does_not_hold_the_characters_is_refused() -> None:
    with pytest.raises(
        InputError, match=r"a vocabulary of 100 pieces does not hold .*; set the tokenizer's size to 1\d\d"
    ):
        train_wordpiece(TEXTS, 100)


def test_a_rare_piece_is_not_kept() -> None:
    assert train_wordpiece([*TEXTS, "unheard"], 400).tokenize("unheard") != ["unheard"]
    assert train_wordpiece([*TEXTS, "unheard"], 400, min_frequency=1).tokenize("unheard") == ["unheard"]


def test_the_same_texts_give_the_same_vocabulary() -> None:
    """Ties between pieces, of which these texts are full, must fall the same way each time."""
    texts = ["".join(chr(97 + (seed * step) % 26) for step in range(1, 9)) for seed in range(1, 26, 2)] * 2
    one, *others = (train_wordpiece(texts, 220).get_vocab() for _ in range(5))
    assert len(one) == 220 and sorted(one.values()) == list(range(220))
    assert all(other == one for other in others)


def test_a_piece_of_one_character_is_nothing_special() -> None:
    assert TOKENIZER.tokenize("##a") == ["#", "#", "a"]
    assert sorted(TOKENIZER.all_special_tokens) == sorted(SPECIAL)


def test_characters_beyond_ascii_are_learned_from_the_texts() -> None:
    tokenizer = train_wordpiece(["el niño é", "el niño é"], 400)
    assert tokenizer.tokenize("niño é ß") == ["niño", "é", "[UNK]"]


def test_it_is_the_same_after_saving(tmp_path: Path) -> None:
    TOKENIZER.save_pretrained(tmp_path)
    back = AutoTokenizer.from_pretrained(tmp_path)
    assert back.get_vocab() == TOKENIZER.get_vocab() and back.mask_token == "[MASK]"
    tokens, head, tail = ["the", "singer", "Zorvak"], (1, 2), (2, 3)
    assert WordEncoder(back, 20).pair(tokens, head, tail) == WordEncoder(TOKENIZER, 20).pair(tokens, head, tail)
    assert set(ENTITY_MARKERS) <= set(back.all_special_tokens)


@pytest.mark.parametrize(
    ("text", "expected"), [("the Dog and I run", "the and run"), ("  ", ""), ("@Zorvak #Win 3Pm", "@Zorvak #Win 3Pm")]
)
def test_ordinary_words(text: str, expected: str) -> None:
    assert ordinary_words(text) == expected
