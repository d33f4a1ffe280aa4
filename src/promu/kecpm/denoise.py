"""Pre-train a small text-to-text model by denoising, in place of a published one.

It learns to restore unlabelled texts, each shown twice with other words missing and in another order, much as BART does
(Lewis et al. 2020). From random weights a few hundred labelled posts do not teach a model to copy a name, nor to find
in one sentence what another states about it; this does.
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
from promu.kecpm.grammar import AGAIN, AND, NOTHING, OPEN, GrammarTokenizer
from promu.kecpm.kecpm_model import padded_batch
from promu.kecpm.kecpm_recipe import Seq2SeqSettings
from promu.modeling.loading import save_folder
from promu.runs import RunFolder
from promu.training.batches import Sample, Shuffled, rng_of
from promu.training.loop import fit
from promu.training.recipe import TokenizerSettings, TrainingSettings
from promu.training.tokenizers import train_text_to_text

MISSING = 0.3
"""Share of words that are replaced by the unknown token."""
SHOWN = 2
"""How often each text is shown."""
TEXTS = 2
"""Texts at a time, at most."""

_PROMPT = f"{OPEN} {AND} {AGAIN} {NOTHING} Relations: Types: Text: Caption: Knowledge:"


def train_denoiser(
    texts: Sequence[str], model: Seq2SeqSettings, training: TrainingSettings, seed: int, out: Path
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
        raise InputError(
            "a model that is pre-trained here starts from random weights; give its configuration and tokenizer size"
        )
    settings = {
        "texts": len(texts),
        "model": model.model_dump(mode="json"),
        "training": training.model_dump(mode="json"),
        "seed": seed,
    }
    run = RunFolder(out)
    if (finished := run.result(settings)) is not None:
        return finished
    set_seed(seed)
    size = model.tokenizer
    tokenizer = train_text_to_text([*[_PROMPT] * size.min_frequency, *texts], size.size, size.min_frequency)
    ids = {name: getattr(tokenizer, name) for name in ("pad_token_id", "eos_token_id", "bos_token_id")}
    reader = load_seq2seq(model.name, vocab_size=len(tokenizer), decoder_start_token_id=tokenizer.pad_token_id, **ids)
    run.claim(settings)
    words_to_ids = GrammarTokenizer(tokenizer)
    unknown = int(tokenizer.unk_token_id)  # type: ignore[arg-type]

    def example(sample: Sample) -> tuple[list[int], list[int]]:
        rng = rng_of(seed, sample)
        rows = [sample.row, *rng.integers(len(texts), size=int(rng.integers(TEXTS))).tolist()]
        order = rng.permutation(np.repeat(np.arange(len(rows)), SHOWN)).tolist()
        words = [[words_to_ids.word(word) for word in texts[row].split()] for row in rows]
        shown: list[int] = []
        for place in order:
            for word in words[place]:
                shown += [unknown] if rng.random() < MISSING else word
        whole = [token for text in words for word in text for token in word]
        return [*shown, words_to_ids.end], [*whole, words_to_ids.end]

    def collate(samples: Sequence[Sample]) -> dict[str, torch.Tensor]:
        shown, whole = zip(*map(example, samples), strict=True)
        return padded_batch(shown, whole, int(tokenizer.pad_token_id))  # type: ignore[arg-type]

    log = fit(cast(Any, reader), Shuffled(len(texts)), collate, training, out, seed, "denoising")
    save_folder(out / "model", cast(Any, reader), tokenizer)
    result = {"texts": len(texts), "loss": next(line["loss"] for line in reversed(log) if "loss" in line)}
    run.finish(result)
    return result
