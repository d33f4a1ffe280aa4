"""Tiny tokenizers of the kinds that T5 and BART have, and models of their shapes, made on the spot."""

from __future__ import annotations

from typing import Any

import pytest
from tests.llm.conftest import connect, quick, server
from tokenizers import Tokenizer, decoders, models, normalizers, pre_tokenizers, processors, trainers
from transformers import PreTrainedTokenizerFast

__all__ = ["connect", "quick", "server"]  # fixtures of the stand-in endpoint

TEXTS = (
    'The relation between Ann Lee (person) and Big Club (organization) is "member of" ; No relation',
    "Ann Lee met Bob at the old bridge in Rome today , so happy (location) (miscellaneous 2) 10",
    'is "place of birth" is "peer" the crew of Zorva won a medal and a ring near Mount Kelmo !',
)
ALPHABET = [chr(code) for code in range(33, 127)]


def metaspace_tokenizer(size: int = 220) -> PreTrainedTokenizerFast:
    """As T5's: a mark for each blank, alike characters folded, unknown ones to <unk>, </s> at the end."""
    tokenizer = Tokenizer(models.BPE(unk_token="<unk>"))
    tokenizer.normalizer = normalizers.NFKC()
    tokenizer.pre_tokenizer = pre_tokenizers.Metaspace()
    tokenizer.decoder = decoders.Metaspace()
    special = ["<pad>", "</s>", "<unk>"]
    trainer = trainers.BpeTrainer(
        vocab_size=size, special_tokens=special, initial_alphabet=[*ALPHABET, "▁"], show_progress=False
    )
    tokenizer.train_from_iterator(TEXTS, trainer)
    tokenizer.post_processor = processors.TemplateProcessing(single="$A </s>", special_tokens=[("</s>", 1)])
    return PreTrainedTokenizerFast(tokenizer_object=tokenizer, pad_token="<pad>", eos_token="</s>", unk_token="<unk>")


def byte_tokenizer(size: int = 400) -> PreTrainedTokenizerFast:
    """As BART's: bytes, so that nothing is unknown, between <s> and </s>."""
    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    special = ["<s>", "<pad>", "</s>"]
    trainer = trainers.BpeTrainer(
        vocab_size=size,
        special_tokens=special,
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        show_progress=False,
    )
    tokenizer.train_from_iterator(TEXTS, trainer)
    tokenizer.post_processor = processors.TemplateProcessing(
        single="<s> $A </s>", special_tokens=[("<s>", 0), ("</s>", 2)]
    )
    return PreTrainedTokenizerFast(tokenizer_object=tokenizer, bos_token="<s>", pad_token="<pad>", eos_token="</s>")


TOKENIZERS = {"metaspace": metaspace_tokenizer, "bytes": byte_tokenizer}


@pytest.fixture(scope="session", params=sorted(TOKENIZERS))
def tokenizer(request: Any) -> PreTrainedTokenizerFast:
    return TOKENIZERS[request.param]()
