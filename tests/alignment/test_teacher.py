"""The self-trained teacher from its folder."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from PIL import Image
from transformers import BertConfig, ViTConfig

from promu.alignment.teacher import SelfTrainedTeacher
from promu.errors import InputError
from promu.modeling.configuration import PromuConfig
from promu.modeling.dual_encoder import PromuDualEncoder
from promu.modeling.inputs import WordEncoder, to_pixels
from promu.training.wordpiece import train_wordpiece

TOKENIZER = train_wordpiece(["this is an image of a dog"] * 2, 200)
SIZES: dict[str, Any] = {"hidden_size": 16, "num_hidden_layers": 1, "num_attention_heads": 2, "intermediate_size": 16}


def save_teacher(folder: Path, seed: int = 0) -> PromuDualEncoder:
    torch.manual_seed(seed)
    config = PromuConfig(
        text_config=BertConfig(vocab_size=len(TOKENIZER), initializer_range=0.5, **SIZES),
        vision_config=ViTConfig(image_size=16, patch_size=8, initializer_range=0.5, **SIZES),
        projection_dim=8,
        projection_norm=True,
        temperature=0.2,
        max_length=12,
    )
    model = PromuDualEncoder(config)
    model.save_pretrained(folder)
    TOKENIZER.save_pretrained(folder)
    return model.eval()


def test_its_vectors_are_those_of_the_model_that_was_saved(tmp_path: Path) -> None:
    model = save_teacher(tmp_path)
    teacher = SelfTrainedTeacher(tmp_path)
    assert teacher.temperature == pytest.approx(0.2)
    # more prompts than one batch, of different lengths, one longer than the model reads
    prompts = ["a dog", "this is an image of a dog", "dog " * 30] * 100
    vectors = teacher.encode_prompts(prompts)
    assert vectors.shape == (300, 8)
    torch.testing.assert_close(vectors.norm(dim=-1), torch.ones(300))
    encoder = WordEncoder(TOKENIZER, 12)
    with torch.no_grad():
        for place in (0, 1, 2, 299):
            alone = model.encode_text(**encoder.batch([encoder.text(prompts[place])]))
            torch.testing.assert_close(vectors[place : place + 1], alone, rtol=1e-4, atol=1e-5)
        picture = Image.effect_noise((40, 20), 90).convert("RGB")
        expected = model.encode_pictures(to_pixels(picture, 16)[None])
    torch.testing.assert_close(teacher.encode_pictures([picture]), expected, rtol=1e-5, atol=1e-5)


def test_it_is_frozen(tmp_path: Path) -> None:
    save_teacher(tmp_path)
    teacher = SelfTrainedTeacher(tmp_path)
    picture = Image.effect_noise((16, 16), 90).convert("RGB")
    before = {name: value.clone() for name, value in teacher.model.state_dict().items()}
    assert not teacher.encode_pictures([picture] * 3).requires_grad
    assert torch.equal(teacher.encode_prompts(["a dog"]), teacher.encode_prompts(["a dog"]))
    assert all(torch.equal(value, before[name]) for name, value in teacher.model.state_dict().items())


def test_its_identity_is_that_of_its_weights(tmp_path: Path) -> None:
    save_teacher(tmp_path / "one")
    save_teacher(tmp_path / "same")
    save_teacher(tmp_path / "other", seed=1)
    one, same, other = (SelfTrainedTeacher(tmp_path / name).identity for name in ("one", "same", "other"))
    assert one == same != other


def test_a_folder_without_a_teacher_is_refused(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"no trained teacher here \(model.safetensors is missing\)"):
        SelfTrainedTeacher(tmp_path)
