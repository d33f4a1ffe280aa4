"""What whoever chooses a fusion by name relies on, for each of them."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from accelerate import Accelerator
from tests.factories import GRID, WIDTH, joint_loss, tiny_batch, tiny_config
from tests.modeling.test_distributed import HEADS, own_part, together, whole_batch
from transformers import LayoutLMConfig, MPNetConfig, RobertaConfig

from promu.errors import InputError
from promu.modeling.attention import MATMUL
from promu.modeling.backbone import PromuModel
from promu.modeling.chain import bio_labels
from promu.modeling.classification import PromuForRelationClassification, PromuForTokenClassification
from promu.modeling.distributed import group_sum, processes
from promu.modeling.fusions import FUSIONS
from promu.modeling.losses import JointLoss
from promu.modeling.pretraining import PromuForPreTraining
from promu.training.grad_cache import backward_in_parts

SEEING = sorted(name for name, fusion in FUSIONS.items() if fusion.sees_images)
CLOSE: dict[str, Any] = {"rtol": 1e-5, "atol": 1e-5}
BOXES = torch.tensor([[0.0, 0.0, 0.6, 0.4], [0.5, 0.5, 0.9, 1.0]])
TAGS = dict(enumerate(bio_labels(["PER", "LOC"])))

RELATIONS = {0: "None", 1: "r", 2: "s"}


def with_boxes(rows: int = 3, seed: int = 0) -> dict[str, torch.Tensor]:
    return {**tiny_batch(rows=rows, seed=seed), "boxes": BOXES.expand(rows, -1, -1).clone()}


@pytest.mark.parametrize("settings", [{}, {"fusion_layers": 2}, {"vision_hidden_size": 24}])
@pytest.mark.parametrize("fusion", sorted(FUSIONS))
def test_fused_text_and_fused_visual_tokens_have_the_text_s_width(fusion: str, settings: dict[str, Any]) -> None:
    output = PromuModel(tiny_config(fusion=fusion, **settings)).eval()(**with_boxes())
    assert output.fused_text.shape == (3, 7, WIDTH)
    if FUSIONS[fusion].sees_images:
        assert output.fused_visual.shape == (3, GRID**2 + 1, WIDTH)
    else:
        assert output.fused_visual is None


@pytest.mark.parametrize("fusion", SEEING)
def test_the_image_changes_the_text(fusion: str) -> None:
    model = PromuModel(tiny_config(fusion=fusion)).eval()
    one, other = with_boxes(rows=1, seed=0), with_boxes(rows=1, seed=1)
    seen = model(**{**one, "pixel_values": other["pixel_values"]}).fused_text
    assert (model(**one).fused_text - seen).abs().max() > 1e-3


def test_no_image_changes_the_text_where_there_is_no_fusion() -> None:
    model = PromuModel(tiny_config(fusion="text")).eval()
    one, other = with_boxes(rows=1, seed=0), with_boxes(rows=1, seed=1)
    seen = model(**{**one, "pixel_values": other["pixel_values"]}).fused_text
    assert torch.equal(model(**one).fused_text, seen)
    assert torch.equal(model(one["input_ids"]).fused_text, seen)


@pytest.mark.parametrize("settings", [{}, {"fusion_layers": 2}, {"vision_hidden_size": 24}])
@pytest.mark.parametrize("fusion", sorted(FUSIONS))
def test_a_post_without_a_image_is_read_as_text_alone(fusion: str, settings: dict[str, Any]) -> None:
    model = PromuModel(tiny_config(fusion=fusion, **settings)).eval()
    batch, mask = with_boxes(), torch.tensor([1, 0, 1])
    mixed = model(**batch, image_mask=mask)
    text_only = model(batch["input_ids"], batch["attention_mask"]).fused_text
    torch.testing.assert_close(mixed.fused_text[1], text_only[1], **CLOSE)
    torch.testing.assert_close(mixed.fused_text[[0, 2]], model(**batch).fused_text[[0, 2]], **CLOSE)
    # whatever pixels stand in the masked row
    batch["pixel_values"][1] = 255 - batch["pixel_values"][1]
    again = model(**batch, image_mask=mask)
    torch.testing.assert_close(again.fused_text, mixed.fused_text, **CLOSE)
    for name, rows in (mixed.losses or {}).items():
        torch.testing.assert_close(again.losses[name], rows, **CLOSE)


@pytest.mark.parametrize("fusion", sorted(FUSIONS))
def test_neither_padding_nor_neighbours_change_a_post(fusion: str) -> None:
    model = PromuModel(tiny_config(fusion=fusion)).eval()
    batch = with_boxes()
    together_ = model(**batch)
    alone = model(**{name: value[1:2] for name, value in batch.items()})
    padded = {
        **batch,
        "input_ids": torch.cat([batch["input_ids"], torch.full((3, 5), 3)], 1),
        "attention_mask": torch.cat([batch["attention_mask"], torch.zeros(3, 5, dtype=torch.long)], 1),
        "boxes": torch.cat([batch["boxes"], torch.zeros(3, 2, 4)], 1),
    }
    longer = model(**padded)
    torch.testing.assert_close(together_.fused_text[1:2], alone.fused_text, **CLOSE)
    torch.testing.assert_close(longer.fused_text[:, :7], together_.fused_text, **CLOSE)
    if FUSIONS[fusion].sees_images:
        torch.testing.assert_close(together_.fused_visual[1:2], alone.fused_visual, **CLOSE)
        torch.testing.assert_close(longer.fused_visual, together_.fused_visual, **CLOSE)
    for name in together_.losses or {}:
        torch.testing.assert_close(longer.losses[name], together_.losses[name], **CLOSE)


@pytest.mark.parametrize("fusion", SEEING)
def test_gradients_of_the_joint_loss_reach_every_weight(fusion: str) -> None:
    """In training, as data-parallel training needs it."""
    model = PromuForPreTraining(tiny_config(**HEADS, fusion=fusion, vision_hidden_size=24)).train()
    loss, _ = joint_loss(model, whole_batch())
    assert loss.isfinite()
    loss.backward()
    without = [name for name, parameter in model.named_parameters() if parameter.grad is None]
    assert without == []


@pytest.mark.parametrize("fusion", sorted(FUSIONS))
@pytest.mark.parametrize("task", ["ner", "re"])
def test_every_weight_learns_in_fine_tuning(task: str, fusion: str) -> None:
    """As data-parallel training needs it."""
    given = {**tiny_batch(), "labels": torch.tensor([1, 2, 0])}
    if task == "re":
        given["marker_index"] = torch.tensor([[1, 4]] * 3)
    else:
        words = torch.tensor([[1, 2, 3]] * 3)
        given |= {"word_index": words, "word_mask": torch.ones_like(words), "labels": words - 1}
    heads = {"ner": (PromuForTokenClassification, TAGS), "re": (PromuForRelationClassification, RELATIONS)}
    kind, labels = heads[task]
    model = kind(tiny_config(fusion=fusion, id2label=labels, vision_hidden_size=24)).train()
    model(**given).loss.backward()
    of_image = ("promu.vision_encoder", "promu.fusion.visual") if fusion == "text" else ()
    without = [name for name, parameter in model.named_parameters() if parameter.grad is None]
    assert [name for name in without if not name.startswith(of_image)] == []


@pytest.mark.parametrize("fusion", sorted(FUSIONS))
def test_what_is_saved_comes_back(fusion: str, tmp_path: Path) -> None:
    saved = PromuForTokenClassification(tiny_config(fusion=fusion, id2label=TAGS, vision_hidden_size=24)).eval()
    with torch.no_grad():
        for parameter in saved.parameters():
            parameter.add_(torch.rand_like(parameter) / 50)
    saved.save_pretrained(tmp_path)
    back = PromuForTokenClassification.from_pretrained(tmp_path).eval()
    assert back.config.fusion == fusion
    words = {"word_index": torch.ones(3, 2).long(), "word_mask": torch.ones(3, 2).long()}
    batch = tiny_batch()
    assert torch.equal(saved(**batch, **words).emissions, back(**batch, **words).emissions)


@pytest.mark.parametrize("fusion", sorted(FUSIONS))
def test_a_model_may_go_on_with_another_fusion(fusion: str, tmp_path: Path) -> None:
    """The text layers are taken over; what the new fusion has of its own starts as it would from scratch."""
    saved = PromuModel(tiny_config())
    saved.save_pretrained(tmp_path)
    model = PromuModel.from_pretrained(tmp_path, fusion=fusion)
    for mine, theirs in zip(model.fusion.layers.parameters(), saved.fusion.layers.parameters(), strict=True):
        assert torch.equal(mine, theirs)
    for name, parameter in model.fusion.named_parameters():
        assert parameter.isfinite().all() and parameter.abs().max() < 3, name
    assert model.eval()(**tiny_batch()).fused_text.isfinite().all()


@pytest.mark.parametrize("fusion", SEEING)
def test_a_image_that_was_encoded_once_serves_many_texts(fusion: str) -> None:
    model = PromuForRelationClassification(tiny_config(fusion=fusion, id2label={0: "None", 1: "r"})).eval()
    batch, markers = tiny_batch(rows=2), torch.tensor([[1, 4], [5, 2]])
    visual = model.promu.encode_visual(batch["pixel_values"])
    texts = {name: batch[name] for name in ("input_ids", "attention_mask")}
    torch.testing.assert_close(
        model(**texts, marker_index=markers, visual=visual).logits, model(**batch, marker_index=markers).logits
    )


@pytest.mark.parametrize("fusion", sorted(FUSIONS))
def test_attention_maps_are_shares_of_text_and_visual_tokens(fusion: str) -> None:
    config = tiny_config(fusion=fusion)
    config.text_config._attn_implementation = "eager"  # type: ignore[union-attr]
    model = PromuModel(config).eval()
    batch = {**with_boxes(), "image_mask": torch.tensor([1, 0, 1])}
    output = model(**batch, output_attentions=True)
    torch.testing.assert_close(output.fused_text, model(**batch).fused_text, rtol=0, atol=0)
    keys = 7 + (GRID**2 + 1 if FUSIONS[fusion].sees_images else 0)
    assert output.attentions
    for weights in output.attentions:
        assert weights.shape[:2] == (3, 4) and weights.shape[2] >= 7 and weights.shape[3] == keys
        torch.testing.assert_close(weights[::2].sum(-1), torch.ones_like(weights[::2, ..., 0]))
        assert not weights[1, :, :7, 7:].any()
    if FUSIONS[fusion].sees_images:
        assert sum(float(weights[0, :, :7, 7:].detach().sum()) for weights in output.attentions) > 0.1


@pytest.mark.parametrize("fusion", sorted(FUSIONS))
def test_every_fusion_attends_the_way_that_trains_fastest(fusion: str) -> None:
    model = PromuModel(tiny_config(fusion=fusion, fusion_layers=2)).eval()
    expected = model(**with_boxes()).fused_text
    model.set_attn_implementation(MATMUL)
    assert {config._attn_implementation for config in model.fusion.own_configs} == {MATMUL}
    torch.testing.assert_close(model(**with_boxes()).fused_text, expected, **CLOSE)


@pytest.mark.parametrize("fusion", sorted(FUSIONS))
def test_other_text_encoders_of_the_family_have_every_fusion(fusion: str) -> None:
    sizes: dict[str, Any] = {"hidden_size": WIDTH, "num_hidden_layers": 2, "num_attention_heads": 4}
    text = RobertaConfig(vocab_size=90, max_position_embeddings=64, pad_token_id=1, **sizes)
    model = PromuModel(tiny_config(fusion=fusion, text_config=text)).eval()
    assert model(**tiny_batch()).fused_text.isfinite().all()


@pytest.mark.parametrize("fusion", SEEING)
def test_a_batch_in_parts_is_the_batch(fusion: str) -> None:
    """Without dice: what MMIB samples cannot be compared, and its rolled pairs are those of the part."""
    weights = dict.fromkeys(FUSIONS[fusion].auxiliary, 0.5)
    config = tiny_config(**HEADS, fusion=fusion, fusion_loss_weights={**weights, **no_align(fusion)})
    torch.manual_seed(1)
    whole = PromuForPreTraining(config).eval()
    torch.manual_seed(1)
    apart = PromuForPreTraining(config).eval()
    expected, of_whole = joint_loss(whole, whole_batch())
    expected.backward()
    loss, parts = backward_in_parts(apart, JointLoss.of(apart), whole_batch(), 2, Accelerator(cpu=True))
    assert parts.keys() == {"itm", "cit", "coe", "cir", *weights} - {"spans"}  # which labelled entities have
    assert loss == pytest.approx(float(expected.detach()), rel=1e-4)
    for name, part in parts.items():
        if name != "align":
            torch.testing.assert_close(part, of_whole[name], rtol=1e-4, atol=1e-5)
    for (name, mine), theirs in zip(apart.named_parameters(), whole.parameters(), strict=True):
        assert mine.grad is not None and theirs.grad is not None, name
        assert (mine.grad - theirs.grad).abs().max() < 1e-5 + 1e-4 * theirs.grad.abs().max(), name


@pytest.mark.parametrize("fusion", SEEING)
def test_a_part_s_second_pass_contrasts_what_its_first_did(fusion: str) -> None:
    """Noise and dropout must be the same."""
    model = PromuForPreTraining(tiny_config(**HEADS, fusion=fusion, text_hidden_dropout_prob=0.5)).train()
    seen: list[Any] = []
    model.register_forward_hook(lambda module, given, output: seen.append(output))
    backward_in_parts(model, JointLoss.of(model), whole_batch(), 2, Accelerator(cpu=True))
    for one, other in zip(seen[:3], seen[3:], strict=True):
        torch.testing.assert_close(one.visual, other.visual.detach())
        torch.testing.assert_close(one.text, other.text.detach())


def no_align(fusion: str) -> dict[str, float]:
    """MMIB's rolled pairs off."""
    return {"align": 0.0} if "align" in FUSIONS[fusion].auxiliary else {}


def _parallel(rank: int) -> dict[str, dict[str, torch.Tensor]]:
    """Losses and gradients of one process's part under data-parallel training, for each fusion."""
    found = {}
    for fusion in SEEING:
        torch.manual_seed(1)
        model = PromuForPreTraining(tiny_config(**HEADS, fusion=fusion, fusion_loss_weights=no_align(fusion))).eval()
        parallel = torch.nn.parallel.DistributedDataParallel(model) if processes() > 1 else model
        batch = own_part(whole_batch(), rank, 2) if processes() > 1 else whole_batch()
        loss, parts = joint_loss(model, batch, parallel)
        loss.backward()
        gradients = {name: weight.grad for name, weight in model.named_parameters() if weight.grad is not None}
        losses = {f"loss {name}": group_sum(part) / processes() for name, part in parts.items()}
        found[fusion] = {**gradients, **{name: loss for name, loss in losses.items() if name != "loss align"}}
    return found


@pytest.mark.slow
def test_two_processes_have_the_losses_and_gradients_of_one(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.syspath_prepend(str(Path(__file__).parents[3]))
    alone = _parallel(0)
    for member in together(_parallel, tmp_path):
        for fusion, expected in alone.items():
            assert member[fusion].keys() == expected.keys()
            for name, value in expected.items():
                difference = (member[fusion][name] - value).abs().max()
                assert difference < 1e-5 + 1e-4 * value.abs().max(), (fusion, name)


def test_losses_that_the_fusion_hides_the_image_from_are_refused() -> None:
    sentence = (
        "fusion 'text' shows the fused vectors no image, from which loss 'itm' would have to learn; "
        "give itm, cir weight 0, or choose another fusion"
    )
    with pytest.raises(InputError) as caught:
        PromuForPreTraining(tiny_config(**HEADS, fusion="text", loss_weights={"coe": 0.0}))
    assert caught.value.reason == sentence
    weights = {"itm": 0.0, "coe": 0.0, "cir": 0.0, "mlm": 1.0}
    model = PromuForPreTraining(tiny_config(**HEADS, fusion="text", loss_weights=weights))
    assert joint_loss(model, whole_batch())[1].keys() == {"cit", "mlm"}


def test_l_cit_alone_asks_no_fusion() -> None:
    weights = {"itm": 0.0, "coe": 0.0, "cir": 0.0}
    model = PromuForPreTraining(tiny_config(**HEADS, loss_weights=weights))
    model.promu.fusion.register_forward_hook(lambda *_: pytest.fail("the fusion was asked"))
    loss, parts = joint_loss(model, whole_batch())
    assert parts.keys() == {"cit"}
    torch.testing.assert_close(loss.detach(), parts["cit"])


def test_a_text_encoder_that_cannot_be_halved_stays_whole_where_there_is_no_fusion() -> None:
    model = PromuModel(tiny_config(fusion="text", text_num_hidden_layers=1)).eval()
    output = model(**tiny_batch())
    assert len(model.fusion.layers) == 0 and torch.equal(output.fused_text, output.text)


@pytest.mark.parametrize(
    ("fusion", "own"), [("concat", "none"), ("umt", "spans"), ("mmib", "kl_text, kl_visual, align")]
)
def test_a_weight_of_a_loss_that_a_fusion_has_not_is_refused(fusion: str, own: str) -> None:
    with pytest.raises(InputError, match=f"fusion '{fusion}' has no loss 'kl'; its own losses are {own}"):
        PromuModel(tiny_config(fusion=fusion, fusion_loss_weights={"kl": 1.0}))


def test_layers_that_take_no_prefix_are_refused_by_their_kind() -> None:
    text = LayoutLMConfig(vocab_size=90, hidden_size=WIDTH, num_hidden_layers=2, num_attention_heads=4)
    with pytest.raises(
        InputError, match="layers of a 'layoutlm' text encoder take no visual prefix; set fusion_layers"
    ):
        PromuModel(tiny_config(fusion="hvpnet", text_config=text))


def test_a_text_encoder_with_other_layers_than_berts_keeps_them_or_is_refused() -> None:
    text = MPNetConfig(vocab_size=90, hidden_size=WIDTH, num_hidden_layers=2, num_attention_heads=4)
    with pytest.raises(InputError, match="layers of a 'mpnet' text encoder cannot be split between text and fusion"):
        PromuModel(tiny_config(text_config=text))
    model = PromuModel(tiny_config(fusion="text", text_config=text)).eval()
    assert len(model.fusion.layers) == 0 and len(model.text_encoder.encoder.layer) == 2  # type: ignore[union-attr, arg-type]
    assert model(torch.arange(10, 16)[None]).fused_text.shape == (1, 6, WIDTH)
