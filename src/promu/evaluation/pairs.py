"""Evaluation of a pre-trained model on caption pairs: retrieval both ways, matching, re-ranking, losses."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import Any, Literal, TypedDict

import torch

from promu.corpora.captions import read_captions
from promu.corpora.shards import PairShards
from promu.errors import InputError
from promu.evaluation import retrieval
from promu.evaluation.agreement import Agreement
from promu.evaluation.pair_corpus import PairCorpus, PairFolder, PairTable, pair_numbers, read_pairs
from promu.evaluation.pretrained import (
    EncodedImages,
    evaluating,
    image_vectors,
    match_scores,
    open_pair_model,
    text_vectors,
)
from promu.modeling.inputs import WordEncoder
from promu.modeling.losses import JointLoss
from promu.modeling.pretraining import PromuForPreTraining
from promu.schema import MissingPairImage

AUC_PAIRS = 2000
"""Pairs of each kind for an AUC, at most."""
RERANKED = 500
"""Captions, and images, whose best answers are re-ranked, at most."""


Way = Literal["caption_to_image", "image_to_caption"]
WAYS: tuple[Way, Way] = ("caption_to_image", "image_to_caption")


class BothWays(TypedDict):
    """Percent at 1, 5 and 10 (recall), or points (its standard error), in both directions."""

    caption_to_image: retrieval.Recall
    image_to_caption: retrieval.Recall


class RecallScores(BothWays):
    """Recall with its standard error over the images."""

    standard_error: BothWays


class AucScores(TypedDict):
    """ROC-AUC of matched pairs against `falsified` and against `random` ones, by each judge.

    `pairs` is the number of pairs of each kind. A judge that the model lacks is None; so is a figure without pairs.
    """

    pairs: dict[str, int]
    cosine: dict[str, float | None] | None
    itm: dict[str, float | None] | None


class RerankScores(TypedDict):
    """Recall of the `top` best answers in three orders, over the same queries.

    `before` is the order of the shared space, `after` that of the ITM head. `summed` is the order of the head's log
    odds plus L_CIT's logit (cosine over temperature).
    """

    top: int
    captions: int
    images: int
    before: BothWays
    after: BothWays
    summed: BothWays


class PairScores(TypedDict):
    """Scores of a model on caption pairs. A score that the model or the corpus cannot have is None.

    Attributes:
        pairs: Number of `matched` and `falsified` pairs.
        captions: Number of distinct matched captions.
        recall: Over distinct matched captions, and over images that have one.
        auc: By the cosine and by the ITM head, on the same pairs.
    """

    pairs: dict[str, int]
    images: int
    captions: int
    seed: int
    recall: RecallScores | None
    auc: AucScores
    rerank: RerankScores | None


class PairReport(PairScores):
    """The scores of `evaluate_pairs`, and what was skipped or made on the way."""

    skipped_images: int
    skipped_pairs: int
    falsified_made: int


def evaluate_pairs(
    model: str | Path,
    *,
    captions: Path | None = None,
    images: Path | None = None,
    corpus: Path | None = None,
    missing_images: MissingPairImage = "raise",
    seed: int = 0,
    rerank: int = 20,
    batch_size: int = 64,
) -> PairReport:
    """Evaluate a saved pre-trained model on caption pairs.

    The pairs come from a file of captions and a folder of images, or from a corpus. If no caption of the file is
    falsified, falsified ones are made: near in meaning, of another image.

    Args:
        model: Model folder of pre-training, or of its teacher.
        captions, images: CSV (image,caption) or JSON lines, and the folder of their images.
        corpus: Folder of a corpus, instead of captions and images.
        missing_images: What a missing or broken image does: raise, or have its pairs skipped and counted.
        seed: Seed of the falsified captions, and of the pairs drawn where there are more than are used.
        rerank: Number of best answers of a query that are re-ranked; 0 leaves that out.
        batch_size: Pairs in a forward pass.

    Raises:
        InputError: The options do not fit together, a file cannot be used, or as `measure_pairs`.
    """
    if (corpus is None) == (captions is None and images is None) or (captions is None) != (images is None):
        raise InputError("give either captions= and images=, or corpus=")
    if images is not None and not images.is_dir():
        raise InputError("no such folder of images; correct images=", images)
    for option, value, least in (("batch_size=", batch_size, 1), ("rerank=", rerank, 0)):
        if value < least:
            raise InputError(f"{option} is {value}; at least {least} is needed")
    loaded, encoder = open_pair_model(model)
    skipped_images = skipped_pairs = made = 0
    source: PairCorpus
    if captions is not None and images is not None:
        source = folder = PairFolder(read_captions(captions), images, missing_images, seed)
        skipped_images, skipped_pairs, made = len(folder.skipped), folder.skipped_pairs, folder.made
    else:
        assert corpus is not None
        source = PairShards(corpus)
    scores = measure_pairs(encoder, EncodedImages(loaded, source), seed=seed, batch_size=batch_size, rerank=rerank)
    return {**scores, "skipped_images": skipped_images, "skipped_pairs": skipped_pairs, "falsified_made": made}


def auc_sets(pairs: PairTable, limit: int, rng: torch.Generator) -> dict[str, torch.Tensor]:
    """At most `limit` pairs of each kind: matched, falsified by the corpus, and with a random other caption."""
    matched = _sample(pairs.matched, limit, rng)
    return {
        "matched": matched,
        "falsified": _sample(pairs.falsified, limit, rng),
        "random": _random_pairs(matched[:, 1], pairs, rng),
    }


def _sample(items: torch.Tensor, limit: int, rng: torch.Generator) -> torch.Tensor:
    """At most `limit` of the items, drawn without replacement, in their order."""
    return items[torch.randperm(len(items), generator=rng)[:limit].sort().values]


def _random_pairs(images: torch.Tensor, pairs: PairTable, rng: torch.Generator) -> torch.Tensor:
    """Each image with a random matched caption of another image; an image that has all captions is left out."""
    own = _answers(pairs.matched.flip(1))
    drawn = []
    for image in images.tolist():
        if len(own[image]) == pairs.matched_texts:
            continue
        caption = next(iter(own[image]))
        while caption in own[image]:
            caption = int(torch.randint(pairs.matched_texts, (), generator=rng))
        drawn.append((caption, image))
    return pair_numbers(drawn)


def _answers(truth: torch.Tensor) -> dict[int, set[int]]:
    """The right answers of each query, from (N, 2) pairs of a query and an answer."""
    answers: dict[int, set[int]] = {}
    for query, answer in truth.tolist():
        answers.setdefault(query, set()).add(answer)
    return answers


def measure_pairs(
    encoder: WordEncoder,
    images: EncodedImages,
    *,
    seed: int = 0,
    batch_size: int = 64,
    rerank: int = 20,
    auc_pairs: int = AUC_PAIRS,
    reranked: int = RERANKED,
) -> PairScores:
    """Measure how well a pre-trained model tells which caption belongs to which image.

    Each distinct image and caption is encoded once.

    Args:
        encoder: The model's tokenizer.
        images: The images of the corpus and the model, which is put into evaluation mode meanwhile.
        seed: Seed of the drawn pairs, queries and random captions.
        batch_size: Pairs in a forward pass.
        rerank: Number of best answers of a query that the ITM head orders; 0 leaves that out.
        auc_pairs: Pairs of each kind for the AUCs, at most.
        reranked: Captions, and images, that are re-ranked, at most.

    Raises:
        InputError: The corpus has no matched pair, an image is damaged, or the model's vectors are not finite.
    """
    model = images.model
    pairs = read_pairs(images.corpus)
    texts = [encoder.text(text) for text in pairs.texts]
    rng = torch.Generator().manual_seed(seed)
    vectors = None
    if hasattr(model, "space"):
        vectors = (text_vectors(model, encoder, texts, batch_size), image_vectors(model, images, batch_size))
        _require_finite(*vectors)
    recall = None if vectors is None else _recall(*vectors, pairs)
    judge = model if isinstance(model, PromuForPreTraining) and hasattr(model, "itm_head") else None
    sets = auc_sets(pairs, auc_pairs, rng)
    every = torch.cat(list(sets.values()))

    def match(wanted: torch.Tensor, stage: str) -> torch.Tensor:
        assert judge is not None
        return match_scores(judge, encoder, images, texts, wanted, batch_size, stage)

    auc: AucScores = {
        "pairs": {name: len(rows) for name, rows in sets.items()},
        "cosine": None if vectors is None else _aucs(sets, (vectors[0][every[:, 0]] * vectors[1][every[:, 1]]).sum(-1)),
        "itm": None if judge is None else _aucs(sets, match(every, "matching")),
    }
    after = None
    if vectors is not None and judge is not None and rerank:
        temperature = model.space.temperature.item()
        after = _rerank(*vectors, temperature, pairs, rerank, reranked, rng, lambda wanted: match(wanted, "re-ranking"))
    return {
        "pairs": {"matched": len(pairs.matched), "falsified": len(pairs.falsified)},
        "images": images.corpus.images,
        "captions": pairs.matched_texts,
        "seed": seed,
        "recall": recall,
        "auc": auc,
        "rerank": after,
    }


def _require_finite(*vectors: torch.Tensor) -> None:
    for rows in vectors:
        broken = int((~rows.isfinite()).any(-1).sum())
        if broken:
            raise InputError(
                f"{broken} of {len(rows)} vectors of this model are no numbers; its training has diverged, "
                "train it again with a lower learning rate"
            )


def _recall(text: torch.Tensor, visual: torch.Tensor, pairs: PairTable) -> RecallScores:
    to_image, to_caption = retrieval.ranks(text[: pairs.matched_texts], visual, pairs.matched)
    recalls = {"caption_to_image": retrieval.recall(to_image), "image_to_caption": retrieval.recall(to_caption)}
    # captions of one image are not independent, so the images are counted for both directions
    errors = {
        way: {k: retrieval.standard_error(value, len(to_caption)) for k, value in recall.items()}
        for way, recall in recalls.items()
    }
    return {**recalls, "standard_error": errors}  # type: ignore[typeddict-item]


def _aucs(sets: Mapping[str, torch.Tensor], scores: torch.Tensor) -> dict[str, float | None]:
    """AUC of the matched pairs against each other kind; None if there is no pair of that kind."""
    parts = dict(zip(sets, scores.split([len(rows) for rows in sets.values()]), strict=True))
    matched = parts.pop("matched")
    labels = {name: [1] * len(matched) + [0] * len(other) for name, other in parts.items()}
    return {
        name: retrieval.roc_auc(torch.cat([matched, other]), labels[name]) if len(other) else None
        for name, other in parts.items()
    }


def _rerank(
    text: torch.Tensor,
    visual: torch.Tensor,
    temperature: float,
    pairs: PairTable,
    top: int,
    limit: int,
    rng: torch.Generator,
    match: Callable[[torch.Tensor], torch.Tensor],
) -> RerankScores:
    text = text[: pairs.matched_texts]
    ways = {
        "caption_to_image": (_sample(pairs.matched[:, 0].unique(), limit, rng), text, visual, pairs.matched),
        "image_to_caption": (_sample(pairs.matched[:, 1].unique(), limit, rng), visual, text, pairs.matched.flip(1)),
    }
    similarities = {way: source[queries] @ target.T for way, (queries, source, target, _) in ways.items()}
    candidates = {way: rows.float().topk(min(top, rows.shape[1])).indices for way, rows in similarities.items()}
    wanted = []
    for way, (queries, *_) in ways.items():
        rows = torch.stack([queries[:, None].expand_as(candidates[way]), candidates[way]], -1).reshape(-1, 2)
        wanted.append(rows if way == "caption_to_image" else rows.flip(1))
    scores = match(torch.cat(wanted)).split([len(rows) for rows in wanted])
    result: dict[str, Any] = {"before": {}, "after": {}, "summed": {}}
    for (way, (queries, _, _, truth)), odds in zip(ways.items(), scores, strict=True):
        right = _answers(truth)
        answers = [right[query] for query in queries.tolist()]
        ks = [k for k in retrieval.KS if k <= top]
        head = odds.reshape(candidates[way].shape)
        cosine = similarities[way].gather(1, candidates[way])
        for name, order in (("before", cosine), ("after", head), ("summed", head + cosine / temperature)):
            result[name][way] = retrieval.reranked_recall(candidates[way], order, answers, ks)
    captions, images = (len(queries) for queries, *_ in ways.values())
    return {"top": top, "captions": captions, "images": images, **result}  # type: ignore[typeddict-item]


def mean_losses(model: PromuForPreTraining, batches: Iterable[dict[str, torch.Tensor]]) -> dict[str, float]:
    """The mean of each unweighted loss over the rows of some batches, without augmentation."""
    loss = JointLoss.of(model)
    sums: dict[str, float] = {}
    rows = 0
    for batch in batches:  # made outside of autocast, which cannot stack half-precision rows on a CPU
        count = len(batch["input_ids"])
        with evaluating(model):
            batch = {name: value.to(model.device) for name, value in batch.items()}
            parts = loss.of_batch(model, batch)[1]
        for name, part in parts.items():
            sums[name] = sums.get(name, 0.0) + float(part) * count
        rows += count
    return {name: value / rows for name, value in sums.items()}


def flat_figures(
    scores: PairScores, agreement: Agreement | None = None, losses: Mapping[str, float] | None = None
) -> dict[str, float]:
    """All figures under one name each, for a log. What is None is left out.

    Names: `caption_to_image_r1`, `image_to_caption_r10`, `cosine_auc_falsified`, `itm_auc_random`,
    `reranked_caption_to_image_r1`, `entity_top1`, `relation_kl`, `loss_cit` and so on.
    """
    flat: dict[str, float | None] = {}
    for prefix, recall in (("", scores["recall"]), ("reranked_", scores["rerank"] and scores["rerank"]["after"])):
        if recall is not None:
            for way in WAYS:
                flat |= {f"{prefix}{way}_r{k}": value for k, value in recall[way].items()}
    for judge, aucs in (("cosine", scores["auc"]["cosine"]), ("itm", scores["auc"]["itm"])):
        flat |= {f"{judge}_auc_{against}": value for against, value in (aucs or {}).items()}
    if agreement is not None:
        for head, figures in (("entity", agreement["entity"]), ("relation", agreement["relation"])):
            if figures is not None:
                flat |= {f"{head}_{name}": figures[name] for name in ("top1", "top5", "kl")}
    flat |= {f"loss_{name}": value for name, value in (losses or {}).items()}
    return {name: value for name, value in flat.items() if value is not None}
