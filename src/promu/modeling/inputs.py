"""From words and images to the numbers that the models take, in NumPy: what reads an exported model needs no torch."""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import lru_cache
from typing import TYPE_CHECKING, Any, Self, cast

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from promu.errors import InputError
from promu.modeling.context_packing import Order, pack, passages, relevance
from promu.modeling.head_settings import RELATION_HEADS, HeadSettings
from promu.modeling.parsing import ParsedWord, open_parser, parse_of_pieces

if TYPE_CHECKING:  # for `tensors`, which only what computes in PyTorch calls
    import torch

ENTITY_MARKERS = ("[E1]", "[/E1]", "[E2]", "[/E2]")
"""Special tokens around head and tail in relation classification (Eq 14)."""

Batch = dict[str, Any]
"""Inputs of a model by the names of its arguments: arrays, and tensors once `tensors` has made them."""

PLAIN = {"add_special_tokens": False, "split_special_tokens": True}
"""A text that happens to hold "[E1]" or "[SEP]" means the characters, never the special token."""

CACHED_WORD = 100
"""Longest word, in characters, whose pieces are cached: longer ones hardly come again, and would fill the memory."""


@dataclass(frozen=True, slots=True)
class EncodedText:
    """Word pieces of one text, [CLS] first and [SEP] last, and positions in it that a head reads.

    For entity recognition the positions are those of each word's first piece, for relation classification those of
    [E1] and [E2], or where head and tail begin and end (`WordEncoder.spans`). `words` says of each piece which word it
    is a part of, -1 for special tokens, markers and contexts. The last `context` pieces are those of the contexts, and
    `left_out` more of them are not read. `parsed` has the words where texts are parsed.
    """

    input_ids: list[int]
    positions: list[int]
    words: list[int] = field(default_factory=list)
    context: int = 0
    left_out: int = 0
    parsed: Sequence[ParsedWord] = ()


class WordEncoder:
    """Turns word tokens into pieces, each word once.

    Args:
        tokenizer: Any tokenizer of transformers that marks the start and end of a text and knows an unknown token, or
            an exported one (`promu.tasks.onnx_predictor.ExportedTokenizer`).
        max_length: Longest text in pieces, special tokens included.
        contexts: Names of the contexts that are read after a text, in their order.
        context_budget: Pieces of them at most, separators included.
        context_order: Which of their passages are read where not all fit.
        relation_head: How pairs of entities are put to the model (`PromuConfig.relation_head`).
        parser: The spaCy pipeline that parses texts, where the model's fusion reads parsed ones.

    Raises:
        InputError: The tokenizer has no start or end token, or the parser cannot be used.
    """

    def __init__(
        self,
        tokenizer: Any,
        max_length: int,
        contexts: Sequence[str] = (),
        context_budget: int = 0,
        context_order: Order = "relevance",
        relation_head: str = RELATION_HEADS[0],
        parser: str | None = None,
    ) -> None:
        self.tokenizer = tokenizer
        self.max_length = max_length
        self.contexts = tuple(contexts)
        self.context_budget = context_budget
        self.context_order = context_order
        self.relation_head = relation_head
        self.parser = None if parser is None else open_parser(parser)
        self.start = tokenizer.cls_token_id if tokenizer.cls_token_id is not None else tokenizer.bos_token_id
        self.stop = tokenizer.sep_token_id if tokenizer.sep_token_id is not None else tokenizer.eos_token_id
        if self.start is None or self.stop is None:
            raise InputError("the tokenizer has no start or end token; promu needs [CLS] and [SEP] or their likes")
        self.pad = tokenizer.pad_token_id if tokenizer.pad_token_id is not None else 0
        self._cached_pieces = lru_cache(maxsize=200_000)(self._pieces)

    @classmethod
    def of(cls, tokenizer: Any, config: HeadSettings) -> Self:
        """The encoder for a model.

        Raises:
            InputError: `config.max_length`, with the budget of contexts where some are read, is more than the model's
                text encoder has positions for.
        """
        if config.contexts and config.max_positions is not None:
            longest = config.max_length + config.context_budget
            if longest > config.max_positions:
                raise InputError(
                    f"max_length and context_budget are {longest} together, but the text encoder has "
                    f"{config.max_positions} positions; lower one of them (in a recipe under model.config)"
                )
        if config.max_positions is not None and config.max_length > config.max_positions:
            raise InputError(
                f"max_length is {config.max_length}, but the text encoder has {config.max_positions} positions; set "
                f"max_length (in a recipe model.config.max_length) to {config.max_positions} or less"
            )
        order: Any = config.context_order
        contexts = (config.contexts, config.context_budget, order)
        return cls(tokenizer, config.max_length, *contexts, config.relation_head, config.parser)

    def pieces(self, word: str) -> tuple[int, ...]:
        """Ids of a word's pieces, at least one; cached unless the word is very long."""
        return self._cached_pieces(word) if len(word) <= CACHED_WORD else self._pieces(word)

    def _pieces(self, word: str) -> tuple[int, ...]:
        ids = self.tokenizer([word], is_split_into_words=True, **PLAIN).input_ids
        # tweets hold words that no piece stands for (lone variation selectors, say); the word must still have a place
        return tuple(ids) or (self.tokenizer.unk_token_id,)

    def words(self, tokens: Sequence[str]) -> EncodedText:
        """Pieces of a text; words past the longest length are cut, so `positions` may be shorter than `tokens`."""
        ids, positions, words = [self.start], [], [-1]
        for word, token in enumerate(tokens):
            pieces = self.pieces(token)
            if len(ids) + 1 >= self.max_length:
                break
            positions.append(len(ids))
            ids.extend(pieces[: self.max_length - 1 - len(ids)])
            words.extend([word] * (len(ids) - len(words)))
        return EncodedText([*ids, self.stop], positions, [*words, -1])

    def pair(self, tokens: Sequence[str], head: tuple[int, int], tail: tuple[int, int]) -> EncodedText:
        """Pieces of a text with [E1] .. [/E1] around the head's words and [E2] .. [/E2] around the tail's.

        A text that is too long keeps the pieces nearest to a marker; a marker is never dropped.
        """
        markers = self.markers()
        before: dict[int, list[int]] = {}
        # at one place, what closes comes before what opens, so that neighbouring spans do not interlock
        for place, marker in ((head[1], 1), (tail[1], 3), (head[0], 0), (tail[0], 2)):
            before.setdefault(place, []).append(markers[marker])
        ids: list[int] = []
        words: list[int] = []
        for index in range(len(tokens) + 1):
            ids += before.get(index, ())
            words += [-1] * (len(ids) - len(words))
            if index < len(tokens):
                ids += self.pieces(tokens[index])
                words += [index] * (len(ids) - len(words))
        kept = self._nearest(len(ids), [place for place, word in enumerate(words) if word < 0])
        ids = [self.start, *(ids[place] for place in kept), self.stop]
        words = [-1, *(words[place] for place in kept), -1]
        return EncodedText(ids, [ids.index(markers[0]), ids.index(markers[2])], words)

    def markers(self) -> list[int]:
        """Ids of the four entity markers.

        Raises:
            InputError: The tokenizer does not know them.
        """
        markers = cast(list[int], self.tokenizer.convert_tokens_to_ids(list(ENTITY_MARKERS)))
        if None in markers or self.tokenizer.unk_token_id in markers:
            raise InputError("the tokenizer lacks the entity markers [E1] [/E1] [E2] [/E2]; use one saved by promu")
        return markers

    def spans(self, tokens: Sequence[str], spans: Sequence[tuple[int, int]]) -> EncodedText:
        """Pieces as `words` has them; positions are where each span of words begins and ends, the end exclusive.

        Where `words` would cut a word of a span, the pieces nearest to the spans are kept in place of the first.
        """
        text = self.words(tokens)
        if any(end > len(text.positions) for _, end in spans):
            pieces = [(piece, word) for word, token in enumerate(tokens) for piece in self.pieces(token)]
            first, last = _ends([word for _, word in pieces])
            kept = self._nearest(len(pieces), [end for a, b in spans for end in (first[a], last[b - 1])])
            ids, words = zip(*(pieces[place] for place in kept), strict=True)
            text = EncodedText([self.start, *ids, self.stop], [], [-1, *words, -1])
        first, last = _ends(text.words)
        return replace(text, positions=[end for a, b in spans for end in (first[a], last[b - 1] + 1)])

    def _nearest(self, count: int, places: Sequence[int]) -> list[int]:
        """Of so many pieces those that there is room for, by their number: the nearest to the `places`."""
        budget = self.max_length - 2
        if budget < len(ENTITY_MARKERS):
            raise InputError(f"max_length {self.max_length} is too short for a marked pair; set it to 6 or more")
        if count <= budget:
            return list(range(count))
        nearest = sorted(range(count), key=lambda place: min(abs(place - other) for other in places))
        return sorted(nearest[:budget])

    def text(self, text: str, behind: str = "") -> EncodedText:
        """Pieces of a caption or a prompt, cut at the longest length.

        What stands `behind` it follows after a separator, as a context does. It has the room that the text leaves, or a
        third of all.
        """
        ids = self.tokenizer(text, **PLAIN).input_ids[: self.max_length - 2]
        if not behind:
            return EncodedText([self.start, *ids, self.stop], [])
        room = self.max_length - 3
        more = self.tokenizer(behind, **PLAIN).input_ids[: max(room - len(ids), room // 3)]
        return EncodedText(
            [self.start, *ids[: room - len(more)], self.stop, *more, self.stop], [], context=len(more) + 1
        )

    def caption(self, text: str, behind: str = "") -> EncodedText:
        """As `text`, parsed where the encoder has a parser."""
        found = self.text(text, behind)
        if self.parser is None:
            return found
        parsed = self.parser.text(text)
        offsets = self.tokenizer(text, return_offsets_mapping=True, **PLAIN).offset_mapping
        offsets = offsets[: len(found.input_ids) - 2 - found.context]
        starts = [word.start for word in parsed]
        words = [-1, *(bisect_right(starts, at) - 1 for at, _ in offsets), -1, *[-1] * found.context]
        return replace(found, words=words, parsed=parsed)

    def with_contexts(self, text: EncodedText, tokens: Sequence[str], contexts: Mapping[str, str]) -> EncodedText:
        """A text with the contexts of its post: `[CLS] text [SEP] first context [SEP] second [SEP]`.

        The words and positions stay those of the text, so that nothing in a context is labelled or marked. Where the
        post has none of the contexts, a separator alone follows.

        Args:
            text: The encoded text; it comes back as it is where no contexts are read.
            tokens: The post's words, which say what is relevant.
            contexts: Texts by name; other names than those of `contexts` are not read.
        """
        if self.parser is not None:
            text = replace(text, parsed=self.parser.words(tuple(tokens)))
        if not self.contexts:
            return text
        owners = [(name, passage) for name in self.contexts for passage in passages(contexts.get(name, ""))]
        pieces: list[list[int]] = self.tokenizer([one for _, one in owners], **PLAIN).input_ids if owners else []
        scores = [0.0] * len(owners)
        if self.context_order == "relevance":
            scores = relevance(tokens, [passage for _, passage in owners])
        present = len({name for name, _ in owners})
        packed = pack(pieces, scores, self.context_budget - max(1, present))
        by_name: dict[str, list[int]] = {}
        for (name, _), of_passage in zip(owners, packed.pieces, strict=True):
            by_name.setdefault(name, []).extend(of_passage)
        added = [piece for of_name in by_name.values() if of_name for piece in (*of_name, self.stop)] or [self.stop]
        ids, words = [*text.input_ids, *added], [*text.words, *[-1] * len(added)]
        return replace(text, input_ids=ids, words=words, context=len(added), left_out=packed.left_out)

    def context_words(self, contexts: Mapping[str, str]) -> int:
        """About how many words of contexts are read, by which batches are made of posts of like length."""
        blanks = sum(contexts[name].count(" ") + 1 for name in self.contexts if name in contexts)
        return min(blanks, self.context_budget)

    def batch(self, texts: Sequence[EncodedText]) -> Batch:
        """`input_ids` and `attention_mask` (B, longest), padded to the longest of the batch.

        Where contexts are read, also `token_type_ids` (B, longest): 1 for their pieces. Where texts were parsed, also
        `parse` (B, longest, 3) as of `promu.modeling.parsing.parse_of_pieces`.
        """
        ids, mask = pad_positions([text.input_ids for text in texts], self.pad)
        batch = {"input_ids": ids, "attention_mask": mask}
        if self.contexts or any(text.context for text in texts):
            segments = [[0] * (len(text.input_ids) - text.context) + [1] * text.context for text in texts]
            batch["token_type_ids"] = pad_positions(segments)[0]
        if any(text.parsed for text in texts):
            batch["parse"] = np.zeros((*ids.shape, 3), dtype=np.int64)
            batch["parse"][..., :2] = np.arange(ids.shape[1])[:, None]  # padding is its own head
            for row, text in enumerate(texts):
                if text.parsed:
                    batch["parse"][row, : len(text.words)] = parse_of_pieces(text.words, text.parsed)
        return batch

    def word_batch(self, texts: Sequence[EncodedText]) -> Batch:
        """As `batch`, with `word_index` and `word_mask` (B, most words): where each word's first piece is."""
        word_index, word_mask = pad_positions([text.positions for text in texts])
        return {**self.batch(texts), "word_index": word_index, "word_mask": word_mask}


def _ends(words: Sequence[int]) -> tuple[dict[int, int], dict[int, int]]:
    """The places of each word's first piece and of its last, by the word."""
    last = {word: place for place, word in enumerate(words)}
    first = {word: place for place, word in reversed(list(enumerate(words)))}
    return first, last


def pad_positions(rows: Sequence[Sequence[int]], fill: int = 0) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Ragged rows to an array (B, longest) and its mask; at least one column."""
    longest = max(1, *(len(row) for row in rows)) if rows else 1
    values = np.full((len(rows), longest), fill, dtype=np.int64)
    mask = np.zeros((len(rows), longest), dtype=np.int64)
    for index, row in enumerate(rows):
        values[index, : len(row)] = row
        mask[index, : len(row)] = 1
    return values, mask


def tensors(batch: Mapping[str, Any], device: str | torch.device = "cpu") -> dict[str, torch.Tensor]:
    """The arrays of a batch as tensors on a device; what is a tensor already is moved there.

    Example:
        ```python
        import numpy as np
        from promu.modeling.inputs import tensors

        assert tensors({"input_ids": np.array([[2, 7, 3]])})["input_ids"].tolist() == [[2, 7, 3]]
        ```
    """
    import torch

    return {name: torch.as_tensor(value).to(device) for name, value in batch.items()}


def levitate(batch: Batch, pairs: NDArray[np.int64], markers: Sequence[int]) -> Batch:
    """A batch of texts with the markers of their pairs behind them (`promu.modeling.pair_heads`).

    Args:
        batch: `input_ids` and `attention_mask` (B, N), and `token_type_ids` of texts with contexts.
        pairs: (P, 5) rows and ends, those of one row one after the other.
        markers: Ids of the four markers.

    Returns:
        `input_ids` (B, N + 4 M), and `token_type_ids`, where M is the most pairs of a text; `attention_mask`
        (B, N + 4 M, N + 4 M), 1 where a token sees another; `position_ids` (B, N + 4 M); `pairs` (P, 5), the places of
        the markers in place of ends.
    """
    ids, text = batch["input_ids"], batch["attention_mask"]
    rows, width = ids.shape
    counts = np.bincount(pairs[:, 0], minlength=rows)
    slots = np.concatenate([np.arange(count) for count in counts])
    size = len(markers)
    extra = size * int(counts.max())
    row, places = pairs[:, :1], width + size * slots[:, None] + np.arange(size)

    def wider(values: NDArray[np.int64], fill: int = 0) -> NDArray[np.int64]:
        return np.pad(values, ((0, 0), (0, extra)), constant_values=fill)

    ids = wider(ids, int(ids[0, 0]))
    ids[row, places] = markers
    positions = wider(np.tile(np.arange(width), (rows, 1)))
    positions[row, places] = pairs[:, 1:] - np.array([0, 1, 0, 1])  # a closing marker is at the span's last piece
    groups = np.zeros_like(ids)
    groups[row, places] = slots[:, None] + 1
    together = (groups[:, :, None] == groups[:, None]) & (groups[:, None] > 0)
    seen = (wider(text)[:, None] > 0) | together
    more = {name: wider(batch[name]) for name in ("token_type_ids",) if name in batch}
    if "parse" in batch:
        markers_own = np.tile(np.array([0, 0, 0]), (rows, width + extra, 1))
        markers_own[..., :2] = np.arange(width + extra)[:, None]
        markers_own[:, :width] = batch["parse"]
        more["parse"] = markers_own
    return {
        **more,
        "input_ids": ids,
        "attention_mask": seen.astype(np.int64),
        "position_ids": positions,
        "pairs": np.concatenate([row, places], axis=1),
    }


def add_entity_markers(tokenizer: Any) -> int:
    """Add the entity markers as special tokens; returns how many were new."""
    return int(tokenizer.add_special_tokens({"additional_special_tokens": list(ENTITY_MARKERS)}))


def to_pixels(image: Image.Image, size: int) -> NDArray[np.uint8]:
    """An RGB image, squeezed to a square: bytes (3, size, size) in 0..255."""
    if image.size != (size, size):
        image = image.resize((size, size), Image.Resampling.BILINEAR, reducing_gap=2.0)
    return as_pixels(image)


def as_pixels(image: Image.Image) -> NDArray[np.uint8]:
    """An RGB image as it is: bytes (3, height, width) in 0..255."""
    return np.ascontiguousarray(np.array(image, dtype=np.uint8).transpose(2, 0, 1))
