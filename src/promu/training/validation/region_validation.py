"""What the COE head calls gold boxes, and what the teacher calls them."""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, Literal

import torch
from PIL import Image
from torch.nn.utils.rnn import pad_sequence

from promu.alignment.labelling import square_crop
from promu.alignment.prompts import ENTITY_TEMPLATES, prompts
from promu.alignment.teacher import Teacher
from promu.corpora.pictures import load_picture
from promu.errors import InputError
from promu.evaluation.region_naming import score_naming
from promu.modeling.inputs import WordEncoder, to_pixels
from promu.modeling.pretraining import PromuForPreTraining
from promu.schema import Region
from promu.training.validation.pair_inference import Advance, PairModel, picture_side, predictions, reading, tokens

logger = logging.getLogger(__name__)

RANKED = 5
"""Nouns of each box that are looked at."""


def evaluate_regions(
    model: PairModel,
    encoder: WordEncoder,
    gold: Mapping[str, Sequence[Region]],
    open_picture: Callable[[str], Image.Image],
    synonyms: Mapping[str, frozenset[str]],
    *,
    teacher: Teacher | None = None,
    template: str = "1",
    batch_size: int = 32,
    advance: Advance | None = None,
) -> dict[str, Any]:
    """How often the likeliest nouns of a gold box name its category.

    Pictures are read with an empty caption, so that no word tells what is in them.

    Args:
        model: A pre-trained model with a COE head.
        encoder: Its tokenizer.
        gold: The boxes of each picture, in pixels of the upright original; a picture without one is not opened.
        open_picture: A picture's name to the picture, in full size.
        synonyms: As `promu.alignment.synonyms.read_synonyms` returns them.
        teacher: Names the same boxes with the same nouns, by the crops that labelling makes.
        template: The prompt template that the teacher reads the nouns in.
        batch_size: Pictures a forward pass.
        advance: Called with (pictures read, pictures in all).

    Returns:
        `model` and `teacher` (or None): `NamingScores.to_dict`; `pictures` read and `empty` ones without a box.

    Raises:
        InputError: The model has no COE head or does not say its nouns, a picture cannot be read, a box lies outside
            its picture, there is no box, or none can be named.
    """
    nouns = _nouns(model)
    assert isinstance(model, PromuForPreTraining)
    images = [image for image, regions in gold.items() if regions]
    if not images:
        raise InputError("there is no gold box to name; give a file with boxes")
    categories: list[str] = []
    student: list[list[str]] = []
    taught: list[list[str]] = []
    prompt_vectors = None if teacher is None else teacher.encode_prompts(prompts(nouns, template, ENTITY_TEMPLATES))
    for start in range(0, len(images), batch_size):
        names = images[start : start + batch_size]
        pictures = [open_picture(name) for name in names]
        boxes = [_shares(name, picture, gold[name]) for name, picture in zip(names, pictures, strict=True)]
        student += _named_by_student(model, encoder, pictures, boxes, nouns)
        categories += [region.label for name in names for region in gold[name]]
        if teacher is not None and prompt_vectors is not None:
            crops = [
                square_crop(picture, region)
                for name, picture in zip(names, pictures, strict=True)
                for region in gold[name]
            ]
            taught += _ranked(teacher.encode_pictures(crops).float() @ prompt_vectors.float().T, nouns)
        if advance is not None:
            advance(min(start + batch_size, len(images)), len(images))
    return {
        "model": score_naming(categories, student, nouns, synonyms).to_dict(),
        "teacher": None if teacher is None else score_naming(categories, taught, nouns, synonyms).to_dict(),
        "nouns": len(nouns),
        "pictures": len(images),
        "empty": len(gold) - len(images),
    }


def readable_boxes(
    gold: Mapping[str, Sequence[Region]], folder: Path, missing: Literal["error", "skip"]
) -> tuple[dict[str, Sequence[Region]], dict[str, int]]:
    """The boxes whose picture can be read, and how many boxes each other picture has.

    Raises:
        InputError: A picture with boxes is missing or broken and `missing` is `error`.
    """
    kept: dict[str, Sequence[Region]] = {}
    skipped: dict[str, int] = {}
    for image, regions in gold.items():
        try:
            if regions:
                load_picture(folder / image, target=(32, 32))  # a header alone does not show a truncated one
            kept[image] = regions
        except InputError as error:
            if missing == "error":
                raise InputError(f"{error.reason}; or skip such pictures", error.path) from None
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


def _shares(name: str, picture: Image.Image, regions: Sequence[Region]) -> torch.Tensor:
    """Boxes (R, 4) as shares of the picture's width and height, cut at its edges."""
    scale = torch.tensor([picture.width, picture.height] * 2, dtype=torch.float32)
    boxes = (torch.tensor([region.box for region in regions], dtype=torch.float32) / scale).clamp(0.0, 1.0)
    for region, box in zip(regions, boxes.tolist(), strict=True):
        if box[0] >= box[2] or box[1] >= box[3]:
            raise InputError(
                f"box {region.box} of {name!r} lies outside its {picture.width} x {picture.height} picture; "
                "are these the pictures that the boxes were drawn on?"
            )
    return boxes


def _named_by_student(
    model: PromuForPreTraining,
    encoder: WordEncoder,
    pictures: Sequence[Image.Image],
    boxes: Sequence[torch.Tensor],
    nouns: Sequence[str],
) -> list[list[str]]:
    side = picture_side(model)
    pixel_values = torch.stack([to_pixels(picture, side) for picture in pictures]).to(model.device)
    with reading(model):
        visual = model.encode_visual(pixel_values)
    entities, _ = predictions(
        model,
        tokens(model, encoder, [encoder.text("")] * len(pictures)),
        visual,
        pad_sequence(list(boxes), batch_first=True),
    )
    assert entities is not None
    return _ranked(torch.cat([rows[: len(own)] for rows, own in zip(entities, boxes, strict=True)]), nouns)


def _ranked(scores: torch.Tensor, nouns: Sequence[str]) -> list[list[str]]:
    """The likeliest nouns of each row of scores (N, M)."""
    best = scores.topk(min(RANKED, len(nouns)), dim=-1).indices
    return [[nouns[index] for index in row] for row in best.tolist()]
