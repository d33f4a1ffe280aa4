"""A gate between two models: its weight, what it is at the ends, how it is saved, and which models go together."""

from __future__ import annotations

import json
import math
from pathlib import Path

import numpy as np
import pytest
import torch
from tests.factories import save_tiny_model

import promu
from promu.cli import main
from promu.errors import InputError
from promu.modeling.loading import save_folder
from promu.tasks.gate import GatedPredictor
from promu.tasks.model_folder import open_predictor, tasks_of
from promu.tasks.predictor import Predictor
from promu.tasks.task import TASKS
from promu.tasks.torch_predictor import open_model
from promu.training.fit_gate import fit_gate

POST = "IMGID:{}\nAnn\tB-PER\nmet\tO\nBob\tB-PER\nin\tO\nRome\tB-LOC\n\n"
PAIR = {"token": ["Ann", "met", "Bob"], "h": {"name": "Ann", "pos": [0, 1]}, "t": {"name": "Bob", "pos": [2, 3]}}


def expert(folder: Path, task: str, seed: int, context: str) -> Path:
    """A model that reads one context."""
    save_tiny_model(folder, task, images=False)
    model, encoder = open_model(task, folder, "cpu")
    torch.manual_seed(seed)
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.add_(0.05 * torch.randn_like(parameter))
    model.config.contexts, model.config.max_length, model.config.context_budget = [context], 48, 32
    save_folder(folder, model, encoder.tokenizer)
    return folder


@pytest.fixture
def experts(tmp_path: Path) -> tuple[Path, Path]:
    first, second = (expert(tmp_path / name, "ner", seed, name) for seed, name in enumerate(("retrieved", "seen")))
    (tmp_path / "dev.txt").write_text("".join(POST.format(number) for number in range(6)))
    for name, said in (("retrieved", "Rome is old"), ("seen", "the old bridge")):
        lines = (json.dumps({"image": f"{number}.jpg", "text": said}) + "\n" for number in range(6))
        (tmp_path / f"{name}.jsonl").write_text("".join(lines))
    return first, second


@pytest.mark.slow
def test_a_gate_is_fitted_saved_and_used_like_a_model(
    experts: tuple[Path, Path], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    said = {name: tmp_path / f"{name}.jsonl" for name in ("retrieved", "seen")}
    done = fit_gate(*experts, tmp_path / "dev.txt", tmp_path / "gate", contexts=said)
    assert done.task == "ner" and done.f1 == max(done.curve.values()) >= max(done.first, done.second)
    alone = [
        promu.evaluate(model, tmp_path / "dev.txt", contexts={name: said[name]}).scores.micro.f1
        for model, name in zip(experts, said, strict=True)
    ]
    assert [done.first, done.second] == pytest.approx(alone)
    with pytest.MonkeyPatch.context() as patch, pytest.raises(InputError, match="this is there already and not empty"):
        patch.delattr(Predictor, "predict_batch")  # it is said before anything is read
        fit_gate(*experts, tmp_path / "dev.txt", tmp_path / "gate", contexts=said)
    scored = promu.evaluate(tmp_path / "gate", tmp_path / "dev.txt", contexts=said)
    assert scored.scores.micro.f1 == pytest.approx(done.f1)
    extractor = promu.Extractor.from_pretrained(tmp_path / "gate")
    post = {"text": "Ann met Bob in Rome", "contexts": {"retrieved": "Rome is old", "seen": "the old bridge"}}
    whole, half = extractor(post, entity_threshold=0.0), extractor({"text": post["text"]}, entity_threshold=0.0)
    assert whole.entities and [one.score for one in whole.entities] != [one.score for one in half.entities]
    words = ["contexts", "gate", *map(str, experts), "--dev", str(tmp_path / "dev.txt"), "--out", str(tmp_path / "two")]
    words += [word for name, file in said.items() for word in ("--context", f"{name}={file}")]
    assert main([*words, "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["weight"] == done.weight
    assert main([*words[:-1], f"other={said['seen']}"]) == 2
    assert "neither expert reads the context 'other'" in capsys.readouterr().err
    assert main(["check", str(tmp_path / "dev.txt"), "--format", "conll", "--model", str(tmp_path / "gate")]) == 0
    assert "no post is longer than the 48 tokens that are read" in capsys.readouterr().out
    with pytest.raises(InputError, match=r"this is a gate between two models; name the folder of one of them, first/"):
        open_model("ner", tmp_path / "gate")
    facts = json.loads((tmp_path / "gate" / "gate.json").read_text())
    (tmp_path / "gate" / "gate.json").write_text(json.dumps({**facts, "weight": 7}))
    with pytest.raises(InputError, match=r"gate.json: the weight of the first expert is 7"):
        open_predictor("ner", tmp_path / "gate")
    (tmp_path / "gate" / "gate.json").write_text("{}")
    with pytest.raises(InputError, match=r"gate.json: the gate is damaged; fit it again"):
        tasks_of(tmp_path / "gate")
    (tmp_path / "gate" / "gate.json").write_text('{"task": "ner"}')
    with pytest.raises(InputError, match="the gate is damaged; fit it again"):
        open_predictor("ner", tmp_path / "gate")


def test_the_ends_are_the_experts_and_the_middle_is_the_mean(experts: tuple[Path, Path], tmp_path: Path) -> None:
    first, second = (open_predictor("ner", folder, "cpu") for folder in experts)
    posts = TASKS["ner"].read(tmp_path / "dev.txt")[:2]
    gate = GatedPredictor(first, second, 1.0)
    parts = [one.predict_batch(posts, {}) for one in (first, second)]
    assert gate.crf is not None and first.crf is not None and second.crf is not None
    assert np.array_equal(gate.predict_batch(posts, {}).outputs, parts[0].outputs)
    assert np.array_equal(gate.crf.transitions, first.crf.transitions)
    assert gate.answers([gate.predict_batch(posts, {})])[0].entities == first.answers([parts[0]])[0].entities
    gate.weight = 0.25
    mixed = 0.25 * parts[0].outputs + 0.75 * parts[1].outputs
    assert np.allclose(gate.predict_batch(posts, {}).outputs, mixed, atol=1e-5)
    assert np.allclose(gate.crf.start, 0.25 * first.crf.start + 0.75 * second.crf.start)
    assert np.array_equal(gate.mixed(*parts).outputs, mixed)
    assert gate.encoder.contexts == ("retrieved", "seen")


def test_a_mixture_of_experts_follows_the_surer(experts: tuple[Path, Path], tmp_path: Path) -> None:
    """Certainties .75 and .5: at a weight of a half and a trust of 4 ln 3 the odds of the first are 3."""
    first, second = (open_predictor("ner", folder, "cpu") for folder in experts)
    gate = GatedPredictor(first, second, 0.5, 4 * math.log(3))
    sure, half = np.log([[[0.75, 0.25], [0.75, 0.25]]]), np.log([[[0.5, 0.5], [0.1, 0.9]]])
    batch = {"word_mask": np.array([[1, 0]])}  # the second word is padding
    assert gate.shares(sure, half, batch) == pytest.approx(0.75)
    assert gate.shares(half, sure, batch) == pytest.approx(0.25)
    gate.weight = 1.0
    assert gate.shares(half, sure, batch) == pytest.approx(1), (
        "a weight of 1 is the first expert, whatever it is sure of"
    )
    gate.weight, gate.trust = 0.3, 0.0
    assert gate.shares(half, sure, batch) == 0.3
    gate.trust = 20.0
    posts = TASKS["ner"].read(tmp_path / "dev.txt")[:2]
    parts = [one.predict_batch(posts, {}) for one in (first, second)]
    assert np.allclose(gate.predict_batch(posts, {}).outputs, gate.mixed(*parts).outputs, atol=1e-5)
    fixed = 0.3 * parts[0].outputs + 0.7 * parts[1].outputs
    assert not np.allclose(gate.mixed(*parts).outputs, fixed, atol=1e-3)


@pytest.mark.slow
def test_a_gate_of_single_posts_is_no_worse_on_dev(experts: tuple[Path, Path], tmp_path: Path) -> None:
    one = fit_gate(*experts, tmp_path / "dev.txt", tmp_path / "one")
    each = fit_gate(*experts, tmp_path / "dev.txt", tmp_path / "each", per_post=True)
    assert one.trust == 0 and each.f1 >= one.f1 and each.curve == one.curve
    again = open_predictor("ner", tmp_path / "each", "cpu")
    assert isinstance(again, GatedPredictor) and (again.weight, again.trust) == (each.weight, each.trust)
    assert promu.evaluate(tmp_path / "each", tmp_path / "dev.txt").scores.micro.f1 == pytest.approx(each.f1)


def test_which_models_go_together(experts: tuple[Path, Path], tmp_path: Path) -> None:
    first = open_predictor("ner", experts[0], "cpu")
    relater = open_predictor("re", expert(tmp_path / "re", "re", 2, "seen"), "cpu")
    with pytest.raises(InputError, match="one expert is for the task ner, the other for re"):
        GatedPredictor(first, relater)
    other = open_predictor("ner", experts[1], "cpu")
    other.encoder.max_length = 40
    with pytest.raises(InputError, match="the experts read 48 and 40 tokens of a text"):
        GatedPredictor(first, other)
    other.labels = (*other.labels[:-2], "B-X", "I-X")
    with pytest.raises(InputError, match=r"different labels \(one of them lacks B-PER, B-X, I-PER, I-X\)"):
        GatedPredictor(first, other)
    joint = open_predictor("joint", save_tiny_model(tmp_path / "joint", "joint", images=False), "cpu")
    with pytest.raises(InputError, match="models of the task joint are not mixed"):
        GatedPredictor(joint, joint)


def test_relations_are_mixed_too(tmp_path: Path) -> None:
    models = [expert(tmp_path / name, "re", seed, name) for seed, name in enumerate(("a", "b"))]
    line = json.dumps({**PAIR, "img_id": "1.jpg", "relation": "/per/per/peer"})
    (tmp_path / "dev.txt").write_text(f"{line}\n")
    done = fit_gate(models[0], models[1], tmp_path / "dev.txt", tmp_path / "gate")
    assert done.task == "re" and 0 <= done.weight <= 1
    assert promu.evaluate(tmp_path / "gate", tmp_path / "dev.txt").scores.micro.f1 == pytest.approx(done.f1)
