"""The labelling step: images a second, and that it is paid for once."""

from __future__ import annotations

import tempfile
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
from benchmarks.images import corpus
from benchmarks.measure import Row
from PIL import Image
from transformers import BertConfig

from promu.alignment.label_store import LabelHeader
from promu.alignment.labelling import label_corpus
from promu.modeling.configuration import PromuConfig
from promu.modeling.inputs import to_pixels
from promu.modeling.pretraining import PromuDualEncoder
from promu.modeling.small_encoders import ConvViTConfig

SIDE = 96


class SmallTeacher:
    """A dual encoder of the size that is trained on photographs in minutes, with random weights."""

    identity = "benchmark"
    temperature = 0.07

    def __init__(self) -> None:
        torch.manual_seed(0)
        small = {"hidden_size": 128, "num_hidden_layers": 2, "num_attention_heads": 4, "intermediate_size": 256}
        self.model = PromuDualEncoder(
            PromuConfig(
                text_config=BertConfig(**small),  # type: ignore[arg-type]
                vision_config=ConvViTConfig(**small, image_size=SIDE, patch_size=16),  # type: ignore[arg-type]
            )
        ).eval()

    @torch.inference_mode()
    def encode_prompts(self, prompts: Sequence[str]) -> torch.Tensor:
        """(M, D); the words do not matter here, their number does."""
        ids = torch.randint(1000, 30000, (len(prompts), 10))
        return self.model.encode_text(ids, torch.ones_like(ids))

    @torch.inference_mode()
    def encode_images(self, images: Sequence[Image.Image]) -> torch.Tensor:
        """(N, D)."""
        return self.model.encode_images(torch.stack([torch.from_numpy(to_pixels(image, SIDE)) for image in images]))


def header(nouns: int = 1000, relations: int = 100) -> LabelHeader:
    """Candidates in the paper's number."""
    return LabelHeader(
        teacher=SmallTeacher.identity,
        detector="corpus",
        nouns=tuple(f"noun {number}" for number in range(nouns)),
        relations=tuple(f"relation {number}" for number in range(relations)),
        entity_template="1",
        relation_template="A",
        temperature=SmallTeacher.temperature,
        top_k=16,
    )


def run(quick: bool) -> tuple[dict[str, Any], list[Row]]:
    """Label a corpus, then ask for the same labels again, as every further epoch does."""
    count = 16 if quick else 1024
    teacher = SmallTeacher()
    with tempfile.TemporaryDirectory() as temporary:
        pairs, source = corpus(_made(Path(temporary) / "corpus"), count)
        seconds, core_seconds = [], []
        for _ in range(2):
            started, core = time.perf_counter(), time.process_time()
            label_corpus(teacher, pairs, header(), Path(temporary) / "labels")
            seconds.append(time.perf_counter() - started)
            core_seconds.append(time.process_time() - core)
    result = {
        "images": count,
        "regions_a_image": 3,
        "corpus": source,
        "seconds": seconds,
        "core_seconds": core_seconds,
    }
    return result, [
        Row(
            "label",
            f"{source}, 3 regions an image, small teacher",
            f"{count / seconds[0]:.0f} images/s ({count / core_seconds[0]:.0f} a core-second)",
        ),
        Row(
            "label",
            "a further epoch: labels that are there",
            f"{seconds[1]:.3f} s",
            f"{seconds[0]:.2f} s",
            seconds[1] / seconds[0],
            goal="0",
        ),
    ]


def _made(folder: Path) -> Path:
    folder.mkdir(parents=True)
    return folder
