"""Eq 11: four losses, one sum, and nothing where a weight is 0."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import torch
from tests.factories import joint_loss
from torch.nn import functional

from promu.errors import InputError
from promu.modeling.configuration import PromuConfig
from promu.modeling.contrastive import contrastive_image_text_loss
from promu.modeling.losses import LOSS_NAMES, JointLoss, patch_coverage, pool_regions
from promu.modeling.pretraining import PromuForPreTraining

MakeConfig = Callable[..., PromuConfig]
MakeBatch = Callable[..., dict[str, torch.Tensor]]
HEADS: dict[str, Any] = {"nouns": list("abcde"), "relations": list("wxyz"), "projection_dim": 16}
PREFIXES = {"itm": "itm_head", "cit": "space", "coe": "entity_head", "cir": "relation_head", "mlm": "mlm_transform"}
PREFIXES |= {"lm": "caption_decoder", "tag": "tag_head"}


@pytest.fixture
def batch(make_batch: MakeBatch) -> dict[str, torch.Tensor]:
    inputs = make_batch(rows=4)
    chance = torch.Generator().manual_seed(3)
    corners = torch.rand(4, 2, 2, generator=chance) * 0.5
    mlm_labels = torch.full_like(inputs["input_ids"], -100)
    mlm_labels[:, 2] = inputs["input_ids"][:, 2]
    return {
        **inputs,
        "matched": torch.tensor([1, 0, 1, 1]),
        "image_ids": torch.tensor([5, 6, 7, 7]),
        "caption_ids": torch.arange(4),
        "boxes": torch.cat([corners, corners + 0.4], -1),
        "box_mask": torch.tensor([[1, 1], [1, 0], [0, 0], [1, 0]]),
        "entity_labels": torch.randn(4, 2, 5, generator=chance).softmax(-1),
        "relation_labels": torch.randn(4, 4, generator=chance).softmax(-1),
        "relation_mask": torch.tensor([1, 0, 1, 1]),
        "mlm_labels": mlm_labels,
        "tag_labels": torch.tensor([1, 1, 0, 1]),
        "tag_mask": torch.tensor([1, 1, 1, 0]),
    }


def test_the_joint_loss_is_the_weighted_sum_of_its_parts(
    make_config: MakeConfig, batch: dict[str, torch.Tensor]
) -> None:
    weights = {"itm": 0.5, "cit": 2.0, "coe": 3.0, "cir": 0.25, "mlm": 0.1, "lm": 0.3, "tag": 0.7}
    loss, parts = joint_loss(PromuForPreTraining(make_config(**HEADS, loss_weights=weights)), batch)
    assert parts.keys() == set(LOSS_NAMES)
    expected = sum(weights[name] * float(part) for name, part in parts.items())
    assert loss.item() == pytest.approx(expected, rel=1e-5)
    assert all(float(part) > 0 for part in parts.values())


def test_the_paper_s_weights_are_the_default(make_config: MakeConfig, batch: dict[str, torch.Tensor]) -> None:
    loss, parts = joint_loss(PromuForPreTraining(make_config(**HEADS)), batch)
    assert parts.keys() == {"itm", "cit", "coe", "cir"}
    assert loss.item() == pytest.approx(sum(float(part) for part in parts.values()), rel=1e-5)


def test_every_part_is_its_loss_of_its_vectors(make_config: MakeConfig, batch: dict[str, torch.Tensor]) -> None:
    model = PromuForPreTraining(make_config(**HEADS, loss_weights={"mlm": 1.0, "lm": 1.0, "tag": 1.0})).eval()
    parts = joint_loss(model, batch)[1]
    backbone = model.promu(batch["input_ids"], batch["attention_mask"], batch["pixel_values"])
    cls = backbone.fused_text[:, 0]
    matched = batch["matched"].bool()
    # Eq 3, over all pairs
    itm = functional.cross_entropy(model.itm_head(cls), batch["matched"])
    # Eq 4 and 5: CLS vectors from before the fusion, matched pairs alone
    cit = contrastive_image_text_loss(
        functional.normalize(model.space.visual(backbone.visual[matched, 0]), dim=-1),
        functional.normalize(model.space.text(backbone.text[matched, 0]), dim=-1),
        torch.tensor(0.07),
        batch["image_ids"][matched],
    )
    # Eq 7 and 8: patches without the visual CLS, unmatched pairs too
    regions = pool_regions(backbone.fused_visual[:, 1:], patch_coverage(batch["boxes"], 4))
    seen = batch["box_mask"].bool()
    coe = functional.cross_entropy(model.entity_head(regions[seen]), batch["entity_labels"][seen])
    # Eq 10
    seen = batch["relation_mask"].bool()
    cir = functional.cross_entropy(model.relation_head(cls[seen]), batch["relation_labels"][seen])
    hidden = model.mlm_transform(backbone.fused_text[:, 2])
    mlm = functional.cross_entropy(hidden @ model.get_input_embeddings().weight.T, batch["input_ids"][:, 2])
    # BLIP: a token is told from those before it and the image as it was before the fusion; matched pairs alone
    words = model.get_input_embeddings().weight
    hidden = model.caption_decoder(words[batch["input_ids"]], batch["attention_mask"], backbone.visual)[matched, :-1]
    lm = functional.cross_entropy(
        (hidden @ words.T).flatten(0, 1), batch["input_ids"][matched, 1:].flatten(), label_smoothing=0.1
    )
    # Oscar: rows that are matched and have tags
    tag = functional.cross_entropy(model.tag_head(cls[[0, 2]]), batch["tag_labels"][[0, 2]])
    found = {"itm": itm, "cit": cit, "coe": coe, "cir": cir, "mlm": mlm, "lm": lm, "tag": tag}
    for name, expected in found.items():
        torch.testing.assert_close(parts[name], expected.detach(), rtol=1e-4, atol=1e-5)


def test_a_matching_head_may_read_the_cosine(make_config: MakeConfig, batch: dict[str, torch.Tensor]) -> None:
    model = PromuForPreTraining(make_config(**HEADS, itm_cosine=True)).eval()
    output = model(**JointLoss.of(model).inputs(batch))
    backbone = model.promu(batch["input_ids"], batch["attention_mask"], batch["pixel_values"])
    cosines = torch.cosine_similarity(
        model.space.visual(backbone.visual[:, 0]), model.space.text(backbone.text[:, 0]), dim=-1
    )
    read = torch.cat([backbone.fused_text[:, 0], cosines[:, None] / 0.07], dim=-1)
    torch.testing.assert_close(output.itm_logits, model.itm_head(read), rtol=1e-4, atol=1e-5)
    space = list(model.space.parameters())
    moved = torch.autograd.grad(output.itm_logits.sum(), space, allow_unused=True)
    assert moved == (None,) * len(space), "L_ITM leaves the shared space to L_CIT"


@pytest.mark.parametrize(
    "settings", [{"loss_weights": {"cit": 0.0}}, {"projection_norm": True}], ids=["no L_CIT", "normalised"]
)
def test_a_cosine_that_is_not_there_is_refused(make_config: MakeConfig, settings: dict[str, Any]) -> None:
    with pytest.raises(InputError, match="itm_cosine needs L_CIT"):
        PromuForPreTraining(make_config(**HEADS, itm_cosine=True, **settings))


@pytest.mark.parametrize("off", LOSS_NAMES)
def test_a_loss_of_weight_0_is_neither_computed_nor_has_weights(
    make_config: MakeConfig, batch: dict[str, torch.Tensor], off: str
) -> None:
    model = PromuForPreTraining(make_config(**HEADS, loss_weights={"mlm": 1.0, "lm": 1.0, "tag": 1.0, off: 0.0}))
    assert {name.partition(".")[0] for name, _ in model.named_parameters()} == {
        "promu",
        *(prefix for name, prefix in PREFIXES.items() if name != off),
    }
    loss, parts = joint_loss(model, batch)
    assert parts.keys() == set(LOSS_NAMES) - {off}
    assert loss.isfinite()


def test_the_decoder_sees_neither_later_tokens_nor_a_padded_one(
    make_config: MakeConfig, batch: dict[str, torch.Tensor]
) -> None:
    model = PromuForPreTraining(make_config(**HEADS, loss_weights={"itm": 0, "coe": 0, "cir": 0, "lm": 1.0})).eval()
    assert not model.fuses, "L_CIT and L_LM read the encoders"
    inputs = {name: batch[name] for name in ("input_ids", "attention_mask", "pixel_values")}
    whole = model(**inputs).caption_logits.view(4, 6, -1)
    changed = {**inputs, "input_ids": batch["input_ids"].clone(), "attention_mask": batch["attention_mask"].clone()}
    changed["input_ids"][:, 4:] = 7
    changed["attention_mask"][:, 5:] = 0
    again = model(**changed).caption_logits.view(4, 4, -1)
    torch.testing.assert_close(again, whole[:, :4], rtol=1e-4, atol=1e-5)
    inputs["pixel_values"] = 255 - inputs["pixel_values"]
    assert not torch.allclose(model(**inputs).caption_logits.view(4, 6, -1), whole), "it looks at the image"


def test_written_captions_begin_end_and_do_not_hang_on_their_neighbours(make_config: MakeConfig) -> None:
    model = PromuForPreTraining(make_config(**HEADS, max_length=9, loss_weights={"itm": 0, "lm": 1.0})).eval()
    visual = model.encode_visual(torch.randint(0, 256, (3, 3, 16, 16), generator=torch.Generator().manual_seed(1)))
    ids = model.write_captions(visual, start=2, stop=3)
    assert ids.shape[0] == 3 and ids.shape[1] <= 9 and (ids[:, 0] == 2).all()
    alone = model.write_captions(visual[1:2], start=2, stop=3)[0].tolist()
    assert ids[1].tolist()[: len(alone)] == alone
    for row in ids.tolist():
        assert 3 not in row or set(row[row.index(3) :]) == {3}
    drawn = [model.write_captions(visual, 2, 3, torch.Generator().manual_seed(seed)).tolist() for seed in (0, 0, 1)]
    assert drawn[0] == drawn[1] != drawn[2]


def test_the_contrastive_mean_is_over_matched_pairs(make_config: MakeConfig, batch: dict[str, torch.Tensor]) -> None:
    """The falsified pair is no query and no negative: without its row the loss is the same."""
    only = {"itm": 0.0, "coe": 0.0, "cir": 0.0}
    model = PromuForPreTraining(make_config(**HEADS, loss_weights=only)).eval()
    whole = joint_loss(model, batch)[0]
    kept = {name: value[[0, 2, 3]] for name, value in batch.items()}
    torch.testing.assert_close(whole, joint_loss(model, kept)[0], rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("norm", [False, True])
@pytest.mark.parametrize("matched", [[0, 0, 0, 0], [0, 1, 0, 0]])
def test_a_batch_without_negatives_gives_zero_and_a_gradient(
    make_config: MakeConfig, batch: dict[str, torch.Tensor], matched: list[int], norm: bool
) -> None:
    only = {"itm": 0.0, "coe": 0.0, "cir": 0.0}
    model = PromuForPreTraining(make_config(**HEADS, loss_weights=only, projection_norm=norm)).train()
    loss, _ = joint_loss(model, {**batch, "matched": torch.tensor(matched)})
    assert loss.item() == 0
    loss.backward()
    assert all(parameter.grad is None or not parameter.grad.any() for parameter in model.parameters())


def test_a_batch_without_a_region_is_not_nan(make_config: MakeConfig, batch: dict[str, torch.Tensor]) -> None:
    model = PromuForPreTraining(make_config(**HEADS))
    loss, parts = joint_loss(model, {**batch, "boxes": torch.zeros(4, 2, 4), "box_mask": torch.zeros(4, 2)})
    assert parts["coe"] == 0
    loss.backward()
    assert all(p.grad is None or p.grad.isfinite().all() for p in model.parameters())


@pytest.mark.slow
def test_soft_labels_are_learned(make_config: MakeConfig, batch: dict[str, torch.Tensor]) -> None:
    """COE and CIR fall to the entropy of their labels, and no lower."""
    model = PromuForPreTraining(make_config(**HEADS, loss_weights={"itm": 0.0, "cit": 0.0}))
    optimiser = torch.optim.Adam(model.parameters(), lr=3e-3)
    for _ in range(60):
        optimiser.zero_grad()
        loss, parts = joint_loss(model, batch)
        loss.backward()
        optimiser.step()
    for name, labels, mask in (
        ("coe", batch["entity_labels"], batch["box_mask"]),
        ("cir", batch["relation_labels"], batch["relation_mask"]),
    ):
        kept = labels[mask.bool()]
        entropy = -(kept * kept.log()).sum(-1).mean().item()
        assert entropy - 1e-4 <= float(parts[name]) < entropy + 0.02


def test_no_loss_at_all_is_refused(make_config: MakeConfig) -> None:
    with pytest.raises(
        InputError, match="every loss has weight 0; give at least one of itm, cit, coe, cir, mlm, lm, tag a weight"
    ):
        PromuForPreTraining(make_config(**HEADS, loss_weights=dict.fromkeys(LOSS_NAMES, 0.0)))


def test_an_unknown_loss_is_refused_by_name(make_config: MakeConfig) -> None:
    with pytest.raises(InputError, match="loss 'ocr' is unknown; the losses are itm, cit, coe, cir, mlm, lm, tag"):
        PromuForPreTraining(make_config(**HEADS, loss_weights={"ocr": 1.0}))
