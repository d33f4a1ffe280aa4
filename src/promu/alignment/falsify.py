"""Falsified captions, made as NewsCLIPpings does: beside an image stands another image's caption, near in meaning.

A set of captions as it is published has true pairs only, and L_ITM (Eq 3) needs both kinds. Captions are compared in
blocks, so that a set of any size costs the memory of one. A caption that fits an image because it also belongs to it
(under the same name, under another name with the same bytes, or word for word) is never taken for a falsified one; nor
is one that is as near to any of its true captions as these are to each other: it most likely fits as well.
"""

from __future__ import annotations

import re
import zlib
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass

import numpy as np
import torch
from transformers import AutoTokenizer

from promu.corpora.shards import CaptionedImage
from promu.errors import InputError
from promu.hub import resolve
from promu.modeling.encoders import load_encoder, pooled
from promu.progress import report
from promu.pytorch import best_device, best_precision, load

BLOCK = 8192  # captions that are compared with each other at once
NEAREST = 10  # one of so many nearest captions is taken at random: always the nearest would repeat the same pairs
BUCKETS = 2048  # length of `word_vectors`
MAX_TOKENS = 128  # tokens of a caption that `SentenceVectors` reads

_QUERIES = 256
_BATCH = 128
_WORD = re.compile(r"\w+")
_Choice = tuple[int, float | None]  # (text, similarity)

Encode = Callable[[Sequence[str]], torch.Tensor]  # texts to unit vectors (N, d)


@dataclass(frozen=True, slots=True)
class Falsified:
    """A caption of another image, and its cosine to the true one it was chosen for; None where it is a random one."""

    text: str
    similarity: float | None


def falsify(
    images: Sequence[CaptionedImage], share: float, encode: Encode | None, seed: Sequence[int]
) -> list[list[Falsified]]:
    """Falsified captions for each image.

    Args:
        images: Images in order, with true captions only and with the digests of their files; neighbours are looked for
            within blocks of about `BLOCK` captions.
        share: The share of all pairs, true and falsified, that is to be falsified: in (0, 1), exact to one pair a
            block unless too few captions of other images are there.
        encode: The vectors that say which captions are near in meaning; None takes any caption of another image.
        seed: What the choice depends on beside the input.
    """
    blocks = enumerate(_blocks(images))
    parts = (_falsify_block(block, share, encode, np.random.default_rng([*seed, number])) for number, block in blocks)
    return [added for part in parts for added in part]


def falsified_of(true: int, share: float) -> int:
    """How many falsified pairs beside `true` ones make that share of all."""
    return round(true * share / (1.0 - share))


def word_vectors(texts: Sequence[str]) -> torch.Tensor:
    """Unit vectors (N, `BUCKETS`) of words weighted by their rarity in `texts`: near is what shares rare words.

    Words are hashed to a bucket and a sign (TF-IDF with the hashing trick), so that no vocabulary is kept.
    """
    words = [Counter(_words(text) or [text]) for text in texts]
    documents_with = Counter(word for counts in words for word in counts)
    hashes = {word: zlib.crc32(word.encode()) for word in documents_with}
    rows = np.repeat(np.arange(len(words)), [len(counts) for counts in words])
    flat = [(hashes[word], times, documents_with[word]) for counts in words for word, times in counts.items()]
    hashed, times, documents = np.array(flat, dtype=np.int64).reshape(-1, 3).T
    weights = (1 + np.log(times)) * (1 + np.log((1 + len(words)) / (1 + documents)))
    signs = 1 - 2 * (hashed // BUCKETS % 2)
    vectors = np.zeros((len(words), BUCKETS), dtype=np.float32)
    np.add.at(vectors, (rows, hashed % BUCKETS), signs * weights)
    return torch.nn.functional.normalize(torch.from_numpy(vectors), dim=-1)


def _words(text: str) -> list[str]:
    return _WORD.findall(text.casefold())


class SentenceVectors:
    """Unit vectors of texts from a Hugging Face text encoder: the mean over its tokens, as sentence encoders are used.

    Raises:
        InputError: There is no such encoder, or it does not read text alone.
    """

    def __init__(self, name: str) -> None:
        self.encoder = load_encoder(resolve(name)).eval()
        if self.encoder.main_input_name != "input_ids" or self.encoder.config.is_encoder_decoder:
            reason = f"{name!r} ({self.encoder.config.model_type}) is no text encoder; name one of BERT's kind, such as"
            raise InputError(f"{reason} sentence-transformers/all-MiniLM-L6-v2")
        self.tokenizer = load(AutoTokenizer, name, "tokenizer of text encoder")
        if len(self.tokenizer) < 50:  # transformers makes an empty one where it finds none
            raise InputError(f"text encoder {name!r} has no tokenizer; copy its files into the folder")
        self.tokens = min(MAX_TOKENS, getattr(self.encoder.config, "max_position_embeddings", MAX_TOKENS))
        self.device = best_device()
        self.bf16 = best_precision(self.device) == "bf16"
        self.encoder.to(self.device)  # type: ignore[arg-type]

    def __call__(self, texts: Sequence[str]) -> torch.Tensor:
        """(N, d), in the order of `texts`; a text is cut at `MAX_TOKENS`, or where the encoder's positions end."""
        order = sorted(range(len(texts)), key=lambda index: len(texts[index]))  # like lengths need little padding
        batches = [[texts[index] for index in order[start : start + _BATCH]] for start in range(0, len(order), _BATCH)]
        how = {"padding": True, "truncation": True, "max_length": self.tokens, "return_tensors": "pt"}
        inputs = [self.tokenizer(batch, **how) for batch in batches]
        parts: list[torch.Tensor] = []
        with _workers(self.device) as workers, ThreadPoolExecutor(workers) as pool:
            for part in pool.map(self._encode, inputs):
                parts.append(part)
                report("sentence vectors", sum(map(len, parts)), len(texts))
        vectors = torch.empty(len(texts), parts[0].shape[-1])
        vectors[order] = torch.nn.functional.normalize(torch.cat(parts), dim=-1)
        return vectors

    def _encode(self, batch: dict[str, torch.Tensor]) -> torch.Tensor:
        moved = {name: values.to(self.device) for name, values in batch.items()}
        # both modes are set per thread
        with torch.inference_mode(), torch.autocast(self.device, torch.bfloat16, enabled=self.bf16):
            hidden = self.encoder(**moved).last_hidden_state
            return pooled(hidden, moved["attention_mask"], "mean").float().cpu()


@contextmanager
def _workers(device: str) -> Iterator[int]:
    """How many batches to read at once, each in one thread while this lasts.

    Captions are so short that threads which share a batch mostly wait for each other: on a busy machine that costs
    several times the work itself.
    """
    threads = torch.get_num_threads()
    if device == "cpu":
        torch.set_num_threads(1)
    try:
        yield threads if device == "cpu" else 1
    finally:
        torch.set_num_threads(threads)


def _blocks(images: Sequence[CaptionedImage]) -> list[Sequence[CaptionedImage]]:
    """Whole images, about `BLOCK` captions each; of even size, so that the last is not left without neighbours."""
    if not images:
        return []
    ends = np.cumsum([len(image.captions) for image in images])
    count = -(-int(ends[-1]) // BLOCK)
    cuts = np.searchsorted(ends, [ends[-1] * part / count for part in range(count)], side="right")
    return [images[start:end] for start, end in zip(cuts, [*cuts[1:], len(images)], strict=True)]


class _Pool:
    """The different captions of a block, and which of them belong to which image."""

    def __init__(self, images: Sequence[CaptionedImage]) -> None:
        numbers: dict[str, int] = {}
        self.texts: list[str] = []
        self.captions: list[tuple[int, int]] = []  # (image, text) of every caption of the block
        groups = _same_images(images)
        owned: dict[int, set[int]] = {}
        for index, image in enumerate(images):
            for text, _ in image.captions:
                number = numbers.setdefault(" ".join(_words(text)) or text, len(numbers))
                if number == len(self.texts):
                    self.texts.append(text)
                self.captions.append((index, number))
                owned.setdefault(groups[index], set()).add(number)
        self.owned = [sorted(owned.get(group, ())) for group in groups]  # by image: texts that fit it


def _same_images(images: Sequence[CaptionedImage]) -> list[int]:
    """A number for each image, the same for those of one name or of the same bytes."""
    parent = list(range(len(images)))

    def root(index: int) -> int:
        while parent[index] != index:
            parent[index] = parent[parent[index]]
            index = parent[index]
        return index

    first: dict[str | bytes, int] = {}
    for index, image in enumerate(images):
        for key in (image.image, image.digest):
            parent[root(index)] = root(first.setdefault(key, index))
    return [root(index) for index in range(len(images))]


def _falsify_block(
    images: Sequence[CaptionedImage], share: float, encode: Encode | None, rng: np.random.Generator
) -> list[list[Falsified]]:
    pool = _Pool(images)
    candidates = _random(pool, rng) if encode is None else _nearest(pool, encode(pool.texts))
    missing = falsified_of(len(pool.captions), share)
    added: list[list[Falsified]] = [[] for _ in images]
    used: list[set[int]] = [set() for _ in images]
    order = rng.permutation(len(pool.captions))
    while missing:
        before = missing
        for caption in order:
            index, _ = pool.captions[caption]
            free = [choice for choice in candidates[caption] if choice[0] not in used[index]]
            if free and missing:
                text, similarity = free[rng.integers(len(free))]
                used[index].add(text)
                added[index].append(Falsified(pool.texts[text], similarity))
                missing -= 1
        if missing == before:  # no caption of another image is left; whoever counts will see it
            break
    return added


def _random(pool: _Pool, rng: np.random.Generator) -> list[list[_Choice]]:
    """For each caption up to `NEAREST` texts that do not belong to its image."""
    chosen: list[list[_Choice]] = []
    for index, _ in pool.captions:
        owned = set(pool.owned[index])
        size = min(len(pool.texts), NEAREST + len(owned))
        drawn = rng.choice(len(pool.texts), size=size, replace=False).tolist()
        free: list[_Choice] = [(text, None) for text in drawn if text not in owned]
        chosen.append(free[:NEAREST])
    return chosen


def _nearest(pool: _Pool, vectors: torch.Tensor) -> list[list[_Choice]]:
    """For each caption the `NEAREST` texts that do not fit its image, nearest first."""
    chosen: list[list[_Choice]] = []
    numbers = torch.tensor([number for _, number in pool.captions])
    shown = torch.tensor([index for index, _ in pool.captions])
    for start in range(0, len(pool.owned), _QUERIES):  # whole images
        rows = ((shown >= start) & (shown < start + _QUERIES)).nonzero().flatten()
        if not len(rows):
            continue
        near = vectors[numbers[rows]] @ vectors.T
        fits = _fitting(near, [torch.tensor(pool.owned[index], dtype=torch.long) for index in shown[rows].tolist()])
        fitting = torch.zeros(_QUERIES, near.shape[1]).index_add_(0, shown[rows] - start, fits.float()) > 0
        near[fitting[shown[rows] - start]] = -torch.inf
        top = near.topk(min(NEAREST, len(pool.texts)), dim=-1)
        for texts, values in zip(top.indices.tolist(), top.values.tolist(), strict=True):
            chosen.append([(text, value) for text, value in zip(texts, values, strict=True) if value > -np.inf])
    return chosen


def _fitting(near: torch.Tensor, owned: Sequence[torch.Tensor]) -> torch.Tensor:
    """Which texts fit the image of a caption, or most likely do: (n, U) of the similarities `near` (n, U).

    These are the image's own (`owned`, for each caption), and those no farther from the caption than these are on
    average; from an image's only caption no other follows.
    """
    lengths = torch.tensor([len(texts) for texts in owned])
    rows, columns = torch.arange(len(owned)).repeat_interleave(lengths), torch.cat(list(owned))
    total = torch.zeros(len(owned)).index_add_(0, rows, near[rows, columns]) - 1.0  # without the caption itself, at 1
    fits = near >= torch.where(lengths > 1, total / (lengths - 1).clamp(min=1), torch.inf)[:, None]
    fits[rows, columns] = True
    return fits
