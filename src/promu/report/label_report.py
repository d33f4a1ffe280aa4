"""A page of images with their soft pseudo-labels, so that a person sees at once whether the labels are any good."""

from __future__ import annotations

import base64
import io
import random
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import torch
from PIL import Image

from promu.alignment.candidates import nouns_in
from promu.alignment.label_store import LabelStore, SparseLabels
from promu.corpora.shards import CaptionedImage, PairShards
from promu.errors import InputError
from promu.evaluation.pairs import check_candidates, image_captions, judge_images
from promu.evaluation.pretrained import EncodedImages, PairCorpus
from promu.files import write_text
from promu.modeling.inputs import WordEncoder
from promu.modeling.pretraining import PromuForPreTraining
from promu.report.html import page_templates

MAX_SIDE = 360
"""Longest side of an image on the page, in pixels."""
SHOWN = 5
"""Candidates shown of each label."""


@dataclass(frozen=True, slots=True)
class RegionView:
    """A numbered region: its box in pixels of the shown image, what the detector called it, its first nouns.

    A noun comes with its probability and whether a caption of the image says it.
    """

    number: int
    x: float
    y: float
    width: float
    height: float
    label: str
    score: float
    nouns: tuple[tuple[str, float, bool], ...]


@dataclass(frozen=True, slots=True)
class ImageView:
    """One image of the page; `captions` are (text, whether it belongs to the image)."""

    image: str
    uri: str
    width: int
    height: int
    captions: tuple[tuple[str, bool], ...]
    regions: tuple[RegionView, ...]
    relations: tuple[tuple[str, float], ...]


def write_label_page(path: Path, store: LabelStore, corpus: PairShards, count: int = 12, seed: int = 0) -> None:
    """Write a page of `count` images drawn at random, one HTML file that needs nothing beside itself.

    Raises:
        InputError: No image of the corpus has labels, an image is damaged, or the file cannot be written.
    """
    labelled = [index for index, image in enumerate(corpus.captions()) if image.image in store]
    if not labelled:
        raise InputError("no image of this corpus has labels in this store; run `promu label` first", store.folder)
    chosen = sorted(random.Random(seed).sample(labelled, min(count, len(labelled))))
    template = page_templates().get_template("label_page.html.j2")
    page = template.generate(
        images=(view_image(corpus.image(index), store) for index in chosen),
        count=len(chosen),
        labelled=len(labelled),
        seed=seed,
        header=store.header,
    )
    write_text(path, page)


def view_image(image: CaptionedImage, store: LabelStore) -> ImageView:
    """An image of a corpus with its labels, ready for the page.

    Raises:
        InputError: The image is damaged.
    """
    header, labels = store.header, store[image.image]
    shown = image.decode()
    shown.thumbnail((MAX_SIDE, MAX_SIDE))
    said = {noun for text, matched in image.captions if matched for noun in nouns_in(text, set(header.nouns))}
    scale = torch.tensor([shown.width, shown.height] * 2)
    # the store's boxes are drawn, since labels were made of these; the detector's words for them are the corpus's
    regions = []
    for place, box in enumerate((labels.boxes * scale).tolist()):
        found = image.regions[place] if place < len(image.regions) else None
        nouns = [(noun, p, noun in said) for noun, p in first(labels.entities[place : place + 1], header.nouns)]
        x0, y0, x1, y1 = (round(value, 1) for value in box)
        regions.append(
            RegionView(
                place + 1,
                x0,
                y0,
                round(x1 - x0, 1),
                round(y1 - y0, 1),
                found.label if found else "",
                found.score if found else 0.0,
                tuple(nouns),
            )
        )
    relations = tuple(first(labels.relation, header.relations))
    uri = _uri(shown)
    return ImageView(image.image, uri, shown.width, shown.height, image.captions, tuple(regions), relations)


def first(label: SparseLabels, candidates: Sequence[str]) -> list[tuple[str, float]]:
    """The likeliest candidates of one label with their probabilities."""
    ids, probabilities = label.ids[0, :SHOWN].tolist(), label.probabilities[0, :SHOWN].float().tolist()
    return [(candidates[index], probability) for index, probability in zip(ids, probabilities, strict=True)]


def _uri(image: Image.Image) -> str:
    buffer = io.BytesIO()
    # Encoding anew keeps what a camera wrote beside the pixels (place, owner) out of the page.
    image.info.clear()
    image.save(buffer, "JPEG", quality=80)
    return f"data:image/jpeg;base64,{base64.b64encode(buffer.getvalue()).decode('ascii')}"


SAMPLES = "samples.json"
SIDE = 240
"""Longest side of a sample image, in pixels."""
"""Candidates of each label, at most."""
REGIONS = 3
"""Regions of each image, at most."""


def sample_predictions(
    model: PromuForPreTraining,
    encoder: WordEncoder,
    corpus: PairCorpus,
    store: LabelStore,
    images: Sequence[int],
    moment: Literal["before", "after"] = "after",
) -> list[dict[str, Any]]:
    """What `samples.json` holds, with the student's predictions of this moment.

    Args:
        model: The student.
        encoder: Its tokenizer.
        corpus: The pairs.
        store: The teacher's labels.
        images: Numbers of images in the corpus; those without a label are left out.
        moment: Whether training is still to come or over.

    Raises:
        InputError: The store was made for other candidates than the model's, or an image is damaged.
    """
    check_candidates(model, store)
    captions = image_captions(corpus)
    labelled = [index for index in images if captions[index][0] in store]
    samples = []
    for judged in judge_images(model, encoder, EncodedImages(model, corpus), store, labelled, captions, batch_size=16):
        name, caption = captions[judged.index]
        regions = []
        for row, box in enumerate(judged.boxes[:REGIONS]):
            region = {
                "box": [round(float(value), 4) for value in box],
                "teacher": _top(judged.teacher_entities[row], store.header.nouns),
            }
            if judged.student_entities is not None:
                region[moment] = _top(judged.student_entities[row], store.header.nouns)
            regions.append(region)
        relations = {"teacher": _top(judged.teacher_relation, store.header.relations)}
        if judged.student_relation is not None:
            relations[moment] = _top(judged.student_relation, store.header.relations)
        samples.append(
            {
                "image": _data_uri(corpus.image(judged.index).decode((SIDE, SIDE))),
                "name": name,
                "caption": caption,
                "regions": regions,
                "relations": relations,
            }
        )
    return samples


def join_samples(before: Sequence[dict[str, Any]], after: Sequence[dict[str, Any]]) -> list[dict[str, Any]]:
    """The samples of both moments as one list; both were made for the same images of the same store."""
    joined = []
    for early, late in zip(before, after, strict=True):
        regions = [{**one, **other} for one, other in zip(early["regions"], late["regions"], strict=True)]
        joined.append({**early, "regions": regions, "relations": {**early["relations"], **late["relations"]}})
    return joined


def _top(distribution: torch.Tensor, candidates: Sequence[str]) -> list[list[Any]]:
    best = distribution.topk(min(SHOWN, len(distribution)))
    return [
        [candidates[index], round(value, 4)]
        for value, index in zip(best.values.tolist(), best.indices.tolist(), strict=True)
    ]


def _data_uri(image: Image.Image) -> str:
    image.thumbnail((SIDE, SIDE))
    buffer = io.BytesIO()
    image.info.clear()  # what a camera wrote beside the pixels stays out
    image.save(buffer, "JPEG", quality=85)
    return f"data:image/jpeg;base64,{base64.b64encode(buffer.getvalue()).decode('ascii')}"
