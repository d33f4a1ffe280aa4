"""Validation of pre-training on a corpus of caption pairs: retrieval, matching, agreement with the teacher, losses."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from typing import TYPE_CHECKING, Any

import torch

from promu.alignment.label_store import LabelStore
from promu.errors import InputError
from promu.evaluation import retrieval
from promu.modeling.inputs import WordEncoder
from promu.modeling.pretraining import PromuForPreTraining
from promu.training.validation.pair_inference import (
    Advance,
    EncodedPictures,
    PairCorpus,
    PairModel,
    match_scores,
    picture_vectors,
    reading,
    text_vectors,
)
from promu.training.validation.pair_table import PairTable, answers, auc_sets, draw, read_pairs
from promu.training.validation.teacher_agreement import teacher_agreement

if TYPE_CHECKING:
    from promu.training.loop import Progress

AUC_PAIRS = 2000
"""Pairs of each kind that an AUC is taken over, at most."""
RERANKED = 500
"""Captions, and pictures, whose best answers are re-ranked, at most."""


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
    progress: Progress | None = None,
) -> dict[str, Any]:
    """How well a pre-trained model tells which caption belongs to which picture.

    Each distinct picture and caption is encoded once. The figures:

    - `recall`, percent at 1, 5 and 10 both ways, with its standard error over the pictures; a query is a distinct
      matched caption, or a picture that has one.
    - `auc` of matched against falsified pairs by cosine and by the ITM head, on the same pairs: against the corpus's
      own falsified pairs (near in meaning) and against a random caption of another picture.
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
        reranked: Captions, and pictures, that are re-ranked, at most.
        progress: Called with (what is going on, steps done, steps in all).

    Raises:
        InputError: The corpus has no matched pair, a picture is damaged, the store was made for other candidates, or
            the model's vectors are no numbers.
    """
    say = progress or (lambda name, done, total: None)
    pairs = read_pairs(corpus)
    texts = [encoder.text(text) for text in pairs.texts]
    chance = torch.Generator().manual_seed(seed)
    result: dict[str, Any] = {
        "pairs": {"matched": len(pairs.matched), "falsified": len(pairs.falsified)},
        "pictures": corpus.pictures,
        "captions": pairs.true_texts,
        "seed": seed,
        "recall": None,
        "auc": None,
        "rerank": None,
        "agreement": None,
        "losses": None,
    }
    pictures = EncodedPictures(model, corpus)
    vectors = None
    if hasattr(model, "space"):
        vectors = (
            text_vectors(model, encoder, texts, batch_size, _named(say, "captions")),
            picture_vectors(model, pictures, batch_size, _named(say, "pictures")),
        )
        _require_numbers(*vectors)
        result["recall"] = _recall(*vectors, pairs)
    judge = model if isinstance(model, PromuForPreTraining) and hasattr(model, "itm_head") else None
    sets = auc_sets(pairs, auc_pairs, chance)

    def match(wanted: torch.Tensor, name: str) -> torch.Tensor:
        assert judge is not None
        return match_scores(judge, encoder, pictures, texts, wanted, batch_size, _named(say, name))

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
            result["agreement"] = teacher_agreement(
                model, encoder, pictures, store, batch_size=batch_size, advance=_named(say, "agreement")
            )
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

    Names: `caption_to_picture_r1`, `picture_to_caption_r10`, `cosine_auc_falsified`, `itm_auc_random`,
    `reranked_caption_to_picture_r1`, `entity_top1`, `relation_kl`, `loss_cit` and their likes.
    """
    flat: dict[str, float] = {}
    for prefix, recalls in (("", result["recall"]), ("reranked_", (result["rerank"] or {}).get("after"))):
        for way in ("caption_to_picture", "picture_to_caption"):
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


def _named(say: Progress, name: str) -> Advance:
    return lambda done, total: say(name, done, total)


def _require_numbers(*vectors: torch.Tensor) -> None:
    for found in vectors:
        broken = int((~found.isfinite()).any(-1).sum())
        if broken:
            raise InputError(
                f"{broken} of {len(found)} vectors of this model are no numbers; its training has diverged, "
                "train it again with a lower learning rate"
            )


def _recall(text: torch.Tensor, visual: torch.Tensor, pairs: PairTable) -> dict[str, Any]:
    to_picture, to_caption = retrieval.vector_ranks(text[: pairs.true_texts], visual, pairs.matched)
    found: dict[str, Any] = {
        "caption_to_picture": retrieval.recall(to_picture),
        "picture_to_caption": retrieval.recall(to_caption),
    }
    # captions of one picture are not independent, so the pictures are what is counted for both directions
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
        "caption_to_picture": (draw(pairs.matched[:, 0].unique(), limit, chance), text, visual, pairs.matched),
        "picture_to_caption": (draw(pairs.matched[:, 1].unique(), limit, chance), visual, text, pairs.matched.flip(1)),
    }
    candidates = {
        way: retrieval.top_candidates(source[queries] @ target.T, top)
        for way, (queries, source, target, _) in ways.items()
    }
    wanted = []
    for way, (queries, *_) in ways.items():
        asked = torch.stack([queries[:, None].expand_as(candidates[way]), candidates[way]], -1).reshape(-1, 2)
        wanted.append(asked if way == "caption_to_picture" else asked.flip(1))
    scores = match(torch.cat(wanted)).split([len(asked) for asked in wanted])
    result: dict[str, Any] = {
        "top": top,
        "captions": len(ways["caption_to_picture"][0]),
        "pictures": len(ways["picture_to_caption"][0]),
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
