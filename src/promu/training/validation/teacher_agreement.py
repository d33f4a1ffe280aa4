"""How far the COE and CIR heads agree with the teacher whose soft pseudo-labels they learn from."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch.nn.utils.rnn import pad_sequence

from promu.alignment.label_store import LabelStore
from promu.errors import InputError
from promu.modeling.inputs import WordEncoder
from promu.modeling.pretraining import PromuForPreTraining
from promu.training.validation.pair_inference import Advance, EncodedPictures, PairCorpus, predictions, tokens


@dataclass(frozen=True)
class Judged:
    """One picture with labels: teacher's and student's distributions; None where the student has no such head."""

    index: int
    boxes: torch.Tensor
    teacher_entities: torch.Tensor
    student_entities: torch.Tensor | None
    teacher_relation: torch.Tensor
    student_relation: torch.Tensor | None


class _Agreement:
    """Sums of what is compared for one head."""

    def __init__(self) -> None:
        self.labels = 0
        self.top1 = self.top5 = 0
        self.kl = 0.0

    def add(self, teacher: torch.Tensor, student: torch.Tensor) -> None:
        """Distributions (N, M) each."""
        best = student.argmax(-1)
        ranked = teacher.topk(min(5, teacher.shape[-1]), dim=-1).indices
        self.labels += len(teacher)
        self.top1 += int((best == ranked[:, 0]).sum())
        self.top5 += int((best[:, None] == ranked).any(-1).sum())
        self.kl += float(torch.nn.functional.kl_div(student.clamp(min=1e-12).log(), teacher, reduction="sum"))

    def figures(self) -> dict[str, float] | None:
        if not self.labels:
            return None
        return {
            "labels": self.labels,
            "top1": 100.0 * self.top1 / self.labels,
            "top5": 100.0 * self.top5 / self.labels,
            "kl": self.kl / self.labels,
        }


def teacher_agreement(
    model: PromuForPreTraining,
    encoder: WordEncoder,
    pictures: EncodedPictures,
    store: LabelStore,
    *,
    batch_size: int = 64,
    advance: Advance | None = None,
) -> dict[str, Any]:
    """Agreement on every region and picture of the corpus that has a label.

    Each picture is read once, with the first of its captions that belongs to it.

    Returns:
        `entity` over regions and `relation` over pictures, each with `labels` (how many), `top1` (percent whose
        likeliest candidate is the teacher's), `top5` (percent whose likeliest is among the teacher's five) and `kl`
        (mean divergence of the student from the teacher, in nats), or None; and `unlabelled` pictures, left out.

    Raises:
        InputError: The store was made for other candidates than the model's, or labels no picture of the corpus.
    """
    check_candidates(model, store)
    captions = picture_captions(pictures.corpus)
    labelled = [index for index, (image, _) in enumerate(captions) if image in store]
    if not labelled:
        raise InputError("the label store labels no picture of this corpus; label the corpus first", store.folder)
    entity, relation = _Agreement(), _Agreement()
    judged_pictures = judge_pictures(model, encoder, pictures, store, labelled, captions, batch_size)
    for done, judged in enumerate(judged_pictures, start=1):
        if judged.student_entities is not None and len(judged.boxes):
            entity.add(judged.teacher_entities, judged.student_entities)
        if judged.student_relation is not None:
            relation.add(judged.teacher_relation[None], judged.student_relation[None])
        if advance is not None:
            advance(done, len(labelled))
    return {
        "entity": entity.figures(),
        "relation": relation.figures(),
        "unlabelled": len(captions) - len(labelled),
    }


def check_candidates(model: PromuForPreTraining, store: LabelStore) -> None:
    """Make sure that the model's heads and the store speak of the same candidates.

    Raises:
        InputError: They do not.
    """
    for head, mine, theirs in (
        ("entity_head", model.config.nouns, store.header.nouns),
        ("relation_head", model.config.relations, store.header.relations),
    ):
        if hasattr(model, head) and tuple(mine) != tuple(theirs):
            raise InputError(
                f"this label store has {len(theirs)} other {'nouns' if head == 'entity_head' else 'relations'} than "
                f"the model's {len(mine)}; name the store that the model was trained with",
                store.folder,
            )


def picture_captions(corpus: PairCorpus) -> list[tuple[str, str]]:
    """Each picture's name, and the caption it is read with."""
    found = []
    for picture in corpus.captions():
        own = [text for text, matched in picture.captions if matched]
        found.append((picture.image, (own or [text for text, _ in picture.captions] or [""])[0]))
    return found


def judge_pictures(
    model: PromuForPreTraining,
    encoder: WordEncoder,
    pictures: EncodedPictures,
    store: LabelStore,
    indices: Sequence[int],
    captions: Sequence[tuple[str, str]],
    batch_size: int,
) -> Iterator[Judged]:
    """The labels of these pictures beside what the student says.

    Args:
        indices: Numbers of pictures that the store labels.
        captions: As `picture_captions` returns them, for the whole corpus.
        batch_size: Pictures a forward pass.
    """
    nouns, relations = len(store.header.nouns), len(store.header.relations)
    for start in range(0, len(indices), batch_size):
        rows = indices[start : start + batch_size]
        labels = [store[captions[row][0]] for row in rows]
        boxes = pad_sequence([label.boxes for label in labels], batch_first=True)
        entities, relation = predictions(
            model,
            tokens(model, encoder, [encoder.text(captions[row][1]) for row in rows]),
            pictures(rows),
            boxes if boxes.shape[1] else None,
        )
        for place, (row, label) in enumerate(zip(rows, labels, strict=True)):
            count = len(label.boxes)
            yield Judged(
                row,
                label.boxes,
                label.entities.dense(nouns),
                None if entities is None else entities[place, :count],
                label.relation.dense(relations)[0],
                None if relation is None else relation[place],
            )
