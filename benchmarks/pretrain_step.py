"""promu's pre-training step against the paper-literal one, and against what the machine can multiply."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import partial
from typing import Any

import torch
from benchmarks import memory
from benchmarks.literal_step import BOX, literal_step
from benchmarks.machine import SHAPES, TINY_SHAPES, matmul
from benchmarks.measure import Row, alternate
from benchmarks.sizes import PADDED, Size, captions, padded, size

from promu.modeling.attention import use_fastest_attention
from promu.modeling.losses import JointLoss
from promu.pytorch import Precision, best_precision
from promu.study.costs import student_step, vision_pass
from promu.training.loop import optimiser
from promu.training.recipe import TrainingSettings


def our_batch(size: Size) -> dict[str, torch.Tensor]:
    """What the batch maker hands over: captions padded to the longest, pixels as bytes, labels out of the store."""
    ids = torch.arange(size.batch)
    side = int(size.vision.image_size)  # type: ignore[arg-type]
    chance = torch.Generator().manual_seed(0)
    return {
        **padded(captions(size.batch, 0, size.text.vocab_size)),
        "pixel_values": torch.randint(0, 256, (size.batch, 3, side, side), dtype=torch.uint8, generator=chance),
        "matched": ids % 2,
        "image_ids": ids,
        "caption_ids": ids,
        "boxes": torch.tensor(BOX).expand(size.batch, 1, 4),
        "box_mask": torch.ones(size.batch, 1, dtype=torch.long),
        "entity_labels": torch.rand(size.batch, 1, size.nouns, generator=chance).softmax(-1),
        "relation_labels": torch.rand(size.batch, size.relations, generator=chance).softmax(-1),
    }


def our_steps(size: Size, precisions: Mapping[str, Precision]) -> dict[str, Callable[[], float]]:
    """Steps of one student, ready to be called, by name; each returns the loss.

    Args:
        size: Encoders and batch.
        precisions: Of each step.
    """
    student = size.student()
    adam = optimiser(student, TrainingSettings(lr=1e-4, weight_decay=1e-3, batch_size=size.batch, epochs=1))
    batch, joint = our_batch(size), JointLoss.of(student)
    usual = student.config._attn_implementation

    def step(precision: Precision) -> float:
        student.set_attn_implementation(usual)
        use_fastest_attention(student, "cpu", precision)
        with torch.autocast("cpu", dtype=torch.bfloat16, enabled=precision == "bf16"):
            loss, _ = joint.of_batch(student, batch)
        loss.backward()
        adam.step()
        adam.zero_grad()
        return float(loss.detach())

    return {name: partial(step, precision) for name, precision in precisions.items()}


def counted(size: Size) -> dict[str, float]:
    """GFLOP a sample of each step."""
    config = size.config()
    length = max(map(len, captions(size.batch, 0, size.text.vocab_size)))
    return {
        "literal": (student_step(config, PADDED) + 2 * vision_pass(config)) / 1e9,
        "ours": student_step(config, length) / 1e9,
        "caption_length": length,
    }


def run(quick: bool) -> tuple[dict[str, Any], list[Row]]:
    """Samples a second of each step, ratios, shares of the matmul rate, memory."""
    sized = size(quick)
    precision = best_precision("cpu")
    peaks = {name: memory.peak(name, quick) for name in ("literal", "ours")}
    shapes = TINY_SHAPES if quick else SHAPES[2:]
    contenders: dict[str, Callable[[], object]] = {
        "literal": literal_step(sized),
        **our_steps(sized, {"ours": precision, "ours in fp32": "fp32"}),
        **{
            f"matmul {shape}": matmul(*shape, torch.bfloat16 if precision == "bf16" else torch.float32)
            for shape in shapes
        },
    }
    calls = {name: 10 if name.startswith("matmul") else 1 for name in contenders}
    times = alternate(contenders, 2 if quick else 3, calls)
    gflop = counted(sized)
    rates = [
        (gflops / times[name].seconds, gflops / max(times[name].core_seconds, 1e-9))
        for shape in shapes
        for name, gflops in [(f"matmul {shape}", 2 * shape[0] * shape[1] * shape[2] / 1e9)]
    ]
    rate, core_rate = max(rates)[0], max(core for _, core in rates)
    result = {
        "gflop_a_sample": gflop,
        "precision": precision,
        "batch": sized.batch,
        "times": {name: timing.as_dict() for name, timing in times.items()},
        "matmul_gflops": rate,
        "matmul_gflops_per_core_second": core_rate,
        "peak_mib": peaks,
    }
    return result, _rows(result, times, sized)


def _rows(result: dict[str, Any], times: dict[str, Any], sized: Size) -> list[Row]:
    literal, gflop, precision = times["literal"], result["gflop_a_sample"], result["precision"]

    def samples(name: str) -> str:
        return f"{sized.batch / times[name].seconds:.2f} samples/s"

    def against(name: str, measure: str, goal: str) -> Row:
        ours = times[name]
        return Row(
            "pretrain-step",
            measure,
            samples(name),
            samples("literal"),
            literal.seconds / ours.seconds,
            literal.core_seconds / max(ours.core_seconds, 1e-9),
            goal,
        )

    operations = gflop["ours"] * sized.batch
    ours = times["ours"]
    peaks = result["peak_mib"]
    return [
        Row(
            "pretrain-step",
            "operations a sample",
            f"{gflop['ours']:.3g} GFLOP",
            f"{gflop['literal']:.3g} GFLOP",
            gflop["literal"] / gflop["ours"],
        ),
        against("ours", f"{precision} against literal fp32", "5"),
        against("ours in fp32", "both fp32", "1.7"),
        Row(
            "pretrain-step",
            f"share of the {precision} matmul rate",
            f"{operations / ours.seconds:.0f} GFLOP/s",
            f"{result['matmul_gflops']:.0f} GFLOP/s",
            operations / ours.seconds / result["matmul_gflops"],
            operations / max(ours.core_seconds, 1e-9) / result["matmul_gflops_per_core_second"],
            "0.65",
        ),
        Row(
            "memory",
            "peak of a step",
            f"{peaks['ours']} MiB",
            f"{peaks['literal']} MiB",
            peaks["literal"] / peaks["ours"],
        ),
    ]
