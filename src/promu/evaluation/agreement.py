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

    `top1` and `top5` are the percentages of the `labels` whose most probable candidate is the teacher's, or among the
    teacher's five; `kl` is the mean divergence of the student from the teacher, in nats.
    """

    labels: int
    top1: float
    top5: float
    kl: float


class Agreement(TypedDict):
    """Agreement over regions and images, None without such labels; and the number of images left out without any."""

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
    entity: list[torch.Tensor] = []
    relation: list[torch.Tensor] = []
    pairs = compare_labels(model, encoder, images, store, labelled, captions, batch_size)
    for one in track(pairs, "agreement", len(labelled)):
        if one.student_entities is not None and len(one.boxes):
            entity.append(_compared(one.teacher_entities, one.student_entities))
        if one.student_relation is not None:
            relation.append(_compared(one.teacher_relation[None], one.student_relation[None]))
    return {"entity": _figures(entity), "relation": _figures(relation), "unlabelled": len(captions) - len(labelled)}


def _compared(teacher: torch.Tensor, student: torch.Tensor) -> torch.Tensor:
    """(N, 3) of distributions (N, M): whether top1 and top5 hold of each label, and its divergence."""
    best, ranked = student.argmax(-1, keepdim=True), teacher.topk(min(5, teacher.shape[-1]), dim=-1).indices
    kl = torch.nn.functional.kl_div(student.clamp(min=1e-12).log(), teacher, reduction="none").sum(-1)
    hits = (best == ranked).double()
    return torch.stack([hits[:, 0], hits.sum(-1), kl.double()], -1)


def _figures(compared: Sequence[torch.Tensor]) -> HeadAgreement | None:
    if not compared:
        return None
    rows = torch.cat(list(compared))
    top1, top5, kl = rows.mean(0).tolist()
    return {"labels": len(rows), "top1": 100.0 * top1, "top5": 100.0 * top5, "kl": kl}


def check_candidates(model: PromuForPreTraining, store: LabelStore) -> None:
    """Check that the model's heads and the store have the same candidates.

    Raises:
        InputError: They have not.
    """
    for head, kind in (("entity_head", "nouns"), ("relation_head", "relations")):
        mine, theirs = getattr(model.config, kind), getattr(store.header, kind)
        if hasattr(model, head) and tuple(mine) != tuple(theirs):
            raise InputError(
                f"this label store has {len(theirs)} other {kind} than the model's {len(mine)}; name the store that "
                "the model was trained with",
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
        batch = tokens(model, encoder, [encoder.text(captions[row][1]) for row in rows])
        entities, relation = predictions(model, batch, images(rows), boxes if boxes.shape[1] else None)
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
