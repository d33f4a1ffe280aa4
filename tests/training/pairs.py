"""A tiny pre-trained model and a tiny corpus of coloured squares, for the tests of validation."""

from __future__ import annotations

import io
from pathlib import Path
from typing import Any

import torch
from PIL import Image
from tests.conftest import TINY_TEXT, TINY_VISION
from transformers import PreTrainedTokenizerBase

from promu.alignment.label_store import ImageLabels, LabelHeader, LabelStore, SparseLabels
from promu.corpora.shards import CaptionedImage, PairShards, ShardWriter
from promu.files import write_json
from promu.modeling.configuration import PromuConfig
from promu.modeling.loading import encoder_config
from promu.modeling.pretraining import PromuDualEncoder, PromuForPreTraining
from promu.training.tokenizers import train_wordpiece

NOUNS = ("red", "green", "blue", "square", "person", "dog")
RELATIONS = ("spouse", "award received", "part of")
COLOURS = {
    "red": (220, 20, 20),
    "green": (20, 200, 30),
    "blue": (20, 30, 210),
    "white": (250, 250, 250),
    "black": (5, 5, 5),
    "pink": (250, 120, 180),
    "brown": (120, 70, 20),
}


def image_bytes(colour: tuple[int, int, int], size: tuple[int, int] = (40, 32)) -> bytes:
    """A PNG of one colour with a dark corner."""
    image = Image.new("RGB", size, colour)
    image.paste((60, 60, 60), (0, 0, size[0] // 3, size[1] // 2))
    buffer = io.BytesIO()
    image.save(buffer, "PNG")
    return buffer.getvalue()


def captioned() -> list[CaptionedImage]:
    """Seven images: two captions of their own each, one falsified; the last has one that another has too."""
    names = list(COLOURS)
    found = []
    for number, name in enumerate(names):
        other = names[(number + 1) % len(names)]
        captions = ((f"a {name} square", True), (f"something {name} is here", True), (f"a {other} square", False))
        if number == len(names) - 1:
            captions = ((f"a {name} square", True), ("something red is here", True), captions[2])
        found.append(CaptionedImage(f"{name}.png", image_bytes(COLOURS[name]), 40, 32, captions))
    return found


def write_corpus(folder: Path, images: list[CaptionedImage]) -> PairShards:
    """A corpus of these images."""
    folder.mkdir(parents=True, exist_ok=True)
    with ShardWriter(folder, 0) as writer:
        for image in images:
            writer.add(image)
    write_json(folder / "corpus.json", {"source": "test"})
    return PairShards(folder)


def tokenizer() -> PreTrainedTokenizerBase:
    """Of the corpus's captions."""
    return train_wordpiece([text for image in captioned() for text, _ in image.captions], 400, min_frequency=1)


def tiny_pair_model(pieces: PreTrainedTokenizerBase, dual: bool = False, **weights: float) -> Any:
    """A model with random weights large enough that every word and colour makes a difference."""
    torch.manual_seed(3)
    config = PromuConfig(
        text_config=encoder_config(TINY_TEXT, vocab_size=len(pieces)),
        vision_config=encoder_config(TINY_VISION),
        projection_dim=16,
        max_length=32,
        nouns=list(NOUNS),
        relations=list(RELATIONS),
        loss_weights=weights or None,
    )
    model: Any = PromuDualEncoder(config) if dual else PromuForPreTraining(config)
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            if parameter.ndim > 1 and "embeddings" not in name:
                parameter.mul_(6.0)
    return model.eval()


def label_corpus(folder: Path, corpus: PairShards, regions: int = 2, skip: tuple[str, ...] = ()) -> LabelStore:
    """Random soft labels for each image but those in `skip`."""
    chance = torch.Generator().manual_seed(5)
    store = LabelStore(folder, LabelHeader("t", "d", NOUNS, RELATIONS, "1", "A", 0.1, 6))
    images = [image.image for image in corpus.captions() if image.image not in skip]
    labels = []
    for number in range(len(images)):
        count = regions if number else 0  # the first image has no region
        corner = torch.rand(count, 2, generator=chance) * 0.5
        boxes = torch.cat([corner, corner + 0.4], -1)
        nouns = torch.rand(count, len(NOUNS), generator=chance).pow(3)
        relations = torch.rand(1, len(RELATIONS), generator=chance)
        labels.append(
            ImageLabels(
                boxes,
                SparseLabels.from_dense(nouns / nouns.sum(-1, keepdim=True), 6),
                SparseLabels.from_dense(relations / relations.sum(-1, keepdim=True), 6),
            )
        )
    store.add(images, labels)
    return store
