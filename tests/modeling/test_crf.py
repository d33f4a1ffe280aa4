"""The CRF against pytorch-crf, against brute force, and on the sequences a user may bring."""

from __future__ import annotations

import itertools
from collections.abc import Sequence

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torchcrf import CRF

from promu.errors import InputError
from promu.modeling.chain import FORBIDDEN, bio_labels, legal_transitions
from promu.modeling.crf import LinearChainCrf

ALL_LEGAL = ["O", "B-a", "B-b", "B-c"]
BIO = bio_labels(["PER", "LOC"])


def random_crf(labels: Sequence[str], seed: int) -> LinearChainCrf:
    crf = LinearChainCrf(labels)
    chance = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for parameter in crf.parameters():
            parameter.copy_(torch.randn(parameter.shape, generator=chance))
    return crf


def oracle_of(crf: LinearChainCrf) -> CRF:
    """pytorch-crf with the same scores; what is forbidden here scores -1e4 there."""
    oracle = CRF(len(crf.labels), batch_first=True)
    start, follows = map(torch.from_numpy, legal_transitions(crf.labels))
    with torch.no_grad():
        oracle.start_transitions.copy_(crf.start.masked_fill(~start, -1e4))
        oracle.transitions.copy_(crf.transitions.masked_fill(~follows, -1e4))
        oracle.end_transitions.copy_(crf.end)
    return oracle


def decode(crf: LinearChainCrf, emissions: torch.Tensor, mask: torch.Tensor) -> list[list[int]]:
    return crf.weights().decode(emissions.detach().numpy(), mask.numpy())


def marginals(crf: LinearChainCrf, emissions: torch.Tensor, mask: torch.Tensor) -> torch.Tensor:
    return torch.from_numpy(crf.weights().marginals(emissions.detach().numpy(), mask.numpy()))


def lengths_mask(lengths: Sequence[int]) -> torch.Tensor:
    return (torch.arange(max(1, *lengths))[None, :] < torch.tensor(lengths)[:, None]).long()


def is_legal(labels: Sequence[str], path: Sequence[int]) -> bool:
    before = "O"
    for index in path:
        label = labels[index]
        if label.startswith("I-") and before[2:] != label[2:]:
            return False
        before = label
    return True


def path_scores(crf: LinearChainCrf, emissions: torch.Tensor) -> dict[tuple[int, ...], float]:
    """Score of every legal path of emissions (W, C), one by one in double precision."""
    start, move, end = (scores.detach().double() for scores in (crf.start, crf.transitions, crf.end))
    scores = {}
    for path in itertools.product(range(len(crf.labels)), repeat=len(emissions)):
        if is_legal(crf.labels, path):
            score = start[path[0]] + end[path[-1]]
            score += sum(emissions[word, label].double() for word, label in enumerate(path))
            score += sum(move[before, after] for before, after in itertools.pairwise(path))
            scores[path] = float(score)
    return scores


@pytest.mark.parametrize("labels", [ALL_LEGAL, BIO], ids=["all transitions legal", "BIO"])
def test_loss_gradients_and_viterbi_equal_pytorch_crf(labels: list[str]) -> None:
    crf = random_crf(labels, seed=1)
    oracle = oracle_of(crf)
    mask = lengths_mask([6, 4, 1, 5, 2])
    emissions = torch.randn(5, 6, len(labels), generator=torch.Generator().manual_seed(2)).mul_(2).requires_grad_()
    ours_emissions = emissions.detach().clone().requires_grad_()
    gold = torch.zeros(5, 6, dtype=torch.long)
    gold[0, :3] = torch.tensor([1, 2, 2]) if labels is BIO else torch.tensor([3, 2, 1])
    gold[3, 4] = 3

    loss = crf(ours_emissions, gold, mask)
    expected = -oracle(emissions, gold, mask.bool(), reduction="none")
    torch.testing.assert_close(loss, expected, rtol=1e-5, atol=1e-4)
    loss.mean().backward()
    expected.mean().backward()
    torch.testing.assert_close(ours_emissions.grad, emissions.grad, rtol=1e-4, atol=1e-6)
    start, follows = map(torch.from_numpy, legal_transitions(labels))
    for mine, theirs, legal in (
        (crf.start, oracle.start_transitions, start),
        (crf.transitions, oracle.transitions, follows),
        (crf.end, oracle.end_transitions, torch.ones_like(start)),
    ):
        assert mine.grad is not None
        torch.testing.assert_close(mine.grad, theirs.grad * legal, rtol=1e-4, atol=1e-6)
    assert decode(crf, emissions, mask) == oracle.decode(emissions, mask.bool())


@settings(max_examples=25)
@given(words=st.integers(1, 4), kinds=st.integers(1, 2), seed=st.integers(0, 10_000))
def test_everything_equals_brute_force(words: int, kinds: int, seed: int) -> None:
    labels = bio_labels(["PER", "LOC"][:kinds])
    crf = random_crf(labels, seed)
    emissions = torch.randn(words, len(labels), generator=torch.Generator().manual_seed(seed + 1)) * 2
    scores = path_scores(crf, emissions)
    total = torch.logsumexp(torch.tensor(list(scores.values())), 0)
    best = max(scores, key=scores.__getitem__)
    mask = torch.ones(1, words, dtype=torch.long)

    assert decode(crf, emissions[None], mask) == [list(best)]
    gold = list(scores)[seed % len(scores)]
    torch.testing.assert_close(
        crf(emissions[None], torch.tensor([gold]), mask)[0], (total - scores[gold]).float(), rtol=1e-4, atol=1e-4
    )
    expected = torch.zeros(words, len(labels), dtype=torch.float64)
    for path, score in scores.items():
        for word, label in enumerate(path):
            expected[word, label] += (score - total.double()).exp()
    found = marginals(crf, emissions[None], mask)[0]
    torch.testing.assert_close(found.double(), expected, rtol=1e-4, atol=1e-5)
    torch.testing.assert_close(found.sum(-1), torch.ones(words), rtol=1e-5, atol=1e-5)


@settings(max_examples=40)
@given(seed=st.integers(0, 10_000), scale=st.sampled_from([0.1, 3.0, 100.0]))
def test_an_inside_label_never_comes_without_its_begin(seed: int, scale: float) -> None:
    crf = random_crf(BIO, seed)
    emissions = torch.randn(3, 7, len(BIO), generator=torch.Generator().manual_seed(seed)) * scale
    # what a careless tagger would like best: I- everywhere
    emissions[..., [BIO.index("I-PER"), BIO.index("I-LOC")]] += scale
    for path in decode(crf, emissions, lengths_mask([7, 3, 1])):
        assert is_legal(BIO, path)


def test_padding_changes_nothing() -> None:
    crf = random_crf(BIO, 3)
    emissions = torch.randn(2, 3, len(BIO))
    gold = torch.tensor([[1, 2, 0], [3, 4, 4]])
    wide = torch.cat([emissions, torch.full((2, 4, len(BIO)), 50.0)], 1)
    wide_gold = torch.cat([gold, torch.full((2, 4), -100)], 1)
    narrow_mask, wide_mask = lengths_mask([3, 3]), torch.cat([lengths_mask([3, 3]), torch.zeros(2, 4).long()], 1)
    torch.testing.assert_close(crf(wide, wide_gold, wide_mask), crf(emissions, gold, narrow_mask))
    assert decode(crf, wide, wide_mask) == decode(crf, emissions, narrow_mask)
    found = marginals(crf, wide, wide_mask)
    torch.testing.assert_close(found[:, :3], marginals(crf, emissions, narrow_mask))
    assert not found[:, 3:].any()


def test_a_text_without_words_costs_nothing_and_gets_no_label() -> None:
    crf = random_crf(BIO, 4)
    emissions = torch.randn(2, 3, len(BIO), requires_grad=True)
    mask = lengths_mask([0, 3])
    loss = crf(emissions, torch.zeros(2, 3, dtype=torch.long), mask)
    assert loss[0] == 0 and loss[1] > 0
    loss.sum().backward()
    assert emissions.grad is not None and not emissions.grad[0].any()
    paths = decode(crf, emissions, mask)
    assert paths[0] == [] and len(paths[1]) == 3
    assert not marginals(crf, emissions, mask)[0].any()


def test_an_illegal_gold_path_keeps_loss_and_gradients_finite() -> None:
    crf = random_crf(BIO, 5)
    emissions = (torch.randn(1, 3, len(BIO)) * 20).requires_grad_()
    loss = crf(emissions, torch.tensor([[0, 2, 4]]), lengths_mask([3]))
    loss.sum().backward()
    assert -2.5 * FORBIDDEN > loss.item() > -1.5 * FORBIDDEN
    for tensor in (emissions, *crf.parameters()):
        assert tensor.grad is not None and tensor.grad.isfinite().all()


def test_sums_stay_in_fp32_inside_bf16_autocast() -> None:
    crf = random_crf(BIO, 6)
    # 60 words: sums in bf16 would be off by whole units
    emissions = torch.randn(2, 60, len(BIO)) * 3
    mask = lengths_mask([60, 41])
    gold = torch.zeros(2, 60, dtype=torch.long)
    expected = crf(emissions, gold, mask)
    paths, found = decode(crf, emissions, mask), marginals(crf, emissions, mask)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        loss = crf(emissions, gold, mask)
        assert loss.dtype == torch.float32
        torch.testing.assert_close(loss, expected)
        assert decode(crf, emissions, mask) == paths
        torch.testing.assert_close(marginals(crf, emissions, mask), found)
        # emissions that a bf16 layer made are summed in fp32 too
        half = emissions.bfloat16()
        torch.testing.assert_close(crf(half, gold, mask), crf(half.float(), gold, mask), rtol=0, atol=0)


def test_legal_transitions_by_hand() -> None:
    start, follows = legal_transitions(["O", "B-PER", "I-PER", "I-LOC"])
    assert start.tolist() == [True, True, False, False]
    assert follows.tolist() == [
        [True, True, False, False],
        [True, True, True, False],
        [True, True, True, False],
        [True, True, False, True],
    ]


def test_labels_that_are_not_bio_are_refused_by_name() -> None:
    with pytest.raises(InputError, match="label 'S-PER' is not in BIO form; use O, B-<type> and I-<type>"):
        LinearChainCrf(["O", "S-PER"])


def test_it_learns_transitions() -> None:
    """Emissions that say nothing: only the transitions can tell that B-PER is always followed by I-PER."""
    crf = LinearChainCrf(BIO)
    gold = torch.tensor([[0, 1, 2, 0]])
    mask, emissions = lengths_mask([4]), torch.zeros(1, 4, len(BIO))
    optimiser = torch.optim.Adam(crf.parameters(), lr=0.1)
    for _ in range(100):
        optimiser.zero_grad()
        crf(emissions, gold, mask).mean().backward()
        optimiser.step()
    assert decode(crf, emissions, mask) == gold.tolist()


@settings(max_examples=30, deadline=None)
@given(
    seed=st.integers(0, 10_000),
    lengths=st.lists(st.integers(1, 23), min_size=1, max_size=6),
    # the range of one chain at which sums of weights give way to sums in log space lies between 5 and 60
    scale=st.sampled_from([0.1, 1.0, 5.0, 15.0, 60.0, 300.0]),
    sharpness=st.sampled_from([0.1, 1.0, 15.0]),
)
def test_ragged_batches_of_any_range_equal_pytorch_crf(
    seed: int, lengths: list[int], scale: float, sharpness: float
) -> None:
    crf = random_crf(BIO, seed)
    with torch.no_grad():
        for parameter in crf.parameters():
            parameter.mul_(sharpness)
    oracle = oracle_of(crf).double()
    mask = lengths_mask(lengths)
    chance = torch.Generator().manual_seed(seed)
    emissions = torch.randn(*mask.shape, len(BIO), generator=chance).mul_(scale).requires_grad_()
    theirs = emissions.detach().double().requires_grad_()
    gold = torch.randint(0, 2, mask.shape, generator=chance)
    rates = torch.rand(len(lengths), generator=chance) + 0.1

    loss = crf(emissions, gold, mask)
    expected = -oracle(theirs, gold, mask.bool(), reduction="none")
    torch.testing.assert_close(loss.double(), expected, rtol=1e-5, atol=1e-5 * max(1.0, scale))
    mine = torch.autograd.grad((loss * rates).sum(), [emissions, crf.start, crf.transitions, crf.end])
    # a batch of single words has no move, so that pytorch-crf has no gradient for them
    others = torch.autograd.grad(
        (expected * rates.double()).sum(),
        [theirs, oracle.start_transitions, oracle.transitions, oracle.end_transitions],
        materialize_grads=True,
    )
    start, follows = map(torch.from_numpy, legal_transitions(BIO))
    one = torch.ones(1)
    for gradient, other, legal in zip(mine, others, (one, start, follows, one), strict=True):
        torch.testing.assert_close(gradient.double(), other * legal, rtol=1e-4, atol=1e-5)
    assert decode(crf, emissions, mask) == oracle.decode(theirs, mask.bool())
    # log Z changes with an emission as often as its label is expected
    gold_score = torch.nn.functional.one_hot(gold, len(BIO)) * mask[..., None]
    expected_marginals = others[0] / rates.double()[:, None, None] + gold_score
    torch.testing.assert_close(marginals(crf, emissions, mask).double(), expected_marginals, rtol=1e-3, atol=1e-3)


@pytest.mark.parametrize("range_of_scores", [5.0, 500.0], ids=["narrow", "wide"])
def test_a_label_out_of_reach_a_word_ago_may_win_the_next(range_of_scores: float) -> None:
    """B-PER is hopeless at the first word, yet I-PER at the second is worth it: nothing may be rounded to 0 between."""
    crf = LinearChainCrf(BIO)
    begin, inside = BIO.index("B-PER"), BIO.index("I-PER")
    emissions = torch.zeros(1, 2, len(BIO))
    emissions[0, 0, begin] = -range_of_scores
    emissions[0, 1, inside] = 2 * range_of_scores
    mask = lengths_mask([2])
    assert decode(crf, emissions, mask) == [[begin, inside]]
    scores = path_scores(crf, emissions[0])
    total = torch.logsumexp(torch.tensor(list(scores.values()), dtype=torch.float64), 0)
    loss = crf(emissions, torch.tensor([[begin, inside]]), mask)
    torch.testing.assert_close(loss[0].double(), total - range_of_scores, rtol=1e-5, atol=1e-6)
    torch.testing.assert_close(
        marginals(crf, emissions, mask)[0, 0, begin].double(),
        torch.tensor([score - total for path, score in scores.items() if path[0] == begin]).exp().sum().double(),
        rtol=1e-5,
        atol=1e-6,
    )


def test_emissions_that_are_not_numbers_give_a_loss_that_is_none() -> None:
    crf = random_crf(BIO, 7)
    emissions = torch.randn(2, 4, len(BIO))
    emissions[0, 1, 2] = float("nan")
    loss = crf(emissions, torch.zeros(2, 4, dtype=torch.long), lengths_mask([4, 3]))
    assert loss[0].isnan() and loss[1].isfinite()


def test_loss_and_marginals_in_inference_mode() -> None:
    crf = random_crf(BIO, 8)
    emissions, mask = torch.randn(2, 4, len(BIO)), lengths_mask([4, 2])
    gold = torch.zeros(2, 4, dtype=torch.long)
    for scale in (1.0, 1000.0):
        expected = crf(emissions * scale, gold, mask).detach(), marginals(crf, emissions * scale, mask)
        with torch.inference_mode():
            torch.testing.assert_close(crf(emissions * scale, gold, mask), expected[0])
            torch.testing.assert_close(marginals(crf, emissions * scale, mask), expected[1])
