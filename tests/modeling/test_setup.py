"""Models, tokenizers and folders from settings."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import torch
from transformers import BertConfig, BertModel, PreTrainedTokenizerBase, ViTConfig, ViTModel

from promu.config import ModelSettings
from promu.errors import InputError
from promu.modeling.backbone import PromuModel
from promu.modeling.chain import bio_labels
from promu.modeling.classification import PromuForRelationClassification, PromuForTokenClassification
from promu.modeling.encoders import encoder_config
from promu.modeling.initial_model import build_model, tokenizer_of
from promu.modeling.inputs import ENTITY_MARKERS
from promu.modeling.loading import load_model, load_tokenizer, save_folder
from promu.training.tokenizers import train_wordpiece

SIZES: dict[str, Any] = {
    "hidden_size": 16,
    "num_hidden_layers": 2,
    "num_attention_heads": 2,
    "intermediate_size": 16,
}
TEXT, VISION = {"model_type": "bert", **SIZES}, {"model_type": "vit", "image_size": 16, "patch_size": 8, **SIZES}
LABELS = bio_labels(["LOC", "PER"])
NAMES: dict[str, Any] = {
    "id2label": dict(enumerate(LABELS)),
    "label2id": {name: index for index, name in enumerate(LABELS)},
}


@pytest.fixture(scope="module")
def tokenizer() -> PreTrainedTokenizerBase:
    return train_wordpiece(["the dog runs"] * 3, 300)


def test_a_model_from_scratch_has_the_tokenizers_vocabulary(tokenizer: PreTrainedTokenizerBase) -> None:
    settings = ModelSettings(text=TEXT, vision=VISION, config={"pooling": "cls+mean"})
    model = build_model(PromuForTokenClassification, settings, tokenizer, **NAMES)
    assert model.promu.get_input_embeddings().weight.shape[0] == len(tokenizer)  # type: ignore[union-attr, index]
    assert model.config.pooling == "cls+mean" and model.config.id2label == NAMES["id2label"]
    assert model.config.image_size == 16


def test_a_model_of_named_encoders_keeps_their_weights_and_learns_the_markers(tmp_path: Path) -> None:
    text = BertModel(BertConfig(vocab_size=200, **SIZES))
    text.save_pretrained(tmp_path / "text")
    vision = ViTModel(ViTConfig(image_size=16, patch_size=8, **SIZES))
    vision.save_pretrained(tmp_path / "vision")
    plain = train_wordpiece(["the dog runs"] * 3, 300)
    assert len(plain) <= 200
    settings = ModelSettings(text=str(tmp_path / "text"), vision=str(tmp_path / "vision"))
    model = build_model(PromuForRelationClassification, settings, plain, id2label={0: "None", 1: "r"})
    rows = len(plain)
    embeddings = model.promu.text_encoder.get_input_embeddings().weight
    assert isinstance(embeddings, torch.Tensor)
    assert embeddings.shape[0] == rows == model.config.text_config.vocab_size  # type: ignore[union-attr]
    assert torch.equal(embeddings, text.embeddings.word_embeddings.weight[:rows])
    weights = dict(text.named_parameters())
    for name, value in model.promu.fusion.layers[0].named_parameters():
        assert torch.equal(value, weights[f"encoder.layer.1.{name}"])
    assert model.promu.vision_encoder is not None
    for name, value in model.promu.vision_encoder.named_parameters():
        assert torch.equal(value, dict(vision.named_parameters())[name])
    # what was built this way comes back from its folder
    save_folder(tmp_path / "model", model, plain)
    back = load_model(PromuForRelationClassification, tmp_path / "model")
    for mine, theirs in zip(model.state_dict().values(), back.state_dict().values(), strict=True):
        assert torch.equal(mine, theirs)


def test_markers_that_a_tokenizer_lacks_get_embeddings(shared: Path, tmp_path: Path) -> None:
    tokenizer = load_tokenizer(str(shared / "models" / "bert-base-uncased-tokenizer"))
    before = len(tokenizer)
    BertModel(BertConfig(vocab_size=before, **SIZES)).save_pretrained(tmp_path)
    model = build_model(PromuForTokenClassification, ModelSettings(text=str(tmp_path)), tokenizer, **NAMES)
    assert len(tokenizer) == before + 4
    assert model.promu.get_input_embeddings().weight.shape[0] == before + 4  # type: ignore[union-attr, index]
    ids = tokenizer.convert_tokens_to_ids(list(ENTITY_MARKERS))
    assert model.eval().promu(input_ids=torch.tensor([ids])).fused_text.isfinite().all()


def test_a_model_goes_on_from_a_saved_one(tokenizer: PreTrainedTokenizerBase, tmp_path: Path) -> None:
    first = build_model(PromuForTokenClassification, ModelSettings(text=TEXT, vision=VISION), tokenizer, **NAMES)
    save_folder(tmp_path / "model", first, tokenizer)
    settings = ModelSettings(init=str(tmp_path / "model"), config={"classifier_dropout": 0.5})
    assert len(tokenizer_of(settings)) == len(tokenizer)
    model = build_model(PromuForRelationClassification, settings, tokenizer, id2label={0: "None", 1: "r"})
    assert model.config.classifier_dropout == 0.5 and model.config.id2label == {0: "None", 1: "r"}
    for mine, theirs in zip(first.promu.state_dict().values(), model.promu.state_dict().values(), strict=True):
        assert torch.equal(mine, theirs)


def test_a_folder_is_replaced_whole(
    tokenizer: PreTrainedTokenizerBase, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = tmp_path / "model"
    model = build_model(PromuForTokenClassification, ModelSettings(text=TEXT), tokenizer, **NAMES)
    save_folder(folder, model, tokenizer)
    (folder / "left-over.txt").write_text("of an earlier save")
    save_folder(folder, model, tokenizer)
    assert not (folder / "left-over.txt").exists()
    before = {path.name: path.read_bytes() for path in folder.iterdir()}
    assert {"config.json", "model.safetensors", "tokenizer.json", "tokenizer_config.json"} <= before.keys()

    def full_disk(*args: object, **kwargs: object) -> None:
        raise OSError("no space left on device")

    monkeypatch.setattr(tokenizer, "save_pretrained", full_disk)
    with pytest.raises(OSError, match="no space left"):
        save_folder(folder, model, tokenizer)
    assert {path.name: path.read_bytes() for path in folder.iterdir()} == before


def test_encoder_settings_that_cannot_be(tmp_path: Path) -> None:
    config = encoder_config(TEXT, vocab_size=77)
    assert (config.model_type, config.hidden_size, config.vocab_size) == ("bert", 16, 77)
    with pytest.raises(InputError, match="model_type 'brt' is unknown"):
        encoder_config({**TEXT, "model_type": "brt"})
    with pytest.raises(InputError, match="model_type None is unknown"):
        encoder_config(SIZES)
    with pytest.raises(InputError, match=r"unknown key 'hiden_size'; known are .*hidden_size"):
        encoder_config({**TEXT, "hiden_size": 3})
    with pytest.raises(InputError, match="hidden_size"):
        encoder_config({**TEXT, "hidden_size": "wide"})
    with pytest.raises(InputError, match=r"encoder .* cannot be loaded .*config.json"):
        encoder_config(str(tmp_path))


def test_a_named_encoder_beside_one_from_scratch(tokenizer: PreTrainedTokenizerBase, tmp_path: Path) -> None:
    vision = ViTModel(ViTConfig(image_size=16, patch_size=8, **SIZES))
    vision.save_pretrained(tmp_path / "vision")
    settings = ModelSettings(text=TEXT, vision=str(tmp_path / "vision"))
    model = build_model(PromuForTokenClassification, settings, tokenizer, **NAMES)
    found = model.promu.vision_encoder
    assert found is not None and model.config.image_size == 16
    weights = found.state_dict()
    assert weights and all(torch.equal(weights[name], vision.state_dict()[name]) for name in weights)
    assert model.promu.get_input_embeddings().weight.shape[0] == len(tokenizer)  # type: ignore[union-attr, index]
    with pytest.raises(
        InputError, match=r"encoder 'some-vit' cannot be loaded .*; name a folder or hub model within reach"
    ):
        build_model(PromuForTokenClassification, ModelSettings(text=TEXT, vision="some-vit"), tokenizer, **NAMES)


@pytest.mark.parametrize("missing", ["config.json", "model.safetensors"])
def test_a_folder_that_is_no_model(tokenizer: PreTrainedTokenizerBase, tmp_path: Path, missing: str) -> None:
    model = build_model(PromuForTokenClassification, ModelSettings(text=TEXT), tokenizer, **NAMES)
    save_folder(tmp_path / "model", model, tokenizer)
    (tmp_path / "model" / missing).unlink()
    with pytest.raises(InputError, match=rf"no promu model here \({missing} is missing\)"):
        load_model(PromuForTokenClassification, tmp_path / "model")


def test_a_model_folder_that_is_damaged(tokenizer: PreTrainedTokenizerBase, tmp_path: Path) -> None:
    model = build_model(PromuForTokenClassification, ModelSettings(text=TEXT), tokenizer, **NAMES)
    save_folder(tmp_path / "model", model, tokenizer)
    weights, config = tmp_path / "model" / "model.safetensors", tmp_path / "model" / "config.json"
    whole = weights.read_bytes()
    for damaged in (whole[:-50], b""):
        weights.write_bytes(damaged)
        with pytest.raises(InputError, match="the weights are damaged"):
            load_model(PromuForTokenClassification, tmp_path / "model")
    weights.write_bytes(whole)
    settings = json.loads(config.read_text())
    settings["text_config"]["hidden_size"] = 32
    config.write_text(json.dumps(settings))
    with pytest.raises(InputError, match=r"its weights have other shapes than its config.json"):
        load_model(PromuForTokenClassification, tmp_path / "model")
    config.write_text("{")
    with pytest.raises(InputError, match=r"config.json: not JSON"):
        load_model(PromuForTokenClassification, tmp_path / "model")


def test_a_model_of_another_library_is_no_promu_model(tmp_path: Path) -> None:
    BertModel(BertConfig(vocab_size=50, **SIZES)).save_pretrained(tmp_path)
    with pytest.raises(InputError, match=r"this is a 'bert' model, not promu's; name it under model.text"):
        load_model(PromuModel, tmp_path)


def test_tokenizers_that_are_none(tokenizer: PreTrainedTokenizerBase, tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"this model folder has no tokenizer \(tokenizer.json\)"):
        load_tokenizer(str(tmp_path))
    tokenizer.save_pretrained(tmp_path)
    assert len(load_tokenizer(str(tmp_path))) == len(tokenizer)
    (tmp_path / "tokenizer.json").write_text("{}")
    with pytest.raises(InputError, match="not a tokenizer"):
        load_tokenizer(str(tmp_path))
    with pytest.raises(InputError, match=r"tokenizer .* cannot be loaded .*; name a folder or hub model within reach"):
        load_tokenizer("no-such-organisation/no-such-model")
    with pytest.raises(InputError, match=r"model.tokenizer is missing"):
        tokenizer_of(ModelSettings(text=TEXT))
