"""Outputs of a pre-trained model for the images and captions of a corpus: vectors, match scores, predictions."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image

from promu.errors import InputError
from promu.evaluation.pair_corpus import PairCorpus
from promu.hub import saved_class
from promu.modeling.backbone import PromuPreTrainedModel
from promu.modeling.inputs import EncodedText, WordEncoder, tensors, to_pixels
from promu.modeling.loading import load_model, load_tokenizer
from promu.modeling.losses import patch_coverage, pool_regions
from promu.modeling.pretraining import PromuDualEncoder, PromuForPreTraining
from promu.progress import report
from promu.pytorch import autocast, find_device

PairModel = PromuForPreTraining | PromuDualEncoder


def open_pair_model(folder: str | Path, device: str | None = None) -> tuple[PairModel, WordEncoder]:
    """Load a pre-trained model or a self-trained teacher in evaluation mode, and its tokenizer.

    Raises:
        InputError: The folder holds no model or one of another kind, or a file is missing or broken.
    """
    folder = Path(folder)
    name = saved_class(folder)
    classes: dict[str, Any] = {one.__name__: one for one in (PromuForPreTraining, PromuDualEncoder)}
    if name not in classes:
        raise InputError(
            f"this folder holds {name}, which was not saved by pre-training; name the model folder of `promu pretrain`",
            folder,
        )
    tokenizer = load_tokenizer(str(folder))
    model = load_model(classes[name], folder)
    return model.to(find_device(device)).eval(), WordEncoder.of(tokenizer, model.config)


@contextmanager
def evaluating(model: PromuPreTrainedModel) -> Iterator[None]:
    """Evaluation mode, no gradients and the device's best precision; the model's mode is restored afterwards."""
    was_training = model.training
    model.eval()
    try:
        with torch.no_grad(), autocast(model.device):
            yield
    finally:
        model.train(was_training)


class EncodedImages:
    """The images of a corpus, encoded by a model; each is encoded once, as far as memory allows.

    `BUDGET` bytes of vectors are cached; the other images are encoded at each use.
    """

    BUDGET = 2**30

    def __init__(self, model: PairModel, corpus: PairCorpus) -> None:
        self.model = model
        self.corpus = corpus
        self._left = self.BUDGET
        self._cache: dict[int, torch.Tensor] = {}

    def __len__(self) -> int:
        return self.corpus.images

    def __call__(self, indices: Sequence[int]) -> torch.Tensor:
        """The images of these numbers, (B, ...) as the model's `encode_visual` returns them, on its device.

        Raises:
            InputError: An image is damaged, or the model reads text alone.
        """
        new = [index for index in dict.fromkeys(indices) if index not in self._cache]
        fresh: dict[int, torch.Tensor] = {}
        if new:
            size = image_side(self.model)
            images = [self.corpus.image(index).decode((size, size)) for index in new]
            fresh = dict(zip(new, encode_images(self.model, images), strict=True))
        for index, vectors in fresh.items():
            cost = vectors.numel() * vectors.element_size()
            if cost <= self._left:
                self._left -= cost
                self._cache[index] = vectors
        return torch.stack([self._cache[index] if index in self._cache else fresh[index] for index in indices])


def image_side(model: PromuPreTrainedModel) -> int:
    """Side of the square image that the model takes, in pixels.

    Raises:
        InputError: It takes none.
    """
    size = model.config.image_size
    if size is None:
        raise InputError("this model reads text alone; name one with a vision encoder")
    return size


def encode_images(model: PairModel, images: Sequence[Image.Image]) -> torch.Tensor:
    """Images of any size, (B, ...) as the model's `encode_visual` returns them, on its device."""
    side = image_side(model)
    pixels = np.stack([to_pixels(image, side) for image in images])
    with evaluating(model):
        return model.encode_visual(torch.from_numpy(pixels).to(model.device))


def tokens(model: PromuPreTrainedModel, encoder: WordEncoder, texts: Sequence[EncodedText]) -> dict[str, torch.Tensor]:
    """`input_ids` and `attention_mask` on the model's device."""
    return tensors(encoder.batch(texts), model.device)


def text_vectors(model: PairModel, encoder: WordEncoder, texts: Sequence[EncodedText], batch_size: int) -> torch.Tensor:
    """Unit vectors (N, D) of captions in the shared space, on the CPU."""
    # texts of one length together: less padding
    order = sorted(range(len(texts)), key=lambda row: len(texts[row].input_ids))
    vectors: list[torch.Tensor] = []
    with evaluating(model):
        for start in range(0, len(order), batch_size):
            batch = tokens(model, encoder, [texts[row] for row in order[start : start + batch_size]])
            vectors.append(model.encode_text(**batch).float().cpu())
            report("captions", min(start + batch_size, len(order)), len(order))
    return torch.cat(vectors)[torch.tensor(order).argsort()]


def image_vectors(model: PairModel, images: EncodedImages, batch_size: int) -> torch.Tensor:
    """Unit vectors (P, D) of every image of the corpus in the shared space, on the CPU."""
    vectors = []
    with evaluating(model):
        for start in range(0, len(images), batch_size):
            rows = range(start, min(start + batch_size, len(images)))
            vectors.append(model.project_images(images(rows)).float().cpu())
            report("images", rows.stop, len(images))
    return torch.cat(vectors)


def match_scores(
    model: PromuForPreTraining,
    encoder: WordEncoder,
    images: EncodedImages,
    texts: Sequence[EncodedText],
    pairs: torch.Tensor,
    batch_size: int,
    stage: str = "matching",
) -> torch.Tensor:
    """The log odds of the ITM head that captions belong to images: the difference of its two logits.

    Pairs are read in the order of their images, so each image is needed once (twice at the end of a batch).

    Args:
        model, encoder: The model and its tokenizer.
        images, texts: The images and captions of the corpus.
        pairs: (N, 2) numbers of a caption in `texts` and of an image in the corpus.
        batch_size: Pairs in a forward pass.
        stage: Name of the reported progress.

    Returns:
        (N,) on the CPU.
    """
    scores = torch.empty(len(pairs))
    order = torch.argsort(pairs[:, 1], stable=True)
    with evaluating(model):
        for start in range(0, len(order), batch_size):
            rows = order[start : start + batch_size]
            numbers, place = torch.unique_consecutive(pairs[rows, 1], return_inverse=True)
            visual = images(numbers.tolist())[place.to(model.device)]
            batch = tokens(model, encoder, [texts[row] for row in pairs[rows, 0].tolist()])
            logits = model.match_logits(model.promu(**batch, visual=visual), batch["attention_mask"]).float().cpu()
            scores[rows] = logits[:, 1] - logits[:, 0]
            report(stage, min(start + batch_size, len(order)), len(order))
    return scores


def predictions(
    model: PromuForPreTraining, batch: dict[str, torch.Tensor], visual: torch.Tensor, boxes: torch.Tensor | None
) -> tuple[torch.Tensor | None, torch.Tensor | None]:
    """Predictions of the COE head for regions and of the CIR head for images; None without head or boxes.

    Args:
        model: A pre-trained model.
        batch: `input_ids` and `attention_mask` of the images' captions.
        visual: The images, as `PromuForPreTraining.encode_visual` returns them.
        boxes: (B, R, 4) in 0..1.

    Returns:
        Probabilities of nouns (B, R, M) and of relations (B, L), fp32 on the CPU.
    """
    with evaluating(model):
        boxes = None if boxes is None else boxes.to(model.device)
        fused = model.promu(**batch, visual=visual, boxes=boxes)
        entities = relations = None
        if boxes is not None and hasattr(model, "entity_head"):
            coverage = patch_coverage(boxes, model.config.grid)
            regions = pool_regions(fused.fused_visual[:, -coverage.shape[-1] :], coverage)
            entities = model.entity_head(regions).float().softmax(-1).cpu()
        if hasattr(model, "relation_head"):
            relations = model.relation_head(fused.fused_text[:, 0]).float().softmax(-1).cpu()
    return entities, relations
