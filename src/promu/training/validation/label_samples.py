"""Sample labels of a run: for a few pictures the teacher's labels beside the student's predictions, before and after.

`samples.json` in a run's folder is a list with an object a picture, which the run's report shows:

- `image`: the picture as a `data:` URI; `name`: its file name; `caption`: the one it was read with;
- `regions`: for each its `box` [x0, y0, x1, y1] in shares of width and height, and its nouns as `teacher`, `before`
  and `after`: lists of [candidate, probability], likeliest first;
- `relations`: `teacher`, `before` and `after` of the whole picture, in the same form.

`before` or `after` is missing where the student has no such head or has not been asked yet.
"""

from __future__ import annotations

import base64
import io
from collections.abc import Sequence
from typing import Any, Literal

import torch
from PIL import Image

from promu.alignment.label_store import LabelStore
from promu.modeling.inputs import WordEncoder
from promu.modeling.pretraining import PromuForPreTraining
from promu.training.validation.pair_inference import EncodedPictures, PairCorpus
from promu.training.validation.teacher_agreement import check_candidates, judge_pictures, picture_captions

SAMPLES = "samples.json"
SIDE = 240
"""Longest side of a sample picture, in pixels."""
SHOWN = 5
"""Candidates of each label, at most."""
REGIONS = 3
"""Regions of each picture, at most."""


def sample_predictions(
    model: PromuForPreTraining,
    encoder: WordEncoder,
    corpus: PairCorpus,
    store: LabelStore,
    pictures: Sequence[int],
    moment: Literal["before", "after"] = "after",
) -> list[dict[str, Any]]:
    """What `samples.json` holds, with the student's predictions of this moment.

    Args:
        model: The student.
        encoder: Its tokenizer.
        corpus: The pairs.
        store: The teacher's labels.
        pictures: Numbers of pictures in the corpus; those without a label are left out.
        moment: Whether training is still to come or over.

    Raises:
        InputError: The store was made for other candidates than the model's, or a picture is damaged.
    """
    check_candidates(model, store)
    captions = picture_captions(corpus)
    labelled = [index for index in pictures if captions[index][0] in store]
    samples = []
    for judged in judge_pictures(
        model, encoder, EncodedPictures(model, corpus), store, labelled, captions, batch_size=16
    ):
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
                "image": _data_uri(corpus.picture(judged.index).decode((SIDE, SIDE))),
                "name": name,
                "caption": caption,
                "regions": regions,
                "relations": relations,
            }
        )
    return samples


def join_samples(before: Sequence[dict[str, Any]], after: Sequence[dict[str, Any]]) -> list[dict[str, Any]]:
    """The samples of both moments as one list; both were made for the same pictures of the same store."""
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


def _data_uri(picture: Image.Image) -> str:
    picture.thumbnail((SIDE, SIDE))
    buffer = io.BytesIO()
    picture.info.clear()  # what a camera wrote beside the pixels stays out
    picture.save(buffer, "JPEG", quality=85)
    return f"data:image/jpeg;base64,{base64.b64encode(buffer.getvalue()).decode('ascii')}"
