"""What long work shows: how far it is, how fast, how good so far, and what an interrupt would leave."""

from __future__ import annotations

import io
import json
import re
import time
from pathlib import Path
from typing import Any

import pytest
from tests.factories import TINY_TEXT

from promu.cli import main
from promu.cli.console import progress_bars
from promu.progress import figures, is_stored, report, shown
from promu.training import loop

POST = "IMGID:{}\nAnn\tB-PER\nmet\tO\nBob\tB-PER\nin\tO\nRome\tB-LOC\n\n"


@pytest.fixture
def recipe(tmp_path: Path, tiny_models: Path) -> Path:
    """Sixteen posts in two steps an epoch, two epochs."""
    (tmp_path / "posts.txt").write_text("".join(POST.format(number) for number in range(16)))
    settings = {
        "task": "ner",
        "data": {"train": str(tmp_path / "posts.txt"), "dev": str(tmp_path / "posts.txt")},
        "images": "none",
        "model": {"text": TINY_TEXT, "tokenizer": str(tiny_models / "ner")},
        "training": {"epochs": 2, "batch_size": 8, "lr": 1e-3, "precision": "fp32"},
        "out": str(tmp_path / "run"),
    }
    (tmp_path / "recipe.json").write_text(json.dumps(settings))
    return tmp_path / "recipe.json"


def test_training_reports_its_loss_and_the_last_f1_on_dev(recipe: Path) -> None:
    from promu import finetune

    said: list[tuple[str, int, str]] = []
    with shown(lambda stage, done, total: said.append((stage, done, figures()))):
        finetune(recipe)
    steps = {done: text for stage, done, text in said if stage == "ner"}
    assert sorted(steps) == [1, 2, 3, 4]
    assert all(re.fullmatch(r"loss \d+(\.\d+)?", steps[step]) for step in (1, 2)), "dev has not been scored yet"
    log = [json.loads(line) for line in (recipe.parent / "run" / "log.jsonl").read_text().splitlines()]
    first = next(line["eval_f1"] for line in log if "eval_f1" in line)
    assert all(steps[step].endswith(f", dev F1 {first:.2f}") for step in (3, 4))
    assert {text for stage, _, text in said if stage == "reading"} <= {""}, "other stages have none"


def interrupt_at(step: int, monkeypatch: pytest.MonkeyPatch) -> None:
    take = loop._Loop.training_step

    def stopped(self: Any, *args: Any, **kwargs: Any) -> Any:
        if self.state.global_step == step:
            raise KeyboardInterrupt
        return take(self, *args, **kwargs)

    monkeypatch.setattr(loop._Loop, "training_step", stopped)


@pytest.mark.parametrize(("step", "promised"), [(1, False), (3, True)])
def test_a_resume_is_promised_from_the_first_checkpoint_on(
    step: int, promised: bool, recipe: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """The first checkpoint comes with the first epoch, after two steps."""
    interrupt_at(step, monkeypatch)
    assert main(["finetune", str(recipe)]) == 130
    assert ("the run resumes where it stopped" in capsys.readouterr().err) is promised is is_stored()


def test_a_resumed_run_has_something_to_go_on_from(
    recipe: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    interrupt_at(3, monkeypatch)
    assert main(["finetune", str(recipe)]) == 130
    interrupt_at(2, monkeypatch)
    capsys.readouterr()
    assert main(["finetune", str(recipe)]) == 130
    assert "the run resumes where it stopped" in capsys.readouterr().err


def test_slow_steps_are_seconds_a_step_where_there_is_no_terminal(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    times = iter((0.0, 40.0, 80.0))
    monkeypatch.setattr(time, "monotonic", lambda: next(times))
    with progress_bars():
        report("ner", 0, 100)
        report("ner", 16, 100, "loss 0.5, dev F1 81.20")
        report("ner", 96, 100)
    assert capsys.readouterr().err.splitlines() == [
        "ner: 16/100, 2.5 s/step, 3.5 min left, loss 0.5, dev F1 81.20",
        "ner: 96/100, 1.2/s, 0.1 min left",
    ]


def test_the_bar_shows_rate_loss_and_f1(monkeypatch: pytest.MonkeyPatch) -> None:
    screen = io.StringIO()
    from rich import console as rich_console

    real: Any = rich_console.Console
    made = lambda **settings: real(file=screen, force_terminal=True, width=140)  # noqa: E731
    monkeypatch.setattr(rich_console, "Console", made)
    with progress_bars():
        report("ner", 0, 100)
        report("ner", 16, 100, "loss 0.5, dev F1 81.20")
        report("ner", 17, 100, "loss 0.4, dev F1 81.20")
    assert "loss 0.4, dev F1 81.20" in screen.getvalue() and "17/100" in screen.getvalue()
