"""What of a post's contexts a model reads, and that nothing of them is labelled."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from tests.factories import TINY_TEXT

from promu import Entity, Post, PromuConfig, Relation
from promu.errors import InputError
from promu.modeling.context_packing import pack, relevance
from promu.modeling.inputs import WordEncoder, tensors
from promu.modeling.loading import load_tokenizer
from promu.tasks.task import TASKS
from promu.tasks.torch_predictor import open_model

TOKENS = ("Ann", "met", "Bob")
POST = Post("1", TOKENS, None, (Entity(0, 1, "PER"), Entity(2, 3, "PER")), (Relation(0, 1, "/per/per/peer"),))


@pytest.fixture
def encoder(tiny_models: Path) -> WordEncoder:
    return WordEncoder(load_tokenizer(str(tiny_models / "ner")), 24, ("first", "second"), 16)


def words(encoder: WordEncoder, ids: list[int]) -> str:
    return str(encoder.tokenizer.decode(ids))


def test_contexts_follow_the_text_each_behind_a_separator(encoder: WordEncoder) -> None:
    text = encoder.with_contexts(encoder.words(TOKENS), TOKENS, {"second": "the dog", "first": "a ring", "other": "x"})
    assert words(encoder, text.input_ids) == "[CLS] Ann met Bob [SEP] a ring [SEP] the dog [SEP]"
    assert text.positions == encoder.words(TOKENS).positions
    assert len(text.words) == len(text.input_ids) and set(text.words[-text.context :]) == {-1}
    (segments,) = encoder.batch([text])["token_type_ids"].tolist()
    assert segments == [0] * (len(segments) - text.context) + [1] * text.context


def test_a_post_without_contexts_has_an_empty_one(encoder: WordEncoder) -> None:
    bare = encoder.words(TOKENS)
    assert encoder.with_contexts(bare, TOKENS, {}).input_ids == [*bare.input_ids, encoder.stop]
    encoder.contexts = ()
    assert encoder.with_contexts(bare, TOKENS, {"first": "a ring"}) is bare
    assert "token_type_ids" not in encoder.batch([bare])


def test_the_relevant_sentences_are_read_in_their_order(encoder: WordEncoder) -> None:
    said = {"first": "The ship won a medal . The crew is happy . Bob met Ann today ."}
    encoder.context_budget = 16
    text = encoder.with_contexts(encoder.words(TOKENS), TOKENS, said)
    assert "Bob met Ann" in words(encoder, text.input_ids) and "ship" not in words(encoder, text.input_ids)
    assert text.left_out > 0 and text.context <= 16
    encoder.context_order = "given"
    assert "ship won" in words(encoder, encoder.with_contexts(encoder.words(TOKENS), TOKENS, said).input_ids)


@pytest.mark.parametrize("said", ["x " * 10_000, "Ann met Bob " * 1700, "A ring . " * 2000, "\n \t"])
def test_a_long_context_is_cut_to_the_budget_and_counted(encoder: WordEncoder, said: str) -> None:
    text = encoder.with_contexts(encoder.words(TOKENS), TOKENS, {"first": said})
    assert 1 <= text.context <= 16 and (text.left_out > 0) == bool(said.strip())


def test_special_tokens_in_a_context_are_characters(encoder: WordEncoder) -> None:
    plain = encoder.pair(TOKENS, (0, 1), (2, 3))
    text = encoder.with_contexts(plain, TOKENS, {"first": "[E1] [SEP]"})
    markers: Any = encoder.tokenizer.convert_tokens_to_ids(["[E1]", "[/E1]"])
    assert [text.input_ids.count(marker) for marker in markers] == [1, 1]
    assert text.positions == plain.positions and text.input_ids[: len(plain.input_ids)] == plain.input_ids


def test_rare_words_weigh_more() -> None:
    common, rare = relevance(["Ann", "the"], ["the ring", "Ann"])
    assert common == rare
    scores = relevance(["Ann", "the"], ["the ring", "the dog", "Ann sings"])
    assert scores[2] > scores[0] == scores[1]
    assert pack([], [], 5) == ([], 0) and pack([[1, 2]], [0.0], 0) == ([[]], 2)


@pytest.mark.parametrize("task", ["ner", "re"])
def test_the_model_sees_the_context_and_labels_none_of_it(task: str, tiny_models: Path) -> None:
    model: Any
    model, encoder = open_model(task, tiny_models / task, "cpu")
    model.config.contexts = ["first"]
    encoder = WordEncoder(encoder.tokenizer, 24, ("first",), 16)
    labels = {name: index for index, name in enumerate(model.config.labels)}
    outputs, shapes = [], []
    for said in ({}, {"first": "the ship Orla"}, {"first": "a medal and a ring"}):
        post = Post(POST.id, POST.tokens, None, POST.entities, POST.relations, contexts=said)
        batch = tensors(TASKS[task].batch(encoder, [post], labels))
        with torch.inference_mode():
            outputs.append(getattr(model(**batch), TASKS[task].output))
            flat = model(**{**batch, "token_type_ids": torch.zeros_like(batch["token_type_ids"])})
        assert not torch.equal(outputs[-1], getattr(flat, TASKS[task].output)), "the second segment is told apart"
        shapes.append({name: value.shape for name, value in batch.items() if "index" in name or name == "labels"})
    assert shapes[0] == shapes[1] == shapes[2]
    assert not torch.equal(outputs[0], outputs[1]) and not torch.equal(outputs[1], outputs[2])


def test_length_and_budget_must_fit_the_encoder(tiny_models: Path) -> None:
    tokenizer = load_tokenizer(str(tiny_models / "ner"))
    config = PromuConfig(text_config=dict(TINY_TEXT), max_length=80, contexts=["x"], context_budget=32)
    with pytest.raises(InputError, match=r"context_budget are 112 together, but .* 96 positions"):
        WordEncoder.of(tokenizer, config)
    config.context_budget = 16
    assert WordEncoder.of(tokenizer, config).contexts == ("x",)
