"""Validation of pre-training on a corpus of caption pairs: retrieval, matching, agreement with the teacher, losses."""

from __future__ import annotations

import hashlib
import logging
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch.nn.utils.rnn import pad_sequence

from promu.alignment.falsify import ImageCaptions, falsify, word_vectors
from promu.alignment.label_store import LabelStore
from promu.corpora.images import load_image
from promu.corpora.shards import CaptionedImage
from promu.errors import InputError
from promu.evaluation import retrieval
from promu.evaluation.pretrained import (
    EncodedImages,
    PairCorpus,
    PairModel,
    image_vectors,
    match_scores,
    predictions,
    reading,
    text_vectors,
    tokens,
)
from promu.modeling.inputs import WordEncoder
from promu.modeling.pretraining import PromuForPreTraining
from promu.progress import track
from promu.schema import CaptionPair, MissingPairImage


@dataclass(frozen=True)
class PairTable:
    """Distinct captions, those that belong to some image first, and who belongs to whom.

    `matched` and `falsified` are (N, 2) pairs of a caption and an image, each once.
    """

    texts: list[str]
    true_texts: int
    matched: torch.Tensor
    falsified: torch.Tensor


def read_pairs(corpus: PairCorpus) -> PairTable:
    """Number the distinct captions of a corpus, those that belong to some image first."""
    true: dict[str, int] = {}
    false: list[tuple[str, int]] = []
    matched: dict[tuple[int, int], None] = {}
    for index, image in enumerate(corpus.captions()):
        for text, belongs in image.captions:
            if belongs:
                matched[true.setdefault(text, len(true)), index] = None
            else:
                false.append((text, index))
    every = dict(true)
    falsified = dict.fromkeys((every.setdefault(text, len(every)), index) for text, index in false)
    return PairTable(list(every), len(true), _numbers(matched), _numbers(falsified))


def _numbers(pairs: Iterable[tuple[int, int]]) -> torch.Tensor:
    return torch.tensor(list(pairs), dtype=torch.long).reshape(-1, 2)


def auc_sets(pairs: PairTable, limit: int, chance: torch.Generator) -> dict[str, torch.Tensor]:
    """At most `limit` pairs of each kind: matched, falsified by the corpus, and with a random other caption."""
    matched = draw(pairs.matched, limit, chance)
    return {
        "matched": matched,
        "falsified": draw(pairs.falsified, limit, chance),
        "random": _random_pairs(matched[:, 1], pairs, chance),
    }


def draw(items: torch.Tensor, limit: int, chance: torch.Generator) -> torch.Tensor:
    """At most `limit` of the items, drawn without replacement, in their order."""
    return items[torch.randperm(len(items), generator=chance)[:limit].sort().values]


def _random_pairs(images: torch.Tensor, pairs: PairTable, chance: torch.Generator) -> torch.Tensor:
    """Each of these images with a uniformly random matched caption of another; an image that has all is left out."""
    own: dict[int, set[int]] = {}
    for caption, image in pairs.matched.tolist():
        own.setdefault(image, set()).add(caption)
    drawn = []
    for image in images.tolist():
        if len(own[image]) == pairs.true_texts:
            continue
        caption = next(iter(own[image]))
        while caption in own[image]:
            caption = int(torch.randint(pairs.true_texts, (), generator=chance))
        drawn.append((caption, image))
    return _numbers(drawn)


def answers(queries: torch.Tensor, truth: torch.Tensor) -> Sequence[frozenset[int]]:
    """The right answers of each query, from (N, 2) pairs of a query and an answer."""
    found: dict[int, set[int]] = {}
    for query, answer in truth.tolist():
        found.setdefault(query, set()).add(answer)
    return [frozenset(found[query]) for query in queries.tolist()]


logger = logging.getLogger(__name__)


class PairFolder:
    """A `PairCorpus` over images that stay where they are.

    Where no pair is falsified, as many falsified pairs as true ones are made: captions near in meaning, of another
    image (`promu.alignment.falsify`).

    Args:
        pairs: The pairs; those of one image need not follow each other.
        folder: Where the images are.
        missing: What a missing or broken image does: `raise`, or `skip` its pairs and count them.
        seed: Which captions the falsified pairs are made of.

    Attributes:
        skipped: Why each image that was skipped cannot be read.
        skipped_pairs: How many pairs were skipped with them.
        made: How many falsified pairs were made.

    Raises:
        InputError: An image is missing or broken and `missing` is `raise`, or no pair is left.
    """

    def __init__(
        self, pairs: Iterable[CaptionPair], folder: Path, missing: MissingPairImage = "raise", seed: int = 0
    ) -> None:
        self.folder = folder
        self.skipped: dict[str, str] = {}
        self.skipped_pairs = self.made = 0
        captions: dict[str, list[tuple[str, bool]]] = {}
        for pair in pairs:
            captions.setdefault(pair.image, []).append((pair.caption, pair.matched))
        self._rows: list[CaptionedImage] = []
        contents: list[bytes] = []
        for name, own in captions.items():
            try:
                image = load_image(folder / name)
            except InputError as error:
                if missing == "raise":
                    raise InputError(f"{error.reason}; or skip such images", error.path) from None
                logger.warning("%s; its pairs are skipped", error)
                self.skipped[name] = error.reason
                self.skipped_pairs += len(own)
                continue
            contents.append(hashlib.blake2b((folder / name).read_bytes(), digest_size=16).digest())
            self._rows.append(CaptionedImage(name, b"", image.width, image.height, tuple(own)))
        if not self._rows:
            raise InputError("no caption pair with a readable image is left", folder)
        if all(matched for row in self._rows for _, matched in row.captions):
            self._falsify(contents, seed)

    @property
    def images(self) -> int:
        """As `PairCorpus.images`."""
        return len(self._rows)

    def image(self, index: int) -> CaptionedImage:
        """As `PairCorpus.image`."""
        row = self._rows[index]
        data = (self.folder / row.image).read_bytes()
        return CaptionedImage(row.image, data, row.width, row.height, row.captions)

    def captions(self) -> Sequence[CaptionedImage]:
        """As `PairCorpus.captions`."""
        return self._rows

    def _falsify(self, contents: Sequence[bytes], seed: int) -> None:
        images = [
            ImageCaptions(row.image, content, tuple(text for text, _ in row.captions))
            for row, content in zip(self._rows, contents, strict=True)
        ]
        for index, added in enumerate(falsify(images, 0.5, word_vectors, [seed])):
            row = self._rows[index]
            own = (*row.captions, *((one.text, False) for one in added))
            self._rows[index] = CaptionedImage(row.image, b"", row.width, row.height, own)
            self.made += len(added)


@dataclass(frozen=True)
class Judged:
    """One image with labels: teacher's and student's distributions; None where the student has no such head."""

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
    images: EncodedImages,
    store: LabelStore,
    *,
    batch_size: int = 64,
) -> dict[str, Any]:
    """Agreement on every region and image of the corpus that has a label.

    Each image is read once, with the first of its captions that belongs to it.

    Returns:
        `entity` over regions and `relation` over images, each with `labels` (how many), `top1` (percent whose
        likeliest candidate is the teacher's), `top5` (percent whose likeliest is among the teacher's five) and `kl`
        (mean divergence of the student from the teacher, in nats), or None; and `unlabelled` images, left out.

    Raises:
        InputError: The store was made for other candidates than the model's, or labels no image of the corpus.
    """
    check_candidates(model, store)
    captions = image_captions(images.corpus)
    labelled = [index for index, (image, _) in enumerate(captions) if image in store]
    if not labelled:
        raise InputError("the label store labels no image of this corpus; label the corpus first", store.folder)
    entity, relation = _Agreement(), _Agreement()
    judged_images = judge_images(model, encoder, images, store, labelled, captions, batch_size)
    for judged in track(judged_images, "agreement", len(labelled)):
        if judged.student_entities is not None and len(judged.boxes):
            entity.add(judged.teacher_entities, judged.student_entities)
        if judged.student_relation is not None:
            relation.add(judged.teacher_relation[None], judged.student_relation[None])
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


def image_captions(corpus: PairCorpus) -> list[tuple[str, str]]:
    """Each image's name, and the caption it is read with."""
    found = []
    for image in corpus.captions():
        own = [text for text, matched in image.captions if matched]
        found.append((image.image, (own or [text for text, _ in image.captions] or [""])[0]))
    return found


def judge_images(
    model: PromuForPreTraining,
    encoder: WordEncoder,
    images: EncodedImages,
    store: LabelStore,
    indices: Sequence[int],
    captions: Sequence[tuple[str, str]],
    batch_size: int,
) -> Iterator[Judged]:
    """The labels of these images beside what the student says.

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
            yield Judged(
                row,
                label.boxes,
                label.entities.dense(nouns),
                None if entities is None else entities[place, :count],
                label.relation.dense(relations)[0],
                None if relation is None else relation[place],
            )


AUC_PAIRS = 2000
"""Pairs of each kind that an AUC is taken over, at most."""
RERANKED = 500
"""Captions, and images, whose best answers are re-ranked, at most."""


def evaluate_pairs(
    model: PairModel,
    encoder: WordEncoder,
    corpus: PairCorpus,
    *,
    seed: int = 0,
    batch_size: int = 64,
    rerank: int = 20,
    store: LabelStore | None = None,
    batches: Iterable[dict[str, torch.Tensor]] | None = None,
    auc_pairs: int = AUC_PAIRS,
    reranked: int = RERANKED,
) -> dict[str, Any]:
    """How well a pre-trained model tells which caption belongs to which image.

    Each distinct image and caption is encoded once. The figures:

    - `recall`, percent at 1, 5 and 10 both ways, with its standard error over the images; a query is a distinct
      matched caption, or an image that has one.
    - `auc` of matched against falsified pairs by cosine and by the ITM head, on the same pairs: against the corpus's
      own falsified pairs (near in meaning) and against a random caption of another image.
    - `rerank`: recall of the shared space's best answers before anything orders them anew, after the ITM head has put
      them in its own order, and summed: by the head's log odds plus L_CIT's logit (cosine over temperature), as two
      judges' log odds add up. On the same queries.
    - `agreement` with the labels in `store`, and `losses` of `batches`, where they are given.

    A figure that this model or corpus cannot have is None.

    Args:
        model: Put into evaluation mode for the while.
        encoder: Its tokenizer.
        corpus: The pairs, such as a `PairShards`.
        seed: Which pairs and queries are drawn where there are more than are read, and the random captions.
        batch_size: Pairs a forward pass.
        rerank: How many of a query's best answers the ITM head orders; 0 leaves that out.
        store: The teacher's labels of the corpus.
        batches: Batches of `PromuForPreTraining.forward`, without augmentation.
        auc_pairs: Pairs of each kind that the AUCs are taken over, at most.
        reranked: Captions, and images, that are re-ranked, at most.

    Raises:
        InputError: The corpus has no matched pair, an image is damaged, the store was made for other candidates, or
            the model's vectors are no numbers.
    """
    pairs = read_pairs(corpus)
    texts = [encoder.text(text) for text in pairs.texts]
    chance = torch.Generator().manual_seed(seed)
    result: dict[str, Any] = {
        "pairs": {"matched": len(pairs.matched), "falsified": len(pairs.falsified)},
        "images": corpus.images,
        "captions": pairs.true_texts,
        "seed": seed,
        "recall": None,
        "auc": None,
        "rerank": None,
        "agreement": None,
        "losses": None,
    }
    images = EncodedImages(model, corpus)
    vectors = None
    if hasattr(model, "space"):
        vectors = (
            text_vectors(model, encoder, texts, batch_size),
            image_vectors(model, images, batch_size),
        )
        _require_numbers(*vectors)
        result["recall"] = _recall(*vectors, pairs)
    judge = model if isinstance(model, PromuForPreTraining) and hasattr(model, "itm_head") else None
    sets = auc_sets(pairs, auc_pairs, chance)

    def match(wanted: torch.Tensor, name: str) -> torch.Tensor:
        assert judge is not None
        return match_scores(judge, encoder, images, texts, wanted, batch_size, name)

    result["auc"] = {
        "pairs": {name: len(found) for name, found in sets.items()},
        "cosine": None if vectors is None else _aucs(sets, _cosines(*vectors, torch.cat(list(sets.values())))),
        "itm": None if judge is None else _aucs(sets, match(torch.cat(list(sets.values())), "matching")),
    }
    if vectors is not None and judge is not None and rerank:
        result["rerank"] = _rerank(
            *vectors,
            model.space.temperature.item(),
            pairs,
            rerank,
            reranked,
            chance,
            lambda wanted: match(wanted, "re-ranking"),
        )
    if isinstance(model, PromuForPreTraining):
        if store is not None:
            result["agreement"] = teacher_agreement(model, encoder, images, store, batch_size=batch_size)
        if batches is not None:
            result["losses"] = mean_losses(model, batches)
    return result


def mean_losses(model: PromuForPreTraining, batches: Iterable[dict[str, torch.Tensor]]) -> dict[str, float]:
    """The mean over batches of each unweighted loss, batches counting by their rows."""
    sums: dict[str, float] = {}
    rows = 0
    for batch in batches:  # made outside of autocast, which cannot stack half-precision rows on a CPU
        count = len(batch["input_ids"])
        with reading(model):
            parts = model(**{name: value.to(model.device) for name, value in batch.items()}).parts
        for name, part in parts.items():
            sums[name] = sums.get(name, 0.0) + float(part) * count
        rows += count
    return {name: value / rows for name, value in sums.items()}


def flat_figures(result: Mapping[str, Any]) -> dict[str, float]:
    """The figures of `evaluate_pairs` under one name each, for a log; what is None is left out.

    Names: `caption_to_image_r1`, `image_to_caption_r10`, `cosine_auc_falsified`, `itm_auc_random`,
    `reranked_caption_to_image_r1`, `entity_top1`, `relation_kl`, `loss_cit` and their likes.
    """
    flat: dict[str, float] = {}
    for prefix, recalls in (("", result["recall"]), ("reranked_", (result["rerank"] or {}).get("after"))):
        for way in ("caption_to_image", "image_to_caption"):
            for k, value in ((recalls or {}).get(way) or {}).items():
                flat[f"{prefix}{way}_r{k}"] = value
    for judge in ("cosine", "itm"):
        for against, value in ((result["auc"] or {}).get(judge) or {}).items():
            flat[f"{judge}_auc_{against}"] = value
    for head in ("entity", "relation"):
        for name, value in ((result["agreement"] or {}).get(head) or {}).items():
            if name != "labels":
                flat[f"{head}_{name}"] = value
    flat.update({f"loss_{name}": value for name, value in (result["losses"] or {}).items()})
    return {name: value for name, value in flat.items() if value is not None}


def _require_numbers(*vectors: torch.Tensor) -> None:
    for found in vectors:
        broken = int((~found.isfinite()).any(-1).sum())
        if broken:
            raise InputError(
                f"{broken} of {len(found)} vectors of this model are no numbers; its training has diverged, "
                "train it again with a lower learning rate"
            )


def _recall(text: torch.Tensor, visual: torch.Tensor, pairs: PairTable) -> dict[str, Any]:
    to_image, to_caption = retrieval.vector_ranks(text[: pairs.true_texts], visual, pairs.matched)
    found: dict[str, Any] = {
        "caption_to_image": retrieval.recall(to_image),
        "image_to_caption": retrieval.recall(to_caption),
    }
    # captions of one image are not independent, so the images are what is counted for both directions
    errors = {
        way: {k: retrieval.standard_error(value, len(to_caption)) for k, value in recall.items()}
        for way, recall in found.items()
    }
    return {**found, "standard_error": errors}


def _cosines(text: torch.Tensor, visual: torch.Tensor, pairs: torch.Tensor) -> torch.Tensor:
    return (text[pairs[:, 0]] * visual[pairs[:, 1]]).sum(-1)


def _aucs(sets: Mapping[str, torch.Tensor], scores: torch.Tensor) -> dict[str, float | None]:
    """AUC of the matched pairs against each other kind, None where there is none of it."""
    parts = dict(zip(sets, scores.split([len(found) for found in sets.values()]), strict=True))
    matched = parts.pop("matched")
    return {
        name: retrieval.roc_auc(
            torch.cat([matched, other]), torch.cat([torch.ones(len(matched)), torch.zeros(len(other))])
        )
        if len(other)
        else None
        for name, other in parts.items()
    }


def _rerank(
    text: torch.Tensor,
    visual: torch.Tensor,
    temperature: float,
    pairs: PairTable,
    top: int,
    limit: int,
    chance: torch.Generator,
    match: Callable[[torch.Tensor], torch.Tensor],
) -> dict[str, Any]:
    """Recall before and after the ITM head, or both judges, order the `top` best answers of some queries each way."""
    text = text[: pairs.true_texts]
    ways = {
        "caption_to_image": (draw(pairs.matched[:, 0].unique(), limit, chance), text, visual, pairs.matched),
        "image_to_caption": (draw(pairs.matched[:, 1].unique(), limit, chance), visual, text, pairs.matched.flip(1)),
    }
    candidates = {
        way: retrieval.top_candidates(source[queries] @ target.T, top)
        for way, (queries, source, target, _) in ways.items()
    }
    wanted = []
    for way, (queries, *_) in ways.items():
        asked = torch.stack([queries[:, None].expand_as(candidates[way]), candidates[way]], -1).reshape(-1, 2)
        wanted.append(asked if way == "caption_to_image" else asked.flip(1))
    scores = match(torch.cat(wanted)).split([len(asked) for asked in wanted])
    result: dict[str, Any] = {
        "top": top,
        "captions": len(ways["caption_to_image"][0]),
        "images": len(ways["image_to_caption"][0]),
        "before": {},
        "after": {},
        "summed": {},
    }
    for (way, (queries, source, target, truth)), found in zip(ways.items(), scores, strict=True):
        right = answers(queries, truth)
        ks = [k for k in retrieval.KS if k <= top]
        head = found.reshape(candidates[way].shape)
        cosine = (source[queries] @ target.T).gather(1, candidates[way])
        orders = {"before": cosine, "after": head, "summed": head + cosine / temperature}
        for name, order in orders.items():
            ordered = retrieval.rerank(candidates[way], order)
            result[name][way] = retrieval.recall_of_candidates(ordered, right, ks)
    return result
