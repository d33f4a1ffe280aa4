"""A pre-trained model read out: from the images and captions of a corpus to vectors, match scores and predictions."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Protocol

import torch

from promu.corpora.shards import CaptionedImage
from promu.errors import InputError
from promu.hub import autocast, best_device
from promu.modeling.backbone import PromuPreTrainedModel
from promu.modeling.inputs import EncodedText, WordEncoder, to_pixels
from promu.modeling.loading import load_model, load_tokenizer, saved_class
from promu.modeling.losses import patch_coverage, pool_regions
from promu.modeling.pretraining import PromuDualEncoder, PromuForPreTraining
from promu.progress import report

PairModel = PromuForPreTraining | PromuDualEncoder
PAIR_MODELS: dict[str, type[PromuForPreTraining] | type[PromuDualEncoder]] = {
    model_class.__name__: model_class for model_class in (PromuForPreTraining, PromuDualEncoder)
}


class PairCorpus(Protocol):
    """What is asked of a corpus; `promu.corpora.shards.PairShards` has it."""

    @property
    def images(self) -> int:
        """How many images there are."""

    def image(self, index: int) -> CaptionedImage:
        """An image by its number."""

    def captions(self) -> Iterable[CaptionedImage]:
        """Every image in order with its captions; `data` may be left out."""


def open_pair_model(folder: str | Path, device: str | None = None) -> tuple[PairModel, WordEncoder]:
    """A pre-trained model or a self-trained teacher, in evaluation mode, and its tokenizer.

    Args:
        folder: What pre-training saved: config.json, model.safetensors, tokenizer.json.
        device: A torch device; None takes the best there is.

    Raises:
        InputError: The folder is none, holds a model of another kind, or a part of it is missing or broken.
    """
    folder = Path(folder)
    found = saved_class(folder)
    if found not in PAIR_MODELS:
        raise InputError(
            f"this folder holds {found}, which was not saved by pre-training; name the model folder of "
            "`promu pretrain`",
            folder,
        )
    tokenizer = load_tokenizer(str(folder))
    model: Any = load_model(PAIR_MODELS[found], folder)
    return model.to(device or best_device()).eval(), WordEncoder(tokenizer, model.config.max_length)


@contextmanager
def reading(model: PromuPreTrainedModel) -> Iterator[None]:
    """Evaluation mode, no gradients and the device's best precision; the model's mode is restored afterwards."""
    was_training = model.training
    model.eval()
    try:
        with torch.no_grad(), autocast(model.device):
            yield
    finally:
        model.train(was_training)


class EncodedImages:
    """A corpus's images as its fusion reads them, each encoded once, as far as memory goes.

    Args:
        model: Whose vision encoder looks.
        corpus: Whose images.
        budget: Bytes of vectors to keep; what does not fit is encoded again.
    """

    def __init__(self, model: PairModel, corpus: PairCorpus, budget: int = 2**30) -> None:
        self.model = model
        self.corpus = corpus
        self._left = budget
        self._kept: dict[int, torch.Tensor] = {}

    def __len__(self) -> int:
        return self.corpus.images

    def __call__(self, indices: Sequence[int]) -> torch.Tensor:
        """The images of these numbers, (B, ...) as the model's `encode_visual` returns them, on its device.

        Raises:
            InputError: An image is damaged, or the model reads text alone.
        """
        new = [index for index in dict.fromkeys(indices) if index not in self._kept]
        fresh: dict[int, torch.Tensor] = {}
        if new:
            size = image_side(self.model)
            pixels = [to_pixels(self.corpus.image(index).decode((size, size)), size) for index in new]
            with reading(self.model):
                found = self.model.encode_visual(torch.stack(pixels).to(self.model.device))
            fresh = dict(zip(new, found, strict=True))
        for index, vectors in fresh.items():
            cost = vectors.numel() * vectors.element_size()
            if cost <= self._left:
                self._left -= cost
                self._kept[index] = vectors
        return torch.stack([self._kept[index] if index in self._kept else fresh[index] for index in indices])


def image_side(model: PromuPreTrainedModel) -> int:
    """Side of the square image that the model takes, in pixels.

    Raises:
        InputError: It takes none.
    """
    size = model.config.image_size
    if size is None:
        raise InputError("this model reads text alone; name one with a vision encoder")
    return size


def tokens(model: PromuPreTrainedModel, encoder: WordEncoder, texts: Sequence[EncodedText]) -> dict[str, torch.Tensor]:
    """`input_ids` and `attention_mask` on the model's device."""
    return {name: value.to(model.device) for name, value in encoder.batch(texts).items()}


def text_vectors(model: PairModel, encoder: WordEncoder, texts: Sequence[EncodedText], batch_size: int) -> torch.Tensor:
    """Unit vectors (N, D) of captions in the shared space, on the CPU."""
    # texts of one length together: less padding
    order = sorted(range(len(texts)), key=lambda row: len(texts[row].input_ids))
    found: list[torch.Tensor] = []
    with reading(model):
        for start in range(0, len(order), batch_size):
            batch = tokens(model, encoder, [texts[row] for row in order[start : start + batch_size]])
            found.append(model.encode_text(**batch).float().cpu())
            report("captions", min(start + batch_size, len(order)), len(order))
    back = torch.empty(len(order), dtype=torch.long)
    back[torch.tensor(order, dtype=torch.long)] = torch.arange(len(order))
    return torch.cat(found)[back]


def image_vectors(model: PairModel, images: EncodedImages, batch_size: int) -> torch.Tensor:
    """Unit vectors (P, D) of every image of the corpus in the shared space, on the CPU."""
    found = []
    with reading(model):
        for start in range(0, len(images), batch_size):
            rows = range(start, min(start + batch_size, len(images)))
            found.append(model.project_images(images(rows)).float().cpu())
            report("images", rows.stop, len(images))
    return torch.cat(found)


def match_scores(
    model: PromuForPreTraining,
    encoder: WordEncoder,
    images: EncodedImages,
    texts: Sequence[EncodedText],
    pairs: torch.Tensor,
    batch_size: int,
    stage: str = "matching",
) -> torch.Tensor:
    """How sure the ITM head is that captions belong to images: the difference of its two logits.

    Pairs are read in the order of their images, so that each image is asked for once (twice where a batch ends).

    Args:
        images: The corpus's.
        texts: The captions.
        pairs: (N, 2) numbers of a caption in `texts` and of an image in the corpus.
        batch_size: Pairs a forward pass.
        stage: Under which name progress is reported.

    Returns:
        (N,) on the CPU.
    """
    scores = torch.empty(len(pairs))
    order = torch.argsort(pairs[:, 1], stable=True)
    with reading(model):
        for start in range(0, len(order), batch_size):
            rows = order[start : start + batch_size]
            shown, place = torch.unique_consecutive(pairs[rows, 1], return_inverse=True)
            visual = images(shown.tolist())[place.to(model.device)]
            batch = tokens(model, encoder, [texts[row] for row in pairs[rows, 0].tolist()])
            logits = model.match_logits(model.promu(**batch, visual=visual), batch["attention_mask"]).float().cpu()
            scores[rows] = logits[:, 1] - logits[:, 0]
            report(stage, min(start + batch_size, len(order)), len(order))
    return scores


def predictions(
    model: PromuForPreTraining, batch: dict[str, torch.Tensor], visual: torch.Tensor, boxes: torch.Tensor | None
) -> tuple[torch.Tensor | None, torch.Tensor | None]:
    """What the COE head says of regions and the CIR head of images, each None where the model or the call has none.

    Args:
        batch: `input_ids` and `attention_mask` of the captions that go with the images.
        visual: The images, as `PromuForPreTraining.encode_visual` returns them.
        boxes: (B, R, 4) in 0..1.

    Returns:
        Probabilities of nouns (B, R, M) and of relations (B, L), fp32 on the CPU.
    """
    with reading(model):
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
