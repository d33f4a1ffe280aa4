"""Recall, AUC and re-ranking against brute force, scikit-learn and hand-worked numbers."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from sklearn.metrics import roc_auc_score

from promu.errors import InputError
from promu.evaluation import retrieval
from promu.evaluation.retrieval import KS, Recall, ranks, reranked_recall, roc_auc, standard_error


def matrix_ranks(similarity: torch.Tensor, truth: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """Ranks both ways from a whole matrix of similarities: its rows as vectors, and each image as a unit vector."""
    return ranks(similarity, torch.eye(similarity.shape[1]), truth)


def recall_at(similarity: torch.Tensor, image_of_caption: Sequence[int], ks: Sequence[int] = KS) -> dict[str, Recall]:
    """Recall both ways from a whole matrix of similarities and the image of each caption."""
    truth = torch.tensor(list(enumerate(image_of_caption)), dtype=torch.long).reshape(-1, 2)
    to_image, to_caption = matrix_ranks(similarity, truth)
    return {
        "caption_to_image": retrieval.recall(to_image, ks),
        "image_to_caption": retrieval.recall(to_caption, ks),
    }


def test_hand_worked() -> None:
    # three captions, two images; captions 0 and 1 belong to image 0
    similarity = torch.tensor([[0.9, 0.1], [0.2, 0.3], [0.8, 0.7]])
    found = recall_at(similarity, [0, 0, 1], ks=(1, 2, 3))
    assert found["caption_to_image"] == pytest.approx({1: 100 / 3, 2: 100.0, 3: 100.0})
    # image 0 finds caption 0 first; image 1 finds caption 2 first
    assert found["image_to_caption"] == {1: 100.0, 2: 100.0, 3: 100.0}


def test_a_model_that_cannot_tell_finds_nothing() -> None:
    for value in (0.5, math.nan):
        found = recall_at(torch.full((40, 20), value), [row // 2 for row in range(40)])
        assert found == {"caption_to_image": {1: 0, 5: 0, 10: 0}, "image_to_caption": {1: 0, 5: 0, 10: 0}}


def test_one_broken_row_does_not_spoil_the_others() -> None:
    similarity = torch.eye(3)
    similarity[1] = math.nan
    assert recall_at(similarity, [0, 1, 2], ks=(1,))["caption_to_image"][1] == pytest.approx(200 / 3)


def brute(similarity: np.ndarray, pairs: set[tuple[int, int]], k: int) -> tuple[float, float]:
    """Recall both ways by sorting, wrong answers before right ones of the same score."""

    def one_way(scores: np.ndarray, right: dict[int, set[int]]) -> float:
        hits = 0
        for query, answers in right.items():
            order = sorted(range(scores.shape[1]), key=lambda a: (-scores[query, a], a in answers))
            hits += any(answer in answers for answer in order[:k])
        return 100 * hits / len(right)

    of_caption: dict[int, set[int]] = {}
    of_image: dict[int, set[int]] = {}
    for caption, image in pairs:
        of_caption.setdefault(caption, set()).add(image)
        of_image.setdefault(image, set()).add(caption)
    return one_way(similarity, of_caption), one_way(similarity.T, of_image)


@given(st.data())
def test_any_pairs_in_any_blocks_equal_brute_force(data: st.DataObject) -> None:
    captions, images = data.draw(st.integers(1, 9)), data.draw(st.integers(1, 6))
    pairs = data.draw(
        st.sets(st.tuples(st.integers(0, captions - 1), st.integers(0, images - 1)), min_size=1, max_size=20)
    )
    # few values, so that ties are common
    values = data.draw(st.lists(st.integers(0, 3), min_size=captions * images, max_size=captions * images))
    similarity = torch.tensor(values, dtype=torch.float32).reshape(captions, images)
    truth = torch.tensor(data.draw(st.permutations(sorted(pairs))))
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(retrieval, "BLOCK", data.draw(st.integers(1, 30)))
        to_image, to_caption = matrix_ranks(similarity, truth)
    for k in (1, 2, 4):
        expected = brute(similarity.numpy(), pairs, k)
        assert retrieval.recall(to_image, [k])[k] == pytest.approx(expected[0])
        assert retrieval.recall(to_caption, [k])[k] == pytest.approx(expected[1])


def test_vectors_give_the_ranks_of_their_matrix(monkeypatch: pytest.MonkeyPatch) -> None:
    chance = torch.Generator().manual_seed(0)
    text, visual = torch.randn(60, 8, generator=chance), torch.randn(20, 8, generator=chance)
    truth = torch.stack([torch.arange(60), torch.arange(60) // 3], -1)
    matrix = text @ visual.T
    whole = matrix_ranks(matrix, truth)
    monkeypatch.setattr(retrieval, "BLOCK", 100)
    for found, expected in zip(ranks(text, visual, truth), whole, strict=True):
        assert torch.equal(found, expected)
    assert recall_at(matrix, truth[:, 1].tolist())["caption_to_image"] == retrieval.recall(whole[0])


def test_no_matched_pair_is_said() -> None:
    with pytest.raises(InputError, match="at least one matched pair"):
        recall_at(torch.zeros(0, 3), [])


@given(st.lists(st.tuples(st.integers(-3, 3), st.booleans()), min_size=2, max_size=40))
def test_auc_equals_scikit_learn_with_ties(pairs: list[tuple[int, bool]]) -> None:
    scores, labels = [float(score) for score, _ in pairs], [int(label) for _, label in pairs]
    if len(set(labels)) == 1:
        with pytest.raises(InputError, match=r"both kinds; there are \d+ matched and \d+ falsified"):
            roc_auc(scores, labels)
    else:
        assert roc_auc(scores, labels) == pytest.approx(roc_auc_score(labels, scores))


def test_auc_of_what_is_no_number() -> None:
    with pytest.raises(InputError, match="1 of 2 scores are no numbers"):
        roc_auc([math.nan, 1.0], [1, 0])


def test_reranking_moves_the_right_answer_up_and_keeps_ties() -> None:
    candidates = torch.tensor([[0, 1, 2], [2, 3, 1]])
    before = torch.tensor([[0.9, 0.8, 0.7], [0.9, 0.8, 0.2]])
    right = [frozenset({2}), frozenset({0})]  # the second query's answer is no candidate
    assert reranked_recall(candidates, before, right, (1, 3)) == {1: 0.0, 3: 50.0}
    better = torch.tensor([[0.0, 1.0, 2.0], [5.0, 5.0, 5.0]])
    assert reranked_recall(candidates, better, right, (1, 3)) == {1: 50.0, 3: 50.0}
    assert reranked_recall(candidates, better, [frozenset({0}), frozenset({2})], (1, 3)) == {1: 50.0, 3: 100.0}


def test_fewer_candidates_than_k_still_miss() -> None:
    assert reranked_recall(torch.tensor([[0, 1]]), torch.zeros(1, 2), [frozenset({5})], (1, 10)) == {1: 0.0, 10: 0.0}


def test_standard_error() -> None:
    assert standard_error(50.0, 100) == pytest.approx(5.0)
    assert standard_error(14.0, 1000) == pytest.approx(1.1, abs=0.05)
    assert standard_error(0.0, 10) == 0.0
