"""Vectors of captions by a text encoder."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from tests.factories import TEXTS, TINY_TEXT, TINY_VISION

from promu import progress
from promu.alignment import falsify as module
from promu.alignment.falsify import SentenceVectors
from promu.errors import InputError


@pytest.fixture(scope="module")
def encoder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A tiny BERT with its tokenizer."""
    from transformers import AutoModel

    from promu.modeling.encoders import encoder_config
    from promu.training.tokenizers import train_wordpiece

    folder = tmp_path_factory.mktemp("encoder")
    tokenizer = train_wordpiece(TEXTS, 400, min_frequency=1)
    torch.manual_seed(3)
    AutoModel.from_config(encoder_config(TINY_TEXT, vocab_size=len(tokenizer))).save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    return folder


def test_sentence_vectors(encoder: Path) -> None:
    """The mean over tokens, made unit length: as each text gives alone, in the order given."""
    from transformers import AutoModel, AutoTokenizer

    texts = [*TEXTS, "Bob", "the dog and the ring " * 60, "🎈"]
    reports: list[tuple[str, int, int]] = []
    threads = torch.get_num_threads()
    with progress.shown(lambda *step: reports.append(step)):
        vectors = SentenceVectors(str(encoder))(texts)
    assert reports[-1] == ("sentence vectors", len(texts), len(texts)) and torch.get_num_threads() == threads
    model, tokenizer = AutoModel.from_pretrained(encoder).eval(), AutoTokenizer.from_pretrained(encoder)
    for text, vector in zip(texts, vectors, strict=True):
        pieces = tokenizer([text], truncation=True, max_length=96, return_tensors="pt")
        with torch.inference_mode():
            mean = model(**pieces).last_hidden_state[0].mean(0)
        # bf16 where the machine has it
        assert torch.cosine_similarity(mean, vector, dim=0) > 0.995
        assert vector.norm().item() == pytest.approx(1.0, abs=1e-5)


def test_what_is_no_text_encoder(encoder: Path, tmp_path: Path) -> None:
    from transformers import AutoModel

    from promu.modeling.encoders import encoder_config

    AutoModel.from_config(encoder_config(TINY_VISION)).save_pretrained(tmp_path / "vision")
    with pytest.raises(InputError, match=r"is no text encoder; name one of BERT's kind"):
        SentenceVectors(str(tmp_path / "vision"))
    AutoModel.from_pretrained(encoder).save_pretrained(tmp_path / "bare")
    with pytest.raises(InputError, match=r"text encoder .*(has no tokenizer|cannot be loaded)"):
        SentenceVectors(str(tmp_path / "bare"))
    with pytest.raises(InputError, match="the Python package 'no_such' is not installed"):
        SentenceVectors("package:no_such/model")


def test_several_batches(encoder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Read at once in several threads, the vectors come out as of one batch."""
    texts = [f"{text} {number}" for number, text in enumerate(TEXTS * 3)]
    vectors = SentenceVectors(str(encoder))
    whole = vectors(texts)
    monkeypatch.setattr(module, "_BATCH", 4)
    assert torch.cosine_similarity(vectors(texts), whole).min().item() > 0.999
