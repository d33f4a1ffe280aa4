"""The batch maker: samples a second delivered, against what a training step on the same cores can take."""

from __future__ import annotations

import tempfile
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import torch
from benchmarks.images import corpus
from benchmarks.label import header
from benchmarks.measure import Row, Timing, alternate
from benchmarks.sizes import Size
from transformers import BertConfig, PreTrainedTokenizerFast

from promu.alignment.label_store import ImageLabels, LabelStore, SparseLabels
from promu.alignment.labelling import relative_boxes
from promu.corpora.shards import PairShards
from promu.modeling.attention import use_fastest_attention
from promu.modeling.inputs import WordEncoder
from promu.modeling.losses import JointLoss
from promu.modeling.small_encoders import ConvViTConfig
from promu.pytorch import best_precision
from promu.training.batches import CorpusOrder, Sample, StepBatches
from promu.training.loop import optimiser
from promu.training.pair_batches import CaptionCollator, PairCollator
from promu.training.recipe import LossSettings, TrainingSettings, ViewSettings
from promu.training.tokenizers import train_wordpiece
from promu.training.views import PixelViews

SIDE = 96
"""Pixels of a view: what an encoder that trains on two cores sees."""


def run(quick: bool) -> tuple[dict[str, Any], list[Row]]:
    """Images decoded anew, and images kept from an earlier epoch; and the step of a small student."""
    images, batch_size = (16, 8) if quick else (2048, 128)
    with tempfile.TemporaryDirectory() as temporary:
        folder = Path(temporary)
        (folder / "corpus").mkdir()
        pairs, source = corpus(folder / "corpus", images)
        store = _labels(pairs, folder / "labels")
        texts = [pair.caption for pair in pairs.pairs()]
        tokenizer = train_wordpiece(texts, 2000, 1)
        # one collator that keeps no image: every one is decoded for every batch, as in the first epoch
        makers = {
            "decoded anew": _collator(pairs, store, tokenizer, 0),
            "kept": _collator(pairs, store, tokenizer, 2**30),
        }
        orders = {name: _batches(pairs, batch_size) for name in makers}
        step, step_batch = _student_step(makers["kept"], next(orders["kept"]), store, len(tokenizer))
        for batch in list(StepBatches(CorpusOrder(pairs), batch_size, 1, 0))[: 1 if quick else None]:
            makers["kept"](batch)
        times = alternate(
            {
                **{name: (lambda name=name: makers[name](next(orders[name]))) for name in makers},  # type: ignore[misc]
                "step": step,
            },
            2 if quick else 5,
            1 if quick else 2,
        )
    result = {
        "corpus": source,
        "images": images,
        "batch": batch_size,
        "view": SIDE,
        "step_batch": step_batch,
        "times": {name: timing.as_dict() for name, timing in times.items()},
    }
    return result, [_row(name, times[name], times["step"], batch_size) for name in makers]


def _row(name: str, ours: Timing, step: Timing, batch: int) -> Row:
    return Row(
        "loader",
        f"images {name}; the need is that of a small student's step",
        f"{batch / ours.seconds:.0f} samples/s",
        f"{batch / step.seconds:.0f} samples/s",
        step.seconds / ours.seconds,
        step.core_seconds / max(ours.core_seconds, 1e-9),
        "1",
    )


def _collator(pairs: PairShards, store: LabelStore, tokenizer: PreTrainedTokenizerFast, budget: int) -> PairCollator:
    views = PixelViews(pairs, SIDE, ViewSettings(), budget)
    return PairCollator(CaptionCollator(pairs, WordEncoder(tokenizer, 80), views, 0), store, LossSettings())


def _batches(pairs: PairShards, batch_size: int) -> Iterator[list[Sample]]:
    yield from StepBatches(CorpusOrder(pairs), batch_size, 10_000, 1)


def _labels(pairs: PairShards, folder: Path) -> LabelStore:
    """A label store of random labels: how good they are costs nothing."""
    store = LabelStore(folder, header())
    chance = torch.Generator().manual_seed(0)
    images, labels = [], []
    for image in pairs.captions():
        entities = torch.rand(len(image.regions), len(store.header.nouns), generator=chance).softmax(-1)
        relation = torch.rand(1, len(store.header.relations), generator=chance).softmax(-1)
        images.append(image.image)
        labels.append(
            ImageLabels(
                relative_boxes(image.width, image.height, image.regions),
                SparseLabels.from_dense(entities, store.header.top_k),
                SparseLabels.from_dense(relation, store.header.top_k),
            )
        )
    store.add(images, labels)
    return store


def _student_step(
    maker: PairCollator, samples: Sequence[Sample], store: LabelStore, vocabulary: int
) -> tuple[Any, int]:
    """The step of the smallest student that photographs are worth: the hungriest that a batch maker has to feed."""
    small = {"hidden_size": 256, "num_attention_heads": 4, "intermediate_size": 512}
    size = Size(
        BertConfig(**small, num_hidden_layers=4, vocab_size=vocabulary),  # type: ignore[arg-type]
        ConvViTConfig(**small, num_hidden_layers=2, image_size=SIDE, patch_size=16),  # type: ignore[arg-type]
        len(samples),
        len(store.header.nouns),
        len(store.header.relations),
    )
    student = size.student()
    use_fastest_attention(student, "cpu", best_precision("cpu"))
    adam, joint = optimiser(student, TrainingSettings()), JointLoss.of(student)
    batch = maker(samples)

    def step() -> None:
        with torch.autocast("cpu", dtype=torch.bfloat16, enabled=best_precision("cpu") == "bf16"):
            loss, _ = joint.of_batch(student, batch)
        loss.backward()
        adam.step()
        adam.zero_grad()

    return step, len(samples)
