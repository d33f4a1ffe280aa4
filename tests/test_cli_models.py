"""`promu extract` and `promu evaluate`: a model's answers, on standard output and in files."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest
from tests.factories import TEXTS, save_tiny_model

from promu.cli import main
from promu.corpora.posts import read_posts_jsonl
from promu.extraction.extractor import Extractor


def lines_of(text: str) -> list[dict[str, object]]:
    return [json.loads(line) for line in text.splitlines()]


def test_one_text_to_one_line(tiny_models: Path, images: Path, capsys: pytest.CaptureFixture[str]) -> None:
    words = ["extract", "--model", str(tiny_models), "--text", TEXTS[0], "--image", str(images / "0.png")]
    assert main(words) == 0
    (record,) = lines_of(capsys.readouterr().out)
    assert record == Extractor.from_pretrained(tiny_models)(TEXTS[0], images / "0.png").to_dict()
    assert record["entities"] and record["relations"]
    assert main(["extract", "--model", str(tiny_models), "--text", "- Ann met Bob"]) == 0
    assert lines_of(capsys.readouterr().out)[0]["text"] == "- Ann met Bob"


def test_a_file_of_posts(tiny_models: Path, images: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    posts = [
        {"id": "a", "text": TEXTS[0], "image": "0.png"},
        {"tokens": TEXTS[1].split(), "image": "1.png"},
        {"id": "c", "text": TEXTS[2]},
        {"id": "d", "text": "hm", "image": "gone.png"},
    ]
    source, output = tmp_path / "posts.jsonl", tmp_path / "found.jsonl"
    source.write_text("".join(json.dumps(post) + "\n" for post in posts))
    words = ["extract", "--model", str(tiny_models), "--input", str(source), "--images", str(images)]
    words += ["--missing-images", "text-only"]
    assert main(words) == 0
    captured = capsys.readouterr()
    found = lines_of(captured.out)
    assert [record["id"] for record in found] == ["a", "posts:2", "c", "d"]
    assert "read as text, the image being missing or broken (image_reason in the output): 1 of 4 posts" in captured.err
    extractor = Extractor.from_pretrained(tiny_models)
    assert [e["type"] for e in found[0]["entities"]] == [  # type: ignore[attr-defined]
        entity.type for entity in extractor(TEXTS[0], images / "0.png").entities
    ]
    assert main([*words, "--out", str(output)]) == 0
    assert capsys.readouterr().out == ""
    assert lines_of(output.read_text()) == found
    assert main([*words, "--out", str(output), "--json"]) == 0
    counts = json.loads(capsys.readouterr().out)
    assert (counts["posts"], counts["extracted"], counts["dead"], counts["as_text"]) == (4, 4, 0, 1)
    # What was written can be read again, spans, scores and all.
    again = read_posts_jsonl(output)
    assert [len(post.relations) for post in again] == [len(record["relations"]) for record in found]  # type: ignore[arg-type]


def test_a_failure_half_way_leaves_the_old_output(
    tiny_models: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    source, output = tmp_path / "posts.jsonl", tmp_path / "found.jsonl"
    source.write_text("".join(json.dumps({"text": "Ann " * (n + 1), "image": f"{n}.png"}) + "\n" for n in range(3)))
    output.write_text("what was there\n")
    assert main(["extract", "--model", str(tiny_models), "--input", str(source), "--out", str(output)]) == 2
    assert output.read_text() == "what was there\n"
    assert sorted(path.name for path in tmp_path.iterdir()) == ["found.jsonl", "posts.jsonl"]


def test_a_text_without_entities(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    import torch
    from safetensors.torch import load_file, save_file

    model = save_tiny_model(tmp_path / "model", "ner", images=False)
    weights = load_file(model / "model.safetensors")
    weights["emitter.bias"] = torch.tensor([1e4, *[0.0] * (len(weights["emitter.bias"]) - 1)])  # O, and nothing else
    save_file(weights, model / "model.safetensors", {"format": "pt"})
    assert main(["extract", "--model", str(model), "--text", "nothing here", "--image", "unread.png"]) == 0
    captured = capsys.readouterr()
    (record,) = lines_of(captured.out)
    assert (record["tokens"], record["entities"], record["relations"]) == (["nothing", "here"], [], [])
    assert (record["image_read"], record["image_reason"], record["far_pairs"]) == (False, "text-only model", 0)
    assert "read without the image, by a model that reads text alone: 1 of 1 post" in captured.err


@pytest.mark.parametrize("task", ["ner", "re"])
def test_evaluation(
    task: str, tiny_models: Path, tiny_world: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    gold = tiny_world / task / ("test.txt" if task == "ner" else "mnre_test.txt")
    predictions = tmp_path / "predicted.txt"
    words = ["evaluate", task, str(tiny_models / task), "--data", str(gold), "--json"]
    assert main(words) == 0
    captured = capsys.readouterr()
    blind = json.loads(captured.out)
    assert blind["read"] == {"with image": 0, "as text": 8}
    rows = "pairs" if task == "re" else "posts"
    assert f"read as text, without an image: 8 of 8 {rows} (no --images)" in captured.err
    words += ["--images", str(gold.parent / "images"), "--predictions", str(predictions)]
    words += ["--groups", str(gold.parent / "groups.json")]
    assert main(words) == 0
    captured = capsys.readouterr()
    seen = json.loads(captured.out)
    assert seen["read"] == {"with image": 8, "as text": 0} and "read as text" not in captured.err
    # The written predictions, scored by themselves, give the same figures.
    words = ["score", task, "--gold", str(gold), "--predictions", str(predictions), "--json"]
    assert main([*words, "--groups", str(gold.parent / "groups.json")]) == 0
    scored = json.loads(capsys.readouterr().out)
    assert {key: value for key, value in scored.items() if key != "tail"} == {
        key: value for key, value in seen.items() if key in scored
    }


def test_evaluation_as_tables_and_labels_that_the_model_lacks(
    tiny_models: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    gold = tmp_path / "gold.txt"
    gold.write_text("IMGID:0\nOrla\tB-SHIP\nleft\tO\nRome\tB-LOC\n")
    assert main(["evaluate", "ner", str(tiny_models / "ner"), "--data", str(gold)]) == 0
    captured = capsys.readouterr()
    assert "entities, 1 post " in captured.out and "SHIP" in captured.out
    assert "the model cannot give labels that the gold has, and misses them all: SHIP (1)" in captured.err


def test_images_for_a_model_that_reads_text_alone(
    tmp_path: Path, images: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    model = save_tiny_model(tmp_path / "model", "ner", images=False)
    gold = tmp_path / "gold.txt"
    gold.write_text("IMGID:0\nRome\tB-LOC\n")
    words = ["evaluate", "ner", str(model), "--data", str(gold)]
    assert main([*words, "--images", str(images)]) == 2
    assert f"{model}: this model reads text alone; leave the folder of images out" in capsys.readouterr().err
    assert main(words) == 0
    assert "(the model reads text alone)" in capsys.readouterr().err


@pytest.mark.slow
def test_nothing_but_results_is_printed(tiny_models: Path) -> None:
    """The libraries' bars and reports, seen from outside, where no test harness catches them."""
    code = "import sys; from promu.cli import main; sys.exit(main())"
    words = ["extract", "--model", str(tiny_models), "--text", TEXTS[0]]
    done = subprocess.run([sys.executable, "-c", code, *words], capture_output=True, text=True)
    assert (done.returncode, done.stderr) == (0, "")
    assert len(lines_of(done.stdout)) == 1
