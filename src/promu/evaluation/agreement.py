"""Agreement of a pre-trained model with its teacher: what both say about the regions and images of a corpus."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import TypedDict

import torch
from torch.nn.utils.rnn import pad_sequence

from promu.alignment.label_store import LabelStore
from promu.errors import InputError
from promu.evaluation.pair_corpus import PairCorpus
from promu.evaluation.pretrained import EncodedImages, predictions, tokens
from promu.modeling.inputs import WordEncoder
from promu.modeling.pretraining import PromuForPreTraining
from promu.progress import track


class HeadAgreement(TypedDict):
    """How one head agrees with the teacher.

    Attributes:
        labels: Number of compared labels.
        top1: Percent whose most probable candidate is the teacher's.
        top5: Percent whose most probable candidate is among the teacher's five.
        kl: Mean divergence of the student from the teacher, in nats.
    """

    labels: int
    top1: float
    top5: float
    kl: float


class Agreement(TypedDict):
    """Agreement over regions (`entity`) and images (`relation`); None without such labels.

    `unlabelled` is the number of images without labels, which are left out.
    """

    entity: HeadAgreement | None
    relation: HeadAgreement | None
    unlabelled: int


@dataclass(frozen=True)
class LabelledImage:
    """Distributions of teacher and student for one image; None if the student has no such head."""

    index: int
    boxes: torch.Tensor
    teacher_entities: torch.Tensor
    student_entities: torch.Tensor | None
    teacher_relation: torch.Tensor
    student_relation: torch.Tensor | None


class _Sums:
    """Sums over the labels of one head."""

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

    def figures(self) -> HeadAgreement | None:
        if not self.labels:
            return None
        return {
            "labels": self.labels,
            "top1": 100.0 * self.top1 / self.labels,
            "top5": 100.0 * self.top5 / self.labels,
            "kl": self.kl / self.labels,
        }


def teacher_agreement(
    model: PromuForPreTraining, encoder: WordEncoder, images: EncodedImages, store: LabelStore, *, batch_size: int = 64
) -> Agreement:
    """Compare model and teacher on every region and image of the corpus that has a label.

    Each image is read once, with its first matched caption.

    Raises:
        InputError: The store has other candidates than the model, or labels no image of the corpus.
    """
    check_candidates(model, store)
    captions = image_captions(images.corpus)
    labelled = [index for index, (image, _) in enumerate(captions) if image in store]
    if not labelled:
        raise InputError("the label store labels no image of this corpus; label the corpus first", store.folder)
    entity, relation = _Sums(), _Sums()
    pairs = compare_labels(model, encoder, images, store, labelled, captions, batch_size)
    for one in track(pairs, "agreement", len(labelled)):
        if one.student_entities is not None and len(one.boxes):
            entity.add(one.teacher_entities, one.student_entities)
        if one.student_relation is not None:
            relation.add(one.teacher_relation[None], one.student_relation[None])
    return {"entity": entity.figures(), "relation": relation.figures(), "unlabelled": len(captions) - len(labelled)}


def check_candidates(model: PromuForPreTraining, store: LabelStore) -> None:
    """Check that the model's heads and the store have the same candidates.

    Raises:
        InputError: They have not.
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


def image_captions(corpus: PairCorpus) -> list[tuple[str, str]]:
    """Each image's name, and the caption it is read with: the first matched one, or the first."""
    pairs = []
    for image in corpus.captions():
        matched = [text for text, is_matched in image.captions if is_matched]
        pairs.append((image.image, (matched or [text for text, _ in image.captions] or [""])[0]))
    return pairs


def compare_labels(
    model: PromuForPreTraining,
    encoder: WordEncoder,
    images: EncodedImages,
    store: LabelStore,
    indices: Sequence[int],
    captions: Sequence[tuple[str, str]],
    batch_size: int,
) -> Iterator[LabelledImage]:
    """The labels of these images, and the student's predictions.

    Args:
        indices: Numbers of images that the store labels.
        captions: As `image_captions` returns them, for the whole corpus.
        batch_size: Images a forward pass.
    """
    nouns, relations = len(store.header.nouns), len(store.header.relations)
    for start in range(0, len(indices), batch_size):
        rows = indices[start : start + batch_size]
        labels = [store[captions[row][0]] for row in rows]
        boxes = pad_sequence([label.boxes for label in labels], batch_first=True)
        entities, relation = predictions(
            model,
            tokens(model, encoder, [encoder.text(captions[row][1]) for row in rows]),
            images(rows),
            boxes if boxes.shape[1] else None,
        )
        for place, (row, label) in enumerate(zip(rows, labels, strict=True)):
            count = len(label.boxes)
            yield LabelledImage(
                row,
                label.boxes,
                label.entities.dense(nouns),
                None if entities is None else entities[place, :count],
                label.relation.dense(relations)[0],
                None if relation is None else relation[place],
            )
