"""Evaluation of the COE head on gold boxes: how often its nouns name the categories of the boxes."""

from __future__ import annotations

import logging
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypedDict

import torch
from PIL import Image
from torch.nn.utils.rnn import pad_sequence

from promu.alignment.candidates import ENTITY_TEMPLATES, prompts
from promu.alignment.labelling import square_crop
from promu.alignment.synonyms import Synonyms, nouns_naming, read_synonyms
from promu.alignment.teacher import Teacher, load_teacher
from promu.corpora.coco import read_coco
from promu.corpora.images import load_image
from promu.errors import InputError
from promu.evaluation.pretrained import PairModel, evaluating, image_side, open_pair_model, predictions, tokens
from promu.modeling.configuration import PromuConfig
from promu.modeling.inputs import WordEncoder, to_pixels
from promu.modeling.loading import read_json_object
from promu.modeling.pretraining import PromuForPreTraining
from promu.progress import report
from promu.schema import MissingPairImage, Region

logger = logging.getLogger(__name__)

RANKED = 5
"""Nouns of each box that are scored."""


class RegionScores(TypedDict):
    """Scores of a model on gold boxes.

    Attributes:
        model, teacher: `NamingScores.to_dict` of both; None without a teacher.
        nouns: Number of candidates.
        images: Number of images with a box.
        empty: Number of images without one.
    """

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
        instances: COCO instances JSON with the gold boxes.
        images: Folder of the images.
        synonyms: Table of the nouns that name a category; None takes COCO's.
        teacher: Evaluate this teacher too: the model folder of a self-trained one, or the name of a CLIP-type model.
        missing_images: What a missing or broken image does: raise, or have its boxes skipped and counted.
        batch_size: Images in a forward pass.

    Raises:
        InputError: A file or an option cannot be used, or as `measure_regions`.
    """
    if not images.is_dir():
        raise InputError("no such folder of images; correct --images", images)
    if batch_size < 1:
        raise InputError(f"--batch-size is {batch_size}; at least 1 is needed")
    table = read_synonyms(synonyms)
    loaded, encoder = open_pair_model(model)
    gold, skipped = readable_boxes(read_coco(instances), images, missing_images)
    scores = measure_regions(
        loaded,
        encoder,
        gold,
        lambda image: load_image(images / image),
        table,
        teacher=None if teacher is None else load_teacher(_teacher_kind(teacher), teacher),
        batch_size=batch_size,
    )
    return {**scores, "skipped_images": len(skipped), "skipped_boxes": sum(skipped.values())}


def _teacher_kind(teacher: str) -> str:
    """Whether a teacher is self-trained or from the hub, by the contents of its folder."""
    config = Path(teacher) / "config.json"
    self_trained = config.is_file() and read_json_object(config).get("model_type") == PromuConfig.model_type
    return "self-trained" if self_trained else "hub"


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
    template: str = "1",
    batch_size: int = 32,
) -> RegionScores:
    """Measure how often the most probable nouns of a gold box name its category.

    Images are read with an empty caption, so that no word describes them.

    Args:
        model: A pre-trained model with a COE head.
        encoder: Its tokenizer.
        gold: The boxes of each image in pixels of the upright original. Images without a box are not opened.
        open_image: Returns the full-size image of a name.
        synonyms: As `promu.alignment.synonyms.read_synonyms` returns them.
        teacher: Names the same boxes with the same nouns, on the crops that labelling makes.
        template: Template of the teacher's prompts.
        batch_size: Images in a forward pass.

    Raises:
        InputError: The model has no COE head or does not say its nouns, an image cannot be read, a box lies outside
            its image, there is no box, or none can be named.
    """
    nouns = _nouns(model)
    assert isinstance(model, PromuForPreTraining)
    with_boxes = [name for name, regions in gold.items() if regions]
    if not with_boxes:
        raise InputError("there is no gold box to name; give a file with boxes")
    categories: list[str] = []
    student_ranked: list[list[str]] = []
    teacher_ranked: list[list[str]] = []
    prompt_vectors = None if teacher is None else teacher.encode_prompts(prompts(nouns, template, ENTITY_TEMPLATES))
    for start in range(0, len(with_boxes), batch_size):
        names = with_boxes[start : start + batch_size]
        images = [open_image(name) for name in names]
        boxes = [_shares(name, image, gold[name]) for name, image in zip(names, images, strict=True)]
        student_ranked += _named_by_student(model, encoder, images, boxes, nouns)
        categories += [region.label for name in names for region in gold[name]]
        if teacher is not None and prompt_vectors is not None:
            crops = [
                square_crop(image, region) for name, image in zip(names, images, strict=True) for region in gold[name]
            ]
            teacher_ranked += _ranked(teacher.encode_images(crops).float() @ prompt_vectors.float().T, nouns)
        report("images", min(start + batch_size, len(with_boxes)), len(with_boxes))
    return {
        "model": score_naming(categories, student_ranked, nouns, synonyms).to_dict(),
        "teacher": None if teacher is None else score_naming(categories, teacher_ranked, nouns, synonyms).to_dict(),
        "nouns": len(nouns),
        "images": len(with_boxes),
        "empty": len(gold) - len(with_boxes),
    }


@dataclass(frozen=True, slots=True)
class CategoryCount:
    """Boxes of one category, and how many the first noun and one of the first five nouns name."""

    boxes: int
    top1: int
    top5: int


@dataclass(frozen=True)
class NamingScores:
    """Scores of the nouns of gold boxes.

    Attributes:
        per_category: The scored boxes: those whose category has a synonym among the candidates.
        unnameable: Number of boxes of each category without one. They are not scored.
        constant: The noun that names most boxes if all boxes get the same, and the percentage that it names.
    """

    per_category: dict[str, CategoryCount]
    unnameable: dict[str, int]
    constant: tuple[str, float]

    @property
    def boxes(self) -> int:
        """Number of scored boxes."""
        return sum(count.boxes for count in self.per_category.values())

    def micro(self, rank: str) -> float:
        """Percentage of the scored boxes that are named; `rank` is top1 or top5."""
        return 100.0 * sum(getattr(count, rank) for count in self.per_category.values()) / self.boxes

    def macro(self, rank: str) -> float:
        """Mean over categories of the percentage of their boxes that are named."""
        shares = [getattr(count, rank) / count.boxes for count in self.per_category.values()]
        return 100.0 * sum(shares) / len(shares)

    def to_dict(self) -> dict[str, Any]:
        """The scores, ready for JSON."""
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
    categories: Sequence[str], ranked: Sequence[Sequence[str]], nouns: Sequence[str], synonyms: Synonyms
) -> NamingScores:
    """Score the nouns given to gold boxes.

    Args:
        categories: The gold category of each box.
        ranked: The nouns of each box, most probable first, at least five or all.
        nouns: All candidates.
        synonyms: As `promu.alignment.synonyms.read_synonyms` returns them.

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
    boxes, top1, top5 = Counter[str](), Counter[str](), Counter[str]()
    named_by = Counter[str]()
    for category, best in zip(categories, ranked, strict=True):
        right = names[category]
        boxes[category] += 1
        top1[category] += any(noun.lower() in right for noun in best[:1])
        top5[category] += any(noun.lower() in right for noun in best[:5])
        named_by.update(right)
    scored = [category for category, _ in boxes.most_common() if names[category]]
    total = sum(boxes[category] for category in scored)
    # of equally frequent nouns, the first in the alphabet
    noun, often = min(named_by.items(), key=lambda item: (-item[1], item[0]))
    return NamingScores(
        {category: CategoryCount(boxes[category], top1[category], top5[category]) for category in scored},
        {category: count for category, count in boxes.most_common() if not names[category]},
        (noun, 100.0 * often / total),
    )


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
    """Boxes (R, 4) as shares of the image's width and height, clipped at its edges."""
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
    with evaluating(model):
        visual = model.encode_visual(pixel_values)
    entities, _ = predictions(
        model,
        tokens(model, encoder, [encoder.text("")] * len(images)),
        visual,
        pad_sequence(list(boxes), batch_first=True),
    )
    assert entities is not None
    return _ranked(torch.cat([rows[: len(of_image)] for rows, of_image in zip(entities, boxes, strict=True)]), nouns)


def _ranked(scores: torch.Tensor, nouns: Sequence[str]) -> list[list[str]]:
    """The most probable nouns of each row of scores (N, M)."""
    best = scores.topk(min(RANKED, len(nouns)), dim=-1).indices
    return [[nouns[index] for index in row] for row in best.tolist()]
