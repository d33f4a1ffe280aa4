"""Words to pieces: every word has a place, and truncation never drops a marker."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image
from tokenizers import Tokenizer, models, pre_tokenizers, trainers
from transformers import AutoTokenizer, PreTrainedTokenizerBase, PreTrainedTokenizerFast, RobertaTokenizerFast

from promu.errors import InputError
from promu.modeling.configuration import PromuConfig
from promu.modeling.inputs import (
    ENTITY_MARKERS,
    EncodedText,
    WordEncoder,
    add_entity_markers,
    pad_positions,
    tensors,
    to_pixels,
)
from promu.training.pair_batches import mask_tokens
from promu.training.tokenizers import train_wordpiece

# hypothesis shares nothing with fixtures that are made anew for each example
TOKENIZER = train_wordpiece(["the dog runs over the wide field", "a singer holds a golden trophy"] * 2, 400)
VARIATION_SELECTOR = "\ufe0f"


def encoder(max_length: int = 80) -> WordEncoder:
    return WordEncoder(TOKENIZER, max_length)


def pieces(text: EncodedText) -> list[str]:
    return list(TOKENIZER.convert_ids_to_tokens(text.input_ids))


def test_positions_point_at_first_pieces() -> None:
    text = encoder().words(["the", "Zorvak", "runs"])
    tokens = pieces(text)
    assert tokens[0] == "[CLS]" and tokens[-1] == "[SEP]"
    assert [tokens[position] for position in text.positions] == ["the", "Z", "runs"]
    assert "".join(tokens[text.positions[1] : text.positions[2]]).replace("##", "") == "Zorvak"


def test_a_word_without_pieces_still_has_a_place() -> None:
    text = encoder().words(["the", VARIATION_SELECTOR, "", "dog"])
    assert pieces(text) == ["[CLS]", "the", "[UNK]", "[UNK]", "dog", "[SEP]"]
    assert text.positions == [1, 2, 3, 4]


@given(
    words=st.lists(st.text(alphabet="abcXYZ1!", min_size=1, max_size=12), max_size=12), max_length=st.integers(3, 20)
)
def test_a_text_is_cut_at_the_longest_length_and_no_earlier(words: list[str], max_length: int) -> None:
    text = encoder(max_length).words(words)
    whole = encoder(1000).words(words)
    assert len(text.input_ids) == min(max_length, len(whole.input_ids))
    assert text.input_ids[0] == TOKENIZER.cls_token_id and text.input_ids[-1] == TOKENIZER.sep_token_id
    assert text.input_ids[1:-1] == whole.input_ids[1 : len(text.input_ids) - 1]
    assert text.positions == [position for position in whole.positions if position < max_length - 1]


def test_a_pair_by_hand() -> None:
    text = encoder().pair(["the", "dog", "runs", "over", "the", "field"], (1, 2), (4, 6))
    assert pieces(text) == [
        *("[CLS]", "the", "[E1]", "dog", "[/E1]", "runs", "over"),
        *("[E2]", "the", "field", "[/E2]", "[SEP]"),
    ]
    assert text.positions == [2, 7]


@pytest.mark.parametrize(
    ("head", "tail", "expected"),
    [
        ((0, 1), (1, 2), "[E1] the [/E1] [E2] dog [/E2] runs"),
        ((1, 2), (0, 1), "[E2] the [/E2] [E1] dog [/E1] runs"),
        ((0, 3), (1, 2), "[E1] the [E2] dog [/E2] runs [/E1]"),
        ((1, 2), (0, 3), "[E2] the [E1] dog [/E1] runs [/E2]"),
        ((0, 2), (1, 3), "[E1] the [E2] dog [/E1] runs [/E2]"),
        ((1, 2), (1, 2), "the [E1] [E2] dog [/E1] [/E2] runs"),
    ],
    ids=["adjacent", "adjacent, tail first", "nested", "nested, tail outside", "overlapping", "identical"],
)
def test_markers_of_every_kind_of_pair(head: tuple[int, int], tail: tuple[int, int], expected: str) -> None:
    text = encoder().pair(["the", "dog", "runs"], head, tail)
    tokens = pieces(text)
    assert tokens[1:-1] == expected.split()
    assert [tokens[position] for position in text.positions] == ["[E1]", "[E2]"]


def span(words: int) -> st.SearchStrategy[tuple[int, int]]:
    return (
        st.tuples(st.integers(0, words - 1), st.integers(1, words))
        .map(lambda ends: (min(ends), max(ends)))
        .filter(lambda ends: ends[0] < ends[1])
    )


@given(data=st.data(), words=st.integers(1, 30), max_length=st.sampled_from([6, 7, 12, 20, 80]))
def test_truncation_never_drops_a_marker(data: st.DataObject, words: int, max_length: int) -> None:
    tokens = data.draw(st.lists(st.sampled_from(["dog", "Zorvak", "qqqqqqq"]), min_size=words, max_size=words))
    head, tail = data.draw(span(words)), data.draw(span(words))
    text = encoder(max_length).pair(tokens, head, tail)
    found = pieces(text)
    whole = pieces(encoder(1000).pair(tokens, head, tail))
    assert len(found) == min(max_length, len(whole))
    assert found[0] == "[CLS]" and found[-1] == "[SEP]"
    for marker in ENTITY_MARKERS:
        assert found.count(marker) == 1
    assert [found[position] for position in text.positions] == ["[E1]", "[E2]"]
    # what is left keeps its order
    rest = iter(whole)
    assert all(piece in rest for piece in found)
    assert [piece for piece in found if piece in ENTITY_MARKERS] == [
        piece for piece in whole if piece in ENTITY_MARKERS
    ]


def test_a_pair_that_is_too_long_keeps_what_is_nearest_to_the_markers() -> None:
    words = ["a"] * 20 + ["dog"] + ["the"] * 20 + ["field"] + ["a"] * 20
    text = encoder(12).pair(words, (20, 21), (41, 42))
    assert " ".join(pieces(text)) == "[CLS] a [E1] dog [/E1] the the [E2] field [/E2] a [SEP]"


@given(data=st.data(), words=st.integers(2, 12), max_length=st.sampled_from([8, 12, 80]))
def test_every_piece_knows_its_word(data: st.DataObject, words: int, max_length: int) -> None:
    tokens = data.draw(st.lists(st.text("abcXYZ", min_size=1, max_size=5), min_size=words, max_size=words))
    for text in (encoder(max_length).words(tokens), encoder(max_length).pair(tokens, (0, 1), (1, 2))):
        assert len(text.words) == len(text.input_ids) and text.words[0] == text.words[-1] == -1
        for word, token in enumerate(tokens):
            read = [piece for piece, of in zip(text.input_ids, text.words, strict=True) if of == word]
            # a word at the cut may lose pieces, but gets none of another
            assert set(read) <= set(encoder().pieces(token))
        if max_length == 80:
            assert [of for of in text.words if of >= 0] == [
                word for word, token in enumerate(tokens) for _ in encoder().pieces(token)
            ]


def test_a_length_that_cannot_hold_the_markers_is_refused() -> None:
    with pytest.raises(InputError, match="max_length 5 is too short for a marked pair; set it to 6 or more"):
        encoder(5).pair(["the", "dog"], (0, 1), (1, 2))


def test_a_text_that_holds_the_characters_of_a_special_token_forges_none() -> None:
    words = ["[E1]", "the", "[SEP]", "dog", "runs"]
    text = encoder().pair(words, (3, 4), (4, 5))
    tokens = pieces(text)
    assert tokens.count("[E1]") == 1 and tokens.count("[SEP]") == 1
    assert tokens[text.positions[0] + 1] == "dog"
    assert "[MASK]" not in pieces(encoder().text("see [MASK]")) and "[PAD]" not in pieces(encoder().words(["[PAD]"]))


def test_a_tokenizer_without_markers_is_refused() -> None:
    plain = PreTrainedTokenizerFast(
        tokenizer_object=TOKENIZER.backend_tokenizer.__class__.from_str(
            '{"version":"1.0","model":{"type":"WordLevel","vocab":{"[UNK]":0,"[CLS]":1,"[SEP]":2},"unk_token":"[UNK]"}}'
        ),
        unk_token="[UNK]",
        cls_token="[CLS]",
        sep_token="[SEP]",
    )
    with pytest.raises(InputError, match=r"the tokenizer lacks the entity markers \[E1\]"):
        WordEncoder(plain, 20).pair(["a", "b"], (0, 1), (1, 2))
    assert add_entity_markers(plain) == 4 and add_entity_markers(plain) == 0
    assert WordEncoder(plain, 20).pair(["a", "b"], (0, 1), (1, 2)).positions == [1, 4]
    nameless = PreTrainedTokenizerFast(tokenizer_object=plain.backend_tokenizer, unk_token="[UNK]")
    with pytest.raises(InputError, match="the tokenizer has no start or end token"):
        WordEncoder(nameless, 20)


def byte_level_tokenizer(folder: Path) -> PreTrainedTokenizerBase:
    raw = Tokenizer(models.BPE(unk_token="<unk>"))
    raw.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    special = ["<s>", "<pad>", "</s>", "<unk>", "<mask>"]
    alphabet = pre_tokenizers.ByteLevel.alphabet()
    raw.train_from_iterator(
        ["the dog runs"] * 3, trainers.BpeTrainer(vocab_size=300, special_tokens=special, initial_alphabet=alphabet)
    )
    RobertaTokenizerFast(tokenizer_object=raw).save_pretrained(folder)
    return AutoTokenizer.from_pretrained(folder)


def test_a_tokenizer_of_the_roberta_kind(tmp_path: Path) -> None:
    tokenizer = byte_level_tokenizer(tmp_path)
    add_entity_markers(tokenizer)
    bpe = WordEncoder(tokenizer, 20)
    text = bpe.words(["the", VARIATION_SELECTOR, "dog"])
    assert text.input_ids[0] == tokenizer.bos_token_id and text.input_ids[-1] == tokenizer.eos_token_id
    assert len(text.positions) == 3
    assert str(tokenizer.decode(text.input_ids[1:-1])).replace(" ", "") == f"the{VARIATION_SELECTOR}dog"
    assert bpe.batch([text, bpe.words(["dog"])])["input_ids"][1, -1] == tokenizer.pad_token_id
    pair = bpe.pair(["the", "dog"], (0, 1), (1, 2))
    assert [tokenizer.convert_ids_to_tokens(pair.input_ids[place]) for place in pair.positions] == ["[E1]", "[E2]"]


def test_bert_base_uncased_gives_every_tweet_word_a_place(shared: Path) -> None:
    tokenizer = AutoTokenizer.from_pretrained(shared / "models" / "bert-base-uncased-tokenizer")
    add_entity_markers(tokenizer)
    text = WordEncoder(tokenizer, 80).words(["RT", "@Snoopy", "☺", VARIATION_SELECTOR, "café"])
    assert len(text.positions) == 5
    tokens = tokenizer.convert_ids_to_tokens(text.input_ids)
    assert [tokens[place] for place in text.positions] == ["rt", "@", "[UNK]", "[UNK]", "cafe"]


def test_a_batch_is_padded_to_its_longest_text() -> None:
    batch = encoder().batch([EncodedText([1, 2, 3], []), EncodedText([4], [])])
    pad = TOKENIZER.pad_token_id
    assert batch["input_ids"].tolist() == [[1, 2, 3], [4, pad, pad]]
    assert batch["attention_mask"].tolist() == [[1, 1, 1], [1, 0, 0]]


def test_captions_are_cut_at_the_longest_length() -> None:
    text = encoder(6).text("the dog runs over the wide field")
    assert pieces(text) == ["[CLS]", "the", "dog", "runs", "over", "[SEP]"]


def test_pad_positions_gives_at_least_one_column() -> None:
    values, mask = pad_positions([[3, 4], [], [5]])
    assert values.tolist() == [[3, 4], [0, 0], [5, 0]] and mask.tolist() == [[1, 1], [0, 0], [1, 0]]
    assert pad_positions([[], []])[0].shape == (2, 1)


def test_masking_never_hides_a_special_token_or_a_marker() -> None:
    texts = [
        encoder().pair(["the", "dog", "runs", VARIATION_SELECTOR], (0, 1), (2, 3)),
        encoder().pair(["a", "singer"], (0, 1), (1, 2)),
    ]
    batch = tensors(encoder().batch(texts))
    ids, labels = mask_tokens(batch, encoder(), torch.zeros(batch["input_ids"].shape))
    special = set(TOKENIZER.all_special_ids)
    assert {TOKENIZER.convert_tokens_to_ids(marker) for marker in ENTITY_MARKERS} <= special
    for before, after, label in zip(batch["input_ids"].flatten(), ids.flatten(), labels.flatten(), strict=True):
        if int(before) in special:
            assert after == before and label == -100
        else:
            assert after == TOKENIZER.mask_token_id and label == before


def test_masking_hides_its_share() -> None:
    torch.manual_seed(0)
    batch = {"input_ids": torch.tensor(TOKENIZER.convert_tokens_to_ids("the")).repeat(100, 100)}
    batch["attention_mask"] = torch.ones_like(batch["input_ids"])
    before = batch["input_ids"].clone()
    ids, labels = mask_tokens(batch, encoder(), torch.rand(100, 100))
    hidden = ids == TOKENIZER.mask_token_id
    assert 0.13 < hidden.float().mean() < 0.17
    assert torch.equal(labels != -100, hidden)
    assert torch.equal(batch["input_ids"], before), "the batch itself is left alone"
    nothing, none = mask_tokens(batch, encoder(), torch.ones(100, 100))
    assert torch.equal(nothing, before) and bool((none == -100).all())


def test_images_become_channels_first_bytes() -> None:
    array = np.zeros((4, 6, 3), dtype=np.uint8)
    array[1, 2] = (10, 20, 30)
    exact = to_pixels(Image.fromarray(np.ascontiguousarray(array[:, :4])), 4)
    assert exact.shape == (3, 4, 4) and exact.dtype == np.uint8
    assert exact[:, 1, 2].tolist() == [10, 20, 30] and int(exact.sum()) == 60
    # squeezed to a square, not cropped: the bright right half stays the right half
    wide = np.zeros((8, 32, 3), dtype=np.uint8)
    wide[:, 16:] = 255
    square = to_pixels(Image.fromarray(wide), 8)
    assert square.shape == (3, 8, 8)
    assert not square[:, :, :3].any() and bool((square[:, :, 5:] == 255).all())


@pytest.mark.parametrize(
    ("text", "positions"),
    [
        ({"model_type": "bert", "max_position_embeddings": 96}, 96),
        ({"model_type": "roberta", "max_position_embeddings": 514}, 512),  # two places come before the first word's
        ({"model_type": "distilbert", "max_position_embeddings": 64}, 64),
        ({"model_type": "deberta-v2", "position_biased_input": False}, None),
        ({"model_type": "t5"}, None),
    ],
)
def test_no_text_is_longer_than_the_encoder_has_positions_for(text: dict[str, Any], positions: int | None) -> None:
    most = positions or 4000
    assert PromuConfig(text_config=text).max_positions == positions
    assert WordEncoder.of(TOKENIZER, PromuConfig(text_config=text, max_length=most)).max_length == most
    if positions is not None:
        with pytest.raises(InputError, match=f"max_length is {most + 1}, but the text encoder has {most} positions"):
            WordEncoder.of(TOKENIZER, PromuConfig(text_config=text, max_length=most + 1))
