"""What the COE head calls gold boxes, and what the teacher calls them."""

from __future__ import annotations

import logging
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from PIL import Image
from torch.nn.utils.rnn import pad_sequence

from promu.alignment.candidates import ENTITY_TEMPLATES, prompts
from promu.alignment.labelling import square_crop
from promu.alignment.synonyms import Synonyms, nouns_naming
from promu.alignment.teacher import Teacher
from promu.corpora.images import load_image
from promu.errors import InputError
from promu.evaluation.pretrained import PairModel, image_side, predictions, reading, tokens
from promu.modeling.inputs import WordEncoder, to_pixels
from promu.modeling.pretraining import PromuForPreTraining
from promu.progress import report
from promu.schema import MissingPairImage, Region


@dataclass(frozen=True, slots=True)
class CategoryCount:
    """Boxes of one category, and how many were named by the first noun and among the first five."""

    boxes: int
    top1: int
    top5: int


@dataclass(frozen=True)
class NamingScores:
    """What the nouns of the judged boxes come to; shares in percent.

    Attributes:
        per_category: The judged boxes: those whose category has a synonym among the candidates.
        unnameable: Boxes of each category without one. They are counted, not judged.
        constant: The noun that would name most boxes if every box were given it, and the share it would name.
    """

    per_category: dict[str, CategoryCount]
    unnameable: dict[str, int]
    constant: tuple[str, float]

    @property
    def boxes(self) -> int:
        """How many boxes were judged."""
        return sum(count.boxes for count in self.per_category.values())

    def micro(self, rank: str) -> float:
        """Percent of the judged boxes named; `rank` is top1 or top5."""
        return 100.0 * sum(getattr(count, rank) for count in self.per_category.values()) / self.boxes

    def macro(self, rank: str) -> float:
        """The mean over categories of the percent of their boxes that are named."""
        shares = [getattr(count, rank) / count.boxes for count in self.per_category.values()]
        return 100.0 * sum(shares) / len(shares)

    def to_dict(self) -> dict[str, Any]:
        """Plain numbers."""
        return {
            "boxes": self.boxes,
            "categories": len(self.per_category),
            "micro": {rank: self.micro(rank) for rank in ("top1", "top5")},
            "macro": {rank: self.macro(rank) for rank in ("top1", "top5")},
            "constant": {"noun": self.constant[0], "top1": self.constant[1]},
            "per_category": {
                name: {"boxes": count.boxes, "top1": count.top1, "top5": count.top5}
                for name, count in self.per_category.items()
            },
            "unnameable": self.unnameable,
        }


def score_naming(
    categories: Sequence[str],
    ranked: Sequence[Sequence[str]],
    nouns: Sequence[str],
    synonyms: Synonyms,
) -> NamingScores:
    """Score the nouns given to gold boxes.

    Args:
        categories: Each box's gold category.
        ranked: Each box's nouns, likeliest first, five or all there are.
        nouns: Every candidate that could have been given.
        synonyms: As `promu.alignment.synonyms.read_synonyms` returns them.

    Raises:
        InputError: There is no box, or no category has a synonym among the candidates.
    """
    known = {noun.lower() for noun in nouns}
    # of each category, the candidates that name it
    names = {category: nouns_naming(category, synonyms) & known for category in set(categories)}
    if not categories:
        raise InputError("there is no gold box to name; give a file with boxes")
    if not any(names.values()):
        raise InputError(
            f"none of the {len(names)} gold categories has a synonym among the model's {len(known)} nouns; "
            "add the nouns to the synonym table"
        )
    boxes, top1, top5 = Counter[str](), Counter[str](), Counter[str]()
    right_if_always = Counter[str]()
    for category, given in zip(categories, ranked, strict=True):
        right = names[category]
        boxes[category] += 1
        top1[category] += any(noun.lower() in right for noun in given[:1])
        top5[category] += any(noun.lower() in right for noun in given[:5])
        right_if_always.update(right)
    judged = [category for category, _ in boxes.most_common() if names[category]]
    total = sum(boxes[category] for category in judged)
    # the alphabet decides between nouns that are right equally often, whatever order a set is in
    noun, often = min(right_if_always.items(), key=lambda item: (-item[1], item[0]))
    return NamingScores(
        {category: CategoryCount(boxes[category], top1[category], top5[category]) for category in judged},
        {category: count for category, count in boxes.most_common() if not names[category]},
        (noun, 100.0 * often / total),
    )


logger = logging.getLogger(__name__)

RANKED = 5
"""Nouns of each box that are looked at."""


def evaluate_regions(
    model: PairModel,
    encoder: WordEncoder,
    gold: Mapping[str, Sequence[Region]],
    open_image: Callable[[str], Image.Image],
    synonyms: Mapping[str, frozenset[str]],
    *,
    teacher: Teacher | None = None,
    template: str = "1",
    batch_size: int = 32,
) -> dict[str, Any]:
    """How often the likeliest nouns of a gold box name its category.

    Images are read with an empty caption, so that no word tells what is in them.

    Args:
        model: A pre-trained model with a COE head.
        encoder: Its tokenizer.
        gold: The boxes of each image, in pixels of the upright original; an image without one is not opened.
        open_image: An image's name to the image, in full size.
        synonyms: As `promu.alignment.synonyms.read_synonyms` returns them.
        teacher: Names the same boxes with the same nouns, by the crops that labelling makes.
        template: The prompt template that the teacher reads the nouns in.
        batch_size: Images a forward pass.

    Returns:
        `model` and `teacher` (or None): `NamingScores.to_dict`; `images` read and `empty` ones without a box.

    Raises:
        InputError: The model has no COE head or does not say its nouns, an image cannot be read, a box lies outside
            its image, there is no box, or none can be named.
    """
    nouns = _nouns(model)
    assert isinstance(model, PromuForPreTraining)
    named = [name for name, regions in gold.items() if regions]
    if not named:
        raise InputError("there is no gold box to name; give a file with boxes")
    categories: list[str] = []
    student: list[list[str]] = []
    taught: list[list[str]] = []
    prompt_vectors = None if teacher is None else teacher.encode_prompts(prompts(nouns, template, ENTITY_TEMPLATES))
    for start in range(0, len(named), batch_size):
        names = named[start : start + batch_size]
        images = [open_image(name) for name in names]
        boxes = [_shares(name, image, gold[name]) for name, image in zip(names, images, strict=True)]
        student += _named_by_student(model, encoder, images, boxes, nouns)
        categories += [region.label for name in names for region in gold[name]]
        if teacher is not None and prompt_vectors is not None:
            crops = [
                square_crop(image, region) for name, image in zip(names, images, strict=True) for region in gold[name]
            ]
            taught += _ranked(teacher.encode_images(crops).float() @ prompt_vectors.float().T, nouns)
        report("images", min(start + batch_size, len(named)), len(named))
    return {
        "model": score_naming(categories, student, nouns, synonyms).to_dict(),
        "teacher": None if teacher is None else score_naming(categories, taught, nouns, synonyms).to_dict(),
        "nouns": len(nouns),
        "images": len(named),
        "empty": len(gold) - len(named),
    }


def readable_boxes(
    gold: Mapping[str, Sequence[Region]], folder: Path, missing: MissingPairImage
) -> tuple[dict[str, Sequence[Region]], dict[str, int]]:
    """The boxes whose image can be read, and how many boxes each other image has.

    Raises:
        InputError: An image with boxes is missing or broken and `missing` is `raise`.
    """
    kept: dict[str, Sequence[Region]] = {}
    skipped: dict[str, int] = {}
    for image, regions in gold.items():
        try:
            if regions:
                load_image(folder / image, target=(32, 32))  # a header alone does not show a truncated one
            kept[image] = regions
        except InputError as error:
            if missing == "raise":
                raise InputError(f"{error.reason}; or skip such images", error.path) from None
            logger.warning("%s; its boxes are skipped", error)
            skipped[image] = len(regions)
    return kept, skipped


def _nouns(model: PairModel) -> list[str]:
    if not hasattr(model, "entity_head"):
        raise InputError(
            "this model has no COE head (it was pre-trained without L_COE), so it names no region; name another model"
        )
    nouns = list(model.config.nouns)
    if not nouns:
        raise InputError("this model's config.json does not say its nouns; pre-train it again with this version")
    return nouns


def _shares(name: str, image: Image.Image, regions: Sequence[Region]) -> torch.Tensor:
    """Boxes (R, 4) as shares of the image's width and height, cut at its edges."""
    scale = torch.tensor([image.width, image.height] * 2, dtype=torch.float32)
    boxes = (torch.tensor([region.box for region in regions], dtype=torch.float32) / scale).clamp(0.0, 1.0)
    for region, box in zip(regions, boxes.tolist(), strict=True):
        if box[0] >= box[2] or box[1] >= box[3]:
            raise InputError(
                f"box {region.box} of {name!r} lies outside its {image.width} x {image.height} image; "
                "are these the images that the boxes were drawn on?"
            )
    return boxes


def _named_by_student(
    model: PromuForPreTraining,
    encoder: WordEncoder,
    images: Sequence[Image.Image],
    boxes: Sequence[torch.Tensor],
    nouns: Sequence[str],
) -> list[list[str]]:
    side = image_side(model)
    pixel_values = torch.stack([to_pixels(image, side) for image in images]).to(model.device)
    with reading(model):
        visual = model.encode_visual(pixel_values)
    entities, _ = predictions(
        model,
        tokens(model, encoder, [encoder.text("")] * len(images)),
        visual,
        pad_sequence(list(boxes), batch_first=True),
    )
    assert entities is not None
    return _ranked(torch.cat([rows[: len(own)] for rows, own in zip(entities, boxes, strict=True)]), nouns)


def _ranked(scores: torch.Tensor, nouns: Sequence[str]) -> list[list[str]]:
    """The likeliest nouns of each row of scores (N, M)."""
    best = scores.topk(min(RANKED, len(nouns)), dim=-1).indices
    return [[nouns[index] for index in row] for row in best.tolist()]
