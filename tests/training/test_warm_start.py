"""Beginning the student with the teacher's encoders."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from tests.factories import TINY_VISION

from promu.errors import InputError
from promu.modeling.configuration import PromuConfig
from promu.modeling.pretraining import PromuDualEncoder, PromuForPreTraining
from promu.training.pretrain import warm_start

TEXT: dict[str, Any] = {
    "model_type": "bert",
    "vocab_size": 60,
    "hidden_size": 32,
    "num_attention_heads": 2,
    "intermediate_size": 64,
}


def teacher(folder: Path) -> PromuDualEncoder:
    model = PromuDualEncoder(
        PromuConfig(text_config={**TEXT, "num_hidden_layers": 2}, vision_config=TINY_VISION, projection_dim=16)
    )
    model.save_pretrained(folder)
    return model


def student(layers: int, **losses: float) -> PromuForPreTraining:
    text = {**TEXT, "num_hidden_layers": layers}
    sizes: dict[str, Any] = {"nouns": list("abc"), "relations": list("xy")}
    return PromuForPreTraining(
        PromuConfig(text_config=text, vision_config=TINY_VISION, projection_dim=16, loss_weights=losses, **sizes)
    )


def test_the_student_begins_as_the_teacher_and_keeps_its_own_fusion(tmp_path: Path) -> None:
    old = teacher(tmp_path)
    new = student(4)
    fusion = [weight.clone() for weight in new.promu.fusion.parameters()]
    warm_start(new, tmp_path)
    for name, weight in old.text_encoder.state_dict().items():
        assert torch.equal(new.promu.text_encoder.state_dict()[name], weight)
    assert new.promu.vision_encoder is not None and old.vision_encoder is not None
    for name, weight in old.vision_encoder.state_dict().items():
        assert torch.equal(new.promu.vision_encoder.state_dict()[name], weight)
    assert torch.equal(new.space.text.state_dict()["weight"], old.space.text.state_dict()["weight"])
    assert all(torch.equal(before, after) for before, after in zip(fusion, new.promu.fusion.parameters(), strict=True))


def test_a_student_without_the_contrastive_loss_takes_the_encoders_alone(tmp_path: Path) -> None:
    old = teacher(tmp_path)
    new = student(4, cit=0.0)
    warm_start(new, tmp_path)
    name = "embeddings.word_embeddings.weight"
    assert torch.equal(new.promu.text_encoder.state_dict()[name], old.text_encoder.state_dict()[name])


def test_encoders_of_another_shape_are_refused(tmp_path: Path) -> None:
    teacher(tmp_path)
    with pytest.raises(InputError, match="no place in the student"):
        warm_start(student(2), tmp_path)
