"""The CNN-BiLSTM text encoder: characters of pieces, padding, saving, and its place behind a CRF."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from tests.factories import tiny_config
from transformers import PreTrainedTokenizerBase

from promu.config import ModelSettings
from promu.errors import InputError
from promu.modeling.backbone import PromuModel
from promu.modeling.classification import PromuForTokenClassification
from promu.modeling.initial_model import build_model
from promu.modeling.inputs import WordEncoder, tensors
from promu.modeling.loading import load_model, save_folder
from promu.modeling.small_encoders import CharBiLstmConfig, CharBiLstmModel

NAMES = {"id2label": {0: "O", 1: "B-PER", 2: "I-PER"}, "label2id": {"O": 0, "B-PER": 1, "I-PER": 2}}
SETTINGS = ModelSettings(text={"model_type": "promu_char_bilstm", "hidden_size": 16}, config={"fusion": "text"})


@pytest.fixture
def encoder(tokenizer: PreTrainedTokenizerBase) -> CharBiLstmModel:
    model = CharBiLstmModel(CharBiLstmConfig(vocab_size=len(tokenizer), hidden_size=16)).eval()
    model.spell(tokenizer.convert_ids_to_tokens(list(range(len(tokenizer)))))
    return model


def test_a_piece_is_spelt_by_its_bytes(encoder: CharBiLstmModel, tokenizer: PreTrainedTokenizerBase) -> None:
    pieces = tokenizer.get_vocab()
    dog = encoder.spelling[pieces["dog"]]
    assert dog[:3].tolist() == [ord("d") + 1, ord("o") + 1, ord("g") + 1] and not dog[3:].any()
    assert torch.equal(encoder.spelling[pieces["##g"]], encoder.spelling[pieces["g"]])
    assert encoder.spelling.any(1).all(), "a piece has no character"


def test_characters_are_the_strongest_answer_of_each_filter(
    encoder: CharBiLstmModel, tokenizer: PreTrainedTokenizerBase
) -> None:
    """By a loop over the places of "dog": three characters, nothing before and after."""
    piece = tokenizer.get_vocab()["dog"]
    vectors = torch.zeros(5, 30)
    vectors[1:4] = encoder.character_embeddings(encoder.spelling[piece][:3])
    weight, bias = encoder.convolution.weight, encoder.convolution.bias
    assert bias is not None
    answers = [(weight * vectors[place : place + 3].T).sum((1, 2)) + bias for place in range(3)]
    expected = torch.stack(answers).relu().amax(0)
    torch.testing.assert_close(encoder._characters(torch.tensor([piece]))[0], expected)


def test_padding_and_neighbours_change_nothing(encoder: CharBiLstmModel) -> None:
    ids = torch.tensor([[2, 9, 12, 30, 3], [2, 7, 3, 0, 0]])
    mask = torch.tensor([[1, 1, 1, 1, 1], [1, 1, 1, 0, 0]])
    together = encoder(ids, mask).last_hidden_state
    torch.testing.assert_close(together[1:, :3], encoder(ids[1:, :3]).last_hidden_state)
    torch.testing.assert_close(together[:1], encoder(ids[:1]).last_hidden_state)
    assert not together[1, 3:].any()


def test_both_directions_are_read(encoder: CharBiLstmModel) -> None:
    ids = torch.tensor([[2, 9, 12, 30, 3]])
    base = encoder(ids).last_hidden_state
    first, last = ids.clone(), ids.clone()
    first[0, 0], last[0, 4] = 40, 40
    assert (encoder(first).last_hidden_state[0, 4] - base[0, 4]).abs().max() > 1e-6
    assert (encoder(last).last_hidden_state[0, 0] - base[0, 0]).abs().max() > 1e-6


def test_a_tagger_of_it_learns_saves_and_comes_back(tokenizer: PreTrainedTokenizerBase, tmp_path: Path) -> None:
    model = build_model(PromuForTokenClassification, SETTINGS, tokenizer, **NAMES)
    assert model.promu.text_encoder.spelling.any()  # type: ignore[union-attr, operator]
    words = WordEncoder(tokenizer, 32)
    texts = [words.words(["the", "dog", "runs", "over", "the", "wide", "field"]), words.words(["a", "singer"])]
    batch = {
        **tensors(words.batch(texts)),
        "word_index": torch.tensor([[1, 2], [1, 2]]),
        "word_mask": torch.ones(2, 2).long(),
    }
    optimiser = torch.optim.Adam(model.parameters(), lr=0.02)
    for _ in range(30):
        optimiser.zero_grad()
        loss = model(**batch, labels=torch.tensor([[0, 1], [1, 2]])).loss
        loss.backward()
        optimiser.step()
    assert float(loss.detach()) < 0.5
    assert [name for name, weight in model.named_parameters() if weight.grad is None] == []
    save_folder(tmp_path / "model", model.eval(), tokenizer)
    back = load_model(PromuForTokenClassification, tmp_path / "model").eval()
    assert torch.equal(back(**batch).emissions, model(**batch).emissions)
    assert model.crf.weights().decode(model(**batch).emissions.detach().numpy(), batch["word_mask"].numpy()) == [
        [0, 1],
        [1, 2],
    ]


def test_images_can_be_fused_with_it_by_layers_of_the_fusion_s_own() -> None:
    text = CharBiLstmConfig(vocab_size=90, hidden_size=32)
    model = PromuModel(tiny_config(text_config=text, fusion_layers=1)).eval()
    output = model(torch.tensor([[2, 5, 3]]), pixel_values=torch.zeros(1, 3, 16, 16))
    assert output.fused_text.shape == (1, 3, 32) and output.fused_visual.shape == (1, 17, 32)
    with pytest.raises(InputError, match=r"'promu_char_bilstm' text encoder cannot be split .* set fusion_layers"):
        PromuModel(tiny_config(text_config=text))


def test_an_odd_width_is_refused() -> None:
    with pytest.raises(InputError, match="hidden_size 15 of a promu_char_bilstm encoder is odd; make it even"):
        CharBiLstmModel(CharBiLstmConfig(hidden_size=15))
