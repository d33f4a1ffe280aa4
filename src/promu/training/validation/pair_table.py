"""The pairs of a corpus by number, and the pairs and queries that are drawn from them for validation."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import torch

from promu.training.validation.pair_inference import PairCorpus


@dataclass(frozen=True)
class PairTable:
    """Distinct captions, those that belong to some picture first, and who belongs to whom.

    `matched` and `falsified` are (N, 2) pairs of a caption and a picture, each once.
    """

    texts: list[str]
    true_texts: int
    matched: torch.Tensor
    falsified: torch.Tensor


def read_pairs(corpus: PairCorpus) -> PairTable:
    """Number the distinct captions of a corpus, those that belong to some picture first."""
    true: dict[str, int] = {}
    false: list[tuple[str, int]] = []
    matched: dict[tuple[int, int], None] = {}
    for index, picture in enumerate(corpus.captions()):
        for text, belongs in picture.captions:
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


def _random_pairs(pictures: torch.Tensor, pairs: PairTable, chance: torch.Generator) -> torch.Tensor:
    """Each of these pictures with a uniformly random matched caption of another; a picture that has all is left out."""
    own: dict[int, set[int]] = {}
    for caption, picture in pairs.matched.tolist():
        own.setdefault(picture, set()).add(caption)
    drawn = []
    for picture in pictures.tolist():
        if len(own[picture]) == pairs.true_texts:
            continue
        caption = next(iter(own[picture]))
        while caption in own[picture]:
            caption = int(torch.randint(pairs.true_texts, (), generator=chance))
        drawn.append((caption, picture))
    return _numbers(drawn)


def answers(queries: torch.Tensor, truth: torch.Tensor) -> Sequence[frozenset[int]]:
    """The right answers of each query, from (N, 2) pairs of a query and an answer."""
    found: dict[int, set[int]] = {}
    for query, answer in truth.tolist():
        found.setdefault(query, set()).add(answer)
    return [frozenset(found[query]) for query in queries.tolist()]
