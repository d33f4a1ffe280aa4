"""A WordPiece vocabulary trained on the corpus's own captions."""

from __future__ import annotations

from collections.abc import Iterable
from itertools import chain

from tokenizers import Tokenizer, decoders, models, normalizers, pre_tokenizers, processors, trainers
from transformers import PreTrainedTokenizerFast

from promu.modeling.inputs import ENTITY_MARKERS

ALPHABET = "".join(chr(code) for code in range(33, 127))
SPECIAL = ("[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", *ENTITY_MARKERS)


def train_wordpiece(texts: Iterable[str], size: int, min_frequency: int = 2) -> PreTrainedTokenizerFast:
    """A cased WordPiece tokenizer.

    Case is kept, since a capital is the first sign of a name. The pieces are learned from the words that do not start
    with a capital: names then fall apart into pieces whether the texts held them or not, so that a name which was
    never seen looks like those that were, instead of like nothing.

    Args:
        texts: Captions.
        size: Pieces at most, special tokens included.
        min_frequency: A piece that occurs less often is not kept.
    """
    tokenizer = Tokenizer(models.WordPiece(unk_token="[UNK]"))
    tokenizer.normalizer = normalizers.BertNormalizer(lowercase=False, strip_accents=False)
    tokenizer.pre_tokenizer = pre_tokenizers.BertPreTokenizer()
    tokenizer.decoder = decoders.WordPiece()
    trainer = trainers.WordPieceTrainer(
        vocab_size=size,
        min_frequency=min_frequency,
        special_tokens=list(SPECIAL),
        initial_alphabet=list(ALPHABET),
        show_progress=False,
    )
    # every character also inside a word, so that no name is unknown because the texts lack one
    words = chain((f"a{character}" for character in ALPHABET), map(ordinary_words, texts))
    tokenizer.train_from_iterator(words, trainer)
    tokenizer.post_processor = processors.TemplateProcessing(
        single="[CLS] $A [SEP]",
        pair="[CLS] $A [SEP] $B [SEP]",
        special_tokens=[(token, tokenizer.token_to_id(token)) for token in ("[CLS]", "[SEP]")],
    )
    return PreTrainedTokenizerFast(
        tokenizer_object=tokenizer,
        pad_token="[PAD]",
        unk_token="[UNK]",
        cls_token="[CLS]",
        sep_token="[SEP]",
        mask_token="[MASK]",
        additional_special_tokens=list(ENTITY_MARKERS),
    )


def ordinary_words(text: str) -> str:
    """The text without the words that start with a capital."""
    return " ".join(word for word in text.split() if not word[0].isupper())
