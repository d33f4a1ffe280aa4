"""Zero-shot grounding: which region of an image a noun of its caption means, by pre-training alone.

L_COE (Eq 7, 8) has taught its head which nouns a region shows. Asked the other way round, the head says of each region
how probable a noun is, and the region where it is most probable is the one that the noun means. No gold box is learned
from.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from itertools import islice
from pathlib import Path
from typing import NamedTuple, TypedDict

import torch
from PIL import Image
from torch.nn.utils.rnn import pad_sequence

from promu.alignment.candidates import nouns_in
from promu.alignment.corpus_settings import DetectorSettings
from promu.alignment.detectors import build_detector
from promu.alignment.synonyms import Synonyms, nouns_naming, read_synonyms
from promu.corpora.captions import read_captions
from promu.corpora.coco import read_coco, read_coco_captions
from promu.corpora.images import load_image
from promu.errors import InputError
from promu.evaluation.grounded_scores import IOU
from promu.evaluation.pretrained import PairModel, encode_images, open_pair_model, predictions, tokens
from promu.evaluation.regions import box_shares, model_nouns, readable_boxes
from promu.modeling.inputs import WordEncoder
from promu.modeling.pretraining import PromuForPreTraining
from promu.progress import report, track
from promu.schema import CaptionPair, MissingPairImage, Region

Boxes = Mapping[str, Sequence[Region]]


class Share(TypedDict):
    """Percentages of nouns that are given a right region: of `all`, and of those that have one (`shown`)."""

    all: float
    shown: float


class NounGroundingScores(TypedDict):
    """Scores of a model that grounds nouns of captions.

    Attributes:
        nouns: How many nouns of captions name a gold box of their image.
        shown: How many of them have a right region among those to choose from.
        captions, images: How many have such a noun.
        model: The region where the COE head finds the noun most probable.
        label: The best region whose detector's label the noun names; None where the regions are the gold boxes.
        random: A region drawn at random, as it is expected.
    """

    nouns: int
    shown: int
    captions: int
    images: int
    model: Share
    label: Share | None
    random: Share


class NounGroundingReport(NounGroundingScores):
    """The scores of `evaluate_noun_grounding`, and what was skipped."""

    skipped_images: int
    skipped_boxes: int


class _Caption(NamedTuple):
    """A caption whose image has gold boxes of some of its nouns."""

    image: str
    text: str
    gold: dict[str, list[Region]]


def evaluate_noun_grounding(
    model: str | Path,
    *,
    instances: Path,
    captions: Path,
    images: Path,
    regions: Path | None = None,
    detector: str = "yolo",
    confidence: float = 0.3,
    max_regions: int = 10,
    synonyms: Path | None = None,
    missing_images: MissingPairImage = "raise",
    batch_size: int = 32,
) -> NounGroundingReport:
    """Evaluate how well a saved pre-trained model finds the regions that nouns of captions mean.

    Args:
        model: Model folder of pre-training with the loss coe.
        instances: COCO instances JSON with the gold boxes.
        captions: COCO captions JSON (.json), or CSV (image,caption) or JSON lines.
        images: Folder of the images.
        regions: File or model of the detector that finds the regions to choose from; None gives the gold boxes.
        detector: What `regions` is, a name in `DETECTORS`.
        confidence, max_regions: What is kept of the detector's answer.
        synonyms: Table of the nouns that name a category; None takes COCO's.
        missing_images: What a missing or broken image does: raise, or have its boxes skipped and counted.
        batch_size: Captions in a forward pass.

    Raises:
        InputError: A file or an option cannot be used, or as `measure_noun_grounding`.
    """
    if not images.is_dir():
        raise InputError("no such folder of images; correct images=", images)
    for name, value, fits in (
        ("batch_size", batch_size, batch_size >= 1),
        ("max_regions", max_regions, max_regions >= 1),
        ("confidence", confidence, 0.0 <= confidence <= 1.0),
    ):
        if not fits:
            raise InputError(f"{name}= is {value}; {'0 to 1' if name == 'confidence' else 'at least 1'} is needed")
    table = read_synonyms(synonyms)
    loaded, encoder = open_pair_model(model)
    model_nouns(loaded)  # said before the detector has looked at every image
    pairs = (read_coco_captions if captions.suffix == ".json" else read_captions)(captions)
    gold, skipped = readable_boxes(read_coco(instances), images, missing_images)
    found: Boxes | None = None
    if regions is not None:
        settings = DetectorSettings(confidence=confidence, max_regions=max_regions)
        finder, named = build_detector(detector, regions, settings), [name for name, boxes in gold.items() if boxes]
        looked = track(named, "detecting", len(named))
        found = {name: finder.detect([load_image(images / name)], [name])[0] for name in looked}
    scores = measure_noun_grounding(
        loaded, encoder, gold, pairs, lambda name: load_image(images / name), table, found, batch_size=batch_size
    )
    return {**scores, "skipped_images": len(skipped), "skipped_boxes": sum(skipped.values())}


def measure_noun_grounding(
    model: PairModel,
    encoder: WordEncoder,
    gold: Boxes,
    captions: Sequence[CaptionPair],
    open_image: Callable[[str], Image.Image],
    synonyms: Synonyms,
    regions: Boxes | None = None,
    *,
    batch_size: int = 32,
) -> NounGroundingScores:
    """Measure how often the region that a model chooses for a noun is a gold box of it, by an IoU of at least .5.

    Asked about are the words of a caption that are candidates of the model and name the category of a gold box of its
    image, each once a caption; falsified captions are left out. The model reads image and caption together.

    Args:
        model, encoder: A pre-trained model with a COE head, and its tokenizer.
        gold: The boxes of each image in pixels of the upright original.
        captions: Of these images; those of others are left out.
        open_image: Returns the full-size image of a name.
        synonyms: As `promu.alignment.synonyms.read_synonyms` returns them.
        regions: Those to choose from, by image, in the same pixels; an image may have none. None gives the gold boxes.
        batch_size: Captions in a forward pass.

    Raises:
        InputError: The model has no COE head or does not say its nouns, an image cannot be read, a box lies outside its
            image, or no noun of a caption names a box.
    """
    nouns = model_nouns(model)
    assert isinstance(model, PromuForPreTraining)
    columns = {noun.lower(): column for column, noun in enumerate(nouns)}
    asked = list(_asked(captions, gold, columns, synonyms))
    if not asked:
        raise InputError(
            "no noun of a caption is a noun of the model and names a gold box of its image; check the files"
        )
    choices = gold if regions is None else regions
    right: dict[str, list[float]] = {"model": [], "label": [], "random": []}
    possible = []
    for done, caption, scores in _scored(model, encoder, asked, choices, open_image, batch_size):
        boxes = choices.get(caption.image, ())
        for noun, shown in caption.gold.items():
            fits = [any(box.iou(one) >= IOU for one in shown) for box in boxes]
            named = [row for row, box in enumerate(boxes) if noun in nouns_naming(box.label, synonyms)]
            best = max(named, key=lambda row: boxes[row].score, default=None)
            possible.append(any(fits))
            right["model"].append(bool(fits) and fits[int(scores[: len(fits), columns[noun]].argmax())])
            right["label"].append(best is not None and fits[best])
            right["random"].append(sum(fits) / len(fits) if fits else 0.0)
        report("captions", done, len(asked))
    shares: dict[str, Share] = {
        name: {
            "all": 100.0 * sum(of_nouns) / len(possible),
            "shown": 100.0 * sum(of_nouns) / max(sum(possible), 1),  # where none is possible, none is right
        }
        for name, of_nouns in right.items()
    }
    return {
        "nouns": len(possible),
        "shown": sum(possible),
        "captions": len(asked),
        "images": len({caption.image for caption in asked}),
        "model": shares["model"],
        "label": None if regions is None else shares["label"],
        "random": shares["random"],
    }


def _asked(
    captions: Sequence[CaptionPair], gold: Boxes, nouns: Mapping[str, int], synonyms: Synonyms
) -> Iterator[_Caption]:
    """The captions with nouns that name gold boxes, those of one image together."""
    for pair in sorted(captions, key=lambda pair: pair.image):
        boxes = gold.get(pair.image, ())
        named = {
            noun: [box for box in boxes if noun in nouns_naming(box.label, synonyms)]
            for noun in nouns_in(pair.caption, nouns)
        }
        if pair.matched and any(named.values()):
            yield _Caption(pair.image, pair.caption, {noun: shown for noun, shown in named.items() if shown})


def _scored(
    model: PromuForPreTraining,
    encoder: WordEncoder,
    asked: Sequence[_Caption],
    choices: Boxes,
    open_image: Callable[[str], Image.Image],
    batch_size: int,
) -> Iterator[tuple[int, _Caption, torch.Tensor]]:
    """The captions, each with its number from 1 and the probabilities (R, M) of nouns in the regions of its image."""
    rest = iter(asked)
    done = 0
    while batch := list(islice(rest, batch_size)):
        opened = {name: open_image(name) for name in dict.fromkeys(caption.image for caption in batch)}
        places = {name: row for row, name in enumerate(opened)}
        rows = [places[caption.image] for caption in batch]
        boxes = [box_shares(name, image, choices.get(name, ())) for name, image in opened.items()]
        padded = pad_sequence(boxes, batch_first=True)
        read = tokens(model, encoder, [encoder.text(caption.text) for caption in batch])
        entities, _ = predictions(model, read, encode_images(model, list(opened.values()))[rows], padded[rows])
        assert entities is not None
        for caption, scores in zip(batch, entities, strict=True):
            done += 1
            yield done, caption, scores
