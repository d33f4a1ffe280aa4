"""MMIB's bottleneck: latents, the two KL terms, the discriminator, and who reads whom."""

from __future__ import annotations

import math

import pytest
import torch
from tests.factories import joint_loss, tiny_batch, tiny_config
from tests.modeling.test_distributed import HEADS, whole_batch
from torch import distributions
from torch.nn import functional

from promu.modeling.backbone import PromuModel
from promu.modeling.chain import bio_labels
from promu.modeling.classification import PromuForRelationClassification, PromuForTokenClassification
from promu.modeling.fusions.mmib import FIRST_LOG_VARIANCE, Bottleneck, BottleneckFusion, kl_from_normal, mean_of
from promu.modeling.pretraining import PromuForPreTraining

TAGS = dict(enumerate(bio_labels(["PER", "LOC"])))
WORDS = {"word_index": torch.tensor([[1, 2, 3]] * 3), "word_mask": torch.ones(3, 3).long()}


@pytest.fixture
def fusion() -> BottleneckFusion:
    found = PromuModel(tiny_config(fusion="mmib", text_hidden_size=4, vision_hidden_size=4)).fusion
    assert isinstance(found, BottleneckFusion)
    return found


def test_divergence_by_hand() -> None:
    mean = torch.tensor([[[1.0, 0.0], [9.0, 9.0]], [[0.0, 0.0], [2.0, 0.0]]])
    log_variance = torch.tensor([[[0.0, math.log(4)], [5.0, 5.0]], [[0.0, 0.0], [0.0, 0.0]]])
    mask = torch.tensor([[1, 0], [1, 1]])
    # a mean of 1: 1/2; a variance of 4: (4 - 1 - log 4) / 2. Then the mean of 0 and 2
    expected = [0.5 + (3 - math.log(4)) / 2, (0.0 + 2.0) / 2]
    torch.testing.assert_close(kl_from_normal(mean, log_variance, mask), torch.tensor(expected))


def test_divergence_by_torch_s_own() -> None:
    mean, log_variance = torch.randn(3, 5, 7), torch.randn(3, 5, 7)
    normal = distributions.Normal(mean, torch.exp(log_variance / 2))
    nats = distributions.kl_divergence(normal, distributions.Normal(0.0, 1.0)).sum(-1).mean(1)
    torch.testing.assert_close(kl_from_normal(mean, log_variance, torch.ones(3, 5)), nats)


def test_latents_are_sampled_in_training_and_the_mean_otherwise() -> None:
    bottleneck = Bottleneck(4)
    with torch.no_grad():
        bottleneck.log_variance.weight.zero_()
        bottleneck.log_variance.bias.copy_(torch.tensor([0.0, 2.0, 4.0, 6.0]))
    hidden, mask = torch.ones(1, 1, 4).expand(1, 20_000, 4), torch.ones(1, 20_000)
    mean, divergence = bottleneck.eval()(hidden, mask)
    torch.testing.assert_close(mean, bottleneck.mean(hidden))
    sampled, same = bottleneck.train()(hidden, mask)
    torch.testing.assert_close(same, divergence)
    expected = torch.tensor([math.exp((FIRST_LOG_VARIANCE + more) / 2) for more in (0.0, 2.0, 4.0, 6.0)])
    spread = (sampled - mean)[0].std(0).detach()
    assert ((spread / expected - 1).abs() < 0.03).all(), (spread, expected)


def test_noise_comes_from_torch_s_generator() -> None:
    """Its state is saved with a checkpoint, so that a run that was killed goes on with the same noise."""
    model = PromuModel(tiny_config(fusion="mmib")).train()
    batch = tiny_batch()
    first = model(**batch).fused_text
    torch.manual_seed(5)
    state = torch.get_rng_state()
    second = model(**batch).fused_text
    torch.set_rng_state(state)
    assert torch.equal(model(**batch).fused_text, second) and not torch.equal(first, second)


def test_the_discriminator_s_loss_by_hand(fusion: BottleneckFusion) -> None:
    with torch.no_grad():
        fusion.discriminator.weight.copy_(2 * torch.eye(4))
    text = torch.tensor([[1.0, 0, 0, 0], [0, 1.0, 0, 0], [0, 0, 1.0, 0]])
    visual = torch.tensor([[3.0, 0, 0, 0], [5.0, 2.0, 0, 0], [0, 0, 4.0, 0]])
    # 2 t.v over the root of 4 is t.v: own pairs 3, 2, 4; each text with the next image 5, 0, 0
    shown = torch.tensor([True, True, True])
    expected = [_log1p_exp(-3) + _log1p_exp(5), _log1p_exp(-2) + _log1p_exp(0), _log1p_exp(-4) + _log1p_exp(0)]
    torch.testing.assert_close(fusion.alignment(text, visual, shown), torch.tensor(expected))
    # the second post has no image: it has no loss, and the first no rolled pair
    some = fusion.alignment(text, visual, torch.tensor([True, False, True]))
    torch.testing.assert_close(some, torch.tensor([_log1p_exp(-3), 0.0, expected[2]]))
    # alone, a post's next one is itself
    alone = fusion.alignment(text[:1], visual[:1], shown[:1])
    torch.testing.assert_close(alone, torch.tensor([_log1p_exp(-3)]))


def _log1p_exp(value: float) -> float:
    return math.log1p(math.exp(value))


def test_the_discriminator_learns_which_image_is_whose(fusion: BottleneckFusion) -> None:
    text = torch.randn(12, 4)
    visual, shown = text @ torch.randn(4, 4), torch.ones(12, dtype=torch.bool)
    optimiser = torch.optim.Adam(fusion.discriminator.parameters(), lr=0.05)
    before = float(fusion.alignment(text, visual, shown).mean().detach())
    for _ in range(60):
        optimiser.zero_grad()
        loss = fusion.alignment(text, visual, shown).mean()
        loss.backward()
        optimiser.step()
    assert float(loss.detach()) < min(before, 2 * math.log(2)) - 0.3


def test_the_image_reads_the_text_and_the_text_that_image() -> None:
    model = PromuModel(tiny_config(fusion="mmib")).eval()
    fusion, batch = model.fusion, tiny_batch()
    assert isinstance(fusion, BottleneckFusion)
    output = model(**batch)
    alone = model(batch["input_ids"]).fused_text  # the text's latents
    tokens = fusion.visual_layer(output.visual, None)
    visual = fusion.visual_bottleneck(tokens, torch.ones(tokens.shape[:2]))[0]
    read = fusion.image_reads_text(visual, alone, None)[0]
    torch.testing.assert_close(output.fused_visual, read, rtol=1e-4, atol=1e-5)
    torch.testing.assert_close(output.fused_text, fusion.text_reads_image(alone, read, None)[0], rtol=1e-4, atol=1e-5)


def test_a_post_without_a_image_has_the_text_s_term_alone() -> None:
    model = PromuModel(tiny_config(fusion="mmib")).eval()
    batch = tiny_batch()
    losses = model(**batch, image_mask=torch.tensor([1, 0, 1])).losses
    assert losses.keys() == {"kl_text", "kl_visual", "align"}
    assert losses["kl_visual"][1] == losses["align"][1] == 0
    assert (losses["kl_text"] > 0).all() and losses["kl_visual"][0] > 0 and losses["align"][2] > 0
    only = model(batch["input_ids"]).losses
    assert only.keys() == {"kl_text"}
    torch.testing.assert_close(only["kl_text"], losses["kl_text"], rtol=1e-5, atol=1e-4)


def test_means_ignore_what_is_masked() -> None:
    values = torch.tensor([[[1.0], [3.0], [100.0]], [[5.0], [6.0], [7.0]]])
    assert mean_of(values, torch.tensor([[1, 1, 0], [0, 0, 0]])).tolist() == [[2.0], [0.0]]


def test_fine_tuned_tasks_add_the_weighted_mean_over_posts() -> None:
    weights = {"kl_text": 0.01, "kl_visual": 0.02, "align": 0.5}
    config = tiny_config(fusion="mmib", fusion_loss_weights=weights, id2label=TAGS)
    batch, labels = tiny_batch(), torch.tensor([[1, 2, 0]] * 3)
    tagger = PromuForTokenClassification(config).eval()
    own = tagger.promu(**batch).losses
    added = sum(weight * own[name].mean() for name, weight in weights.items())
    output = tagger(**batch, **WORDS, labels=labels)
    task = tagger.crf(output.emissions, labels, WORDS["word_mask"]).mean()
    torch.testing.assert_close(output.loss, task + added)
    classifier = PromuForRelationClassification(config).eval()
    own = classifier.promu(**batch).losses
    added = sum(weight * own[name].mean() for name, weight in weights.items())
    answer, found = torch.tensor([0, 1, 2]), torch.tensor([[1, 4]] * 3)
    result = classifier(**batch, marker_index=found, labels=answer)
    torch.testing.assert_close(result.loss, functional.cross_entropy(result.logits, answer) + added)


def test_pre_training_adds_the_weighted_mean_over_matched_pairs() -> None:
    model = PromuForPreTraining(tiny_config(**HEADS, fusion="mmib", fusion_loss_weights={"align": 0.7})).eval()
    batch = whole_batch()
    batch["row_mask"] = torch.tensor([1, 1, 1, 1, 0])
    loss, parts = joint_loss(model, batch)
    own = model.promu(batch["input_ids"], batch["attention_mask"], batch["pixel_values"]).losses
    counted = torch.tensor([0, 2, 3])  # the second pair is falsified, the last does not count
    for name, rows in own.items():
        torch.testing.assert_close(parts[name], rows[counted].mean().detach())
    weights = {"kl_text": 1e-3, "kl_visual": 1e-3, "align": 0.7}
    expected = sum(float(part) * weights.get(name, 1.0) for name, part in parts.items())
    assert loss.item() == pytest.approx(expected, rel=1e-5)
    loss, parts = joint_loss(model, {**batch, "matched": torch.zeros(5, dtype=torch.long)})
    assert parts["align"] == parts["kl_text"] == 0 and loss.isfinite()


@pytest.mark.slow
def test_a_sampled_batch_can_be_learned() -> None:
    """With its noise, its terms and the task together the loss of three posts falls by half."""
    config = tiny_config(fusion="mmib", id2label={0: "None", 1: "r", 2: "s"})
    model = PromuForRelationClassification(config).train()
    batch = {**tiny_batch(), "marker_index": torch.tensor([[1, 4]] * 3), "labels": torch.tensor([0, 1, 2])}
    optimiser = torch.optim.Adam(model.parameters(), lr=3e-3)
    losses = []
    for _ in range(40):
        optimiser.zero_grad()
        loss = model(**batch).loss
        loss.backward()
        optimiser.step()
        losses.append(float(loss.detach()))
    assert sum(losses[-5:]) < sum(losses[:5]) / 2
