"""The teacher at work: soft pseudo-labels for regions (Eq 6) and images (Eq 9), each computed once."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import torch
from PIL import Image

from promu.alignment.label_store import ImageLabels, LabelHeader, LabelStore, SparseLabels
from promu.alignment.synonyms import DetectorPrior, Synonyms, table_checksum
from promu.corpora.shards import PairShards
from promu.errors import InputError
from promu.modeling.label_prompts import ENTITY_TEMPLATES, RELATION_TEMPLATES, prompts
from promu.progress import report
from promu.schema import Region

if TYPE_CHECKING:
    from promu.alignment.teacher import Teacher

PART_SIZE = 2048  # images a part of the store: what a killed run loses at most
BATCH = 64  # images that are decoded and labelled at once


def soft_labels(visual: torch.Tensor, prompt_vectors: torch.Tensor, temperature: float) -> torch.Tensor:
    """q of Eq 6 and Eq 9: softmax over candidates of the similarities, (N, D) and (M, D) to (N, M)."""
    return torch.softmax(visual.float() @ prompt_vectors.float().T / temperature, dim=-1)


def label_corpus(
    teacher: Teacher,
    corpus: PairShards,
    header: LabelHeader,
    store_folder: Path,
    shard: tuple[int, int] = (0, 1),
    synonyms: Synonyms | None = None,
) -> LabelStore:
    """Label every image of a corpus that the store does not hold yet: its regions, and the whole of it.

    Progress is reported under the name of the store's folder. A killed run goes on with the next part. Several
    processes can fill one store at the same time, each with its share of the images. The labels are the same either
    way, up to the rounding of half precision, where a teacher's arithmetic depends on the size of a batch.

    Args:
        teacher: The frozen dual encoder.
        corpus: Images with their regions.
        header: What the labels depend on; with a `detector_weight` it needs the `synonyms`.
        store_folder: Where the store is, or will be.
        shard: (i, n): this process labels the images whose number is i modulo n.
        synonyms: Which nouns name the detector's categories.

    Returns:
        The store as it then is, with what other processes have written by that time.

    Raises:
        InputError: The shard is none, the synonyms are not those of the header, an image cannot be decoded, or the
            store was made with other settings or for other regions.
    """
    number, processes = shard
    if not 0 <= number < processes:
        raise InputError(f"shard {number}/{processes} is none; count the processes from 0 to {processes - 1}")
    prior = None
    if header.detector_weight:
        if synonyms is None or table_checksum(synonyms) != header.synonyms:
            raise InputError("the label store was made with another table of synonyms; give that one", store_folder)
        prior = DetectorPrior(header.nouns, synonyms, header.detector_weight)
    store = LabelStore(store_folder, header)
    todo: list[int] = []
    total = 0
    for index, image in enumerate(corpus.captions()):
        if index % processes != number:
            continue
        total += 1
        if image.image not in store:
            todo.append(index)
        elif not torch.equal(store[image.image].boxes, relative_boxes(image.width, image.height, image.regions)):
            reason = f"this label store holds image {image.image!r} with other regions than the corpus"
            raise InputError(f"{reason}; delete the store and label again", store_folder)
    if not todo:
        return LabelStore(store_folder, header)
    nouns = teacher.encode_prompts(prompts(header.nouns, header.entity_template, ENTITY_TEMPLATES))
    relations = teacher.encode_prompts(prompts(header.relations, header.relation_template, RELATION_TEMPLATES))
    done = total - len(todo)
    for start in range(0, len(todo), PART_SIZE):
        images: list[str] = []
        labels: list[ImageLabels] = []
        part = todo[start : start + PART_SIZE]
        for first in range(0, len(part), BATCH):
            batch = [corpus.image(index) for index in part[first : first + BATCH]]
            decoded, regions = [image.decode() for image in batch], [image.regions for image in batch]
            labels += _label_batch(teacher, decoded, regions, nouns, relations, header, prior)
            images += [image.image for image in batch]
            done += len(batch)
            report(store.folder.name, done, total)
        store.add(images, labels, number)
    return LabelStore(store_folder, header)


def _label_batch(
    teacher: Teacher,
    images: Sequence[Image.Image],
    found: Sequence[Sequence[Region]],
    nouns: torch.Tensor,
    relations: torch.Tensor,
    header: LabelHeader,
    prior: DetectorPrior | None,
) -> list[ImageLabels]:
    of_image = soft_labels(teacher.encode_images(images), relations, header.temperature).cpu()
    crops = [square_crop(image, region) for image, regions in zip(images, found, strict=True) for region in regions]
    of_region = torch.zeros(0, len(header.nouns))
    if crops:
        of_region = soft_labels(teacher.encode_images(crops), nouns, header.temperature).cpu()
    if prior is not None:
        of_region = prior(of_region, [region for regions in found for region in regions])
    sparse = SparseLabels.from_dense(of_image, header.top_k), SparseLabels.from_dense(of_region, header.top_k)
    labels, start = [], 0
    for row, (image, regions) in enumerate(zip(images, found, strict=True)):
        boxes, end = relative_boxes(image.width, image.height, regions), start + len(regions)
        labels.append(ImageLabels(boxes, sparse[1][start:end], sparse[0][row : row + 1]))
        start = end
    return labels


def relative_boxes(width: int, height: int, regions: Sequence[Region]) -> torch.Tensor:
    """Boxes (R, 4) as shares of the image's width and height."""
    scale = torch.tensor([width, height] * 2, dtype=torch.float32)
    return torch.tensor([region.box for region in regions], dtype=torch.float32).reshape(-1, 4) / scale


def square_crop(image: Image.Image, region: Region) -> Image.Image:
    """The region cut out of the original image, its shorter side widened to a square as far as the image goes.

    The teacher squeezes what it sees to a square; cut to the box alone, a bridge would look like a tower.
    """
    x0, y0, x1, y1 = region.box
    side = max(x1 - x0, y1 - y0)
    (left, right), (top, bottom) = _widened(x0, x1, side, image.width), _widened(y0, y1, side, image.height)
    return image.crop((left, top, right, bottom))


def _widened(low: float, high: float, side: float, limit: int) -> tuple[int, int]:
    """The stretch low..high widened to `side` around its middle and moved inside 0..limit: whole pixels, never none."""
    side = min(side, limit)
    start = min(max((low + high - side) / 2, 0.0), limit - side)
    first = min(int(start), limit - 1)
    return first, max(min(round(start + side), limit), first + 1)
