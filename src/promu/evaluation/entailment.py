"""Entailment as a test of alignment: does what a sentence says of an image follow from it, or contradict it?

A model of caption pairs scores a sentence and a photograph. Where people judged the sentence (Do et al., e-SNLI-VE,
2020) the score should be higher for what is entailed than for what is contradicted. Two controls say how much of that
the image gives: the sentence without its image, and with another one.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any, Literal, TypedDict, get_args

import numpy as np
import numpy.typing as npt
import torch

from promu.corpora.fields import ImagePath, Record, Text, csv_rows, read_record
from promu.errors import InputError
from promu.evaluation.pair_corpus import PairFolder
from promu.evaluation.pretrained import (
    EncodedImages,
    PairModel,
    image_vectors,
    match_scores,
    open_pair_model,
    text_vectors,
)
from promu.evaluation.retrieval import roc_auc
from promu.files import filled_lines, iterate_records, opening, parse_json_object, shorten
from promu.modeling.inputs import EncodedText, WordEncoder
from promu.modeling.pretraining import PromuForPreTraining
from promu.schema import CaptionPair, MissingPairImage

Label = Literal["entailment", "neutral", "contradiction"]
Floats = npt.NDArray[np.floating[Any]]
Numbers = npt.NDArray[np.int64]
LABELS: tuple[Label, ...] = get_args(Label)
FOLDS = 5
"""Parts of the images by which the control without images is trained and tested."""
RIDGE = 10.0
"""Its penalty on squared weights."""


class EntailmentPair(Record):
    """A sentence about an image, and what people made of it."""

    image: ImagePath
    hypothesis: Text
    label: Label


class Against(TypedDict):
    """ROC-AUC of entailed sentences against contradicted and against neutral ones; None without such pairs."""

    contradiction: float | None
    neutral: float | None


class EntailmentReport(TypedDict):
    """Scores of a model on sentences that people judged.

    Attributes:
        pairs: Number of pairs by label.
        images: Number of different images.
        cosine, itm: By the cosine of the shared space, and by the matching head; None for a judge that the model lacks.
        shuffled_cosine, shuffled_itm: The same with the images of the pairs exchanged at random: what a model knows of
            the sentences alone.
        hypothesis_only: A linear classifier of the sentences' words, which sees no image, tested on images that it
            was not trained on. What is above .5 here, the sentences give away.
        skipped_pairs, skipped_images: Left out, since their image is missing or broken.
        seed: Seed of the exchange.
    """

    pairs: dict[str, int]
    images: int
    cosine: Against | None
    itm: Against | None
    shuffled_cosine: Against | None
    shuffled_itm: Against | None
    hypothesis_only: Against
    skipped_pairs: int
    skipped_images: int
    seed: int


def read_entailment(path: str | Path) -> list[EntailmentPair]:
    """Read pairs from CSV, or from JSON lines, with image, hypothesis, label (entailment, neutral or contradiction).

    Raises:
        InputError: The file is missing or holds no pair, its first line lacks a column, or a line is malformed.
    """
    path = Path(path)
    if opening(path).startswith("{"):
        lines = filled_lines(path, None)
        found = iterate_records(path, None, lines, lambda line: _pair(parse_json_object(line)), "pairs")
    else:
        rows = csv_rows(path, _check_header, "put sentences with commas or quotation marks in quotes, quotes doubled")
        found = iterate_records(path, None, rows, _pair, "pairs")
    return [pair for _, pair in found]


def _check_header(names: list[str]) -> None:
    if set(names) != set(EntailmentPair.model_fields):
        raise InputError(f"the first line must be image,hypothesis,label, found {shorten(names)}")


def _pair(raw: object) -> EntailmentPair:
    return read_record(EntailmentPair, raw, "the pair")


def evaluate_entailment(
    model: str | Path,
    *,
    pairs: str | Path,
    images: str | Path,
    missing_images: MissingPairImage = "raise",
    seed: int = 0,
    batch_size: int = 64,
) -> EntailmentReport:
    """Evaluate how well a pre-trained model tells what an image entails from what it contradicts.

    Args:
        model: Model folder of pre-training, or of its teacher.
        pairs: CSV file, or JSON lines, of image, hypothesis, label.
        images: Folder of the images.
        missing_images: What a missing or broken image does: raise, or have its pairs skipped and counted.
        seed: Seed of the control that exchanges images.
        batch_size: Pairs in a forward pass.

    Raises:
        InputError: A file cannot be used, an image is missing or broken, or the model was not saved by pre-training.

    Example:
        ```python
        from pathlib import Path

        import promu

        lines = ["image,hypothesis,label", "pair_000000.jpg,a flag is seen,entailment"]
        lines += ["pair_000001.jpg,nobody is here,contradiction"]
        Path("pairs.csv").write_text("\\n".join(lines))
        photos = "runs/newsreel/pairs/images"
        report = promu.evaluate_entailment("runs/newsreel-pretrain/model", pairs="pairs.csv", images=photos)
        print(report["cosine"], report["shuffled_cosine"])
        ```
    """
    if batch_size < 1:
        raise InputError(f"batch_size= is {batch_size}; at least 1 is needed")
    folder = Path(images)
    if not folder.is_dir():
        raise InputError("no such folder of images; correct images=", folder)
    judged = read_entailment(pairs)
    photographs = PairFolder([CaptionPair(one.image, one.hypothesis, False) for one in judged], folder, missing_images)
    place = {row.image: number for number, row in enumerate(photographs.captions())}
    judged = [pair for pair in judged if pair.image in place]
    loaded, encoder = open_pair_model(model)
    own = np.array([place[pair.image] for pair in judged])
    labels = np.array([LABELS.index(pair.label) for pair in judged])
    scores = _Judges(loaded, encoder, EncodedImages(loaded, photographs), judged, batch_size)
    other = _exchanged(own, seed)
    return EntailmentReport(
        pairs={label: int((labels == number).sum()) for number, label in enumerate(LABELS)},
        images=len(place),
        cosine=_against(scores.cosine(own), labels),
        itm=_against(scores.itm(own), labels),
        shuffled_cosine=_against(scores.cosine(other), labels),
        shuffled_itm=_against(scores.itm(other), labels),
        hypothesis_only={
            "contradiction": _from_sentences(scores.bags(), labels, own, LABELS.index("contradiction")),
            "neutral": _from_sentences(scores.bags(), labels, own, LABELS.index("neutral")),
        },
        skipped_pairs=photographs.skipped_pairs,
        skipped_images=len(photographs.skipped),
        seed=seed,
    )


class _Judges:
    """Scores of the pairs' sentences with any images, by each judge that a model has; None by one that it lacks."""

    def __init__(
        self,
        model: PairModel,
        encoder: WordEncoder,
        images: EncodedImages,
        pairs: Sequence[EntailmentPair],
        batch_size: int,
    ) -> None:
        self.model, self.encoder, self.images, self.batch_size = model, encoder, images, batch_size
        self.texts: list[EncodedText] = [encoder.text(pair.hypothesis) for pair in pairs]
        self.visual: torch.Tensor | None = None
        if hasattr(model, "space"):
            self.visual = image_vectors(model, images, batch_size)
            self.text = text_vectors(model, encoder, self.texts, batch_size)

    def cosine(self, images: Numbers) -> Floats | None:
        """(N,) cosine of each sentence with the image of that number."""
        if self.visual is None:
            return None
        return (self.text * self.visual[torch.from_numpy(images)]).sum(-1).numpy()

    def itm(self, images: Numbers) -> Floats | None:
        """(N,) log odds of the matching head, as `cosine`."""
        if not isinstance(self.model, PromuForPreTraining) or not hasattr(self.model, "itm_head"):
            return None
        rows = torch.stack([torch.arange(len(images)), torch.from_numpy(images)], dim=1)
        return match_scores(self.model, self.encoder, self.images, self.texts, rows, self.batch_size).numpy()

    def bags(self) -> Floats:
        """(N, V) which of the word pieces that occur a sentence has."""
        pieces = sorted({piece for text in self.texts for piece in text.input_ids})
        column = {piece: number for number, piece in enumerate(pieces)}
        bags = np.zeros((len(self.texts), len(pieces)), dtype=np.float32)
        for row, text in enumerate(self.texts):
            bags[row, [column[piece] for piece in text.input_ids]] = 1
        return bags


def _exchanged(images: Numbers, seed: int) -> Numbers:
    """For each pair another pair's image, at random; its own only where all pairs have one image."""
    rng = np.random.default_rng(seed)
    other = images[rng.permutation(len(images))]
    distinct = np.unique(images)
    for row in np.flatnonzero(other == images):
        choices = distinct[distinct != images[row]]
        if len(choices):
            other[row] = rng.choice(choices)
    return other


def _against(scores: Floats | None, labels: Numbers) -> Against | None:
    if scores is None:
        return None
    return {
        "contradiction": _auc(scores, labels, LABELS.index("contradiction")),
        "neutral": _auc(scores, labels, LABELS.index("neutral")),
    }


def _auc(scores: Floats, labels: Numbers, negative: int) -> float | None:
    of_two = np.isin(labels, (LABELS.index("entailment"), negative))
    positive = labels[of_two] == LABELS.index("entailment")
    return None if positive.all() or not positive.any() else roc_auc(scores[of_two].tolist(), positive.tolist())


def _from_sentences(bags: Floats, labels: Numbers, images: Numbers, negative: int) -> float | None:
    """AUC of ridge regression on the sentences' words, trained on some images and tested on the others, in folds."""
    of_two = np.isin(labels, (LABELS.index("entailment"), negative))
    bags, positive, images = bags[of_two], labels[of_two] == LABELS.index("entailment"), images[of_two]
    if positive.all() or not positive.any() or len(np.unique(images)) < FOLDS:
        return None
    scores = np.zeros(len(bags))
    for fold in range(FOLDS):
        test = images % FOLDS == fold
        if test.all() or not test.any():
            continue
        seen = bags[~test]
        target = np.where(positive[~test], 1.0, -1.0)
        middle = target.mean()
        # the dual form: as many unknowns as sentences, not as words
        weights = np.linalg.solve(seen @ seen.T + RIDGE * np.eye(len(seen)), target - middle)
        scores[test] = bags[test] @ (seen.T @ weights) + middle
    return roc_auc(scores.tolist(), positive.tolist())
