"""A small text-to-text model that has read texts without labels, in the place of one that comes pre-trained.

It learns to restore texts, each shown twice with other words missing and in another order, much as BART does (Lewis et
al. 2020). From random weights a few hundred labelled posts do not teach a model to copy a name, nor to find in one
sentence what another says of it; this does.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any, cast

import numpy as np
import torch
from transformers import set_seed

from promu.errors import InputError
from promu.kecpm.decoding import load_seq2seq
from promu.kecpm.grammar import AGAIN, AND, NOTHING, OPEN, Pieces
from promu.kecpm.kecpm_recipe import WriterSettings
from promu.kecpm.prompts import padded_batch
from promu.modeling.loading import save_folder
from promu.runs import begin, finish, finished_result
from promu.training.batches import Sample, Shuffled, rng_of
from promu.training.loop import fit
from promu.training.recipe import TokenizerSettings, TrainingSettings
from promu.training.tokenizers import train_text_to_text

MISSING = 0.3
"""Share of words that are shown as unknown."""
SHOWN = 2
"""How often each text is shown."""
TEXTS = 2
"""Texts at a time, at most."""

_PROMPT = f"{OPEN} {AND} {AGAIN} {NOTHING} Relations: Types: Text: Caption: Knowledge:"


def train_denoiser(
    texts: Sequence[str],
    model: WriterSettings,
    training: TrainingSettings,
    seed: int,
    out: Path,
) -> dict[str, Any]:
    """Train a model from random weights to restore texts, and save it with its tokenizer under `out/model`.

    A finished run is not repeated; a killed one goes on.

    Args:
        texts: Texts without labels.
        model: Its configuration, and the size of its tokenizer.
        training: Optimiser and schedule; an epoch begins with each text once.
        seed: Of weights and noise.
        out: The run's folder.

    Returns:
        How many `texts`, and the `loss` of the last steps.

    Raises:
        InputError: The settings name a model that exists, or the folder cannot be used.
    """
    if not isinstance(model.name, dict) or not isinstance(model.tokenizer, TokenizerSettings):
        raise InputError("a model that is to read first starts from random weights; give the configuration of both")
    settings = {
        "texts": len(texts),
        "model": model.model_dump(mode="json"),
        "training": training.model_dump(mode="json"),
        "seed": seed,
    }
    if (finished := finished_result(out, settings)) is not None:
        return finished
    set_seed(seed)
    size = model.tokenizer
    tokenizer = train_text_to_text([*[_PROMPT] * size.min_frequency, *texts], size.size, size.min_frequency)
    ids = {name: getattr(tokenizer, name) for name in ("pad_token_id", "eos_token_id", "bos_token_id")}
    reader = load_seq2seq(model.name, vocab_size=len(tokenizer), decoder_start_token_id=tokenizer.pad_token_id, **ids)
    begin(out, settings)
    pieces = Pieces(tokenizer)
    unknown = int(tokenizer.unk_token_id)  # type: ignore[arg-type]

    def example(sample: Sample) -> tuple[list[int], list[int]]:
        chance = rng_of(seed, sample)
        rows = [sample.row, *chance.integers(len(texts), size=int(chance.integers(TEXTS))).tolist()]
        order = chance.permutation(np.repeat(np.arange(len(rows)), SHOWN)).tolist()
        words = [[pieces.word(word) for word in texts[row].split()] for row in rows]
        shown: list[int] = []
        for place in order:
            for word in words[place]:
                shown += [unknown] if chance.random() < MISSING else word
        whole = [piece for text in words for word in text for piece in word]
        return [*shown, pieces.end], [*whole, pieces.end]

    def collate(samples: Sequence[Sample]) -> dict[str, torch.Tensor]:
        shown, whole = zip(*map(example, samples), strict=True)
        return padded_batch(shown, whole, int(tokenizer.pad_token_id))  # type: ignore[arg-type]

    log = fit(cast(Any, reader), Shuffled(len(texts)), collate, training, out, seed, "reading")
    save_folder(out / "model", cast(Any, reader), tokenizer)
    result = {"texts": len(texts), "loss": next(line["loss"] for line in reversed(log) if "loss" in line)}
    finish(out, result)
    return result
