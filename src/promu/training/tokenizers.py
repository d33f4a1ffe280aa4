"""A WordPiece vocabulary trained on the corpus's own captions."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from tokenizers import Tokenizer, decoders, models, normalizers, pre_tokenizers, processors, trainers
from transformers import PreTrainedTokenizerFast

from promu.errors import InputError
from promu.modeling.inputs import ENTITY_MARKERS

ALPHABET = "".join(chr(code) for code in range(33, 127))
SPECIAL = ("[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", *ENTITY_MARKERS)


def train_wordpiece(texts: Iterable[str], size: int, min_frequency: int = 2) -> PreTrainedTokenizerFast:
    """A cased WordPiece tokenizer.

    Case is kept, since a capital is the first sign of a name. The pieces are learned from the words that do not start
    with a capital: names then fall apart into pieces whether the texts held them or not, so that a name which was
    never seen looks like those that were, instead of like nothing.

    The same texts give the same vocabulary, whatever the process: `size` pieces at most, special tokens included.

    Raises:
        InputError: `size` does not even hold the characters of the texts.
    """
    texts = [ordinary_words(text) for text in texts]
    tokenizer = _splitter(models.WordPiece(unk_token="[UNK]"))
    characters = _characters(tokenizer, texts)
    if size < len(SPECIAL) + len(characters):
        raise InputError(
            f"a vocabulary of {size} pieces does not hold the characters of these texts; "
            f"set the tokenizer's size to {len(SPECIAL) + len(characters)} or more"
        )
    # The trainer numbers the characters inside words in the order of a hash table, anew in each process, and breaks
    # ties between pieces by those numbers. Characters that come as special tokens are numbered in the order given;
    # the tokenizer is then built from the vocabulary alone, in which they are no longer special.
    trainer = trainers.WordPieceTrainer(
        vocab_size=size, min_frequency=min_frequency, special_tokens=[*SPECIAL, *characters], show_progress=False
    )
    tokenizer.train_from_iterator(texts, trainer)
    tokenizer = _splitter(models.WordPiece(vocab=tokenizer.get_vocab(), unk_token="[UNK]"))
    tokenizer.add_special_tokens(list(SPECIAL))
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


def _splitter(model: models.WordPiece) -> Tokenizer:
    """A tokenizer that splits text into words as BERT does, case and accents kept."""
    tokenizer = Tokenizer(model)
    tokenizer.normalizer = normalizers.BertNormalizer(lowercase=False, strip_accents=False)
    tokenizer.pre_tokenizer = pre_tokenizers.BertPreTokenizer()
    tokenizer.decoder = decoders.WordPiece()
    return tokenizer


def _characters(tokenizer: Tokenizer, texts: Sequence[str]) -> list[str]:
    """The one-character pieces, at the start of a word and inside, of ASCII and of the texts, in a fixed order.

    All of ASCII is there, so that no name is unknown because the texts lack a letter.
    """
    starts, inner = set(ALPHABET), set()
    for text in (*(f"a{character}" for character in ALPHABET), *texts):
        for word, _ in tokenizer.pre_tokenizer.pre_tokenize_str(tokenizer.normalizer.normalize_str(text)):
            starts.add(word[0])
            inner.update(word[1:])
    return [*sorted(starts), *(f"##{character}" for character in sorted(inner))]


def ordinary_words(text: str) -> str:
    """The text without the words that start with a capital."""
    return " ".join(word for word in text.split() if not word[0].isupper())


_SPECIAL = ("<pad>", "</s>", "<unk>")
_BLANK = "▁"
_CHARACTERS = [_BLANK, *map(chr, range(33, 127))]


def train_text_to_text(texts: Iterable[str], size: int, min_frequency: int = 2) -> PreTrainedTokenizerFast:
    """A tokenizer as T5's: a mark for each blank, </s> at the end; what it has no piece for falls into bytes.

    Pieces are learned from the words that do not start with a capital, so that names fall apart alike, known or not.
    There are `size` at most; bytes and the characters of ASCII, 354 in all, are there in any case.
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
