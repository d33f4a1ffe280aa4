"""What tests are made of: models of a few thousand weights, a corpus of coloured squares, batches of noise."""

from __future__ import annotations

import io
from pathlib import Path
from typing import Any

import torch
from PIL import Image
from transformers import BertConfig, PreTrainedTokenizerBase, ViTConfig

from promu.alignment.label_store import ImageLabels, LabelHeader, LabelStore, SparseLabels
from promu.corpora.shards import CaptionedImage, PairShards, ShardWriter
from promu.files import write_json
from promu.modeling.configuration import PromuConfig
from promu.modeling.encoders import encoder_config
from promu.modeling.loading import save_folder
from promu.modeling.losses import JointLoss
from promu.modeling.pretraining import PromuDualEncoder, PromuForPreTraining
from promu.tasks.task import TASKS
from promu.training.tokenizers import train_wordpiece

TEXTS = (
    "Ann Lee met Bob at the old bridge in Rome today , so happy",
    "the crew of Zorva won a medal and a ring near Mount Kelmo !",
    "what a night with Tavi and the dog , thanks to the ship Orla",
)
ENTITY_TYPES = ("LOC", "MISC", "ORG", "PER")
RELATIONS = (
    "None",
    "/loc/loc/contain",
    "/org/loc/located_in",
    "/per/misc/awarded",
    "/per/org/member_of",
    "/per/per/peer",
)
TINY_TEXT: dict[str, Any] = {
    "model_type": "bert",
    "hidden_size": 32,
    "num_hidden_layers": 2,
    "num_attention_heads": 2,
    "intermediate_size": 64,
    "max_position_embeddings": 96,
}
TINY_VISION: dict[str, Any] = {
    "model_type": "promu_conv_vit",
    "image_size": 32,
    "patch_size": 8,
    "hidden_size": 32,
    "num_hidden_layers": 1,
    "num_attention_heads": 2,
    "intermediate_size": 64,
}


def save_tiny_model(folder: Path, task: str, images: bool = True, **settings: Any) -> Path:
    """A model of `task` with random weights that finds much, and something else in each post."""
    tokenizer = train_wordpiece(TEXTS, 400, min_frequency=1)
    names = {
        "ner": ["O", *(f"{p}-{t}" for t in ENTITY_TYPES for p in "BI")],
        "re": list(RELATIONS),
        "joint": list(RELATIONS[1:]),
    }[task]
    torch.manual_seed(7)
    labels: dict[str, Any] = {
        "id2label": dict(enumerate(names)),
        "label2id": {name: index for index, name in enumerate(names)},
    }
    model: Any = TASKS[task].model_class(
        PromuConfig(
            text_config=encoder_config(TINY_TEXT, vocab_size=len(tokenizer)),
            vision_config=encoder_config(TINY_VISION) if images else None,
            **{"max_length": 96, **labels, **settings},
        )
    )
    head = {"ner": "emitter", "re": "classifier", "joint": "emitter"}[task]
    head = "prompts.roles" if settings.get("label_template") else head
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            # the usual start is so faint that neither word nor image would change an answer
            if parameter.ndim > 1 and "embeddings" not in name:
                parameter.mul_(6.0 if name.startswith("promu") else 20.0)
        bias = model.get_submodule(head).bias
        bias[0] = -4.0  # O and None seldom, so that there is something to look at
        if task == "joint":
            bias[2::2] = -12.0  # and names short, for the same reason
            model.relater.output.bias[0] = -4.0
    save_folder(folder, model, tokenizer)
    return folder


WIDTH, GRID, VOCABULARY = 32, 4, 90


def tiny_config(**settings: Any) -> PromuConfig:
    """Four text layers of width 32, and 4 x 4 patches of a 16 px image; no dropout. Fields starting with `text_` or
    `vision_` go to the encoder of that name."""
    text: dict[str, Any] = {
        "vocab_size": VOCABULARY,
        "hidden_size": WIDTH,
        "num_hidden_layers": 4,
        "num_attention_heads": 4,
        "intermediate_size": 48,
        "max_position_embeddings": 64,
        "hidden_dropout_prob": 0.0,
        "attention_probs_dropout_prob": 0.0,
        # large enough that the vectors of different tokens differ, small enough that nothing saturates
        "initializer_range": 0.2,
    }
    vision: dict[str, Any] = {
        "hidden_size": WIDTH,
        "num_hidden_layers": 2,
        "num_attention_heads": 4,
        "intermediate_size": 48,
        "image_size": 16,
        "patch_size": 16 // GRID,
        "hidden_dropout_prob": 0.0,
        "attention_probs_dropout_prob": 0.0,
        "initializer_range": 0.2,
    }
    for name in list(settings):
        for prefix, target in (("text_", text), ("vision_", vision)):
            if name.startswith(prefix) and not name.endswith("_config"):
                target[name.removeprefix(prefix)] = settings.pop(name)
    defaults = {"text_config": BertConfig(**text), "vision_config": ViTConfig(**vision), "classifier_dropout": 0.0}
    return PromuConfig(**{**defaults, **settings})


def tiny_batch(rows: int = 3, length: int = 7, seed: int = 0) -> dict[str, torch.Tensor]:
    """`input_ids`, `attention_mask` without padding, and `pixel_values` of noise."""
    chance = torch.Generator().manual_seed(seed)
    return {
        "input_ids": torch.randint(5, VOCABULARY, (rows, length), generator=chance),
        "attention_mask": torch.ones(rows, length, dtype=torch.long),
        "pixel_values": torch.randint(0, 256, (rows, 3, 16, 16), dtype=torch.uint8, generator=chance),
    }


def joint_loss(
    model: Any, batch: dict[str, torch.Tensor], run: Any = None
) -> tuple[torch.Tensor, dict[str, torch.Tensor]]:
    """The joint loss of a batch and its parts; `run` is the model as it is called, such as a wrapper of it."""
    return JointLoss.of(model).of_batch(run or model, batch)


NOUNS = ("red", "green", "blue", "square", "person", "dog")
IMAGE_RELATIONS = ("spouse", "award received", "part of")
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


def caption_tokenizer() -> PreTrainedTokenizerBase:
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
        relations=list(IMAGE_RELATIONS),
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
    store = LabelStore(folder, LabelHeader("t", "d", NOUNS, IMAGE_RELATIONS, "1", "A", 0.1, 6))
    images = [image.image for image in corpus.captions() if image.image not in skip]
    labels = []
    for number in range(len(images)):
        count = regions if number else 0  # the first image has no region
        corner = torch.rand(count, 2, generator=chance) * 0.5
        boxes = torch.cat([corner, corner + 0.4], -1)
        nouns = torch.rand(count, len(NOUNS), generator=chance).pow(3)
        relations = torch.rand(1, len(IMAGE_RELATIONS), generator=chance)
        labels.append(
            ImageLabels(
                boxes,
                SparseLabels.from_dense(nouns / nouns.sum(-1, keepdim=True), 6),
                SparseLabels.from_dense(relations / relations.sum(-1, keepdim=True), 6),
            )
        )
    store.add(images, labels)
    return store
