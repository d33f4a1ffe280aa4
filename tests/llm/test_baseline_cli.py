"""`promu baseline llm` from files to scores, through an endpoint that also misbehaves."""

from __future__ import annotations

import json
import re
import signal
import subprocess
import sys
import time
from functools import partial
from pathlib import Path
from typing import Any

import pytest
from tests.llm.llm_server import LlmServer, question, said

from promu.cli import main
from promu.corpora.conll import read_conll
from promu.corpora.mnre import read_mnre
from promu.llm.baseline import TASKS


def oracle(world: Path, name: str) -> dict[str, str]:
    """The perfect answer by question."""
    task = TASKS[name]
    file = world / ("ner/test.txt" if name == "ner" else "re/mnre_test.txt")
    return {task.question(post): task.solution(post) for post in task.read(file)}


def reply_from(answers: dict[str, str], body: dict[str, Any]) -> str:
    return answers[question(body)]


def run(server: LlmServer, world: Path, out: Path, name: str, *more: str) -> int:
    words = ["--data", str(world / name), "--url", server.url, "--model", "m", "--out", str(out)]
    return main(["baseline", "llm", name, *words, *more])


@pytest.mark.parametrize("name", ["ner", "re"])
def test_perfect_answers_score_a_hundred(
    server: LlmServer, tiny_world: Path, tmp_path: Path, name: str, capsys: pytest.CaptureFixture[str]
) -> None:
    answers = oracle(tiny_world, name)
    server.reply = partial(reply_from, answers)
    server.faults = [
        500,
        (429, "0.01"),
        "drop",
        said("{"),
        said(None, refusal="no"),
        "silence",
        said("x", finish_reason="length"),
    ]
    server.silence = 0.1
    out = tmp_path / "out"
    images = str(tiny_world / name / "images")
    assert run(server, tiny_world, out, name, "--images", images, "--shots", "2", "--yes", "--json") == 0
    result = json.loads(capsys.readouterr().out)
    assert result == json.loads((out / "result.json").read_text())
    assert (result["posts"], result["answered"], result["failed"]) == (8, 8, [])
    assert result["scores"]["f1"] == 100.0
    assert result["images"]["with image"] == 8
    assert result["faults"] == {"broken JSON": 1, "refusal": 1, "truncated": 1}
    assert result["requests"]["answers paid for"] == 11
    assert result["tokens"] == {"prompt": 1100, "answer": 110}
    # exemplars are training posts: none of their questions is a test post's
    shown = {message["content"][0]["text"] for body in server.seen for message in body["messages"][1:4:2]}
    assert len(shown) == 2 and not shown & set(answers)
    gold = tiny_world / name / ("test.txt" if name == "ner" else "mnre_test.txt")
    assert main(["score", name, "--gold", str(gold), "--predictions", result["predictions"], "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["f1"] == 100.0


def test_tools_text_beside_the_image_or_alone(
    server: LlmServer, tiny_world: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    posts = read_conll(tiny_world / "ner" / "test.txt")
    file = tmp_path / "caption.jsonl"
    lines = [
        json.dumps({"image": post.image, "text": f"a photograph, number {n}"}) for n, post in enumerate(posts[:-1])
    ]
    file.write_text("\n".join(lines))
    answers = oracle(tiny_world, "ner")
    server.reply = lambda body: answers[question(body).partition("\nCaption of the image: ")[0]]
    words = ["--tools.caption", str(file), "--shots", "1", "--yes", "--json"]
    assert run(server, tiny_world, tmp_path / "alone", "ner", *words) == 0
    alone = json.loads(capsys.readouterr().out)
    assert alone["tools"] == {"caption": len(posts) - 1} and alone["images"]["with image"] == 0
    assert alone["scores"]["f1"] == 100.0
    sent = [body["messages"][-1]["content"] for body in server.seen]
    assert sum("\nCaption of the image: a photograph, number" in text for text in sent) == len(posts) - 1
    assert (
        run(server, tiny_world, tmp_path / "both", "ner", *words, "--images", str(tiny_world / "ner" / "images")) == 0
    )
    both = json.loads(capsys.readouterr().out)
    assert both["tools"] == alone["tools"] and both["images"]["with image"] == len(posts)
    entity = next((post, post.entities[0]) for post in posts if post.entities)
    file.write_text(json.dumps({"image": entity[0].image, "text": f"{entity[0].words(entity[1])} is {entity[1].type}"}))
    assert run(server, tiny_world, tmp_path / "leak", "ner", *words) == 2
    assert "say labels of the gold" in capsys.readouterr().err


def test_a_post_without_a_usable_answer_is_reported(
    server: LlmServer,
    tiny_world: Path,
    tmp_path: Path,
    caplog: pytest.LogCaptureFixture,
    capsys: pytest.CaptureFixture[str],
) -> None:
    for name in ("ner", "re"):
        answers = oracle(tiny_world, name)
        bad = list(answers)[3]
        answers[bad] = "I'd rather not"
        server.reply = partial(reply_from, answers)
        out = tmp_path / name
        assert run(server, tiny_world, out, name, "--yes", "--price-prompt", "2", "--price-answer", "5") == 0
        assert "1 of 8 posts without a usable answer" in caplog.text and "I'd rather not" in caplog.text
        result = json.loads((out / "result.json").read_text())
        assert [failed["position"] for failed in result["failed"]] == [3]
        assert [fault["kind"] for fault in result["failed"][0]["faults"]] == ["refusal"] * 3
        assert result["cost"] == pytest.approx((7 + 3) * 250e-6)
    ner = read_conll(tmp_path / "ner" / "predictions" / "test.txt")
    assert ner[3].entities == () and any(post.entities for post in ner)
    assert read_mnre(tmp_path / "re" / "predictions" / "mnre_test.txt")[3].relations[0].type == "None"
    capsys.readouterr()
    assert run(server, tiny_world, tmp_path / "ner", "re", "--yes") == 2
    assert "ner: this folder holds the answers about" in capsys.readouterr().err, "nothing is written over"


def test_nothing_is_asked_before_it_is_allowed(
    server: LlmServer, tiny_world: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "out"
    assert run(server, tiny_world, out, "ner") == 2
    assert "this would send 8 requests" in capsys.readouterr().err
    assert run(server, tiny_world, out, "ner", "--dry-run", "--price-prompt", "1", "--price-answer", "2") == 0
    shown = capsys.readouterr().out
    assert "[system]" in shown and "8 requests" in shown and "4 characters each" in shown
    assert run(server, tiny_world, out, "ner", "--dry-run", "--json", "--price-prompt", "1", "--price-answer", "2") == 0
    plan = json.loads(capsys.readouterr().out)
    assert (plan["posts"], plan["complete"], plan["requests"], plan["answer_tokens"]) == (8, 0, 8, 8 * 512)
    assert plan["most_cost"] == pytest.approx((plan["prompt_tokens"] + 2 * 8 * 512) / 1e6)
    assert (
        run(server, tiny_world, out, "ner", "--max-cost", "0.00001", "--price-prompt", "1", "--price-answer", "2") == 2
    )
    assert "is less than the prompts alone" in capsys.readouterr().err
    assert not server.seen and not out.exists()


def test_a_budget_and_a_dead_endpoint_lose_nothing(
    server: LlmServer, tiny_world: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    answers = oracle(tiny_world, "ner")
    server.reply = partial(reply_from, answers)
    out = tmp_path / "out"
    assert run(server, tiny_world, out, "ner", "--yes", "--max-requests", "3", "--concurrency", "1") == 2
    assert "the limit of 3 requests is reached" in capsys.readouterr().err
    assert not (out / "result.json").exists()
    server.faults = [{}, 503, 503, 503, 503, 503, 503]  # one more answer
    assert run(server, tiny_world, out, "ner", "--yes", "--patience", "0.05", "--concurrency", "1") == 2
    assert "run the same again" in capsys.readouterr().err
    server.faults = []
    server.seen.clear()
    assert run(server, tiny_world, out, "ner", "--yes", "--json") == 0
    result = json.loads(capsys.readouterr().out)
    assert result["scores"]["f1"] == 100.0
    assert result["requests"]["answers from the store"] == 4
    assert len(server.seen) == 4
    # and once more, where nothing is left to ask, it needs no leave
    assert run(server, tiny_world, out, "ner", "--json") == 0
    assert json.loads(capsys.readouterr().out)["requests"]["sent"] == 0


@pytest.mark.slow
def test_a_killed_run_goes_on_where_it_was(server: LlmServer, tiny_world: Path, tmp_path: Path) -> None:
    answers = oracle(tiny_world, "ner")

    def slowly(body: dict[str, Any]) -> str:
        time.sleep(0.15)
        return answers[question(body)]

    server.reply = slowly
    words = [
        "--data",
        str(tiny_world / "ner"),
        "--url",
        server.url,
        "--model",
        "m",
        "--out",
        str(tmp_path / "out"),
    ]
    words = ["baseline", "llm", "ner", *words, "--yes", "--concurrency", "1"]
    process = subprocess.Popen([sys.executable, "-m", "promu.cli", *words], stderr=subprocess.DEVNULL)
    while len(server.seen) < 3:
        time.sleep(0.02)
    process.send_signal(signal.SIGKILL)
    process.wait()
    assert main(words) == 0
    # at most the one request that was under way had to be sent again
    assert len(server.seen) <= 9
    assert json.loads((tmp_path / "out" / "result.json").read_text())["scores"]["f1"] == 100.0


@pytest.mark.parametrize(
    ("words", "sentence"),
    [
        (["--max-cost", "1"], "--max-cost needs --price-prompt and --price-answer, money"),
        (["--price-prompt", "1"], "give both --price-prompt and --price-answer, or"),
        (["--images", "absent"], "no such folder of images"),
        (["--data", "ner/test.txt"], "give --train, or --labels and no --shots"),
        (["--data", "re"], r"none of train.txt, valid.txt"),
        (["--url", "localhost"], "'localhost' is no web address"),
        (["--shots", "999"], r"exemplars: 999 asked for, but the training posts have \d+ of another text"),
        (["--labels", "list.json"], "an object of meaning by label is expected"),
        (["--labels", "few.json", "--shots", "9"], "exemplars have labels that --labels lacks: "),
        (["--temperature", "5"], "temperature should be less than or equal to 2, found"),
    ],
)
def test_bad_input_is_one_sentence(
    server: LlmServer,
    tiny_world: Path,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    words: list[str],
    sentence: str,
) -> None:
    (tmp_path / "list.json").write_text('["PER"]')
    (tmp_path / "few.json").write_text('{"PER": "a person"}')
    places = {"ner/test.txt": tiny_world / "ner/test.txt", "re": tiny_world / "re"}
    places |= {name: tmp_path / name for name in ("list.json", "few.json")}
    given = {"--data": str(tiny_world / "ner"), "--url": server.url, "--model": "m", "--out": str(tmp_path / "o")}
    for key, value in zip(words[::2], words[1::2], strict=True):
        given[key] = str(places.get(value, value))
    line = [word for pair in given.items() for word in pair]
    assert main(["baseline", "llm", "ner", *line, "--yes"]) == 2
    told = capsys.readouterr().err
    assert re.search(sentence, told) and "Traceback" not in told
    assert not server.seen


def test_labels_of_ones_own_need_no_training_posts(
    server: LlmServer,
    tiny_world: Path,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    caplog: pytest.LogCaptureFixture,
) -> None:
    (tmp_path / "labels.json").write_text('{"PER": "somebody", "THING": "anything"}')
    server.reply = lambda body: '{"entities": []}'
    words = ["--data", str(tiny_world / "ner/test.txt"), "--labels", str(tmp_path / "labels.json")]
    line = ["--url", server.url, "--model", "m", "--out", str(tmp_path / "o"), "--yes", "--json"]
    assert main(["baseline", "llm", "ner", *words, *line]) == 0
    assert json.loads(capsys.readouterr().out)["labels"] == ["PER", "THING"]
    assert "- PER: somebody\n- THING: anything" in server.seen[0]["messages"][0]["content"]
    assert "that the model is not offered" in caplog.text
