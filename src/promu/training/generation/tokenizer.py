"""A tokenizer for text-to-text models that start from random weights, trained on the spot."""

from __future__ import annotations

from collections.abc import Iterable

from tokenizers import Tokenizer, decoders, models, normalizers, pre_tokenizers, processors, trainers
from transformers import PreTrainedTokenizerFast

from promu.training.wordpiece import ordinary_words

_SPECIAL = ("<pad>", "</s>", "<unk>")
_BLANK = "▁"
_CHARACTERS = [_BLANK, *map(chr, range(33, 127))]


def train_text_to_text(texts: Iterable[str], size: int, min_frequency: int = 2) -> PreTrainedTokenizerFast:
    """A tokenizer as T5's: a mark for each blank, </s> at the end; what it has no piece for falls into bytes.

    Pieces are learned from the words that do not start with a capital, so that names fall apart alike, known or not.

    Args:
        texts: To learn from.
        size: Pieces at most; bytes and the characters of ASCII, 354 in all, are there in any case.
        min_frequency: A piece that occurs less often is not kept.
    """
    tokenizer = Tokenizer(models.BPE(unk_token="<unk>", byte_fallback=True))
    tokenizer.normalizer = normalizers.NFKC()
    tokenizer.pre_tokenizer = pre_tokenizers.Metaspace(replacement=_BLANK)
    tokenizer.decoder = decoders.Sequence([decoders.ByteFallback(), decoders.Metaspace(replacement=_BLANK)])
    trainer = trainers.BpeTrainer(
        vocab_size=size,
        min_frequency=min_frequency,
        special_tokens=[*_SPECIAL, *(f"<0x{byte:02X}>" for byte in range(256))],
        initial_alphabet=_CHARACTERS,
        limit_alphabet=len(_CHARACTERS),
        show_progress=False,
    )
    tokenizer.train_from_iterator((ordinary_words(text) for text in texts), trainer)
    end = tokenizer.token_to_id("</s>")
    tokenizer.post_processor = processors.TemplateProcessing(single="$A </s>", special_tokens=[("</s>", end)])
    return PreTrainedTokenizerFast(tokenizer_object=tokenizer, pad_token="<pad>", eos_token="</s>", unk_token="<unk>")
