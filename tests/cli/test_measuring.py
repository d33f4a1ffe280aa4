"""`promu evaluate pairs` and `promu evaluate regions`: figures as tables and as JSON, and what cannot be measured."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import pytest
from tests.factories import COLOURS, caption_tokenizer, captioned, tiny_pair_model, write_corpus

from promu.cli import main
from promu.modeling.loading import save_folder


@pytest.fixture(scope="module")
def desk(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Models, images, captions and gold boxes; treat it as read-only."""
    folder = tmp_path_factory.mktemp("desk")
    pieces = caption_tokenizer()
    save_folder(folder / "model", tiny_pair_model(pieces), pieces)
    save_folder(folder / "teacher", tiny_pair_model(pieces, dual=True), pieces)
    (folder / "images").mkdir()
    for image in captioned():
        (folder / "images" / image.image).write_bytes(image.data)
    rows = [f"{name}.png,a {name} square" for name in COLOURS]
    (folder / "captions.csv").write_text("\n".join(["image,caption", *rows]) + "\n")
    write_corpus(folder / "corpus", captioned())
    (folder / "boxes.json").write_text(json.dumps(instances(["red.png", "green.png"])))
    (folder / "names.tsv").write_text("thing\tred, green\n")
    return folder


def instances(images: list[str]) -> dict[str, Any]:
    return {
        "images": [{"id": n, "file_name": name, "width": 40, "height": 32} for n, name in enumerate(images)],
        "categories": [{"id": 1, "name": "thing"}, {"id": 2, "name": "ufo"}],
        "annotations": [{"image_id": n, "category_id": 1 + n % 2, "bbox": [0, 0, 20, 20]} for n in range(len(images))],
    }


def run(capsys: pytest.CaptureFixture[str], *words: object) -> tuple[int, str, str]:
    status = main(["evaluate", *map(str, words)])
    captured = capsys.readouterr()
    return status, captured.out, captured.err


def test_pairs_of_a_file(desk: Path, capsys: pytest.CaptureFixture[str]) -> None:
    words = ["pairs", desk / "model", "--captions", desk / "captions.csv", "--images", desk / "images"]
    status, out, err = run(capsys, *words, "--json")
    found = json.loads(out)
    assert status == 0 and err == ""
    assert found["pairs"] == {"matched": 7, "falsified": 7} and found["falsified_made"] == 7
    assert set(found["recall"]["caption_to_image"]) == {"1", "5", "10"}
    assert found["rerank"]["top"] == 20 and found["auc"]["itm"]["falsified"] is not None
    assert "agreement" not in found and "losses" not in found
    status, out, _ = run(capsys, *words, "--rerank", 0)
    assert status == 0 and "7 falsified, 7 of them made here" in out
    recall = found["recall"]["caption_to_image"]
    assert re.search(rf"caption → image +{recall['1']:.1f} ± ", out) and "re-ranking" not in out


def test_pairs_of_a_corpus(desk: Path, capsys: pytest.CaptureFixture[str]) -> None:
    status, out, _ = run(capsys, "pairs", desk / "model", "--corpus", desk / "corpus")
    assert status == 0 and "14 matched pairs, 7 falsified\n" in out and "after re-ranking" in out


def test_pairs_of_a_teacher(desk: Path, capsys: pytest.CaptureFixture[str]) -> None:
    status, out, _ = run(capsys, "pairs", desk / "teacher", "--corpus", desk / "corpus")
    assert status == 0 and re.search(r"against falsified captions \(7\) +0\.\d+ +–", out)


def test_skipped_images_are_counted(desk: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    captions = tmp_path / "captions.csv"
    captions.write_text((desk / "captions.csv").read_text() + "gone.png,nothing\ngone.png,still nothing\n")
    words = ["pairs", desk / "model", "--captions", captions, "--images", desk / "images"]
    status, out, err = run(capsys, *words)
    assert status == 2 and out == "" and "gone.png: no such image" in err and "or skip such images" in err
    status, out, err = run(capsys, *words, "--missing-images", "skip", "--json")
    found = json.loads(out)
    assert status == 0 and (found["skipped_images"], found["skipped_pairs"]) == (1, 2)
    assert "2 pairs were skipped: 1 image is missing or broken" in err


def test_regions(desk: Path, capsys: pytest.CaptureFixture[str]) -> None:
    words = ["regions", desk / "model", "--instances", desk / "boxes.json", "--images", desk / "images"]
    words += ["--synonyms", desk / "names.tsv"]
    status, out, _ = run(capsys, *words, "--json")
    found = json.loads(out)
    assert status == 0 and found["model"]["boxes"] == 1 and found["model"]["unnameable"] == {"ufo": 1}
    assert found["teacher"] is None and found["skipped_boxes"] == 0
    status, out, _ = run(capsys, *words, "--teacher", desk / "teacher")
    assert status == 0 and re.search(r"teacher +\d", out)
    assert "not scored: 1 box of 1 category for which the model has no noun: ufo (1)" in out


def test_regions_of_missing_images(desk: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    boxes = tmp_path / "boxes.json"
    boxes.write_text(json.dumps(instances(["red.png", "gone.png"])))
    words = ["regions", desk / "model", "--instances", boxes, "--images", desk / "images"]
    words += ["--synonyms", desk / "names.tsv"]
    assert run(capsys, *words)[0] == 2
    status, out, err = run(capsys, *words, "--missing-images", "skip", "--json")
    assert status == 0 and json.loads(out)["skipped_boxes"] == 1
    assert "1 box was skipped: 1 image is missing or broken" in err


def test_grounding(desk: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    words = ["grounding", desk / "model", "--instances", desk / "boxes.json", "--images", desk / "images"]
    words += ["--synonyms", desk / "names.tsv"]
    status, out, _ = run(capsys, *words, "--captions", desk / "captions.csv", "--json")
    found = json.loads(out)
    assert status == 0 and (found["nouns"], found["images"]) == (1, 1) and found["label"] is None
    assert found["model"] == found["random"] == {"all": 100.0, "shown": 100.0}  # one gold box to choose
    captions = {
        "images": [{"id": 7, "file_name": "red.png"}],
        "annotations": [{"image_id": 7, "caption": "a red square"}],
    }
    (tmp_path / "captions.json").write_text(json.dumps(captions))
    words += ["--captions", tmp_path / "captions.json"]
    status, out, _ = run(capsys, *words, "--regions", desk / "boxes.json", "--detector", "coco")
    assert status == 0 and "1 noun that names a gold box, in 1 caption of 1 image; 1 with a right region" in out
    assert re.search(r"detector's label +100\.0 +100\.0", out)
    captions["annotations"][0]["image_id"] = 8
    (tmp_path / "captions.json").write_text(json.dumps(captions))
    status, out, err = run(capsys, *words)
    assert status == 2 and out == "" and "captions.json: image_id of annotations 0 is 8" in err
    status, _, err = run(capsys, *words, "--confidence", 2)
    assert status == 2 and "--confidence is 2.0; 0 to 1 is needed" in err


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["pairs", "{0}/model"], "give either --captions and --images, or --corpus"),
        (["pairs", "{0}/model", "--captions", "{0}/captions.csv"], "give either --captions and --images, or --corpus"),
        (
            [
                "pairs",
                "{0}/model",
                "--captions",
                "{0}/captions.csv",
                "--images",
                "{0}/images",
                "--corpus",
                "{0}/corpus",
            ],
            "give either",
        ),
        (
            ["pairs", "{0}/model", "--captions", "{0}/captions.csv", "--images", "{0}/none"],
            "no such folder of images",
        ),
        (["pairs", "{0}/images", "--corpus", "{0}/corpus"], "no promu model here"),
        (["pairs", "{0}/model", "--corpus", "{0}/images"], "no corpus here"),
        (["pairs", "{0}/model", "--corpus", "{0}/corpus", "--batch-size", "0"], "--batch-size is 0; at least 1"),
        (["pairs", "{0}/model", "--corpus", "{0}/corpus", "--rerank", "-1"], "--rerank is -1; at least 0"),
        (["regions", "{0}/teacher", "--instances", "{0}/boxes.json", "--images", "{0}/images"], "no COE head"),
        (
            ["regions", "{0}/model", "--instances", "{0}/boxes.json", "--images", "{0}/images"],
            "none of the 2 gold categories has a synonym among the model's 6 nouns",
        ),
        (
            [
                "regions",
                "{0}/model",
                "--instances",
                "{0}/boxes.json",
                "--images",
                "{0}/images",
                "--teacher",
                "{0}/images",
            ],
            "teacher",
        ),
        (["regions", "{0}/model", "--instances", "{0}/captions.csv", "--images", "{0}/images"], "captions.csv"),
    ],
)
def test_bad_input_is_one_sentence(words: list[str], said: str, desk: Path, capsys: pytest.CaptureFixture[str]) -> None:
    status, out, err = run(capsys, *(word.format(desk) for word in words))
    assert (status, out) == (2, "")
    assert err.startswith("error: ") and err.count("\n") == 1 and said in err
