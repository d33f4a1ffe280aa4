"""The mock LLM: what it knows, how it errs, and that it is called like an endpoint."""

from __future__ import annotations

import json
from collections import Counter
from pathlib import Path
from typing import Any

import pytest

from promu.corpora.jmere import read_jmere, read_jmere_background
from promu.kecpm.post_knowledge import PostText
from promu.kecpm.prompts import read_split
from promu.newsreel.joint_world import write_joint
from promu.newsreel.settings import JointSettings
from promu.study.mock_llm import ErrorRates, MockLLM, write_mock_knowledge

POST = PostText("1", ("Zeivo", "Kir", "with", "Soze", "again"))
FACTS = ["Zeivo Kir is a flag.", "Soze is a tower.", "Zeivo Kir has its headquarters at Soze.", "Gogu is an owl."]


def told(mock: MockLLM) -> list[tuple[str, str]]:
    return [(fact.about, fact.sentence) for fact in mock.facts["Zeivo Kir with Soze again"]]


def test_it_knows_what_is_said_of_names_in_the_text() -> None:
    mock = MockLLM(ErrorRates(0.0, 0.0, 0))
    mock.learn(POST, FACTS)
    assert told(mock) == [("Zeivo Kir", FACTS[0]), ("Soze", FACTS[1]), ("Zeivo Kir", FACTS[2])]


@pytest.fixture(scope="module")
def drawn(tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("drawn") / "set"
    write_joint(out, JointSettings(size=32, posts=(60, 1, 40)))
    return out


def ask(drawn: Path, out: Path, reflection: bool, rate: float = 0.5, recovered: float = 0.5) -> dict[str, Any]:
    files = [drawn / "train.json", drawn / "test.json"]
    return write_mock_knowledge(files, out, ErrorRates(rate, recovered, 3), reflection)


def lines(path: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]


@pytest.mark.slow
def test_first_answers_err_at_the_rate_and_reflection_recovers_its_share(drawn: Path, tmp_path: Path) -> None:
    first, checked = ask(drawn, tmp_path / "first", False), ask(drawn, tmp_path / "checked", True)
    assert first["sentences"] == checked["sentences"] > 200
    assert first["wrong_share"] == pytest.approx(50, abs=7) and checked["wrong_share"] == pytest.approx(25, abs=7)
    for one, other in zip(lines(tmp_path / "first/test.jsonl"), lines(tmp_path / "checked/test.jsonl"), strict=True):
        assert one["first"] == other["first"] == one["knowledge"], "reflection changes no first answer"
        assert one["state"] == other["state"] == "answered"


def test_wrong_facts_are_in_the_language_of_the_right_ones_and_of_another_meaning(drawn: Path, tmp_path: Path) -> None:
    ask(drawn, tmp_path / "wrong", False, rate=1.0)
    posts, known = read_jmere(drawn / "test.json"), read_jmere_background(drawn / "test.json")
    true = MockLLM(ErrorRates(0.0, 0.0, 0))
    for post, background, line in zip(posts, known, lines(tmp_path / "wrong/test.jsonl"), strict=True):
        described = PostText(post.id, post.tokens)
        true.learn(described, background.knowledge)
        right = {fact.sentence for fact in true.facts[line["text"]]}
        true.learn(described, line["knowledge"])  # what is no fact would be left out
        assert len(true.facts[line["text"]]) == len(line["knowledge"])
        assert not right & set(line["knowledge"])


def test_all_of_it_recovered_is_the_truth_about_the_names(drawn: Path, tmp_path: Path) -> None:
    assert ask(drawn, tmp_path / "all", True, recovered=1.0)["wrong"] == 0
    described = read_split(drawn / "train.json", tmp_path / "all")
    own = read_split(drawn / "train.json")
    assert all(set(a.knowledge) <= set(b.knowledge) for a, b in zip(described.background, own.background, strict=True))


def test_a_run_that_goes_on_asks_nothing_twice(drawn: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    before = ask(drawn, tmp_path / "run", True)
    asked: Counter[str] = Counter()
    monkeypatch.setattr(MockLLM, "complete", lambda self, request: asked.update(["request"]))
    assert ask(drawn, tmp_path / "run", True) == before and not asked
