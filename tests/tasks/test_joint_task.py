"""The joint task: gold to targets, candidates to posts, and a run from file to scored model."""

from __future__ import annotations

import json
import math
from dataclasses import replace
from itertools import pairwise, permutations
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from tests.factories import TINY_TEXT, TINY_VISION

from promu.cli import main
from promu.corpora.jmere import read_jmere
from promu.errors import InputError
from promu.evaluation.joint_scores import score_joint
from promu.modeling.chain import bio_labels
from promu.modeling.crf import LinearChainCrf
from promu.modeling.inputs import WordEncoder
from promu.modeling.inventory import inventory_of
from promu.modeling.span_candidates import LONGEST, Candidates, propose
from promu.newsreel.joint_world import DECIDERS, write_joint
from promu.newsreel.settings import JointSettings
from promu.schema import Entity, Post, Quintuple, Relation, quintuples, with_quintuples
from promu.tasks.joint_task import JointExtraction, targets
from promu.tasks.predictor import Predictions
from promu.tasks.task import TASKS
from promu.training.tokenizers import train_wordpiece

JOINT = TASKS["joint"]
LABELS = ["/org/org/part_of", "/per/org/member_of", "/per/per/peer"]
INVENTORY = inventory_of(LABELS)
TRIPLES = [("per", "member_of", "org"), ("per", "peer", "per"), ("org", "part_of", "org")]
TOKENIZER = train_wordpiece(["ann and bob of the big red club met the crew"] * 2, 200)
WORDS = ("ann", "and", "bob", "of", "the", "big", "red", "club", "met", "the", "crew")


def post(*found: Quintuple, tokens: tuple[str, ...] = WORDS) -> Post:
    return with_quintuples(Post("1", tokens, "1.jpg"), found)


def answered(model: Any, outputs: Candidates, posts: list[Post]) -> list[Post]:
    predictions = Predictions(list(range(len(posts))), posts, words_of(posts), outputs)
    return JOINT.add_scores(model, predictions, JOINT.decode(model, predictions))


ANN, BOB, CLUB = ((0, 1), "per"), ((2, 3), "per"), ((5, 8), "org")


def test_labels_are_the_triples_of_the_training_set() -> None:
    posts = [post(Quintuple(*ANN, *CLUB, "member_of"), Quintuple(*ANN, *BOB, "peer"))]
    assert JOINT.labels(posts) == LABELS[1:]
    with pytest.raises(InputError, match="no post has a relation"):
        JOINT.labels([Post("1", WORDS)])


def test_targets_by_hand() -> None:
    found = targets(post(Quintuple(*ANN, *CLUB, "member_of"), Quintuple(*BOB, *ANN, "peer")), INVENTORY, 11)
    assert found.entities == [(0, 1, 1), (5, 8, 0), (2, 3, 1)]
    assert found.relations == [(0, 1, 0), (2, 0, 2)] and found.beyond == {}


@pytest.mark.parametrize(
    ("second", "reason"),
    [
        (Quintuple(*BOB, (6, 8), "org", "member_of"), "whose names overlap others or have two types"),
        (Quintuple((2, 3), "per", (5, 8), "per", "peer"), "whose names overlap others or have two types"),
        (Quintuple((5, 8), "org", (6, 7), "org", "part_of"), "whose names overlap others or have two types"),
        (Quintuple(*ANN, *BOB, "member_of"), "of types and a relation that do not go together in training"),
        (Quintuple(*ANN, *BOB, "couple"), "of types and a relation that do not go together in training"),
        (Quintuple(*ANN, (9, 10), "org", "member_of"), "past the last word that is read"),
    ],
)
def test_what_no_answer_can_hold_is_counted(second: Quintuple, reason: str) -> None:
    found = targets(post(Quintuple(*ANN, *CLUB, "member_of"), second), INVENTORY, 9)
    assert found.relations == [(0, 1, 0)] and found.beyond == {reason: 1}


def test_a_pair_has_one_relation_and_names_are_not_endless() -> None:
    twice = post(Quintuple(*ANN, *BOB, "peer"), Quintuple(*BOB, *ANN, "peer"))
    found = targets(twice, INVENTORY, 11)
    assert found.relations == [(0, 1, 2)] and found.beyond == {"of a pair that has another relation": 1}
    long = post(Quintuple((0, 1), "per", (1, LONGEST + 2), "per", "peer"), tokens=("a",) * 20)
    assert targets(long, INVENTORY, 20).beyond == {f"with a name of more than {LONGEST} words": 1}


def test_a_batch() -> None:
    posts = [post(Quintuple(*ANN, *CLUB, "member_of"), Quintuple(*ANN, *BOB, "peer")), post(tokens=WORDS[:2])]
    batch = JOINT.batch(WordEncoder(TOKENIZER, 80), posts, {name: number for number, name in enumerate(LABELS)})
    assert batch["word_mask"].sum(1).tolist() == [11, 2]
    assert batch["gold_entities"].tolist() == [[[0, 1, 1], [5, 8, 0], [2, 3, 1]], [[-1] * 3] * 3]
    assert batch["gold_relations"].tolist() == [[[0, 1, 0], [0, 2, 2]], [[-1] * 3] * 2]
    assert "gold_entities" not in JOINT.batch(WordEncoder(TOKENIZER, 80), posts, None)


CRF = LinearChainCrf(bio_labels(INVENTORY.types)).weights()
"""All moves are alike."""


def fixed(temperature: float = 1.0) -> Any:
    return SimpleNamespace(crf=CRF, labels=LABELS, config=SimpleNamespace(score_temperature=temperature))


def told(emissions: np.ndarray, relations: Any) -> Candidates:
    """What a model says of texts of equal length; `relations` are logits by row and spans, the others are `None`."""
    spans, mask, gains = propose(emissions, CRF, np.ones(emissions.shape[:2], int))
    logits = np.zeros((*spans.shape[:2], spans.shape[1], 4))
    logits[..., 0] = 9
    places = [
        {tuple(span): number for number, span in enumerate(row[:count])}
        for row, count in zip(spans.tolist(), mask.sum(1).tolist(), strict=True)
    ]
    for row, head, tail, values in relations:
        if head in places[row] and tail in places[row]:
            logits[row, places[row][head], places[row][tail]] = values
    return Candidates(spans, mask, gains, logits, emissions)


def sure_of(posts: list[Post]) -> Candidates:
    """What a model that knows the gold would say."""
    emissions, relations = np.zeros((len(posts), len(WORDS), 5)), []
    for row, one in enumerate(posts):
        found = targets(one, INVENTORY, len(WORDS))
        emissions[row, :, 0] = 9
        for start, end, kind in found.entities:
            emissions[row, start, 2 * kind + 1] = 18
            emissions[row, start + 1 : end, 2 * kind + 2] = 18
        for head, tail, name in found.relations:
            values = [18.0 * (number == 1 + name) for number in range(4)]
            relations.append((row, found.entities[head][:2], found.entities[tail][:2], values))
    return told(emissions, relations)


def words_of(posts: list[Post]) -> dict[str, np.ndarray]:
    return {"word_mask": np.ones((len(posts), len(WORDS)), int)}


@st.composite
def labelled(draw: st.DrawFn) -> Post:
    """Posts whose quintuples an answer can hold."""
    spans = draw(st.permutations([(0, 1), (1, 3), (3, 4), (4, 7), (8, 10)]))
    kinds = draw(st.lists(st.sampled_from(["org", "per"]), min_size=5, max_size=5))
    pairs = draw(st.lists(st.tuples(st.integers(0, 4), st.integers(0, 4)), max_size=5, unique_by=frozenset))
    found = []
    for head, tail in pairs:
        names = [name for one, name, other in TRIPLES if (one, other) == (kinds[head], kinds[tail])]
        if head != tail and names:
            found.append(Quintuple(spans[head], kinds[head], spans[tail], kinds[tail], names[0]))
    return post(*found)


@settings(max_examples=40)
@given(posts=st.lists(labelled(), min_size=1, max_size=4))
def test_what_a_sure_model_says_is_the_gold(posts: list[Post]) -> None:
    answers = answered(fixed(), sure_of(posts), posts)
    for one, answer in zip(posts, answers, strict=True):
        assert set(quintuples(answer)) == set(quintuples(one)) and not answer.entities[len(one.entities) :]
        assert all((relation.score or 0) > 0.99 for relation in answer.relations)
        assert all(right for _, right in JOINT.judge(one, answer))


@settings(max_examples=40)
@given(seed=st.integers(0, 2**32 - 1), temperature=st.sampled_from([0.5, 3.0]))
@pytest.mark.slow
def test_no_scores_lead_to_an_answer_that_breaks_a_rule(seed: int, temperature: float) -> None:
    chance = np.random.default_rng(seed)
    emissions = chance.normal(size=(1, 11, 5)) * 2
    spans = [(start, end) for start in range(11) for end in range(start + 1, 12)]
    relations = [(0, *pair, chance.normal(size=4) * 3) for pair in permutations(spans, 2)]
    outputs, asked = told(emissions, relations), [Post("1", WORDS, "1.jpg")]
    answer = answered(fixed(temperature), outputs, asked)[0]
    assert targets(with_quintuples(answer, quintuples(answer)), INVENTORY, 11).beyond == {}
    ends = [(entity.start, entity.end) for entity in answer.entities]
    assert ends == sorted(ends) and all(one[1] <= other[0] for one, other in pairwise(ends))
    other = answered(fixed(1.0), outputs, asked)[0]
    assert quintuples(other) == quintuples(answer), "a temperature changes scores, never answers"


def test_scores_are_probabilities() -> None:
    one = post(Quintuple(*ANN, *CLUB, "member_of"))
    emissions = np.full((1, 11, 5), -30.0)
    emissions[..., 0] = 0
    emissions[0, 0, 3] = 2.0  # B-per against O; all moves being alike, a word's marginal is its softmax
    emissions[0, 5, 1] = emissions[0, 6, 2] = emissions[0, 7, 2] = 40.0
    outputs = told(emissions, [(0, (0, 1), (5, 8), np.log([0.1, 0.7, 0.1, 0.1]))])
    answer = answered(fixed(), outputs, [one])[0]
    sure = math.exp(2) / (1 + math.exp(2))
    assert [entity.score for entity in answer.entities] == pytest.approx([sure, 1.0], abs=1e-6)
    assert answer.relations[0].score == pytest.approx(sure * 0.7, abs=1e-6)
    assert JOINT.judge(one, answer) == [(answer.relations[0].score, True)]
    cold = answered(fixed(2.0), outputs, [one])[0]
    assert cold.entities[0].score == pytest.approx(math.e / (1 + math.e), abs=1e-6)


def test_posts_are_written_in_the_format_of_the_gold(tmp_path: Path) -> None:
    gold = post(Quintuple(*BOB, *CLUB, "member_of"), Quintuple(*ANN, *BOB, "peer"))
    # as answers come: by position, scored, one entity in no relation
    entities = (Entity(0, 1, "per", 0.5), Entity(2, 3, "per", 0.5), Entity(5, 8, "org", 0.5), Entity(8, 9, "org", 0.5))
    answer = replace(gold, entities=entities, relations=(Relation(0, 1, "peer", 0.5), Relation(1, 2, "member_of", 0.5)))
    for name in ("found.json", "found.jsonl"):
        JOINT.write(tmp_path / name, [answer])
        back = JOINT.read(tmp_path / name)
        assert set(quintuples(back[0])) == set(quintuples(gold)) and len(back[0].entities) == 3
    assert "\n" in (tmp_path / "found.jsonl").read_text() and (tmp_path / "found.json").read_text()[0] == "["


def test_macro_counts_the_relations_of_the_model() -> None:
    gold = [post(Quintuple(*ANN, *BOB, "peer"))]
    assert JOINT.score(gold, gold, None).macro_all == 100
    assert JOINT.score(gold, gold, None, LABELS).macro_all == pytest.approx(100 / 3)
    assert isinstance(JOINT, JointExtraction)


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return _drawn(tmp_path_factory.mktemp("joint") / "world")


def _drawn(folder: Path) -> Path:
    write_joint(folder, JointSettings(size=32, posts=(24, 8, 8)))
    return folder


def recipe(world: Path, models: Path, out: Path, **changes: Any) -> str:
    settings = {
        "task": "joint",
        "data": {
            "train": str(world / "train.json"),
            "dev": str(world / "val.json"),
            "test": str(world / "test.json"),
            "images": str(world / "images"),
            "groups": str(world / "groups.json"),
        },
        "model": {"text": TINY_TEXT, "vision": TINY_VISION, "tokenizer": str(models / "ner")},
        "training": {"epochs": 2, "batch_size": 8, "lr": 1e-3, "precision": "fp32", "log_every": 1},
        "out": str(out),
        **changes,
    }
    path = out.with_suffix(".yaml")
    path.write_text(json.dumps(settings))
    return str(path)


@pytest.mark.slow
def test_from_files_to_a_scored_model(world: Path, tiny_models: Path, tmp_path: Path, capsys: Any) -> None:
    assert main(["finetune", recipe(world, tiny_models, tmp_path / "run")]) == 0
    told = capsys.readouterr().out
    assert "joint, seed 0" in told and "test was scored with the chosen weights alone" in told
    result = json.loads((tmp_path / "run" / "result.json").read_text())
    assert result["task"] == "joint" and result["scored"] == {"dev": 2, "test": 1}
    assert result["posts"] == {"train": 24, "dev": 8, "test": 8} and set(result["beyond_the_model"]) == set(
        result["posts"]
    )
    for split in ("dev", "test"):
        assert {"f1", "entities", "relations", "macro_f1", "undirected"} <= result[split].keys()
    assert set(result["test"]["per_group"]) <= set(DECIDERS)
    assert result["images"]["test"]["with image"] == 8
    predictions = tmp_path / "run" / "predictions" / "test.json"
    gold = read_jmere(world / "test.json")
    scores = score_joint(gold, read_jmere(predictions))
    assert scores.micro.f1 == result["test"]["f1"]
    data = ["--data", str(world / "test.json"), "--images", str(world / "images"), "--json"]
    assert main(["evaluate", "joint", str(tmp_path / "run" / "model"), *data]) == 0
    assert json.loads(capsys.readouterr().out)["f1"] == result["test"]["f1"]


@pytest.mark.slow
def test_a_text_only_twin_starts_from_a_saved_backbone(world: Path, tiny_models: Path, tmp_path: Path) -> None:
    """Warm start from any promu model; images are then left out by the recipe alone."""
    changes = {"model": {"init": str(tiny_models / "re")}, "images": "none"}
    one_epoch = {"epochs": 1, "batch_size": 8, "lr": 1e-9, "precision": "fp32"}
    assert main(["finetune", recipe(world, tiny_models, tmp_path / "run", **changes, training=one_epoch)]) == 0
    result = json.loads((tmp_path / "run" / "result.json").read_text())
    assert result["images"]["test"] == {**result["images"]["test"], "with image": 0, "image unwanted": 8}
    from promu.tasks.torch_predictor import open_model

    tuned, _ = open_model("joint", tmp_path / "run" / "model", "cpu")
    source, _ = open_model("re", tiny_models / "re", "cpu")
    ours, theirs = (dict(one.get_submodule("promu").named_parameters()) for one in (tuned, source))
    assert ours.keys() == theirs.keys()
    assert all(torch.allclose(weight, theirs[name], atol=1e-6) for name, weight in ours.items())


@pytest.mark.parametrize(
    ("content", "sentence"),
    [
        ('[{"token": ["a"], "img_id": "1.jpg", "label_list": []}]', "train.json: no post has a relation"),
        ("", "train.json: the file is empty"),
        ('{"token": ["a"]}', "img_id"),
    ],
)
def test_a_training_set_that_cannot_be_used(
    content: str, sentence: str, world: Path, tiny_models: Path, tmp_path: Path, capsys: Any
) -> None:
    (tmp_path / "train.json").write_text(content)
    settings = json.loads(Path(recipe(world, tiny_models, tmp_path / "run")).read_text())
    settings["data"]["train"] = str(tmp_path / "train.json")
    (tmp_path / "bad.yaml").write_text(json.dumps(settings))
    assert main(["finetune", str(tmp_path / "bad.yaml")]) == 2
    told = capsys.readouterr().err
    assert sentence in told and "Traceback" not in told and not (tmp_path / "run").exists()
