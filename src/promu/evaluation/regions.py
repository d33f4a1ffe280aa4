"""Evaluation of the COE head on gold boxes: how often its nouns name the categories of the boxes."""

from __future__ import annotations

import logging
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, TypedDict

import torch
from PIL import Image
from torch.nn.utils.rnn import pad_sequence

from promu.alignment.labelling import square_crop
from promu.alignment.synonyms import Synonyms, nouns_naming, read_synonyms
from promu.alignment.teacher import Teacher, load_teacher
from promu.corpora.coco import read_coco
from promu.corpora.images import load_image
from promu.errors import InputError
from promu.evaluation.pretrained import PairModel, encode_images, open_pair_model, predictions, tokens
from promu.hub import read_json_object
from promu.modeling.configuration import PromuConfig
from promu.modeling.inputs import WordEncoder
from promu.modeling.label_prompts import ENTITY_TEMPLATES, prompts
from promu.modeling.pretraining import PromuForPreTraining
from promu.progress import report
from promu.schema import MissingPairImage, Region

logger = logging.getLogger(__name__)

RANKED = 5
"""Nouns of each box that are scored."""


class RegionScores(TypedDict):
    """Scores of a model on gold boxes: those of `score_naming` for the model and for a teacher (None without one), and
    the numbers of candidates (`nouns`), of images with a box, and of images without one (`empty`)."""

    model: dict[str, Any]
    teacher: dict[str, Any] | None
    nouns: int
    images: int
    empty: int


class RegionReport(RegionScores):
    """The scores of `evaluate_regions`, and what was skipped."""

    skipped_images: int
    skipped_boxes: int


def evaluate_regions(
    model: str | Path,
    *,
    instances: Path,
    images: Path,
    synonyms: Path | None = None,
    teacher: str | None = None,
    missing_images: MissingPairImage = "raise",
    batch_size: int = 32,
) -> RegionReport:
    """Evaluate a saved pre-trained model on gold boxes.

    Args:
        model: Model folder of pre-training with the loss coe.
        instances, images: COCO instances JSON with the gold boxes, and the folder of their images.
        synonyms: Table of the nouns that name a category; None takes COCO's.
        teacher: Evaluate this teacher too: the model folder of a self-trained one, or the name of a CLIP-type model.
        missing_images: What a missing or broken image does: raise, or have its boxes skipped and counted.
        batch_size: Images in a forward pass.

    Raises:
        InputError: A file or an option cannot be used, or as `measure_regions`.
    """
    if not images.is_dir():
        raise InputError("no such folder of images; correct images=", images)
    if batch_size < 1:
        raise InputError(f"batch_size= is {batch_size}; at least 1 is needed")
    table = read_synonyms(synonyms)
    loaded, encoder = open_pair_model(model)
    judge = None
    if teacher is not None:
        config = Path(teacher) / "config.json"
        self_trained = config.is_file() and read_json_object(config).get("model_type") == PromuConfig.model_type
        judge = load_teacher("self-trained" if self_trained else "hub", teacher)
    gold, skipped = readable_boxes(read_coco(instances), images, missing_images)
    scores = measure_regions(
        loaded, encoder, gold, lambda image: load_image(images / image), table, teacher=judge, batch_size=batch_size
    )
    return {**scores, "skipped_images": len(skipped), "skipped_boxes": sum(skipped.values())}


def readable_boxes(
    gold: Mapping[str, Sequence[Region]], folder: Path, missing: MissingPairImage
) -> tuple[dict[str, Sequence[Region]], dict[str, int]]:
    """The boxes of readable images, and the number of boxes of each other image.

    Raises:
        InputError: An image with boxes is missing or broken and `missing` is `raise`.
    """
    readable: dict[str, Sequence[Region]] = {}
    skipped: dict[str, int] = {}
    for image, regions in gold.items():
        try:
            if regions:
                load_image(folder / image, target=(32, 32))  # the header alone does not reveal a truncated image
            readable[image] = regions
        except InputError as error:
            if missing == "raise":
                raise InputError(f"{error.reason}; or skip such images", error.path) from None
            logger.warning("%s; its boxes are skipped", error)
            skipped[image] = len(regions)
    return readable, skipped


def measure_regions(
    model: PairModel,
    encoder: WordEncoder,
    gold: Mapping[str, Sequence[Region]],
    open_image: Callable[[str], Image.Image],
    synonyms: Mapping[str, frozenset[str]],
    *,
    teacher: Teacher | None = None,
    batch_size: int = 32,
) -> RegionScores:
    """Measure how often the most probable nouns of a gold box name its category.

    Images are read with an empty caption, so that no word describes them.

    Args:
        model, encoder: A pre-trained model with a COE head, and its tokenizer.
        gold: The boxes of each image in pixels of the upright original. Images without a box are not opened.
        open_image: Returns the full-size image of a name.
        synonyms: As `promu.alignment.synonyms.read_synonyms` returns them.
        teacher: Names the same boxes with the same nouns, on the crops that labelling makes.
        batch_size: Images in a forward pass.

    Raises:
        InputError: The model has no COE head or does not say its nouns, an image cannot be read, a box lies outside
            its image, there is no box, or none can be named.
    """
    nouns = model_nouns(model)
    assert isinstance(model, PromuForPreTraining)
    with_boxes = [name for name, regions in gold.items() if regions]
    if not with_boxes:
        raise InputError("there is no gold box to name; give a file with boxes")
    categories: list[str] = []
    student_ranked: list[list[str]] = []
    teacher_ranked: list[list[str]] = []
    prompt_vectors = None if teacher is None else teacher.encode_prompts(prompts(nouns, "1", ENTITY_TEMPLATES))
    for start in range(0, len(with_boxes), batch_size):
        names = with_boxes[start : start + batch_size]
        images = [(open_image(name), gold[name]) for name in names]
        boxes = [box_shares(name, *opened) for name, opened in zip(names, images, strict=True)]
        student_ranked += _named_by_student(model, encoder, [image for image, _ in images], boxes, nouns)
        categories += [region.label for _, regions in images for region in regions]
        if teacher is not None and prompt_vectors is not None:
            crops = [square_crop(image, region) for image, regions in images for region in regions]
            teacher_ranked += _ranked(teacher.encode_images(crops).float() @ prompt_vectors.float().T, nouns)
        report("images", min(start + batch_size, len(with_boxes)), len(with_boxes))
    return {
        "model": score_naming(categories, student_ranked, nouns, synonyms),
        "teacher": None if teacher is None else score_naming(categories, teacher_ranked, nouns, synonyms),
        "nouns": len(nouns),
        "images": len(with_boxes),
        "empty": len(gold) - len(with_boxes),
    }


def score_naming(
    categories: Sequence[str], ranked: Sequence[Sequence[str]], nouns: Sequence[str], synonyms: Synonyms
) -> dict[str, Any]:
    """Score the nouns given to gold boxes.

    A box is scored if its category has a synonym among the candidates. It is named if that synonym is the first noun
    (top1), or one of the first five (top5).

    Args:
        categories: The gold category of each box.
        ranked: The nouns of each box, most probable first, at least five or all.
        nouns: All candidates.
        synonyms: As `promu.alignment.synonyms.read_synonyms` returns them.

    Returns:
        Number of scored `boxes` and `categories`; percentage that is named, of all boxes (`micro`) and as the mean of
        the categories (`macro`); the noun that names most boxes if all get the same, with its percentage (`constant`);
        counts `per_category`; and the number of boxes of each `unnameable` category.

    Raises:
        InputError: There is no box, or no category has a synonym among the candidates.
    """
    candidates = {noun.lower() for noun in nouns}
    # the candidates that name each category
    names = {category: nouns_naming(category, synonyms) & candidates for category in set(categories)}
    if not categories:
        raise InputError("there is no gold box to name; give a file with boxes")
    if not any(names.values()):
        raise InputError(
            f"none of the {len(names)} gold categories has a synonym among the model's {len(candidates)} nouns; "
            "add the nouns to the synonym table"
        )
    counts = {category: {"boxes": 0, "top1": 0, "top5": 0} for category, _ in Counter(categories).most_common()}
    named_by = Counter[str]()
    for category, best in zip(categories, ranked, strict=True):
        right = names[category]
        counts[category]["boxes"] += 1
        for rank, first in (("top1", 1), ("top5", 5)):
            counts[category][rank] += any(noun.lower() in right for noun in best[:first])
        named_by.update(right)
    scored = {category: count for category, count in counts.items() if names[category]}
    total = sum(count["boxes"] for count in scored.values())
    # of equally frequent nouns, the first in the alphabet
    noun, often = min(named_by.items(), key=lambda item: (-item[1], item[0]))
    shares = {rank: [count[rank] / count["boxes"] for count in scored.values()] for rank in ("top1", "top5")}
    return {
        "boxes": total,
        "categories": len(scored),
        "micro": {rank: 100.0 * sum(count[rank] for count in scored.values()) / total for rank in shares},
        "macro": {rank: 100.0 * sum(of_rank) / len(of_rank) for rank, of_rank in shares.items()},
        "constant": {"noun": noun, "top1": 100.0 * often / total},
        "per_category": scored,
        "unnameable": {category: count["boxes"] for category, count in counts.items() if not names[category]},
    }


def model_nouns(model: PairModel) -> list[str]:
    """The candidates of the model's COE head, in the order of its outputs.

    Raises:
        InputError: It has no COE head, or does not say them.
    """
    if not hasattr(model, "entity_head"):
        raise InputError(
            "this model has no COE head (it was pre-trained without L_COE), so it names no region; name another model"
        )
    nouns = list(model.config.nouns)
    if not nouns:
        raise InputError("this model's config.json does not say its nouns; pre-train it again with this version")
    return nouns


def box_shares(name: str, image: Image.Image, regions: Sequence[Region]) -> torch.Tensor:
    """Boxes (R, 4) as shares of the image's width and height, clipped at its edges."""
    scale = torch.tensor([image.width, image.height] * 2, dtype=torch.float32)
    boxes = torch.tensor([region.box for region in regions], dtype=torch.float32).reshape(-1, 4)
    boxes = (boxes / scale).clamp(0.0, 1.0)
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
    batch = tokens(model, encoder, [encoder.text("")] * len(images))
    entities, _ = predictions(model, batch, encode_images(model, images), pad_sequence(list(boxes), batch_first=True))
    assert entities is not None
    return _ranked(torch.cat([rows[: len(of_image)] for rows, of_image in zip(entities, boxes, strict=True)]), nouns)


def _ranked(scores: torch.Tensor, nouns: Sequence[str]) -> list[list[str]]:
    """The most probable nouns of each row of scores (N, M)."""
    best = scores.topk(min(RANKED, len(nouns)), dim=-1).indices
    return [[nouns[index] for index in row] for row in best.tolist()]
