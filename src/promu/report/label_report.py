"""Soft pseudo-labels for people to judge: a page with the teacher's, and samples with the student's beside them."""

from __future__ import annotations

import random
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import torch

from promu.alignment.candidates import nouns_in
from promu.alignment.label_store import LabelStore, SparseLabels
from promu.corpora.shards import CaptionedImage, PairShards
from promu.errors import InputError
from promu.evaluation.agreement import check_candidates, compare_labels, image_captions
from promu.evaluation.pair_corpus import PairCorpus
from promu.evaluation.pretrained import EncodedImages
from promu.files import write_text
from promu.modeling.inputs import WordEncoder
from promu.modeling.pretraining import PromuForPreTraining
from promu.report.html import MAX_SIDE, Embedded, data_uri, embed, page_templates

SAMPLES = "samples.json"
"""File of a run's sample labels."""
SIDE = 360
"""Longest side of an image on the page of labels, in pixels."""
SHOWN = 5
"""Candidates of each label, at most."""
REGIONS = 3
"""Regions of each sample, at most."""


@dataclass(frozen=True, slots=True)
class ImageView:
    """One image of the page: its captions with whether they belong to it, the nouns of its regions, its relations.

    A region has the detector's label and score ("" and 0 without one), and of its first nouns the probability and
    whether a caption of the image names it.
    """

    image: str
    shown: Embedded
    captions: tuple[tuple[str, bool], ...]
    regions: list[tuple[str, float, list[tuple[str, float, bool]]]]
    relations: list[tuple[str, float]]


def write_label_page(path: Path, store: LabelStore, corpus: PairShards, count: int = 12, seed: int = 0) -> None:
    """Write a page of `count` images drawn at random, one HTML file that needs nothing beside itself.

    Raises:
        InputError: No image of the corpus has labels, an image is damaged, or the file cannot be written.
    """
    labelled = [index for index, image in enumerate(corpus.captions()) if image.image in store]
    if not labelled:
        raise InputError("no image of this corpus has labels in this store; run `promu label` first", store.folder)
    chosen = sorted(random.Random(seed).sample(labelled, min(count, len(labelled))))
    page = page_templates().get_template("label_page.html.j2")
    views = (view_image(corpus.image(index), store) for index in chosen)
    count = len(chosen)
    write_text(path, page.generate(images=views, count=count, labelled=len(labelled), seed=seed, header=store.header))


def view_image(image: CaptionedImage, store: LabelStore) -> ImageView:
    """An image of a corpus with its labels, ready for the page.

    Raises:
        InputError: The image is damaged.
    """
    header, labels = store.header, store[image.image]
    in_captions = {noun for text, matched in image.captions if matched for noun in nouns_in(text, set(header.nouns))}
    regions = []
    for place in range(len(labels.boxes)):
        detected = [(region.label, region.score) for region in image.regions[place : place + 1]] or [("", 0.0)]
        nouns = _first(labels.entities[place : place + 1], header.nouns)
        regions.append((*detected[0], [(noun, share, noun in in_captions) for noun, share in nouns]))
    alt = image.captions[0][0] if image.captions else image.image
    # the boxes are the store's: the labels belong to these
    boxes = [((x0, y0, x1, y1), "") for x0, y0, x1, y1 in labels.boxes.tolist()]
    shown = embed(image.decode(), alt, boxes, SIDE)
    return ImageView(image.image, shown, image.captions, regions, _first(labels.relation, header.relations))


def _first(label: SparseLabels, candidates: Sequence[str]) -> list[tuple[str, float]]:
    """The likeliest candidates of one label with their probabilities."""
    ids, probabilities = label.ids[0, :SHOWN].tolist(), label.probabilities[0, :SHOWN].float().tolist()
    return [(candidates[index], probability) for index, probability in zip(ids, probabilities, strict=True)]


def sample_predictions(
    model: PromuForPreTraining,
    encoder: WordEncoder,
    corpus: PairCorpus,
    store: LabelStore,
    images: Sequence[int],
    moment: Literal["before", "after"] = "after",
) -> list[dict[str, Any]]:
    """What `samples.json` holds, with the student's predictions of this moment, before the training or after it.

    `images` are numbers of images in the corpus; those without a label are left out.

    Raises:
        InputError: The store was made for other candidates than the model's, or an image is damaged.
    """
    check_candidates(model, store)
    nouns, names = store.header.nouns, store.header.relations
    captions = image_captions(corpus)
    labelled = [index for index in images if captions[index][0] in store]
    samples = []
    for one in compare_labels(model, encoder, EncodedImages(model, corpus), store, labelled, captions, batch_size=16):
        name, caption = captions[one.index]
        found = {"teacher": one.teacher_entities, moment: one.student_entities}
        regions = [
            {
                "box": [round(float(value), 4) for value in box],
                **{who: _top(rows[row], nouns) for who, rows in found.items() if rows is not None},
            }
            for row, box in enumerate(one.boxes[:REGIONS])
        ]
        whole = {"teacher": one.teacher_relation, moment: one.student_relation}
        relations = {who: _top(row, names) for who, row in whole.items() if row is not None}
        image = corpus.image(one.index).decode((MAX_SIDE, MAX_SIDE))
        image.thumbnail((MAX_SIDE, MAX_SIDE))
        samples.append(
            {"image": data_uri(image), "name": name, "caption": caption, "regions": regions, "relations": relations}
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
    ranked = zip(best.indices.tolist(), best.values.tolist(), strict=True)
    return [[candidates[index], round(value, 4)] for index, value in ranked]
