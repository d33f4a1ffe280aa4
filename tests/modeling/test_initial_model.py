"""A model that starts from a saved one: what goes by the names of its labels, what starts fresh, and what is said."""

from __future__ import annotations

import logging
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file, save_file
from tests.factories import TINY_TEXT, TINY_VISION, save_tiny_model

from promu.config import ModelSettings
from promu.errors import InputError
from promu.hub import WEIGHTS
from promu.modeling.chain import bio_labels
from promu.modeling.classification import PromuForRelationClassification, PromuForTokenClassification
from promu.modeling.initial_model import build_model, refuse_other_tokens, start_from, tokenizer_of
from promu.modeling.joint_model import PromuForJointExtraction
from promu.modeling.loading import load_model, load_tokenizer, save_folder
from promu.modeling.pretraining import PromuForPreTraining
from promu.training.tokenizers import train_wordpiece


def named(names: list[str]) -> dict[str, Any]:
    return {"id2label": dict(enumerate(names)), "label2id": {name: row for row, name in enumerate(names)}}


@pytest.fixture(scope="module")
def saved(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """`ner`, `re`, `joint` with LOC, MISC, ORG, PER and five relations; the CRF's scores are numbered."""
    root = tmp_path_factory.mktemp("saved")
    for task in ("ner", "re", "joint"):
        save_tiny_model(root / task, task, images=False)
    model = load_model(PromuForTokenClassification, root / "ner")
    with torch.no_grad():
        model.crf.start.copy_(torch.arange(9.0))
        model.crf.end.copy_(10 + torch.arange(9.0))
        model.crf.transitions.copy_(torch.arange(81.0).view(9, 9))
    save_folder(root / "ner", model, load_tokenizer(str(root / "ner")))
    return root


def test_entity_labels_go_by_name_in_emissions_and_crf(saved: Path, caplog: pytest.LogCaptureFixture) -> None:
    """Of O, LOC, MISC, ORG, PER to O, ORG, SHIP, PER: ORG moves from rows 5, 6 to 1, 2, PER from 7, 8 to 5, 6."""
    caplog.set_level(logging.INFO, "promu")
    torch.manual_seed(0)
    model = start_from(PromuForTokenClassification, saved / "ner", **named(bio_labels(["ORG", "SHIP", "PER"])))
    before = load_file(saved / "ner" / WEIGHTS)
    new, old = [0, 1, 2, 5, 6], [0, 5, 6, 7, 8]
    assert torch.equal(model.emitter.weight[new], before["emitter.weight"][old])
    assert torch.equal(model.emitter.bias[new], before["emitter.bias"][old])
    assert model.crf.start.tolist() == [0, 5, 6, 0, 0, 7, 8]
    assert model.crf.end.tolist() == [10, 15, 16, 0, 0, 17, 18]
    # row 1 is B-ORG, before row 5 of 9: to O 45, to B-ORG 50, to I-ORG 51, nothing to SHIP, to B-PER 52, to I-PER 53
    assert model.crf.transitions[1].tolist() == [45, 50, 51, 0, 0, 52, 53]
    assert model.crf.transitions[3].tolist() == [0] * 7, "moves from B-SHIP are new"
    assert model.crf.legal_transitions[3].tolist() == [True, True, False, True, True, True, False]
    fresh = model.emitter.weight[3:5].detach()
    assert 0.01 < fresh.std().item() < 0.03 and model.emitter.bias[3:5].tolist() == [0, 0]
    assert not any(torch.equal(row, other) for row in fresh for other in before["emitter.weight"])
    assert [record.getMessage() for record in caplog.records if record.name.startswith("promu")] == [
        f"model.init: labels O, ORG, PER keep their weights of {saved / 'ner'}; SHIP start fresh; "
        f"LOC, MISC of {saved / 'ner'} are left behind"
    ]
    name = "promu.text_encoder.embeddings.word_embeddings.weight"
    assert torch.equal(model.state_dict()[name], before[name]), "the backbone is the same"


def test_as_many_labels_with_other_names_share_nothing_but_o(saved: Path) -> None:
    model = start_from(PromuForTokenClassification, saved / "ner", **named(bio_labels(["ACT", "BAND", "CITY", "DAY"])))
    before = load_file(saved / "ner" / WEIGHTS)
    assert torch.equal(model.emitter.weight[0], before["emitter.weight"][0])
    assert not torch.isclose(model.emitter.weight[1:], before["emitter.weight"][1:]).all(-1).any()
    assert model.crf.transitions.count_nonzero() == 0, "O to O was 0, all others are new"


def test_the_same_labels_in_another_order_keep_their_weights(saved: Path) -> None:
    types = ["PER", "MISC", "LOC", "ORG"]
    model = start_from(PromuForTokenClassification, saved / "ner", **named(bio_labels(types)))
    again = load_model(PromuForTokenClassification, saved / "ner")
    rows = [again.config.labels.index(name) for name in model.config.labels]
    assert torch.equal(model.emitter.weight, again.emitter.weight[rows])
    assert torch.equal(model.crf.transitions, again.crf.transitions[rows][:, rows])


def test_relations_go_by_name(saved: Path, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO, "promu")
    names = ["None", "/per/per/peer", "/per/per/rival", "/loc/loc/contain"]
    model = start_from(PromuForRelationClassification, saved / "re", **named(names))
    before = load_file(saved / "re" / WEIGHTS)
    assert torch.equal(model.classifier.weight[[0, 1, 3]], before["classifier.weight"][[0, 5, 1]])
    assert torch.equal(model.classifier.bias[[0, 1, 3]], before["classifier.bias"][[0, 5, 1]])
    assert model.classifier.bias[2] == 0
    assert "/per/per/rival start fresh" in caplog.text and "/per/org/member_of of" in caplog.text


def test_a_joint_model_takes_types_and_relations_by_name(saved: Path) -> None:
    names = ["/loc/per/home_of", "/per/per/peer", "/ship/loc/located_in"]  # home_of, located_in, peer; loc, per, ship
    model = start_from(PromuForJointExtraction, saved / "joint", **named(names))
    before = load_file(saved / "joint" / WEIGHTS)
    # there: types loc, misc, org, per; relations awarded, contain, located_in, member_of, peer
    assert torch.equal(model.emitter.weight[[0, 1, 2, 3, 4]], before["emitter.weight"][[0, 1, 2, 7, 8]])
    assert model.relater.output.weight.shape[0] == 4
    assert torch.equal(model.relater.output.weight[[0, 2, 3]], before["relater.output.weight"][[0, 3, 5]])
    assert torch.equal(model.relater.head.weight, before["relater.head.weight"]), "what stands for no label is kept"


def test_from_a_joint_model_to_one_of_entities(saved: Path) -> None:
    """Both have emissions and a CRF over labels of types; the names decide."""
    model = start_from(PromuForTokenClassification, saved / "joint", **named(bio_labels(["per", "zoo"])))
    before = load_file(saved / "joint" / WEIGHTS)
    assert torch.equal(model.emitter.weight[[0, 1, 2]], before["emitter.weight"][[0, 7, 8]])


def test_a_head_of_another_task_starts_fresh_and_is_said(saved: Path, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO, "promu")
    start_from(PromuForRelationClassification, saved / "ner", **named(["None", "r"]))
    assert "labels None, r start fresh" in caplog.text
    assert f"labels O, LOC, MISC, ORG, PER of {saved / 'ner'} are left behind" in caplog.text


@pytest.fixture(scope="module")
def pretrained(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """With the nouns dog, cat, tree and the relation spouse."""
    folder = tmp_path_factory.mktemp("pretrained") / "model"
    tokenizer = train_wordpiece(["the dog runs"] * 3, 300)
    settings = ModelSettings(text=TINY_TEXT, vision=TINY_VISION, config={"projection_dim": 16})
    names = {"nouns": ["dog", "cat", "tree"], "relations": ["spouse"]}
    save_folder(folder, build_model(PromuForPreTraining, settings, tokenizer, **names), tokenizer)
    return folder


def test_candidates_of_pre_training_go_by_name(pretrained: Path) -> None:
    first = load_model(PromuForPreTraining, pretrained)
    start = ModelSettings(init=str(pretrained))
    names = {"nouns": ["tree", "house", "dog"], "relations": ["part of"]}
    second = build_model(PromuForPreTraining, start, tokenizer_of(start), **names)
    assert torch.equal(second.entity_head.weight[[0, 2]], first.entity_head.weight[[2, 0]])
    assert not torch.equal(second.entity_head.weight[1], first.entity_head.weight[1])
    assert not torch.equal(second.relation_head.weight, first.relation_head.weight), "another relation in its place"
    assert torch.equal(second.itm_head.weight, first.itm_head.weight)


def test_a_setting_that_changes_sizes_is_named(saved: Path, pretrained: Path) -> None:
    names = named(bio_labels(["PER"]))
    model = start_from(PromuForTokenClassification, saved / "ner", classifier_dropout=0.3, **names)
    assert model.dropout.p == 0.3
    with pytest.raises(InputError, match="settings: projection_dim 8, saved with 16; leave those of sizes out"):
        start_from(PromuForPreTraining, pretrained, projection_dim=8)


def test_weights_that_are_no_numbers_are_refused(saved: Path, tmp_path: Path) -> None:
    for name, value in (("crf.start", float("nan")), ("emitter.weight", float("inf"))):
        folder = tmp_path / name
        save_tiny_model(folder, "ner", images=False)
        weights = load_file(folder / WEIGHTS)
        weights[name].view(-1)[-1] = value
        save_file(weights, folder / WEIGHTS, {"format": "pt"})
        said = rf"the weights of .* are not finite \({name} holds NaN or infinity\): the training .* diverged; train it"
        with pytest.raises(InputError, match=said):
            load_model(PromuForTokenClassification, folder)
        with pytest.raises(InputError, match=said):
            start_from(PromuForTokenClassification, folder, **named(bio_labels(["LOC", "MISC", "ORG", "PER"])))


def test_large_weights_are_numbers_though_their_sum_is_none(tmp_path: Path) -> None:
    save_tiny_model(tmp_path, "ner", images=False)
    weights = load_file(tmp_path / WEIGHTS)
    weights["emitter.weight"][:] = 3e38
    save_file(weights, tmp_path / WEIGHTS, {"format": "pt"})
    assert load_model(PromuForTokenClassification, tmp_path).emitter.weight[0, 0].item() == pytest.approx(3e38)


def test_a_tokenizer_with_other_ids_is_refused(saved: Path, tmp_path: Path) -> None:
    other = train_wordpiece(["quite other words stand here"] * 3, 300)
    other.save_pretrained(tmp_path)
    settings = ModelSettings(init=str(saved / "ner"), tokenizer=str(tmp_path))
    with pytest.raises(InputError, match=r"the tokenizer has other ids than .* embeddings go by id; leave the tok"):
        build_model(PromuForTokenClassification, settings, tokenizer_of(settings), **named(bio_labels(["PER"])))
    more = load_tokenizer(str(saved / "ner"))
    more.add_tokens(["Zorva-Kelmo"])
    refuse_other_tokens(more, str(saved / "ner"))  # all of the model's own are where they were
    refuse_other_tokens(other, "/no/tokenizer/here")
    more.save_pretrained(tmp_path)
    with pytest.raises(InputError, match=r"the tokenizer has .* tokens, the model knows .*; take the tokenizer that"):
        build_model(PromuForTokenClassification, settings, tokenizer_of(settings), **named(bio_labels(["PER"])))
