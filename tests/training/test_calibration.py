"""The temperature that fine-tuning leaves in a model."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any
from unittest import mock

import pytest
import torch
from tests.factories import TEXTS

from promu.evaluation.calibration import log_loss
from promu.modeling.head_settings import HeadSettings
from promu.modeling.inputs import WordEncoder
from promu.schema import Entity, Post, Relation
from promu.tasks.model_folder import open_predictor
from promu.tasks.predictor import Predictions, Predictor
from promu.tasks.task import TASKS
from promu.tasks.torch_predictor import TorchPredictor
from promu.training.task_run import calibrate, fit_threshold
from promu.training.tokenizers import train_wordpiece

NAMES = {0: "None", 1: "/per/per/peer"}


class Boastful:
    """Says `peer` of every pair, with a logit of 6 more than `None`'s, in whatever batch."""

    device = torch.device("cpu")

    def __init__(self) -> None:
        self.config = HeadSettings(id2label=NAMES)

    def eval(self) -> Boastful:
        """Nothing to switch."""
        return self

    def __call__(self, input_ids: torch.Tensor, **rest: Any) -> Any:
        return SimpleNamespace(logits=torch.tensor([[0.0, 6.0]]).expand(len(input_ids), 2))


def predicted(predictor: Predictor, posts: list[Post]) -> list[Predictions]:
    """Of posts without images."""
    return list(predictor.predict(posts, lambda images: {}))


def pairs(right: int, wrong: int) -> list[Post]:
    entities = (Entity(0, 1, "PER"), Entity(2, 3, "PER"))
    return [
        Post(str(number), ("Ann", "met", "Bob"), None, entities, (Relation(0, 1, NAMES[int(number < right)]),))
        for number in range(right + wrong)
    ]


def test_a_model_that_is_right_in_seven_of_ten_says_so_afterwards() -> None:
    model: Any = Boastful()
    encoder = WordEncoder(train_wordpiece(TEXTS, 400, min_frequency=1), 96)
    splits = {"train": pairs(1, 1), "dev": pairs(70, 30), "test": pairs(6, 4)}
    predictor = TorchPredictor(TASKS["re"], model, encoder)
    result = calibrate(predictor, {name: predicted(predictor, splits[name]) for name in ("dev", "test")})
    certainty = torch.tensor([0.0, 6.0]).softmax(0)[1].item()
    # 6 / T = log(.7 / .3)
    assert result["temperature"] == pytest.approx(6 / torch.tensor(7 / 3).log().item(), rel=1e-3)
    assert model.config.score_temperature == result["temperature"]
    assert result["dev"] == {
        "answers": 100,
        "ece_before": pytest.approx(certainty - 0.7, abs=1e-6),
        "ece_after": pytest.approx(0, abs=1e-3),
    }
    assert result["test"]["ece_after"] == pytest.approx(0.1, abs=1e-3)
    assert "train" not in result


def test_spans_keep_their_places_and_change_their_scores(tiny_models: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    predictor = open_predictor("ner", tiny_models / "ner", "cpu")
    task = predictor.task
    posts = [Post(str(number), tuple(text.split())) for number, text in enumerate(TEXTS)]
    found = predictor.answers(predicted(predictor, posts))
    # half of what is found is declared right
    gold = [Post(post.id, post.tokens, None, post.entities[::2]) for post in found]
    predictions = predicted(predictor, gold)
    decode = mock.Mock(side_effect=task.decode)
    monkeypatch.setattr(task, "decode", decode)
    result = calibrate(predictor, {"dev": predictions})
    assert decode.call_count == len(predictions), "a temperature changes no answer, so each is decoded once"
    again = predictor.answers(predicted(predictor, posts))
    spans = [[(e.start, e.end, e.type) for e in post.entities] for post in found]
    assert spans == [[(e.start, e.end, e.type) for e in post.entities] for post in again]
    assert result["dev"]["answers"] == sum(map(len, spans)) > 4
    assert result["temperature"] != pytest.approx(1, abs=1e-3) and again != found
    losses = [
        log_loss(*zip(*(pair for g, a in zip(gold, told, strict=True) for pair in task.judge(g, a)), strict=True))
        for told in (found, again)
    ]
    assert losses[1] < losses[0]


def test_without_an_answer_on_dev_scores_stay_as_they_are(tiny_models: Path) -> None:
    predictor: Any = open_predictor("ner", tiny_models / "ner", "cpu")
    with torch.no_grad():
        predictor.model.emitter.bias[0] = 1e4
    result = calibrate(predictor, {"dev": predicted(predictor, [Post("1", ("Ann",))])})
    assert result == {"temperature": 1.0, "dev": {"answers": 0, "ece_before": None, "ece_after": None}}


@pytest.mark.parametrize("task", ["ner", "re", "joint"])
def test_the_threshold_of_a_task_is_what_gives_the_best_f1_on_dev(
    task: str, tiny_models: Path, tiny_joint: Path
) -> None:
    predictor: Any = open_predictor(task, (tiny_joint if task == "joint" else tiny_models) / task, "cpu")
    entities = (Entity(0, 1, "PER"), Entity(3, 4, "PER"))
    posts = [Post(str(n), tuple(text.split()), None, entities) for n, text in enumerate((*TEXTS, " ".join(TEXTS)))]
    if task == "re":
        pairs = [replace(post, relations=(Relation(a, 1 - a, "None"),)) for post in posts for a in (0, 1)]
        posts = [*pairs, *(replace(post, tokens=post.tokens[:-2]) for post in pairs)]
    answers = predictor.answers(predicted(predictor, posts))
    scored = sorted(
        (one.score or 0.0, number)
        for number, post in enumerate(answers)
        for one in (post.entities if task == "ner" else post.relations)
        if task == "ner" or one.type != "None"
    )
    assert len(scored) > 3, "nothing was tested"
    middle = scored[len(scored) // 2][0]
    # what is right is what has a score above the middle, and what the model misses
    gold = [predictor.task.above(answer, middle + 1e-9) for answer in answers]
    splits, found = {"dev": gold, "test": gold[:2]}, {"dev": answers, "test": answers[:2]}
    result = fit_threshold(predictor, splits, found)
    name = {"ner": "entity_threshold", "re": "relation_threshold", "joint": "relation_threshold"}[task]
    assert result[name] == getattr(predictor.config, name) > middle
    assert result["dev"] == {"precision": 100.0, "recall": 100.0, "f1": 100.0}
    kept = [predictor.task.above(answer, result[name]) for answer in answers]
    scores = predictor.task.score(gold, kept).to_dict()
    assert scores["f1"] == pytest.approx(100.0)
    everything = predictor.task.score(gold, answers).to_dict()
    threshold, precision, recall, f1 = result["curve"][-1]
    assert (precision, recall, f1) == pytest.approx([everything[key] for key in ("precision", "recall", "f1")])
    assert threshold == pytest.approx(scored[0][0])
