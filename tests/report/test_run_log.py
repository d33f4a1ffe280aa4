"""The log of a run: reading, throughput, and which runs look suspicious."""

from __future__ import annotations

import json
import math
import random
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from promu.errors import InputError
from promu.report.run_report import curve, read_log, suspicious, throughput

RECALL = ("eval_caption_to_image_r10", "eval_image_to_caption_r10")


def run(
    losses: dict[str, tuple[float, float]], dev: Mapping[str, tuple[float, ...]], steps: int = 200, noise: float = 0.02
) -> list[dict[str, Any]]:
    """A log whose losses go straight from one value to another, validated at even distances."""
    chance = random.Random(0)
    log: list[dict[str, Any]] = []
    points = max((len(values) for values in dev.values()), default=0)
    due = {round(steps * (place + 1) / points): place for place in range(points)}
    for step in range(1, steps + 1):
        log.append(
            {
                "step": step,
                **{name: a + (b - a) * step / steps + chance.gauss(0, noise) for name, (a, b) in losses.items()},
            }
        )
        if step in due:
            log.append({"step": step, **{name: values[due[step]] for name, values in dev.items()}})
    return log


def test_a_run_that_learns_is_not_suspicious() -> None:
    log = run(
        {"cit": (4.0, 1.0), "coe": (5.0, 4.0), "cir": (3.0, 2.5), "itm": (0.69, 0.4)},
        {
            **dict.fromkeys(RECALL, (20.0, 35.0, 33.0)),
            "eval_entity_top1": (30.0, 50.0, 55.0),
            "eval_relation_top1": (10.0, 20.0, 21.0),
            "eval_itm_auc_falsified": (0.6, 0.7, 0.8),
        },
    )
    assert suspicious(log) == []


@pytest.mark.parametrize(
    ("loss", "figures", "said"),
    [
        ("cit", RECALL, "L_CIT fell from .* while recall@10 on dev went from 20.0 to 18.0 between steps 67 and 200"),
        ("coe", ("eval_entity_top1",), "L_COE fell .* agreement with the teacher on regions .*promu label --health"),
        ("cir", ("eval_relation_top1",), "L_CIR fell .* agreement with the teacher on images"),
    ],
)
def test_a_loss_that_falls_alone_is_named(loss: str, figures: tuple[str, ...], said: str) -> None:
    (sentence,) = suspicious(run({loss: (4.0, 2.0)}, dict.fromkeys(figures, (20.0, 19.0, 18.0))))
    assert re.match(said, sentence)
    # the same figures while the loss stands still are no contradiction
    assert suspicious(run({loss: (4.0, 4.0)}, dict.fromkeys(figures, (20.0, 19.0, 18.0)))) == []
    # and one validation alone says nothing
    assert suspicious(run({loss: (4.0, 2.0)}, dict.fromkeys(figures, (20.0,)))) == []


def test_one_direction_alone_is_read_as_it_is() -> None:
    (sentence,) = suspicious(run({"cit": (4.0, 2.0)}, {RECALL[1]: (20.0, 18.0)}))
    assert "went from 20.0 to 18.0" in sentence


def test_a_matching_head_at_chance_is_named_after_one_validation() -> None:
    (sentence,) = suspicious(run({"itm": (0.69, 0.5)}, {"eval_itm_auc_falsified": (0.53,)}))
    assert "AUC of 0.53" in sentence and "at step 200" in sentence
    assert suspicious(run({"itm": (0.69, 0.5)}, {"eval_itm_auc_falsified": (0.56,)})) == []
    assert suspicious(run({"itm": (0.69, 0.69)}, {"eval_itm_auc_falsified": (0.53,)})) == []
    # where the corpus has no falsified captions, random ones are what there is
    assert len(suspicious(run({"itm": (0.69, 0.5)}, {"eval_itm_auc_random": (0.5,)}))) == 1
    # the near ones are what counts where there are both
    both = {"eval_itm_auc_falsified": (0.8,), "eval_itm_auc_random": (0.5,)}
    assert suspicious(run({"itm": (0.69, 0.5)}, both)) == []


@given(st.lists(st.floats(0.6, 0.78), min_size=60, max_size=60), st.integers(0, 9))
def test_noise_is_rarely_a_fall(values: list[float], seed: int) -> None:
    random.Random(seed).shuffle(values)
    log: list[dict[str, Any]] = [{"step": step, "itm": value} for step, value in enumerate(values, start=1)]
    log.append({"step": 60, "eval_itm_auc_falsified": 0.5})
    early, late = values[:6], values[-6:]
    # what is called a fall is one: the last lines lie below the first
    assert not suspicious(log) or sum(late) < sum(early)


def test_coming_nearer_to_the_teacher_is_agreement_too() -> None:
    dev = {"eval_entity_top1": (20.0, 20.0), "eval_entity_kl": (2.0, 1.5)}
    assert suspicious(run({"coe": (4.0, 2.0)}, dev)) == []
    assert len(suspicious(run({"coe": (4.0, 2.0)}, {**dev, "eval_entity_kl": (1.5, 1.5)}))) == 1


def test_a_loss_that_is_no_number_is_named(tmp_path: Path) -> None:
    (tmp_path / "log.jsonl").write_text(
        '{"step": 1, "loss": 2.5}\n{"step": 2, "loss": NaN}\n{"step": 3, "loss": NaN}\n'
    )
    (sentence,) = suspicious(read_log(tmp_path / "log.jsonl"))
    assert sentence.startswith("the loss is no number at step 2; lower the learning rate")


def test_a_short_or_empty_log_is_no_reason() -> None:
    assert suspicious([]) == []
    assert suspicious(run({"cit": (4.0, 1.0)}, dict.fromkeys(RECALL, (20.0, 10.0)), steps=4)) == []


def test_throughput_counts_samples_and_leaves_out_a_clock_that_went_back() -> None:
    log = [
        {"step": 10, "samples": 100, "seconds": 2.0},
        {"step": 15, "eval_x": 1.0},
        {"step": 20, "samples": 200, "seconds": 4.0},
        {"step": 30, "samples": 300, "seconds": 1.0},
        {"step": 40, "samples": 350, "seconds": 2.0},
    ]
    assert throughput(log) == [(20, 50.0), (40, 50.0)]


def test_curves_leave_out_what_is_no_number() -> None:
    log = [{"step": 1, "cit": 2.0}, {"step": 2, "cit": math.nan}, {"step": 3, "coe": 1.0}]
    assert curve(log, "cit") == [(1, 2.0)]


def test_reading(tmp_path: Path) -> None:
    path = tmp_path / "log.jsonl"
    lines = [{"step": 1, "loss": 2.5}, {"step": 2, "loss": 2.0}]
    path.write_text("".join(json.dumps(line) + "\n" for line in lines) + '{"step": 3, "lo')
    assert read_log(path) == lines


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ('{"step": 1}\nnot json\n', "log.jsonl:2: not JSON"),
        ('{"step": 1}\n{"loss": 2}\n', "log.jsonl:2: a line of a log has a step"),
        ('{"step": 1, "loss": "much"}\n', "log.jsonl:1: a line of a log has a step and numbers"),
        ('{"step": 1', "no whole line in this log yet"),
    ],
)
def test_bad_logs(text: str, said: str, tmp_path: Path) -> None:
    (tmp_path / "log.jsonl").write_text(text)
    with pytest.raises(InputError, match=said):
        read_log(tmp_path / "log.jsonl")


def test_a_missing_log(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="no such file"):
        read_log(tmp_path / "log.jsonl")
