"""Captions to vectors by a Hugging Face text encoder, so that those near in meaning are found."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager

import torch
from transformers import AutoTokenizer

from promu.errors import InputError
from promu.hub import best_device, best_precision, load, resolve
from promu.modeling.encoders import load_encoder, pooled
from promu.progress import report

MAX_TOKENS = 128
"""Tokens of a caption that are read."""

_BATCH = 128


class SentenceVectors:
    """Unit vectors of texts from a Hugging Face text encoder: the mean over its tokens, as sentence encoders are used.

    Args:
        name: A folder, a hub name, or `package:NAME/PATH`.

    Raises:
        InputError: There is no such encoder, or it does not read text alone.
    """

    def __init__(self, name: str) -> None:
        self.encoder = load_encoder(resolve(name)).eval()
        if self.encoder.main_input_name != "input_ids" or self.encoder.config.is_encoder_decoder:
            raise InputError(
                f"{name!r} ({self.encoder.config.model_type}) is no text encoder; name one of BERT's kind, such as "
                "sentence-transformers/all-MiniLM-L6-v2"
            )
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
        inputs = [
            self.tokenizer(batch, padding=True, truncation=True, max_length=self.tokens, return_tensors="pt")
            for batch in batches
        ]
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
    if device != "cpu":
        yield 1
        return
    torch.set_num_threads(1)
    try:
        yield threads
    finally:
        torch.set_num_threads(threads)
