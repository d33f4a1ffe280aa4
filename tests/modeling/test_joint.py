"""The joint model: spans, candidates, pairs, loss."""

from __future__ import annotations

import itertools
import math
from collections.abc import Sequence
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from tests.conftest import TINY_TEXT, TINY_VISION

from promu.errors import InputError
from promu.modeling.configuration import PromuConfig
from promu.modeling.crf import LinearChainCrf, bio_labels
from promu.modeling.generation.inventory import Inventory
from promu.modeling.joint import (
    ALIKE,
    FEWEST,
    LONGEST,
    PairRelater,
    PromuForJointExtraction,
    choose_candidates,
    gold_labels,
    inventory_of,
    mean_between,
    span_gains,
    span_margins,
    touching_gains,
    triple_label,
)
from promu.modeling.joint_decoding import decode
from promu.training.setup import encoder_config

LABELS = ["/org/org/part_of", "/per/org/member_of", "/per/per/peer"]
ORG, PER = 0, 1
MEMBER, PART, PEER = 0, 1, 2


def model(pictures: bool = False, **settings: Any) -> PromuForJointExtraction:
    torch.manual_seed(3)
    text = encoder_config(TINY_TEXT, vocab_size=60)
    vision = encoder_config(TINY_VISION) if pictures else None
    return PromuForJointExtraction(
        PromuConfig(text_config=text, vision_config=vision, id2label=dict(enumerate(LABELS)), **settings)
    ).eval()


def texts(*lengths: int) -> dict[str, torch.Tensor]:
    """Posts of so many words of one piece each, padded."""
    longest = max(lengths)
    generator = torch.Generator().manual_seed(5)
    ids = torch.randint(5, 60, (len(lengths), longest + 2), generator=generator)
    words = torch.arange(longest).expand(len(lengths), -1)
    counts = torch.tensor(lengths)[:, None]
    return {
        "input_ids": ids,
        "attention_mask": (torch.arange(longest + 2) < counts + 2).long(),
        "word_index": torch.where(words < counts, words + 1, 0),
        "word_mask": (words < counts).long(),
    }


def test_labels_are_triples() -> None:
    inventory = inventory_of(LABELS)
    assert inventory.types == ("org", "per") and inventory.relations == ("member_of", "part_of", "peer")
    assert inventory.between[("per", "org")] == ("member_of",)
    assert inventory_of([triple_label("per", "born/died in", "loc")]).triples == (("per", "born/died in", "loc"),)
    with pytest.raises(InputError, match="label 'peer' names no head type, tail type and relation"):
        inventory_of(["peer"])
    with pytest.raises(InputError, match="entity type 'a/b' holds a slash"):
        triple_label("a/b", "peer", "per")


def crf_of(types: int, seed: int) -> LinearChainCrf:
    crf = LinearChainCrf(bio_labels([f"t{number}" for number in range(types)]))
    generator = torch.Generator().manual_seed(seed)
    for weights in crf.parameters():
        weights.data = torch.randn(weights.shape, generator=generator)
    return crf


@torch.no_grad()
def path_score(crf: LinearChainCrf, emissions: torch.Tensor, labels: list[int]) -> float:
    moves = sum(float(crf.transitions[one, other]) for one, other in pairwise(labels))
    emitted = sum(float(emissions[word, label]) for word, label in enumerate(labels))
    return float(crf.start[labels[0]]) + moves + emitted + float(crf.end[labels[-1]])


def path_of(entities: list[tuple[int, int, int]], words: int) -> list[int]:
    labels = [0] * words
    for start, end, kind in entities:
        labels[start:end] = [2 * kind + 1, *[2 * kind + 2] * (end - start - 1)]
    return labels


def test_what_an_entity_gains_is_the_difference_of_two_paths() -> None:
    crf, mask = crf_of(2, 1), torch.tensor([[1] * 7, [1] * 4 + [0] * 3])
    emissions = torch.randn(2, 7, 5)
    grid = span_gains(emissions, crf, mask).detach()
    assert grid.shape == (2, 7, LONGEST, 2)
    for row, words in enumerate((7, 4)):
        nothing = path_score(crf, emissions[row], [0] * words)
        for start, end, kind in itertools.product(range(7), range(1, 8), range(2)):
            if start < end <= words:
                alone = path_score(crf, emissions[row], path_of([(start, end, kind)], words))
                assert float(grid[row, start, end - start - 1, kind]) == pytest.approx(alone - nothing, abs=1e-4)
            elif start < end:
                assert grid[row, start, end - start - 1, kind] == -math.inf


@settings(max_examples=40)
@given(seed=st.integers(0, 10_000), words=st.integers(1, 5), types=st.integers(1, 3))
def test_without_relations_the_best_answer_is_the_crfs_path(seed: int, words: int, types: int) -> None:
    """Spans' gains and those of spans that touch make up the score of every path."""
    crf, mask = crf_of(types, seed), torch.ones(1, words, dtype=torch.long)
    emissions = torch.randn(1, words, 1 + 2 * types, generator=torch.Generator().manual_seed(seed)) * 2
    grid = span_gains(emissions, crf, mask)[0]
    spans = [(start, end) for start in range(words) for end in range(start + 1, words + 1)]
    gains = np.array([grid[start, end - start - 1].tolist() for start, end in spans])
    names = [f"t{number}" for number in range(types)]
    inventory = Inventory(tuple((name, "none", name) for name in names))
    unrelated = np.full((len(spans), len(spans), 1), -1.0)
    touching = touching_gains(crf).detach().double().numpy()
    found = decode(spans, gains, touching, unrelated, inventory)
    path = path_of([(*spans[candidate], kind) for candidate, kind in found.entities], words)
    assert found.exact and path == crf.decode(emissions, mask)[0]
    over_nothing = path_score(crf, emissions[0], path) - path_score(crf, emissions[0], [0] * words)
    assert found.score == pytest.approx(over_nothing, abs=1e-3)


@settings(max_examples=25)
@given(seed=st.integers(0, 10_000), lengths=st.lists(st.integers(1, 4), min_size=1, max_size=3))
def test_the_best_path_with_an_entity(seed: int, lengths: list[int]) -> None:
    crf, mask = crf_of(2, seed), texts(*lengths)["word_mask"]
    emissions = torch.randn(*mask.shape, 5, generator=torch.Generator().manual_seed(seed))
    margins = span_margins(emissions, crf, mask).detach()
    for row, words in enumerate(lengths):
        best: dict[tuple[int, int, int], float] = {}
        for labels in itertools.product(range(5), repeat=words):
            entities = entities_of(labels)
            if entities is not None:
                score = path_score(crf, emissions[row], list(labels))
                for entity in entities:
                    best[entity] = max(score, best.get(entity, -math.inf))
        for (start, end, kind), score in best.items():
            assert float(margins[row, start, end - start - 1, kind]) == pytest.approx(score, abs=1e-4)
        assert int(margins[row].isfinite().sum()) == len(best)


def entities_of(labels: Sequence[int]) -> list[tuple[int, int, int]] | None:
    """The entities of a path; None where an I- continues none."""
    found: list[tuple[int, int, int]] = []
    for word, label in enumerate(labels):
        if label and label % 2 == 0:
            if not found or found[-1][1:] != (word, label // 2 - 1):
                return None
            found[-1] = (found[-1][0], word + 1, label // 2 - 1)
        elif label:
            found.append((word, word + 1, label // 2))
    return found


def test_gold_as_labels_of_words() -> None:
    assert gold_labels(GOLD, 5).tolist() == [path_of([(0, 2, PER), (3, 4, ORG)], 5), path_of([(1, 2, ORG)], 5)]
    assert gold_labels(torch.full((1, 1, 3), -1), 2).tolist() == [[0, 0]]


def test_the_score_of_a_pair_by_hand() -> None:
    relater = PairRelater(4, 3, 0.0)
    words, whole = torch.randn(1, 9, 4), torch.randn(1, 4)
    spans = torch.tensor([[[0, 2], [5, 6], [2, 3]]])
    logits = relater(words, whole, spans)
    for head, tail, between in [(0, 1, words[0, 2:5].mean(0)), (1, 0, words[0, 2:5].mean(0)), (0, 2, torch.zeros(4))]:
        ends = [torch.cat([words[0, spans[0, one, 0]], words[0, spans[0, one, 1] - 1]]) for one in (head, tail)]
        hidden = relater.head(ends[0]) + relater.tail(ends[1]) + relater.whole(whole[0]) + relater.between(between)
        by_hand = relater.output(torch.nn.functional.gelu(hidden))
        assert torch.allclose(logits[0, head, tail], by_hand, atol=1e-5)


def test_there_is_nothing_between_names_that_touch_or_overlap() -> None:
    spans = torch.tensor([[[0, 3], [3, 4], [1, 3]]])
    assert not mean_between(torch.ones(1, 4, 2), spans).any()


@settings(max_examples=30)
@given(lengths=st.lists(st.integers(0, 30), min_size=1, max_size=4), seed=st.integers(0, 1000))
def test_candidates_are_the_likeliest_spans(lengths: list[int], seed: int) -> None:
    mask = texts(*[max(1, length) for length in lengths])["word_mask"]
    mask[:, 0] *= torch.tensor([length > 0 for length in lengths])
    emissions = torch.randn(*mask.shape, 5, generator=torch.Generator().manual_seed(seed))
    grid = span_margins(emissions, crf_of(2, seed), mask).detach()
    spans, kept = choose_candidates(grid, mask)
    for row, length in enumerate(lengths):
        possible = [
            (start, start + size + 1) for start in range(length) for size in range(min(LONGEST, length - start))
        ]
        margins = {span: float(grid[row, span[0], span[1] - span[0] - 1].max()) for span in possible}
        found = [tuple(span) for span in spans[row, kept[row].bool()].tolist()]
        top = max(margins.values(), default=0)
        on_best = {span for span in possible if margins[span] > top - ALIKE}
        wanted = max(FEWEST, math.ceil(length / 2), len(on_best))
        assert found == sorted(set(found)) and len(found) == min(len(possible), wanted) and on_best <= set(found)
        # the spans of one path are equally likely, the earlier being taken first
        others = [margin for span, margin in margins.items() if span not in found]
        assert min((margins[span] for span in found), default=0) >= max(others, default=-math.inf) - 0.05  # type: ignore[index]


GOLD = torch.tensor([[[0, 2, PER], [3, 4, ORG]], [[1, 2, ORG], [-1, -1, -1]]])
LINKS = torch.tensor([[[0, 1, MEMBER]], [[-1, -1, -1]]])


def relation_loss_by_hand(output: Any, row: int) -> float:
    """The sum of -log p of the relations of `LINKS`, one by one."""
    candidates = output.candidates
    spans = [tuple(span) for span in candidates.spans[row, candidates.mask[row].bool()].tolist()]
    loss = 0.0
    for i, j in itertools.permutations(range(len(spans)), 2):
        if spans[i][1] <= spans[j][0] or spans[j][1] <= spans[i][0]:
            label = MEMBER + 1 if row == 0 and (spans[i], spans[j]) == ((0, 2), (3, 4)) else 0
            loss -= float(candidates.relations[row, i, j].log_softmax(-1)[label])
    return loss


def test_the_loss_by_hand() -> None:
    joint, batch = model(), texts(5, 3)
    with torch.no_grad():
        output = joint(**batch, gold_entities=GOLD, gold_relations=LINKS)
        labels = torch.tensor([path_of([(0, 2, PER), (3, 4, ORG)], 5), path_of([(1, 2, ORG)], 5)])
        of_entities = joint.crf(output.candidates.emissions, labels, batch["word_mask"])
        words = joint.promu(batch["input_ids"], batch["attention_mask"]).fused_text[:, 1:6]
        shown = batch["word_mask"].bool()
        torch.testing.assert_close(output.candidates.emissions[shown], joint.emitter(words)[shown])
    of_relations = [relation_loss_by_hand(output, row) for row in range(2)]
    assert float(output.loss) == pytest.approx((float(of_entities.sum()) + sum(of_relations)) / 2, rel=1e-5)


def test_gold_spans_are_candidates_in_training_however_many() -> None:
    joint, batch = model(), texts(20)
    gold = torch.tensor([[[word, word + 1, PER] for word in range(20)]])
    links = torch.tensor([[[word, word + 1, PEER] for word in range(19)]])
    with torch.no_grad():
        output = joint(**batch, gold_entities=gold, gold_relations=links)
    spans = output.candidates.spans[0].tolist()
    assert output.candidates.mask.all() and [[word, word + 1] for word in range(20)] == spans
    relations = output.candidates.relations[0].log_softmax(-1)
    place = {start: number for number, (start, _) in enumerate(spans)}
    pairs = -sum(
        float(relations[place[one], place[other], PEER + 1 if other == one + 1 else 0])
        for one, other in itertools.permutations(range(20), 2)
    )
    with torch.no_grad():
        labels = torch.tensor([path_of([(word, word + 1, PER) for word in range(20)], 20)])
        of_entities = joint.crf(output.candidates.emissions, labels, batch["word_mask"])
    assert float(output.loss) == pytest.approx(float(of_entities) + pairs, rel=1e-5)


def test_a_text_is_read_alike_in_any_batch() -> None:
    joint, batch = model(), texts(3, 11, 7)
    with torch.no_grad():
        together = joint(**batch).candidates
        for row, length in enumerate((3, 11, 7)):
            cut = {
                name: values[row : row + 1, : length + (2 if name[0] in "ia" else 0)] for name, values in batch.items()
            }
            alone = joint(**cut).candidates
            count = int(together.mask[row].sum())
            assert alone.mask.sum() == count and torch.equal(alone.spans[0], together.spans[row, :count])
            assert torch.allclose(alone.gains[0], together.gains[row, :count], atol=1e-5)
            assert torch.allclose(alone.relations[0], together.relations[row, :count, :count], atol=1e-5)


def test_every_weight_learns_and_a_loss_falls() -> None:
    joint, batch = model(pictures=True).train(), texts(5, 3)
    batch["pixel_values"] = torch.randint(0, 256, (2, 3, 32, 32), dtype=torch.uint8)
    optimiser = torch.optim.AdamW(joint.parameters(), lr=2e-3)
    losses = []
    for _ in range(12):
        output = joint(**batch, gold_entities=GOLD, gold_relations=LINKS)
        optimiser.zero_grad()
        output.loss.backward()
        losses.append(float(output.loss.detach()))
        optimiser.step()
    still = [name for name, weight in joint.named_parameters() if weight.grad is None or not weight.grad.any()]
    assert not [name for name in still if name.startswith(("emitter", "crf", "relater")) or ".fusion." in name]
    assert losses[-1] < 0.7 * losses[0]


def test_a_post_without_picture_is_read_as_by_the_text_alone() -> None:
    joint, batch = model(pictures=True), texts(6, 6)
    pixels = torch.randint(0, 256, (2, 3, 32, 32), dtype=torch.uint8)
    with torch.no_grad():
        mixed = joint(**batch, pixel_values=pixels, picture_mask=torch.tensor([1, 0])).candidates
        blind = joint(**batch).candidates
        seen = joint(**batch, visual=joint.promu.encode_pictures(pixels), picture_mask=torch.tensor([1, 0])).candidates
    assert torch.allclose(mixed.relations[1], blind.relations[1], atol=1e-5)
    assert not torch.allclose(mixed.relations[0], blind.relations[0], atol=1e-4)
    assert torch.equal(seen.gains, mixed.gains)


def test_saved_and_loaded(tmp_path: Path) -> None:
    joint, batch = model(pictures=True), texts(4)
    joint.save_pretrained(tmp_path)
    loaded = PromuForJointExtraction.from_pretrained(tmp_path).eval()
    with torch.no_grad():
        assert torch.equal(loaded(**batch).candidates.relations, joint(**batch).candidates.relations)
    assert list(loaded.config.id2label.values()) == LABELS


def test_a_text_without_words_has_no_candidates() -> None:
    joint = model()
    batch = {**texts(1), "word_mask": torch.zeros(1, 1, dtype=torch.long)}
    nothing = torch.full((1, 1, 3), -1)
    with torch.no_grad():
        output = joint(**batch, gold_entities=nothing, gold_relations=nothing)
    assert not output.candidates.mask.any() and float(output.loss) == 0
