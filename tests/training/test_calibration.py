"""The temperature that fine-tuning leaves in a model."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace
from typing import Any
from unittest import mock

import pytest
import torch
from tests.conftest import TEXTS

from promu.evaluation.calibration import log_loss
from promu.extraction.backends import open_model
from promu.modeling.inputs import WordEncoder
from promu.schema import Entity, Post, Relation
from promu.tasks.task import TASKS, predict_posts, read_out
from promu.training.finetune import calibrate
from promu.training.tokenizers import train_wordpiece

NAMES = {0: "None", 1: "/per/per/peer"}


class Boastful:
    """Says `peer` of every pair, with a logit of 6 more than `None`'s, in whatever batch."""

    device = torch.device("cpu")

    def __init__(self) -> None:
        self.config: Any = SimpleNamespace(id2label=NAMES, score_temperature=1.0)

    def eval(self) -> None:
        """Nothing to switch."""

    def __call__(self, input_ids: torch.Tensor, **rest: Any) -> Any:
        return SimpleNamespace(logits=torch.tensor([[0.0, 6.0]]).expand(len(input_ids), 2))


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
    readings = {
        name: list(read_out(TASKS["re"], model, encoder, splits[name], lambda images: {})) for name in ("dev", "test")
    }
    result = calibrate(TASKS["re"], model, splits, readings)
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
    model, encoder = open_model("ner", tiny_models / "ner", "cpu")
    task = TASKS["ner"]
    posts = [Post(str(number), tuple(text.split())) for number, text in enumerate(TEXTS)]
    found = predict_posts(task, model, encoder, posts, lambda images: {})
    # half of what is found is declared right
    gold = [Post(post.id, post.tokens, None, post.entities[::2]) for post in found]
    readings = list(read_out(task, model, encoder, gold, lambda images: {}))
    decode = mock.Mock(side_effect=task.decode)
    monkeypatch.setattr(task, "decode", decode)
    result = calibrate(task, model, {"dev": gold}, {"dev": readings})
    assert decode.call_count == len(readings), "a temperature changes no answer, so each is decoded once"
    again = predict_posts(task, model, encoder, posts, lambda images: {})
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
    model, encoder = open_model("ner", tiny_models / "ner", "cpu")
    with torch.no_grad():
        model.emitter.bias[0] = 1e4  # type: ignore[operator, index, union-attr]
    posts = [Post("1", ("Ann",))]
    readings = list(read_out(TASKS["ner"], model, encoder, posts, lambda images: {}))
    result = calibrate(TASKS["ner"], model, {"dev": posts}, {"dev": readings})
    assert result == {"temperature": 1.0, "dev": {"answers": 0, "ece_before": None, "ece_after": None}}
