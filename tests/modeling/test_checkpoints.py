"""What is saved comes back exactly, and a head that no checkpoint holds starts as a fresh one would."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch

from promu.modeling.backbone import PromuModel, PromuPreTrainedModel
from promu.modeling.chain import bio_labels
from promu.modeling.classification import PromuForRelationClassification, PromuForTokenClassification
from promu.modeling.configuration import PromuConfig
from promu.modeling.pretraining import PromuDualEncoder, PromuForPreTraining
from promu.modeling.small_encoders import ConvViTConfig

MakeConfig = Callable[..., PromuConfig]
TAGS = dict(enumerate(bio_labels(["PER", "LOC", "ORG"])))
HEADS: dict[str, Any] = {
    "nouns": list("abcde"),
    "relations": list("wxyz"),
    "projection_dim": 16,
    "projection_norm": True,
    "loss_weights": {"mlm": 1.0},
    "id2label": TAGS,
    "label2id": {name: index for index, name in TAGS.items()},
}


def conv_vit() -> ConvViTConfig:
    return ConvViTConfig(
        hidden_size=32,
        num_hidden_layers=1,
        num_attention_heads=4,
        intermediate_size=48,
        image_size=16,
        patch_size=4,
        stem_channels=8,
    )


def scramble(model: torch.nn.Module) -> None:
    """Make every weight differ from any initial value."""
    with torch.no_grad():
        for tensor in (*model.parameters(), *model.buffers()):
            if tensor.is_floating_point():
                tensor.add_(torch.rand_like(tensor))  # positive, as running variances must be


def assert_same_state(one: torch.nn.Module, other: torch.nn.Module) -> None:
    mine, theirs = one.state_dict(), other.state_dict()
    assert mine.keys() == theirs.keys()
    for name, value in mine.items():
        assert value.device == theirs[name].device and value.dtype == theirs[name].dtype, name
        assert torch.equal(value, theirs[name]), name


@pytest.mark.parametrize("stem", ["plain", "conv"])
@pytest.mark.parametrize(
    "kind",
    [
        PromuModel,
        PromuForPreTraining,
        PromuForTokenClassification,
        PromuForRelationClassification,
        PromuDualEncoder,
    ],
)
def test_a_saved_model_comes_back_exactly(
    make_config: MakeConfig,
    make_batch: Callable[..., dict[str, torch.Tensor]],
    tmp_path: Path,
    kind: type[PromuPreTrainedModel],
    stem: str,
) -> None:
    model = kind(make_config(**HEADS, **({"vision_config": conv_vit()} if stem == "conv" else {})))
    scramble(model)
    model.eval().save_pretrained(tmp_path)
    back = kind.from_pretrained(tmp_path)
    assert_same_state(model, back)
    for name in HEADS:
        assert getattr(back.config, name) == getattr(model.config, name), name
    # the same weights in the same places: outputs agree too
    batch = make_batch(rows=2)
    extra: dict[str, Any] = {
        "PromuForTokenClassification": {"word_index": torch.ones(2, 1).long(), "word_mask": torch.ones(2, 1).long()},
        "PromuForRelationClassification": {"marker_index": torch.ones(2, 2).long()},
    }.get(kind.__name__, {})
    for mine, theirs in zip(model(**batch, **extra).to_tuple(), back.eval()(**batch, **extra).to_tuple(), strict=True):
        torch.testing.assert_close(mine, theirs)


def test_only_safetensors_are_written(make_config: MakeConfig, tmp_path: Path) -> None:
    PromuForTokenClassification(make_config(**HEADS)).save_pretrained(tmp_path)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["README.md", "config.json", "model.safetensors"]


@pytest.mark.parametrize("kind", [PromuForTokenClassification, PromuForRelationClassification, PromuForPreTraining])
def test_a_head_that_the_checkpoint_lacks_starts_like_a_fresh_one(
    make_config: MakeConfig, tmp_path: Path, kind: type[PromuPreTrainedModel]
) -> None:
    saved = PromuForPreTraining(make_config(**{**HEADS, "loss_weights": None}))
    scramble(saved)
    saved.save_pretrained(tmp_path)
    # a pre-training model with a part more than the saved one has
    more: dict[str, Any] = {"loss_weights": {"mlm": 1.0}} if kind is PromuForPreTraining else {}
    labels = {name: HEADS[name] for name in ("id2label", "label2id")}
    model = kind.from_pretrained(tmp_path, **labels, **more)
    assert_same_state(saved.promu, model.promu)  # type: ignore[arg-type]
    for name, parameter in (*model.named_parameters(), *model.named_buffers()):
        assert parameter.device.type == "cpu", name
        assert not parameter.is_floating_point() or parameter.isfinite().all(), name
    fresh = kind(model.config)
    for name, parameter in model.named_parameters():
        if name.startswith("promu.") or (kind is PromuForPreTraining and "mlm" not in name):
            continue
        reference = dict(fresh.named_parameters())[name]
        if reference.std(unbiased=False) == 0:
            assert torch.equal(parameter, reference), name
        else:
            assert 0.5 < float((parameter.std() / reference.std()).detach()) < 2, name


def test_the_crf_of_a_new_head_knows_the_legal_moves(make_config: MakeConfig, tmp_path: Path) -> None:
    """Loading builds modules without storage first; buffers computed then must be computed again."""
    PromuForPreTraining(make_config(**HEADS)).save_pretrained(tmp_path)
    labels = {name: HEADS[name] for name in ("id2label", "label2id")}
    model = PromuForTokenClassification.from_pretrained(tmp_path, **labels)
    fresh = PromuForTokenClassification(make_config(**HEADS))
    assert torch.equal(model.crf.legal_start, fresh.crf.legal_start)
    assert torch.equal(model.crf.legal_transitions, fresh.crf.legal_transitions)
    assert model.crf.legal_start.tolist() == [True, True, False, True, False, True, False]
    assert not any(parameter.any() for parameter in model.crf.parameters())


def test_temperature_of_a_new_shared_space_is_the_configured_one(make_config: MakeConfig, tmp_path: Path) -> None:
    PromuForTokenClassification(make_config(**HEADS)).save_pretrained(tmp_path)
    model = PromuForPreTraining.from_pretrained(tmp_path, temperature=0.2)
    assert float(model.space.temperature.detach()) == pytest.approx(0.2)


@pytest.mark.slow
def test_a_learned_temperature_is_kept(make_config: MakeConfig, tmp_path: Path) -> None:
    model = PromuDualEncoder(make_config(**HEADS))
    with torch.no_grad():
        model.space.log_temperature.fill_(-3.0)
    model.save_pretrained(tmp_path)
    assert PromuDualEncoder.from_pretrained(tmp_path).space.log_temperature.detach() == -3.0


def test_the_backbone_alone_can_be_taken_from_a_pretrained_model(make_config: MakeConfig, tmp_path: Path) -> None:
    saved = PromuForPreTraining(make_config(**HEADS))
    scramble(saved)
    saved.save_pretrained(tmp_path)
    assert_same_state(saved.promu, PromuModel.from_pretrained(tmp_path))


def test_the_stem_keeps_its_own_start_inside_every_model(make_config: MakeConfig, tmp_path: Path) -> None:
    """At ViT's std of 0.02 three convolutions pass almost no signal; PyTorch's own start is ten times that."""
    config = make_config(**HEADS, vision_config=conv_vit())
    models = [PromuModel(config), PromuForTokenClassification(config).promu, PromuDualEncoder(config)]
    PromuModel(config).save_pretrained(tmp_path)
    models.append(PromuForTokenClassification.from_pretrained(tmp_path, id2label=TAGS).promu)
    for model in models:
        first = model.vision_encoder.embeddings.patch_embeddings.blocks[0]  # type: ignore[union-attr, index]
        # uniform in +-1/sqrt(27) has a std of 1/9
        assert 0.08 < first.weight.detach().std() < 0.14  # type: ignore[union-attr, operator]


def test_a_model_can_be_loaded_with_eager_attention(
    make_config: MakeConfig, make_batch: Callable[..., dict[str, torch.Tensor]], tmp_path: Path
) -> None:
    model = PromuModel(make_config()).eval()
    model.save_pretrained(tmp_path)
    eager = PromuModel.from_pretrained(tmp_path, attn_implementation="eager").eval()
    batch = make_batch(rows=2)
    output = eager(**batch, output_attentions=True)
    assert output.attentions is not None and output.attentions[0].shape == (2, 4, 24, 24)
    torch.testing.assert_close(output.fused_text, model(**batch).fused_text, rtol=1e-5, atol=1e-5)
