"""The joint model: spans, candidates, pairs, loss."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from tests.factories import TINY_TEXT, TINY_VISION

from promu.errors import InputError
from promu.modeling.configuration import PromuConfig
from promu.modeling.encoders import encoder_config
from promu.modeling.inventory import inventory_of, triple_label
from promu.modeling.joint_model import PairRelater, PromuForJointExtraction, mean_between

LABELS = ["/org/org/part_of", "/per/org/member_of", "/per/per/peer"]
ORG, PER = 0, 1
MEMBER, PART, PEER = 0, 1, 2


def model(images: bool = False, **settings: Any) -> PromuForJointExtraction:
    torch.manual_seed(3)
    text = encoder_config(TINY_TEXT, vocab_size=60)
    vision = encoder_config(TINY_VISION) if images else None
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


GOLD = torch.tensor([[[0, 2, PER], [3, 4, ORG]], [[1, 2, ORG], [-1, -1, -1]]])
LINKS = torch.tensor([[[0, 1, MEMBER]], [[-1, -1, -1]]])


def test_the_loss_by_hand() -> None:
    joint, batch = model(), texts(5, 3)
    with torch.no_grad():
        loss = joint(**batch, gold_entities=GOLD, gold_relations=LINKS).loss
        said = joint(**batch).candidates
        fused = joint.promu(batch["input_ids"], batch["attention_mask"]).fused_text
        shown = batch["word_mask"].bool()
        emissions = torch.from_numpy(said.emissions)
        torch.testing.assert_close(emissions[shown], joint.emitter(fused[:, 1:6])[shown])
        labels = torch.tensor([[3, 4, 0, 1, 0], [0, 1, 0, 0, 0]])
        of_entities = joint.crf(emissions, labels, batch["word_mask"])
        # the second post has one entity, hence no pair
        pairs = joint.relater(fused[:1, 1:6], fused[:1, 0], GOLD[:1, :, :2])[0].log_softmax(-1)
    of_relations = -(pairs[0, 1, MEMBER + 1] + pairs[1, 0, 0])
    assert float(loss) == pytest.approx((float(of_entities.sum()) + float(of_relations)) / 2, rel=1e-5)


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
            assert alone.mask.sum() == count and np.array_equal(alone.spans[0], together.spans[row, :count])
            assert np.allclose(alone.gains[0], together.gains[row, :count], atol=1e-5)
            assert np.allclose(alone.relations[0], together.relations[row, :count, :count], atol=1e-5)


def test_every_weight_learns_and_a_loss_falls() -> None:
    joint, batch = model(images=True).train(), texts(5, 3)
    batch["pixel_values"] = torch.randint(0, 256, (2, 3, 32, 32), dtype=torch.uint8)
    optimiser = torch.optim.AdamW(joint.parameters(), lr=2e-3)
    losses = []
    for _ in range(12):
        output = joint(**batch, gold_entities=GOLD, gold_relations=LINKS)
        optimiser.zero_grad()
        output.loss.backward()
        losses.append(float(output.loss.detach()))
        assert output.candidates is None
        optimiser.step()
    still = [name for name, weight in joint.named_parameters() if weight.grad is None or not weight.grad.any()]
    assert not [name for name in still if name.startswith(("emitter", "crf", "relater")) or ".fusion." in name]
    assert losses[-1] < 0.7 * losses[0]


def test_a_post_without_image_is_read_as_by_the_text_alone() -> None:
    joint, batch = model(images=True), texts(6, 6)
    pixels = torch.randint(0, 256, (2, 3, 32, 32), dtype=torch.uint8)
    with torch.no_grad():
        mixed = joint(**batch, pixel_values=pixels, image_mask=torch.tensor([1, 0])).candidates
        blind = joint(**batch).candidates
        seen = joint(**batch, visual=joint.promu.encode_visual(pixels), image_mask=torch.tensor([1, 0])).candidates
    assert np.allclose(mixed.relations[1], blind.relations[1], atol=1e-5)
    assert not np.allclose(mixed.relations[0], blind.relations[0], atol=1e-4)
    assert np.array_equal(seen.gains, mixed.gains)


def test_saved_and_loaded(tmp_path: Path) -> None:
    joint, batch = model(images=True), texts(4)
    joint.save_pretrained(tmp_path)
    loaded = PromuForJointExtraction.from_pretrained(tmp_path).eval()
    with torch.no_grad():
        assert np.array_equal(loaded(**batch).candidates.relations, joint(**batch).candidates.relations)
    assert list(loaded.config.id2label.values()) == LABELS


def test_a_text_without_words_has_no_candidates() -> None:
    joint = model()
    batch = {**texts(1), "word_mask": torch.zeros(1, 1, dtype=torch.long)}
    nothing = torch.full((1, 1, 3), -1)
    with torch.no_grad():
        assert float(joint(**batch, gold_entities=nothing, gold_relations=nothing).loss) == 0
        assert not joint(**batch).candidates.mask.any()
