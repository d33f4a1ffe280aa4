"""Teachers: the self-trained one from its folder, and CLIP- and SigLIP-type ones off the shelf."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import pytest
import torch
from PIL import Image
from torch.nn import functional
from transformers import (
    BertConfig,
    BertModel,
    CLIPConfig,
    CLIPImageProcessorPil,
    CLIPModel,
    SiglipConfig,
    SiglipImageProcessorPil,
    SiglipModel,
    ViTConfig,
)

from promu.alignment import teacher as module
from promu.alignment.teacher import HubTeacher, SelfTrainedTeacher, load_teacher
from promu.errors import InputError
from promu.modeling.configuration import PromuConfig
from promu.modeling.inputs import WordEncoder, tensors, to_pixels
from promu.modeling.pretraining import PromuDualEncoder
from promu.training.tokenizers import train_wordpiece

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
            alone = model.encode_text(**tensors(encoder.batch([encoder.text(prompts[place])])))
            torch.testing.assert_close(vectors[place : place + 1], alone, rtol=1e-4, atol=1e-5)
        image = Image.effect_noise((40, 20), 90).convert("RGB")
        expected = model.encode_images(torch.from_numpy(to_pixels(image, 16))[None])
    torch.testing.assert_close(teacher.encode_images([image]), expected, rtol=1e-5, atol=1e-5)


def test_it_is_frozen(tmp_path: Path) -> None:
    save_teacher(tmp_path)
    teacher = SelfTrainedTeacher(tmp_path)
    image = Image.effect_noise((16, 16), 90).convert("RGB")
    before = {name: value.clone() for name, value in teacher.model.state_dict().items()}
    assert not teacher.encode_images([image] * 3).requires_grad
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


def noise(size: tuple[int, int], seed: int) -> Image.Image:
    values = torch.randint(0, 256, (size[1], size[0], 3), generator=torch.Generator().manual_seed(seed))
    return Image.fromarray(values.to(torch.uint8).numpy())


def test_the_company_that_a_image_is_in_does_not_change_its_vector(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    save_teacher(tmp_path)
    teacher = SelfTrainedTeacher(tmp_path)
    images = [noise((20, 12), number) for number in range(5)]
    together = teacher.encode_images(images)
    monkeypatch.setattr(module, "IMAGE_BATCH", 2)
    torch.testing.assert_close(teacher.encode_images(images), together, rtol=1e-5, atol=1e-6)


def save_clip(folder: Path, scale: float = 3.0, seed: int = 0) -> CLIPModel:
    torch.manual_seed(seed)
    text = {**SIZES, "vocab_size": len(TOKENIZER), "max_position_embeddings": 12, "initializer_range": 0.5}
    text |= {"eos_token_id": TOKENIZER.sep_token_id, "bos_token_id": TOKENIZER.cls_token_id, "pad_token_id": 0}
    vision = {**SIZES, "image_size": 16, "patch_size": 8}
    model = CLIPModel(CLIPConfig(text_config=text, vision_config=vision, projection_dim=8)).eval()
    model.logit_scale.data.fill_(scale)
    model.save_pretrained(folder)
    TOKENIZER.save_pretrained(folder)
    sizes: dict[str, Any] = {"size": {"shortest_edge": 16}, "crop_size": {"height": 16, "width": 16}}
    CLIPImageProcessorPil(image_mean=[0.1, 0.2, 0.3], image_std=[0.4, 0.5, 0.6], **sizes).save_pretrained(folder)
    return model


def save_siglip(folder: Path) -> SiglipModel:
    torch.manual_seed(0)
    text = {**SIZES, "vocab_size": len(TOKENIZER), "max_position_embeddings": 12, "projection_size": 16}
    text |= {"pad_token_id": 0, "bos_token_id": TOKENIZER.cls_token_id, "eos_token_id": TOKENIZER.sep_token_id}
    vision = {**SIZES, "image_size": 16, "patch_size": 8}
    model = SiglipModel(SiglipConfig(text_config=text, vision_config=vision)).eval()
    model.logit_scale.data.fill_(2.0)
    model.save_pretrained(folder)
    TOKENIZER.save_pretrained(folder)
    SiglipImageProcessorPil(size={"height": 16, "width": 16}).save_pretrained(folder)
    return model


PROMPTS = ["a dog", "this is an image of a dog", "dog " * 30]


def test_a_clip_type_model_is_a_teacher(tmp_path: Path) -> None:
    model = save_clip(tmp_path)
    teacher = load_teacher("hub", str(tmp_path), "cpu")
    assert teacher.temperature == pytest.approx(math.exp(-3.0))
    vectors = teacher.encode_prompts(PROMPTS)
    assert vectors.shape == (3, 8) and not vectors.requires_grad
    torch.testing.assert_close(vectors.norm(dim=-1), torch.ones(3))
    # the oracle: each prompt alone, without padding, through the parts of the model
    for prompt, vector in zip(PROMPTS, vectors, strict=True):
        ids = torch.tensor([TOKENIZER(prompt, truncation=True, max_length=12)["input_ids"]])
        with torch.no_grad():
            expected = model.text_projection(model.text_model(input_ids=ids).pooler_output)
        torch.testing.assert_close(vector, functional.normalize(expected, dim=-1)[0], rtol=1e-4, atol=1e-5)
    square = noise((16, 16), 0)
    pixels = torch.from_numpy(to_pixels(square, 16))[None] / 255
    mean, std = (torch.tensor(values).view(1, 3, 1, 1) for values in ([0.1, 0.2, 0.3], [0.4, 0.5, 0.6]))
    with torch.no_grad():
        seen = model.visual_projection(model.vision_model(pixel_values=(pixels - mean) / std).pooler_output)
    found = teacher.encode_images([square, noise((40, 20), 1)])
    torch.testing.assert_close(found[0], functional.normalize(seen, dim=-1)[0], rtol=1e-4, atol=1e-5)
    torch.testing.assert_close(found.norm(dim=-1), torch.ones(2))


def test_a_siglip_type_model_reads_prompts_padded_as_in_its_training(tmp_path: Path) -> None:
    model = save_siglip(tmp_path)
    teacher = HubTeacher(str(tmp_path))
    assert teacher.temperature == pytest.approx(math.exp(-2.0))
    vectors = teacher.encode_prompts(PROMPTS)
    for prompt, vector in zip(PROMPTS, vectors, strict=True):
        ids = TOKENIZER(prompt, truncation=True, max_length=12)["input_ids"]
        with torch.no_grad():
            padded = torch.tensor([ids + [0] * (12 - len(ids))])
            expected = model.text_model(input_ids=padded).pooler_output
        torch.testing.assert_close(vector, functional.normalize(expected, dim=-1)[0], rtol=1e-4, atol=1e-5)
    pixels = torch.from_numpy(to_pixels(noise((16, 16), 0), 16))[None] / 127.5 - 1
    with torch.no_grad():
        seen = model.vision_model(pixel_values=pixels).pooler_output
    found = teacher.encode_images([noise((16, 16), 0)])
    torch.testing.assert_close(found, functional.normalize(seen, dim=-1), rtol=1e-4, atol=1e-5)


def test_the_identity_of_a_hub_model_is_its_name_and_weights(tmp_path: Path) -> None:
    for place, scale, seed in (
        ("one/clip", 3.0, 0),
        ("two/clip", 3.0, 0),
        ("three/clip", 2.0, 0),
        ("four/clip", 3.0, 1),
    ):
        save_clip(tmp_path / place, scale, seed)
    one, moved, scaled, other = (
        HubTeacher(str(tmp_path / place / "clip")).identity for place in ("one", "two", "three", "four")
    )
    assert one == moved and one.startswith("clip:")
    assert len({one, scaled, other}) == 3


def test_teachers_that_cannot_be_loaded_say_why(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="teacher kind 'clip' is unknown; use one of self-trained, hub"):
        load_teacher("clip", "x")
    with pytest.raises(InputError, match=r"teacher './nowhere' cannot be loaded \(.*\); name a folder or hub model"):
        load_teacher("hub", "./nowhere")
    BertModel(BertConfig(vocab_size=60, **SIZES)).save_pretrained(tmp_path / "bert")
    with pytest.raises(InputError, match=r"is a 'bert' model, which does not put texts and images in one space"):
        load_teacher("hub", str(tmp_path / "bert"))
    save_clip(tmp_path / "blind")
    (tmp_path / "blind" / "preprocessor_config.json").unlink()
    with pytest.raises(InputError, match=r"image processor of teacher .* cannot be loaded"):
        load_teacher("hub", str(tmp_path / "blind"))
    model = save_clip(tmp_path / "pickled")
    (tmp_path / "pickled" / "model.safetensors").unlink()
    torch.save(model.state_dict(), tmp_path / "pickled" / "pytorch_model.bin")
    with pytest.raises(InputError, match=r"cannot be loaded .*safetensors"):
        load_teacher("hub", str(tmp_path / "pickled"))
    save_clip(tmp_path / "cut")
    weights = tmp_path / "cut" / "model.safetensors"
    weights.write_bytes(weights.read_bytes()[:-100])
    with pytest.raises(InputError, match=r"weights of teacher .* are damaged"):
        load_teacher("hub", str(tmp_path / "cut"))


def test_a_teacher_without_its_tokenizer_is_refused(tmp_path: Path) -> None:
    save_clip(tmp_path)
    for name in ("tokenizer.json", "tokenizer_config.json"):
        (tmp_path / name).unlink()
    with pytest.raises(InputError, match="has no vocabulary for its tokenizer; save it beside the weights"):
        load_teacher("hub", str(tmp_path))
