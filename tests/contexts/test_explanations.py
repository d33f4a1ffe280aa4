"""Explanations of posts by a model behind an endpoint, and what stands in the prompt."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from tests.llm.llm_server import LlmServer, serve

from promu.cli import main
from promu.contexts.explanations import ExplanationSettings, explain_posts, plan_explanations
from promu.corpora.context_files import read_contexts
from promu.errors import InputError
from promu.llm import endpoint as endpoint_module


@pytest.fixture
def server(monkeypatch: pytest.MonkeyPatch) -> Iterator[LlmServer]:
    monkeypatch.setattr(endpoint_module, "_FIRST_WAIT", 0.01)
    monkeypatch.delenv("PROMU_LLM_KEY", raising=False)
    for name in ("http_proxy", "HTTP_PROXY", "all_proxy", "ALL_PROXY"):
        monkeypatch.delenv(name, raising=False)

    def answer(body: dict[str, Any]) -> str:
        return "  " if "So happy" in str(body["messages"][-1]) else "Ann is a singer.\n\n She lives in Rome."

    with serve(answer) as state:
        yield state


@pytest.fixture
def settings(server: LlmServer, tmp_path: Path) -> ExplanationSettings:
    posts = [
        {"id": "1", "text": "Ann sings", "image": "1.jpg", "entities": [{"start": 0, "end": 1, "type": "SECRET"}]},
        {"id": "2", "text": "So happy"},
        {"id": "1", "text": "Ann sings", "image": "1.jpg"},
    ]
    (tmp_path / "posts.jsonl").write_text("".join(json.dumps(post) + "\n" for post in posts))
    (tmp_path / "said.jsonl").write_text('{"image": "1.jpg", "text": "a stage"}\n')
    return ExplanationSettings(
        url=server.url,
        model="m",
        posts=tmp_path / "posts.jsonl",
        out=tmp_path / "explained.jsonl",
        descriptions=tmp_path / "said.jsonl",
        corrections=0,
    )


def test_each_post_is_explained_once(settings: ExplanationSettings, server: LlmServer) -> None:
    plan = plan_explanations(settings)
    assert (plan.posts, plan.requests) == (2, 2)
    prompt = plan.first_prompt[-1].text
    assert "Ann sings" in prompt and "a stage" in prompt and "SECRET" not in str(plan.to_dict())
    with pytest.raises(InputError, match="set max_cost"):
        explain_posts(settings)
    result = explain_posts(settings, unlimited=True)
    assert result.posts == 2 and list(result.failed) == ["2"] and result.usage["requests"]["sent"] == 2
    assert read_contexts(settings.out).texts == {("id", "1"): "Ann is a singer.\nShe lives in Rome."}
    assert explain_posts(settings).usage["requests"]["sent"] <= 1  # what was answered is stored


def test_the_command(settings: ExplanationSettings, capsys: pytest.CaptureFixture[str]) -> None:
    words = ["contexts", "explain", "--posts", str(settings.posts), "--out", str(settings.out)]
    words += ["--url", str(settings.url), "--model", "m"]
    assert main([*words, "--dry-run"]) == 0
    assert "Ann sings" in capsys.readouterr().out and not settings.out.exists()
    assert main([*words, "--yes", "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["out"] == str(settings.out)
    words[words.index("--out") + 1] = str(settings.out.parent / "no" / "x.jsonl")
    assert main([*words, "--yes"]) == 2 and "no such folder to write to" in capsys.readouterr().err
